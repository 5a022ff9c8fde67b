//! A plan: a recipe with its pipelines, that buffers can be bound to and recorded.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use wgpu::BufferBinding;

use crate::argument::{Argument, Bindings};
use crate::bind::{Given, Requirement};
use crate::buffer;
use crate::descriptor::{Descriptor, Kept};
use crate::error::{BindError, PlanError};
use crate::kernels::{Kernels, Pipeline};
use crate::recipe::{Operation, Params, Recipe};
use crate::shader::{Access, Permutation, Slot};

/// From the numbers of one dispatch to those of the next: what offsets of uniform buffers are multiples of on
/// every device, twice.
const PARAMS_STRIDE: usize = 512;

/// What every plan knows before it runs. Prints as a description.
pub struct Plan {
    kernels: Kernels,
    descriptor: Descriptor,
    recipe: Recipe,
    /// The buffers of each dispatch's kernel.
    slots: Vec<Vec<Slot>>,
    /// The buffers that all dispatches together are bound to.
    requirements: Vec<Requirement>,
    /// Each dispatch's kernel in the form that is expected, so that binding finds it whatever was let go meanwhile.
    expected: Vec<(Permutation, Arc<Pipeline>)>,
    /// The numbers of each dispatch as the kernels read them; written once, so that recordings cannot disturb
    /// each other.
    params: wgpu::Buffer,
}

impl Plan {
    pub(crate) fn new(kernels: Kernels, descriptor: &Descriptor, recipe: Recipe) -> Result<Self, PlanError> {
        let forms = kernels.expected(&recipe);
        let pipelines = kernels.pipelines(&forms)?;
        let expected = forms.into_iter().zip(pipelines).collect();
        let slots: Vec<_> = recipe.dispatches.iter().map(|dispatch| dispatch.permutation.slots()).collect();
        let requirements = Requirement::of(&recipe, &slots);
        let mut contents = vec![0; PARAMS_STRIDE * recipe.dispatches.len()];
        for (dispatch, place) in recipe.dispatches.iter().zip(contents.chunks_mut(PARAMS_STRIDE)) {
            place[..size_of::<Params>()].copy_from_slice(bytemuck::bytes_of(&dispatch.params));
        }
        let filled = || buffer::filled(kernels.device(), "batchnorm params", wgpu::BufferUsages::UNIFORM, &contents);
        let params = kernels.check_device().and_then(|()| filled()).map_err(|message| PlanError::Buffer {
            what: "a plan's parameters",
            bytes: contents.len() as u64,
            message,
        })?;
        Ok(Self { kernels, descriptor: descriptor.clone(), recipe, slots, requirements, expected, params })
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

    /// Bytes of the saved statistics that a training forward hands to the backward, as f32: C means, then C inverse
    /// standard deviations, C (biased) variances and C counts; with [`Renorm`](crate::Renorm) r and d too. Of
    /// [`Over::Groups`](crate::Over::Groups) and [`Over::Steps`](crate::Over::Steps) each plane has C values a group,
    /// or a step (`[C, T]` where the channels come first).
    pub fn saved_bytes(&self) -> u64 {
        self.recipe.saved_bytes
    }

    /// What a forward pass has to leave to the backward pass besides, and the backward pass takes.
    pub fn kept(&self) -> Kept {
        self.recipe.kept
    }

    /// Bytes of [`Kept::Signs`], 0 where the plan has none.
    pub fn signs_bytes(&self) -> u64 {
        self.recipe.signs_bytes
    }

    /// Bytes that the dispatches read from memory: tensors as often as they are read, but bands, per-channel values and
    /// scratch once, since what reads them again finds them in the cache.
    pub fn bytes_read(&self) -> u64 {
        self.recipe.bytes_read
    }

    /// Bytes that the dispatches write.
    pub fn bytes_written(&self) -> u64 {
        self.recipe.bytes_written
    }

    /// The buffers that [`bind`](Self::bind) needs, in the order of [`Argument::ALL`]: which, how many bytes of each, and
    /// whether they are written.
    pub fn arguments(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Binds buffers. y may be x itself, and dx may be dy: then it is written over it.
    ///
    /// # Errors
    /// [`BindError`] where a buffer is missing, too small, misaligned, without `STORAGE`, overlaps another that is
    /// written, was destroyed or is another device's of the same [`wgpu::Instance`], where the plan has no use for it, or
    /// where the device is lost (but for browsers, which do not let one know).
    ///
    /// # Panics
    /// wgpu may, of a buffer of another instance (each [`Gpu`](crate::Gpu) has one of its own): it looks for it by a
    /// number that says something else there.
    pub fn bind(&self, to: &Bindings<'_>) -> Result<Bound, BindError> {
        if let Some(argument) = to.arguments().find(|argument| self.refuses(*argument)) {
            return Err(BindError::Unused { argument: argument.name() });
        }
        for needed in &self.requirements {
            needed.check(to.get(needed.argument), self.kernels.alignment(), &self.descriptor)?;
        }
        let given = Given { requirements: &self.requirements, to, descriptor: &self.descriptor };
        given.check_overlaps(false)?;
        let mut forms = Vec::with_capacity(self.slots.len());
        for (dispatch, slots) in self.recipe.dispatches.iter().zip(&self.slots) {
            let (form, one_buffer) = if given.goes_in_place(dispatch, slots) {
                let form = dispatch.permutation.in_place();
                (form, given.share_a_buffer(dispatch, &form.slots()))
            } else {
                (dispatch.permutation, given.share_a_buffer(dispatch, slots))
            };
            if one_buffer {
                given.check_overlaps(true)?;
            }
            forms.push(if one_buffer { form.for_one_buffer() } else { form });
        }
        let pipelines = self.pipelines(&forms)?;
        buffer::alive(self.kernels.device()).map_err(|message| BindError::Refused { message })?;
        let mut bound = Vec::with_capacity(pipelines.len());
        for (i, (dispatch, pipeline)) in self.recipe.dispatches.iter().zip(pipelines).enumerate() {
            let params = BufferBinding {
                buffer: &self.params,
                offset: (i * PARAMS_STRIDE) as u64,
                size: NonZeroU64::new(size_of::<Params>() as u64),
            };
            let bind_group = given.group(dispatch, self.kernels.device(), &pipeline, params)?;
            bound.push(BoundDispatch { pipeline, bind_group, grid: dispatch.grid });
        }
        Ok(Bound { dispatches: bound })
    }

    /// Whether to have been given a buffer for this must be a mistake: no dispatch looks at it, nor would one for
    /// another batch or other options.
    pub(crate) fn refuses(&self, argument: Argument) -> bool {
        use Argument::*;
        let passed_over = match (self.recipe.operation, argument) {
            (_, Scratch) => true,
            // Kept only where there is an activation that needs them.
            (_, Signs) => self.recipe.signs_bytes == 0,
            // Whether a backward pass needs γ, β, x or the statistics depends on what is wanted of it.
            (Operation::Backward(_) | Operation::GatherBackward | Operation::ApplyBackward, Gamma | Beta) => true,
            (Operation::FrozenBackward(_), X | Gamma | Beta | RunningMean | RunningVariance) => true,
            // An empty batch has next to no use for anything.
            _ => self.descriptor.shape.contains(&0),
        };
        !passed_over && self.requirements.iter().all(|needed| needed.argument != argument)
    }

    /// The pipelines of the dispatches in these forms: compiled already where they are as was expected.
    fn pipelines(&self, forms: &[Permutation]) -> Result<Vec<Arc<Pipeline>>, PlanError> {
        let (planned, pipelines): (Vec<_>, Vec<_>) = self.expected.iter().cloned().unzip();
        if planned == forms { Ok(pipelines) } else { self.kernels.pipelines(forms) }
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
    /// A dispatch of no workgroups of each of these, on buffers that nobody else has.
    pub(crate) fn rehearsal(kernels: &Kernels, pipelines: Vec<Arc<Pipeline>>) -> Result<Self, BindError> {
        let device = kernels.device();
        let refused = |message| BindError::Refused { message };
        let make = |usage, bytes| buffer::empty(device, "batchnorm rehearsal", usage, bytes).map_err(refused);
        let params = make(wgpu::BufferUsages::UNIFORM, size_of::<Params>() as u64)?;
        // A buffer is read or written, and what is written does not overlap.
        let (most, stride) = (pipelines.iter().map(|pipeline| pipeline.slots.len()).max(), kernels.alignment());
        let bytes = most.unwrap_or(0).max(1) as u64 * stride;
        let (read, written) = (make(wgpu::BufferUsages::STORAGE, bytes)?, make(wgpu::BufferUsages::STORAGE, bytes)?);
        let dispatch = |pipeline: Arc<Pipeline>| {
            let entry = |(i, slot): (usize, &Slot)| {
                let range = |buffer| BufferBinding { buffer, offset: i as u64 * stride, size: NonZeroU64::new(stride) };
                let binding = match slot.access {
                    Access::Uniform => params.as_entire_buffer_binding(),
                    Access::Read => range(&read),
                    Access::Write => range(&written),
                };
                wgpu::BindGroupEntry { binding: slot.binding, resource: wgpu::BindingResource::Buffer(binding) }
            };
            let entries: Vec<_> = pipeline.slots.iter().enumerate().map(entry).collect();
            let bind_group = buffer::catching(device, || {
                let label = Some("batchnorm rehearsal");
                device.create_bind_group(&wgpu::BindGroupDescriptor {
                    label,
                    layout: &pipeline.layout,
                    entries: &entries,
                })
            });
            Ok::<_, BindError>(BoundDispatch { bind_group: bind_group.map_err(refused)?, pipeline, grid: [0, 0] })
        };
        Ok(Self { dispatches: pipelines.into_iter().map(dispatch).collect::<Result<_, _>>()? })
    }

    /// Records the dispatches into the caller's pass: sets pipelines and bind group 0, and nothing else.
    /// Never submits, waits or allocates.
    ///
    /// # Errors
    /// None here, as with all recording in wgpu. A pass of another device, or a buffer that was destroyed since, makes
    /// `CommandEncoder::finish` or `Queue::submit` a validation error; so does one that is still mapped when it is
    /// submitted (it may be while it is bound). On a lost device nothing is recorded and nobody is told but
    /// [`set_device_lost_callback`](wgpu::Device::set_device_lost_callback).
    ///
    /// # Panics
    /// wgpu may, of a pass of another [`wgpu::Instance`] (each [`Gpu`](crate::Gpu) has one of its own): it looks for
    /// the pipeline by a number that says something else there.
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
