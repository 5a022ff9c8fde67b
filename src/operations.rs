//! The operations, each a plan with the buffers it takes: inference, training forward and backward,
//! and the backward pass through frozen statistics.

use std::fmt;
use std::ops::Deref;

use wgpu::BufferBinding;

use crate::error::BindError;
use crate::plan::{Bound, Plan};
use crate::recipe::Operation;
use crate::shader::Access::{Read, Write};

/// The running statistics, each of C values f32.
#[derive(Clone, Debug)]
pub struct RunningBindings<'a> {
    /// Running mean.
    pub mean: BufferBinding<'a>,
    /// Running variance.
    pub variance: BufferBinding<'a>,
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
    /// Where to leave mean, inverse standard deviation and variance: [`Plan::saved_bytes`].
    pub saved: BufferBinding<'a>,
    /// [`Plan::scratch_bytes`] of anything; may be left out where that is 0.
    pub scratch: Option<BufferBinding<'a>>,
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
    /// Binds buffers.
    ///
    /// # Errors
    /// [`BindError`] where one is missing, too small, misaligned, without `STORAGE`, or overlaps another
    /// that is written.
    pub fn bind(&self, to: &InferenceBindings<'_>) -> Result<Bound, BindError> {
        self.0.bind(&[
            self.0.x("x", &to.x, Read),
            self.0.x("y", &to.y, Write),
            self.0.channel("gamma", to.gamma.as_ref(), Read),
            self.0.channel("beta", to.beta.as_ref(), Read),
            self.0.channel("running_mean", Some(&to.running.mean), Read),
            self.0.channel("running_variance", Some(&to.running.variance), Read),
        ])
    }
}

impl Forward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &ForwardBindings<'_>) -> Result<Bound, BindError> {
        let running = to.running.as_ref();
        self.0.bind(&[
            self.0.x("x", &to.x, Read),
            self.0.x("y", &to.y, Write),
            self.0.channel("gamma", to.gamma.as_ref(), Read),
            self.0.channel("beta", to.beta.as_ref(), Read),
            self.0.channel("running_mean", running.map(|running| &running.mean), Write),
            self.0.channel("running_variance", running.map(|running| &running.variance), Write),
            self.0.counter(to.counter.as_ref()),
            self.0.saved(&to.saved, Write),
            self.0.scratch(to.scratch.as_ref()),
        ])
    }
}

impl Backward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &BackwardBindings<'_>) -> Result<Bound, BindError> {
        self.0.bind(&[
            self.0.x("x", &to.x, Read),
            self.0.x("dy", &to.dy, Read),
            self.0.gamma_for_dx(to.gamma.as_ref()),
            self.0.saved(&to.saved, Read),
            self.0.dx(to.dx.as_ref()),
            self.0.channel("dgamma", to.dgamma.as_ref(), Write),
            self.0.channel("dbeta", to.dbeta.as_ref(), Write),
            self.0.scratch(to.scratch.as_ref()),
        ])
    }
}

impl UpdateRunning {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &UpdateRunningBindings<'_>) -> Result<Bound, BindError> {
        self.0.bind(&[
            self.0.saved(&to.saved, Read),
            self.0.channel("running_mean", Some(&to.running.mean), Write),
            self.0.channel("running_variance", Some(&to.running.variance), Write),
            self.0.counter(to.counter.as_ref()),
        ])
    }
}

impl FrozenBackward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`].
    pub fn bind(&self, to: &FrozenBackwardBindings<'_>) -> Result<Bound, BindError> {
        let plan = &self.0;
        let wants_sums =
            matches!(plan.recipe().operation, Operation::FrozenBackward(wanted) if wanted.dgamma || wanted.dbeta);
        let mut arguments = vec![
            plan.x("dy", &to.dy, Read),
            plan.gamma_for_dx(to.gamma.as_ref()),
            plan.channel("running_variance", Some(&to.running.variance), Read),
            plan.dx(to.dx.as_ref()),
            plan.channel("dgamma", to.dgamma.as_ref(), Write),
            plan.channel("dbeta", to.dbeta.as_ref(), Write),
            plan.scratch(to.scratch.as_ref()),
        ];
        if wants_sums {
            arguments.push(plan.argument("x", to.x.as_ref(), plan.x_bytes(), Read));
            arguments.push(plan.channel("running_mean", Some(&to.running.mean), Read));
        } else {
            // The inference kernel computes this: dy is its x, dx its y.
            arguments[0].slot = "x";
            arguments[3].slot = "y";
        }
        plan.bind(&arguments)
    }
}

/// The plan of [`Kernels::update_running`](crate::Kernels::update_running).
#[derive(Debug)]
pub struct UpdateRunning(pub(crate) Plan);

macro_rules! derefs_to_plan {
    ($($plan:ident),*) => {$(
        impl Deref for $plan {
            type Target = Plan;

            fn deref(&self) -> &Plan {
                &self.0
            }
        }

        impl fmt::Display for $plan {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

derefs_to_plan!(Inference, Forward, Backward, FrozenBackward, UpdateRunning);
