//! Running statistics: how they move, by whose convention, and what one value a channel means.

/// How much one batch moves the running statistics. Both weights are taken from the number in f64, as the frameworks
/// do it in Python, and rounded to f32 each: of `Old(0.99)` the new value weighs 0.01, which 1 − 0.99 in f32 is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Momentum {
    /// The weight `f` of the new value, PyTorch's `momentum`: `running = (1 − f)·running + f·batch`.
    New(f64),
    /// The weight `d` of the old value, the `momentum` of Keras, Flax and ONNX:
    /// `running = d·running + (1 − d)·batch`.
    Old(f64),
    /// The plain average over all batches, PyTorch's `momentum=None`: the n-th batch weighs 1/n. Needs the
    /// batch counter, which it counts itself.
    Cumulative,
}

impl Momentum {
    /// The weight of the new value, whichever way it was given, for the `batch`-th batch (from 1).
    pub fn weight_of_new(self, batch: u32) -> f64 {
        match self {
            Self::New(weight) => weight,
            Self::Old(decay) => 1.0 - decay,
            Self::Cumulative => 1.0 / f64::from(batch.max(1)),
        }
    }

    /// The weight of the old value, likewise.
    pub fn weight_of_old(self, batch: u32) -> f64 {
        match self {
            Self::Old(decay) => decay,
            Self::New(_) | Self::Cumulative => 1.0 - self.weight_of_new(batch),
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
    /// What a batch of which no value counts does to them.
    pub no_value: NoValue,
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

/// What training on a batch does to the running statistics of which no value counts: all of it is padding, or it is
/// empty. Either way its mean and variance are taken as 0, y is γ·x/√ε + β, and the batch is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoValue {
    /// They stay: PyTorch of an empty batch (it has no masks).
    Skipped,
    /// They move as by mean 0 and variance 0: Keras of a mask, where the mean is Σx/(m + 10⁻⁷).
    CountsAsZero,
}

/// What training on one value a channel does, where the batch says nothing of the variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OneValue {
    /// It is an error, as in PyTorch.
    Refused,
    /// The variance is 0, biased or not, as in Keras, TensorFlow, Flax and ONNX: y is β.
    HasNoVariance,
}

/// The conventions of a framework, with its defaults; see [`Descriptor::convention`](crate::Descriptor::convention).
///
/// | convention | running statistics | default | ε | variance in the average | one value a channel | no value |
/// |---|---|---|---|---|---|---|
/// | PyTorch | (1−f)·r + f·s | f = 0.1 | 1e-5 | unbiased | refused | they stay |
/// | Keras 3 | d·r + (1−d)·s | d = 0.99 | 1e-3 | biased | variance 0 | they move by 0 |
/// | TensorFlow, fused | (1−f)·r + f·s | f = 1, ε = 1e-3 of `fused_batch_norm` | 1e-3 | unbiased | variance 0 | they stay |
/// | ONNX 15 | d·r + (1−d)·s | d = 0.9 | 1e-5 | biased | variance 0 | they stay |
/// | Flax | d·r + (1−d)·s | d = 0.99 | 1e-5 | biased | variance 0 | they stay |
///
/// Where no value counts, TensorFlow (an empty batch), Flax (a mask) and Keras (an empty batch without a mask) divide 0
/// by 0, which would leave NaN for ever; that is not imitated.
///
/// What has other names here:
///
/// | there | here |
/// |---|---|
/// | PyTorch `momentum=None` | [`Momentum::Cumulative`] |
/// | PyTorch `track_running_stats=False` | [`Descriptor::running`](crate::Descriptor::running) `None`, for inference too |
/// | PyTorch `SyncBatchNorm` `process_group`, Keras `synchronized`, Flax `axis_name` and `axis_index_groups` | statistics as values: [`Kernels::gather`](crate::Kernels::gather) and what follows |
/// | torchvision `FrozenBatchNorm2d`, Keras `trainable=False`, `tf.nn.batch_normalization` | inference and [`Kernels::frozen_backward`](crate::Kernels::frozen_backward) |
/// | Keras and Flax `axis`, neither second nor last | a permuted [`View`](crate::View); several that lie side by side are one |
/// | Keras `center`, `scale`; Flax `use_bias`, `use_scale`; PyTorch `affine`, `bias` | [`Descriptor::affine`](crate::Descriptor::affine) |
/// | Keras `renorm_clipping` | [`Renorm`](crate::Renorm), infinite where a bound is missing |
/// | Keras 2 `virtual_batch_size` | [`Over::Groups`](crate::Over::Groups) |
/// | ONNX `training_mode` | a training forward or inference |
/// | ONNX before 9 `spatial = 0` | a shape of `[N, C·H·W]` |
/// | Flax `use_fast_variance`, `force_float32_reductions` | always the exact way, always in f32 |
///
/// And what is not here:
///
/// | there | why |
/// |---|---|
/// | 64-bit and complex tensors | WGSL has no such arithmetic |
/// | γ, β or statistics of 16 bits beside an f32 x, or of the other 16-bit type | widening them is exact |
/// | ε = 0 in training; momentum beyond 0 to 1 | a channel of equal values is NaN; no average |
/// | Keras `renorm_momentum`, `rmin` | r and d are by the running statistics themselves, as in the paper, not by a second pair of averages; and r is bounded alike on both sides |
/// | Flax masks of single channels | positions count, as in Keras |
/// | `tf.nn.batch_normalization` of statistics of other axes | one mean and variance a channel |
/// | TensorFlow fused: ε below 1.001e-5 raised to that; old statistics not read at f = 1 | ε is taken as it is given; the old ones are multiplied by 0, and must be finite |
/// | `adjustment` of Keras 2, initialisers, regularisers, constraints | are a program's |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Convention {
    /// `torch.nn.BatchNorm1d`, `2d` and `3d`.
    PyTorch,
    /// `keras.layers.BatchNormalization` of Keras 3.
    Keras,
    /// `tf.compat.v1.nn.fused_batch_norm`; frameworks on top of it bring numbers of their own.
    TensorFlow,
    /// The operator `BatchNormalization` since opset 15. Of a model file, whose `momentum` is an f32:
    /// `Momentum::Old(momentum.into())`.
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
        let no_value = match self {
            Self::Keras => NoValue::CountsAsZero,
            Self::PyTorch | Self::TensorFlow | Self::Onnx | Self::Flax => NoValue::Skipped,
        };
        Running { momentum, variance, counts_batches: false, no_value }
    }

    /// What it makes of one value a channel in training.
    pub const fn one_value(self) -> OneValue {
        match self {
            Self::PyTorch => OneValue::Refused,
            Self::Keras | Self::TensorFlow | Self::Onnx | Self::Flax => OneValue::HasNoVariance,
        }
    }
}
