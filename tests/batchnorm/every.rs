//! Every permutation that recipes ask for, found by making recipes: each option of a descriptor alone and with
//! each other one, on every layout, operation and sort of device.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock};

use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Recipe, Regime};
use wgpu_batchnorm::shader::{Access, Flag, Flags, Kernel, Permutation, Tile};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning};
use wgpu_batchnorm::{
    Activation, Descriptor, Float, Gradients, Layout, Mask, Momentum, Over, Padding, PlanError, Renorm, Running,
    Tensor, Types, View,
};

use crate::check::gradients;
use crate::permutations::on_all_cores;

type Change = fn(Descriptor) -> Descriptor;

/// What can be asked of a descriptor besides its shape, one thing each.
pub const OPTIONS: [(&str, Change); 45] = [
    ("nothing", |of| of),
    ("x in f16", |of| of.types(Types::mixed(Float::F16))),
    ("x in bf16", |of| of.types(Types::mixed(Float::Bf16))),
    ("all in f16", |of| of.types(Types::all(Float::F16))),
    ("all in bf16", |of| of.types(Types::all(Float::Bf16))),
    ("parameters in f16", |of| of.types(Types { running: Float::F32, ..Types::all(Float::F16) })),
    ("running in bf16", |of| of.types(Types { parameters: Float::F32, ..Types::all(Float::Bf16) })),
    ("no γ", |of| of.affine(false, true)),
    ("no β", |of| of.affine(true, false)),
    ("neither", |of| of.affine(false, false)),
    ("no running statistics", |of| of.running(None)),
    ("a counter", |of| of.running(Running { counts_batches: true, ..Running::default() })),
    ("cumulative", |of| of.running(Running { momentum: Momentum::Cumulative, ..Running::default() })),
    ("mask", |of| of.padding(Padding::Mask(Mask::Bits))),
    ("lengths", |of| {
        let axis = if of.layout() == Layout::ChannelsFirst { 2 } else { 1 };
        of.padding(Padding::Lengths { axis })
    }),
    ("mask of words", |of| of.padding(Padding::Mask(Mask::Words))),
    ("lengths of the last axis", |of| {
        let behind = if of.layout() == Layout::ChannelsFirst { 1 } else { 2 };
        let last = of.shape().len().saturating_sub(behind);
        of.padding(Padding::Lengths { axis: last })
    }),
    ("groups", |of| of.over(Over::Groups { samples: 3 })),
    ("steps", |of| of.over(Over::Steps { kept: 2 })),
    ("renorm", |of| of.renorm(Renorm { r_max: 3.0, d_max: 5.0 })),
    ("health", |of| of.health(true)),
    ("from y", |of| of.backward_from_y(true).health(true)),
    ("from y, leaky ReLU", |of| of.backward_from_y(true).activation(Activation::LeakyRelu(0.1))),
    ("ReLU", |of| of.activation(Activation::Relu)),
    ("leaky ReLU", |of| of.activation(Activation::LeakyRelu(0.1))),
    ("SiLU", |of| of.activation(Activation::Silu)),
    ("GELU", |of| of.activation(Activation::Gelu)),
    ("sigmoid", |of| of.activation(Activation::Sigmoid)),
    ("tanh", |of| of.activation(Activation::Tanh)),
    ("clamp", |of| of.activation(Activation::Clamp(0.0, 6.0))),
    ("residual", |of| of.residual(true)),
    ("residual, ReLU", |of| of.residual(true).activation(Activation::Relu)),
    ("residual, leaky ReLU", |of| of.residual(true).activation(Activation::LeakyRelu(0.1))),
    ("residual, SiLU", |of| of.residual(true).activation(Activation::Silu)),
    ("residual, GELU", |of| of.residual(true).activation(Activation::Gelu)),
    ("residual, sigmoid", |of| of.residual(true).activation(Activation::Sigmoid)),
    ("residual, tanh", |of| of.residual(true).activation(Activation::Tanh)),
    ("residual, clamp", |of| of.residual(true).activation(Activation::Clamp(0.0, 6.0))),
    ("views of 1 axis", |of| in_views(of, 1)),
    ("views of 2 axes", |of| in_views(of, 2)),
    ("views of 3 axes", |of| in_views(of, 3)),
    ("views of 4 axes", |of| in_views(of, 4)),
    ("views of 5 axes", |of| in_views(of, 5)),
    ("views of 6 axes", |of| in_views(of, 6)),
    ("a batch renormalized in groups", |of| {
        of.over(Over::Groups { samples: 3 }).renorm(Renorm { r_max: 3.0, d_max: 5.0 })
    }),
];

/// All tensors as crops of wider ones, in which this many axes cannot be walked as fewer.
fn in_views(of: Descriptor, axes: usize) -> Descriptor {
    let mut whole = of.shape().to_vec();
    whole.iter_mut().take(axes).skip(1).for_each(|axis| *axis += 4);
    // (One that is dense from the start is no view.)
    let view = View { offset: 4, ..View::of_dense(&whole, &[]) };
    Tensor::ALL.into_iter().fold(of, |of, tensor| of.view(tensor, view.clone()))
}

/// Of two options one of so many cases is taken.
const SHARE: usize = 37;

/// The fastest axis a multiple of 4 and not, which is the channels or not; and shapes of many axes.
const SHAPES: [(&[usize], Layout); 9] = [
    (&[64, 6, 12], Layout::ChannelsFirst),
    (&[64, 5, 7], Layout::ChannelsFirst),
    (&[64, 8, 9], Layout::ChannelsFirst),
    (&[64, 6, 12], Layout::ChannelsLast),
    (&[64, 5, 7], Layout::ChannelsLast),
    (&[4, 3, 2, 3, 2, 8], Layout::ChannelsFirst),
    (&[4, 3, 3, 3, 3, 7], Layout::ChannelsFirst),
    (&[4, 3, 2, 3, 2, 8], Layout::ChannelsLast),
    (&[4, 3, 2, 3, 2, 7], Layout::ChannelsLast),
];

/// Few storage buffers, as many as WebGPU promises, more; bindings so small that x takes several; and one buffer less than
/// what is pulled through an activation of a sum takes at once.
fn devices() -> [Capabilities; 5] {
    let promised = Capabilities::webgpu_default(AdapterKind::Gpu);
    let buffers = |storage_buffers| Capabilities { storage_buffers, ..promised };
    let small = Capabilities { binding_bytes: 4_096, alignment: 32, ..buffers(10) };
    [buffers(4), buffers(8), buffers(10), small, buffers(7)]
}

/// By rule, split, cached, and in tiles in which a lane keeps more or fewer elements.
fn choices() -> Vec<Choice> {
    let tiles =
        [8, 16, 32, 128, 256].map(|lanes| Choice { tile: Some(Tile { columns: 1, lanes }), ..Choice::default() });
    let split = Choice { regime: Some(Regime::Split), ..Choice::default() };
    let cached = Choice { regime: Some(Regime::Cached), ..Choice::default() };
    [Choice::default(), split, cached].into_iter().chain(tiles).collect()
}

/// Operations whose kernels differ in nothing else than the gradients that are wanted are left to the plain
/// descriptor.
pub const OPERATIONS: [Operation; 15] = [
    Operation::Inference,
    Operation::Forward,
    Operation::UpdateRunning,
    Operation::Backward(Gradients::ALL),
    Operation::Backward(Gradients::DX),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::DX),
    Operation::Gather,
    Operation::Merge(3),
    Operation::Finalize,
    Operation::Normalize,
    Operation::GatherBackward,
    Operation::MergeBackward(3),
    Operation::FinalizeBackward,
    Operation::ApplyBackward,
];

fn all_operations() -> Vec<Operation> {
    let both = |wanted| [Operation::Backward(wanted), Operation::FrozenBackward(wanted)];
    OPERATIONS.into_iter().chain(gradients().into_iter().flat_map(both)).collect()
}

/// A permutation but for its tile and how values move: `permutations` and `tint` see to those apart.
type Form = (Kernel, Flags, u32, u32);

fn form(permutation: &Permutation) -> Form {
    let Permutation { kernel, flags, items, dims, .. } = *permutation;
    let moves = [Flag::Chunked, Flag::Long, Flag::Twin, Flag::Ragged, Flag::Uneven, Flag::Folded, Flag::Copies];
    (kernel, moves.into_iter().fold(flags, Flags::without), items, dims)
}

/// Without what `permutations::ways` gives a permutation.
fn at_rest(permutation: Permutation) -> Permutation {
    let moves = [Flag::Long, Flag::Twin, Flag::Ragged, Flag::Uneven, Flag::Folded, Flag::Copies];
    Permutation { flags: moves.into_iter().fold(permutation.flags, Flags::without), ..permutation }
}

/// The same kernel for other buffers: y over x or dx over dy, several arguments in one buffer.
pub fn variants(permutation: Permutation) -> Vec<Permutation> {
    let slots = permutation.slots();
    let has = |name: &str| slots.iter().any(|slot| slot.name == name);
    let accesses = |access| slots.iter().any(|slot| slot.access == access);
    let over = (has("x") && has("y")) || (has("dy") && has("dx"));
    let mut all = vec![permutation];
    if over {
        all.push(permutation.in_place());
    }
    if accesses(Access::Read) && accesses(Access::Write) {
        all.extend(all.clone().into_iter().map(Permutation::for_one_buffer));
    }
    all
}

/// What is planned: a descriptor of these options and this shape.
struct Case {
    changes: Vec<Change>,
    shape: &'static [usize],
    layout: Layout,
    operation: Operation,
    device: Capabilities,
    choice: Choice,
}

impl Case {
    fn is_of(&self, (shape, layout): (&[usize], Layout)) -> bool {
        self.shape == shape && self.layout == layout
    }

    /// The permutations that its recipe asks for, if there is one.
    fn asks(&self) -> Vec<Permutation> {
        let Self { changes, shape, layout, operation, device, choice } = self;
        let descriptor = changes.iter().fold(Descriptor::new(*shape, *layout), |descriptor, change| change(descriptor));
        let asks = |(tuning, device): (Tuning, Capabilities)| match Recipe::new(
            &descriptor,
            *operation,
            &device,
            &tuning,
            choice,
        ) {
            Ok(recipe) => recipe.dispatches.iter().map(|dispatch| at_rest(dispatch.permutation)).collect(),
            Err(PlanError::Option { .. } | PlanError::View { .. } | PlanError::Limit { .. }) => vec![],
            Err(PlanError::Choice { .. } | PlanError::NoRunning) => vec![],
            Err(error) => panic!("{operation} of {descriptor:?}: {error}"),
        };
        // Parts merged by every workgroup, and by a dispatch of their own; bands of a tile; and rows that loads do not
        // divide.
        let software = Capabilities { int64: true, ..*device };
        let settled = Tuning { settle: 1, ..Tuning::GPU };
        let banded = Tuning { cache: 20_000, columns: [1, 1], items: 0, slab: 0, ..Tuning::GPU };
        let ragged = Tuning { items: 0, ..Tuning::CPU };
        let tunings = [(Tuning::GPU, *device), (settled, *device), (banded, *device), (ragged, software)];
        tunings.into_iter().flat_map(asks).collect()
    }
}

/// All combinations.
fn cases<'a>(
    changes: &'a [Change],
    operations: &'a [Operation],
    choices: &'a [Choice],
) -> impl Iterator<Item = Case> + 'a {
    let shapes = SHAPES.into_iter().flat_map(|shape| operations.iter().map(move |operation| (shape, *operation)));
    let ways = || devices().into_iter().flat_map(|device| choices.iter().map(move |choice| (device, *choice)));
    let knows_regimes = |case: &Case| {
        let whole =
            matches!(case.operation, Operation::Forward | Operation::Backward(_) | Operation::FrozenBackward(_));
        whole || case.choice == Choice::default()
    };
    let case = |((shape, layout), operation), (device, choice)| Case {
        changes: changes.to_vec(),
        shape,
        layout,
        operation,
        device,
        choice,
    };
    shapes.flat_map(move |of| ways().map(move |way| case(of, way))).filter(knows_regimes)
}

/// What they ask for, each form once and in an order of its own.
fn forms_of(cases: &[Case]) -> Vec<Permutation> {
    let found = Mutex::new(HashMap::new());
    on_all_cores(cases, |case| {
        let asked = case.asks();
        found.lock().unwrap().extend(asked.into_iter().map(|permutation| (form(&permutation), permutation)));
    });
    let mut all: Vec<Permutation> = found.into_inner().unwrap().into_values().collect();
    // Threads found them in any order.
    all.sort_by_cached_key(|permutation| format!("{:?}", form(permutation)));
    all
}

pub struct Every {
    /// Of each option alone, in all variants.
    pub single: Vec<Permutation>,
    /// Of pairs of options, what those leave out, each in one of its variants.
    pub pairs: Vec<Permutation>,
}

/// Whether a permutation is among those of single options, whatever its tile and the elements that a lane keeps
/// (of which plain ones come in all numbers).
pub fn is_single(permutation: &Permutation) -> bool {
    static FORMS: OnceLock<HashSet<Form>> = OnceLock::new();
    let keeps_none = |permutation: &Permutation| form(&Permutation { items: 0, ..*permutation });
    FORMS.get_or_init(|| every().single.iter().map(keeps_none).collect()).contains(&keeps_none(permutation))
}

/// All of them, once a run.
pub fn every() -> &'static Every {
    static EVERY: OnceLock<Every> = OnceLock::new();
    EVERY.get_or_init(|| {
        let choices = choices();
        let operations = all_operations();
        let plain = cases(&[], &operations, &choices);
        let options = OPTIONS.each_ref().map(|(_, change)| [*change]);
        let single = options.iter().flat_map(|change| cases(change, &OPERATIONS, &choices[..3]));
        let mut known = HashSet::new();
        // Of the plain ones all variants, of the others two by turns.
        let plain = forms_of(&plain.collect::<Vec<_>>());
        let single = forms_of(&single.collect::<Vec<_>>());
        let single = single.into_iter().enumerate().flat_map(|(i, permutation)| {
            let variants = variants(permutation);
            [variants[0], variants[i % variants.len()]]
        });
        let mut single: Vec<Permutation> = plain.into_iter().flat_map(variants).chain(single).collect();
        single.retain(|permutation| known.insert(form(permutation)));

        // Of two options a shape by turns on the device that can do most, and by turns all the rest.
        let pairs = (0..OPTIONS.len()).flat_map(|a| (0..a).map(move |b| [OPTIONS[a].1, OPTIONS[b].1]));
        let pairs: Vec<[Change; 2]> = pairs.collect();
        let cases = pairs.iter().enumerate().flat_map(|(i, changes)| {
            let fullest = move |case: &Case| case.is_of(SHAPES[i % 4]) && case.device == devices()[2];
            let cases = cases(changes, &OPERATIONS, &choices[..3]).enumerate();
            cases.filter(move |(k, case)| fullest(case) || (i + k) % SHARE == 0)
        });
        let pairs = forms_of(&cases.map(|(_, case)| case).collect::<Vec<_>>());
        let pairs = pairs.into_iter().enumerate().filter_map(|(i, permutation)| {
            let variants = variants(permutation);
            let variant = variants[i % variants.len()];
            known.insert(form(&variant)).then_some(variant)
        });
        Every { pairs: pairs.collect(), single }
    })
}

/// What is compiled: all of single options; and of pairs those in which two flags meet first, and some more.
pub fn checked() -> Vec<Permutation> {
    let Every { single, pairs } = every();
    let mut met = HashSet::new();
    let mut is_new = |permutation: &Permutation| {
        let flags = flags(permutation);
        let pairs = flags.iter().flat_map(|a| flags.iter().map(move |b| (permutation.kernel, *a, *b)));
        pairs.filter(|pair| met.insert(*pair)).count() > 0
    };
    for permutation in single {
        is_new(permutation);
    }
    let pairs = pairs.iter().enumerate().filter(|(i, permutation)| is_new(permutation) || i % 16 == 0);
    // Flags that a kernel does not ask for leave its text as it is.
    let mut texts = HashSet::new();
    let plain = |permutation: &Permutation| Permutation { tile: Tile { columns: 1, lanes: 1 }, ..*permutation }.wgsl();
    let all = single.iter().chain(pairs.map(|(_, permutation)| permutation));
    all.filter(|permutation| texts.insert(plain(permutation))).copied().collect()
}

/// All flags by name.
const FLAGS: &str = "wide channels_last packed bf16 packed_parameters packed_gradients packed_running strided gamma \
    beta running counter cumulative gradient frozen dx dgamma dbeta masked lengths leading words counted grouped stepped renorm \
    residual dresidual signs activation relu leaky_relu silu gelu sigmoid tanh clamp from_y health settled \
    banded known given in_place one_buffer";

/// Of all kernels.
const LAYOUT: &str =
    "wide channels_last packed bf16 packed_parameters packed_gradients packed_running strided one_buffer";

/// Flags of one kernel that has few: what they meet besides those.
const MEETS: [(&str, &str); 2] =
    [("cumulative", "grouped stepped"), ("gradient", "gamma beta frozen settled grouped stepped in_place")];

/// Flags that never meet.
const APART: [(&str, &str); 20] = [
    ("wide", "stepped"),
    ("packed_gradients", "grouped stepped"),
    // Of training forward; of the backward pass.
    ("running counter", "dx dgamma dbeta dresidual from_y counted frozen given settled renorm"),
    ("running", "grouped stepped"),
    ("frozen", "masked lengths leading words counted renorm given signs"),
    ("settled", "gamma dgamma dbeta health counted given"),
    // The first band's first pass counts batches.
    ("banded", "counter frozen given settled"),
    // Found in scratch through frozen statistics: what is bound else.
    ("known", "gamma beta running counter signs from_y health settled banded given"),
    ("known", "masked lengths leading words counted renorm"),
    ("words", "lengths leading"),
    ("given", "dgamma dbeta dresidual grouped stepped health"),
    ("dresidual", "from_y health"),
    // What can be inverted.
    ("from_y", "residual signs renorm relu silu gelu sigmoid tanh clamp"),
    // What has no bend.
    ("signs", "silu gelu sigmoid tanh"),
    // An activation is one.
    ("relu", "leaky_relu silu gelu sigmoid tanh clamp"),
    ("leaky_relu", "silu gelu sigmoid tanh clamp"),
    ("silu", "gelu sigmoid tanh clamp"),
    ("gelu", "sigmoid tanh clamp"),
    ("sigmoid", "tanh clamp"),
    ("tanh", "clamp"),
];

fn has(list: &str, name: &str) -> bool {
    list.split(' ').any(|word| word == name)
}

/// The flags of a permutation.
fn flags(permutation: &Permutation) -> Vec<&'static str> {
    let names = format!("{:?}", permutation.flags);
    let named = |name: &str| FLAGS.split(' ').find(|flag| *flag == name).unwrap_or_else(|| panic!("flag {name}?"));
    let listed = names.split('"').skip(1).step_by(2);
    listed.filter(|name| !["chunked", "long"].contains(name)).map(named).collect()
}

#[test]
fn all_flags_meet_that_can() {
    let Every { single, pairs } = every();
    let mut met = HashSet::new();
    for flags in single.iter().chain(pairs).map(flags) {
        met.extend(flags.iter().flat_map(|a| flags.iter().map(move |b| (*a, *b))));
    }
    let apart = |a: &str, b: &str| {
        let stays = |(flag, meets): &(&str, &str)| *flag == a && *flag != b && !has(LAYOUT, b) && !has(meets, b);
        APART.iter().any(|(some, others)| has(some, a) && has(others, b)) || MEETS.iter().any(stays)
    };
    let pairs = FLAGS.split(' ').flat_map(|a| FLAGS.split(' ').map(move |b| (a, b)));
    let wrong = pairs.filter(|(a, b)| met.contains(&(*a, *b)) == (apart(a, b) || apart(b, a)));
    assert_eq!(wrong.collect::<Vec<_>>(), [], "meet and should not, or the other way round");
}
