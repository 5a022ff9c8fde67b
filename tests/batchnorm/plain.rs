//! Batch normalization a second time, value by value from the formulas in f64, for tests: it shares no code with
//! `reference`, so that a mistake that kernels and reference have in common shows.
//!
//! NaN and infinity go where plain arithmetic takes them, by PyTorch's rules: ReLU and clamping keep a NaN; ReLU lets
//! the gradient through unless z ≤ 0, clamping where low ≤ z ≤ high. One rule is this library's own: in training with
//! padding, what lies where dy is 0 does not matter. So are two more: a variance that an f32 does not hold is infinite, and
//! then x̂ is 0; and from y x̂ is 0 where γ is too small beside β. (What is not finite, times 0, is NaN.)

use wgpu_batchnorm::{Activation, Descriptor, Layout, Mask, Momentum, Over, Padding, Renorm, Running, RunningVariance};

/// What is computed.
#[derive(Clone, Debug)]
pub struct Plain {
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub epsilon: f32,
    pub gamma: bool,
    pub beta: bool,
    pub activation: Activation,
    pub residual: bool,
    /// Whether the backward pass takes y in place of x, in f32.
    pub from_y: bool,
    pub padded: bool,
    pub over: Over,
    pub renorm: Option<Renorm>,
    pub unbiased: bool,
}

/// The weight of a batch in the running statistics, exact in every type.
const MOMENTUM: f64 = 0.125;

/// What it is computed from, in f32 as on the device.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub x: &'a [f32],
    pub dy: &'a [f32],
    pub residual: &'a [f32],
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
    pub running_mean: &'a [f32],
    pub running_variance: &'a [f32],
    /// Which positions count, where the batch is padded.
    pub valid: &'a [bool],
}

/// What values are normalised by, one of each a unit: a channel, or a channel of one group or step.
#[derive(Clone, Debug, Default)]
pub struct Used {
    pub mean: Vec<f64>,
    /// 1/√(σ² + ε).
    pub inverse: Vec<f64>,
    pub variance: Vec<f64>,
    pub count: Vec<f64>,
    /// r and d of batch renormalization.
    pub ratio: Vec<f64>,
    pub offset: Vec<f64>,
}

/// Where a value of x belongs.
#[derive(Clone, Copy)]
struct Place {
    channel: usize,
    unit: usize,
    running: usize,
    position: usize,
}

impl Plain {
    /// The whole batch's, with nothing but γ and β.
    pub fn new(shape: &[usize], layout: Layout) -> Self {
        Self {
            shape: shape.to_vec(),
            layout,
            epsilon: 1e-5,
            gamma: true,
            beta: true,
            activation: Activation::Identity,
            residual: false,
            from_y: false,
            padded: false,
            over: Over::Batch,
            renorm: None,
            unbiased: true,
        }
    }

    /// The same for the library.
    pub fn descriptor(&self) -> Descriptor {
        let variance = if self.unbiased { RunningVariance::Unbiased } else { RunningVariance::Biased };
        let running = Running { momentum: Momentum::New(0.125), variance, ..Running::default() };
        Descriptor::new(self.shape.clone(), self.layout)
            .epsilon(self.epsilon)
            .affine(self.gamma, self.beta)
            .running(running)
            .activation(self.activation)
            .residual(self.residual)
            .backward_from_y(self.from_y)
            .padding(if self.padded { Padding::Mask(Mask::Bytes) } else { Padding::None })
            .over(self.over)
            .renorm(self.renorm)
    }

    /// y and what x was normalised by.
    pub fn forward(&self, data: &Data<'_>) -> (Vec<f64>, Used) {
        let (places, units) = self.places();
        let mut used = Used::default();
        for unit in 0..units {
            let counts = |place: &Place| place.unit == unit && (!self.padded || data.valid[place.position]);
            let values: Vec<f64> =
                places.iter().zip(data.x).filter(|(place, _)| counts(place)).map(|(_, x)| f64::from(*x)).collect();
            let m = values.len() as f64;
            let of_all = |sum: f64| if m == 0.0 { 0.0 } else { sum / m };
            let mean = of_all(values.iter().sum());
            let variance = of_all(values.iter().map(|x| (x - mean) * (x - mean)).sum());
            let variance = if variance > f32::MAX.into() { f64::INFINITY } else { variance };
            let inverse = self.inverse(variance);
            used.mean.push(mean);
            used.inverse.push(inverse);
            used.variance.push(variance);
            used.count.push(m);
            let (mut r, mut d) = (1.0, 0.0);
            if let Some(Renorm { r_max, d_max }) = self.renorm {
                let (r_max, d_max) = (f64::from(r_max), f64::from(d_max));
                let running = places.iter().find(|place| place.unit == unit).unwrap().running;
                let deviation = f64::from(data.running_variance[running]) + f64::from(self.epsilon);
                let deviation = deviation.sqrt();
                r = bounded((variance + f64::from(self.epsilon)).sqrt() / deviation, 1.0 / r_max, r_max);
                d = bounded((mean - f64::from(data.running_mean[running])) / deviation, -d_max, d_max);
            }
            used.ratio.push(r);
            used.offset.push(d);
        }
        let z = self.z(data, &places, &used);
        (z.into_iter().map(|z| self.activate(z)).collect(), used)
    }

    /// The running statistics after a batch.
    pub fn running(&self, data: &Data<'_>, used: &Used) -> [Vec<f64>; 2] {
        let (places, units) = self.places();
        let mut running = [data.running_mean, data.running_variance].map(widened);
        // Groups in their order; later steps than those kept leave no trace.
        let mut order: Vec<usize> = (0..units).collect();
        let first = |unit: usize| places.iter().position(|place| place.unit == unit).unwrap();
        order.sort_by_key(|unit| first(*unit));
        let kept = data.running_mean.len();
        for unit in order {
            let (place, m) = (places[first(unit)], used.count[unit]);
            let last_step_kept =
                matches!(self.over, Over::Steps { .. }) && self.step(first(unit)) * self.channels() >= kept;
            if m == 0.0 || last_step_kept {
                continue;
            }
            let unbiased = if self.unbiased && m > 1.0 { m / (m - 1.0) } else { 1.0 };
            for (running, new) in running.iter_mut().zip([used.mean[unit], unbiased * used.variance[unit]]) {
                running[place.running] = (1.0 - MOMENTUM) * running[place.running] + MOMENTUM * new;
            }
        }
        running
    }

    /// y by the running statistics.
    pub fn inference(&self, data: &Data<'_>) -> Vec<f64> {
        let it = self.by_running();
        let z = it.z(data, &it.places().0, &it.running_used(data));
        z.into_iter().map(|z| self.activate(z)).collect()
    }

    /// dx, dγ, dβ and the residual's gradient, through the statistics of the batch. Here and below `x` is y where it is
    /// taken from that.
    pub fn backward(&self, data: &Data<'_>, used: &Used) -> [Vec<f64>; 4] {
        self.back(data, used, true)
    }

    /// The same through the running statistics, which are constants.
    pub fn frozen_backward(&self, data: &Data<'_>) -> [Vec<f64>; 4] {
        let it = self.by_running();
        it.back(data, &it.running_used(data), false)
    }

    fn back(&self, data: &Data<'_>, used: &Used, moving: bool) -> [Vec<f64>; 4] {
        let (places, units) = self.places();
        let z = match self.from_y {
            true => data.x.iter().map(|y| self.undo(f64::from(*y))).collect(),
            false => self.z(data, &places, used),
        };
        let normalized = |i: usize| match self.from_y {
            true => self.found_again(data, &places, used, i),
            false => self.normalized(data, &places, used, i),
        };
        let counts = |i: usize| moving && (!self.padded || data.valid[places[i].position]);
        let dz: Vec<f64> = (0..z.len())
            .map(|i| {
                let dy = f64::from(data.dy[i]);
                if self.padded && moving && dy == 0.0 { 0.0 } else { self.pulled(dy, z[i]) }
            })
            .collect();
        let (mut a, mut b) = (vec![0.0; units], vec![0.0; units]);
        for (i, place) in places.iter().enumerate() {
            b[place.unit] += dz[i];
            if !self.padded || !moving || dz[i] != 0.0 || counts(i) {
                a[place.unit] += dz[i] * normalized(i);
            }
        }
        let (mut dgamma, mut dbeta) = (vec![0.0; self.channels()], vec![0.0; self.channels()]);
        for unit in 0..units {
            let channel = places.iter().find(|place| place.unit == unit).unwrap().channel;
            dbeta[channel] += b[unit];
            dgamma[channel] += match self.renorm {
                None => a[unit],
                Some(_) => used.ratio[unit] * a[unit] + used.offset[unit] * b[unit],
            };
        }
        let dx = (0..z.len())
            .map(|i| {
                let Place { unit, channel, .. } = places[i];
                let m = used.count[unit];
                let rest = if counts(i) { dz[i] - b[unit] / m - normalized(i) * a[unit] / m } else { dz[i] };
                self.gamma(data, channel) * used.ratio[unit] * used.inverse[unit] * rest
            })
            .collect();
        [dx, dgamma, dbeta, dz]
    }

    /// What inference and frozen statistics make of it.
    fn by_running(&self) -> Self {
        let over = if let Over::Groups { .. } = self.over { Over::Batch } else { self.over };
        Self { over, renorm: None, padded: false, ..self.clone() }
    }

    fn running_used(&self, data: &Data<'_>) -> Used {
        let (places, units) = self.places();
        let of = |unit: usize| places.iter().find(|place| place.unit == unit).unwrap().running;
        let mean: Vec<f64> = (0..units).map(|unit| f64::from(data.running_mean[of(unit)])).collect();
        let variance: Vec<f64> = (0..units).map(|unit| f64::from(data.running_variance[of(unit)])).collect();
        let inverse = variance.iter().map(|variance| self.inverse(*variance)).collect();
        Used { mean, inverse, variance, count: vec![0.0; units], ratio: vec![1.0; units], offset: vec![0.0; units] }
    }

    fn z(&self, data: &Data<'_>, places: &[Place], used: &Used) -> Vec<f64> {
        (0..places.len())
            .map(|i| {
                let Place { unit, channel, .. } = places[i];
                let corrected = self.normalized(data, places, used, i) * used.ratio[unit] + used.offset[unit];
                let residual = if self.residual { f64::from(data.residual[i]) } else { 0.0 };
                self.gamma(data, channel) * corrected + self.beta(data, channel) + residual
            })
            .collect()
    }

    /// x̂ of a value.
    fn normalized(&self, data: &Data<'_>, places: &[Place], used: &Used, i: usize) -> f64 {
        (f64::from(data.x[i]) - used.mean[places[i].unit]) * used.inverse[places[i].unit]
    }

    /// x̂ of a value of y.
    fn found_again(&self, data: &Data<'_>, places: &[Place], used: &Used, i: usize) -> f64 {
        let Place { unit, channel, .. } = places[i];
        let (gamma, beta) = (self.gamma(data, channel), self.beta(data, channel));
        let scaled = self.undo(f64::from(data.x[i])) - beta;
        if gamma.abs() <= beta.abs() / 4096.0 || used.inverse[unit] == 0.0 { scaled * 0.0 } else { scaled / gamma }
    }

    /// z of y.
    fn undo(&self, y: f64) -> f64 {
        match self.activation {
            Activation::LeakyRelu(slope) if y < 0.0 => y / f64::from(slope),
            _ => y,
        }
    }

    fn beta(&self, data: &Data<'_>, channel: usize) -> f64 {
        if self.beta { f64::from(data.beta[channel]) } else { 0.0 }
    }

    fn gamma(&self, data: &Data<'_>, channel: usize) -> f64 {
        if self.gamma { f64::from(data.gamma[channel]) } else { 1.0 }
    }

    fn inverse(&self, variance: f64) -> f64 {
        1.0 / (variance + f64::from(self.epsilon)).sqrt()
    }

    fn channels(&self) -> usize {
        match self.layout {
            Layout::ChannelsFirst => self.shape[1],
            Layout::ChannelsLast => self.shape[self.shape.len() - 1],
        }
    }

    /// Values of x behind one sample's index, without the channels.
    fn per_sample(&self) -> usize {
        self.shape[1..].iter().product::<usize>() / self.channels()
    }

    /// Sample, channel and position within the sample, of the value at an index of x.
    fn index(&self, i: usize) -> [usize; 3] {
        let (channels, per_sample) = (self.channels(), self.per_sample());
        let sample = i / (channels * per_sample);
        match self.layout {
            Layout::ChannelsFirst => [sample, i / per_sample % channels, i % per_sample],
            Layout::ChannelsLast => [sample, i % channels, i / channels % per_sample],
        }
    }

    /// The position of a value: its index in x without the channel axis.
    pub fn position(&self, i: usize) -> usize {
        let [sample, _, at] = self.index(i);
        sample * self.per_sample() + at
    }

    fn step(&self, i: usize) -> usize {
        self.index(i)[2]
    }

    /// Where every value of x belongs, and how many units there are.
    fn places(&self) -> (Vec<Place>, usize) {
        let (channels, per_sample) = (self.channels(), self.per_sample());
        let units = match self.over {
            Over::Batch => channels,
            Over::Groups { samples } => channels * self.shape[0].div_ceil(samples),
            Over::Steps { .. } => channels * per_sample,
        };
        let place = |i| {
            let [sample, channel, at] = self.index(i);
            let (unit, running) = match (self.over, self.layout) {
                (Over::Batch, _) => (channel, channel),
                (Over::Groups { samples }, _) => (sample / samples * channels + channel, channel),
                (Over::Steps { kept }, Layout::ChannelsFirst) => {
                    (channel * per_sample + at, at.min(kept - 1) * channels + channel)
                }
                (Over::Steps { kept }, Layout::ChannelsLast) => {
                    (at * channels + channel, at.min(kept - 1) * channels + channel)
                }
            };
            Place { channel, unit, running, position: self.position(i) }
        };
        ((0..self.shape.iter().product()).map(place).collect(), units)
    }

    fn activate(&self, z: f64) -> f64 {
        match self.activation {
            Activation::Identity => z,
            Activation::Relu => {
                if z <= 0.0 {
                    0.0
                } else {
                    z
                }
            }
            Activation::LeakyRelu(slope) => {
                if z > 0.0 {
                    z
                } else {
                    z * f64::from(slope)
                }
            }
            Activation::Clamp(low, high) => bounded(z, low.into(), high.into()),
            Activation::Sigmoid => sigmoid(z),
            Activation::Silu => z * sigmoid(z),
            Activation::Tanh => 1.0 - 2.0 / ((2.0 * z).exp() + 1.0),
            Activation::Gelu => z * normal(z),
        }
    }

    /// dy·activation′(z).
    fn pulled(&self, dy: f64, z: f64) -> f64 {
        match self.activation {
            Activation::Identity => dy,
            Activation::Relu if z <= 0.0 => 0.0,
            Activation::Relu => dy,
            Activation::LeakyRelu(_) if z > 0.0 => dy,
            Activation::LeakyRelu(slope) => dy * f64::from(slope),
            Activation::Clamp(low, high) if z >= low.into() && z <= high.into() => dy,
            Activation::Clamp(..) => 0.0,
            Activation::Sigmoid => dy * (sigmoid(z) * (1.0 - sigmoid(z))),
            Activation::Silu => dy * (sigmoid(z) * (1.0 + z * (1.0 - sigmoid(z)))),
            Activation::Tanh => dy * (1.0 - self.activate(z) * self.activate(z)),
            Activation::Gelu => dy * (normal(z) + z * density(z)),
        }
    }
}

/// A NaN is on neither side.
fn bounded(value: f64, low: f64, high: f64) -> f64 {
    if value < low {
        low
    } else if value > high {
        high
    } else {
        value
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Half, and the density integrated from 0 to z by Simpson's rule, in steps of 1/128 or less.
fn normal(z: f64) -> f64 {
    if z.abs() > 9.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let pairs = (64.0 * z.abs()).ceil().max(1.0);
    let h = z / (2.0 * pairs);
    let pair = |i: usize| {
        let from = 2.0 * h * i as f64;
        density(from) + 4.0 * density(from + h) + density(from + 2.0 * h)
    };
    0.5 + h / 3.0 * (0..pairs as usize).map(pair).sum::<f64>()
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
