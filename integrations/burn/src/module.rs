//! The module, in the place of burn's.

use burn::backend::{Dispatch, DispatchTensor};
use std::sync::Once;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Flag, Initializer, Module, ModuleDisplay, Param, RunningState};
use burn::tensor::{Bool, DType, Device, Int, IntDType, Shape, Tensor, activation, assert_shape};
use wgpu_batchnorm::{Activation, Float, Gradients, Mask, PlanError, Types};

use crate::call::{Call, Padded};
use crate::capabilities;
use crate::error::Error;
use crate::ops::{BatchNormOps, Inputs, Maybe, Outputs, Valid};

/// The configuration of a [`BatchNorm`]: that of burn's own module, field by field.
#[derive(Config, Debug)]
pub struct BatchNormConfig {
    /// The number of features (channels), greater than zero.
    pub num_features: usize,
    /// ε, finite and positive. Default: 1e-5
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// The weight of a batch in the running statistics, in `[0, 1]`. Default: 0.1
    #[config(default = 0.1)]
    pub momentum: f64,
}

/// Batch normalization over `[batch, channels, ...]`, with the fields, the records and the behaviour of
/// `burn::nn::BatchNorm`: batch statistics while training (on an autodiff device, unless frozen), running ones
/// otherwise.
///
/// Two things differ. The running variance averages the unbiased variance of the batches, as PyTorch's does, where
/// burn's averages the biased one. And an activation can be fused into the same kernels:
/// [`with_activation`](Self::with_activation).
///
/// What comes with an input, a residual or which positions count, goes through [`apply`](Self::apply).
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BatchNorm {
    /// The learnable weight γ.
    pub gamma: Param<Tensor<1>>,
    /// The learnable bias β.
    pub beta: Param<Tensor<1>>,
    /// Whether the layer may train.
    pub training: Param<Flag>,
    /// The running mean.
    pub running_mean: RunningState<Tensor<1>>,
    /// The running variance.
    pub running_var: RunningState<Tensor<1>>,
    /// The weight of a batch in the running statistics.
    pub momentum: f64,
    /// ε.
    pub epsilon: f64,
    /// What follows the normalisation, in the same kernels.
    #[module(skip)]
    pub activation: Activation,
    /// Steps of the last axis with statistics of their own, 0 for statistics over all.
    #[module(skip)]
    pub steps: usize,
}

impl BatchNormConfig {
    /// A module with γ = 1, β = 0, running mean 0 and running variance 1.
    ///
    /// # Panics
    /// As burn's: if `num_features` is zero, `epsilon` is not finite and positive, or `momentum` is not within
    /// `[0, 1]`.
    pub fn init(&self, device: &Device) -> BatchNorm {
        self.init_steps(0, device)
    }

    /// A module for sequences `[batch, channels, steps]` in which each step has statistics of its own (Cooijmans et
    /// al. 2016): running ones for this many steps, of which later steps use the last ones. Its running statistics
    /// are `steps · num_features` values, step by step.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn init_steps(&self, steps: usize, device: &Device) -> BatchNorm {
        assert!(self.num_features > 0, "num_features must be greater than zero.");
        assert!(self.epsilon.is_finite() && self.epsilon > 0.0, "epsilon must be finite and positive.");
        assert!((0.0..=1.0).contains(&self.momentum), "momentum must be finite and within [0, 1].");
        let sets = steps.max(1);
        BatchNorm {
            gamma: Initializer::Ones.init([self.num_features], device),
            beta: Initializer::Zeros.init([self.num_features], device),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([sets * self.num_features], device)),
            running_var: RunningState::new(Tensor::ones([sets * self.num_features], device)),
            momentum: self.momentum,
            epsilon: self.epsilon,
            activation: Activation::Identity,
            steps,
        }
    }
}

impl BatchNorm {
    /// The same with an activation fused into its kernels, such as `Activation::Relu`.
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Normalises `[batch, channels, ...]`, as burn's `forward` does.
    ///
    /// On a device that runs no WGSL it is burn's own kernels that do it, and an error is logged once;
    /// [`apply`](Self::apply) returns it instead.
    ///
    /// # Panics
    /// As burn's: if the input has rank < 2 or its second axis is not `num_features`; and where
    /// [`apply`](Self::apply) has an error for another reason than the device, or statistics of steps, which burn
    /// has not.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let [channels] = self.gamma.shape().dims();
        assert_shape!(input, [_, channels, ..]);
        match self.apply(input.clone()).run() {
            Ok(output) => output,
            Err(error @ Error::NotWgpu { .. }) if self.steps == 0 => {
                static SAID: Once = Once::new();
                SAID.call_once(|| log::error!("{error}; burn's own batch norm runs instead"));
                self.by_burn(input)
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Begins a call that can have more than an input; [`Apply::run`] ends it.
    ///
    /// ```no_run
    /// # use burn::tensor::{Device, Int, Tensor};
    /// # use burn_wgpu_batchnorm::{Activation, BatchNormConfig, Error};
    /// # fn run(x: Tensor<3>, skip: Tensor<3>, lengths: Tensor<1, Int>, device: &Device) -> Result<(), Error> {
    /// let norm = BatchNormConfig::new(64).init(device).with_activation(Activation::Relu);
    /// let y = norm.apply(x).residual(skip).lengths(lengths).run()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn apply<const D: usize>(&self, input: Tensor<D>) -> Apply<'_, D> {
        Apply { norm: self, input, residual: None, positions: Positions::All }
    }

    fn trains(&self, device: &Device) -> bool {
        device.is_autodiff() && self.training.is_enabled()
    }

    /// By burn's own operations, with PyTorch's running variance.
    fn by_burn<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let (device, values) = (input.device(), input.shape().num_elements());
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let output = if self.trains(&device) {
            let per_channel = (values / gamma.shape().num_elements()) as f64;
            let unbiased = per_channel / (per_channel - 1.0).max(1.0);
            let batch = burn::tensor::module::batch_norm_train(input, gamma, beta, self.epsilon);
            for (running, batch) in
                [(&self.running_mean, batch.mean), (&self.running_var, batch.variance.mul_scalar(unbiased))]
            {
                let old = running.value_sync().to_device(&device).mul_scalar(1.0 - self.momentum);
                running.update(old.add(batch.detach().mul_scalar(self.momentum)).detach());
            }
            batch.output
        } else {
            let [mean, variance] =
                [&self.running_mean, &self.running_var].map(|running| running.value().to_device(&device));
            burn::tensor::module::batch_norm(input, gamma, beta, mean, variance, self.epsilon)
        };
        match self.activation {
            Activation::Identity => output,
            Activation::Relu => activation::relu(output),
            Activation::LeakyRelu(slope) => activation::leaky_relu(output, slope.into()),
            Activation::Silu => activation::silu(output),
            Activation::Gelu => activation::gelu(output),
            Activation::Sigmoid => activation::sigmoid(output),
            Activation::Tanh => activation::tanh(output),
            Activation::Clamp(low, high) => output.clamp(low, high),
        }
    }
}

/// Which positions of an input count.
enum Positions {
    All,
    Lengths(Tensor<1, Int>),
    /// A mask with its shape, type and device.
    Mask(DispatchTensor, Shape, DType, Device),
}

impl Positions {
    /// The tensor that says so, if it fits, and what it is.
    fn beside(self, input: &Beside<'_>) -> Result<(Padded, Valid<Dispatch>), Error> {
        match self {
            Self::All => Ok((Padded::No, Valid::All)),
            Self::Lengths(lengths) => {
                input.is_here("lengths", lengths.device())?;
                input.has_shape("lengths", lengths.shape(), [input.shape[0]].into())?;
                // Kernels read 32 bits, with a sign or without.
                let lengths = lengths.cast(IntDType::I32);
                Ok((Padded::Lengths, Valid::Lengths(lengths.into_dispatch())))
            }
            Self::Mask(mask, has, dtype, device) => {
                let mut needs = input.shape.to_vec();
                needs.remove(1);
                input.is_here("the mask", device)?;
                input.has_shape("the mask", has, needs.into())?;
                let bits = if dtype.size() == 1 { Mask::Bytes } else { Mask::Words };
                Ok((Padded::Mask(bits), Valid::Mask(mask)))
            }
        }
    }
}

/// A call of a [`BatchNorm`]: its input, and what comes with it.
#[must_use = "nothing is computed until `run`"]
pub struct Apply<'a, const D: usize> {
    norm: &'a BatchNorm,
    input: Tensor<D>,
    residual: Option<Tensor<D>>,
    positions: Positions,
}

impl<const D: usize> Apply<'_, D> {
    /// Adds a tensor of the input's shape after the normalisation and before the activation.
    pub fn residual(self, residual: Tensor<D>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// Says how long each sample is: so many of the last axis count, the rest is padding. Statistics are those of
    /// what counts; padding is normalised by them too.
    pub fn lengths(self, lengths: Tensor<1, Int>) -> Self {
        Self { positions: Positions::Lengths(lengths), ..self }
    }

    /// Says which positions count, by a mask of the input's shape without its channels (M = D − 1).
    pub fn mask<const M: usize>(self, mask: Tensor<M, Bool>) -> Self {
        let (shape, dtype, device) = (mask.shape(), mask.dtype(), mask.device());
        Self { positions: Positions::Mask(mask.into_dispatch(), shape, dtype, device), ..self }
    }

    /// Normalises; while training it moves the running statistics.
    ///
    /// # Errors
    /// [`Error`], of what cannot be computed. Nothing has happened then.
    pub fn run(self) -> Result<Tensor<D>, Error> {
        let Self { norm, input, residual, positions } = self;
        let (device, shape) = (input.device(), input.shape());
        let capabilities = capabilities::of_device(&device)?;
        if D < 2 {
            return Err(PlanError::Rank { shape: shape.to_vec() }.into());
        }
        let [running_mean, running_variance] =
            [&norm.running_mean, &norm.running_var].map(|running| running.value_sync().to_device(&device));
        let (gamma, beta) = (norm.gamma.val(), norm.beta.val());

        let beside = Beside { device: &device, shape: &shape };
        let running = [norm.steps.max(1) * shape[1]];
        beside.fits("gamma", &gamma, [shape[1]], gamma.dtype())?;
        beside.fits("beta", &beta, [shape[1]], gamma.dtype())?;
        beside.fits("the running mean", &running_mean, running, DType::F32)?;
        beside.fits("the running variance", &running_variance, running, DType::F32)?;
        if let Some(residual) = &residual {
            beside.fits("the residual", residual, shape.clone(), input.dtype())?;
        }
        let (padded, valid) = positions.beside(&beside)?;
        let call = Call {
            epsilon: norm.epsilon,
            momentum: norm.momentum,
            steps: norm.steps,
            activation: norm.activation,
            residual: residual.is_some(),
            padded,
            types: Types {
                x: known("the input", input.dtype())?,
                parameters: known("gamma", gamma.dtype())?,
                running: Float::F32,
            },
            saved: 0,
            signs: 0,
            wanted: Gradients::ALL,
        };
        let trains = norm.trains(&device);
        let call = call.checked(&shape, &capabilities, trains, device.is_autodiff())?;
        let inputs = Inputs {
            x: input.into_dispatch(),
            gamma: gamma.into_dispatch(),
            beta: beta.into_dispatch(),
            running_mean: running_mean.into_dispatch(),
            running_variance: running_variance.into_dispatch(),
            residual: residual.map_or(Maybe::None, |residual| Maybe::Some(residual.into_dispatch())),
            valid,
        };
        if !trains {
            return Ok(Tensor::from_dispatch(Dispatch::batch_norm_inference(inputs, call)));
        }
        let Outputs { y, running_mean, running_variance, .. } = Dispatch::batch_norm_training(inputs, call);
        norm.running_mean.update(Tensor::from_dispatch(running_mean).detach());
        norm.running_var.update(Tensor::from_dispatch(running_variance).detach());
        Ok(Tensor::from_dispatch(y))
    }
}

/// A type of burn's as the kernels know it.
fn known(argument: &'static str, dtype: DType) -> Result<Float, Error> {
    match dtype {
        DType::F32 | DType::Flex32 => Ok(Float::F32),
        DType::F16 => Ok(Float::F16),
        DType::BF16 => Ok(Float::Bf16),
        has => Err(Error::Type { argument, has, knows: "F32, F16 or BF16".to_owned() }),
    }
}

/// An input, which other tensors have to fit.
struct Beside<'a> {
    device: &'a Device,
    shape: &'a Shape,
}

impl Beside<'_> {
    /// Whether a tensor is on the input's device, and of this shape and type.
    fn fits<const D: usize>(
        &self,
        argument: &'static str,
        tensor: &Tensor<D>,
        shape: impl Into<Shape>,
        dtype: DType,
    ) -> Result<(), Error> {
        if tensor.dtype() != dtype {
            return Err(Error::Type { argument, has: tensor.dtype(), knows: format!("{dtype:?}") });
        }
        self.is_here(argument, tensor.device())?;
        self.has_shape(argument, tensor.shape(), shape.into())
    }

    fn is_here(&self, argument: &'static str, has: Device) -> Result<(), Error> {
        if has.as_dispatch().clone().inner() == self.device.as_dispatch().clone().inner() {
            return Ok(());
        }
        Err(Error::Device { argument, has: Box::new(has), needs: Box::new(self.device.clone()) })
    }

    fn has_shape(&self, argument: &'static str, has: Shape, needs: Shape) -> Result<(), Error> {
        if has == needs {
            return Ok(());
        }
        Err(Error::Shape { argument, has: has.to_vec(), needs: needs.to_vec(), input: self.shape.to_vec() })
    }
}

impl ModuleDisplay for BatchNorm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [num_features] = self.beta.shape().dims();
        let content =
            content.add("num_features", &num_features).add("momentum", &self.momentum).add("epsilon", &self.epsilon);
        let content = match self.activation {
            Activation::Identity => content,
            activation => content.add_debug_attribute("activation", &activation),
        };
        let content = if self.steps == 0 { content } else { content.add("steps", &self.steps) };
        match self.training.is_enabled() {
            true => content.optional(),
            false => content.add("training", &self.training).optional(),
        }
    }
}
