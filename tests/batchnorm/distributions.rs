//! Data that is not normally distributed: mean, variance and y are as near as the tolerances say, in every layout,
//! with padding, groups and steps as without. What is expected is computed here, in f64.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::verify::{Answer, Placement, Problem};
use wgpu_batchnorm::{Choice, Descriptor, Gpu, Layout, Mask, Over, Padding};

use crate::adapters::{on_every_gpu, say};

/// Half the distance from 1 to the next f32.
const U: f64 = 1.0 / (1 << 24) as f64;
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Uniform in (0, 1), of a generator that starts with the low bits of its state spread.
struct Draws(u64);

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// The i-th of m values that count.
type Value = fn(usize, usize, &mut Draws) -> f64;

const KINDS: [(&str, Value); 34] = [
    ("normal", |_, _, draws| draws.normal()),
    ("one value first", |i, _, _| if i == 0 { 0.7 } else { 0.0 }),
    ("one value in the middle", |i, m, _| if i == m / 2 { 0.7 } else { 0.0 }),
    ("one value last", |i, m, _| if i + 1 == m { 0.7 } else { 0.0 }),
    ("an outlier first", |i, _, draws| if i == 0 { 1e5 } else { draws.normal() }),
    ("a far outlier first", |i, _, draws| if i == 0 { 1e6 } else { 1e-3 * draws.normal() }),
    ("a vast outlier first", |i, _, draws| if i == 0 { 1e10 } else { draws.uniform() }),
    ("1 % ones", |_, _, draws| if draws.uniform() < 0.01 { 1.0 } else { 0.0 }),
    ("1 % ones, noise", |_, _, draws| if draws.uniform() < 0.01 { 1.0 } else { 1e-4 * draws.normal() }),
    ("sorted", |i, m, _| i as f64 / m as f64 - 0.3),
    ("falling", |i, m, _| (-20.0 * i as f64 / m as f64).exp()),
    ("alternating", |i, _, _| if i % 2 == 0 { 1.0 } else { -1.0 }),
    ("a step", |i, m, draws| if i < m / 10 { draws.normal() } else { 1e3 + draws.normal() }),
    ("a late step", |i, m, draws| if i < 3 * m / 10 { draws.normal() } else { 1e3 + draws.normal() }),
    ("an early step", |i, m, draws| if i < m / 100 { draws.normal() } else { 1e3 + draws.normal() }),
    ("179 times one value, then 0", |i, _, _| if i < 179 { 0.3 } else { 0.0 }),
    ("a tenth one value, then 0", |i, m, _| if i < m / 10 { 0.3 } else { 0.0 }),
    ("exponential", |_, _, draws| -draws.uniform().ln()),
    ("lognormal", |_, _, draws| (2.0 * draws.normal()).exp()),
    ("around 1e3", |_, _, draws| 1e3 + draws.normal()),
    ("around -1e5", |_, _, draws| -1e5 + draws.normal()),
    ("around 1e6", |_, _, draws| 1e6 + draws.normal()),
    ("constant", |_, _, _| 0.1),
    ("huge", |_, _, draws| 1e37 * draws.normal()),
    ("1e20 in the middle", |i, m, draws| if i == m / 2 { 1e20 } else { draws.normal() }),
    ("1e20 first", |i, _, draws| if i == 0 { 1e20 } else { draws.normal() }),
    ("3e38 and -3e38 in turns", |i, _, _| if i % 2 == 0 { 3e38 } else { -3e38 }),
    ("0, then 1e35", |i, _, _| if i == 0 { 0.0 } else { 1e35 }),
    ("constant 3e38", |_, _, _| 3e38),
    ("tiny", |_, _, draws| 1e-18 * draws.normal()),
    ("one of 1e-20 first", |i, _, _| if i == 0 { 1e-20 } else { 0.0 }),
    ("one of 1e-30 first", |i, _, _| if i == 0 { 1e-30 } else { 0.0 }),
    ("constant 1e-30", |_, _, _| 1e-30),
    ("subnormal", |_, _, draws| 1e-40 * draws.normal()),
];

/// What a shape is made of: which unit each value is of, and whether it counts.
struct Form {
    name: &'static str,
    descriptor: Descriptor,
    /// Of each value of x its unit, as saved statistics have them, and its position.
    places: Vec<(usize, usize)>,
    valid: Vec<bool>,
    units: usize,
}

impl Form {
    fn new(name: &'static str, descriptor: Descriptor, counts: fn(usize, usize) -> bool) -> Self {
        let shape = descriptor.shape().to_vec();
        let first = descriptor.layout() == Layout::ChannelsFirst;
        let (samples, channels) = (shape[0], if first { shape[1] } else { *shape.last().unwrap() });
        let length: usize = shape.iter().product::<usize>() / samples / channels;
        let groups = match descriptor.over_groups() {
            Some(of_group) => samples.div_ceil(of_group),
            None => 1,
        };
        let places = (0..samples * channels * length).map(|i| {
            let (sample, rest) = (i / (channels * length), i % (channels * length));
            let (channel, within) =
                if first { (rest / length, rest % length) } else { (rest % channels, rest / channels) };
            let unit = match descriptor.over_groups() {
                Some(of_group) => sample / of_group * channels + channel,
                None if !descriptor.is_stepped() => channel,
                None if first => channel * length + within,
                None => within * channels + channel,
            };
            (unit, sample * length + within)
        });
        let units = channels * if descriptor.is_stepped() { length } else { groups };
        let valid = match descriptor.is_padded() {
            true => (0..samples * length).map(|i| counts(i / length, i % length)).collect(),
            false => vec![],
        };
        Self { name, places: places.collect(), valid, units, descriptor }
    }

    fn counts(&self, position: usize) -> bool {
        self.valid.get(position).copied().unwrap_or(true)
    }
}

trait Asked {
    fn over_groups(&self) -> Option<usize>;
    fn is_stepped(&self) -> bool;
    fn is_padded(&self) -> bool;
}

impl Asked for Descriptor {
    fn over_groups(&self) -> Option<usize> {
        (self.clone().over(Over::Groups { samples: 2 }) == *self).then_some(2)
    }

    fn is_stepped(&self) -> bool {
        self.clone().over(Over::Steps { kept: 2 }) == *self
    }

    fn is_padded(&self) -> bool {
        self.clone().padding(Padding::None) != *self
    }
}

/// A unit's first, middle and last values are padding, and some between.
fn some(sample: usize, within: usize) -> bool {
    sample % 2 == 1 && within > 40 && (sample * 31 + within * 7919) % 10 < 7
}

fn lengths(sample: usize, within: usize) -> bool {
    sample % 2 == 1 && within < 40
}

fn forms() -> Vec<Form> {
    let first = |shape: &[usize]| Descriptor::new(shape, Layout::ChannelsFirst);
    let last = |shape: &[usize]| Descriptor::new(shape, Layout::ChannelsLast);
    let (bits, by_length) = (Padding::Mask(Mask::Bits), |axis| Padding::Lengths { axis });
    let (groups, steps) = (Over::Groups { samples: 2 }, Over::Steps { kept: 2 });
    vec![
        Form::new("N×C", last(&[1797, 8]), some),
        Form::new("N×C, odd", last(&[1797, 3]), some),
        Form::new("N×C, few", last(&[100, 8]), some),
        Form::new("N×C, three", last(&[3, 4099]), some),
        Form::new("N×C, eight", last(&[8, 2048]), some),
        Form::new("channels first", first(&[4, 2, 1000]), some),
        Form::new("channels first, odd rows", first(&[40, 3, 101]), some),
        Form::new("channels first, few", first(&[2, 3, 64]), some),
        Form::new("channels last", last(&[4, 500, 8]), some),
        Form::new("masked", first(&[4, 2, 1000]).padding(bits), some),
        Form::new("masked, channels last", last(&[4, 1000, 4]).padding(bits), some),
        Form::new("masked, few", first(&[4, 3, 120]).padding(bits), some),
        Form::new("lengths", first(&[4, 1, 64]).padding(by_length(2)), lengths),
        Form::new("lengths, channels last", last(&[40, 64, 4]).padding(by_length(1)), lengths),
        Form::new("groups", first(&[4, 2, 1000]).over(groups), some),
        Form::new("groups, masked", last(&[4, 1000, 4]).over(groups).padding(bits), some),
        Form::new("steps", first(&[500, 3, 3]).over(steps), some),
        Form::new("steps, channels last", last(&[500, 3, 4]).over(steps), some),
    ]
}

/// The worst errors: of the mean in units of 2⁻²⁴ of the mean |x|, of the variance in sixteenths of
/// its tolerance, which are 2⁻²⁴ of itself where that has no other terms, of the mean of y (γ is 1, β 0) in 2⁻²⁴.
#[derive(Default)]
struct Worst {
    mean: Off,
    variance: Off,
    y: Off,
}

/// How far, and with which data.
#[derive(Default)]
struct Off(f64, String);

impl Off {
    fn add(&mut self, off: f64, what: &str) {
        if off > self.0 {
            *self = Self(off, what.to_owned());
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { mean, variance, y } = self;
        writeln!(f, "off by at most, in units of 2^-24:")?;
        writeln!(f, "  mean {:.1} ({})", mean.0, mean.1)?;
        writeln!(f, "  variance {:.1} ({})", variance.0, variance.1)?;
        write!(f, "  mean of y {:.1} ({})", y.0, y.1)
    }
}

/// Data of this kind, and γ = 1, β = 0; what does not count is large.
fn problem(form: &Form, value: Value) -> (Problem, Vec<Vec<f64>>) {
    let mut problem = Problem::random(form.descriptor.clone(), 0.0, 1.0, 1);
    problem.gamma.fill(1.0);
    problem.beta.fill(0.0);
    problem.valid.clone_from(&form.valid);
    let mut many = vec![0; form.units];
    form.places.iter().filter(|(_, position)| form.counts(*position)).for_each(|(unit, _)| many[*unit] += 1);
    let mut draws = Draws(5);
    let mut values = vec![vec![]; form.units];
    for (x, (unit, position)) in problem.x.iter_mut().zip(&form.places) {
        *x = -7e7;
        if form.counts(*position) {
            *x = value(values[*unit].len(), many[*unit], &mut draws) as f32;
            values[*unit].push(f64::from(*x));
        }
    }
    (problem, values)
}

/// Panics where an answer is out.
fn judge(what: &str, form: &Form, values: &[Vec<f64>], answer: &Answer, worst: &mut Worst) {
    let (saved, y) = (answer.get("saved"), answer.get("y"));
    let mut sums = vec![0.0; form.units];
    for (y, (unit, position)) in y.iter().zip(&form.places) {
        if form.counts(*position) {
            sums[*unit] += f64::from(*y);
        }
    }
    for (unit, values) in values.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
        let m = values.len() as f64;
        let mean = values.iter().sum::<f64>() / m;
        let size = values.iter().map(|x| x.abs()).sum::<f64>() / m;
        let squares = || values.iter().map(|x| (x - mean).powi(2));
        let (variance, farthest) = (squares().sum::<f64>() / m, squares().fold(0.0, f64::max));
        let [got_mean, got_variance, got_count] = [0, 2, 3].map(|plane| f64::from(saved[plane * form.units + unit]));
        assert_eq!(got_count, m, "{what}");

        let of_mean = (4.0 + m.log2() / 2.0) * U * size + SMALLEST;
        assert!((got_mean - mean).abs() <= of_mean, "{what}: the mean of unit {unit} is {got_mean} for {mean}");
        worst.mean.add((got_mean - mean).abs() / (size * U).max(SMALLEST), what);

        let rounding = 16.0 * U * variance + 4.0 * U * size * variance.sqrt() + 4.0 * of_mean * of_mean;
        let of_variance = rounding + 8.0 * U * farthest / m + 3.0 * SMALLEST;
        if variance > f64::from(f32::MAX) {
            assert!(
                got_variance == f64::INFINITY,
                "{what}: the variance of unit {unit} is {got_variance} for {variance}"
            );
        } else {
            let error = (got_variance - variance).abs();
            assert!(error <= of_variance, "{what}: the variance of unit {unit} is {got_variance} for {variance}");
            worst.variance.add(16.0 * error / of_variance, what);
        }

        // Sums are about a centre within 1.25 deviations of the mean, so that values are of 2.25 on average; and y rounds.
        let of_y = (2.25 * (4.0 + m.log2() / 2.0) + 4.0) * U;
        let of_y = of_y + 400.0 * SMALLEST;
        let mean_of_y = sums[unit] / m;
        assert!(mean_of_y.abs() <= of_y, "{what}: the mean of y of unit {unit} is {mean_of_y}");
        worst.y.add(mean_of_y.abs() / U, what);
    }
}

fn check(gpu: &Gpu, form: &Form, choice: Choice, kinds: &[(&str, Value)], worst: &mut Worst) {
    let kernels = gpu.kernels.choosing(choice);
    if kernels.forward(&form.descriptor).is_err() {
        return;
    }
    for (kind, value) in kinds {
        let (problem, values) = problem(form, *value);
        let run = problem.run(gpu, &kernels, Operation::Forward, Placement::Separate);
        let answer = pollster::block_on(run).unwrap();
        let what = format!("{}: {}, {:?}: {kind}", gpu.name(), form.name, choice.regime);
        judge(&what, form, &values, &answer, worst);
    }
}

#[test]
fn mean_and_variance_are_right_whatever_the_data() {
    let forms = forms();
    on_every_gpu(|gpu| {
        let mut worst = Worst::default();
        for form in &forms {
            for (regime, parts) in [(None, None), (Some(Regime::Resident), None), (Some(Regime::Split), Some(3))] {
                check(gpu, form, Choice { regime, parts, ..Choice::default() }, &KINDS, &mut worst);
            }
        }
        say(&format!("{}: {worst}", gpu.name()));
    });
}

/// The kinds that are hardest, of many values.
fn hard() -> Vec<(&'static str, Value)> {
    let names = [
        "normal",
        "one value first",
        "an outlier first",
        "a vast outlier first",
        "1 % ones",
        "1 % ones, noise",
        "sorted",
        "around 1e6",
        "an early step",
        "a tenth one value, then 0",
    ];
    names.iter().map(|name| *KINDS.iter().find(|kind| kind.0 == *name).unwrap()).collect()
}

#[test]
fn mean_and_variance_are_right_of_many_values() {
    let forms = [
        Form::new("a million", Descriptor::new([1, 1, 1_000_000], Layout::ChannelsFirst), some),
        Form::new("ten million", Descriptor::new([10_000_000, 1], Layout::ChannelsLast), some),
    ];
    on_every_gpu(|gpu| {
        let mut worst = Worst::default();
        check(gpu, &forms[0], Choice::default(), &hard(), &mut worst);
        check(gpu, &forms[1], Choice::default(), &hard()[1..4], &mut worst);
        // As many blocks of a lane as there may be, beside one large value.
        let one_part = Choice { parts: Some(1), ..Choice::default() };
        check(gpu, &forms[0], one_part, &hard()[2..4], &mut worst);
        say(&format!("{}, of many values: {worst}", gpu.name()));
    });
}

#[test]
#[ignore = "needs 10 GB of memory and some minutes"]
fn mean_and_variance_are_right_of_a_hundred_million_values() {
    let form = Form::new("a hundred million", Descriptor::new([4, 1, 25_000_000], Layout::ChannelsFirst), some);
    on_every_gpu(|gpu| {
        let mut worst = Worst::default();
        check(gpu, &form, Choice::default(), &hard(), &mut worst);
        say(&format!("{}, of a hundred million values: {worst}", gpu.name()));
    });
}
