//! A NaN or an infinity shows where plain arithmetic says, and nowhere else: the reference and the kernels against a
//! second computation.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::reference::{self, Backward, Forward, Statistics, Tensors};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::verify::{Answer, Expected, Placement, Problem};
use wgpu_batchnorm::{
    Activation, Choice, Error, Float, Gpu, Gradients, Kernels, Layout, Over, PlanError, Renorm, Types,
};

use crate::adapters::{gpus, on_every_gpu};
use crate::check::{OPERATIONS, check, judge};
use crate::plain::{Data, Plain, Used};
use crate::steps::in_parts;

const FIRST: Layout = Layout::ChannelsFirst;
const LAST: Layout = Layout::ChannelsLast;

const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.25),
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clamp(-0.5, 1.0),
];

/// Those that a backward pass from y takes.
const INVERTIBLE: [Activation; 2] = [Activation::Identity, Activation::LeakyRelu(0.25)];

const RENORM: Option<Renorm> = Some(Renorm { r_max: 1.25, d_max: 0.5 });

const POISONS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// Between −2 and 2, and a value of every type: f32, f16 and bf16.
    fn value(&mut self) -> f32 {
        let uniform = (self.below(1 << 20) as f32 + 0.5) / (1 << 18) as f32 - 2.0;
        in_any_type(uniform)
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

fn in_any_type(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & 0xffff_0000)
}

/// A batch norm with data.
pub struct Case {
    pub plain: Plain,
    pub problem: Problem,
}

fn data(problem: &Problem) -> Data<'_> {
    let Problem { x, dy, residual, gamma, beta, running_mean, running_variance, valid, .. } = problem;
    Data { x, dy, residual, gamma, beta, running_mean, running_variance, valid }
}

impl Case {
    /// Random data: a value in nine of dy is 0, as is dy at padding, of which every second value is no number.
    fn new(plain: Plain, types: Types, random: &mut Random) -> Self {
        let descriptor = plain.descriptor().types(types);
        let (values, channels) = (descriptor.shape().iter().product(), descriptor.channels());
        let kept = if let Over::Steps { kept } = plain.over { kept * channels } else { channels };
        let positions = if plain.padded { values / channels } else { 0 };
        let valid = (0..positions).map(|_| random.below(10) < 7).collect();
        let positive = |values: Vec<f32>| values.iter().map(|value| in_any_type(value.abs() + 0.25)).collect();
        let mut problem = Problem {
            x: random.values(values),
            dy: random.values(values),
            residual: random.values(if plain.residual { values } else { 0 }),
            gamma: random.values(channels),
            beta: random.values(channels),
            running_mean: random.values(kept),
            running_variance: positive(random.values(kept)),
            valid,
            saved: vec![],
            batches: 0,
            descriptor,
        };
        for i in 0..values {
            let padding = plain.padded && !problem.valid[plain.position(i)];
            if padding && random.below(2) == 0 {
                problem.x[i] = random.one_of(&POISONS);
            }
            if padding || random.below(9) == 0 {
                problem.dy[i] = 0.0;
            }
        }
        Self { plain, problem }
    }

    /// The same with what a forward pass saves.
    fn with_saved(mut self) -> Self {
        let (_, used) = self.plain.forward(&data(&self.problem));
        self.problem.saved = saved(&self.plain, &used).into_iter().map(|value| value as f32).collect();
        self
    }

    /// What the device is given, widened.
    fn used(&self) -> Used {
        let planes = if self.plain.renorm.is_some() { 6 } else { 4 };
        let units = self.problem.saved.len() / planes;
        let plane = |i: usize| self.problem.saved[i * units..][..units].iter().map(|value| f64::from(*value)).collect();
        let corrects = planes == 6;
        Used {
            mean: plane(0),
            inverse: plane(1),
            variance: plane(2),
            count: plane(3),
            ratio: if corrects { plane(4) } else { vec![1.0; units] },
            offset: if corrects { plane(5) } else { vec![0.0; units] },
        }
    }

    /// What is bound as x.
    fn seen(&self, operation: Operation) -> Vec<f32> {
        let (plain, data) = (&self.plain, &data(&self.problem));
        let y = match operation {
            Operation::Backward(_) if plain.from_y => plain.forward(data).0,
            Operation::FrozenBackward(_) if plain.from_y => plain.inference(data),
            _ => return self.problem.x.clone(),
        };
        y.into_iter().map(|y| y as f32).collect()
    }

    /// What an operation answers.
    pub fn expected(&self, operation: Operation) -> Vec<(&'static str, Vec<f64>)> {
        let (plain, seen) = (&self.plain, self.seen(operation));
        let data = &Data { x: &seen, ..data(&self.problem) };
        match operation {
            Operation::Inference => vec![("y", plain.inference(data))],
            Operation::Forward => {
                let (y, used) = plain.forward(data);
                let [mean, variance] = plain.running(data, &used);
                vec![("y", y), ("saved", saved(plain, &used)), ("running_mean", mean), ("running_variance", variance)]
            }
            Operation::Backward(_) => named(plain.backward(data, &self.used())),
            _ => named(plain.frozen_backward(data)),
        }
    }

    /// The same by the reference.
    pub fn by_reference(&self, operation: Operation) -> Vec<(&'static str, Vec<f64>)> {
        let (descriptor, seen) = (&self.problem.descriptor, self.seen(operation));
        let tensors = &Tensors { x: &seen, ..self.problem.tensors() };
        let gradients = |of: Backward| named([of.dx, of.dgamma, of.dbeta, of.dresidual]);
        match operation {
            Operation::Inference => vec![("y", reference::inference(descriptor, tensors))],
            Operation::Forward => {
                let Forward { y, statistics, .. } = reference::forward(descriptor, tensors);
                let (mean, variance) = reference::running(descriptor, &statistics, tensors, 1);
                let Statistics { mean: of_x, inverse_deviation: inverse, variance: square, count, ratio, offset } =
                    statistics;
                let used = Used { mean: of_x, inverse, variance: square, count, ratio, offset };
                let saved = saved(&self.plain, &used);
                vec![("y", y), ("saved", saved), ("running_mean", mean), ("running_variance", variance)]
            }
            Operation::Backward(_) => {
                let Used { mean, inverse: inverse_deviation, variance, count, ratio, offset } = self.used();
                let statistics = Statistics { mean, inverse_deviation, variance, count, ratio, offset };
                gradients(reference::backward(descriptor, tensors, &statistics))
            }
            _ => gradients(reference::frozen_backward(descriptor, tensors)),
        }
    }
}

fn named([dx, dgamma, dbeta, dresidual]: [Vec<f64>; 4]) -> Vec<(&'static str, Vec<f64>)> {
    vec![("dx", dx), ("dgamma", dgamma), ("dbeta", dbeta), ("dresidual", dresidual)]
}

/// The planes of what a forward pass saves.
fn saved(plain: &Plain, used: &Used) -> Vec<f64> {
    let Used { mean, inverse, variance, count, ratio, offset } = used;
    let planes = [mean, inverse, variance, count, ratio, offset];
    planes.into_iter().take(if plain.renorm.is_some() { 6 } else { 4 }).flatten().copied().collect()
}

/// Where two answers differ: one NaN and the other not, or not the same infinity, or numbers farther apart than
/// `off` of the largest and `rounding` of themselves.
pub fn difference(got: &[f64], expected: &[f64], off: f64, rounding: f64) -> Option<String> {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().filter(|value| value.is_finite()).fold(1.0_f64, |most, value| most.max(value.abs()));
    let differ = |got: f64, expected: f64| match expected {
        expected if expected.is_nan() => !got.is_nan(),
        expected if expected.is_infinite() => got != expected,
        expected => got.is_nan() || (got - expected).abs() > off * largest + rounding * expected.abs(),
    };
    let worst = got.iter().zip(expected).position(|(got, expected)| differ(*got, *expected))?;
    Some(format!("[{worst}] is {}, should be {}", got[worst], expected[worst]))
}

#[test]
fn the_reference_is_what_plain_arithmetic_says() {
    let mut random = Random(1);
    for case in 0..1_500 {
        let layout = random.one_of(&[FIRST, LAST]);
        let (samples, channels, steps) = (2 + random.below(4), 1 + random.below(6), 1 + random.below(5));
        let shape = if layout == FIRST { [samples, channels, steps] } else { [samples, steps, channels] };
        let over = [Over::Batch, Over::Groups { samples: 2 }, Over::Steps { kept: 1 + steps / 2 }];
        let from_y = random.below(4) == 0;
        let plain = Plain {
            epsilon: random.one_of(&[1e-5, 1e-3, 0.5]),
            gamma: random.below(4) > 0,
            beta: random.below(4) > 0,
            activation: random.one_of(if from_y { &INVERTIBLE } else { &ACTIVATIONS }),
            residual: !from_y && random.below(2) == 0,
            from_y,
            padded: random.below(2) == 0,
            over: random.one_of(&over),
            renorm: RENORM.filter(|_| !from_y && random.below(3) == 0),
            unbiased: random.below(2) == 0,
            ..Plain::new(&shape, layout)
        };
        let mut it = Case::new(plain, Types::default(), &mut random);
        // Every second case is plain.
        if case % 2 == 1 {
            let Problem { x, dy, residual, gamma, beta, running_mean, running_variance, .. } = &mut it.problem;
            let tensor = random.below(7);
            let tensor =
                [x, dy, residual, gamma, beta, running_mean, running_variance].into_iter().nth(tensor).unwrap();
            if !tensor.is_empty() {
                let at = random.below(tensor.len());
                tensor[at] = random.one_of(&POISONS);
            }
        }
        let it = it.with_saved();
        for operation in OPERATIONS {
            for ((name, got), (_, expected)) in it.by_reference(operation).iter().zip(it.expected(operation)) {
                let difference = difference(got, &expected, 1e-9, 0.0);
                assert_eq!(difference, None, "{case}: {operation} {name} of {:?}", it.plain);
            }
        }
    }
}

/// Every poison in every tensor, each in a channel of its own, beside channels without. (But an infinite γ only where
/// nothing corrects: γ·(x̂·r + d) is worked out as γ·r·x̂ + γ·d, which may be ∞ − ∞.)
fn poisoned(plain: Plain, types: Types, seed: u64) -> Case {
    let mut it = Case::new(plain, types, &mut Random(seed));
    let mut random = Random(seed);
    let channels: Vec<usize> = reference::channels_of(&it.problem.descriptor).collect();
    if it.plain.from_y {
        let Problem { gamma, beta, .. } = &mut it.problem;
        // Every second channel is lost, and x̂ is well known of the others.
        for (c, (gamma, beta)) in gamma.iter_mut().zip(beta).enumerate() {
            (*gamma, *beta) =
                if (c as u64 + seed).is_multiple_of(2) { (1e-6, 1.0) } else { (gamma.signum() + *gamma, *beta) };
        }
    }
    for (which, poison) in POISONS.into_iter().enumerate() {
        for tensor in 0..7 {
            let channel = 3 * tensor + which;
            let Problem { x, dy, residual, gamma, beta, running_mean, running_variance, valid, .. } = &mut it.problem;
            let counts = |i: usize| !it.plain.padded || valid[it.plain.position(i)];
            let of_channel: Vec<usize> = (0..x.len()).filter(|i| channels[*i] == channel && counts(*i)).collect();
            let place = random.one_of(&of_channel);
            match tensor {
                0 => x[place] = poison,
                1 => dy[place] = poison,
                2 if residual.is_empty() => {}
                2 => residual[place] = poison,
                3 if poison.is_infinite() && it.plain.renorm.is_some() => {}
                3 => gamma[channel] = poison,
                4 => beta[channel] = poison,
                5 => running_mean[channel] = poison,
                _ => running_variance[channel] = poison,
            }
        }
    }
    it.with_saved()
}

/// So many channels: 21 that are poisoned, and others.
const SHAPES: [(&[usize], Layout); 5] =
    [(&[4, 24, 8], FIRST), (&[4, 24, 7], FIRST), (&[20, 24], LAST), (&[4, 5, 25], LAST), (&[3, 23, 11], FIRST)];

fn assert_plain(gpu: &Gpu, it: &Case, operations: &[Operation], regime: Regime, types: Types) {
    let tile = Some(Tile { columns: 1, lanes: 64 });
    for operation in operations.iter().copied() {
        let run = |kernels: &Kernels| pollster::block_on(it.problem.run(gpu, kernels, operation, Placement::Separate));
        let parts = (regime == Regime::Split).then_some(3);
        let choice = Choice { regime: Some(regime), tile, parts, ..Choice::default() };
        let answer = match run(&gpu.kernels.choosing(choice)) {
            // Frozen statistics leave nothing to read twice, and a device may have too few bindings.
            Err(Error::Plan(PlanError::Choice { .. })) => run(&gpu.kernels),
            answer => answer,
        };
        let Answer(answer) = answer.unwrap();
        assert_tolerances(it, operation);
        judge(&gpu.name(), &it.problem, operation, &Answer(answer.clone()));
        for (name, expected) in it.expected(operation) {
            let Some((_, got)) = answer.iter().find(|(known, _)| *known == name) else { continue };
            let float = match name {
                "y" | "dx" | "dresidual" => types.x,
                "dgamma" | "dbeta" => types.parameters,
                "saved" => Float::F32,
                _ => types.running,
            };
            let rounding = match float {
                Float::F32 => 0.0,
                Float::F16 => f64::powi(2.0, -11),
                Float::Bf16 => f64::powi(2.0, -8),
            };
            let got: Vec<f64> = got.iter().map(|value| f64::from(*value)).collect();
            let difference = difference(&got, &expected, 1e-5, rounding);
            assert_eq!(difference, None, "{}: {operation} {name}, {regime} {types:?} {:?}", gpu.name(), it.plain);
        }
    }
}

/// What is finite may be off by something finite: beside what is not, it is judged all the same. (But an infinite γ may have
/// either sign before the activation.)
fn assert_tolerances(it: &Case, operation: Operation) {
    let channels: Vec<usize> = reference::channels_of(&it.problem.descriptor).collect();
    for Expected { name, values, tolerances } in it.problem.expect(operation) {
        for (i, (value, tolerance)) in values.iter().zip(&tolerances).enumerate() {
            let of_x = values.len() == channels.len();
            let unsure = of_x && it.plain.gamma && it.problem.gamma[channels[i]].is_infinite();
            let says = tolerance.is_finite() || !value.is_finite() || unsure && *tolerance > 0.0;
            assert!(says, "{operation}: {name}[{i}] is {value} with tolerance {tolerance}, {:?}", it.plain);
        }
    }
}

/// Every activation, with a residual and padded, on all shapes, in all regimes by turns; then some in 16 bits, and some
/// of what is normalised in other ways.
fn cases() -> Vec<(Plain, Types)> {
    let of = |turn: usize, activation, residual, padded| {
        let (shape, layout) = SHAPES[turn % SHAPES.len()];
        Plain { activation, residual, padded, ..Plain::new(shape, layout) }
    };
    let in_f32 = ACTIVATIONS.iter().flat_map(|activation| [(*activation, true, false), (*activation, false, true)]);
    let in_f32 =
        in_f32.enumerate().map(|(turn, (activation, residual, padded))| of(turn, activation, residual, padded));
    let types = [Types::all(Float::F16), Types::mixed(Float::Bf16), Types::mixed(Float::F16), Types::all(Float::Bf16)];
    let bent = [Activation::Identity, Activation::Relu, Activation::Gelu, Activation::Tanh];
    let in_16_bits =
        bent.into_iter().enumerate().map(|(turn, activation)| (of(turn, activation, true, true), types[turn]));

    let (groups, steps) = (Over::Groups { samples: 3 }, Over::Steps { kept: 2 });
    let (first, last) = (Plain::new(&[7, 24, 4], FIRST), Plain::new(&[7, 3, 24], LAST));
    let over = |over, activation, padded, of: &Plain| Plain { over, activation, padded, ..of.clone() };
    let others = [
        over(groups, Activation::Relu, true, &first),
        over(groups, Activation::Silu, false, &last),
        over(steps, Activation::Identity, false, &first),
        over(steps, Activation::Sigmoid, true, &last),
        Plain { renorm: RENORM, residual: true, ..over(Over::Batch, Activation::Relu, false, &first) },
        Plain { renorm: RENORM, ..over(Over::Batch, Activation::Tanh, true, &last) },
        Plain { renorm: RENORM, ..over(groups, Activation::Identity, false, &last) },
    ];
    // A channel's γ may be too small for x to be found again: then it is 1e-6 beside a β of 1 (see `poisoned`).
    let from_y = INVERTIBLE.into_iter().flat_map(|activation| [false, true].map(|padded| (activation, padded)));
    let from_y = from_y
        .enumerate()
        .map(|(turn, (activation, padded))| Plain { from_y: true, ..of(turn, activation, false, padded) });
    let in_f32 = in_f32.chain(others).chain(from_y).map(|plain| (plain, Types::default()));
    in_f32.chain(in_16_bits).collect()
}

#[test]
fn the_kernels_are_too() {
    let cases = cases();
    on_every_gpu(|gpu| {
        for (turn, (plain, types)) in cases.iter().enumerate() {
            let regime = [Regime::Resident, Regime::Split, Regime::Cached][turn % 3];
            assert_plain(gpu, &poisoned(plain.clone(), *types, turn as u64), &OPERATIONS, regime, *types);
        }
    });
}

fn assert_steps_plain(gpu: &Gpu, it: &Case) {
    let answers = in_parts(gpu, &it.problem);
    for (operation, answer) in [Operation::Forward, Operation::Backward(Gradients::ALL)].into_iter().zip(answers) {
        // (The residual's gradient is dy where nothing is cut off, and not written.)
        let bent = it.plain.activation != Activation::Identity;
        for (name, expected) in it.expected(operation).into_iter().filter(|(name, _)| bent || *name != "dresidual") {
            let got: Vec<f64> = answer.get(name).iter().map(|value| f64::from(*value)).collect();
            let difference = difference(&got, &expected, 1e-5, 0.0);
            assert_eq!(difference, None, "{}: {operation} {name} in parts, {:?}", gpu.name(), it.plain);
        }
    }
}

/// A batch in parts too, whose statistics and sums are merged.
#[test]
fn the_steps_are_too() {
    let (first, last) = (Plain::new(&[8, 24, 5], FIRST), Plain::new(&[8, 2, 3, 23], LAST));
    let cases = [
        Plain { padded: true, ..first.clone() },
        Plain { activation: Activation::Relu, residual: true, ..first },
        Plain { renorm: RENORM, ..last },
    ];
    for (gpu, plain) in gpus().iter().flat_map(|gpu| cases.iter().map(move |plain| (gpu, plain))) {
        assert_steps_plain(gpu, &poisoned(plain.clone(), Types::default(), 1));
    }
}

/// Every third channel's variance is more than an f32 holds, and so the running one's that it moves. What goes on there is
/// finite: y is β, dx and dγ are 0.
fn beyond(plain: Plain, seed: u64) -> Case {
    let mut it = Case::new(plain, Types::default(), &mut Random(seed));
    let channels: Vec<usize> = reference::channels_of(&it.problem.descriptor).collect();
    let mut seen = vec![0; it.problem.descriptor.channels()];
    let kinds: [fn(usize, f32) -> f32; 6] = [
        |i, _| if i % 2 == 0 { 3e38 } else { -3e38 },
        |_, x| 1.5e38 * x,
        |i, _| if i == 0 { 0.0 } else { 1e35 },
        // Farther from the mean than an f32 tells.
        |i, _| if i == 0 { -3.4e38 } else { 3e38 },
        |i, x| if i == 3 { 1e38 } else { x },
        |_, x| 1e25 * x,
    ];
    let Problem { x, running_mean, running_variance, valid, .. } = &mut it.problem;
    for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| !it.plain.padded || valid[it.plain.position(*i)]) {
        let channel = channels[i];
        if channel.is_multiple_of(3) {
            *x = kinds[channel / 3 % 6](seen[channel], *x);
        }
        seen[channel] += 1;
    }
    for c in (0..running_mean.len()).filter(|c| (c % seen.len()).is_multiple_of(3)) {
        (running_mean[c], running_variance[c]) = (if c % 2 == 0 { -3e38 } else { 1e38 }, f32::INFINITY);
    }
    it.with_saved()
}

#[test]
fn what_has_an_infinite_variance_is_finite() {
    // (Groups and steps have units of a few equal values. r of renormalization is 0/0 by running statistics that are
    // infinite too.)
    let whole = |(plain, types): (Plain, Types)| {
        let activations = [Activation::Identity, Activation::LeakyRelu(0.25), Activation::Gelu];
        let taken = types == Types::default() && activations.contains(&plain.activation);
        let taken = taken && plain.over == Over::Batch && plain.renorm.is_none();
        taken.then_some(plain)
    };
    let cases: Vec<Plain> = cases().into_iter().filter_map(whole).collect();
    on_every_gpu(|gpu| {
        for (turn, plain) in cases.iter().enumerate() {
            let regime = [Regime::Resident, Regime::Split, Regime::Cached][turn % 3];
            assert_plain(gpu, &beyond(plain.clone(), turn as u64), &OPERATIONS, regime, Types::default());
        }
        let first = Plain::new(&[8, 24, 5], FIRST);
        for plain in [Plain { activation: Activation::Relu, residual: true, ..first.clone() }, first] {
            assert_steps_plain(gpu, &beyond(plain, 1));
        }
    });
}

/// γ·(x̂·r + d) is worked out as γ·r·x̂ + γ·d, which may be ∞ − ∞: NaN or infinite in its channel, and nowhere else.
#[test]
fn an_infinite_scale_of_renormalization_stays_in_its_channel() {
    on_every_gpu(|gpu| {
        for plain in [Plain::new(&[4, 24, 8], FIRST), Plain::new(&[20, 24], LAST)] {
            let well =
                Case::new(Plain { renorm: RENORM, ..plain }, Types::default(), &mut Random(2)).with_saved().problem;
            let channels: Vec<usize> = reference::channels_of(&well.descriptor).collect();
            for gamma in [f32::INFINITY, f32::NEG_INFINITY] {
                let mut ill = well.clone();
                ill.gamma[5] = gamma;
                for (operation, name) in [(Operation::Forward, "y"), (Operation::Backward(Gradients::ALL), "dx")] {
                    let run = |problem: &Problem| {
                        pollster::block_on(problem.run(gpu, &gpu.kernels, operation, Placement::Separate)).unwrap()
                    };
                    let (well, ill) = (run(&well), run(&ill));
                    for ((well, ill), c) in well.get(name).iter().zip(ill.get(name)).zip(&channels) {
                        let as_before = well.to_bits() == ill.to_bits();
                        assert!(
                            if *c == 5 { !ill.is_finite() } else { as_before },
                            "{}: {name} of channel {c}",
                            gpu.name()
                        );
                    }
                }
            }
        }
    });
}

/// Statistics are as near as ever where what does not count is farther from it than an f32 tells.
#[test]
fn what_lies_at_padding_costs_nothing() {
    on_every_gpu(|gpu| {
        let shapes: [(&[usize], Layout); 4] =
            [(&[16, 3, 100], FIRST), (&[16, 3, 101], FIRST), (&[400, 8], LAST), (&[400, 5], LAST)];
        for (shape, layout) in shapes {
            let plain = Plain { padded: true, ..Plain::new(shape, layout) };
            let mut problem = Problem::random(plain.descriptor(), 1e6, 1.0, 3);
            let padding: Vec<usize> = (0..problem.x.len()).filter(|i| !problem.valid[plain.position(*i)]).collect();
            for i in padding {
                problem.x[i] = 1e30;
            }
            let problem = problem.with_saved();
            let tile = Some(Tile { columns: 1, lanes: 64 });
            for (regime, tile) in [(None, None), (Some(Regime::Resident), tile), (Some(Regime::Split), tile)] {
                let kernels = gpu.kernels.choosing(Choice { regime, tile, ..Choice::default() });
                // Not every shape can be resident in such a tile.
                if regime == Some(Regime::Resident) && kernels.forward(&problem.descriptor).is_err() {
                    continue;
                }
                check(gpu, &kernels, &problem, Operation::Forward, Placement::Separate);
            }
        }
    });
}
