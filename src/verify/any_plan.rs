//! A plan of any operation, bound by the names of its arguments.

use wgpu::BufferBinding;

use crate::descriptor::Descriptor;
use crate::error::{BindError, PlanError};
use crate::kernels::Kernels;
use crate::operations::{
    ApplyBackward, ApplyBackwardBindings, Backward, BackwardBindings, Extras, Finalize, FinalizeBackward,
    FinalizeBackwardBindings, FinalizeBindings, Forward, ForwardBindings, FrozenBackward, FrozenBackwardBindings,
    Gather, GatherBackward, GatherBackwardBindings, GatherBindings, Inference, InferenceBindings, Merge, MergeBackward,
    MergeBackwardBindings, MergeBindings, Normalize, NormalizeBindings, RunningBindings, UpdateRunning,
    UpdateRunningBindings,
};
use crate::plan::{Bound, Plan};
use crate::recipe::Operation;

/// A plan of any operation, for what runs them all.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is named after what it holds")]
pub enum AnyPlan {
    Inference(Inference),
    Forward(Forward),
    Backward(Backward),
    Frozen(FrozenBackward),
    UpdateRunning(UpdateRunning),
    Gather(Gather),
    Merge(Merge),
    Finalize(Finalize),
    Normalize(Normalize),
    GatherBackward(GatherBackward),
    MergeBackward(MergeBackward),
    FinalizeBackward(FinalizeBackward),
    ApplyBackward(ApplyBackward),
}

impl AnyPlan {
    /// The plan of an operation.
    ///
    /// # Errors
    /// Those of planning.
    pub fn new(kernels: &Kernels, descriptor: &Descriptor, operation: Operation) -> Result<Self, PlanError> {
        Ok(match operation {
            Operation::Inference => Self::Inference(kernels.inference(descriptor)?),
            Operation::Forward => Self::Forward(kernels.forward(descriptor)?),
            Operation::Backward(wanted) => Self::Backward(kernels.backward(descriptor, wanted)?),
            Operation::FrozenBackward(wanted) => Self::Frozen(kernels.frozen_backward(descriptor, wanted)?),
            Operation::UpdateRunning => Self::UpdateRunning(kernels.update_running(descriptor)?),
            Operation::Gather => Self::Gather(kernels.gather(descriptor)?),
            Operation::Merge(parts) => Self::Merge(kernels.merge(descriptor, parts)?),
            Operation::Finalize => Self::Finalize(kernels.finalize(descriptor)?),
            Operation::Normalize => Self::Normalize(kernels.normalize(descriptor)?),
            Operation::GatherBackward => Self::GatherBackward(kernels.gather_backward(descriptor)?),
            Operation::MergeBackward(parts) => Self::MergeBackward(kernels.merge_backward(descriptor, parts)?),
            Operation::FinalizeBackward => Self::FinalizeBackward(kernels.finalize_backward(descriptor)?),
            Operation::ApplyBackward => Self::ApplyBackward(kernels.apply_backward(descriptor)?),
        })
    }

    /// What is the same in all.
    pub fn plan(&self) -> &Plan {
        match self {
            Self::Inference(plan) => plan,
            Self::Forward(plan) => plan,
            Self::Backward(plan) => plan,
            Self::Frozen(plan) => plan,
            Self::UpdateRunning(plan) => plan,
            Self::Gather(plan) => plan,
            Self::Merge(plan) => plan,
            Self::Finalize(plan) => plan,
            Self::Normalize(plan) => plan,
            Self::GatherBackward(plan) => plan,
            Self::MergeBackward(plan) => plan,
            Self::FinalizeBackward(plan) => plan,
            Self::ApplyBackward(plan) => plan,
        }
    }

    /// Binds what `get` has by the names of the bindings' fields, or rather what of it the operation takes.
    ///
    /// # Errors
    /// Those of the operation's own `bind`, with the argument's name where it is missing.
    pub fn bind<'a>(&self, get: impl Fn(&str) -> Option<BufferBinding<'a>>) -> Result<Bound, BindError> {
        let need = |argument: &'static str| get(argument).ok_or(BindError::Missing { argument, needs: 0 });
        let running =
            || Ok::<_, BindError>(RunningBindings { mean: need("running_mean")?, variance: need("running_variance")? });
        let moves = self.plan().descriptor().running.and_then(|_| get("running_mean")).is_some();
        let maybe_running = || moves.then(running).transpose();
        let (gamma, beta, scratch, counter) = (get("gamma"), get("beta"), get("scratch"), get("counter"));
        let (dx, dgamma, dbeta) = (get("dx"), get("dgamma"), get("dbeta"));
        let extras = Extras {
            valid: get("valid"),
            residual: get("residual"),
            dresidual: get("dresidual"),
            signs: get("signs"),
            health: get("health"),
            beta: get("beta"),
        };
        match self {
            Self::Inference(plan) => plan.bind(&InferenceBindings {
                x: need("x")?,
                y: need("y")?,
                gamma,
                beta,
                running: running()?,
                scratch,
                extras,
            }),
            Self::Forward(plan) => plan.bind(&ForwardBindings {
                x: need("x")?,
                y: need("y")?,
                gamma,
                beta,
                running: maybe_running()?,
                counter,
                saved: need("saved")?,
                scratch,
                extras,
            }),
            Self::Backward(plan) => plan.bind(&BackwardBindings {
                x: need("x")?,
                dy: need("dy")?,
                gamma,
                saved: need("saved")?,
                dx,
                dgamma,
                dbeta,
                scratch,
                extras,
            }),
            Self::Frozen(plan) => plan.bind(&FrozenBackwardBindings {
                x: get("x"),
                dy: need("dy")?,
                gamma,
                running: running()?,
                dx,
                dgamma,
                dbeta,
                scratch,
                extras,
            }),
            Self::UpdateRunning(plan) => {
                plan.bind(&UpdateRunningBindings { saved: need("saved")?, running: running()?, counter })
            }
            Self::Gather(plan) => {
                plan.bind(&GatherBindings { x: need("x")?, statistics: need("statistics")?, scratch, extras })
            }
            Self::Merge(plan) => plan.bind(&MergeBindings { many: need("many")?, statistics: need("statistics")? }),
            Self::Finalize(plan) => plan.bind(&FinalizeBindings {
                statistics: need("statistics")?,
                gamma,
                beta,
                running: maybe_running()?,
                counter,
                saved: need("saved")?,
                scale_and_shift: need("scale_and_shift")?,
                extras,
            }),
            Self::Normalize(plan) => plan.bind(&NormalizeBindings {
                x: need("x")?,
                y: need("y")?,
                gamma,
                beta,
                saved: need("saved")?,
                extras,
            }),
            Self::GatherBackward(plan) => plan.bind(&GatherBackwardBindings {
                x: need("x")?,
                dy: need("dy")?,
                gamma,
                saved: need("saved")?,
                sums: need("sums")?,
                scratch,
                extras,
            }),
            Self::MergeBackward(plan) => plan.bind(&MergeBackwardBindings { many: need("many")?, sums: need("sums")? }),
            Self::FinalizeBackward(plan) => plan.bind(&FinalizeBackwardBindings {
                sums: need("sums")?,
                saved: need("saved")?,
                gamma,
                dgamma: need("dgamma")?,
                dbeta: need("dbeta")?,
                coefficients: need("coefficients")?,
            }),
            Self::ApplyBackward(plan) => plan.bind(&ApplyBackwardBindings {
                x: need("x")?,
                dy: need("dy")?,
                gamma,
                saved: need("saved")?,
                sums: need("sums")?,
                dx: need("dx")?,
                extras,
            }),
        }
    }
}
