//! What to normalise, and by which conventions. Pure data.

use crate::error::PlanError;

/// Where the channel axis of `x` is. Memory is row-major and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[N, C, …]`: N×C, NCL, NCHW, NCDHW. PyTorch's and ONNX's order.
    ChannelsFirst,
    /// `[N, …, C]`: N×C, NLC, NHWC, NDHWC. Keras', TensorFlow's and Flax's order.
    ChannelsLast,
}

/// How much one batch moves the running statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// The weight `f` of the new value, PyTorch's `momentum`: `running = (1 − f)·running + f·batch`.
    New(f32),
    /// The weight `d` of the old value, the `momentum` of Keras, Flax and ONNX:
    /// `running = d·running + (1 − d)·batch`.
    Old(f32),
    /// The plain average over all batches, PyTorch's `momentum=None`: the n-th batch weighs 1/n. Needs the
    /// batch counter, which it counts itself.
    Cumulative,
}

impl Momentum {
    /// The weight of the new value, whichever way it was given, for the `batch`-th batch (from 1).
    pub fn weight_of_new(self, batch: u32) -> f32 {
        match self {
            Self::New(weight) => weight,
            Self::Old(decay) => (1.0 - f64::from(decay)) as f32,
            Self::Cumulative => 1.0 / batch.max(1) as f32,
        }
    }
}

/// Which variance of the batch goes into the running variance. The batch itself is always normalised
/// by the biased one, `Σ(x−μ)²/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunningVariance {
    /// `Σ(x−μ)²/(m−1)`, as PyTorch and TensorFlow's fused kernel do.
    Unbiased,
    /// `Σ(x−μ)²/m`, as Keras, Flax and ONNX do.
    Biased,
}

/// How training updates the running statistics. The default is PyTorch's: momentum 0.1 of the new
/// value, unbiased variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Running {
    /// How much one batch counts.
    pub momentum: Momentum,
    /// Which variance is averaged.
    pub variance: RunningVariance,
    /// Whether a batch counter (one `u32`, PyTorch's `num_batches_tracked`) is bound and advanced too. The
    /// cumulative average always has one.
    pub counts_batches: bool,
}

impl Running {
    /// Whether there is a batch counter.
    pub fn has_counter(&self) -> bool {
        self.counts_batches || self.momentum == Momentum::Cumulative
    }
}

impl Default for Running {
    fn default() -> Self {
        Convention::PyTorch.running()
    }
}

/// What training on one value a channel does, where the batch says nothing of the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OneValue {
    /// It is an error, as in PyTorch.
    Refused,
    /// The variance is 0, biased or not, as in Keras, TensorFlow, Flax and ONNX: y is β.
    HasNoVariance,
}

/// The conventions of a framework, with its defaults; see [`Descriptor::convention`].
///
/// | convention | running statistics | default | ε | variance in the average | one value a channel |
/// |---|---|---|---|---|---|
/// | PyTorch | (1−f)·r + f·s | f = 0.1 | 1e-5 | unbiased | refused |
/// | Keras 3 | d·r + (1−d)·s | d = 0.99 | 1e-3 | biased | variance 0 |
/// | TensorFlow, fused | (1−f)·r + f·s | f = 1, ε = 1e-3 of `fused_batch_norm` | 1e-3 | unbiased | variance 0 |
/// | ONNX 15 | d·r + (1−d)·s | d = 0.9 | 1e-5 | biased | variance 0 |
/// | Flax | d·r + (1−d)·s | d = 0.99 | 1e-5 | biased | variance 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Convention {
    /// `torch.nn.BatchNorm1d`, `2d` and `3d`.
    PyTorch,
    /// `keras.layers.BatchNormalization` of Keras 3.
    Keras,
    /// `tf.compat.v1.nn.fused_batch_norm`; frameworks on top of it bring numbers of their own.
    TensorFlow,
    /// The operator `BatchNormalization` since opset 15.
    Onnx,
    /// `flax.linen.BatchNorm`.
    Flax,
}

impl Convention {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::PyTorch, Self::Keras, Self::TensorFlow, Self::Onnx, Self::Flax];

    /// The default ε.
    pub const fn epsilon(self) -> f32 {
        match self {
            Self::PyTorch | Self::Onnx | Self::Flax => 1e-5,
            Self::Keras | Self::TensorFlow => 1e-3,
        }
    }

    /// How it moves running statistics, by default.
    pub const fn running(self) -> Running {
        let (momentum, variance) = match self {
            Self::PyTorch => (Momentum::New(0.1), RunningVariance::Unbiased),
            Self::TensorFlow => (Momentum::New(1.0), RunningVariance::Unbiased),
            Self::Keras | Self::Flax => (Momentum::Old(0.99), RunningVariance::Biased),
            Self::Onnx => (Momentum::Old(0.9), RunningVariance::Biased),
        };
        Running { momentum, variance, counts_batches: false }
    }

    /// What it makes of one value a channel in training.
    pub const fn one_value(self) -> OneValue {
        match self {
            Self::PyTorch => OneValue::Refused,
            Self::Keras | Self::TensorFlow | Self::Onnx | Self::Flax => OneValue::HasNoVariance,
        }
    }
}

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gradients {
    /// The gradient of x.
    pub dx: bool,
    /// The gradient of γ, `Σ dy·x̂`. Defined whether or not the forward pass had a γ.
    pub dgamma: bool,
    /// The gradient of β, `Σ dy`. Defined whether or not the forward pass had a β.
    pub dbeta: bool,
}

impl Gradients {
    /// All three.
    pub const ALL: Self = Self { dx: true, dgamma: true, dbeta: true };
    /// That of x alone.
    pub const DX: Self = Self { dx: true, dgamma: false, dbeta: false };
}

/// A batch normalization: the shape of x and the conventions. `Descriptor::new` gives PyTorch's
/// defaults (ε = 1e-5, γ and β, running statistics with momentum 0.1 and unbiased variance).
///
/// A descriptor is not checked until a plan is made of it.
///
/// ```
/// use wgpu_batchnorm::{Descriptor, Layout};
/// let images = Descriptor::new([32, 64, 56, 56], Layout::ChannelsFirst).epsilon(1e-3);
/// assert_eq!(images.channels(), 64);
/// assert_eq!(images.values_per_channel(), 32 * 56 * 56);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: Layout,
    pub(crate) epsilon: f32,
    pub(crate) gamma: bool,
    pub(crate) beta: bool,
    pub(crate) running: Option<Running>,
    pub(crate) one_value: OneValue,
}

impl Descriptor {
    /// A batch norm over `x` of this shape (rank 2 or more) and layout.
    pub fn new(shape: impl Into<Vec<usize>>, layout: Layout) -> Self {
        let (shape, running) = (shape.into(), Some(Running::default()));
        let one_value = OneValue::Refused;
        Self { shape, layout, epsilon: 1e-5, gamma: true, beta: true, running, one_value }
    }

    /// ε, running statistics and the treatment of one value a channel as a framework has them by default.
    pub fn convention(self, convention: Convention) -> Self {
        let (epsilon, one_value) = (convention.epsilon(), convention.one_value());
        Self { epsilon, one_value, running: Some(convention.running()), ..self }
    }

    /// What training on one value a channel does.
    pub fn one_value(self, one_value: OneValue) -> Self {
        Self { one_value, ..self }
    }

    /// ε, added to the variance before the root. Must be positive.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Self { epsilon, ..self }
    }

    /// Whether there is a scale γ (else 1) and a shift β (else 0), each on its own.
    pub fn affine(self, gamma: bool, beta: bool) -> Self {
        Self { gamma, beta, ..self }
    }

    /// How training updates running statistics; `None` for none at all. Other operations ignore it.
    pub fn running(self, running: impl Into<Option<Running>>) -> Self {
        Self { running: running.into(), ..self }
    }

    /// The shape of x, y, dy and dx.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where the channel axis is.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// C, the length of the channel axis (0 where the shape has no such axis).
    pub fn channels(&self) -> usize {
        self.channel_axis().and_then(|axis| self.shape.get(axis)).copied().unwrap_or(0)
    }

    /// m, how many values share one channel: the product of all other axes.
    pub fn values_per_channel(&self) -> usize {
        let axis = self.channel_axis();
        self.shape.iter().enumerate().filter(|(i, _)| Some(*i) != axis).fold(1, |m, (_, n)| m.saturating_mul(*n))
    }

    fn channel_axis(&self) -> Option<usize> {
        match self.layout {
            Layout::ChannelsFirst => Some(1),
            Layout::ChannelsLast => self.shape.len().checked_sub(1),
        }
    }

    /// Checks what every operation needs, and sees the shape as `[outer, channels, inner]`.
    pub(crate) fn view(&self) -> Result<View, PlanError> {
        let shape = || self.shape.clone();
        if self.shape.len() < 2 {
            return Err(PlanError::Rank { shape: shape() });
        }
        if let Some(axis) = self.shape.iter().position(|&n| n == 0) {
            return Err(PlanError::ZeroSize { shape: shape(), axis });
        }
        let product = |axes: &[usize]| axes.iter().try_fold(1u32, |n, &axis| n.checked_mul(u32::try_from(axis).ok()?));
        // Half of what a u32 counts, so that kernels may look a step beyond the end.
        if product(&self.shape).is_none_or(|values| values > PlanError::MOST_VALUES) {
            return Err(PlanError::TooManyValues { shape: shape() });
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(PlanError::Epsilon { epsilon: self.epsilon });
        }
        let whole = |axes: &[usize]| product(axes).unwrap_or(u32::MAX);
        Ok(match self.layout {
            Layout::ChannelsFirst => View {
                outer: whole(&self.shape[..1]),
                channels: whole(&self.shape[1..2]),
                inner: whole(&self.shape[2..]),
            },
            Layout::ChannelsLast => {
                let (channels, outer) = self.shape.split_last().unwrap_or((&1, &[]));
                View { outer: whole(outer), channels: whole(&[*channels]), inner: 1 }
            }
        })
    }

    /// Checks what training needs besides.
    pub(crate) fn check_training(&self) -> Result<(), PlanError> {
        match (self.values_per_channel(), self.one_value) {
            (0 | 1, OneValue::Refused) => Err(PlanError::OneValue { shape: self.shape.clone() }),
            _ => Ok(()),
        }
    }

    /// Checks what moving the running statistics needs.
    pub(crate) fn check_running(&self) -> Result<(), PlanError> {
        match self.running.map(|running| running.momentum.weight_of_new(1)) {
            Some(weight) if !(0.0..=1.0).contains(&weight) => Err(PlanError::Momentum { weight }),
            _ => Ok(()),
        }
    }
}

/// x as `[outer, channels, inner]`; the product fits a `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub outer: u32,
    pub channels: u32,
    pub inner: u32,
}
