//! A plan: a recipe with its pipelines, that buffers can be bound to and recorded.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use wgpu::BufferBinding;

use crate::bind::{self, Argument, Bindings};
use crate::buffer;
use crate::descriptor::{Descriptor, Kept, Tensor};
use crate::error::{BindError, PlanError};
use crate::kernels::{Kernels, Pipeline};
use crate::operations::{Extras, RunningBindings};
use crate::recipe::{Dispatch, Params, Recipe};
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
        let slots = recipe.dispatches.iter().map(|dispatch| dispatch.permutation.slots()).collect();
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
        Ok(Self { kernels, descriptor: descriptor.clone(), recipe, slots, expected, params })
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

    pub(crate) fn tensor<'a>(
        &self,
        tensor: Tensor,
        binding: Option<&BufferBinding<'a>>,
        access: Access,
    ) -> Argument<'a> {
        self.argument(tensor.name(), binding, access)
    }

    /// x of the backward pass, which may be y.
    pub(crate) fn x_or_y<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("x", binding, Access::Read)
    }

    /// γ, β and their gradients.
    pub(crate) fn parameter<'a>(
        &self,
        name: &'static str,
        binding: Option<&BufferBinding<'a>>,
        access: Access,
    ) -> Argument<'a> {
        self.argument(name, binding, access)
    }

    /// γ or β of a backward pass: given without being looked at, it is passed over.
    pub(crate) fn optional_parameter<'a>(
        &self,
        name: &'static str,
        binding: Option<&BufferBinding<'a>>,
    ) -> Argument<'a> {
        self.if_used(self.parameter(name, binding, Access::Read))
    }

    /// The argument, passed over where no kernel looks at it.
    pub(crate) fn if_used<'a>(&self, argument: Argument<'a>) -> Argument<'a> {
        let pieces = || self.recipe.dispatches.iter().flat_map(|dispatch| &dispatch.pieces);
        let renamed = |slot: &str| pieces().any(|piece| piece.slot == slot && piece.argument != slot);
        let used = self.slots.iter().flatten().any(|slot| slot.name == argument.name && !renamed(&slot.name));
        if used { argument } else { Argument { binding: None, ..argument } }
    }

    pub(crate) fn running<'a>(&self, to: Option<&RunningBindings<'a>>, access: Access) -> [Argument<'a>; 2] {
        [
            self.argument("running_mean", to.map(|running| &running.mean), access),
            self.argument("running_variance", to.map(|running| &running.variance), access),
        ]
    }

    pub(crate) fn counter<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("counter", binding, Access::Write)
    }

    pub(crate) fn saved<'a>(&self, binding: &BufferBinding<'a>, access: Access) -> Argument<'a> {
        self.argument("saved", Some(binding), access)
    }

    /// Planes of C values f32.
    pub(crate) fn planes<'a>(&self, name: &'static str, binding: &BufferBinding<'a>, access: Access) -> Argument<'a> {
        self.argument(name, Some(binding), access)
    }

    pub(crate) fn scratch<'a>(&self, binding: Option<&BufferBinding<'a>>) -> Argument<'a> {
        self.argument("scratch", binding, Access::Write)
    }

    /// What comes with options.
    pub(crate) fn extras<'a>(&self, extras: &Extras<'a>, signs: Access) -> Vec<Argument<'a>> {
        vec![
            self.argument("valid", extras.valid.as_ref(), Access::Read),
            self.tensor(Tensor::Residual, extras.residual.as_ref(), Access::Read),
            self.tensor(Tensor::Dresidual, extras.dresidual.as_ref(), Access::Write),
            // Where none are kept, they may be given all the same.
            Argument { needs: self.recipe.signs_bytes, ..self.argument("signs", extras.signs.as_ref(), signs) },
            self.argument("health", extras.health.as_ref(), Access::Write),
        ]
    }

    fn argument<'a>(&self, name: &'static str, binding: Option<&BufferBinding<'a>>, access: Access) -> Argument<'a> {
        let needs = self.recipe.argument_bytes(name).unwrap_or(0);
        Argument { name, binding: binding.cloned(), needs, access }
    }

    pub(crate) fn bind(&self, arguments: &[Argument<'_>]) -> Result<Bound, BindError> {
        let dispatches: Vec<(Bindings<'_, '_>, &Dispatch, &[Slot])> = (self.recipe.dispatches.iter().zip(&self.slots))
            .map(|(dispatch, slots)| (Bindings::new(arguments, dispatch), dispatch, &slots[..]))
            .collect();
        let used = |name: &str| {
            let uses = |bindings: &Bindings<'_, '_>, slot: &Slot| bindings.argument(&slot.name) == Some(name);
            dispatches.iter().any(|(bindings, _, slots)| slots.iter().any(|slot| uses(bindings, slot)))
        };
        // Of an empty batch next to nothing is used.
        let empty = self.descriptor.shape.contains(&0);
        for argument in arguments.iter().filter(|argument| !empty || used(argument.name)) {
            argument.check(used(argument.name), self.kernels.alignment(), &self.descriptor)?;
        }
        bind::check_overlaps(arguments, &self.descriptor, false)?;
        let mut forms = Vec::with_capacity(dispatches.len());
        for (bindings, dispatch, slots) in &dispatches {
            let (form, one_buffer) = if bindings.in_place(slots, &self.descriptor) {
                let form = dispatch.permutation.in_place();
                (form, bindings.share_a_buffer(&form.slots()))
            } else {
                (dispatch.permutation, bindings.share_a_buffer(slots))
            };
            if one_buffer {
                bind::check_overlaps(arguments, &self.descriptor, true)?;
            }
            forms.push(if one_buffer { form.for_one_buffer() } else { form });
        }
        let pipelines = self.pipelines(&forms)?;
        buffer::alive(self.kernels.device()).map_err(|message| BindError::Refused { message })?;
        let mut bound = Vec::with_capacity(dispatches.len());
        for (i, ((bindings, dispatch, _), pipeline)) in dispatches.iter().zip(pipelines).enumerate() {
            let params = BufferBinding {
                buffer: &self.params,
                offset: (i * PARAMS_STRIDE) as u64,
                size: NonZeroU64::new(size_of::<Params>() as u64),
            };
            let bind_group = bindings.group(self.kernels.device(), &pipeline, params)?;
            bound.push(BoundDispatch { pipeline, bind_group, grid: dispatch.grid });
        }
        Ok(Bound { dispatches: bound })
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
