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
//! them. Where o and i are among the axes of a weight, [`Axes`] says: frameworks differ, and a transposed convolution's
//! weight looks like another's.
//!
//! ```
//! use wgpu_batchnorm::fold::{Axes, Layer, Normalization, into_previous};
//!
//! # fn main() -> Result<(), wgpu_batchnorm::fold::FoldError> {
//! // A linear layer from 3 values to 2 without a bias, then batch norm of these 2.
//! let weight = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
//! let layer = Layer { weight: &weight, shape: &[2, 3], axes: Axes::OutIn, groups: 1, bias: None };
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
    /// W.
    pub weight: &'a [T],
    /// A size for each of the axes, none of them 0.
    pub shape: &'a [usize],
    /// What the axes are.
    pub axes: Axes,
    /// The convolution's groups; 1 for a linear layer. No matter for [`Axes::Depthwise`], nor for [`into_previous`]
    /// but with the axes of transposed convolutions.
    pub groups: usize,
    /// b: one value an output channel; `None` for 0.
    pub bias: Option<&'a [T]>,
}

/// What the axes of a layer's weight are. k… are the kernel's axes, any number of them; a linear layer has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axes {
    /// `[out, in / groups, k…]`: PyTorch and ONNX.
    OutIn,
    /// `[in, out / groups, k…]`: transposed convolutions of PyTorch and ONNX.
    InOut,
    /// `[k…, in / groups, out]`: Keras, TensorFlow and Flax; Flax' transposed convolutions, too, unless they say
    /// `transpose_kernel`.
    LastInOut,
    /// `[k…, out / groups, in]`: transposed convolutions of Keras and TensorFlow, and of Flax with `transpose_kernel`.
    LastOutIn,
    /// `[k…, in, multiplier]`: depthwise convolutions of Keras and TensorFlow, where output channel
    /// i·multiplier + j comes from input channel i.
    Depthwise,
    /// `[out, k…, in / groups]`: MLX.
    OutLastIn,
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
    /// exact only where every t is 0. A transposed convolution's only choice: how many of its inputs meet in an
    /// output differs from place to place, as if the others were zeros.
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
    #[error(
        "the weight has shape {shape:?}; it must have an axis of input and one of output channels, such as [out, in] \
         or [out, in / groups, kernel…], no axis of them 0"
    )]
    Shape {
        /// The shape given.
        shape: Vec<usize>,
    },
    /// A batch norm over other channels than the layer puts out.
    #[error(
        "the weight of shape {shape:?} puts out {outputs} channels, and the batch norm after it has {channels}; \
         they must be the same"
    )]
    Outputs {
        /// The weight's shape.
        shape: Vec<usize>,
        /// The channels that the layer puts out, by its axes and groups.
        outputs: usize,
        /// The batch norm's channels.
        channels: usize,
    },
    /// A batch norm over other channels than the layer takes in.
    #[error(
        "the weight of shape {shape:?} with {groups} group(s) takes in {inputs} channels, and the batch norm before it \
         has {channels}; they must be the same"
    )]
    Inputs {
        /// The weight's shape.
        shape: Vec<usize>,
        /// The groups given.
        groups: usize,
        /// The channels that the layer takes in, by its axes and groups.
        inputs: usize,
        /// The batch norm's channels.
        channels: usize,
    },
    /// Channels that cannot be shared out among the groups.
    #[error("groups is {groups}; it must divide the {channels} {which} channels")]
    Groups {
        /// The groups given.
        groups: usize,
        /// `output`, or for a transposed convolution `input`.
        which: &'static str,
        /// How many of them the layer has.
        channels: usize,
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
        "the convolution pads with zeros, or is a transposed one, and the batch norm before it shifts channel \
         {channel} by {shift}; no weights give the same everywhere, so keep this batch norm"
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
/// b′\[o\] = s\[o\]·b\[o\] + t\[o\]. Exact for every padding, stride, dilation and number of groups, and for
/// transposed convolutions.
///
/// # Errors
/// [`FoldError::Outputs`] where the channels do not match; [`FoldError::Groups`]; [`FoldError::Shape`];
/// [`FoldError::Length`]; [`FoldError::Folded`] where a result is NaN or infinite.
pub fn into_previous<T: Copy + Into<f64>>(norm: &Affine, layer: &Layer<'_, T>) -> Result<Folded, FoldError> {
    let (places, channels) = (layer.places()?, norm.channels()?);
    if channels != places.outputs {
        return Err(FoldError::Outputs { shape: layer.shape.to_vec(), outputs: places.outputs, channels });
    }
    let mut folded = layer.widened(&places);
    for (index, weight) in folded.weight.iter_mut().enumerate() {
        *weight *= norm.scale[places.channels(index).0];
    }
    for ((bias, scale), shift) in folded.bias.iter_mut().zip(&norm.scale).zip(&norm.shift) {
        *bias = *bias * scale + shift;
    }
    layer.checked(folded, &places)
}

/// Folds batch norm into the layer that runs right after it: W′\[o, i, …\] = s\[i\]·W\[o, i, …\] and
/// b′\[o\] = b\[o\] + Σ W\[o, i, …\]·t\[i\], where i counts through the channels of o's group.
///
/// # Errors
/// [`FoldError::ZeroPadding`] where the result would be wrong at the border, or somewhere in a transposed convolution;
/// [`FoldError::Inputs`] where the channels do not match; [`FoldError::Groups`]; [`FoldError::Shape`];
/// [`FoldError::Length`]; [`FoldError::Folded`] where a result is NaN or infinite.
pub fn into_next<T: Copy + Into<f64>>(
    norm: &Affine,
    layer: &Layer<'_, T>,
    padding: Padding,
) -> Result<Folded, FoldError> {
    let (places, channels) = (layer.places()?, norm.channels()?);
    if channels != places.inputs {
        let (shape, inputs) = (layer.shape.to_vec(), places.inputs);
        return Err(FoldError::Inputs { shape, groups: places.groups, inputs, channels });
    }
    let transposed = matches!(layer.axes, Axes::InOut | Axes::LastOutIn);
    let shifted = norm.shift.iter().position(|shift| *shift != 0.0);
    if let (true, Some(channel)) = (transposed || padding == Padding::Zeros, shifted) {
        return Err(FoldError::ZeroPadding { channel, shift: norm.shift[channel] });
    }
    let mut folded = layer.widened(&places);
    for (index, weight) in folded.weight.iter_mut().enumerate() {
        let (output, input) = places.channels(index);
        folded.bias[output] += *weight * norm.shift[input];
        *weight *= norm.scale[input];
    }
    layer.checked(folded, &places)
}

/// Where the channels are in a weight. Of its two axes of channels one counts through all of its kind, output or
/// input, the other through those of the other kind that are in the same group.
struct Places {
    outputs: usize,
    inputs: usize,
    groups: usize,
    /// Sizes, and the distances in memory from one to the next.
    all: [usize; 2],
    in_group: [usize; 2],
    /// Whether it is the output channels that are all on one axis.
    all_are_outputs: bool,
}

impl Places {
    /// The output and the input channel of a weight, by its index.
    fn channels(&self, index: usize) -> (usize, usize) {
        let [one, place] = [self.all, self.in_group].map(|[size, stride]| index / stride % size);
        let other = one / (self.all[0] / self.groups) * self.in_group[0] + place;
        if self.all_are_outputs { (one, other) } else { (other, one) }
    }
}

impl<T: Copy + Into<f64>> Layer<'_, T> {
    /// Checks the layer by itself.
    fn places(&self) -> Result<Places, FoldError> {
        let wrong = || FoldError::Shape { shape: self.shape.to_vec() };
        let rank = self.shape.len();
        if rank < 2 {
            return Err(wrong());
        }
        let product = |axes: &[usize]| axes.iter().try_fold(1, |n: usize, &axis| n.checked_mul(axis));
        let values = product(self.shape).filter(|values| *values > 0).ok_or_else(wrong)?;
        check_length("weight", self.weight.len(), values)?;
        // None overflows: each divides the product of all.
        let axis = |axis: usize| [self.shape[axis], self.shape[axis + 1..].iter().product()];
        let (all, in_group, all_are_outputs) = match self.axes {
            Axes::OutIn => (axis(0), axis(1), true),
            Axes::InOut => (axis(0), axis(1), false),
            Axes::LastInOut => (axis(rank - 1), axis(rank - 2), true),
            Axes::LastOutIn => (axis(rank - 1), axis(rank - 2), false),
            Axes::Depthwise => (axis(rank - 2), axis(rank - 1), false),
            Axes::OutLastIn => (axis(0), axis(rank - 1), true),
        };
        let groups = if self.axes == Axes::Depthwise { all[0] } else { self.groups };
        if groups == 0 || !all[0].is_multiple_of(groups) {
            let which = if all_are_outputs { "output" } else { "input" };
            return Err(FoldError::Groups { groups, which, channels: all[0] });
        }
        // Nor does this: groups ≤ all, and all · in_group divides the product.
        let others = groups * in_group[0];
        let [outputs, inputs] = if all_are_outputs { [all[0], others] } else { [others, all[0]] };
        check_length("bias", self.bias.map_or(outputs, <[T]>::len), outputs)?;
        Ok(Places { outputs, inputs, groups, all, in_group, all_are_outputs })
    }

    /// The layer as it is, in f64.
    fn widened(&self, places: &Places) -> Folded {
        let widened = |values: &[T]| values.iter().map(|value| (*value).into()).collect();
        Folded { weight: widened(self.weight), bias: self.bias.map_or_else(|| vec![0.0; places.outputs], widened) }
    }

    /// What was made of the layer, if all of it is finite.
    fn checked(&self, folded: Folded, places: &Places) -> Result<Folded, FoldError> {
        let first = |values: &[f64]| values.iter().position(|value| !value.is_finite());
        if let Some(index) = first(&folded.weight) {
            let (channel, was, value) = (places.channels(index).0, self.weight[index].into(), folded.weight[index]);
            return Err(FoldError::Folded { what: "weight", index, channel, was, value });
        }
        if let Some(index) = first(&folded.bias) {
            let was = self.bias.map_or(0.0, |bias| bias[index].into());
            return Err(FoldError::Folded { what: "bias", index, channel: index, was, value: folded.bias[index] });
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
