//! A problem's tensors on the device, bound to a plan of any operation.

use wgpu::BufferBinding;

use super::Placement;
use crate::descriptor::Descriptor;
use crate::error::{BindError, Error};
use crate::gpu::Gpu;
use crate::kernels::Kernels;
use crate::operations::{
    Backward, BackwardBindings, Forward, ForwardBindings, FrozenBackward, FrozenBackwardBindings, Inference,
    InferenceBindings, RunningBindings, UpdateRunning, UpdateRunningBindings,
};
use crate::plan::{Bound, Plan};
use crate::recipe::Operation;

/// A NaN that no kernel makes, for what must be overwritten.
pub(super) const POISON: f32 = f32::from_bits(0x7fc0_dead);

/// One buffer of a problem; not given where it has no contents.
pub(super) struct Tensor {
    pub(super) name: &'static str,
    pub(super) contents: Vec<f32>,
    pub(super) output: bool,
}

impl Tensor {
    pub(super) fn input(name: &'static str, contents: &[f32]) -> Self {
        Self { name, contents: contents.to_vec(), output: false }
    }
}

/// A problem's tensors on the device.
pub(super) struct Arena {
    /// Name, buffer, offset and size of each.
    places: Vec<(&'static str, wgpu::Buffer, u64, u64)>,
}

impl Arena {
    pub(super) fn new(gpu: &Gpu, tensors: &[Tensor], placement: Placement) -> Result<Self, Error> {
        let present = tensors.iter().filter(|tensor| !tensor.contents.is_empty());
        let places = match placement {
            Placement::Separate => present
                .map(|tensor| Ok((tensor.name, gpu.upload(&tensor.contents)?, 0, 4 * tensor.contents.len() as u64)))
                .collect::<Result<_, Error>>()?,
            Placement::OneBuffer => {
                let alignment = gpu.kernels.alignment() as usize / 4;
                let mut all = vec![POISON; alignment];
                let mut places = Vec::new();
                for tensor in present {
                    places.push((tensor.name, 4 * all.len() as u64, 4 * tensor.contents.len() as u64));
                    all.extend(&tensor.contents);
                    all.resize(all.len().next_multiple_of(alignment), POISON);
                }
                let buffer = gpu.upload(&all)?;
                places.into_iter().map(|(name, offset, size)| (name, buffer.clone(), offset, size)).collect()
            }
        };
        Ok(Self { places })
    }

    pub(super) fn get(&self, name: &str) -> Option<BufferBinding<'_>> {
        let (_, buffer, offset, size) = self.places.iter().find(|(known, ..)| *known == name)?;
        Some(BufferBinding { buffer, offset: *offset, size: wgpu::BufferSize::new(*size) })
    }
}

/// A plan of any operation.
pub(super) enum AnyPlan {
    Inference(Inference),
    Forward(Forward),
    Backward(Backward),
    Frozen(FrozenBackward),
    UpdateRunning(UpdateRunning),
}

impl AnyPlan {
    pub(super) fn new(kernels: &Kernels, descriptor: &Descriptor, operation: Operation) -> Result<Self, Error> {
        Ok(match operation {
            Operation::Inference => Self::Inference(kernels.inference(descriptor)?),
            Operation::Forward => Self::Forward(kernels.forward(descriptor)?),
            Operation::Backward(wanted) => Self::Backward(kernels.backward(descriptor, wanted)?),
            Operation::FrozenBackward(wanted) => Self::Frozen(kernels.frozen_backward(descriptor, wanted)?),
            Operation::UpdateRunning => Self::UpdateRunning(kernels.update_running(descriptor)?),
        })
    }

    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Inference(plan) => plan,
            Self::Forward(plan) => plan,
            Self::Backward(plan) => plan,
            Self::Frozen(plan) => plan,
            Self::UpdateRunning(plan) => plan,
        }
    }

    pub(super) fn bind(&self, arena: &Arena) -> Result<Bound, Error> {
        let need = |name| arena.get(name).ok_or(BindError::Missing { argument: name, needs: 4 });
        let running =
            || Ok::<_, BindError>(RunningBindings { mean: need("running_mean")?, variance: need("running_variance")? });
        let (gamma, beta, scratch) = (arena.get("gamma"), arena.get("beta"), arena.get("scratch"));
        let (dx, dgamma, dbeta) = (arena.get("dx"), arena.get("dgamma"), arena.get("dbeta"));
        let bound = match self {
            Self::Inference(plan) => {
                plan.bind(&InferenceBindings { x: need("x")?, y: need("y")?, gamma, beta, running: running()? })
            }
            Self::Forward(plan) => plan.bind(&ForwardBindings {
                x: need("x")?,
                y: need("y")?,
                gamma,
                beta,
                running: plan.descriptor().running.is_some().then(running).transpose()?,
                counter: arena.get("counter"),
                saved: need("saved")?,
                scratch,
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
            }),
            Self::UpdateRunning(plan) => plan.bind(&UpdateRunningBindings {
                saved: need("saved")?,
                running: running()?,
                counter: arena.get("counter"),
            }),
            Self::Frozen(plan) => plan.bind(&FrozenBackwardBindings {
                x: arena.get("x"),
                dy: need("dy")?,
                gamma,
                running: running()?,
                dx,
                dgamma,
                dbeta,
                scratch,
            }),
        };
        Ok(bound?)
    }
}
