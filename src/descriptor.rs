//! What to normalise, and by which conventions. Pure data.

mod checks;
mod epilogue;
mod order;
mod over;
mod padding;
mod running;
mod types;
mod view;

pub(crate) use checks::Extent;
pub use epilogue::{Activation, Epilogue, Kept};
pub use over::{Over, Renorm};
pub use padding::{Mask, Padding};
pub use running::{Convention, Momentum, NoValue, OneValue, Running, RunningVariance};
pub use types::{Float, Types};
pub use view::{Tensor, View};

/// Where the channel axis of `x` is. Memory is row-major and dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `[N, C, …]`: N×C, NCL, NCHW, NCDHW. PyTorch's and ONNX's order.
    ChannelsFirst,
    /// `[N, …, C]`: N×C, NLC, NHWC, NDHWC. Keras', TensorFlow's and Flax's order.
    ChannelsLast,
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

/// What [`Descriptor::health`] counts: the contents of a buffer of four `u32` that the caller clears, binds and
/// reads when it likes. Counts only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Health {
    /// Values of x that were NaN or infinite, where they count for statistics.
    pub non_finite: u32,
    /// Channels of a forward pass that had one valid value or none.
    pub one_value: u32,
    /// Channels of a forward pass whose variance is not finite although its mean is: there y is β, and dx is 0.
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

    /// ε, added to the variance before the root. In training it must be positive, and no less than
    /// [`f32::MIN_POSITIVE`]. Where statistics are constants (inference, the frozen backward pass, normalize) it may be
    /// 0, as in torchvision's `FrozenBatchNorm2d`: y = γ·(x − μ)/√σ² + β, which of a channel of variance 0, or too
    /// small for a normal f32, is infinite or NaN.
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

    /// Which positions count in training; inference and frozen statistics know no padding and ignore it. Where none
    /// counts, [`NoValue`] says what becomes of the running statistics.
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
    /// use, and x̂ is taken as 0 (NaN, if y is not finite); [`health`](Self::health) counts such channels.
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

    pub(crate) fn channels_are_last(&self) -> bool {
        self.layout == Layout::ChannelsLast
    }
}
