//! How far a kernel's answer may be from the reference's, derived from the rounding of each step.

use super::Problem;
use crate::descriptor::Descriptor;
use crate::reference;

/// Half the distance from 1 to the next f32: the largest relative error of one rounding.
pub(super) const U: f64 = 1.0 / (1 << 24) as f64;

/// Absolute tolerances for a kernel that computes in f32 with a two-pass or merged variance. They follow
/// from the rounding of each step; with u = 2⁻²⁴, m values a channel, A = mean |x|, r = 1/√(σ²+ε),
/// z = max |x̂|:
///
/// - sums of m terms, added up in a tree of chunks: (8 + log₂m / 2)·u times the sum of the terms' sizes;
/// - μ: (4 + log₂m / 2)·u·A; σ²: 16u·σ² + 4u·A·σ + 4·dμ²;
/// - r: r·(½·dσ²/(σ²+ε) + 8u), the 8u for an adapter's division and root;
/// - y: |γ|·(dμ·r + z·dr/r + 4u·z) + 4u·(|γ|·z + |β|), and dx likewise from dy, dβ/m and x̂·dγ/m.
///
/// Values below the smallest normal f32 may be flushed to zero, so that much is allowed everywhere.
#[derive(Clone, Debug)]
pub struct Tolerance {
    m: f64,
    /// A of every channel.
    size: Vec<f64>,
}

/// The statistics that an operation normalises by.
pub(super) struct Statistics {
    pub(super) mean: Vec<f64>,
    pub(super) inverse_deviation: Vec<f64>,
}

impl Statistics {
    pub(super) fn running(problem: &Problem) -> Self {
        let epsilon = f64::from(problem.descriptor.epsilon);
        let inverse = |variance: &f32| 1.0 / (f64::from(*variance) + epsilon).sqrt();
        Self {
            mean: problem.running_mean.iter().map(|mean| f64::from(*mean)).collect(),
            inverse_deviation: problem.running_variance.iter().map(inverse).collect(),
        }
    }

    pub(super) fn saved(problem: &Problem) -> Self {
        let saved: Vec<f64> = problem.saved.iter().map(|value| f64::from(*value)).collect();
        let channels = problem.descriptor.channels();
        Self { mean: saved[..channels].to_vec(), inverse_deviation: saved[channels..2 * channels].to_vec() }
    }
}

impl Tolerance {
    pub(super) const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

    pub(super) fn of(problem: &Problem) -> Self {
        let m = problem.descriptor.values_per_channel() as f64;
        let mut size = vec![0.0; problem.descriptor.channels()];
        for (c, x) in reference::channels_of(&problem.descriptor).zip(&problem.x) {
            size[c] += f64::from(x.abs()) / m;
        }
        Self { m, size }
    }

    pub(super) fn growth(&self) -> f64 {
        self.m.log2() / 2.0
    }

    pub(super) fn mean(&self) -> Vec<f64> {
        self.size.iter().map(|size| (4.0 + self.growth()) * U * size + Self::SMALLEST).collect()
    }

    pub(super) fn variance(&self, batch: &reference::Forward, dmean: &[f64]) -> Vec<f64> {
        let each = batch.variance.iter().zip(&self.size).zip(dmean);
        each.map(|((v, size), dmean)| 16.0 * U * v + 4.0 * U * size * v.sqrt() + 4.0 * dmean * dmean + Self::SMALLEST)
            .collect()
    }

    pub(super) fn inverse_deviation(
        &self,
        descriptor: &Descriptor,
        batch: &reference::Forward,
        dvariance: &[f64],
    ) -> Vec<f64> {
        let epsilon = f64::from(descriptor.epsilon);
        let each = batch.variance.iter().zip(&batch.inverse_deviation).zip(dvariance);
        each.map(|((v, r), dv)| r * (0.5 * dv / (v + epsilon) + 8.0 * U)).collect()
    }

    /// Of 1/√(σ²+ε) where σ² is given.
    pub(super) fn root(&self, statistics: &Statistics) -> Vec<f64> {
        statistics.inverse_deviation.iter().map(|r| 8.0 * U * r).collect()
    }

    pub(super) fn y(
        &self,
        problem: &Problem,
        statistics: &Statistics,
        y: &[f64],
        dmean: &[f64],
        dinverse: &[f64],
    ) -> Vec<f64> {
        let Statistics { mean, inverse_deviation } = statistics;
        let mut z = vec![0.0_f64; mean.len()];
        let mut largest = vec![0.0_f64; mean.len()];
        for ((c, x), y) in reference::channels_of(&problem.descriptor).zip(&problem.x).zip(y) {
            z[c] = z[c].max(((f64::from(*x) - mean[c]) * inverse_deviation[c]).abs());
            largest[c] = largest[c].max(y.abs());
        }
        let gamma = |c: usize| problem.gamma().map_or(1.0, |gamma| f64::from(gamma[c].abs()));
        (0..mean.len())
            .map(|c| {
                let r = inverse_deviation[c];
                let of_statistics = gamma(c) * (dmean[c] * r + z[c] * dinverse[c] / r + 4.0 * U * z[c]);
                let beta = problem.beta().map_or(0.0, |beta| f64::from(beta[c].abs()));
                of_statistics + 4.0 * U * (gamma(c) * z[c] + beta + largest[c]) + Self::SMALLEST
            })
            .collect()
    }

    pub(super) fn gradients(
        &self,
        problem: &Problem,
        statistics: &Statistics,
        gradients: &reference::Backward,
        frozen: bool,
    ) -> [Vec<f64>; 3] {
        let Statistics { mean, inverse_deviation } = statistics;
        let channels = mean.len();
        let (mut sum, mut sum_x, mut largest, mut z) =
            (vec![0.0; channels], vec![0.0; channels], vec![0.0_f64; channels], vec![0.0_f64; channels]);
        for ((c, x), dy) in reference::channels_of(&problem.descriptor).zip(&problem.x).zip(&problem.dy) {
            let (dy, normalized) = (f64::from(dy.abs()), ((f64::from(*x) - mean[c]) * inverse_deviation[c]).abs());
            sum[c] += dy;
            sum_x[c] += dy * normalized;
            largest[c] = largest[c].max(dy);
            z[c] = z[c].max(normalized);
        }
        let of_sum = (8.0 + self.growth()) * U;
        let dbeta: Vec<f64> = sum.iter().map(|sum| of_sum * sum + Self::SMALLEST).collect();
        // x − μ, its product with dy and the adapter's 1/√ round besides.
        let dgamma: Vec<f64> = sum_x.iter().map(|sum| (of_sum + 8.0 * U) * sum + Self::SMALLEST).collect();
        let dx = (0..channels)
            .map(|c| {
                let gamma = problem.gamma().map_or(1.0, |gamma| f64::from(gamma[c].abs()));
                let slope = gamma * inverse_deviation[c];
                let (beta, by_x) = (gradients.dbeta[c].abs() / self.m, z[c] * gradients.dgamma[c].abs() / self.m);
                let of_sums = if frozen { 0.0 } else { (dbeta[c] + z[c] * dgamma[c]) / self.m };
                let terms = if frozen { largest[c] } else { largest[c] + beta + by_x };
                slope * (of_sums + 12.0 * U * terms) + Self::SMALLEST
            })
            .collect();
        [dx, dgamma, dbeta]
    }
}
