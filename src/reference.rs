//! The CPU reference: batch normalization in f64, written from the formulas, in no hurry.
//!
//! What the kernels compute is checked against this. Letters are those of Ioffe and Szegedy (2015):
//! μ and σ² are mean and biased variance of a channel's m values, x̂ = (x − μ)/√(σ² + ε).

use crate::descriptor::{Descriptor, Layout, RunningVariance};

/// What a training forward returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// y = γ·x̂ + β, in x's order.
    pub y: Vec<f64>,
    /// μ of every channel.
    pub mean: Vec<f64>,
    /// σ² of every channel, biased: Σ(x − μ)²/m.
    pub variance: Vec<f64>,
    /// 1/√(σ² + ε) of every channel.
    pub inverse_deviation: Vec<f64>,
}

/// What a backward pass returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Backward {
    /// The gradient of x, in x's order.
    pub dx: Vec<f64>,
    /// The gradient of γ: Σ dy·x̂.
    pub dgamma: Vec<f64>,
    /// The gradient of β: Σ dy.
    pub dbeta: Vec<f64>,
}

/// The training forward: μ = Σx/m, σ² = Σ(x − μ)²/m, y = γ·(x − μ)/√(σ² + ε) + β.
///
/// # Panics
/// Here and below: where the descriptor is one that no plan is made of (such as rank 1), `x` has another
/// length than its shape, or a per-channel slice another than C.
pub fn forward(descriptor: &Descriptor, x: &[f32], gamma: Option<&[f32]>, beta: Option<&[f32]>) -> Forward {
    let m = descriptor.values_per_channel() as f64;
    let mut mean = per_channel(descriptor, x, |_, x| x);
    mean.iter_mut().for_each(|sum| *sum /= m);
    let mut variance = per_channel(descriptor, x, |c, x| (x - mean[c]).powi(2));
    variance.iter_mut().for_each(|sum| *sum /= m);
    let inverse_deviation = inverse_deviation(descriptor, &variance);
    let y = normalize(descriptor, x, &mean, &inverse_deviation, gamma, beta);
    Forward { y, mean, variance, inverse_deviation }
}

/// Inference: y = γ·(x − running mean)/√(running variance + ε) + β.
pub fn inference(
    descriptor: &Descriptor,
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    running_mean: &[f32],
    running_variance: &[f32],
) -> Vec<f64> {
    let inverse_deviation = inverse_deviation(descriptor, &widen(running_variance));
    normalize(descriptor, x, &widen(running_mean), &inverse_deviation, gamma, beta)
}

/// The running statistics after the `number`-th batch (from 1): running = (1 − f)·running + f·batch, mean
/// and variance, with the weight f of the descriptor's momentum and its choice of variance,
/// Σ(x − μ)²/(m − 1) or σ². Unchanged where the descriptor has no running statistics.
pub fn running(
    descriptor: &Descriptor,
    batch: &Forward,
    running_mean: &[f32],
    running_variance: &[f32],
    number: u32,
) -> (Vec<f64>, Vec<f64>) {
    let Some(rule) = descriptor.running else { return (widen(running_mean), widen(running_variance)) };
    let f = f64::from(rule.momentum.weight_of_new(number));
    let m = descriptor.values_per_channel() as f64;
    let unbias = match rule.variance {
        RunningVariance::Unbiased => m / (m - 1.0).max(1.0),
        RunningVariance::Biased => 1.0,
    };
    let moved = |running: &[f32], batch: &[f64], factor: f64| -> Vec<f64> {
        running.iter().zip(batch).map(|(r, b)| (1.0 - f) * f64::from(*r) + f * factor * b).collect()
    };
    (moved(running_mean, &batch.mean, 1.0), moved(running_variance, &batch.variance, unbias))
}

/// The training backward, through the statistics `mean` = μ and `inverse_deviation` = r = 1/√(σ² + ε) of
/// the batch: dβ = Σdy, dγ = Σdy·x̂, dx = γ·r·(dy − dβ/m − x̂·dγ/m).
pub fn backward(
    descriptor: &Descriptor,
    x: &[f32],
    dy: &[f32],
    gamma: Option<&[f32]>,
    mean: &[f64],
    inverse_deviation: &[f64],
) -> Backward {
    let m = descriptor.values_per_channel() as f64;
    let (dgamma, dbeta) = sums(descriptor, x, dy, mean, inverse_deviation);
    let dx = map(descriptor, x, |i, c, x| {
        let normalized = (x - mean[c]) * inverse_deviation[c];
        let centred = f64::from(dy[i]) - dbeta[c] / m - normalized * dgamma[c] / m;
        scale(gamma, c) * inverse_deviation[c] * centred
    });
    Backward { dx, dgamma, dbeta }
}

/// The backward pass through frozen statistics, which are constants: dx = γ·r·dy with
/// r = 1/√(running variance + ε); dβ = Σdy and dγ = Σdy·x̂ with x̂ by the running statistics.
pub fn frozen_backward(
    descriptor: &Descriptor,
    x: &[f32],
    dy: &[f32],
    gamma: Option<&[f32]>,
    running_mean: &[f32],
    running_variance: &[f32],
) -> Backward {
    let inverse_deviation = inverse_deviation(descriptor, &widen(running_variance));
    let (dgamma, dbeta) = sums(descriptor, x, dy, &widen(running_mean), &inverse_deviation);
    let dx = map(descriptor, dy, |_, c, dy| scale(gamma, c) * inverse_deviation[c] * dy);
    Backward { dx, dgamma, dbeta }
}

/// The channel that each value of x belongs to, in x's order.
pub fn channels_of(descriptor: &Descriptor) -> impl Iterator<Item = usize> {
    let shape = descriptor.shape();
    let channels = descriptor.channels();
    let inner: usize = match descriptor.layout() {
        Layout::ChannelsFirst => shape.iter().skip(2).product(),
        Layout::ChannelsLast => 1,
    };
    (0..shape.iter().product()).map(move |i: usize| i / inner % channels)
}

fn normalize(
    descriptor: &Descriptor,
    x: &[f32],
    mean: &[f64],
    inverse_deviation: &[f64],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
) -> Vec<f64> {
    map(descriptor, x, |_, c, x| (x - mean[c]) * inverse_deviation[c] * scale(gamma, c) + shift(beta, c))
}

fn sums(
    descriptor: &Descriptor,
    x: &[f32],
    dy: &[f32],
    mean: &[f64],
    inverse_deviation: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let mut dgamma = vec![0.0; descriptor.channels()];
    let mut dbeta = vec![0.0; descriptor.channels()];
    for ((c, x), dy) in channels_of(descriptor).zip(x).zip(dy) {
        dgamma[c] += f64::from(*dy) * (f64::from(*x) - mean[c]) * inverse_deviation[c];
        dbeta[c] += f64::from(*dy);
    }
    (dgamma, dbeta)
}

fn inverse_deviation(descriptor: &Descriptor, variance: &[f64]) -> Vec<f64> {
    variance.iter().map(|variance| 1.0 / (variance + f64::from(descriptor.epsilon)).sqrt()).collect()
}

/// The sum over each channel of a function of its number and a value.
fn per_channel(descriptor: &Descriptor, x: &[f32], term: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; descriptor.channels()];
    for (c, x) in channels_of(descriptor).zip(x) {
        sums[c] += term(c, f64::from(*x));
    }
    sums
}

/// A function of each value, its index and its channel.
fn map(descriptor: &Descriptor, x: &[f32], value: impl Fn(usize, usize, f64) -> f64) -> Vec<f64> {
    assert_eq!(x.len(), descriptor.shape().iter().product::<usize>(), "x has another size than its shape");
    channels_of(descriptor).zip(x).enumerate().map(|(i, (c, x))| value(i, c, f64::from(*x))).collect()
}

fn scale(gamma: Option<&[f32]>, c: usize) -> f64 {
    gamma.map_or(1.0, |gamma| f64::from(gamma[c]))
}

fn shift(beta: Option<&[f32]>, c: usize) -> f64 {
    beta.map_or(0.0, |beta| f64::from(beta[c]))
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
