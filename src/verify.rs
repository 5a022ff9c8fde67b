//! Checks the kernels on an adapter against the CPU [`reference`](mod@reference), for tests and for
//! the program's `verify`: a [`Problem`] is run with every output and the scratch poisoned, and every
//! value that comes back is judged by a tolerance that is derived, not chosen (see [`Tolerance`]).

mod arena;
mod tolerance;

use crate::descriptor::{Descriptor, Gradients};
use crate::error::{BindError, Error};
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::recipe::Operation;
use crate::reference;
use arena::{AnyPlan, Arena, POISON, Tensor};
pub use tolerance::Tolerance;
use tolerance::{Statistics, U};

/// A batch norm with its data.
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
    /// γ: C values. Used where the descriptor has it.
    pub gamma: Vec<f32>,
    /// β: C values. Used where the descriptor has it.
    pub beta: Vec<f32>,
    /// Running mean before: C values.
    pub running_mean: Vec<f32>,
    /// Running variance before: C values.
    pub running_variance: Vec<f32>,
    /// For a backward pass or an update of the running statistics: what the forward pass saved, C means, C
    /// inverse standard deviations and C variances.
    pub saved: Vec<f32>,
    /// The batches counted before.
    pub batches: u32,
}

impl Problem {
    /// Random data around this mean with this standard deviation, the same for the same seed; `saved` is
    /// the reference's, rounded.
    pub fn random(descriptor: Descriptor, mean: f32, deviation: f32, seed: u64) -> Self {
        let mut random = Random(seed);
        let values = descriptor.shape().iter().product();
        let channels = descriptor.channels();
        let mut draw = |n: usize, mean: f32, deviation: f32| -> Vec<f32> {
            (0..n).map(|_| mean + deviation * random.normal()).collect()
        };
        let x = draw(values, mean, deviation);
        let dy = draw(values, 0.1, 1.0);
        let gamma = draw(channels, 1.0, 0.5);
        let beta = draw(channels, 0.0, 1.0);
        let running_mean = draw(channels, mean, 0.5 * deviation);
        let running_variance = draw(channels, 0.0, deviation).iter().map(|d| d * d + 0.1).collect();
        Self { x, dy, gamma, beta, running_mean, running_variance, saved: vec![], batches: 0, descriptor }.with_saved()
    }

    /// The same problem with `saved` computed from x by the reference.
    pub fn with_saved(self) -> Self {
        let batch = reference::forward(&self.descriptor, &self.x, None, None);
        let saved = [batch.mean, batch.inverse_deviation, batch.variance].concat();
        let saved = saved.into_iter().map(|value| value as f32).collect();
        Self { saved, ..self }
    }

    fn gamma(&self) -> Option<&[f32]> {
        self.descriptor.gamma.then_some(&self.gamma)
    }

    fn beta(&self) -> Option<&[f32]> {
        self.descriptor.beta.then_some(&self.beta)
    }

    /// Runs an operation on this data and reads everything back.
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
        let (x, c) = (self.x.len(), self.descriptor.channels());
        if kernels.device() != &gpu.device {
            let message = "the kernels are another device's".to_owned();
            return Err(BindError::Refused { message }.into());
        }
        let input = Tensor::input;
        let output = |name, len, wanted: bool| Tensor {
            name,
            contents: vec![POISON; if wanted { len } else { 0 }],
            output: true,
        };
        let moves = [Operation::Forward, Operation::UpdateRunning].contains(&operation);
        let running = self.descriptor.running.filter(|_| moves);
        let wanted = match operation {
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => wanted,
            Operation::Inference | Operation::Forward | Operation::UpdateRunning => {
                Gradients { dx: false, dgamma: false, dbeta: false }
            }
        };
        let forward = operation == Operation::Forward;
        let makes_y = forward || operation == Operation::Inference;
        let goes_back = matches!(operation, Operation::Backward(_) | Operation::FrozenBackward(_));
        let counted = [f32::from_bits(self.batches)];
        let plan = AnyPlan::new(kernels, &self.descriptor, operation)?;
        let tensors = [
            input("x", if operation == Operation::UpdateRunning { &[] } else { &self.x }),
            input("dy", if goes_back { &self.dy } else { &[] }),
            input("gamma", self.gamma().unwrap_or_default()),
            input("beta", self.beta().unwrap_or_default()),
            Tensor { output: running.is_some(), ..input("running_mean", &self.running_mean) },
            Tensor { output: running.is_some(), ..input("running_variance", &self.running_variance) },
            Tensor {
                output: true,
                ..input("counter", if running.is_some_and(|r| r.has_counter()) { &counted } else { &[] })
            },
            output("y", x, makes_y),
            if forward { output("saved", 3 * c, true) } else { input("saved", &self.saved) },
            output("dx", x, wanted.dx),
            output("dgamma", c, wanted.dgamma),
            output("dbeta", c, wanted.dbeta),
            Tensor { output: false, ..output("scratch", plan.plan().scratch_bytes() as usize / 4, true) },
        ];
        let arena = Arena::new(gpu, &tensors, placement)?;
        let bound = plan.bind(&arena)?;
        let record = |pass: &mut wgpu::ComputePass<'_>| (0..times).for_each(|_| bound.record(pass));
        gpu.run(record);
        let outputs: Vec<&Tensor> =
            tensors.iter().filter(|tensor| tensor.output && !tensor.contents.is_empty()).collect();
        let ranges: Vec<_> = outputs.iter().filter_map(|tensor| arena.get(tensor.name)).collect();
        let values = gpu.read_ranges(&ranges).await?;
        Ok(Answer(outputs.iter().map(|tensor| tensor.name).zip(values).collect()))
    }

    /// What the reference says, beside the tolerances.
    pub fn expect(&self, operation: Operation) -> Vec<Expected> {
        let Self { descriptor, x, dy, running_mean, running_variance, .. } = self;
        let tolerance = Tolerance::of(self);
        let c = descriptor.channels();
        let over_x = |name, values, tolerances| Expected { name, values, tolerances, channels: Channels::OfX };
        let over_c = |name, values, tolerances| Expected { name, values, tolerances, channels: Channels::Each };
        match operation {
            Operation::Inference => {
                let y = reference::inference(descriptor, x, self.gamma(), self.beta(), running_mean, running_variance);
                let statistics = Statistics::running(self);
                let tolerances = tolerance.y(self, &statistics, &y, &vec![0.0; c], &tolerance.root(&statistics));
                vec![over_x("y", y, tolerances)]
            }
            Operation::Forward => {
                let batch = reference::forward(descriptor, x, self.gamma(), self.beta());
                let (mean, variance) =
                    reference::running(descriptor, &batch, running_mean, running_variance, self.batches + 1);
                let statistics =
                    Statistics { mean: batch.mean.clone(), inverse_deviation: batch.inverse_deviation.clone() };
                let dmean = tolerance.mean();
                let dvariance = tolerance.variance(&batch, &dmean);
                let dinverse = tolerance.inverse_deviation(descriptor, &batch, &dvariance);
                let saved = [&batch.mean[..], &batch.inverse_deviation, &batch.variance].concat();
                let dsaved = [&dmean[..], &dinverse, &dvariance].concat();
                let y = tolerance.y(self, &statistics, &batch.y, &dmean, &dinverse);
                let mut all = vec![over_x("y", batch.y, y), over_c("saved", saved, dsaved)];
                if descriptor.running.is_some() {
                    all.extend(self.expect_running(mean, variance, [&dmean, &dvariance]));
                }
                all
            }
            Operation::UpdateRunning => {
                let saved: Vec<f64> = self.saved.iter().map(|value| f64::from(*value)).collect();
                let plane = |i: usize| saved[i * c..(i + 1) * c].to_vec();
                let batch =
                    reference::Forward { y: vec![], mean: plane(0), inverse_deviation: plane(1), variance: plane(2) };
                let (mean, variance) =
                    reference::running(descriptor, &batch, running_mean, running_variance, self.batches + 1);
                // Only the products with the weights round.
                let rounding = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| 4.0 * U * v.abs()).collect() };
                let (dmean, dvariance) = (rounding(&batch.mean), rounding(&batch.variance));
                self.expect_running(mean, variance, [&dmean, &dvariance]).to_vec()
            }
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => {
                let frozen = matches!(operation, Operation::FrozenBackward(_));
                let statistics = if frozen { Statistics::running(self) } else { Statistics::saved(self) };
                let Statistics { mean, inverse_deviation } = &statistics;
                let gradients = if frozen {
                    reference::frozen_backward(descriptor, x, dy, self.gamma(), running_mean, running_variance)
                } else {
                    reference::backward(descriptor, x, dy, self.gamma(), mean, inverse_deviation)
                };
                let [dx, dgamma, dbeta] = tolerance.gradients(self, &statistics, &gradients, frozen);
                [
                    (wanted.dx, over_x("dx", gradients.dx, dx)),
                    (wanted.dgamma, over_c("dgamma", gradients.dgamma, dgamma)),
                    (wanted.dbeta, over_c("dbeta", gradients.dbeta, dbeta)),
                ]
                .into_iter()
                .filter_map(|(wanted, expected)| wanted.then_some(expected))
                .collect()
            }
        }
    }

    /// The running statistics after, where those of the batch may be off by `d`.
    fn expect_running(&self, mean: Vec<f64>, variance: Vec<f64>, d: [&[f64]; 2]) -> [Expected; 2] {
        let momentum = self.descriptor.running.unwrap_or_default().momentum;
        let weight = f64::from(momentum.weight_of_new(self.batches + 1));
        let expected = |name, before: &[f32], after: Vec<f64>, d: &[f64]| {
            let rounding = before.iter().zip(&after).map(|(b, a)| 2.0 * U * (f64::from(b.abs()) + a.abs()));
            // (m/(m-1) is at most 2.)
            let tolerances = d.iter().zip(rounding).map(|(d, rounding)| 2.0 * weight * d + rounding).collect();
            Expected { name, values: after, tolerances, channels: Channels::Each }
        };
        [
            expected("running_mean", &self.running_mean, mean, d[0]),
            expected("running_variance", &self.running_variance, variance, d[1]),
        ]
    }

    /// Judges what came back against the reference.
    pub fn judge(&self, operation: Operation, answer: &Answer) -> Vec<Verdict> {
        self.expect(operation).iter().map(|expected| expected.judge(&self.descriptor, answer)).collect()
    }
}

/// Where a problem's tensors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each in a buffer of its own.
    Separate,
    /// All in one buffer, at the smallest offsets that the device allows.
    OneBuffer,
}

/// What came back: tensors by the names of the bindings' fields.
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
    /// Absolute tolerances, one a channel (of `saved`: of the means, then of the others).
    pub tolerances: Vec<f64>,
    channels: Channels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Channels {
    OfX,
    Each,
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
    /// Judges the tensor of this name.
    pub fn judge(&self, descriptor: &Descriptor, answer: &Answer) -> Verdict {
        let got = answer.get(self.name);
        let mut worst =
            Verdict { name: self.name, index: 0, got: f32::NAN, expected: f64::NAN, tolerance: 0.0, ratio: 0.0 };
        if got.len() != self.values.len() {
            return Verdict { ratio: f64::INFINITY, ..worst };
        }
        let channels: Box<dyn Iterator<Item = usize>> = match self.channels {
            Channels::OfX => Box::new(reference::channels_of(descriptor)),
            Channels::Each => Box::new(0..got.len()),
        };
        for (index, ((got, expected), channel)) in got.iter().zip(&self.values).zip(channels).enumerate() {
            let error = (f64::from(*got) - expected).abs();
            let tolerance = self.tolerances[channel];
            let ratio = match error {
                0.0 => 0.0,
                error if error.is_nan() => f64::INFINITY,
                error => error / tolerance,
            };
            if ratio > worst.ratio || worst.expected.is_nan() {
                worst = Verdict { index, got: *got, expected: *expected, tolerance, ratio, ..worst };
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
