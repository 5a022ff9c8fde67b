//! A plan: a recipe with its pipelines, that buffers can be bound to and recorded.

use std::fmt;
use std::sync::Arc;

use wgpu::BufferBinding;

use crate::bind::{self, Argument};
use crate::buffer;
use crate::descriptor::Descriptor;
use crate::error::{BindError, PlanError};
use crate::kernels::{Kernels, Pipeline};
use crate::recipe::{Operation, Recipe};
use crate::shader::Access;

/// What every plan knows before it runs. Prints as a description.
pub struct Plan {
    kernels: Kernels,
    descriptor: Descriptor,
    recipe: Recipe,
    pipelines: Vec<Arc<Pipeline>>,
    /// The recipe's numbers as the kernels read them; written once, so that recordings cannot disturb
    /// each other.
    params: wgpu::Buffer,
}

impl Plan {
    pub(crate) fn new(kernels: Kernels, descriptor: &Descriptor, recipe: Recipe) -> Result<Self, PlanError> {
        let pipelines = recipe
            .dispatches
            .iter()
            .map(|dispatch| kernels.pipeline(dispatch.permutation))
            .collect::<Result<_, _>>()?;
        let contents = bytemuck::bytes_of(&recipe.params);
        let params =
            buffer::filled(kernels.device(), "batchnorm params", wgpu::BufferUsages::UNIFORM, contents).map_err(
                |message| PlanError::Buffer { what: "a plan's parameters", bytes: contents.len() as u64, message },
            )?;
        Ok(Self { kernels, descriptor: descriptor.clone(), recipe, pipelines, params })
    }

    /// What is normalised.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// How: regime, kernels, dispatches, bytes read and written.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Bytes of scratch that the caller must lend, 0 for none. Its contents before and after are
    /// garbage; plans that do not run at the same time may share it.
    pub fn scratch_bytes(&self) -> u64 {
        self.recipe.scratch_bytes
    }

    /// Bytes of the saved statistics that a training forward hands to the backward: C means, then C inverse
    /// standard deviations, then C (biased) variances, as f32.
    pub fn saved_bytes(&self) -> u64 {
        self.recipe.saved_bytes
    }

    /// Bytes that the dispatches read from memory: tensors as often as they are read, per-channel values and
    /// scratch once, since what reads them again finds them in the cache.
    pub fn bytes_read(&self) -> u64 {
        self.recipe.bytes_read
    }

    /// Bytes that the dispatches write.
    pub fn bytes_written(&self) -> u64 {
        self.recipe.bytes_written
    }

    /// Bytes of x; y, dy and dx have as many.
    pub(crate) fn x_bytes(&self) -> u64 {
        self.descriptor.shape.iter().map(|&n| n as u64).product::<u64>() * 4
    }

    /// Bytes of a per-channel buffer.
    fn channel_bytes(&self) -> u64 {
        self.descriptor.channels() as u64 * 4
    }

    pub(crate) fn x<'a>(&self, name: &'static str, binding: &BufferBinding<'a>, access: Access) -> Argument<'a> {
        self.argument(name, Some(binding), self.x_bytes(), access)
    }

    pub(crate) fn channel<'a>(
        &self,
        name: &'static str,
        binding: Option<&BufferBinding<'a>>,
        access: Access,
    ) -> Argument<'a> {
        self.argument(name, binding, self.channel_bytes(), access)
    }

    pub(crate) fn counter<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("counter", binding, 4, Access::Write)
    }

    pub(crate) fn saved<'a>(&self, binding: &BufferBinding<'a>, access: Access) -> Argument<'a> {
        self.argument("saved", Some(binding), 3 * self.channel_bytes(), access)
    }

    pub(crate) fn scratch<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("scratch", binding, self.recipe.scratch_bytes, Access::Write)
    }

    pub(crate) fn dx<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("dx", binding, self.x_bytes(), Access::Write)
    }

    /// γ only matters to dx; given without being looked at, it is passed over.
    pub(crate) fn gamma_for_dx<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        let wants_dx = match self.recipe.operation {
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => wanted.dx,
            Operation::Inference | Operation::Forward | Operation::UpdateRunning => true,
        };
        self.channel("gamma", binding.filter(|_| wants_dx), Access::Read)
    }

    pub(crate) fn argument<'a>(
        &self,
        name: &'static str,
        binding: Option<&BufferBinding<'a>>,
        needs: u64,
        access: Access,
    ) -> Argument<'a> {
        Argument { name, slot: name, binding: binding.cloned(), needs, access }
    }

    pub(crate) fn bind(&self, arguments: &[Argument<'_>]) -> Result<Bound, BindError> {
        let used = |argument: &Argument<'_>| {
            let slots = self.pipelines.iter().flat_map(|pipeline| &pipeline.slots);
            slots.into_iter().any(|slot| slot.name == argument.slot)
        };
        for argument in arguments {
            argument.check(used(argument), self.kernels.alignment(), &self.descriptor)?;
        }
        let shares = |pipeline: &Arc<Pipeline>| bind::shares_a_buffer(&pipeline.slots, arguments);
        bind::check_overlaps(arguments, false)?;
        if self.pipelines.iter().any(shares) {
            bind::check_overlaps(arguments, true)?;
        }
        let mut dispatches = Vec::with_capacity(self.pipelines.len());
        for (dispatch, pipeline) in self.recipe.dispatches.iter().zip(&self.pipelines) {
            let pipeline = if shares(pipeline) {
                self.kernels.pipeline(dispatch.permutation.for_one_buffer())?
            } else {
                pipeline.clone()
            };
            let bind_group = bind::group(self.kernels.device(), &pipeline, &self.params, arguments)?;
            dispatches.push(BoundDispatch { pipeline, bind_group, grid: dispatch.grid });
        }
        Ok(Bound { dispatches })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Descriptor { shape, layout, .. } = &self.descriptor;
        write!(f, "{shape:?} {layout:?}\n{}", self.recipe)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptor, recipe, .. } = self;
        f.debug_struct("Plan").field("descriptor", descriptor).field("recipe", recipe).finish_non_exhaustive()
    }
}

/// A plan bound to buffers. Recording it again and again, in one pass or many, costs nothing but the
/// dispatches.
#[derive(Debug)]
pub struct Bound {
    dispatches: Vec<BoundDispatch>,
}

struct BoundDispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl fmt::Debug for BoundDispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundDispatch").field("grid", &self.grid).finish_non_exhaustive()
    }
}

impl Bound {
    /// Records the dispatches into the caller's pass: sets pipelines and bind group 0, and nothing else.
    /// Never submits, waits or allocates.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        for BoundDispatch { pipeline, bind_group, grid: [x, y] } in &self.dispatches {
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, bind_group, &[]);
            pass.dispatch_workgroups(*x, *y, 1);
        }
    }

    /// Records the dispatches into a compute pass of their own.
    pub fn record_pass(&self, encoder: &mut wgpu::CommandEncoder) {
        let label = Some("batchnorm");
        self.record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label, timestamp_writes: None }));
    }
}
