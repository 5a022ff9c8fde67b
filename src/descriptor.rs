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

/// The type of values in memory. Arithmetic is in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE 754 binary32, 4 bytes.
    #[default]
    F32,
    /// IEEE 754 binary16, 2 bytes. Beyond 65,504 it rounds to infinity.
    F16,
    /// The upper half of an f32, 2 bytes.
    Bf16,
}

impl Float {
    /// Bytes of one value.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The square root of its rounding: a factor less than this loses what it scales beside what is added
    /// (`shaders/shared/statistics.wgsl`).
    pub(crate) const fn least_scale(self) -> f64 {
        match self {
            Self::F32 => 0.000244140625,
            Self::F16 => 0.022097087,
            Self::Bf16 => 0.0625,
        }
    }
}

/// The types of all tensors. What is stored in 16 bits is rounded to the nearest, ties to even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Types {
    /// Of x, y, dy, dx, the residual and its gradient.
    pub x: Float,
    /// Of γ, β and their gradients: f32, or the type of x.
    pub parameters: Float,
    /// Of the running statistics: f32, or the type of x. (What a forward pass saves is f32.)
    pub running: Float,
}

impl Types {
    /// 16-bit tensors with parameters and statistics in f32, which is what mixed precision does.
    pub const fn mixed(x: Float) -> Self {
        Self { x, parameters: Float::F32, running: Float::F32 }
    }

    /// All of them in one type.
    pub const fn all(float: Float) -> Self {
        Self { x: float, parameters: float, running: float }
    }
}

/// Which positions of a padded batch count. A position is an index of x without its channel: one mask serves
/// all channels. Statistics are over the valid positions alone; y is written at every position, by those
/// statistics, and dx at every position is the gradient of that.
///
/// With v = 1 where valid, else 0, and m = Σv: μ = Σvx/m, σ² = Σv(x−μ)²/m, y everywhere as ever. Backward,
/// dβ = Σdy and dγ = Σdy·x̂ over all positions, since all of y has been computed, and
/// dx = γ·r·(dy − v·(dβ + x̂·dγ)/m). Where dy is 0 at padding, what x is there does not matter.
///
/// Where nothing is valid, μ = 0 and σ² = 0, and the running statistics stay as they are. (A mean far from zero costs
/// the variance digits where the first, the middle and the last position are all padding: statistics are taken about
/// one of these.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// No padding: every position counts.
    #[default]
    None,
    /// A mask in x's order without its channel axis: 0 is padding, anything else counts.
    Mask(Mask),
    /// One `u32` a sample: how many indices of this axis of x (not the batch's nor the channel's) count; those
    /// from there on are padding.
    Lengths {
        /// The padded axis, such as 2 of `[N, C, L]` or 1 of `[N, L, C]`.
        axis: usize,
    },
}

/// How a mask lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// A bit a position, the lowest of each `u32` first.
    Bits,
    /// A byte a position, as in PyTorch's and NumPy's `bool`.
    Bytes,
    /// A `u32` a position.
    Words,
}

impl Mask {
    /// Bits of one position: 1, 8 or 32.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Bits => 1,
            Self::Bytes => 8,
            Self::Words => 32,
        }
    }
}

/// What shares one mean and one variance a channel, in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Over {
    /// The whole batch.
    #[default]
    Batch,
    /// Groups of this many samples, the last one of what remains: ghost batch norm (Hoffer, Hubara and Soudry
    /// 2017, "Train longer, generalize better", algorithm 1). The running statistics take the groups one
    /// after the other, each as a batch of its own (which is how the batch counter counts them).
    Groups {
        /// Samples of a group.
        samples: usize,
    },
    /// Each step of the one axis that is neither batch nor channel (`[N, C, T]` or `[N, T, C]`): recurrent batch
    /// norm (Cooijmans et al. 2016). There are running statistics for each of `kept` steps, in memory as
    /// `[kept, C]`; later steps are normalised by the last of them in inference, and leave them alone in training.
    /// Step by step it is a batch norm of `[N, C]` each, on that step's range of the running statistics.
    Steps {
        /// Steps that have running statistics of their own.
        kept: usize,
    },
}

/// Batch renormalization (Ioffe 2017): training normalises by the batch, then corrects towards the running
/// statistics, as far as these bounds allow. With σ_b = √(σ²+ε) of the batch, μ_r and σ_r = √(σ_r²+ε) of the
/// running statistics before they move,
/// r = clamp(σ_b/σ_r, 1/r_max, r_max), d = clamp((μ−μ_r)/σ_r, −d_max, d_max), y = γ·(x̂·r + d) + β; the
/// gradient takes r and d as constants. With r_max = 1 and d_max = 0 it is batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renorm {
    /// r_max, at least 1 (the paper ends at 3).
    pub r_max: f32,
    /// d_max, at least 0 (the paper ends at 5).
    pub d_max: f32,
}

/// What becomes of the normalised value z (the residual added, if there is one).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// z.
    #[default]
    Identity,
    /// max(z, 0).
    Relu,
    /// z, or slope·z where z is negative.
    LeakyRelu(f32),
    /// z·sigmoid(z), also called swish.
    Silu,
    /// z·Φ(z) with the normal distribution Φ, PyTorch's `gelu` without approximation.
    Gelu,
    /// 1/(1 + exp(−z)).
    Sigmoid,
    /// tanh(z).
    Tanh,
    /// min(max(z, low), high), such as ReLU6 with 0 and 6. Its gradient is 1 from low to high, both included.
    Clamp(f32, f32),
}

/// What follows the normalisation in the same kernels: y = activation(BN(x) + residual).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// What is done last.
    pub activation: Activation,
    /// Whether a tensor of x's shape is added before it.
    pub residual: bool,
}

/// What a training forward with an [`Epilogue`] has to leave to the backward pass besides the saved statistics.
/// (Inference leaves nothing: a frozen backward pass through an activation of a sum takes the residual.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Nothing: what the activation did is computed again from x.
    Nothing,
    /// A bit a value, which the forward pass writes: on which side of its bend the activation was.
    Signs,
    /// The residual itself, to compute again what the activation did.
    Residual,
}

impl Epilogue {
    /// What the backward pass needs of the forward pass.
    pub const fn kept(&self) -> Kept {
        use Activation::*;
        match (self.residual, self.activation) {
            (false, _) | (_, Identity) => Kept::Nothing,
            (true, Relu | LeakyRelu(_) | Clamp(..)) => Kept::Signs,
            (true, Silu | Gelu | Sigmoid | Tanh) => Kept::Residual,
        }
    }
}

/// A tensor of x's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tensor {
    /// The input.
    X,
    /// The output.
    Y,
    /// The gradient of y.
    Dy,
    /// The gradient of x.
    Dx,
    /// What is added before the activation.
    Residual,
    /// The gradient of the residual.
    Dresidual,
}

impl Tensor {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::X, Self::Y, Self::Dy, Self::Dx, Self::Residual, Self::Dresidual];

    /// Its name, as kernels and errors have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Dy => "dy",
            Self::Dx => "dx",
            Self::Residual => "residual",
            Self::Dresidual => "dresidual",
        }
    }
}

/// How a tensor lies in its buffer, where it is not dense: a slice of a wider tensor, a crop, a permutation, a
/// flip. The value at index i is at offset + Σ iₐ·strideₐ, all counted in values from the start of the binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Where the value at index 0 of every axis is.
    pub offset: usize,
    /// How far it is from one index of an axis to the next, for every axis of the shape. Negative for a flip; 0,
    /// for tensors that are only read, to use one value again and again.
    pub strides: Vec<isize>,
}

impl View {
    /// The axes of a dense tensor of shape `whole`, from `start` on: a slice or crop.
    ///
    /// ```
    /// use wgpu_batchnorm::View;
    /// // Channels 64 to 127 of a tensor of 256 channels.
    /// let slice = View::of_dense(&[8, 256, 28, 28], &[0, 64, 0, 0]);
    /// assert_eq!((slice.offset, &slice.strides[..]), (64 * 784, &[256 * 784, 784, 28, 1][..]));
    /// ```
    pub fn of_dense(whole: &[usize], start: &[usize]) -> Self {
        let mut strides = vec![1_isize; whole.len()];
        for axis in (1..whole.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(isize::try_from(whole[axis]).unwrap_or(isize::MAX));
        }
        let offset = start.iter().zip(&strides).fold(0_usize, |offset, (start, stride)| {
            offset.saturating_add(start.saturating_mul(stride.unsigned_abs()))
        });
        Self { offset, strides }
    }

    /// The same view with its axes in another order: axis i of the result is axis `order[i]` of this one.
    pub fn permuted(&self, order: &[usize]) -> Self {
        Self { offset: self.offset, strides: order.iter().map(|&axis| self.strides[axis]).collect() }
    }
}

/// What [`Descriptor::health`] counts: the contents of a buffer of four `u32` that the caller clears, binds and
/// reads when it likes. Counts only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Health {
    /// Values of x that were NaN or infinite, where they count for statistics.
    pub non_finite: u32,
    /// Channels of a forward pass that had one valid value or none.
    pub one_value: u32,
    /// Channels of a forward pass whose variance is not finite although its mean is.
    pub overflowed: u32,
    /// Channels of a backward pass from y whose x could not be found again: |γ| is too small.
    pub lost: u32,
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
    pub(crate) types: Types,
    pub(crate) padding: Padding,
    pub(crate) over: Over,
    pub(crate) renorm: Option<Renorm>,
    pub(crate) epilogue: Epilogue,
    pub(crate) from_y: bool,
    pub(crate) health: bool,
    pub(crate) views: Vec<(Tensor, View)>,
}

impl Descriptor {
    /// A batch norm over `x` of this shape (rank 2 or more) and layout.
    pub fn new(shape: impl Into<Vec<usize>>, layout: Layout) -> Self {
        let (shape, running) = (shape.into(), Some(Running::default()));
        Self {
            shape,
            layout,
            epsilon: 1e-5,
            gamma: true,
            beta: true,
            running,
            one_value: OneValue::Refused,
            types: Types::default(),
            padding: Padding::None,
            over: Over::Batch,
            renorm: None,
            epilogue: Epilogue::default(),
            from_y: false,
            health: false,
            views: vec![],
        }
    }

    /// The same batch norm for x of another shape, such as a part of a batch.
    pub fn of_shape(self, shape: impl Into<Vec<usize>>) -> Self {
        Self { shape: shape.into(), ..self }
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

    /// The types of the tensors.
    pub fn types(self, types: Types) -> Self {
        Self { types, ..self }
    }

    /// Which positions count in training; inference and frozen statistics know no padding and ignore it.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// What shares statistics in training.
    pub fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    /// Batch renormalization in training, or none.
    pub fn renorm(self, renorm: impl Into<Option<Renorm>>) -> Self {
        Self { renorm: renorm.into(), ..self }
    }

    /// An activation, after everything else.
    pub fn activation(self, activation: Activation) -> Self {
        Self { epilogue: Epilogue { activation, ..self.epilogue }, ..self }
    }

    /// Whether a tensor of x's shape is added before the activation.
    pub fn residual(self, residual: bool) -> Self {
        Self { epilogue: Epilogue { residual, ..self.epilogue }, ..self }
    }

    /// Has the backward pass take y in place of x, so that x need not be kept (Rota Bulò, Porzi and
    /// Kontschieder 2018, "In-Place Activated BatchNorm"): x̂ = (activation⁻¹(y) − β)/γ. For the identity and
    /// leaky ReLU with a positive slope, without a residual. x̂ is off by about u·(|x̂| + |β/γ|), where u is
    /// the rounding of y: 2⁻²⁴ of f32, 2⁻¹¹ of f16, 2⁻⁸ of bf16. Where |γ| ≤ √u·|β|, or γ is 0, that is too much to
    /// use, and x̂ is taken as 0; [`health`](Self::health) counts such channels.
    pub fn backward_from_y(self, from_y: bool) -> Self {
        Self { from_y, ..self }
    }

    /// Whether training counts what is unhealthy, on the GPU: see [`Health`].
    pub fn health(self, health: bool) -> Self {
        Self { health, ..self }
    }

    /// How a tensor lies in its buffer, where that is not dense and row-major.
    pub fn view(mut self, tensor: Tensor, view: View) -> Self {
        self.views.retain(|(known, _)| *known != tensor);
        self.views.push((tensor, view));
        self
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

    /// How a tensor lies, where a view says so.
    pub(crate) fn view_of(&self, tensor: Tensor) -> Option<&View> {
        self.views.iter().find(|(known, _)| *known == tensor).map(|(_, view)| view)
    }

    /// Bytes of a tensor of x's shape, from the start of its binding to its last value, in whole words.
    pub(crate) fn tensor_bytes(&self, tensor: Tensor) -> u64 {
        let values = match self.view_of(tensor) {
            None => self.shape.iter().fold(1_u64, |n, &axis| n.saturating_mul(axis as u64)),
            Some(_) if self.shape.contains(&0) => 0,
            Some(view) => view.reach(&self.shape).map_or(u64::MAX, |(_, last)| last + 1),
        };
        values.saturating_mul(self.types.x.bytes()).div_ceil(4).saturating_mul(4)
    }

    /// Bytes of the saved statistics.
    pub(crate) fn saved_bytes(&self) -> u64 {
        let shape = |axis: usize| self.shape.get(axis).copied().unwrap_or(0);
        let sets = match self.over {
            Over::Batch => 1,
            Over::Groups { samples } => shape(0).div_ceil(samples.max(1)).max(1),
            Over::Steps { .. } => shape(if self.channels_are_last() { 1 } else { 2 }).max(1),
        };
        (4 * self.saved_planes() * self.channels() as u64).saturating_mul(sets as u64)
    }

    /// How many sets of running statistics there are: one, or one a step.
    pub(crate) fn running_sets(&self) -> usize {
        match self.over {
            Over::Steps { kept } => kept,
            Over::Batch | Over::Groups { .. } => 1,
        }
    }

    /// Planes of the saved statistics: means, inverse deviations, variances, counts, and with batch
    /// renormalization r and d.
    pub(crate) fn saved_planes(&self) -> u64 {
        if self.renorm.is_some() { 6 } else { 4 }
    }

    /// Bytes of the mask or the lengths, in whole words; 0 without padding.
    pub(crate) fn padding_bytes(&self) -> u64 {
        let samples = self.shape.first().copied().unwrap_or(0) as u64;
        match self.padding {
            Padding::None => 0,
            Padding::Mask(mask) => {
                (self.values_per_channel() as u64).saturating_mul(u64::from(mask.bits())).div_ceil(32) * 4
            }
            Padding::Lengths { .. } => 4 * samples,
        }
    }

    pub(crate) fn channels_are_last(&self) -> bool {
        self.layout == Layout::ChannelsLast
    }

    /// Checks what every operation needs, and sees the shape as `[outer, channels, inner]`.
    pub(crate) fn extent(&self) -> Result<Extent, PlanError> {
        let shape = || self.shape.clone();
        let axis = match self.channel_axis() {
            Some(axis) if self.shape.len() >= 2 => axis,
            _ => return Err(PlanError::Rank { shape: shape() }),
        };
        if self.shape[axis] == 0 {
            return Err(PlanError::ZeroSize { shape: shape(), axis });
        }
        let product = |axes: &[usize]| axes.iter().fold(1_u64, |n, &axis| n.saturating_mul(axis as u64));
        let long = self.shape.iter().any(|&axis| axis > i32::MAX as usize);
        if long || product(&self.shape) > 1 << 40 {
            return Err(PlanError::TooManyValues { shape: shape() });
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(PlanError::Epsilon { epsilon: self.epsilon });
        }
        self.check_options()?;
        let (before, behind) = (&self.shape[..axis], &self.shape[axis + 1..]);
        Ok(Extent { outer: product(before), channels: self.shape[axis] as u64, inner: product(behind) })
    }

    /// Checks the options, alone and together.
    fn check_options(&self) -> Result<(), PlanError> {
        let refuse = |option, because: &str| Err(PlanError::Option { option, because: because.to_owned() });
        let Self { shape, types, padding, over, renorm, epilogue, .. } = self;
        if [types.parameters, types.running].into_iter().any(|float| float != Float::F32 && float != types.x) {
            return refuse("types", "parameters and running statistics are f32 or of x's type");
        }
        if let Padding::Lengths { axis } = *padding
            && (axis == 0 || axis >= shape.len() || Some(axis) == self.channel_axis())
        {
            return refuse("padding", "lengths are along an axis of x that is neither the batch's nor the channel's");
        }
        match *over {
            Over::Groups { samples: 0 } => return refuse("over", "a group has at least 1 sample"),
            Over::Steps { kept: 0 } => return refuse("over", "running statistics are kept of at least 1 step"),
            Over::Steps { .. } if shape.len() != 3 => {
                return refuse("over", "steps are the third axis of a shape that has three: [N, C, T] or [N, T, C]");
            }
            _ => {}
        }
        if let Some(Renorm { r_max, d_max }) = *renorm {
            if !(r_max >= 1.0 && d_max >= 0.0 && r_max.is_finite() && d_max.is_finite()) {
                return refuse("renorm", "r_max is at least 1, d_max at least 0, and both are finite");
            }
            if self.running.is_none() {
                return refuse("renorm", "it corrects towards running statistics, and there are none");
            }
        }
        let sound = match epilogue.activation {
            Activation::LeakyRelu(slope) => slope.is_finite(),
            Activation::Clamp(low, high) => low <= high,
            _ => true,
        };
        if !sound {
            return refuse("activation", "a slope is finite, and a lower bound not above the upper one");
        }
        if self.from_y {
            let invertible = match epilogue.activation {
                Activation::Identity => true,
                Activation::LeakyRelu(slope) => slope > 0.0,
                _ => false,
            };
            if !invertible || epilogue.residual {
                return refuse(
                    "backward_from_y",
                    "x is found again through the identity or a leaky ReLU of positive slope, without a residual",
                );
            }
            if renorm.is_some() {
                return refuse("backward_from_y", "not through batch renormalization");
            }
        }
        for (tensor, view) in &self.views {
            view.check(*tensor, shape)?;
        }
        Ok(())
    }

    /// Checks what training needs besides.
    pub(crate) fn check_training(&self) -> Result<(), PlanError> {
        let values = self.values_per_channel();
        let fewest = match self.over {
            Over::Batch => values,
            Over::Groups { samples } => {
                let rest = self.shape[0] % samples;
                values / self.shape[0].max(1) * if rest == 0 { samples.min(self.shape[0]) } else { rest }
            }
            Over::Steps { .. } => self.shape[0],
        };
        match (fewest, self.one_value) {
            (1, OneValue::Refused) => Err(PlanError::OneValue { shape: self.shape.clone() }),
            _ => Ok(()),
        }
    }

    /// Checks what the steps of a pass whose statistics are values need.
    pub(crate) fn check_steps(&self) -> Result<(), PlanError> {
        let refuse = |option, because: &str| Err(PlanError::Option { option, because: because.to_owned() });
        if self.over != Over::Batch {
            return refuse(
                "over",
                "statistics as values are of the whole batch; a group or step is a batch of its own",
            );
        }
        if self.running.is_some_and(|running| running.momentum == Momentum::Cumulative) {
            return refuse("running", "the cumulative average is taken by update_running, after finalize without it");
        }
        Ok(())
    }

    /// Checks what moving the running statistics needs.
    pub(crate) fn check_running(&self) -> Result<(), PlanError> {
        match self.running.map(|running| running.momentum.weight_of_new(1)) {
            Some(weight) if !(0.0..=1.0).contains(&weight) => Err(PlanError::Momentum { weight }),
            _ => Ok(()),
        }
    }
}

impl View {
    /// The strides of a dense tensor.
    pub(crate) fn dense(shape: &[usize]) -> Self {
        Self::of_dense(shape, &[])
    }

    /// The first and the last place that it touches, if all are at 0 or beyond. The shape has no 0.
    pub(crate) fn reach(&self, shape: &[usize]) -> Option<(u64, u64)> {
        let (mut first, mut last) = (self.offset as i128, self.offset as i128);
        for (size, stride) in shape.iter().zip(&self.strides) {
            let along = (*size as i128 - 1) * *stride as i128;
            first += along.min(0);
            last += along.max(0);
        }
        Some((u64::try_from(first).ok()?, u64::try_from(last).ok()?))
    }

    fn check(&self, tensor: Tensor, shape: &[usize]) -> Result<(), PlanError> {
        let refuse = |because: String| Err(PlanError::View { tensor: tensor.name(), because });
        let Self { offset, strides } = self;
        if strides.len() != shape.len() {
            return refuse(format!("it has {} strides for {} axes", strides.len(), shape.len()));
        }
        if shape.contains(&0) {
            return Ok(());
        }
        let wide = 1 << 42;
        let far = shape.iter().zip(strides).any(|(size, stride)| *size > 1 && stride.unsigned_abs() as u64 > wide);
        if far || *offset as u64 > wide || self.reach(shape).is_some_and(|(_, last)| last > wide) {
            return refuse("it reaches beyond 2^42 values".to_owned());
        }
        if self.reach(shape).is_none() {
            return refuse(format!("offset {offset} and strides {strides:?} lead before the start of the binding"));
        }
        // Written places must differ: it is enough that each axis steps over all that faster ones reach.
        if matches!(tensor, Tensor::Y | Tensor::Dx | Tensor::Dresidual) {
            let mut axes: Vec<(u64, u64)> = shape
                .iter()
                .zip(strides)
                .filter(|(n, _)| **n > 1)
                .map(|(n, s)| (s.unsigned_abs() as u64, *n as u64))
                .collect();
            axes.sort_unstable();
            let mut reached = 0_u64;
            for (stride, size) in axes {
                if stride <= reached {
                    return refuse(format!("it is written, and strides {strides:?} may put two values in one place"));
                }
                reached = reached.saturating_add(stride.saturating_mul(size - 1));
            }
        }
        Ok(())
    }
}

/// x as `[outer, channels, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub outer: u64,
    pub channels: u64,
    pub inner: u64,
}
