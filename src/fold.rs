//! Folding: the batch norm of inference merged into the convolution or linear layer beside it, where it
//! costs nothing. Pure arithmetic, in f64.
//!
//! Letters are those of Ioffe and Szegedy (2015): with the running mean μ and variance σ², inference is
//! y = s·x + t, where s = γ/√(σ² + ε) and t = β − μ·s (algorithm 2, step 11). A layer is
//! y\[o\] = Σ W\[o, i, …\]·x\[i\] + b\[o\], so that:
//!
//! | order | weight | bias | source |
//! |---|---|---|---|
//! | the layer, then batch norm: [`into_previous`] | W′\[o, …\] = s\[o\]·W\[o, …\] | b′\[o\] = s\[o\]·b\[o\] + t\[o\] | Jacob et al. (2018), section 3.2 |
//! | batch norm, then the layer: [`into_next`] | W′\[o, i, …\] = s\[i\]·W\[o, i, …\] | b′\[o\] = b\[o\] + Σ W\[o, i, …\]·t\[i\] | s·x + t put in x's place |
//!
//! Nothing may stand between the two, no activation either, and nobody else may read what passes between
//! them. Transposed convolutions, whose weights are `[in, out / groups, k…]`, are not for these functions.
//!
//! ```
//! use wgpu_batchnorm::fold::{Layer, Normalization, into_previous};
//!
//! # fn main() -> Result<(), wgpu_batchnorm::fold::FoldError> {
//! // A linear layer from 3 values to 2 without a bias, then batch norm of these 2.
//! let layer = Layer { weight: &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], shape: &[2, 3], bias: None };
//! let norm = Normalization {
//!     gamma: Some(&[2.0, 1.0]),
//!     beta: Some(&[0.5, 0.0]),
//!     mean: &[1.0, -1.0],
//!     variance: &[3.0, 15.0],
//!     epsilon: 1.0,
//! };
//! let folded = into_previous(&norm.affine()?, &layer)?;
//! assert_eq!(folded.weight, [1.0, 2.0, 3.0, 1.0, 1.25, 1.5]);
//! assert_eq!(folded.bias, [-0.5, 0.25]);
//! # Ok(())
//! # }
//! ```

/// Batch normalization in inference: its parameters and running statistics, C values each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization<'a, T = f32> {
    /// γ; `None` for 1.
    pub gamma: Option<&'a [T]>,
    /// β; `None` for 0.
    pub beta: Option<&'a [T]>,
    /// The running mean, μ.
    pub mean: &'a [T],
    /// The running variance, σ².
    pub variance: &'a [T],
    /// ε. Checkpoints do not hold it: PyTorch's default is 1e-5, Keras' 1e-3.
    pub epsilon: f64,
}

/// What inference does to each channel: y = s·x + t.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// s = γ/√(σ² + ε): C values.
    pub scale: Vec<f64>,
    /// t = β − μ·s: C values.
    pub shift: Vec<f64>,
}

/// The weights of a convolution or linear layer, row-major.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer<'a, T = f32> {
    /// W, in PyTorch's and ONNX's order.
    pub weight: &'a [T],
    /// `[out, in]`, or `[out, in / groups, k…]` with any number of kernel axes.
    pub shape: &'a [usize],
    /// b: one value an output channel; `None` for 0.
    pub bias: Option<&'a [T]>,
}

/// A layer with batch norm in it. The weight's shape is what it was; the bias is there whether or not
/// the layer had one.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// W′.
    pub weight: Vec<f64>,
    /// b′.
    pub bias: Vec<f64>,
}

/// What a convolution adds around its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Padding {
    /// Nothing, or values of the input: PyTorch's `reflect`, `replicate` and `circular`. A linear layer's
    /// choice, too.
    None,
    /// Zeros. They do not pass through the batch norm before the convolution, so that folding it is
    /// exact only where every t is 0.
    Zeros,
}

/// A batch norm that cannot be folded into a layer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// A slice of another length than the rest says.
    #[error("{what} has {has} values; it must have {needs}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Its length.
        has: usize,
        /// What it must be.
        needs: usize,
    },
    /// Weights of no convolution or linear layer.
    #[error("the weight has shape {shape:?}; it must be [out, in] or [out, in / groups, kernel…], no axis of them 0")]
    Shape {
        /// The shape given.
        shape: Vec<usize>,
    },
    /// A batch norm over other channels than the layer puts out.
    #[error(
        "the weight of shape {shape:?} puts out {} channels, and the batch norm after it has {channels}; \
         they must be the same",
        shape.first().copied().unwrap_or_default()
    )]
    Outputs {
        /// The weight's shape.
        shape: Vec<usize>,
        /// The batch norm's channels.
        channels: usize,
    },
    /// A batch norm over other channels than the layer takes in.
    #[error(
        "the weight of shape {shape:?} takes in {} channels times {groups} group(s), and the batch norm before it \
         has {channels}; they must be the same",
        shape.get(1).copied().unwrap_or_default()
    )]
    Inputs {
        /// The weight's shape.
        shape: Vec<usize>,
        /// The groups given.
        groups: usize,
        /// The batch norm's channels.
        channels: usize,
    },
    /// Output channels that cannot be shared out among the groups.
    #[error("groups is {groups}; it must divide the {outputs} output channels")]
    Groups {
        /// The groups given.
        groups: usize,
        /// The layer's output channels.
        outputs: usize,
    },
    /// A running variance that is none, or σ² + ε that has no positive root.
    #[error(
        "the running variance of channel {channel} is {variance}; it must be finite, not below 0, and with epsilon \
         {epsilon} above 0"
    )]
    Variance {
        /// The first such channel.
        channel: usize,
        /// Its running variance.
        variance: f64,
        /// The ε given.
        epsilon: f64,
    },
    /// An ε that is none.
    #[error("epsilon is {epsilon}; it must be finite and not below 0")]
    Epsilon {
        /// The ε given.
        epsilon: f64,
    },
    /// A parameter or running mean that is NaN or infinite.
    #[error("the {what} of channel {channel} is {value}; it must be finite")]
    NotFinite {
        /// The field of [`Normalization`].
        what: &'static str,
        /// The first such channel.
        channel: usize,
        /// Its value.
        value: f64,
    },
    /// A folded weight or bias that is NaN or infinite.
    #[error("the {what} folds to {value} at index {index} (output channel {channel}), from {was}; it must be finite")]
    Folded {
        /// `weight` or `bias`.
        what: &'static str,
        /// The first such place, in row-major order.
        index: usize,
        /// The output channel that it belongs to.
        channel: usize,
        /// What the layer has there; 0 for a bias that it lacks.
        was: f64,
        /// What it would become.
        value: f64,
    },
    /// Zero padding behind a batch norm that shifts.
    #[error(
        "the convolution pads with zeros, and the batch norm before it shifts channel {channel} by {shift}; \
         no weights give the same at the border, so keep this batch norm"
    )]
    ZeroPadding {
        /// The first channel that is shifted.
        channel: usize,
        /// t of this channel.
        shift: f64,
    },
}

impl<T: Copy + Into<f64>> Normalization<'_, T> {
    /// The two numbers a channel that inference comes to.
    ///
    /// # Errors
    /// [`FoldError::Length`] unless all slices have the length of `mean`; [`FoldError::Epsilon`],
    /// [`FoldError::Variance`] and [`FoldError::NotFinite`] where inference would not give finite numbers.
    pub fn affine(&self) -> Result<Affine, FoldError> {
        let channels = self.mean.len();
        let parts = [("gamma", self.gamma), ("beta", self.beta), ("variance", Some(self.variance))];
        for (what, part) in parts {
            check_length(what, part.map_or(channels, <[T]>::len), channels)?;
        }
        let epsilon = self.epsilon;
        let is_none = |value: f64| !value.is_finite() || value < 0.0;
        if is_none(epsilon) {
            return Err(FoldError::Epsilon { epsilon });
        }
        let mut affine = Affine { scale: Vec::with_capacity(channels), shift: Vec::with_capacity(channels) };
        for channel in 0..channels {
            let value = |what, part: Option<&[T]>, default: f64| {
                let value = part.map_or(default, |values| values[channel].into());
                if value.is_finite() { Ok(value) } else { Err(FoldError::NotFinite { what, channel, value }) }
            };
            let variance = self.variance[channel].into();
            if is_none(variance) || variance + epsilon == 0.0 {
                return Err(FoldError::Variance { channel, variance, epsilon });
            }
            let scale = value("gamma", self.gamma, 1.0)? / (variance + epsilon).sqrt();
            affine.scale.push(scale);
            affine.shift.push(value("beta", self.beta, 0.0)? - value("mean", Some(self.mean), 0.0)? * scale);
        }
        Ok(affine)
    }
}

/// Folds batch norm into the layer that runs right before it: W′\[o, …\] = s\[o\]·W\[o, …\] and
/// b′\[o\] = s\[o\]·b\[o\] + t\[o\]. Exact for every padding, stride, dilation and number of groups.
///
/// # Errors
/// [`FoldError::Outputs`] where the channels do not match; [`FoldError::Shape`]; [`FoldError::Length`];
/// [`FoldError::Folded`] where a result is NaN or infinite.
pub fn into_previous<T: Copy + Into<f64>>(norm: &Affine, layer: &Layer<'_, T>) -> Result<Folded, FoldError> {
    let (axes, channels) = (layer.axes()?, norm.channels()?);
    if channels != axes.outputs {
        return Err(FoldError::Outputs { shape: layer.shape.to_vec(), channels });
    }
    let mut folded = layer.widened(&axes);
    let rows = folded.weight.chunks_exact_mut(axes.inputs * axes.kernel);
    for (((row, bias), scale), shift) in rows.zip(&mut folded.bias).zip(&norm.scale).zip(&norm.shift) {
        row.iter_mut().for_each(|weight| *weight *= scale);
        *bias = *bias * scale + shift;
    }
    layer.checked(folded, &axes)
}

/// Folds batch norm into the layer that runs right after it: W′\[o, i, …\] = s\[i\]·W\[o, i, …\] and
/// b′\[o\] = b\[o\] + Σ W\[o, i, …\]·t\[i\], where i counts through the channels of o's group. `groups` is
/// the convolution's, 1 for a linear layer.
///
/// # Errors
/// [`FoldError::ZeroPadding`] where the result would be wrong at the border; [`FoldError::Inputs`] where the
/// channels do not match; [`FoldError::Groups`]; [`FoldError::Shape`]; [`FoldError::Length`];
/// [`FoldError::Folded`] where a result is NaN or infinite.
pub fn into_next<T: Copy + Into<f64>>(
    norm: &Affine,
    layer: &Layer<'_, T>,
    groups: usize,
    padding: Padding,
) -> Result<Folded, FoldError> {
    let (axes, channels) = (layer.axes()?, norm.channels()?);
    if groups == 0 || !axes.outputs.is_multiple_of(groups) {
        return Err(FoldError::Groups { groups, outputs: axes.outputs });
    }
    if axes.inputs.checked_mul(groups) != Some(channels) {
        return Err(FoldError::Inputs { shape: layer.shape.to_vec(), groups, channels });
    }
    let shifted = norm.shift.iter().position(|shift| *shift != 0.0);
    if let (Padding::Zeros, Some(channel)) = (padding, shifted) {
        return Err(FoldError::ZeroPadding { channel, shift: norm.shift[channel] });
    }
    let mut folded = layer.widened(&axes);
    let rows = folded.weight.chunks_exact_mut(axes.inputs * axes.kernel);
    for (output, (row, bias)) in rows.zip(&mut folded.bias).enumerate() {
        let first = output / (axes.outputs / groups) * axes.inputs;
        for (kernel, channel) in row.chunks_exact_mut(axes.kernel).zip(first..) {
            *bias += kernel.iter().sum::<f64>() * norm.shift[channel];
            kernel.iter_mut().for_each(|weight| *weight *= norm.scale[channel]);
        }
    }
    layer.checked(folded, &axes)
}

/// A weight's shape: outputs, inputs of a group, and the product of the kernel axes; none is 0.
struct Axes {
    outputs: usize,
    inputs: usize,
    kernel: usize,
}

impl<T: Copy + Into<f64>> Layer<'_, T> {
    /// Checks the layer by itself.
    fn axes(&self) -> Result<Axes, FoldError> {
        let wrong = || FoldError::Shape { shape: self.shape.to_vec() };
        let &[outputs, inputs, ref kernel @ ..] = self.shape else { return Err(wrong()) };
        let product = |axes: &[usize]| axes.iter().try_fold(1, |n: usize, &axis| n.checked_mul(axis));
        let values = product(self.shape).filter(|values| *values > 0).ok_or_else(wrong)?;
        check_length("weight", self.weight.len(), values)?;
        check_length("bias", self.bias.map_or(outputs, <[T]>::len), outputs)?;
        Ok(Axes { outputs, inputs, kernel: product(kernel).ok_or_else(wrong)? })
    }

    /// The layer as it is, in f64.
    fn widened(&self, axes: &Axes) -> Folded {
        let widened = |values: &[T]| values.iter().map(|value| (*value).into()).collect();
        Folded { weight: widened(self.weight), bias: self.bias.map_or_else(|| vec![0.0; axes.outputs], widened) }
    }

    /// What was made of the layer, if all of it is finite.
    fn checked(&self, folded: Folded, axes: &Axes) -> Result<Folded, FoldError> {
        let parts = [("weight", &folded.weight, Some(self.weight)), ("bias", &folded.bias, self.bias)];
        for (what, values, before) in parts {
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let channel = index / (values.len() / axes.outputs);
                let was = before.map_or(0.0, |before| before[index].into());
                return Err(FoldError::Folded { what, index, channel, was, value: values[index] });
            }
        }
        Ok(folded)
    }
}

impl Affine {
    fn channels(&self) -> Result<usize, FoldError> {
        check_length("shift", self.shift.len(), self.scale.len())?;
        Ok(self.scale.len())
    }
}

fn check_length(what: &'static str, has: usize, needs: usize) -> Result<(), FoldError> {
    if has == needs { Ok(()) } else { Err(FoldError::Length { what, has, needs }) }
}
