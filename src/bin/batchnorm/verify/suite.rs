//! What `verify` runs, as data: blocks, each the product of its subjects, operations and ways.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::tuning::{Order, Tuning};
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{
    Activation, Choice, Convention, Descriptor, Float, Gradients, Kernels, Layout, Mask, Momentum, OneValue, Over,
    Padding, Renorm, Running, Tensor, Types, View,
};

/// Every subject with every operation in every way.
pub struct Block {
    /// What the block is to show.
    pub shows: &'static str,
    pub subjects: Vec<Subject>,
    pub operations: Vec<Operation>,
    pub ways: Vec<Way>,
}

/// A batch norm and the sort of data that it gets.
#[derive(Clone)]
pub struct Subject {
    pub axes: &'static str,
    pub descriptor: Descriptor,
    pub mean: f32,
    pub deviation: f32,
    /// What becomes of the random data.
    pub then: fn(Problem) -> Problem,
}

/// How it is computed, and where its buffers are.
#[derive(Clone, Copy)]
pub struct Way {
    /// The numbers to choose by, where not the adapter's own.
    pub tuning: Option<Tuning>,
    pub choice: Choice,
    pub placement: Placement,
}

impl Subject {
    /// Axes as in `NCHW` or `NHWC`; data around 0.5 with a standard deviation of 1.
    fn new(axes: &'static str, shape: &[usize]) -> Self {
        let layout = if axes.starts_with("NC") { Layout::ChannelsFirst } else { Layout::ChannelsLast };
        Self { axes, descriptor: Descriptor::new(shape, layout), mean: 0.5, deviation: 1.0, then: |random| random }
    }

    fn with(&self, change: impl FnOnce(Descriptor) -> Descriptor) -> Self {
        Self { descriptor: change(self.descriptor.clone()), ..self.clone() }
    }

    /// The problem, with the same data on every run.
    pub fn problem(&self) -> Problem {
        // Any seed will do.
        (self.then)(Problem::random(self.descriptor.clone(), self.mean, self.deviation, 1))
    }
}

impl Way {
    /// What the recipe chooses by itself, each tensor in a buffer of its own.
    const BY_RULE: Self = Self { tuning: None, choice: BY_RULE, placement: Placement::Separate };

    fn choosing(choice: Choice) -> Self {
        Self { choice, ..Self::BY_RULE }
    }

    fn tuned(tuning: Tuning) -> Self {
        Self { tuning: Some(tuning), ..Self::BY_RULE }
    }

    /// The adapter's kernels, choosing this way.
    pub fn kernels(&self, kernels: &Kernels) -> Kernels {
        let kernels = kernels.choosing(self.choice);
        self.tuning.map_or_else(|| kernels.clone(), |tuning| kernels.tuned(tuning))
    }
}

const BY_RULE: Choice = Choice { regime: None, wide: None, tile: None, order: None, parts: None };

/// Every rank in both layouts, small, with a fastest axis that 16-byte accesses can walk.
const RANKS: [(&str, &[usize]); 7] = [
    ("NC", &[37, 20]),
    ("NCL", &[3, 5, 28]),
    ("NCHW", &[4, 6, 8, 8]),
    ("NCDHW", &[2, 5, 4, 3, 4]),
    ("NLC", &[5, 9, 12]),
    ("NHWC", &[3, 5, 7, 16]),
    ("NDHWC", &[2, 3, 2, 5, 8]),
];

/// Shapes that kernels trip over.
const AWKWARD: [(&str, &[usize]); 36] = [
    // As few values as training takes, with axes of 1 everywhere.
    ("NC", &[2, 1]),
    ("NC", &[2, 5]),
    ("NCL", &[1, 1, 2]),
    ("NCHW", &[1, 1, 1, 2]),
    ("NCHW", &[2, 3, 1, 1]),
    ("NCDHW", &[2, 1, 1, 1, 1]),
    ("NLC", &[1, 2, 3]),
    ("NHWC", &[1, 2, 1, 1]),
    ("NDHWC", &[1, 1, 2, 1, 7]),
    // Primes.
    ("NC", &[127, 13]),
    ("NCL", &[7, 11, 31]),
    ("NCHW", &[3, 7, 13, 17]),
    ("NCDHW", &[2, 3, 5, 7, 11]),
    ("NLC", &[5, 31, 11]),
    ("NHWC", &[3, 13, 17, 7]),
    ("NDHWC", &[2, 5, 7, 11, 3]),
    // Planes that 4 does not divide, as in ResNet's last stage.
    ("NCHW", &[4, 64, 7, 7]),
    ("NCHW", &[2, 5, 57, 57]),
    ("NHWC", &[4, 7, 7, 66]),
    // One channel, one sample.
    ("NC", &[1009, 1]),
    ("NCHW", &[3, 1, 31, 31]),
    ("NHWC", &[3, 31, 31, 1]),
    ("NCHW", &[1, 16, 30, 30]),
    ("NHWC", &[1, 30, 30, 16]),
    // Just beside powers of two.
    ("NC", &[65, 257]),
    ("NCL", &[1, 3, 1025]),
    ("NLC", &[1, 4097, 5]),
    // Rows long and short.
    ("NC", &[20_011, 3]),
    ("NC", &[128, 512]),
    ("NCHW", &[8, 32, 28, 28]),
    // More channels than a dimension has workgroups.
    ("NC", &[3, 65_539]),
    ("NCL", &[2, 65_539, 2]),
    ("NLC", &[2, 2, 65_539]),
    // One slab of 3 million values, whole and in four.
    ("NCL", &[1, 1, 3_000_000]),
    ("NCHW", &[3, 1, 1000, 1000]),
    ("NHWC", &[1, 1000, 750, 4]),
];

/// One value a channel, where the batch has no variance.
const ONE_VALUE: [(&str, &[usize]); 3] = [("NC", &[1, 1]), ("NCHW", &[1, 7, 1, 1]), ("NHWC", &[1, 1, 1, 20])];

/// One of each layout that fits the registers of a workgroup and can be split too.
const PAIR: [(&str, &[usize]); 2] = [("NCHW", &[3, 4, 4, 8]), ("NHWC", &[3, 5, 6, 32])];

/// The same where loads do not come in pairs.
const UNPAIRED: [(&str, &[usize]); 2] = [("NCHW", &[3, 4, 6, 6]), ("NHWC", &[3, 5, 6, 20])];

/// Rows that begin and end within what one load moves: eight values, and in one shape four.
const RAGGED: [(&str, &[usize]); 9] = [
    ("NCL", &[4, 4, 10]),
    ("NCL", &[3, 8, 9]),
    ("NCL", &[2, 16, 11]),
    ("NCL", &[5, 12, 15]),
    ("NCHW", &[3, 24, 7, 7]),
    ("NCHW", &[20, 8, 7, 7]),
    ("NCHW", &[2, 4, 6, 7]),
    ("NCHW", &[1, 8, 57, 57]),
    ("NCDHW", &[2, 8, 3, 3, 3]),
];

/// Channels that 4 does not divide, of enough rows that eight, four or two are walked as one.
const FOLDED: [(&str, &[usize]); 4] =
    [("NLC", &[40, 512, 3]), ("NHWC", &[4, 32, 64, 6]), ("NC", &[8196, 5]), ("NC", &[8196, 2])];

/// Of enough units for several bands, in each layout and width.
const BANDED: [(&str, &[usize]); 4] =
    [("NCHW", &[3, 33, 6, 6]), ("NCL", &[4, 30, 11]), ("NHWC", &[5, 3, 3, 160]), ("NC", &[130, 21])];

/// One of each layout with an odd number of everything, so that 16-bit values share words across rows.
const ODD: [(&str, &[usize]); 2] = [("NCL", &[3, 5, 7]), ("NLC", &[3, 7, 5])];

/// More steps than have running statistics, in each layout, with channels by fours and not.
const STEPS: [(&str, &[usize]); 3] = [("NCL", &[5, 3, 6]), ("NLC", &[5, 6, 3]), ("NLC", &[4, 5, 8])];
const KEPT: usize = 4;

/// Nothing at all, behind channels and before.
const EMPTY: [(&str, &[usize]); 3] = [("NC", &[0, 5]), ("NCHW", &[2, 3, 0, 4]), ("NHWC", &[0, 5, 6, 8])];

const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clamp(-0.5, 1.0),
];

/// One of each sort of activation, as to what a residual makes a forward pass keep.
const BY_KEPT: [Activation; 3] = [ACTIVATIONS[0], ACTIVATIONS[1], ACTIVATIONS[3]];

/// Bounds that some channels reach and others do not.
const RENORM: Renorm = Renorm { r_max: 1.5, d_max: 0.25 };

const OPERATIONS: [Operation; 5] = [
    Operation::Inference,
    Operation::Forward,
    Operation::Backward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::DX),
];

/// Those that gather sums or statistics, and so know two regimes.
const GATHERING: [Operation; 3] = [OPERATIONS[1], OPERATIONS[2], OPERATIONS[3]];

/// Those without.
const ELEMENTWISE: [Operation; 2] = [OPERATIONS[0], OPERATIONS[4]];

/// Channels last, enough of them for workgroups whose invocations have several each.
const BROAD: [(&str, &[usize]); 3] = [("NLC", &[3, 5, 192]), ("NC", &[70, 384]), ("NHWC", &[2, 3, 3, 72])];

/// One channel, whose samples end between values that 16-byte accesses would take together.
const ALONE: [(&str, &[usize]); 3] = [("NCL", &[8, 1, 3]), ("NLC", &[8, 3, 1]), ("NCHW", &[4, 1, 3, 5])];

/// Means and standard deviations that ruin a careless variance: far from zero, constant, constant zero,
/// near the smallest and near the largest numbers that a square leaves finite.
const DATA: [(f32, f32); 6] = [(1e6, 1.0), (-1e4, 0.01), (3.7, 0.0), (0.0, 0.0), (0.0, 1e-15), (0.0, 1e17)];

/// All blocks, or the few that show in seconds whether an adapter works at all.
pub fn blocks(quick: bool) -> Vec<Block> {
    let ranks = subjects(&RANKS);
    let pair = subjects(&PAIR);
    let families = Block {
        shows: "every family in every layout",
        subjects: ranks.clone(),
        operations: GATHERING.to_vec(),
        ways: regimes().into_iter().flat_map(|regime| accesses().map(|way| merged(regime, way))).collect(),
    };
    let elementwise = Block {
        shows: "the elementwise family in every layout",
        subjects: ranks,
        operations: ELEMENTWISE.to_vec(),
        ways: accesses().map(Way::choosing).to_vec(),
    };
    if quick {
        let by_regime = regimes().map(Way::choosing).to_vec();
        return vec![Block { ways: by_regime, ..families }, Block { ways: vec![Way::BY_RULE], ..elementwise }];
    }
    vec![
        families,
        elementwise,
        Block {
            shows: "awkward shapes, by the rules for GPUs and for software drivers",
            subjects: subjects(&AWKWARD),
            operations: OPERATIONS.to_vec(),
            ways: [Tuning::GPU, Tuning::CPU].map(Way::tuned).to_vec(),
        },
        Block {
            shows: "units that an invocation walks along together",
            subjects: each(
                &subjects(&BROAD),
                &[
                    |it| it,
                    |it| it.types(Types::mixed(Float::F16)),
                    |it| it.padding(Padding::Mask(Mask::Bits)).activation(Activation::Relu).residual(true),
                ],
            ),
            operations: OPERATIONS.to_vec(),
            ways: [2, 3, 4].map(|across| Way::tuned(Tuning { across, near: 0, ..Tuning::CPU })).to_vec(),
        },
        Block {
            shows: "rows that no load divides",
            subjects: subjects(&RAGGED),
            operations: OPERATIONS.to_vec(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "rows that no load divides, with options",
            subjects: joined_with_options(&RAGGED[3..5]),
            operations: [&OPERATIONS[..], &[Operation::Backward(Gradients::DX)]].concat(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "in bands that a cache holds",
            subjects: [
                subjects(&BANDED),
                joined_with_options(&BANDED),
                each(
                    &subjects(&BANDED[..3]),
                    &[
                        |it| it.padding(Padding::Mask(Mask::Bits)).activation(Activation::Relu),
                        |it| it.over(Over::Groups { samples: 2 }).activation(Activation::Gelu),
                        |it| it.running(averaged()).health(true),
                    ],
                ),
            ]
            .concat(),
            operations: some_training(),
            ways: in_bands().to_vec(),
        },
        Block {
            shows: "several rows of channels as one",
            subjects: [subjects(&FOLDED), joined_with_options(&FOLDED[..2])].concat(),
            operations: OPERATIONS.to_vec(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "awkward shapes in every family that they fit",
            subjects: subjects(&AWKWARD),
            operations: GATHERING.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "one value a channel",
            subjects: subjects(&ONE_VALUE)
                .iter()
                .map(|one| one.with(|it| it.one_value(OneValue::HasNoVariance)))
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "hard data",
            subjects: pair
                .iter()
                .flat_map(|one| DATA.map(|(mean, deviation)| Subject { mean, deviation, ..one.clone() }))
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "gradients wanted or not",
            subjects: pair.clone(),
            operations: some_gradients()
                .flat_map(|some| [Operation::Backward(some), Operation::FrozenBackward(some)])
                .collect(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "without γ, β or both",
            subjects: pair
                .iter()
                .flat_map(|one| {
                    [(true, false), (false, true), (false, false)]
                        .map(|(gamma, beta)| one.with(|it| it.affine(gamma, beta)))
                })
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "conventions of running statistics",
            subjects: pair
                .iter()
                .flat_map(|one| conventions().into_iter().map(|rule| one.with(|it| it.running(rule))))
                .collect(),
            operations: vec![Operation::Forward],
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "running statistics moved on their own",
            subjects: subjects(&RANKS)
                .iter()
                .chain(&pair)
                .flat_map(|one| {
                    let rules = conventions().into_iter().flatten();
                    rules.map(|rule| one.with(|it| it.running(rule))).collect::<Vec<_>>()
                })
                .collect(),
            operations: vec![Operation::UpdateRunning],
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "all tensors in one buffer",
            subjects: [&pair[..], &all_together()].concat(),
            operations: OPERATIONS.to_vec(),
            ways: placed(Placement::OneBuffer),
        },
        Block {
            shows: "y over x and dx over dy",
            subjects: [&pair[..], &in_types(&ODD, &[Types::mixed(Float::F16)]), &sliced(&pair)].concat(),
            operations: OPERATIONS.to_vec(),
            ways: placed(Placement::InPlace),
        },
        Block {
            shows: "16-bit types",
            subjects: {
                let types = [Float::F16, Float::Bf16].map(|float| [Types::mixed(float), Types::all(float)]).concat();
                [in_types(&PAIR, &types), in_types(&ODD, &types)].concat()
            },
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "padding",
            subjects: [&pair[..], &subjects(&ODD), &subjects(&ALONE)].concat().iter().flat_map(padded).collect(),
            operations: some_training(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "groups, the last one smaller",
            subjects: each(
                &pair,
                &[
                    |it| it.over(Over::Groups { samples: 2 }),
                    |it| it.over(Over::Groups { samples: 2 }).running(averaged()),
                    |it| it.over(Over::Groups { samples: 2 }).padding(Padding::Mask(Mask::Bytes)).renorm(RENORM),
                    |it| it.over(Over::Groups { samples: 2 }).types(Types::all(Float::Bf16)),
                ],
            ),
            operations: [&OPERATIONS[..3], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "steps, more than have running statistics",
            subjects: each(
                &subjects(&STEPS),
                &[
                    |it| it.over(Over::Steps { kept: KEPT }),
                    |it| it.over(Over::Steps { kept: KEPT }).running(averaged()),
                    |it| it.over(Over::Steps { kept: KEPT }).padding(Padding::Mask(Mask::Bits)).renorm(RENORM),
                    |it| it.over(Over::Steps { kept: KEPT }).types(Types::all(Float::F16)),
                ],
            ),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "batch renormalization",
            subjects: each(
                &pair,
                &[
                    |it| it.renorm(RENORM),
                    |it| it.renorm(RENORM).running(averaged()),
                    |it| it.renorm(RENORM).activation(Activation::Silu).types(Types::all(Float::F16)),
                ],
            ),
            operations: some_training(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "activations, with a residual and without",
            subjects: pair
                .iter()
                .zip([true, false])
                .flat_map(|(one, residual)| {
                    let first = ACTIVATIONS.map(|it| one.with(|one| one.activation(it).residual(residual)));
                    let second = BY_KEPT.map(|it| one.with(|one| one.activation(it).residual(!residual)));
                    first.into_iter().chain(second)
                })
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "backward passes from y",
            subjects: each(
                &pair,
                &[
                    |it| it.backward_from_y(true).health(true),
                    |it| it.backward_from_y(true).activation(Activation::LeakyRelu(0.1)),
                    |it| it.backward_from_y(true).over(Over::Groups { samples: 2 }).health(true),
                    |it| it.backward_from_y(true).types(Types::mixed(Float::Bf16)),
                ],
            ),
            operations: OPERATIONS[2..].to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "views: slices, crops, permuted axes, flips, and each tensor its own",
            subjects: pair.iter().flat_map(viewed).collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "health",
            subjects: pair.iter().flat_map(unhealthy).collect(),
            operations: vec![Operation::Forward],
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "empty batches",
            subjects: each(
                &subjects(&EMPTY),
                &[|it| it, |it| it.running(averaged()), |it| it.over(Over::Groups { samples: 2 })],
            ),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "options together, by the rules for GPUs and for software drivers",
            subjects: all_together(),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: [Tuning::GPU, Tuning::CPU].map(Way::tuned).to_vec(),
        },
    ]
}

/// Each with each change.
fn each(subjects: &[Subject], changes: &[fn(Descriptor) -> Descriptor]) -> Vec<Subject> {
    subjects.iter().flat_map(|one| changes.iter().map(|change| one.with(change))).collect()
}

fn in_types(shapes: &[(&'static str, &[usize])], types: &[Types]) -> Vec<Subject> {
    subjects(shapes).iter().flat_map(|one| types.iter().map(|types| one.with(|it| it.types(*types)))).collect()
}

/// Under every mask, by lengths along every axis, and with nothing valid.
fn padded(one: &Subject) -> Vec<Subject> {
    let rank = one.descriptor.shape().len();
    let channel = if one.descriptor.layout() == Layout::ChannelsFirst { 1 } else { rank - 1 };
    let lengths = (1..rank).filter(|axis| *axis != channel).map(|axis| Padding::Lengths { axis });
    let all = [Mask::Bits, Mask::Bytes, Mask::Words].map(Padding::Mask).into_iter().chain(lengths);
    let some = all.map(|padding| one.with(|it| it.padding(padding)));
    let none = one.with(|it| it.padding(Padding::Mask(Mask::Bits)));
    some.chain([Subject { then: |p| Problem { valid: vec![false; p.valid.len()], ..p }.with_saved(), ..none }])
        .collect()
}

/// What health counts: values that are not finite (at padding they are no harm), and units of one value.
fn unhealthy(one: &Subject) -> Vec<Subject> {
    let dense = one.with(|it| it.health(true));
    let masked = dense.with(|it| it.padding(Padding::Mask(Mask::Words)));
    let sick = |mut p: Problem| {
        (p.x[1], p.x[40], p.x[100]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        p
    };
    let lone = |mut p: Problem| {
        p.valid.fill(false);
        p.valid[17] = true;
        p
    };
    vec![
        dense.clone(),
        Subject { then: sick, ..dense },
        Subject { then: sick, ..masked.clone() },
        Subject { then: lone, ..masked },
    ]
}

/// A few of everything, as far as it goes together.
fn all_together() -> Vec<Subject> {
    let pair = [subjects(&PAIR), subjects(&UNPAIRED)].concat();
    let viewed = sliced(&pair).into_iter().map(|one| {
        one.with(|it| it.types(Types::mixed(Float::F16)).activation(Activation::Relu).residual(true).health(true))
    });
    let grouped = each(
        &pair,
        &[|it| {
            let it = it.over(Over::Groups { samples: 2 }).padding(Padding::Mask(Mask::Bits)).renorm(RENORM);
            it.types(Types::all(Float::Bf16)).activation(Activation::Gelu).residual(true).running(averaged())
        }],
    );
    let stepped = each(
        &subjects(&STEPS),
        &[|it| {
            let it = it.over(Over::Steps { kept: KEPT }).padding(Padding::Lengths { axis: 1 });
            it.types(Types::mixed(Float::Bf16)).activation(Activation::Clamp(-0.5, 1.0)).residual(true).health(true)
        }],
    );
    // (In channels first the steps are the third axis.)
    let stepped = stepped.into_iter().map(|one| match one.descriptor.layout() {
        Layout::ChannelsFirst => one.with(|it| it.padding(Padding::Lengths { axis: 2 })),
        Layout::ChannelsLast => one,
    });
    viewed.chain(grouped).chain(stepped).collect()
}

/// PyTorch's average over all batches.
fn averaged() -> Running {
    Running { momentum: Momentum::Cumulative, ..Convention::PyTorch.running() }
}

/// All tensors are the middle third of the channels of larger ones.
fn sliced(subjects: &[Subject]) -> Vec<Subject> {
    subjects.iter().map(|one| with_views(one, |_| slice(one.descriptor.shape(), channel_axis(one)))).collect()
}

/// All tensors lying in each way, then each in a way of its own; with a residual, so that all there are take part.
fn viewed(one: &Subject) -> Vec<Subject> {
    let one = one.with(|it| it.residual(true).activation(Activation::Silu));
    let shape = one.descriptor.shape();
    let axis = channel_axis(&one);
    let views = [slice(shape, axis), crop(shape), permuted(shape, axis), flip(shape)];
    let alike = views.each_ref().map(|view| with_views(&one, |_| view.clone()));
    let own = with_views(&one, |i| views[i % views.len()].clone());
    let signs = own.with(|it| it.activation(Activation::LeakyRelu(0.1)));
    // One row of values for all, and one value a row.
    let last = shape.len() - 1;
    let spread = [0, last].map(|axis| {
        let mut view = View::of_dense(shape, &[]);
        view.strides[axis] = 0;
        one.with(|it| it.view(Tensor::Residual, view))
    });
    alike.into_iter().chain([own, signs]).chain(spread).collect()
}

fn with_views(one: &Subject, view: impl Fn(usize) -> View) -> Subject {
    one.with(|it| Tensor::ALL.into_iter().enumerate().fold(it, |it, (i, tensor)| it.view(tensor, view(i))))
}

fn channel_axis(one: &Subject) -> usize {
    if one.descriptor.layout() == Layout::ChannelsFirst { 1 } else { one.descriptor.shape().len() - 1 }
}

/// The middle third of an axis of a larger tensor.
fn slice(shape: &[usize], axis: usize) -> View {
    let (mut whole, mut start) = (shape.to_vec(), vec![0; shape.len()]);
    (whole[axis], start[axis]) = (3 * shape[axis], shape[axis]);
    View::of_dense(&whole, &start)
}

/// Without the margin of a tensor that is larger along every axis.
fn crop(shape: &[usize]) -> View {
    View::of_dense(&shape.iter().map(|size| size + 3).collect::<Vec<_>>(), &vec![1; shape.len()])
}

/// In memory with the channels at the other end.
fn permuted(shape: &[usize], axis: usize) -> View {
    let mut order: Vec<usize> = (0..shape.len()).filter(|i| *i != axis).collect();
    order.insert(if axis == 1 { shape.len() - 1 } else { 1 }, axis);
    let dense = View::of_dense(&order.iter().map(|axis| shape[*axis]).collect::<Vec<_>>(), &[]);
    let back: Vec<usize> = (0..shape.len()).map(|axis| order.iter().position(|i| *i == axis).unwrap_or(axis)).collect();
    dense.permuted(&back)
}

/// The last two axes backwards.
fn flip(shape: &[usize]) -> View {
    let View { mut offset, mut strides } = View::of_dense(shape, &[]);
    for axis in shape.len() - 2..shape.len() {
        offset += (shape[axis] - 1) * strides[axis].unsigned_abs();
        strides[axis] = -strides[axis];
    }
    View { offset, strides }
}

/// The training passes, and dx alone.
fn some_training() -> Vec<Operation> {
    vec![OPERATIONS[1], OPERATIONS[2], Operation::Backward(Gradients::DX)]
}

fn placed(placement: Placement) -> Vec<Way> {
    regimes().map(|choice| Way { choice, placement, ..Way::BY_RULE }).to_vec()
}

fn subjects(shapes: &[(&'static str, &[usize])]) -> Vec<Subject> {
    shapes.iter().map(|(axes, shape)| Subject::new(axes, shape)).collect()
}

/// Resident in workgroups of a size that every device has, whatever its rule; cached; split into more
/// parts than one.
fn regimes() -> [Choice; 3] {
    let tile = Some(Tile { columns: 1, lanes: 64 });
    [
        Choice { regime: Some(Regime::Resident), tile, ..BY_RULE },
        Choice { regime: Some(Regime::Cached), ..BY_RULE },
        Choice { regime: Some(Regime::Split), parts: Some(3), ..BY_RULE },
    ]
}

/// Units that meet within a load, or have copies, with what bears on that.
fn joined_with_options(shapes: &[(&'static str, &[usize])]) -> Vec<Subject> {
    each(
        &subjects(shapes),
        &[
            |it| it.types(Types::mixed(Float::F16)).activation(Activation::Relu).residual(true),
            |it| it.types(Types::all(Float::Bf16)).activation(Activation::Silu).residual(true),
            |it| it.activation(Activation::Relu).residual(true).health(true),
            |it| it.backward_from_y(true).activation(Activation::LeakyRelu(0.1)).health(true),
            |it| it.affine(false, false).renorm(RENORM).running(averaged()),
        ],
    )
}

/// Ways of going over rows that no load divides, and over several as one, where the device has 64-bit words: cached,
/// split, lanes in blocks, and in place.
fn joined() -> [Way; 5] {
    let cached = Tuning { items: 0, ..Tuning::CPU };
    let split = Tuning { slab: 0, merge: 0, ..cached };
    let blocks = Tuning { order: Order::Blocked, ..cached };
    let in_place = |tuning| Way { placement: Placement::InPlace, ..Way::tuned(tuning) };
    [Way::tuned(cached), Way::tuned(split), Way::tuned(blocks), in_place(cached), in_place(split)]
}

/// Bands of a tile or two, whose parts every workgroup merges, or a dispatch of their own; as software drivers have
/// them; and in place.
fn in_bands() -> [Way; 5] {
    let banded = |tuning| Tuning { band: 3_000, columns: [1, 2], lanes: 32, items: 0, slab: 0, merge: 0, ..tuning };
    let merging = banded(Tuning::GPU);
    let settled = Tuning { settle: 1, ..merging };
    let software = Tuning { lanes: 8, ..banded(Tuning::CPU) };
    let in_place = |tuning| Way { placement: Placement::InPlace, ..Way::tuned(tuning) };
    [Way::tuned(merging), Way::tuned(settled), Way::tuned(software), in_place(merging), in_place(settled)]
}

/// 16-byte and single accesses, lanes interleaved and in blocks.
fn accesses() -> [Choice; 4] {
    let of = |wide, order| Choice { wide: Some(wide), order: Some(order), ..BY_RULE };
    [of(true, Order::Interleaved), of(true, Order::Blocked), of(false, Order::Interleaved), of(false, Order::Blocked)]
}

fn merged(regime: Choice, access: Choice) -> Way {
    Way::choosing(Choice { wide: access.wide, order: access.order, ..regime })
}

/// All gradients but none and all.
fn some_gradients() -> impl Iterator<Item = Gradients> {
    (1..7).map(|bits| Gradients { dx: bits & 1 > 0, dgamma: bits & 2 > 0, dbeta: bits & 4 > 0 })
}

/// None; PyTorch's with its counter and as an average over all batches; those of the frameworks.
fn conventions() -> Vec<Option<Running>> {
    let pytorch = Convention::PyTorch.running();
    let own = [
        None,
        Some(Running { counts_batches: true, ..pytorch }),
        Some(Running { momentum: Momentum::Cumulative, ..pytorch }),
    ];
    own.into_iter().chain(Convention::ALL.map(|convention| Some(convention.running()))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use wgpu_batchnorm::recipe::{Capabilities, Recipe};
    use wgpu_batchnorm::tuning::AdapterKind;

    use super::*;

    /// Both suites reach every family of every operation in both layouts, with and without 16-byte accesses,
    /// on a device that has what WebGPU promises and no more.
    #[test]
    fn every_family_is_reached() {
        for (quick, kind) in
            [true, false].into_iter().flat_map(|q| [AdapterKind::Gpu, AdapterKind::Cpu].map(|k| (q, k)))
        {
            let capabilities = Capabilities::webgpu_default(kind);
            let mut reached = HashSet::new();
            let mut banded = 0;
            for Block { subjects, operations, ways, .. } in blocks(quick) {
                for (subject, operation) in subjects.iter().flat_map(|s| operations.iter().map(move |o| (s, *o))) {
                    for way in &ways {
                        let tuning = way.tuning.unwrap_or(Tuning::of(kind));
                        let Subject { descriptor, .. } = subject;
                        if let Ok(recipe) = Recipe::new(descriptor, operation, &capabilities, &tuning, &way.choice) {
                            reached.insert((operation, recipe.regime, recipe.wide, subject.axes));
                            banded += usize::from(recipe.bands > 1);
                        }
                    }
                }
            }
            assert!(quick || banded > 300, "{banded} in bands");
            for axes in RANKS.map(|(axes, _)| axes) {
                for wide in if quick { &[true][..] } else { &[true, false] } {
                    for operation in GATHERING {
                        assert!(
                            reached.contains(&(operation, Regime::Resident, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                        assert!(
                            reached.contains(&(operation, Regime::Split, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                    }
                    for operation in ELEMENTWISE {
                        assert!(
                            reached.contains(&(operation, Regime::Elementwise, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                    }
                }
            }
        }
    }
}
