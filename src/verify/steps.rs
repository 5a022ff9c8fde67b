//! The steps of a training pass whose statistics are values: what each is given, and what should come back.

use super::arena::Tensor;
use super::form::Form;
use super::tolerance::{Bent, Tolerance, U};
use super::{Expected, Problem, Random, planes};
use crate::descriptor::{Descriptor, Float, Gradients, Kept, Tensor as Name, Types};
use crate::recipe::Operation;
use crate::reference::{self, Statistics, Units};
use crate::statistics::Statistics as Merged;

const BACKWARD: Operation = Operation::Backward(Gradients::ALL);

/// Values below the smallest normal f32 may be flushed to zero.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

impl Problem {
    /// The tensors that a step takes and makes, but for scratch.
    pub(super) fn arguments_of_step(&self, step: Operation) -> Vec<Tensor> {
        use Operation::*;
        let descriptor = &self.descriptor;
        let Descriptor { types, epilogue, .. } = descriptor;
        let (values, channels) = (descriptor.shape().iter().product(), descriptor.channels());
        let of_x = |tensor| Form::of(descriptor, tensor);
        let plain = || Form::Dense(Float::F32);
        let parameter = || Form::Dense(types.parameters);

        let back = matches!(step, GatherBackward | ApplyBackward);
        let kept = epilogue.kept();
        let x = if back && descriptor.from_y { Name::Y } else { Name::X };
        let has_x = matches!(step, Gather | Normalize | GatherBackward | ApplyBackward);
        let has_gamma = descriptor.gamma && !matches!(step, Gather | Merge(_) | MergeBackward(_));
        let has_beta = descriptor.beta && (back || matches!(step, Finalize | Normalize));
        let has_saved = back || matches!(step, Normalize | FinalizeBackward);
        let has_residual = if back { kept == Kept::Residual } else { step == Normalize && epilogue.residual };
        let running = step == Finalize && descriptor.running.is_some();
        let padding = if matches!(step, Gather | ApplyBackward) { self.padding() } else { vec![] };
        let counts = running && descriptor.running.is_some_and(|rule| rule.has_counter());

        let input = |is: bool, name, form: Form, values: &[f32]| is.then(|| Tensor::input(name, form, values));
        let output = |is: bool, name, form: Form, len: usize| is.then(|| Tensor::output(name, form, len));
        let moved = |is: bool, name, form: Form, values: &[f32]| {
            input(is, name, form, values).map(|tensor| Tensor { output: true, ..tensor })
        };
        let statistic = || Form::Dense(types.running);
        let counter = [f32::from_bits(self.batches)];
        let signs = self.signs();
        let (many, wide) = match step {
            Merge(parts) => (self.many(parts), false),
            MergeBackward(parts) => (self.many_sums(parts), true),
            _ => (vec![], false),
        };
        let tensors = [
            input(has_x, "x", of_x(x), &self.input(if back { BACKWARD } else { step })),
            input(back, "dy", of_x(Name::Dy), &self.dy),
            input(!many.is_empty(), "many", plain(), &many),
            input(step == Finalize, "statistics", plain(), &self.given_statistics()),
            output(step == Gather || !many.is_empty() && !wide, "statistics", plain(), 3 * channels),
            output(step == GatherBackward || wide, "sums", plain(), 2 * channels),
            input(matches!(step, FinalizeBackward | ApplyBackward), "sums", plain(), &self.given_sums()),
            input(has_gamma, "gamma", parameter(), &self.gamma),
            input(has_beta, "beta", parameter(), &self.beta),
            input(has_residual, "residual", of_x(Name::Residual), &self.residual),
            moved(running, "running_mean", statistic(), &self.running_mean),
            moved(running, "running_variance", statistic(), &self.running_variance),
            moved(counts, "counter", plain(), &counter),
            (!padding.is_empty()).then(|| Tensor::of_words("valid", padding)),
            input(has_saved, "saved", plain(), &self.saved),
            output(step == Finalize, "saved", plain(), self.saved.len()),
            output(step == Finalize, "scale_and_shift", plain(), 2 * channels),
            output(step == Normalize, "y", of_x(Name::Y), values),
            input(back && kept == Kept::Signs, "signs", Form::of_signs(descriptor), &signs),
            output(step == Normalize && kept == Kept::Signs, "signs", Form::of_signs(descriptor), values),
            output(step == GatherBackward && self.has_dresidual(), "dresidual", of_x(Name::Dresidual), values),
            output(step == ApplyBackward, "dx", of_x(Name::Dx), values),
            output(step == FinalizeBackward, "dgamma", parameter(), channels),
            output(step == FinalizeBackward, "dbeta", parameter(), channels),
            output(step == FinalizeBackward, "coefficients", plain(), 3 * channels),
        ];
        tensors.into_iter().flatten().collect()
    }

    /// What the reference says of a step, beside the tolerances.
    pub(super) fn expect_step(&self, step: Operation) -> Vec<Expected> {
        match step {
            Operation::Gather => vec![self.expect_gathered()],
            Operation::Merge(parts) => vec![self.expect_merged(parts)],
            Operation::Finalize => self.expect_final(),
            Operation::Normalize => self.expect_normalized(),
            Operation::GatherBackward => {
                let dresidual = self.expect_gradients(BACKWARD, Gradients::ALL).into_iter();
                [self.expect_sums()].into_iter().chain(dresidual.filter(|one| one.name == "dresidual")).collect()
            }
            Operation::MergeBackward(parts) => vec![self.expect_sums_merged(parts)],
            Operation::FinalizeBackward => self.expect_final_gradients(),
            Operation::ApplyBackward => {
                let all = self.expect_gradients(BACKWARD, Gradients::DX).into_iter();
                all.filter(|one| one.name == "dx").collect()
            }
            _ => vec![],
        }
    }

    /// As a forward pass would leave them.
    fn signs(&self) -> Vec<f32> {
        if self.descriptor.epilogue.kept() != Kept::Signs {
            return vec![];
        }
        let bent = Bent(self.descriptor.epilogue.activation);
        self.before_activation(false).into_iter().map(|z| f32::from(bent.side(z))).collect()
    }

    /// Counts, means and variances: those of `saved`, exactly.
    fn given_statistics(&self) -> Vec<f32> {
        let channels = self.descriptor.channels();
        [3, 0, 2].into_iter().flat_map(|plane| &self.saved[plane * channels..][..channels]).copied().collect()
    }

    /// Σdz and Σdz·x̂, rounded.
    fn given_sums(&self) -> Vec<f32> {
        self.expect_sums().values.into_iter().map(|sum| sum as f32).collect()
    }

    /// Statistics of so many parts, any that might be: about the batch's. Every fourth part is empty.
    fn many(&self, parts: u32) -> Vec<f32> {
        let (random, by) = (&mut Random(2), self.statistics());
        let part = |part: u32| {
            let mut channel = |(mean, variance): (&f64, &f64)| match part % 4 {
                2 => Merged::default(),
                _ => Merged {
                    count: (1.0 + 99.0 * random.uniform()).floor(),
                    mean: mean + variance.sqrt() * f64::from(random.normal()),
                    variance: variance * (0.5 + random.uniform()),
                },
            };
            Merged::to_planes(&by.mean.iter().zip(&by.variance).map(&mut channel).collect::<Vec<_>>())
        };
        (0..parts).flat_map(part).collect()
    }

    /// Sums of so many parts: any numbers.
    fn many_sums(&self, parts: u32) -> Vec<f32> {
        let mut random = Random(3);
        (0..2 * parts as usize * self.descriptor.channels()).map(|_| random.normal()).collect()
    }

    fn expect_gathered(&self) -> Expected {
        let (descriptor, channels) = (&self.descriptor, self.descriptor.channels());
        let statistics = reference::forward(descriptor, &self.tensors()).statistics;
        let tolerances = Tolerance::of_batch(self, &statistics).saved();
        let values = planes(descriptor, &statistics);
        let of = |all: &[f64]| {
            [3, 0, 2].into_iter().flat_map(|plane| all[plane * channels..][..channels].to_vec()).collect()
        };
        Expected::new("statistics", of(&values), of(&tolerances))
    }

    /// Of every part merged into the rest, with n = n₁+n₂, w = n₂/n and δ = μ₂−μ₁, all means at most R apart and at
    /// most M in size: μ += δ·w rounds δ, w (a division: 5u), their product and the sum, 8u·R + u·M; variances are
    /// sums of three products of as many factors, 16u·(σ² + R²), and move with μ by 2·R·dμ + dμ².
    fn expect_merged(&self, parts: u32) -> Expected {
        let (channels, many) = (self.descriptor.channels(), self.many(parts));
        let each: Vec<Vec<Merged>> = many.chunks(3 * channels).map(Merged::from_planes).collect();
        let (mut values, mut tolerances) = (vec![0.0; 3 * channels], vec![0.0; 3 * channels]);
        for channel in 0..channels {
            let all = || each.iter().map(|part| part[channel]).filter(|part| part.count > 0.0);
            let mut merged = Merged::default();
            all().for_each(|part| merged.merge(part));
            let largest = |value: fn(Merged) -> f64| all().map(value).fold(0.0, f64::max);
            let (low, high) = (all().map(|part| part.mean).fold(f64::INFINITY, f64::min), largest(|part| part.mean));
            let (apart, size) = ((high - low).max(0.0), largest(|part| part.mean.abs()));
            let steps = f64::from(parts) * U;
            let dmean = steps * (8.0 * apart + size) + SMALLEST;
            let of_products = steps * 16.0 * (largest(|part| part.variance) + apart * apart);
            let dvariance = of_products + 2.0 * apart * dmean + dmean * dmean + SMALLEST;
            let planes = [(merged.count, U * merged.count), (merged.mean, dmean), (merged.variance, dvariance)];
            for (plane, (value, tolerance)) in planes.into_iter().enumerate() {
                (values[plane * channels + channel], tolerances[plane * channels + channel]) = (value, tolerance);
            }
        }
        Expected::new("statistics", values, tolerances)
    }

    /// By statistics that are given exactly: 1/√(σ²+ε) is off by 8u, r and d of renormalization as of a
    /// [`Tolerance`] with dμ = 0; scale = γ·r·ρ by those and 4u more, and shift = γ·d + β − μ·scale by those of its
    /// terms and 4u of their sizes.
    fn expect_final(&self) -> Vec<Expected> {
        let (descriptor, tensors) = (&self.descriptor, self.tensors());
        let epsilon = f64::from(descriptor.epsilon);
        let units = Units::of_training(descriptor);
        let before = reference::running_statistics(descriptor, &tensors, &units);
        let (mut by, mut off) = (self.statistics(), Statistics::default());
        by.inverse_deviation = by.variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect();
        off.mean = vec![0.0; units.len()];
        (off.variance, off.count) = (off.mean.clone(), off.mean.clone());
        off.inverse_deviation = by.inverse_deviation.iter().map(|inverse| 8.0 * U * inverse + SMALLEST).collect();
        (off.ratio, off.offset) = (off.mean.clone(), off.mean.clone());
        if let Some(bounds) = descriptor.renorm {
            let (r_max, d_max) = (f64::from(bounds.r_max), f64::from(bounds.d_max));
            for unit in 0..units.len() {
                let (mean, was, inverse) = (by.mean[unit], before.mean[unit], before.inverse_deviation[unit]);
                by.ratio[unit] = (inverse / by.inverse_deviation[unit]).clamp(1.0 / r_max, r_max);
                by.offset[unit] = ((mean - was) * inverse).clamp(-d_max, d_max);
                off.ratio[unit] = 16.0 * U * by.ratio[unit];
                off.offset[unit] = inverse * U * (mean.abs() + was.abs() + 8.0 * (mean - was).abs());
            }
        }
        let (mut values, mut tolerances) = ([vec![], vec![]], [vec![], vec![]]);
        for unit in 0..units.len() {
            let gamma = tensors.gamma.map_or(1.0, |gamma| f64::from(gamma[unit]));
            let beta = tensors.beta.map_or(0.0, |beta| f64::from(beta[unit]));
            let (r, d, inverse, mean) = (by.ratio[unit], by.offset[unit], by.inverse_deviation[unit], by.mean[unit]);
            let scale = gamma * r * inverse;
            let dscale =
                gamma.abs() * (r * off.inverse_deviation[unit] + inverse * off.ratio[unit]) + 4.0 * U * scale.abs();
            let sizes = (gamma * d).abs() + beta.abs() + (mean * scale).abs();
            let dshift = gamma.abs() * off.offset[unit] + mean.abs() * dscale + 4.0 * U * sizes;
            for (i, (value, tolerance)) in
                [(scale, dscale), (gamma * d + beta - mean * scale, dshift)].into_iter().enumerate()
            {
                values[i].push(value);
                tolerances[i].push(tolerance + SMALLEST);
            }
        }
        let statistics = self.statistics();
        let mut all = vec![
            Expected::new("saved", planes(descriptor, &by), planes(descriptor, &off)),
            Expected::new("scale_and_shift", values.concat(), tolerances.concat()),
        ];
        all.extend(self.expect_running(&Tolerance::of_saved(self, &statistics), &statistics));
        all
    }

    fn expect_normalized(&self) -> Vec<Expected> {
        let (descriptor, tensors, statistics) = (&self.descriptor, &self.tensors(), self.statistics());
        let (tolerance, units) = (Tolerance::of_saved(self, &statistics), Units::of_training(descriptor));
        let z = reference::normalize(descriptor, tensors, &units, &statistics);
        let y = reference::activate(descriptor, &z);
        let dense = descriptor.clone().backward_from_y(false);
        let dz = tolerance.z(&reference::normalized(&dense, tensors, &units, &statistics), &z);
        let dy = tolerance.y(&z, &y, &dz);
        let mut all = vec![Expected::new("y", y, dy)];
        if descriptor.epilogue.kept() == Kept::Signs {
            all.push(self.expect_signs(&z, &dz));
        }
        all
    }

    /// Σdz and Σdz·x̂ of every channel, with the tolerances of dβ = Σdz and dγ = r·Σdz·x̂ + d·Σdz.
    fn expect_sums(&self) -> Expected {
        let descriptor = self.descriptor.clone().types(Types::mixed(self.descriptor.types.x));
        let unrounded = Self { descriptor, ..self.clone() };
        let all = unrounded.expect_gradients(BACKWARD, Gradients { dx: false, dgamma: true, dbeta: true });
        let Statistics { ratio, offset, .. } = self.statistics();
        let (mut of_gamma, mut of_beta) = ([vec![], vec![]], [vec![], vec![]]);
        for Expected { name, values, tolerances } in all {
            match name {
                "dgamma" => of_gamma = [values, tolerances],
                "dbeta" => of_beta = [values, tolerances],
                _ => {}
            }
        }
        for (channel, (r, d)) in ratio.iter().zip(&offset).enumerate() {
            of_gamma[0][channel] = (of_gamma[0][channel] - d * of_beta[0][channel]) / r;
            of_gamma[1][channel] /= r;
        }
        let [[sums, dsums], [products, dproducts]] = [of_beta, of_gamma];
        Expected::new("sums", [sums, products].concat(), [dsums, dproducts].concat())
    }

    /// Each addition rounds a sum that is no larger than the sizes of all.
    fn expect_sums_merged(&self, parts: u32) -> Expected {
        let (many, one) = (self.many_sums(parts), 2 * self.descriptor.channels());
        let (mut values, mut sizes) = (vec![0.0; one], vec![0.0; one]);
        for (i, value) in many.iter().enumerate() {
            values[i % one] += f64::from(*value);
            sizes[i % one] += f64::from(value.abs());
        }
        let tolerances = sizes.into_iter().map(|size| f64::from(parts) * U * size + SMALLEST).collect();
        Expected::new("sums", values, tolerances)
    }

    /// By sums A = Σdz·x̂ and B = Σdz that are given exactly: dγ = r·A + d·B, dβ = B, and of dx = a·dy + b·x + c
    /// a = γ·r·ρ, b = −a·ρ·A/m and c = a·(μ·ρ·A/m − B/m). A division is off by 5u, a product or sum by u, and none
    /// has more than eight.
    fn expect_final_gradients(&self) -> Vec<Expected> {
        let (types, by, sums) = (self.descriptor.types, self.statistics(), self.given_sums());
        let channels = self.descriptor.channels();
        let mut gradients = [vec![], vec![]];
        let mut coefficients = [vec![], vec![], vec![]];
        for channel in 0..channels {
            let (b, a) = (f64::from(sums[channel]), f64::from(sums[channels + channel]));
            let gamma = self.tensors().gamma.map_or(1.0, |gamma| f64::from(gamma[channel]));
            let (r, d, m) = (by.ratio[channel], by.offset[channel], by.count[channel].max(1.0));
            let scale = gamma * r * by.inverse_deviation[channel];
            let slope = by.inverse_deviation[channel] * a / m;
            let (of_mean, level) = (by.mean[channel] * slope, b / m);
            let stored = |value: f64, off: f64| (value, off + types.parameters.rounding(value.abs() + off) + SMALLEST);
            gradients[0].push(stored(r * a + d * b, 4.0 * U * ((r * a).abs() + (d * b).abs())));
            gradients[1].push(stored(b, 0.0));
            coefficients[0].push((scale, 4.0 * U * scale.abs() + SMALLEST));
            coefficients[1].push((-scale * slope, 16.0 * U * (scale * slope).abs() + SMALLEST));
            let sizes = scale.abs() * (of_mean.abs() + level.abs());
            coefficients[2].push((scale * (of_mean - level), 16.0 * U * sizes + SMALLEST));
        }
        let expected = |name, both: Vec<(f64, f64)>| {
            let (values, tolerances) = both.into_iter().unzip();
            Expected::new(name, values, tolerances)
        };
        let [dgamma, dbeta] = gradients;
        vec![expected("dgamma", dgamma), expected("dbeta", dbeta), expected("coefficients", coefficients.concat())]
    }
}
