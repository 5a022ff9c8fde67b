//! The operations, each a plan with the buffers it takes: inference, training forward and backward,
//! and the backward pass through frozen statistics.

mod steps;

use wgpu::BufferBinding;

use crate::descriptor::Tensor;
use crate::error::BindError;
use crate::plan::{Bound, Plan};
use crate::shader::Access::{Read, Write};
pub use steps::*;

macro_rules! derefs_to_plan {
    ($($plan:ident),*) => {$(
        impl std::ops::Deref for $plan {
            type Target = Plan;

            fn deref(&self) -> &Plan {
                &self.0
            }
        }

        impl std::fmt::Display for $plan {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

pub(crate) use derefs_to_plan;

/// The running statistics, each of C values, or C a step kept ([`Over::Steps`](crate::Over::Steps)), in their type of
/// [`Types`](crate::Types).
#[derive(Clone, Debug)]
pub struct RunningBindings<'a> {
    /// Running mean.
    pub mean: BufferBinding<'a>,
    /// Running variance.
    pub variance: BufferBinding<'a>,
}

/// What comes with options of the descriptor; `Extras::default()` where there are none.
#[derive(Clone, Debug, Default)]
pub struct Extras<'a> {
    /// The mask or the lengths of [`Padding`](crate::Padding), for the forward pass and, where dx is wanted, the
    /// backward pass.
    pub valid: Option<BufferBinding<'a>>,
    /// The residual of the [`Epilogue`](crate::Epilogue), of x's shape; for the backward pass where
    /// [`Kept::Residual`](crate::Kept::Residual) says so.
    pub residual: Option<BufferBinding<'a>>,
    /// Where the residual's gradient goes in a backward pass with an activation. (Without one it is dy.)
    pub dresidual: Option<BufferBinding<'a>>,
    /// [`Plan::signs_bytes`] of bits where [`Kept::Signs`](crate::Kept::Signs) says so: written by the forward, read
    /// by the backward pass.
    pub signs: Option<BufferBinding<'a>>,
    /// A [`Health`](crate::Health), where the descriptor asks for it: of a forward pass, and of a backward pass
    /// from y.
    pub health: Option<BufferBinding<'a>>,
    /// β, for a backward pass that computes an activation again or finds x again from y.
    pub beta: Option<BufferBinding<'a>>,
}

/// Buffers for [`Inference`]. Here and below: all of the device that the plan's kernels are for.
#[derive(Clone, Debug)]
pub struct InferenceBindings<'a> {
    /// Input, of the descriptor's shape.
    pub x: BufferBinding<'a>,
    /// Output, of the same shape.
    pub y: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// β, if the descriptor has one: C values.
    pub beta: Option<BufferBinding<'a>>,
    /// The statistics to normalise by.
    pub running: RunningBindings<'a>,
    /// [`Plan::scratch_bytes`] of anything; may be left out where that is 0, which it is unless the device binds fewer
    /// storage buffers a stage than WebGPU's default of 8.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`Forward`].
#[derive(Clone, Debug)]
pub struct ForwardBindings<'a> {
    /// Input, of the descriptor's shape.
    pub x: BufferBinding<'a>,
    /// Output, of the same shape.
    pub y: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// β, if the descriptor has one: C values.
    pub beta: Option<BufferBinding<'a>>,
    /// The running statistics to move, if the descriptor has them.
    pub running: Option<RunningBindings<'a>>,
    /// The batch counter, one `u32`, if the descriptor's running statistics have it.
    pub counter: Option<BufferBinding<'a>>,
    /// Where to leave the statistics: [`Plan::saved_bytes`].
    pub saved: BufferBinding<'a>,
    /// [`Plan::scratch_bytes`] of anything; may be left out where that is 0.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`Backward`].
#[derive(Clone, Debug)]
pub struct BackwardBindings<'a> {
    /// The forward pass's input.
    pub x: BufferBinding<'a>,
    /// The gradient of y.
    pub dy: BufferBinding<'a>,
    /// γ, if the descriptor has one and dx is wanted: C values. Otherwise it is not looked at.
    pub gamma: Option<BufferBinding<'a>>,
    /// What the forward pass saved.
    pub saved: BufferBinding<'a>,
    /// Where dx goes, if wanted.
    pub dx: Option<BufferBinding<'a>>,
    /// Where dγ goes, if wanted: C values.
    pub dgamma: Option<BufferBinding<'a>>,
    /// Where dβ goes, if wanted: C values.
    pub dbeta: Option<BufferBinding<'a>>,
    /// [`Plan::scratch_bytes`] of anything; may be left out where that is 0.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`FrozenBackward`].
#[derive(Clone, Debug)]
pub struct FrozenBackwardBindings<'a> {
    /// The forward pass's input; may be left out where dx alone is wanted.
    pub x: Option<BufferBinding<'a>>,
    /// The gradient of y.
    pub dy: BufferBinding<'a>,
    /// γ, if the descriptor has one and dx is wanted: C values. Otherwise it is not looked at.
    pub gamma: Option<BufferBinding<'a>>,
    /// The statistics that y was normalised by.
    pub running: RunningBindings<'a>,
    /// Where dx goes, if wanted.
    pub dx: Option<BufferBinding<'a>>,
    /// Where dγ goes, if wanted: C values.
    pub dgamma: Option<BufferBinding<'a>>,
    /// Where dβ goes, if wanted: C values.
    pub dbeta: Option<BufferBinding<'a>>,
    /// [`Plan::scratch_bytes`] of anything; may be left out where that is 0.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`UpdateRunning`].
#[derive(Clone, Debug)]
pub struct UpdateRunningBindings<'a> {
    /// What the forward pass saved.
    pub saved: BufferBinding<'a>,
    /// The running statistics to move.
    pub running: RunningBindings<'a>,
    /// The batch counter, one `u32`, if the descriptor's running statistics have it.
    pub counter: Option<BufferBinding<'a>>,
}

/// The plan of [`Kernels::inference`](crate::Kernels::inference).
#[derive(Debug)]
pub struct Inference(pub(crate) Plan);

/// The plan of [`Kernels::forward`](crate::Kernels::forward).
#[derive(Debug)]
pub struct Forward(pub(crate) Plan);

/// The plan of [`Kernels::backward`](crate::Kernels::backward).
#[derive(Debug)]
pub struct Backward(pub(crate) Plan);

/// The plan of [`Kernels::frozen_backward`](crate::Kernels::frozen_backward).
#[derive(Debug)]
pub struct FrozenBackward(pub(crate) Plan);

impl Inference {
    /// Binds buffers. y may be x itself: then it is written over it.
    ///
    /// # Errors
    /// [`BindError`] where one is missing, too small, misaligned, without `STORAGE`, overlaps another that is written,
    /// was destroyed or is another device's of the same [`wgpu::Instance`], or where the device is lost (but for
    /// browsers, which do not let one know).
    ///
    /// # Panics
    /// wgpu may, of a buffer of another instance (each [`Gpu`](crate::Gpu) has one of its own): it looks for it by a
    /// number that says something else there.
    pub fn bind(&self, to: &InferenceBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.tensor(Tensor::X, Some(&to.x), Read),
            self.0.tensor(Tensor::Y, Some(&to.y), Write),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.parameter("beta", to.beta.as_ref(), Read),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.running(Some(&to.running), Read));
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

impl Forward {
    /// Binds buffers. y may be x itself: then it is written over it.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &ForwardBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.tensor(Tensor::X, Some(&to.x), Read),
            self.0.tensor(Tensor::Y, Some(&to.y), Write),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.parameter("beta", to.beta.as_ref(), Read),
            self.0.counter(to.counter.as_ref()),
            self.0.saved(&to.saved, Write),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.running(to.running.as_ref(), Write));
        arguments.extend(self.0.extras(&to.extras, Write));
        self.0.bind(&arguments)
    }
}

impl Backward {
    /// Binds buffers. dx may be dy itself: then it is written over it.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &BackwardBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.x_or_y(Some(&to.x)),
            self.0.tensor(Tensor::Dy, Some(&to.dy), Read),
            self.0.optional_parameter("gamma", to.gamma.as_ref()),
            self.0.optional_parameter("beta", to.extras.beta.as_ref()),
            self.0.saved(&to.saved, Read),
            self.0.tensor(Tensor::Dx, to.dx.as_ref(), Write),
            self.0.parameter("dgamma", to.dgamma.as_ref(), Write),
            self.0.parameter("dbeta", to.dbeta.as_ref(), Write),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

impl UpdateRunning {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &UpdateRunningBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![self.0.saved(&to.saved, Read), self.0.counter(to.counter.as_ref())];
        arguments.extend(self.0.running(Some(&to.running), Write));
        self.0.bind(&arguments)
    }
}

impl FrozenBackward {
    /// Binds buffers. dx may be dy itself: then it is written over it.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &FrozenBackwardBindings<'_>) -> Result<Bound, BindError> {
        // dx alone may need neither x nor the running mean.
        let mut arguments = vec![
            self.0.if_used(self.0.x_or_y(to.x.as_ref())),
            self.0.tensor(Tensor::Dy, Some(&to.dy), Read),
            self.0.optional_parameter("gamma", to.gamma.as_ref()),
            self.0.optional_parameter("beta", to.extras.beta.as_ref()),
            self.0.tensor(Tensor::Dx, to.dx.as_ref(), Write),
            self.0.parameter("dgamma", to.dgamma.as_ref(), Write),
            self.0.parameter("dbeta", to.dbeta.as_ref(), Write),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.running(Some(&to.running), Read).map(|argument| self.0.if_used(argument)));
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

/// The plan of [`Kernels::update_running`](crate::Kernels::update_running).
#[derive(Debug)]
pub struct UpdateRunning(pub(crate) Plan);

derefs_to_plan!(Inference, Forward, Backward, FrozenBackward, UpdateRunning);
