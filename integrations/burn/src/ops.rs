//! The operations as burn's backends see them, and their tensors. `cube` computes them, `autodiff` differentiates
//! them; for a burn that fuses, the macro adds that they wait in the queue like burn's own.

use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, ExtensionType, backend_extension};
#[cfg(feature = "fusion")]
use burn::{backend::fusion::custom::TensorSpec, tensor::DType};

use crate::call::Call;

/// A tensor of floats, or none.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub enum Maybe<B: Backend> {
    /// None.
    None,
    /// This one.
    Some(FloatTensor<B>),
}

/// Bits that a forward pass keeps of its activation, or none.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub enum Signs<B: Backend> {
    /// None are kept.
    None,
    /// These.
    Some(IntTensor<B>),
}

/// Which positions count.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub enum Valid<B: Backend> {
    /// All.
    All,
    /// Of each sample so many of the last axis.
    Lengths(IntTensor<B>),
    /// Those of a mask, the input's shape without its channels.
    Mask(BoolTensor<B>),
}

/// What y is normalised by.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub enum Statistics<B: Backend> {
    /// The batch's, as a training forward saved them.
    Batch(FloatTensor<B>),
    /// Running ones: mean and variance.
    Running(FloatTensor<B>, FloatTensor<B>),
}

/// What a forward pass takes.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct Inputs<B: Backend> {
    /// The input.
    pub x: FloatTensor<B>,
    /// γ.
    pub gamma: FloatTensor<B>,
    /// β.
    pub beta: FloatTensor<B>,
    /// The running mean.
    pub running_mean: FloatTensor<B>,
    /// The running variance.
    pub running_variance: FloatTensor<B>,
    /// What is added before the activation.
    #[extension_type]
    pub residual: Maybe<B>,
    /// Which positions count.
    #[extension_type]
    pub valid: Valid<B>,
}

/// What a training forward gives.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct Outputs<B: Backend> {
    /// The output.
    pub y: FloatTensor<B>,
    /// The running mean, moved.
    pub running_mean: FloatTensor<B>,
    /// The running variance, moved.
    pub running_variance: FloatTensor<B>,
    /// The batch's statistics, for the backward pass.
    pub saved: FloatTensor<B>,
    /// What the activation did, for the backward pass.
    #[extension_type]
    pub signs: Signs<B>,
}

/// What a backward pass takes.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct BackwardInputs<B: Backend> {
    /// The forward pass's input.
    pub x: FloatTensor<B>,
    /// The gradient of y.
    pub dy: FloatTensor<B>,
    /// γ.
    pub gamma: FloatTensor<B>,
    /// β.
    pub beta: FloatTensor<B>,
    /// What y was normalised by.
    #[extension_type]
    pub statistics: Statistics<B>,
    /// What was added before the activation, where it is needed again.
    #[extension_type]
    pub residual: Maybe<B>,
    /// Which positions count.
    #[extension_type]
    pub valid: Valid<B>,
    /// What the activation did.
    #[extension_type]
    pub signs: Signs<B>,
}

/// What a backward pass gives: what was wanted.
#[derive(Clone, Debug, ExtensionType)]
#[extension_type(fusion: cfg(feature = "fusion"))]
pub struct BackwardOutputs<B: Backend> {
    /// The gradient of x.
    #[extension_type]
    pub dx: Maybe<B>,
    /// The gradient of γ.
    #[extension_type]
    pub dgamma: Maybe<B>,
    /// The gradient of β.
    #[extension_type]
    pub dbeta: Maybe<B>,
    /// The gradient of the residual, where it is not dy itself.
    #[extension_type]
    pub dresidual: Maybe<B>,
}

/// Batch normalization by wgpu-batchnorm's kernels.
#[backend_extension(Cube, Autodiff, Fusion: cfg(feature = "fusion"))]
pub trait BatchNormOps: Backend {
    /// y by the batch's statistics, and the running statistics moved by them.
    #[fusion(meta = outputs_of)]
    fn batch_norm_training(#[extension_type] inputs: Inputs<Self>, call: Call) -> Outputs<Self>;

    /// y by the running statistics.
    #[fusion(meta = |inputs, _call| inputs.x.clone())]
    fn batch_norm_inference(#[extension_type] inputs: Inputs<Self>, call: Call) -> FloatTensor<Self>;

    /// The gradients of either.
    #[fusion(meta = gradients_of)]
    fn batch_norm_gradients(#[extension_type] inputs: BackwardInputs<Self>, call: Call) -> BackwardOutputs<Self>;
}

#[cfg(feature = "fusion")]
fn outputs_of(inputs: &InputsMetadata, call: &Call) -> OutputsMetadata {
    OutputsMetadata {
        y: inputs.x.clone(),
        running_mean: inputs.running_mean.clone(),
        running_variance: inputs.running_variance.clone(),
        saved: TensorSpec::new([call.saved].into(), DType::F32),
        signs: match call.signs {
            0 => SignsMetadata::None,
            words => SignsMetadata::Some(TensorSpec::new([words].into(), DType::U32)),
        },
    }
}

#[cfg(feature = "fusion")]
fn gradients_of(inputs: &BackwardInputsMetadata, call: &Call) -> BackwardOutputsMetadata {
    let maybe = |wanted: bool, like: &TensorSpec| match wanted {
        true => MaybeMetadata::Some(like.clone()),
        false => MaybeMetadata::None,
    };
    BackwardOutputsMetadata {
        dx: maybe(call.wanted.dx, &inputs.x),
        dgamma: maybe(call.wanted.dgamma, &inputs.gamma),
        dbeta: maybe(call.wanted.dbeta, &inputs.gamma),
        dresidual: maybe(call.gives_dresidual(), &inputs.x),
    }
}
