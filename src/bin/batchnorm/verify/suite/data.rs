//! The data that problems get: kinds by name, each made of normally distributed values.

use wgpu_batchnorm::reference;
use wgpu_batchnorm::verify::Problem;

/// A kind of data.
#[derive(Clone, Copy)]
pub struct Data {
    /// What a report calls it.
    pub name: &'static str,
    /// What becomes of the normally distributed values.
    pub of: fn(Problem) -> Problem,
}

impl Data {
    const fn new(name: &'static str, of: fn(Problem) -> Problem) -> Self {
        Self { name, of }
    }
}

/// As they are drawn.
pub const NORMAL: Data = Data::new("normal", |p| p);

pub const NOTHING_VALID: Data =
    Data::new("nothing valid", |p| Problem { valid: vec![false; p.valid.len()], ..p }.with_saved());

pub const ONE_VALID: Data = Data::new("position 17 alone valid", |mut p| {
    p.valid.fill(false);
    p.valid[17] = true;
    p
});

pub const ENDS_CUT: Data = Data::new("first, middle and last position padding", |mut p| {
    let n = p.valid.len();
    [0, n / 2, n - 1].into_iter().for_each(|i| p.valid[i] = false);
    p.with_saved()
});

pub const NOT_FINITE: Data = Data::new("NaN, inf and -inf at 1, 40 and 100", |mut p| {
    (p.x[1], p.x[40], p.x[100]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    p
});

/// Not normally distributed.
pub const DISTRIBUTIONS: [Data; 13] = [
    Data::new("0.7 first, else 0", |p| filled(p, |i, _, _| if i == 0 { 0.7 } else { 0.0 })),
    Data::new("0.7 in the middle, else 0", |p| filled(p, |i, m, _| if i == m / 2 { 0.7 } else { 0.0 })),
    Data::new("0.7 last, else 0", |p| filled(p, |i, m, _| if i + 1 == m { 0.7 } else { 0.0 })),
    Data::new("1e5 first", |p| filled(p, |i, _, x| if i == 0 { 1e5 } else { x })),
    Data::new("few ones among zeros", |p| filled(p, |_, _, x| if x > 2.8 { 1.0 } else { 0.0 })),
    Data::new("sorted", |p| filled(p, |i, m, _| i as f32 / m as f32 - 0.3)),
    Data::new("1 and -1 in turns", |p| filled(p, |i, _, _| if i % 2 == 0 { 1.0 } else { -1.0 })),
    Data::new("a step of 1e3 at a tenth", |p| filled(p, |i, m, x| if i < m / 10 { x } else { 1e3 + x })),
    Data::new("times 1e37", |p| filled(p, |_, _, x| 1e37 * x)),
    Data::new("1e19 in the middle", |p| filled(p, |i, m, x| if i == m / 2 { 1e19 } else { x })),
    Data::new("3e38 and -3e38 in turns", |p| filled(p, |i, _, _| if i % 2 == 0 { 3e38 } else { -3e38 })),
    Data::new("0 first, else 1e35", |p| filled(p, |i, _, _| if i == 0 { 0.0 } else { 1e35 })),
    Data::new("times 1e-18", |p| filled(p, |_, _, x| 1e-18 * x)),
];

/// Of a channel's m values the i-th, made of a normally distributed one.
fn filled(mut problem: Problem, value: fn(usize, usize, f32) -> f32) -> Problem {
    let (channels, m) = (problem.descriptor.channels(), problem.descriptor.values_per_channel());
    let mut many = vec![0; channels];
    let of: Vec<usize> = reference::channels_of(&problem.descriptor).collect();
    for (x, channel) in problem.x.iter_mut().zip(of) {
        *x = value(many[channel], m, *x);
        many[channel] += 1;
    }
    problem.with_saved()
}
