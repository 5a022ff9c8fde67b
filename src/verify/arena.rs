//! A problem's tensors on the device, bound to a plan of any operation.

use wgpu::BufferBinding;

use super::Placement;
use super::form::{Form, POISON};
use crate::descriptor::Descriptor;
use crate::error::{BindError, Error};
use crate::gpu::Gpu;
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

/// One tensor of a problem.
pub(super) struct Tensor {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// How many values it has.
    pub(super) len: usize,
    /// What is in memory before.
    pub(super) words: Vec<u32>,
    pub(super) output: bool,
}

impl Tensor {
    pub(super) fn input(name: &'static str, form: Form, values: &[f32]) -> Self {
        Self { output: false, words: at_least_one(form.words(values)), ..Self::output(name, form, values.len()) }
    }

    /// One that is made of whole words.
    pub(super) fn of_words(name: &'static str, words: Vec<u32>) -> Self {
        Self { name, form: Form::Numbers, len: words.len(), words, output: false }
    }

    /// With nothing but poison in it.
    pub(super) fn output(name: &'static str, form: Form, len: usize) -> Self {
        Self { name, words: at_least_one(form.empty(len)), form, len, output: true }
    }
}

/// No buffer is empty.
fn at_least_one(mut words: Vec<u32>) -> Vec<u32> {
    words.resize(words.len().max(1), POISON);
    words
}

/// What may be written over what.
const IN_PLACE: [[&str; 2]; 2] = [["x", "y"], ["dy", "dx"]];

/// Writes y over x and dx over dy: each pair becomes one tensor, with the contents of the one that is read and
/// the name of the one that is written.
pub(super) fn in_place(tensors: &mut Vec<Tensor>) {
    for [read, written] in IN_PLACE {
        let find = |name| tensors.iter().position(|tensor: &Tensor| tensor.name == name);
        if let (Some(read), Some(written)) = (find(read), find(written)) {
            tensors[written].words = std::mem::take(&mut tensors[read].words);
            tensors.remove(read);
        }
    }
}

/// A problem's tensors on the device.
pub(super) struct Arena {
    /// Name, buffer, offset and size of each.
    places: Vec<(&'static str, wgpu::Buffer, u64, u64)>,
}

impl Arena {
    pub(super) fn new(gpu: &Gpu, tensors: &[Tensor], placement: Placement) -> Result<Self, Error> {
        let bytes = |tensor: &Tensor| 4 * tensor.words.len() as u64;
        let places = match placement {
            Placement::Separate | Placement::InPlace => tensors
                .iter()
                .map(|tensor| Ok((tensor.name, gpu.upload(&tensor.words)?, 0, bytes(tensor))))
                .collect::<Result<_, Error>>()?,
            Placement::OneBuffer => {
                let alignment = gpu.kernels.alignment() as usize / 4;
                let mut all = vec![POISON; alignment];
                let mut places = Vec::new();
                for tensor in tensors {
                    places.push((tensor.name, 4 * all.len() as u64, bytes(tensor)));
                    all.extend(&tensor.words);
                    all.resize(all.len().next_multiple_of(alignment), POISON);
                }
                let buffer = gpu.upload(&all)?;
                places.into_iter().map(|(name, offset, size)| (name, buffer.clone(), offset, size)).collect()
            }
        };
        Ok(Self { places })
    }

    pub(super) fn get(&self, name: &str) -> Option<BufferBinding<'_>> {
        let find = |name: &str| self.places.iter().find(|(known, ..)| *known == name);
        let over = || IN_PLACE.iter().find(|[read, _]| *read == name).and_then(|[_, written]| find(written));
        let (_, buffer, offset, size) = find(name).or_else(over)?;
        Some(BufferBinding { buffer, offset: *offset, size: wgpu::BufferSize::new(*size) })
    }

    /// What comes with options, where it is there.
    fn extras(&self) -> Extras<'_> {
        Extras {
            valid: self.get("valid"),
            residual: self.get("residual"),
            dresidual: self.get("dresidual"),
            signs: self.get("signs"),
            health: self.get("health"),
            beta: self.get("beta"),
        }
    }
}

/// A plan of any operation.
pub(super) enum AnyPlan {
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
    pub(super) fn new(kernels: &Kernels, descriptor: &Descriptor, operation: Operation) -> Result<Self, Error> {
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

    pub(super) fn plan(&self) -> &Plan {
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

    pub(super) fn bind(&self, arena: &Arena) -> Result<Bound, Error> {
        let need = |name| arena.get(name).ok_or(BindError::Missing { argument: name, needs: 4 });
        let running =
            || Ok::<_, BindError>(RunningBindings { mean: need("running_mean")?, variance: need("running_variance")? });
        let (gamma, beta, scratch) = (arena.get("gamma"), arena.get("beta"), arena.get("scratch"));
        let (dx, dgamma, dbeta) = (arena.get("dx"), arena.get("dgamma"), arena.get("dbeta"));
        let extras = arena.extras();
        let bound = match self {
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
                running: plan.descriptor().running.is_some().then(running).transpose()?,
                counter: arena.get("counter"),
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
                extras,
            }),
            Self::Gather(plan) => {
                plan.bind(&GatherBindings { x: need("x")?, statistics: need("statistics")?, scratch, extras })
            }
            Self::Merge(plan) => plan.bind(&MergeBindings { many: need("many")?, statistics: need("statistics")? }),
            Self::Finalize(plan) => plan.bind(&FinalizeBindings {
                statistics: need("statistics")?,
                gamma,
                beta,
                running: plan.descriptor().running.is_some().then(running).transpose()?,
                counter: arena.get("counter"),
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
        };
        Ok(bound?)
    }
}
