//! Checks the kernels on an adapter against the CPU [`reference`](mod@reference), for tests and for
//! the program's `verify`: a [`Problem`] is run with every output and the scratch poisoned, and every
//! value that comes back is judged by a tolerance that is derived, not chosen (see [`Tolerance`]).

use wgpu::BufferBinding;

use crate::descriptor::{Descriptor, Gradients};
use crate::error::{BindError, Error};
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::operations::{
    Backward, BackwardBindings, Forward, ForwardBindings, FrozenBackward, FrozenBackwardBindings, Inference,
    InferenceBindings, RunningBindings, UpdateRunning, UpdateRunningBindings,
};
use crate::plan::{Bound, Plan};
use crate::recipe::Operation;
use crate::reference;

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

/// Half the distance from 1 to the next f32: the largest relative error of one rounding.
const U: f64 = 1.0 / (1 << 24) as f64;

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
struct Statistics {
    mean: Vec<f64>,
    inverse_deviation: Vec<f64>,
}

impl Statistics {
    fn running(problem: &Problem) -> Self {
        let epsilon = f64::from(problem.descriptor.epsilon);
        let inverse = |variance: &f32| 1.0 / (f64::from(*variance) + epsilon).sqrt();
        Self {
            mean: problem.running_mean.iter().map(|mean| f64::from(*mean)).collect(),
            inverse_deviation: problem.running_variance.iter().map(inverse).collect(),
        }
    }

    fn saved(problem: &Problem) -> Self {
        let saved: Vec<f64> = problem.saved.iter().map(|value| f64::from(*value)).collect();
        let channels = problem.descriptor.channels();
        Self { mean: saved[..channels].to_vec(), inverse_deviation: saved[channels..2 * channels].to_vec() }
    }
}

impl Tolerance {
    const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

    fn of(problem: &Problem) -> Self {
        let m = problem.descriptor.values_per_channel() as f64;
        let mut size = vec![0.0; problem.descriptor.channels()];
        for (c, x) in reference::channels_of(&problem.descriptor).zip(&problem.x) {
            size[c] += f64::from(x.abs()) / m;
        }
        Self { m, size }
    }

    fn growth(&self) -> f64 {
        self.m.log2() / 2.0
    }

    fn mean(&self) -> Vec<f64> {
        self.size.iter().map(|size| (4.0 + self.growth()) * U * size + Self::SMALLEST).collect()
    }

    fn variance(&self, batch: &reference::Forward, dmean: &[f64]) -> Vec<f64> {
        let each = batch.variance.iter().zip(&self.size).zip(dmean);
        each.map(|((v, size), dmean)| 16.0 * U * v + 4.0 * U * size * v.sqrt() + 4.0 * dmean * dmean + Self::SMALLEST)
            .collect()
    }

    fn inverse_deviation(&self, descriptor: &Descriptor, batch: &reference::Forward, dvariance: &[f64]) -> Vec<f64> {
        let epsilon = f64::from(descriptor.epsilon);
        let each = batch.variance.iter().zip(&batch.inverse_deviation).zip(dvariance);
        each.map(|((v, r), dv)| r * (0.5 * dv / (v + epsilon) + 8.0 * U)).collect()
    }

    /// Of 1/√(σ²+ε) where σ² is given.
    fn root(&self, statistics: &Statistics) -> Vec<f64> {
        statistics.inverse_deviation.iter().map(|r| 8.0 * U * r).collect()
    }

    fn y(&self, problem: &Problem, statistics: &Statistics, y: &[f64], dmean: &[f64], dinverse: &[f64]) -> Vec<f64> {
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

    fn gradients(
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

/// A NaN that no kernel makes, for what must be overwritten.
const POISON: f32 = f32::from_bits(0x7fc0_dead);

/// One buffer of a problem; not given where it has no contents.
struct Tensor {
    name: &'static str,
    contents: Vec<f32>,
    output: bool,
}

impl Tensor {
    fn input(name: &'static str, contents: &[f32]) -> Self {
        Self { name, contents: contents.to_vec(), output: false }
    }
}

/// A problem's tensors on the device.
struct Arena {
    /// Name, buffer, offset and size of each.
    places: Vec<(&'static str, wgpu::Buffer, u64, u64)>,
}

impl Arena {
    fn new(gpu: &Gpu, tensors: &[Tensor], placement: Placement) -> Result<Self, Error> {
        let present = tensors.iter().filter(|tensor| !tensor.contents.is_empty());
        let places = match placement {
            Placement::Separate => present
                .map(|tensor| Ok((tensor.name, gpu.upload(&tensor.contents)?, 0, 4 * tensor.contents.len() as u64)))
                .collect::<Result<_, Error>>()?,
            Placement::OneBuffer => {
                let alignment = gpu.kernels.alignment() as usize / 4;
                let mut all = vec![POISON; alignment];
                let mut places = Vec::new();
                for tensor in present {
                    places.push((tensor.name, 4 * all.len() as u64, 4 * tensor.contents.len() as u64));
                    all.extend(&tensor.contents);
                    all.resize(all.len().next_multiple_of(alignment), POISON);
                }
                let buffer = gpu.upload(&all)?;
                places.into_iter().map(|(name, offset, size)| (name, buffer.clone(), offset, size)).collect()
            }
        };
        Ok(Self { places })
    }

    fn get(&self, name: &str) -> Option<BufferBinding<'_>> {
        let (_, buffer, offset, size) = self.places.iter().find(|(known, ..)| *known == name)?;
        Some(BufferBinding { buffer, offset: *offset, size: wgpu::BufferSize::new(*size) })
    }
}

/// A plan of any operation.
enum AnyPlan {
    Inference(Inference),
    Forward(Forward),
    Backward(Backward),
    Frozen(FrozenBackward),
    UpdateRunning(UpdateRunning),
}

impl AnyPlan {
    fn new(kernels: &Kernels, descriptor: &Descriptor, operation: Operation) -> Result<Self, Error> {
        Ok(match operation {
            Operation::Inference => Self::Inference(kernels.inference(descriptor)?),
            Operation::Forward => Self::Forward(kernels.forward(descriptor)?),
            Operation::Backward(wanted) => Self::Backward(kernels.backward(descriptor, wanted)?),
            Operation::FrozenBackward(wanted) => Self::Frozen(kernels.frozen_backward(descriptor, wanted)?),
            Operation::UpdateRunning => Self::UpdateRunning(kernels.update_running(descriptor)?),
        })
    }

    fn plan(&self) -> &Plan {
        match self {
            Self::Inference(plan) => plan,
            Self::Forward(plan) => plan,
            Self::Backward(plan) => plan,
            Self::Frozen(plan) => plan,
            Self::UpdateRunning(plan) => plan,
        }
    }

    fn bind(&self, arena: &Arena) -> Result<Bound, Error> {
        let need = |name| arena.get(name).ok_or(BindError::Missing { argument: name, needs: 4 });
        let running =
            || Ok::<_, BindError>(RunningBindings { mean: need("running_mean")?, variance: need("running_variance")? });
        let (gamma, beta, scratch) = (arena.get("gamma"), arena.get("beta"), arena.get("scratch"));
        let (dx, dgamma, dbeta) = (arena.get("dx"), arena.get("dgamma"), arena.get("dbeta"));
        let bound = match self {
            Self::Inference(plan) => {
                plan.bind(&InferenceBindings { x: need("x")?, y: need("y")?, gamma, beta, running: running()? })
            }
            Self::Forward(plan) => plan.bind(&ForwardBindings {
                x: need("x")?,
                y: need("y")?,
                gamma,
                beta,
                running: plan.descriptor().running.is_some().then(running).transpose()?,
                counter: arena.get("counter"),
                saved: need("saved")?,
                scratch,
            }),
            Self::Backward(plan) => plan.bind(&BackwardBindings {
                x: need("x")?,
                dy: need("dy")?,
                gamma,
                saved: need("saved")?,
                dx,
                dgamma,
                dbeta,
                scratch,
            }),
            Self::UpdateRunning(plan) => plan.bind(&UpdateRunningBindings {
                saved: need("saved")?,
                running: running()?,
                counter: arena.get("counter"),
            }),
            Self::Frozen(plan) => plan.bind(&FrozenBackwardBindings {
                x: arena.get("x"),
                dy: need("dy")?,
                gamma,
                running: running()?,
                dx,
                dgamma,
                dbeta,
                scratch,
            }),
        };
        Ok(bound?)
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
