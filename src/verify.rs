//! Checks the kernels on an adapter against the CPU [`reference`](mod@reference), for tests and for
//! the program's `verify`: a [`Problem`] is run with every output and the scratch poisoned, and every
//! value that comes back is judged by a tolerance that is derived, not chosen (see [`Tolerance`]).

mod arena;
mod form;
mod steps;
mod tolerance;

use crate::argument::Argument;
use crate::descriptor::{Activation, Descriptor, Float, Gradients, Health, Kept, Mask, Padding, Tensor as Name};
use crate::error::{BindError, Error};
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::recipe::Operation;
use crate::reference::{self, Statistics, Tensors, Units};
use crate::sizes::Sizes;
use arena::{Arena, Tensor};
use form::Form;
use tolerance::Bent;
pub use tolerance::Tolerance;

/// A batch norm with its data. It is all in f32 here, of values that the descriptor's types have, and in x's
/// order, however the descriptor has it lie on the device.
///
/// # Panics
/// [`random`](Self::random), [`expect`](Self::expect) and [`judge`](Self::judge) where the descriptor is one
/// that no plan is made of (such as rank 1), or where a vector that the operation takes has another length
/// than the descriptor's shape or channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What is normalised, and how.
    pub descriptor: Descriptor,
    /// Input.
    pub x: Vec<f32>,
    /// Gradient of y.
    pub dy: Vec<f32>,
    /// What is added before the activation. Used where the descriptor has it.
    pub residual: Vec<f32>,
    /// γ: C values. Used where the descriptor has it.
    pub gamma: Vec<f32>,
    /// β: C values. Used where the descriptor has it.
    pub beta: Vec<f32>,
    /// Running mean before: C values, or C a step kept.
    pub running_mean: Vec<f32>,
    /// Running variance before, likewise.
    pub running_variance: Vec<f32>,
    /// Which positions count, in x's order without its channel axis; empty without padding. With
    /// [`Padding::Lengths`] those of a sample come first.
    pub valid: Vec<bool>,
    /// For a backward pass or an update of the running statistics: what the forward pass saved
    /// ([`Plan::saved_bytes`](crate::Plan::saved_bytes)).
    pub saved: Vec<f32>,
    /// The batches counted before.
    pub batches: u32,
}

/// What [`Health`] has counted before: counts only grow.
const HEALTH_BEFORE: [f32; 4] = [3.0, 1.0, 4.0, 1.0];

impl Problem {
    /// Random data around this mean with this standard deviation, the same for the same seed; `saved` is
    /// the reference's, rounded. Under a mask about 7 positions of 10 count; of padded samples one has no
    /// length, if there are several. Of a backward pass from y one channel has a γ that is too small for it.
    pub fn random(descriptor: Descriptor, mean: f32, deviation: f32, seed: u64) -> Self {
        let mut random = Random(seed);
        let values = descriptor.shape().iter().product();
        let channels = descriptor.channels();
        let kept = channels * descriptor.running_sets();
        let types = descriptor.types;
        let mut draw = |float: Float, n: usize, mean: f32, deviation: f32| -> Vec<f32> {
            (0..n).map(|_| float.nearest(mean + deviation * random.normal())).collect()
        };
        let x = draw(types.x, values, mean, deviation);
        let dy = draw(types.x, values, 0.1, 1.0);
        let mut gamma = draw(types.parameters, channels, 1.0, 0.5);
        let mut beta = draw(types.parameters, channels, 0.0, 1.0);
        let running_mean = draw(types.running, kept, mean, 0.5 * deviation);
        let running_variance = draw(Float::F32, kept, 0.0, deviation);
        let running_variance = running_variance.iter().map(|d| types.running.nearest(d * d + 0.1)).collect();
        let residual = if descriptor.epilogue.residual { draw(types.x, values, 0.0, 1.0) } else { vec![] };
        if descriptor.from_y {
            (gamma[channels / 2], beta[channels / 2]) = (1.0 / 8192.0, 2.0);
        }
        // A view may have one place for several values.
        let as_lies = |tensor: Name, values: Vec<f32>| {
            let form = Form::of(&descriptor, tensor);
            if values.is_empty() { values } else { form.values(&form.words(&values), values.len()) }
        };
        let (x, dy, residual) = (as_lies(Name::X, x), as_lies(Name::Dy, dy), as_lies(Name::Residual, residual));
        let valid = random_padding(&descriptor, &mut random);
        let (saved, batches) = (vec![], 0);
        Self { x, dy, residual, gamma, beta, running_mean, running_variance, valid, saved, batches, descriptor }
            .with_saved()
    }

    /// The same problem with `saved` computed from x by the reference.
    pub fn with_saved(self) -> Self {
        let statistics = reference::forward(&self.descriptor, &self.tensors()).statistics;
        let saved = planes(&self.descriptor, &statistics).into_iter().map(|value| value as f32).collect();
        Self { saved, ..self }
    }

    /// The data as the reference takes it.
    pub fn tensors(&self) -> Tensors<'_> {
        let Self { descriptor, x, dy, residual, gamma, beta, running_mean, running_variance, valid, .. } = self;
        Tensors {
            x,
            dy,
            residual: if descriptor.epilogue.residual { residual } else { &[] },
            gamma: descriptor.gamma.then_some(gamma),
            beta: descriptor.beta.then_some(beta),
            running_mean,
            running_variance,
            valid,
        }
    }

    /// What is bound as x: of a backward pass from y that y, rounded.
    fn input(&self, operation: Operation) -> Vec<f32> {
        let y = match operation {
            Operation::Backward(_) if self.descriptor.from_y => reference::forward(&self.descriptor, &self.tensors()).y,
            Operation::FrozenBackward(_) if self.descriptor.from_y => {
                reference::inference(&self.descriptor, &self.tensors())
            }
            _ => return self.x.clone(),
        };
        y.into_iter().map(|y| self.descriptor.types.x.nearest(y as f32)).collect()
    }

    /// z of every value, which the activation takes, by the saved statistics or the running ones, as a backward pass
    /// finds it.
    fn before_activation(&self, frozen: bool) -> Vec<f64> {
        let (descriptor, tensors) = (&self.descriptor, &self.tensors());
        match frozen {
            true => reference::before_activation(descriptor, tensors),
            false => reference::normalize(descriptor, tensors, &Units::of_training(descriptor), &self.statistics()),
        }
    }

    /// `saved` by the names of its planes.
    fn statistics(&self) -> Statistics {
        let units = Units::of_training(&self.descriptor).len();
        let plane = |i: usize| self.saved[i * units..(i + 1) * units].iter().map(|value| f64::from(*value)).collect();
        let renorm = self.descriptor.renorm.is_some();
        Statistics {
            mean: plane(0),
            inverse_deviation: plane(1),
            variance: plane(2),
            count: plane(3),
            ratio: if renorm { plane(4) } else { vec![1.0; units] },
            offset: if renorm { plane(5) } else { vec![0.0; units] },
        }
    }

    /// The mask or the lengths, as they lie in memory.
    fn padding(&self) -> Vec<u32> {
        let one_if = |valid: &bool| u32::from(*valid);
        // Anything but 0 counts.
        let mark = |(i, valid): (usize, &bool)| one_if(valid) * (1 + i as u32 % 255);
        match self.descriptor.padding {
            Padding::None => vec![],
            Padding::Mask(Mask::Bits) => packed(self.valid.iter().map(one_if), 1),
            Padding::Mask(Mask::Bytes) => packed(self.valid.iter().enumerate().map(mark), 8),
            Padding::Mask(Mask::Words) => self.valid.iter().enumerate().map(mark).collect(),
            Padding::Lengths { axis } => {
                let Axis { size, after, per_sample } = Axis::of(&self.descriptor, axis);
                let counts = |sample: &[bool]| (0..size).filter(|i| sample[i * after]).count() as u32;
                self.valid.chunks(per_sample.max(1)).map(counts).collect()
            }
        }
    }

    /// Runs an operation on this data and reads everything back: a whole pass, an update of the running statistics, or
    /// a step of a pass, given what the steps before it would leave.
    ///
    /// # Errors
    /// Those of planning, binding and reading back.
    pub async fn run(
        &self,
        gpu: &Gpu,
        kernels: &Kernels,
        operation: Operation,
        placement: Placement,
    ) -> Result<Answer, Error> {
        self.run_times(gpu, kernels, operation, placement, 1).await
    }

    /// As [`run`](Self::run), the dispatches recorded this many times into one pass.
    ///
    /// # Errors
    /// Those of planning, binding and reading back.
    pub async fn run_times(
        &self,
        gpu: &Gpu,
        kernels: &Kernels,
        operation: Operation,
        placement: Placement,
        times: usize,
    ) -> Result<Answer, Error> {
        if kernels.device() != &gpu.device {
            let message = "the kernels are another device's".to_owned();
            return Err(BindError::Refused { message }.into());
        }
        let plan = kernels.plan(&self.descriptor, operation)?;
        let mut tensors = self.arguments(operation);
        let scratch = plan.scratch_bytes() as usize / 4;
        if scratch > 0 {
            tensors.push(Tensor { output: false, ..Tensor::output("scratch", Form::Numbers, scratch) });
        }
        if placement == Placement::InPlace {
            arena::in_place(&mut tensors);
        }
        let arena = Arena::new(gpu, &tensors, placement)?;
        let bound = plan.bind(&arena.bindings().taken_by(&plan))?;
        let record = |pass: &mut wgpu::ComputePass<'_>| (0..times).for_each(|_| bound.record(pass));
        gpu.run(record);
        let outputs = || tensors.iter().filter(|tensor| tensor.output);
        let ranges: Vec<_> = outputs().filter_map(|tensor| arena.get(tensor.name)).collect();
        let words = gpu.read_ranges(&ranges).await?;
        let values = outputs().zip(words).map(|(tensor, words)| (tensor.name, tensor.form.values(&words, tensor.len)));
        Ok(Answer(values.collect()))
    }

    /// The tensors that an operation takes, but for scratch. What the problem does not have is not given.
    fn arguments(&self, operation: Operation) -> Vec<Tensor> {
        if operation.is_a_step() {
            return self.arguments_of_step(operation);
        }
        let descriptor = &self.descriptor;
        let Descriptor { types, epilogue, .. } = descriptor;
        let (values, channels) = (descriptor.shape().iter().product(), descriptor.channels());
        let none = Gradients { dx: false, dgamma: false, dbeta: false };
        let (back, frozen, wanted) = match operation {
            Operation::Backward(wanted) => (true, false, wanted),
            Operation::FrozenBackward(wanted) => (true, true, wanted),
            _ => (false, false, none),
        };
        let forward = operation == Operation::Forward;
        let makes_y = forward || operation == Operation::Inference;
        let running = descriptor.running.filter(|_| forward || operation == Operation::UpdateRunning);
        // After inference there are no signs.
        let kept = match epilogue.kept() {
            Kept::Signs if frozen => Kept::Residual,
            kept => kept,
        };

        let of_x = |tensor| Form::of(descriptor, tensor);
        let (plain, parameter, statistic) =
            (|| Form::Dense(Float::F32), || Form::Dense(types.parameters), || Form::Dense(types.running));
        // (Of an empty batch empty tensors are given too.)
        let given = |name, form: Form, contents: &[f32]| {
            (!contents.is_empty() || values == 0).then(|| Tensor::input(name, form, contents))
        };
        let moved = |name, form: Form, contents: &[f32], moves: bool| {
            given(name, form, contents).map(|tensor| Tensor { output: moves, ..tensor })
        };
        let made = |name, form: Form, len: usize| Some(Tensor::output(name, form, len));
        let only = |wanted: bool, tensor: Option<Tensor>| tensor.filter(|_| wanted);

        let x = if back && descriptor.from_y { Name::Y } else { Name::X };
        let padding = if forward || back && !frozen && wanted.dx { self.padding() } else { vec![] };
        let signs = match back && kept == Kept::Signs {
            true => self.before_activation(frozen),
            false => vec![],
        };
        let signs: Vec<f32> = signs.into_iter().map(|z| f32::from(Bent(epilogue.activation).side(z))).collect();
        let saved = Sizes::of(descriptor, operation).map_or(0, |sizes| sizes.bytes(Argument::Saved) as usize / 4);
        let counter = [f32::from_bits(self.batches)];
        let tensors = [
            only(makes_y || back, given("x", of_x(x), &self.input(operation))),
            only(back, given("dy", of_x(Name::Dy), &self.dy)),
            only(descriptor.gamma, given("gamma", parameter(), &self.gamma)),
            only(descriptor.beta, given("beta", parameter(), &self.beta)),
            only(
                if back { kept == Kept::Residual } else { makes_y && epilogue.residual },
                given("residual", of_x(Name::Residual), &self.residual),
            ),
            moved("running_mean", statistic(), &self.running_mean, running.is_some()),
            moved("running_variance", statistic(), &self.running_variance, running.is_some()),
            only(running.is_some_and(|rule| rule.has_counter()), moved("counter", plain(), &counter, true)),
            (!padding.is_empty()).then(|| Tensor::of_words("valid", padding)),
            only(makes_y, made("y", of_x(Name::Y), values)),
            if forward { made("saved", plain(), saved) } else { given("saved", plain(), &self.saved) },
            only(back && kept == Kept::Signs, given("signs", Form::of_signs(descriptor), &signs)),
            only(forward && kept == Kept::Signs, made("signs", Form::of_signs(descriptor), values)),
            only(wanted.dx, made("dx", of_x(Name::Dx), values)),
            only(wanted.dgamma, made("dgamma", parameter(), channels)),
            only(wanted.dbeta, made("dbeta", parameter(), channels)),
            only(back && self.has_dresidual(), made("dresidual", of_x(Name::Dresidual), values)),
            only(self.counts_health(operation), moved("health", Form::Numbers, &HEALTH_BEFORE, true)),
        ];
        tensors.into_iter().flatten().collect()
    }

    /// Whether a backward pass has a gradient of the residual that is not dy.
    fn has_dresidual(&self) -> bool {
        self.descriptor.epilogue.residual && self.descriptor.epilogue.activation != Activation::Identity
    }

    /// A backward pass counts where it looks for x in y.
    fn counts_health(&self, operation: Operation) -> bool {
        let frozen_dx = Operation::FrozenBackward(Gradients::DX);
        let Descriptor { health, from_y, epilogue, .. } = self.descriptor;
        health
            && match operation {
                Operation::Forward => true,
                operation if operation == frozen_dx => from_y && epilogue.activation != Activation::Identity,
                Operation::Backward(_) | Operation::FrozenBackward(_) => from_y,
                _ => false,
            }
    }

    /// What the reference says, beside the tolerances.
    pub fn expect(&self, operation: Operation) -> Vec<Expected> {
        let mut expected = match operation {
            Operation::Inference => self.expect_inference(),
            Operation::Forward => self.expect_forward(),
            Operation::UpdateRunning => {
                let statistics = self.statistics();
                self.expect_running(&Tolerance::of_saved(self, &statistics), &statistics)
            }
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => self.expect_gradients(operation, wanted),
            step => self.expect_step(step),
        };
        if self.counts_health(operation) {
            expected.push(self.expect_health(operation));
        }
        expected
    }

    fn expect_inference(&self) -> Vec<Expected> {
        let (descriptor, tensors) = (&self.descriptor, &self.tensors());
        let units = Units::of_inference(descriptor);
        let statistics = reference::running_statistics(descriptor, tensors, &units);
        let tolerance = Tolerance::of_running(self, &statistics);
        let z = self.before_activation(true);
        let dense = descriptor.clone().backward_from_y(false);
        let dz = tolerance.z(&reference::normalized(&dense, tensors, &units, &statistics), &z);
        let y = reference::inference(descriptor, tensors);
        let off = tolerance.y(&z, &y, &dz);
        vec![Expected::new("y", y, off)]
    }

    fn expect_forward(&self) -> Vec<Expected> {
        let (descriptor, tensors) = (&self.descriptor, &self.tensors());
        let reference::Forward { y, z, statistics } = reference::forward(descriptor, tensors);
        let tolerance = Tolerance::of_batch(self, &statistics);
        let dense = descriptor.clone().backward_from_y(false);
        let normalized = reference::normalized(&dense, tensors, &Units::of_training(descriptor), &statistics);
        let dz = tolerance.z(&normalized, &z);
        let dy = tolerance.y(&z, &y, &dz);
        let saved = Expected::new("saved", planes(descriptor, &statistics), tolerance.saved());
        let mut all = vec![Expected::new("y", y, dy), saved];
        if descriptor.epilogue.kept() == Kept::Signs {
            all.push(self.expect_signs(&z, &dz));
        }
        all.extend(self.expect_running(&tolerance, &statistics));
        all
    }

    /// The bits that a forward pass leaves, where z may be off by `dz`.
    fn expect_signs(&self, z: &[f64], dz: &[f64]) -> Expected {
        let bent = Bent(self.descriptor.epilogue.activation);
        let signs = z.iter().map(|z| f64::from(bent.side(*z))).collect();
        let unsure = z.iter().zip(dz).map(|(z, dz)| f64::from(bent.is_unsure(*z, *dz))).collect();
        Expected::new("signs", signs, unsure)
    }

    /// The running statistics after, and the counter.
    fn expect_running(&self, tolerance: &Tolerance<'_>, batch: &Statistics) -> Vec<Expected> {
        let Some(rule) = self.descriptor.running else { return vec![] };
        let (mean, variance) = reference::running(&self.descriptor, batch, &self.tensors(), self.batches + 1);
        let [dmean, dvariance] = tolerance.running(self.batches, [&mean, &variance]);
        let mut all =
            vec![Expected::new("running_mean", mean, dmean), Expected::new("running_variance", variance, dvariance)];
        if rule.has_counter() {
            let units = Units::of_training(&self.descriptor);
            let batches = if units.stepped { 1 } else { units.groups as u32 };
            let counter = f64::from(f32::from_bits(self.batches + batches));
            all.push(Expected::new("counter", vec![counter], vec![0.0]));
        }
        all
    }

    fn expect_gradients(&self, operation: Operation, wanted: Gradients) -> Vec<Expected> {
        let frozen = matches!(operation, Operation::FrozenBackward(_));
        let (descriptor, x) = (&self.descriptor, self.input(operation));
        let tensors = Tensors { x: &x, ..self.tensors() };
        let (units, statistics, gradients);
        let tolerance = if frozen {
            units = Units::of_inference(descriptor);
            statistics = reference::running_statistics(descriptor, &tensors, &units);
            gradients = reference::frozen_backward(descriptor, &tensors);
            Tolerance::of_running(self, &statistics)
        } else {
            units = Units::of_training(descriptor);
            statistics = self.statistics();
            gradients = reference::backward(descriptor, &tensors, &statistics);
            Tolerance::of_saved(self, &statistics)
        };
        let normalized = reference::normalized(descriptor, &tensors, &units, &statistics);
        // What an activation's slope is taken at.
        let (z, dz) = if descriptor.epilogue.activation == Activation::Identity {
            (vec![0.0; x.len()], vec![0.0; x.len()])
        } else {
            let z = self.before_activation(frozen);
            let dz = tolerance.z(&normalized, &z);
            (z, dz)
        };
        let [dx, dgamma, dbeta, dresidual] = tolerance.gradients(&normalized, &z, &dz, &gradients, !frozen);
        let all = [
            (wanted.dx, Expected::new("dx", gradients.dx, dx)),
            (wanted.dgamma, Expected::new("dgamma", gradients.dgamma, dgamma)),
            (wanted.dbeta, Expected::new("dbeta", gradients.dbeta, dbeta)),
            (self.has_dresidual(), Expected::new("dresidual", gradients.dresidual, dresidual)),
        ];
        all.into_iter().filter_map(|(wanted, expected)| wanted.then_some(expected)).collect()
    }

    fn expect_health(&self, operation: Operation) -> Expected {
        let descriptor = &self.descriptor;
        let health = if operation == Operation::Forward {
            let Statistics { mean, variance, count, .. } = reference::forward(descriptor, &self.tensors()).statistics;
            let counts = |position: usize| self.valid.get(position).copied().unwrap_or(true);
            let values = self.x.iter().zip(Units::of_training(descriptor).places());
            let finite = |value: f64| (value as f32).is_finite();
            Health {
                non_finite: values.filter(|(x, place)| !x.is_finite() && counts(place.position)).count() as u32,
                one_value: count.iter().filter(|count| **count <= 1.0).count() as u32,
                overflowed: mean.iter().zip(&variance).filter(|(m, v)| finite(**m) && !finite(**v)).count() as u32,
                lost: 0,
            }
        } else {
            let is_lost = |c: &usize| reference::is_lost(descriptor, &self.tensors(), *c);
            // Every group's or step's.
            let units = match operation {
                Operation::Backward(_) => Units::of_training(descriptor),
                _ => Units::of_inference(descriptor),
            };
            let lost = (0..units.channels).filter(is_lost).count() * units.groups;
            Health { lost: lost as u32, ..Health::default() }
        };
        let Health { non_finite, one_value, overflowed, lost } = health;
        let counts = [non_finite, one_value, overflowed, lost].into_iter().zip(HEALTH_BEFORE);
        let values = counts.map(|(count, before)| f64::from(count) + f64::from(before)).collect();
        Expected::new("health", values, vec![0.0; 4])
    }

    /// Judges what came back against the reference. Of a training forward without an epilogue also that the mean of
    /// (y − β)/γ is 0, as `mean of y`, unless y is wrong anyhow: around a large mean each y may be off by a good deal of a
    /// deviation, but not all of them by the same.
    pub fn judge(&self, operation: Operation, answer: &Answer) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.expect(operation).iter().map(|expected| expected.judge(answer)).collect();
        let passed = verdicts.iter().any(|verdict| verdict.name == "y" && verdict.passed());
        if operation == Operation::Forward && passed {
            verdicts.extend(self.balance(answer));
        }
        verdicts
    }

    fn balance(&self, answer: &Answer) -> Option<Verdict> {
        let Descriptor { epilogue, renorm, types, .. } = &self.descriptor;
        let alone = epilogue.activation == Activation::Identity && !epilogue.residual && renorm.is_none();
        let statistics = (alone && types.x == Float::F32)
            .then(|| reference::forward(&self.descriptor, &self.tensors()).statistics)?;
        let of_units = Tolerance::of_saved(self, &statistics).balance(answer.get("y"));
        let verdicts = of_units.into_iter().enumerate().filter_map(|(index, of_unit)| {
            let (off, tolerance) = of_unit?;
            Some(Verdict {
                name: "mean of y",
                index,
                got: off as f32,
                expected: 0.0,
                tolerance,
                ratio: off / tolerance,
            })
        });
        verdicts.max_by(|a, b| a.ratio.total_cmp(&b.ratio))
    }
}

/// The planes of statistics that a forward pass saves.
fn planes(descriptor: &Descriptor, statistics: &Statistics) -> Vec<f64> {
    let Statistics { mean, inverse_deviation, variance, count, ratio, offset } = statistics;
    let planes = [mean, inverse_deviation, variance, count, ratio, offset];
    planes.into_iter().take(descriptor.saved_planes() as usize).flatten().copied().collect()
}

/// Numbers of a few bits in words, the first in the lowest.
fn packed(numbers: impl Iterator<Item = u32>, bits: usize) -> Vec<u32> {
    let numbers: Vec<u32> = numbers.collect();
    let word = |numbers: &[u32]| numbers.iter().rev().fold(0, |word, number| word << bits | number);
    numbers.chunks(32 / bits).map(word).collect()
}

/// An axis of x by which positions are told apart.
struct Axis {
    size: usize,
    /// Positions behind one index of it.
    after: usize,
    per_sample: usize,
}

impl Axis {
    fn of(descriptor: &Descriptor, axis: usize) -> Self {
        let shape = descriptor.shape();
        let channel = if descriptor.channels_are_last() { shape.len() - 1 } else { 1 };
        let behind = |axis: usize| (axis + 1..shape.len()).filter(|i| *i != channel).map(|i| shape[i]).product();
        Self { size: shape[axis], after: behind(axis), per_sample: behind(0) }
    }
}

fn random_padding(descriptor: &Descriptor, random: &mut Random) -> Vec<bool> {
    let samples = descriptor.shape()[0];
    match descriptor.padding {
        Padding::None => vec![],
        Padding::Mask(_) => (0..descriptor.values_per_channel()).map(|_| random.uniform() < 0.7).collect(),
        Padding::Lengths { axis } => {
            let Axis { size, after, per_sample } = Axis::of(descriptor, axis);
            let mut length = |sample| match sample {
                0 if samples > 1 => 0,
                _ => 1 + (random.uniform() * size as f64) as usize,
            };
            let sample = |sample: usize| {
                let length = length(sample);
                (0..per_sample).map(move |position| position / after % size < length)
            };
            (0..samples).flat_map(sample).collect()
        }
    }
}

/// Where a problem's tensors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each in a buffer of its own.
    Separate,
    /// All in one buffer, at the smallest offsets that the device allows.
    OneBuffer,
    /// Each in a buffer of its own, but y written over x and dx over dy.
    InPlace,
}

/// What came back: tensors by the names of the bindings' fields, widened to f32; the counter as its bits, `signs`
/// and `health` as numbers. A tensor whose bytes between its values have changed comes back as NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer(pub Vec<(&'static str, Vec<f32>)>);

impl Answer {
    /// The tensor of this name, empty where there is none.
    pub fn get(&self, name: &str) -> &[f32] {
        self.0.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }

    /// The same bits everywhere?
    pub fn same_bits(&self, other: &Self) -> bool {
        let bits = |answer: &Self| -> Vec<u32> { answer.0.iter().flat_map(|(_, v)| v).map(|v| v.to_bits()).collect() };
        bits(self) == bits(other)
    }
}

/// What should come back.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// The tensor's name in the [`Answer`].
    pub name: &'static str,
    /// Its values.
    pub values: Vec<f64>,
    /// Absolute tolerances, one a value.
    pub tolerances: Vec<f64>,
}

/// How one tensor did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The tensor's name.
    pub name: &'static str,
    /// Where it was worst.
    pub index: usize,
    /// What came back there.
    pub got: f32,
    /// What should have.
    pub expected: f64,
    /// The tolerance there.
    pub tolerance: f64,
    /// The worst error as a fraction of its tolerance: fine up to 1. Infinite where a value was not
    /// written, is missing or is NaN.
    pub ratio: f64,
}

impl Verdict {
    /// Whether every value is within its tolerance.
    pub fn passed(&self) -> bool {
        self.ratio <= 1.0
    }
}

impl Expected {
    fn new(name: &'static str, values: Vec<f64>, tolerances: Vec<f64>) -> Self {
        Self { name, values, tolerances }
    }

    /// Judges the tensor of this name. What should not be finite only must not be.
    pub fn judge(&self, answer: &Answer) -> Verdict {
        let got = answer.get(self.name);
        let mut worst =
            Verdict { name: self.name, index: 0, got: f32::NAN, expected: f64::NAN, tolerance: 0.0, ratio: 0.0 };
        if got.len() != self.values.len() {
            return Verdict { ratio: f64::INFINITY, ..worst };
        }
        for (index, ((got, expected), tolerance)) in got.iter().zip(&self.values).zip(&self.tolerances).enumerate() {
            let error = (f64::from(*got) - expected).abs();
            let ratio = match error {
                0.0 => 0.0,
                _ if !expected.is_finite() && !got.is_finite() => 0.0,
                error if (error / tolerance).is_nan() => f64::INFINITY,
                error => error / tolerance,
            };
            if ratio > worst.ratio || worst.expected.is_nan() {
                worst = Verdict { index, got: *got, expected: *expected, tolerance: *tolerance, ratio, ..worst };
            }
        }
        worst
    }
}

/// SplitMix64: a small generator, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f32 {
        let (a, b) = (self.uniform(), self.uniform());
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    }
}
