//! How far a kernel's answer may be from the reference's, derived from the rounding of each step.

use super::Problem;
use crate::descriptor::{Activation, Descriptor, Float};
use crate::reference::{self, Backward, Place, Statistics, Units};
use crate::shader::FIRST;

/// Half the distance from 1 to the next f32: the largest relative error of one rounding.
pub(super) const U: f64 = 1.0 / (1 << 24) as f64;

/// Values below the smallest normal f32 may be flushed to zero, so that much is allowed everywhere.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// Absolute tolerances for a kernel that computes in f32 with a two-pass or merged variance. They follow
/// from the rounding of each step. Of a unit (a channel, or a channel of one group or step) with m values that
/// count among n, of mean |x| = A; with u = 2⁻²⁴, ρ = 1/√(σ²+ε), r and d of batch renormalization (else 1 and 0):
///
/// - sums of n terms, added up in chunks, blocks of those, lanes and parts: (8 + log₂n / 2)·u times the sum of the terms' sizes;
/// - μ: (4 + log₂m / 2)·u·A; σ²: 16u·σ² + 4u·A·σ + 4·dμ² + 4u·D²·k/m, since the first block, of k = 2
///   elements, is taken about one that may be as far from the mean as the farthest, by D; and three times the smallest
///   normal f32, since the squares, that of the mean of what is left and their difference may each be flushed to zero;
/// - the mean of (y − β)/γ, which is that of x̂: where x is large beside σ, y may be off by a multiple of dμ·ρ, but
///   sums are about a centre within 1.25 deviations of μ, so that their terms are of 2.25 on average: 2.25·(4 + log₂m / 2)·u,
///   with 4u for y's own rounding, and 2u·|β/γ|;
/// - ρ: ρ·(½·dσ²/(σ²+ε) + 8u), the 8u for an adapter's division and root; r: r·(½·dσ²/(σ²+ε) + 16u);
///   d: (dμ + u·(|μ| + |μ_r|))·ρ_r + 8u·|μ − μ_r|·ρ_r, as far as d is not clamped;
/// - z = γ·(x̂·r + d) + β + residual: |γ|·(r·(dμ·ρ + X·dρ/ρ + 4u·X) + X·dr + dd)
///   + 4u·(|γ|·(r·X + |d|) + |β| + |residual| + |z|), X the largest |x̂|;
/// - y: what the activation makes of it;
/// - dz = dy·activation′(z): likewise; then B = Σdz, A = Σdz·x̂ and dx = γ·r·ρ·(dz − B/m − x̂·A/m) with the
///   tolerances of their terms and sums; x̂ found again from y is off by 4u·(|x̂| + |β/γ|);
/// - what is stored in 16 bits: half a unit in the last place besides.
pub struct Tolerance<'a> {
    problem: &'a Problem,
    units: Units,
    places: Vec<Place>,
    by: &'a Statistics,
    /// Of μ.
    mean: Vec<f64>,
    /// Of σ².
    variance: Vec<f64>,
    /// Of ρ.
    inverse_deviation: Vec<f64>,
    /// Of r and d.
    ratio: Vec<f64>,
    offset: Vec<f64>,
}

impl<'a> Tolerance<'a> {
    /// Of a forward pass that finds the statistics itself.
    pub(super) fn of_batch(problem: &'a Problem, by: &'a Statistics) -> Self {
        let descriptor = &problem.descriptor;
        let exact = Self::of_saved(problem, by);
        let (mut size, mut farthest) = (vec![0.0; by.mean.len()], vec![0.0_f64; by.mean.len()]);
        for (place, x) in exact.places.iter().zip(&problem.x) {
            if problem.valid.get(place.position).copied().unwrap_or(true) {
                size[place.unit] += f64::from(x.abs()) / by.count[place.unit];
                farthest[place.unit] = farthest[place.unit].max((f64::from(*x) - by.mean[place.unit]).powi(2));
            }
        }
        let unit = |i: usize| {
            let m = by.count[i].max(1.0);
            let (variance, inverse) = (by.variance[i], by.inverse_deviation[i]);
            let dmean = (4.0 + m.log2() / 2.0) * U * size[i] + SMALLEST;
            let first_block = 4.0 * f64::from(FIRST).min(m) * U * farthest[i] / m;
            let rounding = 16.0 * U * variance + 4.0 * U * size[i] * variance.sqrt() + 4.0 * dmean * dmean;
            let dvariance = rounding + first_block + 3.0 * SMALLEST;
            // (Of an infinite variance ρ is 0.)
            let of_root = 0.5 * dvariance / (variance + f64::from(descriptor.epsilon));
            let of_root = if variance.is_infinite() { 0.0 } else { of_root };
            (dmean, dvariance, inverse * (of_root + 8.0 * U), by.ratio[i] * (of_root + 16.0 * U))
        };
        let units: Vec<_> = (0..by.mean.len()).map(unit).collect();
        let mut tolerance = Self {
            mean: units.iter().map(|unit| unit.0).collect(),
            variance: units.iter().map(|unit| unit.1).collect(),
            inverse_deviation: units.iter().map(|unit| unit.2).collect(),
            ..exact
        };
        if descriptor.renorm.is_some() {
            let running = reference::running_statistics(descriptor, &problem.tensors(), &tolerance.units);
            let offset = |i: usize| {
                let (mean, before, by_running) = (by.mean[i], running.mean[i], running.inverse_deviation[i]);
                let of_mean = tolerance.mean[i] + U * (mean.abs() + before.abs());
                let off = by_running * (of_mean + 8.0 * U * (mean - before).abs());
                // (Infinitely far d is a bound.)
                if (mean - before).is_infinite() { 0.0 } else { off }
            };
            tolerance.offset = (0..by.mean.len()).map(offset).collect();
            tolerance.ratio = units.iter().map(|unit| unit.3).collect();
        }
        tolerance
    }

    /// Of a pass that is given the statistics exactly.
    pub(super) fn of_saved(problem: &'a Problem, by: &'a Statistics) -> Self {
        Self::exact(problem, by, Units::of_training(&problem.descriptor))
    }

    /// Of a pass by the running statistics.
    pub(super) fn of_running(problem: &'a Problem, by: &'a Statistics) -> Self {
        let exact = Self::exact(problem, by, Units::of_inference(&problem.descriptor));
        Self { inverse_deviation: by.inverse_deviation.iter().map(|inverse| 8.0 * U * inverse).collect(), ..exact }
    }

    fn exact(problem: &'a Problem, by: &'a Statistics, units: Units) -> Self {
        let none = || vec![0.0; by.mean.len()];
        Self {
            problem,
            places: units.places().collect(),
            units,
            by,
            mean: none(),
            variance: none(),
            inverse_deviation: none(),
            ratio: none(),
            offset: none(),
        }
    }

    /// How far the means of (y − β)/γ of all units are from 0, and may be; none of units of which it does not say much.
    pub(super) fn balance(&self, y: &[f32]) -> Vec<Option<(f64, f64)>> {
        let Self { by, .. } = self;
        let mut sums = vec![0.0; by.mean.len()];
        for (place, y) in self.places.iter().zip(y) {
            if self.problem.valid.get(place.position).copied().unwrap_or(true) {
                sums[place.unit] += (f64::from(*y) - self.beta(place.channel)) / self.gamma(place.channel);
            }
        }
        let mut channels = vec![0; by.mean.len()];
        self.places.iter().for_each(|place| channels[place.unit] = place.channel);
        let one = |unit: usize| {
            let (gamma, beta, m) = (self.gamma(channels[unit]), self.beta(channels[unit]), by.count[unit]);
            let of_sums = 2.25 * (4.0 + m.max(1.0).log2() / 2.0) * U + of_flushing(by.inverse_deviation[unit]);
            let tolerance = of_sums + 4.0 * U + (2.0 * U * beta.abs() + SMALLEST) / gamma.abs();
            // What is not finite has been found right as y.
            let says = gamma != 0.0 && m > 0.0 && (sums[unit] + by.mean[unit] + by.variance[unit]).is_finite();
            says.then(|| ((sums[unit] / m).abs(), tolerance))
        };
        (0..by.mean.len()).map(one).collect()
    }

    fn gamma(&self, channel: usize) -> f64 {
        self.problem.tensors().gamma.map_or(1.0, |gamma| f64::from(gamma[channel]))
    }

    fn beta(&self, channel: usize) -> f64 {
        self.problem.tensors().beta.map_or(0.0, |beta| f64::from(beta[channel]))
    }

    /// Of the planes that a forward pass saves.
    pub(super) fn saved(&self) -> Vec<f64> {
        let count = self.by.count.iter().map(|count| U * count).collect();
        let planes = [self.mean.clone(), self.inverse_deviation.clone(), self.variance.clone(), count];
        let renorm = [self.ratio.clone(), self.offset.clone()];
        let planes = planes.into_iter().chain(renorm.into_iter().filter(|_| self.problem.descriptor.renorm.is_some()));
        planes.flatten().collect()
    }

    /// Of z, before the activation, where x̂ is what is given. An infinite z is right or wrong: only where γ is what is
    /// infinite, its sign may be unsure.
    pub(super) fn z(&self, normalized: &[f64], z: &[f64]) -> Vec<f64> {
        let Self { by, .. } = self;
        let mut largest = vec![0.0_f64; by.mean.len()];
        // (An infinity, which may lie at padding, makes no other value less certain.)
        for (place, x) in self.places.iter().zip(normalized).filter(|(_, x)| x.is_finite()) {
            largest[place.unit] = largest[place.unit].max(x.abs());
        }
        let each = self.places.iter().zip(z).enumerate();
        each.map(|(i, (place, z))| {
            let unit = place.unit;
            let (x, r, d, inverse) = (largest[unit], by.ratio[unit], by.offset[unit].abs(), by.inverse_deviation[unit]);
            let (gamma, beta) = (self.gamma(place.channel).abs(), self.beta(place.channel).abs());
            let residual = self.problem.tensors().residual.get(i).map_or(0.0, |residual| f64::from(residual.abs()));
            let of_inverse = if inverse == 0.0 { 0.0 } else { self.inverse_deviation[unit] / inverse };
            let of_x = self.mean[unit] * inverse + x * of_inverse + 4.0 * U * x;
            let of_x = of_x + of_flushing(inverse);
            let of_corrected = r * of_x + x * self.ratio[unit] + self.offset[unit];
            if !z.is_finite() {
                let corrected = (normalized[i] * r + by.offset[unit]).abs();
                return if gamma.is_infinite() && corrected <= of_corrected { f64::INFINITY } else { 0.0 };
            }
            let of_statistics = gamma * of_corrected;
            of_statistics + 4.0 * U * (gamma * (r * x + d) + beta + residual + z.abs()) + SMALLEST
        })
        .collect()
    }

    /// Of y, where z may be off by `dz`.
    pub(super) fn y(&self, z: &[f64], y: &[f64], dz: &[f64]) -> Vec<f64> {
        let Descriptor { epilogue, types, .. } = &self.problem.descriptor;
        let bent = Bent(epilogue.activation);
        let each = z.iter().zip(y).zip(dz);
        each.map(|((z, y), dz)| stored(types.x, *y, bent.off_by(*dz) + bent.rounding(*z, *y) + SMALLEST)).collect()
    }

    /// Of the running statistics after; `after` are the reference's.
    pub(super) fn running(&self, batches: u32, after: [&[f64]; 2]) -> [Vec<f64>; 2] {
        let Problem { descriptor, running_mean, running_variance, .. } = self.problem;
        let momentum = descriptor.running.unwrap_or_default().momentum;
        let float = descriptor.types.running;
        let one = |before: &[f32], after: &[f64], batch: &[f64], d: &[f64]| {
            // Through all groups no statistic is larger than the largest before, after or of a group (m/(m−1) is
            // at most 2).
            let mut size: Vec<f64> = before.iter().zip(after).map(|(b, a)| f64::from(b.abs()).max(a.abs())).collect();
            let mut off = vec![0.0; size.len()];
            for (moves, group) in
                [false, true].into_iter().flat_map(|moves| (0..self.units.groups).map(move |g| (moves, g)))
            {
                for channel in 0..self.units.channels {
                    let (unit, to) = (self.units.unit(channel, group), self.units.running(channel, group));
                    if self.units.stepped && group >= descriptor.running_sets() {
                        continue;
                    }
                    if !moves {
                        size[to] = size[to].max(2.0 * batch[unit].abs());
                        continue;
                    }
                    let number = batches + 1 + if self.units.stepped { 0 } else { group as u32 };
                    let weight = momentum.weight_of_new(number);
                    off[to] = (1.0 - weight) * off[to] + weight * 2.0 * d[unit] + 4.0 * U * size[to];
                    off[to] = stored(float, size[to], off[to]);
                }
            }
            off.iter().map(|off| off + SMALLEST).collect()
        };
        [
            one(running_mean, after[0], &self.by.mean, &self.mean),
            one(running_variance, after[1], &self.by.variance, &self.variance),
        ]
    }

    /// Of dx, dγ, dβ and the residual's gradient, where z may be off by `dz`; `moves` says whether the
    /// statistics are the batch's, rather than constants.
    pub(super) fn gradients(
        &self,
        normalized: &[f64],
        z: &[f64],
        dz: &[f64],
        gradients: &Backward,
        moves: bool,
    ) -> [Vec<f64>; 4] {
        let Self { problem, by, units, places, .. } = self;
        let Descriptor { epilogue, types, from_y, .. } = &problem.descriptor;
        let bent = Bent(epilogue.activation);
        let none = || vec![0.0; units.len()];
        // Sums, the sums of their terms' sizes, and of how far those may be off.
        let (mut n, mut a, mut b, mut size_a, mut size_b, mut off_a, mut off_b) =
            (none(), none(), none(), none(), none(), none(), none());
        // From y the side of a bend is that of y, as far as the adapter does not take it for zero.
        let flushed = match epilogue.activation {
            Activation::LeakyRelu(slope) => least_normal(types.x) / f64::from(slope.min(1.0)),
            _ => 0.0,
        };
        let mut off = Vec::with_capacity(places.len());
        let mut off_x = Vec::with_capacity(places.len());
        for (i, place) in places.iter().enumerate() {
            let (unit, pulled, x) = (place.unit, gradients.dresidual[i], normalized[i]);
            let dz = if *from_y { flushed } else { dz[i] };
            // Where the slope is sure, or nothing goes through it, dy may be anything; so may z.
            let (of_slope, dy) = (bent.slope_error(z[i], dz), f64::from(problem.dy[i].abs()));
            let of_slope = if of_slope == 0.0 || dy == 0.0 { 0.0 } else { of_slope * dy };
            let d = of_slope + if epilogue.activation == Activation::Identity { 0.0 } else { 2.0 * U * pulled.abs() };
            let again = if *from_y {
                4.0 * U * (x.abs() + (self.beta(place.channel) / self.gamma(place.channel)).abs())
            } else {
                of_flushing(by.inverse_deviation[unit])
            };
            let again = if again.is_finite() { again } else { 0.0 };
            n[unit] += 1.0;
            b[unit] += pulled;
            size_b[unit] += pulled.abs();
            off_b[unit] += d;
            if pulled != 0.0 || d != 0.0 {
                a[unit] += pulled * x;
                size_a[unit] += (pulled * x).abs();
                off_a[unit] += d * x.abs() + pulled.abs() * again;
            }
            off.push(d);
            off_x.push(again);
        }
        for unit in 0..units.len() {
            let of_sum = (8.0 + f64::log2(n[unit].max(1.0)) / 2.0) * U;
            off_b[unit] += of_sum * size_b[unit] + SMALLEST;
            // x − μ, its product with dz and the adapter's 1/√ round besides.
            off_a[unit] += (of_sum + 8.0 * U) * size_a[unit] + SMALLEST;
        }
        let (mut dgamma, mut dbeta) = (vec![0.0; units.channels], vec![0.0; units.channels]);
        let groups = units.groups as f64;
        for group in 0..units.groups {
            for channel in 0..units.channels {
                let unit = units.unit(channel, group);
                let (r, d) = (by.ratio[unit], by.offset[unit].abs());
                dbeta[channel] += off_b[unit] + (groups - 1.0) * U * b[unit].abs();
                dgamma[channel] += r * off_a[unit] + d * off_b[unit];
                dgamma[channel] += (groups + 3.0) * U * (r * a[unit].abs() + d * b[unit].abs());
            }
        }
        let of_parameters = |off: Vec<f64>, values: &[f64]| -> Vec<f64> {
            off.into_iter().zip(values).map(|(off, value)| stored(types.parameters, *value, off)).collect()
        };
        let valid = |place: &Place| moves && problem.valid.get(place.position).copied().unwrap_or(true);
        let dx = places.iter().enumerate().map(|(i, place)| {
            let (unit, x, m) = (place.unit, normalized[i].abs(), by.count[place.unit]);
            let scale = self.gamma(place.channel).abs() * by.ratio[unit] * by.inverse_deviation[unit];
            let terms = |b: f64, a: f64| if valid(place) { (b + x * a) / m } else { 0.0 };
            let of_x = if valid(place) { off_x[i] * a[unit].abs() / m } else { 0.0 };
            let sizes = gradients.dresidual[i].abs() + terms(b[unit].abs(), a[unit].abs());
            let off = off[i] + terms(off_b[unit], off_a[unit]) + of_x + 12.0 * U * sizes;
            stored(types.x, gradients.dx[i], scale * off + SMALLEST)
        });
        let dx = dx.collect();
        let pulled = off.iter().zip(&gradients.dresidual).map(|(off, dz)| stored(types.x, *dz, off + SMALLEST));
        let dresidual = pulled.collect();
        [dx, of_parameters(dgamma, &gradients.dgamma), of_parameters(dbeta, &gradients.dbeta), dresidual]
    }
}

/// Of x̂: x and the mean may both be taken for zero.
fn of_flushing(inverse_deviation: f64) -> f64 {
    2.0 * SMALLEST * inverse_deviation
}

/// The tolerance of a value that may be off by so much before it is stored.
fn stored(float: Float, value: f64, off: f64) -> f64 {
    off + float.rounding(value.abs() + off)
}

/// What an activation makes of errors, and its own. An adapter's exp(t) is off by (3 + 2·|t|) units in the last
/// place, as WGSL has it, and tanh no more than what is made of two of those.
#[derive(Clone, Copy)]
pub(super) struct Bent(pub(super) Activation);

impl Bent {
    /// The largest slope.
    fn steepest(self) -> f64 {
        match self.0 {
            Activation::LeakyRelu(slope) => f64::from(slope.abs()).max(1.0),
            Activation::Silu => 1.1,
            Activation::Gelu => 1.13,
            Activation::Sigmoid => 0.25,
            Activation::Identity | Activation::Relu | Activation::Tanh | Activation::Clamp(..) => 1.0,
        }
    }

    /// Of y, where z may be off by `dz`: no more than all that y may be.
    fn off_by(self, dz: f64) -> f64 {
        let all = match self.0 {
            Activation::Sigmoid => 1.0,
            Activation::Tanh => 2.0,
            Activation::Clamp(low, high) => f64::from(high) - f64::from(low),
            _ => f64::INFINITY,
        };
        (self.steepest() * dz).min(all)
    }

    /// Of y, z being exact.
    fn rounding(self, z: f64, y: f64) -> f64 {
        match self.0 {
            Activation::Identity | Activation::Relu | Activation::Clamp(..) => 0.0,
            Activation::LeakyRelu(_) => 2.0 * U * y.abs(),
            Activation::Sigmoid => sigmoid_error(z),
            Activation::Silu => z.abs() * sigmoid_error(z) + 2.0 * U * y.abs(),
            Activation::Gelu => z.abs() * normal_error(z) + 2.0 * U * y.abs(),
            Activation::Tanh => tanh_error(z),
        }
    }

    /// Of the slope at a z that may be off by `dz`: by the largest curvature, or where z may be on either side of
    /// a bend by all that the slope changes there; and what the adapter adds. None is off by 2: they are all between −0.2
    /// and 1.2.
    fn slope_error(self, z: f64, dz: f64) -> f64 {
        let at_bend = |change: f64| if self.is_unsure(z, dz) { change } else { 0.0 };
        let off: f64 = match self.0 {
            // Flat.
            Activation::Sigmoid | Activation::Silu | Activation::Gelu | Activation::Tanh
                if z.is_infinite() && dz == 0.0 =>
            {
                0.0
            }
            Activation::Identity => 0.0,
            Activation::Relu | Activation::Clamp(..) => at_bend(1.0),
            Activation::LeakyRelu(slope) => at_bend((1.0 - f64::from(slope)).abs()),
            Activation::Sigmoid => 0.1 * dz + sigmoid_error(z) + 4.0 * U * sigmoid(z),
            Activation::Silu => 0.5 * dz + (1.0 + z.abs()) * (2.0 * sigmoid_error(z) + 4.0 * U * sigmoid(z)),
            Activation::Gelu => {
                let density = 0.4 * (-z * z / 2.0).exp();
                0.8 * dz + normal_error(z) + z.abs() * density * (16.0 + 4.0 * z * z) * U + 4.0 * U
            }
            Activation::Tanh => 0.77 * dz + 2.0 * tanh_error(z) + 4.0 * U,
        };
        off.min(2.0)
    }

    /// Whether a z that may be off by `dz` may be on either side of a bend.
    pub(super) fn is_unsure(self, z: f64, dz: f64) -> bool {
        let near = |bend: f32| (z - f64::from(bend)).abs() <= dz;
        match self.0 {
            Activation::Relu | Activation::LeakyRelu(_) => near(0.0),
            Activation::Clamp(low, high) => near(low) || near(high),
            _ => false,
        }
    }

    /// Whether z is where the slope is 1, of those that have a bend.
    pub(super) fn side(self, z: f64) -> bool {
        match self.0 {
            Activation::Clamp(low, high) => (f64::from(low)..=f64::from(high)).contains(&z),
            Activation::Relu => z > 0.0 || z.is_nan(),
            _ => z > 0.0,
        }
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// No activation's error changes any more beyond.
const FAR: f64 = 1e3;

/// Of 1/(1 + exp(−z)).
fn sigmoid_error(z: f64) -> f64 {
    let z = z.clamp(-FAR, FAR);
    sigmoid(z) * (sigmoid(-z) * (6.0 + 4.0 * z.abs()) + 8.0) * U
}

/// Of (eᶻ − e⁻ᶻ)/(eᶻ + e⁻ᶻ).
fn tanh_error(z: f64) -> f64 {
    let z = z.clamp(-FAR, FAR);
    let y = z.tanh();
    ((1.0 - y * y) * (6.0 + 4.0 * z.abs()) + 8.0 * y.abs()) * U
}

/// Of Φ(z): its smaller half is ½t·exp(p(t) − z²/2), with a polynomial that is off by 1.2e-7 and an exponent that
/// rounds; |p| is below 1.3.
fn normal_error(z: f64) -> f64 {
    let z = z.clamp(-FAR, FAR);
    let tail = (-z * z / 2.0).exp() / (1.0 + z.abs());
    tail * (40.0 + 4.0 * z * z) * U + 2.0 * U
}

/// The least value that no adapter takes for zero.
fn least_normal(float: Float) -> f64 {
    match float {
        Float::F32 | Float::Bf16 => f64::from(f32::MIN_POSITIVE),
        Float::F16 => f64::powi(2.0, -14),
    }
}
