//! The CPU reference: batch normalization in f64, written from the formulas, in no hurry.
//!
//! What the kernels compute is checked against this. Letters are those of Ioffe and Szegedy (2015):
//! μ and σ² are mean and biased variance of m values, x̂ = (x − μ)/√(σ² + ε). The values that share them
//! are a "unit": a channel, or with [`Over`] a channel within one group or step. Options have the formulas of
//! their types: [`Padding`], [`Over`], [`Renorm`](crate::Renorm), [`Activation`]. How tensors
//! lie in memory and in which types is not looked at: here all are dense.

use crate::descriptor::{Activation, Descriptor, Layout, NoValue, Over, Padding, RunningVariance};

/// What functions here take. Those that an operation or the descriptor does not need may stay empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tensors<'a> {
    /// Input, or, for the backward pass of [`Descriptor::backward_from_y`], the forward pass's output.
    pub x: &'a [f32],
    /// The gradient of y.
    pub dy: &'a [f32],
    /// What is added before the activation, where the descriptor says so.
    pub residual: &'a [f32],
    /// γ, else 1: C values.
    pub gamma: Option<&'a [f32]>,
    /// β, else 0: C values.
    pub beta: Option<&'a [f32]>,
    /// The running mean: C values, with [`Over::Steps`] C values a step kept.
    pub running_mean: &'a [f32],
    /// The running variance, likewise.
    pub running_variance: &'a [f32],
    /// Which positions count, in x's order without its channel axis; empty if all do. Not looked at without
    /// [`Padding`].
    pub valid: &'a [bool],
}

/// What values are normalised by: y before residual and activation is γ·(x̂·r + d) + β. Each has one value a
/// unit, in the order of [`Plan::saved_bytes`](crate::Plan::saved_bytes).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// μ.
    pub mean: Vec<f64>,
    /// 1/√(σ² + ε).
    pub inverse_deviation: Vec<f64>,
    /// σ², biased: Σ(x − μ)²/m.
    pub variance: Vec<f64>,
    /// m, how many values counted.
    pub count: Vec<f64>,
    /// r of batch renormalization, else 1.
    pub ratio: Vec<f64>,
    /// d of batch renormalization, else 0.
    pub offset: Vec<f64>,
}

/// What a training forward returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// y = activation(z), in x's order.
    pub y: Vec<f64>,
    /// z = γ·(x̂·r + d) + β + residual, in x's order.
    pub z: Vec<f64>,
    /// What x was normalised by.
    pub statistics: Statistics,
}

/// What a backward pass returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// The gradient of x, in x's order.
    pub dx: Vec<f64>,
    /// The gradient of γ: Σ dz·(x̂·r + d).
    pub dgamma: Vec<f64>,
    /// The gradient of β: Σ dz.
    pub dbeta: Vec<f64>,
    /// The gradient of z and so of the residual, dz = dy·activation′(z), in x's order.
    pub dresidual: Vec<f64>,
}

/// The training forward, over the m values of a unit that count: μ = Σx/m, σ² = Σ(x − μ)²/m, then every
/// value normalised by them. Where none counts both are 0. A σ² that an f32 does not hold is infinite, and x̂ then 0.
///
/// # Panics
/// Here and below: where the descriptor is one that no plan is made of (such as rank 1), or a tensor has another
/// length than its shape, channels or positions.
pub fn forward(descriptor: &Descriptor, tensors: &Tensors<'_>) -> Forward {
    let units = Units::of_training(descriptor);
    let (x, counts) = (widen(tensors.x), valid(descriptor, tensors));
    let places = || units.places().zip(&x).filter(|(place, _)| counts(place.position));
    let mut count = vec![0.0_f64; units.len()];
    let mut mean = vec![0.0; units.len()];
    let mut variance = vec![0.0; units.len()];
    for (place, x) in places() {
        count[place.unit] += 1.0;
        mean[place.unit] += x;
    }
    let divide = |sums: &mut [f64]| sums.iter_mut().zip(&count).for_each(|(sum, m)| *sum /= m.max(1.0));
    divide(&mut mean);
    for (place, x) in places() {
        variance[place.unit] += (x - mean[place.unit]).powi(2);
    }
    divide(&mut variance);
    // What an f32 does not hold is infinite: y is β then.
    variance
        .iter_mut()
        .filter(|variance| **variance > f64::from(f32::MAX))
        .for_each(|variance| *variance = f64::INFINITY);
    let inverse_deviation = inverse_deviation(descriptor, &variance);
    let mut statistics = Statistics {
        ratio: vec![1.0; units.len()],
        offset: vec![0.0; units.len()],
        ..Statistics { mean, inverse_deviation, variance, count, ..Statistics::default() }
    };
    if let Some(bounds) = descriptor.renorm {
        let (r_max, d_max) = (f64::from(bounds.r_max), f64::from(bounds.d_max));
        let running = running_statistics(descriptor, tensors, &units);
        for unit in 0..units.len() {
            let r = running.inverse_deviation[unit] / statistics.inverse_deviation[unit];
            let d = (statistics.mean[unit] - running.mean[unit]) * running.inverse_deviation[unit];
            statistics.ratio[unit] = r.clamp(1.0 / r_max, r_max);
            statistics.offset[unit] = d.clamp(-d_max, d_max);
        }
    }
    let z = normalize(descriptor, tensors, &units, &statistics);
    Forward { y: activate(descriptor, &z), z, statistics }
}

/// Inference: the running statistics in place of the batch's, y = activation(γ·x̂ + β + residual).
pub fn inference(descriptor: &Descriptor, tensors: &Tensors<'_>) -> Vec<f64> {
    activate(descriptor, &before_activation(descriptor, tensors))
}

/// z of [`inference`], before the activation.
pub fn before_activation(descriptor: &Descriptor, tensors: &Tensors<'_>) -> Vec<f64> {
    let units = Units::of_inference(descriptor);
    normalize(descriptor, tensors, &units, &running_statistics(descriptor, tensors, &units))
}

/// The running statistics after the `number`-th batch (from 1): running = (1 − f)·running + f·batch, mean
/// and variance, with the weight f of the descriptor's momentum and its choice of variance,
/// Σ(x − μ)²/(m − 1) or σ². Groups move them one after the other, as batches with numbers of their own; where no
/// value counted it is as [`NoValue`] says; where the descriptor has none they stay.
pub fn running(
    descriptor: &Descriptor,
    batch: &Statistics,
    tensors: &Tensors<'_>,
    number: u32,
) -> (Vec<f64>, Vec<f64>) {
    let (mut mean, mut variance) = (widen(tensors.running_mean), widen(tensors.running_variance));
    let Some(rule) = descriptor.running else { return (mean, variance) };
    let units = Units::of_training(descriptor);
    for group in 0..units.groups {
        let number = if units.stepped { number } else { number + group as u32 };
        let (keep, f) = (rule.momentum.weight_of_old(number), rule.momentum.weight_of_new(number));
        for channel in 0..units.channels {
            let (unit, to) = (units.unit(channel, group), units.running(channel, group));
            let m = batch.count[unit];
            let stays = m == 0.0 && rule.no_value == NoValue::Skipped;
            if stays || units.stepped && group >= descriptor.running_sets() {
                continue;
            }
            let unbias = match rule.variance {
                RunningVariance::Unbiased => m / (m - 1.0).max(1.0),
                RunningVariance::Biased => 1.0,
            };
            mean[to] = keep * mean[to] + f * batch.mean[unit];
            variance[to] = keep * variance[to] + f * unbias * batch.variance[unit];
        }
    }
    (mean, variance)
}

/// The training backward, through the statistics of the batch. With dz = dy·activation′(z) and, for each unit,
/// B = Σdz and A = Σdz·x̂: dx = γ·r·(dz − B/m − x̂·A/m)/√(σ² + ε) where x counted, else γ·r·dz/√(σ² + ε).
/// dβ is the sum of B over all groups or steps, dγ that of r·A + d·B.
pub fn backward(descriptor: &Descriptor, tensors: &Tensors<'_>, batch: &Statistics) -> Backward {
    let counts = valid(descriptor, tensors);
    let padded = descriptor.padding != Padding::None;
    back(descriptor, tensors, &Units::of_training(descriptor), batch, padded, |place| counts(place.position))
}

/// The backward pass through frozen statistics, which are constants: dx = γ·dz/√(running variance + ε),
/// dβ = Σdz and dγ = Σdz·x̂, with z and x̂ by the running statistics.
pub fn frozen_backward(descriptor: &Descriptor, tensors: &Tensors<'_>) -> Backward {
    let units = Units::of_inference(descriptor);
    let statistics = running_statistics(descriptor, tensors, &units);
    back(&descriptor.clone().renorm(None), tensors, &units, &statistics, false, |_| false)
}

/// x̂ of every value, by these statistics; from y where the descriptor says so and γ is not too small. Where it is, or the
/// variance infinite, that is 0 of what is finite and else NaN.
pub(crate) fn normalized(descriptor: &Descriptor, tensors: &Tensors<'_>, units: &Units, by: &Statistics) -> Vec<f64> {
    let each = units.places().zip(widen(tensors.x));
    if descriptor.from_y {
        let x = |(place, y): (Place, f64)| {
            let (gamma, beta) = (scale(tensors, place.channel), shift(tensors, place.channel));
            let scaled = undo(descriptor, y) - beta;
            let lost = is_lost(descriptor, tensors, place.channel) || by.inverse_deviation[place.unit] == 0.0;
            if lost { 0.0 * scaled } else { scaled / gamma }
        };
        each.map(x).collect()
    } else {
        each.map(|(place, x)| (x - by.mean[place.unit]) * by.inverse_deviation[place.unit]).collect()
    }
}

/// Whether γ is too small beside β for x to be found again from y.
pub(crate) fn is_lost(descriptor: &Descriptor, tensors: &Tensors<'_>, channel: usize) -> bool {
    let least = f64::from(descriptor.types.x.least_scale());
    scale(tensors, channel).abs() <= shift(tensors, channel).abs() * least
}

/// z of every value: normalised by these statistics, scaled and shifted, the residual added.
pub(crate) fn normalize(descriptor: &Descriptor, tensors: &Tensors<'_>, units: &Units, by: &Statistics) -> Vec<f64> {
    assert_eq!(tensors.x.len(), descriptor.shape().iter().product::<usize>(), "x has another size than its shape");
    let residual = |i: usize| if descriptor.epilogue.residual { f64::from(tensors.residual[i]) } else { 0.0 };
    let dense = descriptor.clone().backward_from_y(false);
    let each = units.places().zip(normalized(&dense, tensors, units, by)).enumerate();
    let z = |(i, (place, x)): (usize, (Place, f64))| {
        let corrected = x * by.ratio[place.unit] + by.offset[place.unit];
        corrected * scale(tensors, place.channel) + shift(tensors, place.channel) + residual(i)
    };
    each.map(z).collect()
}

/// The backward pass through these statistics, which move with the values that `moves` says. Where the batch is
/// `padded`, what lies where dy is 0 does no harm.
fn back(
    descriptor: &Descriptor,
    tensors: &Tensors<'_>,
    units: &Units,
    by: &Statistics,
    padded: bool,
    moves: impl Fn(&Place) -> bool,
) -> Backward {
    let places: Vec<Place> = units.places().collect();
    assert_eq!([tensors.x.len(), tensors.dy.len()], [places.len(); 2], "x or dy has another size than the shape");
    let x = normalized(descriptor, tensors, units, by);
    let z = match descriptor.from_y {
        true => widen(tensors.x).into_iter().map(|y| undo(descriptor, y)).collect(),
        false => normalize(descriptor, tensors, units, by),
    };
    let pulled = |(dy, z)| if padded && dy == 0.0 { 0.0 } else { pull(descriptor, z, dy) };
    let dz: Vec<f64> = widen(tensors.dy).into_iter().zip(z).map(pulled).collect();
    let (mut a, mut b) = (vec![0.0; units.len()], vec![0.0; units.len()]);
    for ((place, dz), x) in places.iter().zip(&dz).zip(&x) {
        a[place.unit] += if padded && *dz == 0.0 && !moves(place) { 0.0 } else { dz * x };
        b[place.unit] += dz;
    }
    let (mut dgamma, mut dbeta) = (vec![0.0; units.channels], vec![0.0; units.channels]);
    for group in 0..units.groups {
        for channel in 0..units.channels {
            let unit = units.unit(channel, group);
            dgamma[channel] += match descriptor.renorm {
                Some(_) => by.ratio[unit] * a[unit] + by.offset[unit] * b[unit],
                None => a[unit],
            };
            dbeta[channel] += b[unit];
        }
    }
    let dx = places.iter().zip(&dz).zip(&x).map(|((place, dz), x)| {
        let (unit, m) = (place.unit, by.count[place.unit]);
        let centred = if moves(place) { dz - b[unit] / m - x * a[unit] / m } else { *dz };
        scale(tensors, place.channel) * by.ratio[unit] * by.inverse_deviation[unit] * centred
    });
    Backward { dx: dx.collect(), dgamma, dbeta, dresidual: dz }
}

/// The running statistics as each of these units sees them.
pub(crate) fn running_statistics(descriptor: &Descriptor, tensors: &Tensors<'_>, units: &Units) -> Statistics {
    let of_units = |values: &[f32]| -> Vec<f64> {
        let mut of_units = vec![0.0; units.len()];
        for group in 0..units.groups {
            for channel in 0..units.channels {
                of_units[units.unit(channel, group)] = f64::from(values[units.running(channel, group)]);
            }
        }
        of_units
    };
    let (mean, variance) = (of_units(tensors.running_mean), of_units(tensors.running_variance));
    Statistics {
        inverse_deviation: inverse_deviation(descriptor, &variance),
        count: vec![0.0; units.len()],
        ratio: vec![1.0; units.len()],
        offset: vec![0.0; units.len()],
        mean,
        variance,
    }
}

fn inverse_deviation(descriptor: &Descriptor, variance: &[f64]) -> Vec<f64> {
    variance.iter().map(|variance| 1.0 / (variance + f64::from(descriptor.epsilon)).sqrt()).collect()
}

/// Whether a position counts.
fn valid<'a>(descriptor: &Descriptor, tensors: &Tensors<'a>) -> impl Fn(usize) -> bool + 'a {
    let valid = if descriptor.padding == Padding::None { &[] } else { tensors.valid };
    move |position| valid.is_empty() || valid[position]
}

pub(crate) fn activate(descriptor: &Descriptor, z: &[f64]) -> Vec<f64> {
    let y = |z: f64| match descriptor.epilogue.activation {
        Activation::Identity => z,
        Activation::Relu if z <= 0.0 => 0.0,
        Activation::LeakyRelu(slope) if z < 0.0 => f64::from(slope) * z,
        Activation::Relu | Activation::LeakyRelu(_) => z,
        Activation::Silu => z * sigmoid(z),
        Activation::Gelu => z * normal(z),
        Activation::Sigmoid => sigmoid(z),
        Activation::Tanh => z.tanh(),
        Activation::Clamp(low, high) => z.clamp(low.into(), high.into()),
    };
    z.iter().map(|z| y(*z)).collect()
}

/// dz = dy·activation′(z). ReLU and clamping let dy through or not, whatever it is: ReLU not at its bend but where z is
/// NaN, clamping at its bends but not where z is NaN, as PyTorch has it.
fn pull(descriptor: &Descriptor, z: f64, dy: f64) -> f64 {
    let through_if = |truth: bool| if truth { dy } else { 0.0 };
    match descriptor.epilogue.activation {
        Activation::Identity => dy,
        Activation::Relu => through_if(z > 0.0 || z.is_nan()),
        Activation::LeakyRelu(_) if z > 0.0 => dy,
        Activation::LeakyRelu(slope) => dy * f64::from(slope),
        Activation::Silu => dy * (sigmoid(z) * (1.0 + z * sigmoid(-z))),
        Activation::Gelu => dy * (normal(z) + z * (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt()),
        Activation::Sigmoid => dy * (sigmoid(z) * sigmoid(-z)),
        Activation::Tanh => dy / z.cosh().powi(2),
        Activation::Clamp(low, high) => through_if((f64::from(low)..=f64::from(high)).contains(&z)),
    }
}

/// z of y, for the activations that [`Descriptor::backward_from_y`] takes.
fn undo(descriptor: &Descriptor, y: f64) -> f64 {
    match descriptor.epilogue.activation {
        Activation::LeakyRelu(slope) if y < 0.0 => y / f64::from(slope),
        _ => y,
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Φ, the integral of the standard normal distribution up to z.
fn normal(z: f64) -> f64 {
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if z.abs() < 4.0 {
        // Φ = 1/2 + φ·z·(1 + z²/3·(1 + z²/5·(1 + z²/7·(1 + …)))).
        let series = (1..100).rev().fold(1.0, |rest, n| 1.0 + z * z / f64::from(2 * n + 1) * rest);
        0.5 + density * z * series
    } else {
        // Laplace's continued fraction, with z = |z|: 1 − Φ = φ/(z + 1/(z + 2/(z + 3/(z + …)))).
        let fraction = (1..100).rev().fold(z.abs(), |rest, n| z.abs() + f64::from(n) / rest);
        if z > 0.0 { 1.0 - density / fraction } else { density / fraction }
    }
}

/// The channel that each value of x belongs to, in x's order.
pub fn channels_of(descriptor: &Descriptor) -> impl Iterator<Item = usize> {
    Units::of_inference(descriptor).places().map(|place| place.channel)
}

/// What belongs together: a channel, or a channel within a group or step.
pub(crate) struct Units {
    pub channels: usize,
    /// Groups or steps.
    pub groups: usize,
    /// Whether they are steps.
    pub stepped: bool,
    /// Steps that have running statistics.
    kept: usize,
    /// From a channel to the next, and from a group to the next, in the order of units.
    strides: [usize; 2],
    /// Positions in a row that share a group: of a step 1.
    of_group: usize,
    /// x is `[outer, channels, inner]`.
    outer: usize,
    inner: usize,
}

/// Where a value of x belongs.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub channel: usize,
    pub unit: usize,
    pub position: usize,
}

impl Units {
    /// Those that have statistics of their own in training.
    pub fn of_training(descriptor: &Descriptor) -> Self {
        Self::over(descriptor, descriptor.over)
    }

    /// Those of the running statistics, which groups share.
    pub fn of_inference(descriptor: &Descriptor) -> Self {
        match descriptor.over {
            Over::Groups { .. } => Self::over(descriptor, Over::Batch),
            over => Self::over(descriptor, over),
        }
    }

    fn over(descriptor: &Descriptor, over: Over) -> Self {
        let (shape, channels) = (descriptor.shape(), descriptor.channels());
        let first = descriptor.layout() == Layout::ChannelsFirst;
        let samples = shape[0];
        let positions = descriptor.values_per_channel();
        let inner = if first { shape[2..].iter().product() } else { 1 };
        let whole = Self {
            channels,
            groups: 1,
            stepped: false,
            kept: descriptor.running_sets(),
            strides: [1, channels],
            of_group: positions,
            outer: if first { samples } else { positions },
            inner,
        };
        match over {
            Over::Batch => whole,
            Over::Groups { samples: of_group } => Self {
                groups: samples.div_ceil(of_group).max(1),
                of_group: (positions / samples.max(1)).saturating_mul(of_group),
                ..whole
            },
            Over::Steps { .. } => {
                let steps = shape[if first { 2 } else { 1 }];
                let strides = if first { [steps, 1] } else { [1, channels] };
                Self { groups: steps, stepped: true, strides, of_group: 1, ..whole }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.channels * self.groups
    }

    pub fn unit(&self, channel: usize, group: usize) -> usize {
        channel * self.strides[0] + group * self.strides[1]
    }

    /// Where the running statistics of a unit are.
    pub fn running(&self, channel: usize, group: usize) -> usize {
        channel + if self.stepped { group.min(self.kept - 1) * self.channels } else { 0 }
    }

    /// The place of every value of x, in x's order.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let Self { channels, groups, strides, of_group, outer, inner, .. } = *self;
        // Groups come one after the other, steps again with every sample.
        let group = move |position: usize| if groups == 1 { 0 } else { position / of_group % groups };
        let place = move |channel: usize, position: usize| {
            let unit = channel * strides[0] + group(position) * strides[1];
            Place { channel, unit, position }
        };
        let row = move |row: usize, channel: usize| (row * inner..(row + 1) * inner).map(move |at| place(channel, at));
        (0..outer).flat_map(move |outer| (0..channels).flat_map(move |channel| row(outer, channel)))
    }
}

fn scale(tensors: &Tensors<'_>, channel: usize) -> f64 {
    tensors.gamma.map_or(1.0, |gamma| f64::from(gamma[channel]))
}

fn shift(tensors: &Tensors<'_>, channel: usize) -> f64 {
    tensors.beta.map_or(0.0, |beta| f64::from(beta[channel]))
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
