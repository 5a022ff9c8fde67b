//! The pipelines of one device, compiled once and shared by all plans.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::bind::has_in_place;
use crate::buffer::catching;
#[cfg(target_arch = "wasm32")]
use crate::buffer::watching;
use crate::cache::{self, CacheError};
use crate::descriptor::{Descriptor, Gradients};
use crate::error::{BindError, PlanError};
use crate::held::{Compiled, Held, lock};
use crate::parallel::on_all_cores;
use crate::plan::{Bound, Plan};
use crate::recipe::{Capabilities, Choice, Operation, Recipe};
use crate::shader::{Access, Permutation, Slot};
use crate::tuning::{AdapterKind, Tuning};

/// The kernels of one device: where plans come from. Cheap to clone; clones share what is compiled, and
/// may be used from any thread.
#[derive(Clone)]
pub struct Kernels {
    shared: Arc<Shared>,
    tuning: Tuning,
    choice: Choice,
    sharing: Sharing,
}

struct Shared {
    device: wgpu::Device,
    capabilities: Capabilities,
    /// As tunings know the adapter; browsers tell no names.
    adapter: Option<String>,
    /// What the driver keeps of its work, where the device has the feature.
    cache: Option<wgpu::PipelineCache>,
    pipelines: Held,
    /// Set once a browser has said that the device is lost.
    #[cfg(target_arch = "wasm32")]
    lost: Arc<std::sync::atomic::AtomicBool>,
}

/// How a plan's buffers will lie. WebGPU lets a dispatch use a buffer in one way only, so where one holds both what
/// is read and what is written, other kernels are needed. Plans look at what they are bound to and are right in any
/// case; said beforehand ([`Kernels::sharing`]), nothing is compiled that is not used, and nothing while binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// All are ranges of one buffer.
    pub one_buffer: bool,
    /// y is bound over x, and dx over dy.
    pub in_place: bool,
}

impl Sharing {
    /// The form of a kernel for such buffers.
    fn form(self, permutation: Permutation) -> Permutation {
        let in_place = self.in_place && has_in_place(&permutation.slots());
        let permutation = if in_place { permutation.in_place() } else { permutation };
        let slots = permutation.slots();
        let accesses = |access| slots.iter().any(|slot| slot.access == access);
        let mixed = self.one_buffer && accesses(Access::Read) && accesses(Access::Write);
        if mixed { permutation.for_one_buffer() } else { permutation }
    }
}

/// A compiled permutation and the buffers it takes.
pub(crate) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub slots: Vec<Slot>,
}

impl Kernels {
    /// The kernels for a device. Nothing is compiled yet: the first plan that needs a kernel does that, or
    /// [`warm`](Self::warm).
    pub fn new(device: &wgpu::Device) -> Self {
        Self::of(device, cache::empty(device))
    }

    /// The kernels for a device, with what [`cache_data`](Self::cache_data) gave in an earlier run of the program:
    /// the driver then finds its own work again in place of repeating it. An adapter's name for a file is
    /// [`wgpu::util::pipeline_cache_key`].
    ///
    /// Bytes that cannot be used are an error that says why, to be followed by [`new`](Self::new): a driver that was
    /// updated is the ordinary case.
    ///
    /// ```no_run
    /// # use wgpu_batchnorm::{Kernels, wgpu};
    /// # fn kernels(device: &wgpu::Device) -> Kernels {
    /// let saved = std::fs::read("cache/batchnorm").unwrap_or_default();
    /// // SAFETY: the program alone writes this file, and nothing into it but `cache_data`.
    /// unsafe { Kernels::with_cache(device, &saved) }.unwrap_or_else(|_| Kernels::new(device))
    /// # }
    /// ```
    ///
    /// # Safety
    /// `saved` must be what [`cache_data`](Self::cache_data) returned, or not pass for it. Bytes that were damaged,
    /// cut off, or come from another file, adapter or driver do not: they are recognised by a checksum. Bytes that
    /// somebody made up with the right checksum do, and reach a driver that trusts them: keep the file where nobody
    /// else can write.
    ///
    /// # Errors
    /// [`CacheError`], among others where the device was requested without
    /// [`PIPELINE_CACHE`](wgpu::Features::PIPELINE_CACHE).
    pub unsafe fn with_cache(device: &wgpu::Device, saved: &[u8]) -> Result<Self, CacheError> {
        // SAFETY: the caller promises just that.
        let cache = unsafe { cache::filled(device, saved) }?;
        Ok(Self::of(device, Some(cache)))
    }

    /// What the driver has kept of all that was compiled so far, for [`with_cache`](Self::with_cache) in the next
    /// run; to be written to a file in one go. `None` where the device was requested without
    /// [`PIPELINE_CACHE`](wgpu::Features::PIPELINE_CACHE), which few adapters but those of Vulkan have. (Most drivers
    /// of desktops keep a cache of their own besides.)
    pub fn cache_data(&self) -> Option<Vec<u8>> {
        cache::data(&self.shared.device, self.shared.cache.as_ref()?)
    }

    fn of(device: &wgpu::Device, cache: Option<wgpu::PipelineCache>) -> Self {
        let (info, limits) = (device.adapter_info(), device.limits());
        let kind = match info.device_type {
            wgpu::DeviceType::Cpu => AdapterKind::Cpu,
            _ => AdapterKind::Gpu,
        };
        let int64 = device.features().contains(wgpu::Features::SHADER_INT64);
        let capabilities = Capabilities {
            kind,
            invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroups: limits.max_compute_workgroups_per_dimension,
            binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            int64,
            // What kernels read at a time.
            alignment: u64::from(limits.min_storage_buffer_offset_alignment).max(if int64 { 32 } else { 16 }),
        };
        let shared = Shared {
            device: device.clone(),
            capabilities,
            adapter: tuning_key(&info),
            cache,
            pipelines: Held::default(),
            #[cfg(target_arch = "wasm32")]
            lost: Arc::default(),
        };
        // There, any number of callbacks may be set.
        #[cfg(target_arch = "wasm32")]
        device.set_device_lost_callback({
            let lost = shared.lost.clone();
            move |_, _| lost.store(true, std::sync::atomic::Ordering::Relaxed)
        });
        let (choice, sharing) = (Choice::default(), Sharing::default());
        Self { shared: Arc::new(shared), tuning: Tuning::of(kind), choice, sharing }
    }

    /// The same kernels, choosing by these numbers.
    pub fn tuned(&self, tuning: Tuning) -> Self {
        Self { tuning, ..self.clone() }
    }

    /// The same kernels, choosing by what `batchnorm tune` found out on this adapter; `None` where the file knows
    /// neither it nor its driver, so that the built-in numbers are the best there are.
    ///
    /// ```no_run
    /// # use wgpu_batchnorm::{Error, Kernels, tuning::Tunings};
    /// # fn kernels(device: &wgpu_batchnorm::wgpu::Device, file: &str) -> Result<Kernels, Error> {
    /// let kernels = Kernels::new(device);
    /// let kernels = kernels.tuned_from(&Tunings::from_json(file)?).unwrap_or(kernels);
    /// # Ok(kernels)
    /// # }
    /// ```
    #[cfg(feature = "serde")]
    pub fn tuned_from(&self, tunings: &crate::tuning::Tunings) -> Option<Self> {
        tunings.get(self.tuning_key()?).map(|tuning| self.tuned(tuning))
    }

    /// What files of tunings know this device by: the adapter's name, driver, its version and backend. After an
    /// update of the driver it is another. `None` of an adapter without a name, as browsers have them: numbers that
    /// are good for one would be taken for all.
    pub fn tuning_key(&self) -> Option<&str> {
        self.shared.adapter.as_deref()
    }

    /// The same kernels, with some choices made by hand.
    pub fn choosing(&self, choice: Choice) -> Self {
        Self { choice, ..self.clone() }
    }

    /// The same kernels for buffers that lie like this, as far as is known when planning.
    pub fn sharing(&self, sharing: Sharing) -> Self {
        Self { sharing, ..self.clone() }
    }

    /// Holds at most so many compiled kernels from now on, for these kernels and their clones; 256 where nothing was
    /// said. What is too many is let go, what was not used for the longest time first, and compiled again when it is
    /// next planned. Plans keep the kernels that they have.
    pub fn hold_at_most(&self, kernels: usize) {
        self.shared.pipelines.limit(kernels);
    }

    /// Lets go of all compiled kernels, here and in the clones; plans keep theirs. (What the driver keeps for
    /// [`cache_data`](Self::cache_data) stays.)
    pub fn clear(&self) {
        self.shared.pipelines.clear();
    }

    /// How many kernels are held, and how many were compiled and let go so far, here and by the clones.
    pub fn compiled(&self) -> Compiled {
        self.shared.pipelines.numbers()
    }

    /// Compiles what the plans of all these will need and is new to the device, on all cores: a network's layers
    /// share most kernels, and this way the first step does not wait for one after the other. (Where the driver puts
    /// off a part of that until a kernel first runs, [`rehearse`](Self::rehearse) does it all.) Of more than are held
    /// ([`hold_at_most`](Self::hold_at_most)) the last stay.
    ///
    /// ```no_run
    /// # use wgpu_batchnorm::{Descriptor, Gradients, Kernels, PlanError, recipe::Operation};
    /// # fn warm(kernels: &Kernels, layers: &[Descriptor]) -> Result<(), PlanError> {
    /// let training = [Operation::Forward, Operation::Backward(Gradients::ALL)];
    /// kernels.warm(layers.iter().flat_map(|layer| training.map(|operation| (layer, operation))))
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of planning each; the first that cannot be planned ends it before anything is compiled.
    pub fn warm<D: Borrow<Descriptor>>(
        &self,
        plans: impl IntoIterator<Item = (D, Operation)>,
    ) -> Result<(), PlanError> {
        self.warmed(plans).map(drop)
    }

    /// As [`warm`](Self::warm), and with what it returns the driver comes to know the kernels as well: a dispatch of no
    /// workgroups for each of them, to be recorded and submitted before the first step, and then dropped. Some drivers,
    /// Mesa's software one for Vulkan among them, generate code when a kernel is first dispatched and not when it is
    /// compiled; then this has it over with.
    ///
    /// ```no_run
    /// # use wgpu_batchnorm::{Descriptor, Error, Kernels, recipe::Operation, wgpu};
    /// # fn first(kernels: &Kernels, queue: &wgpu::Queue, layers: &[Descriptor]) -> Result<(), Error> {
    /// let rehearsal = kernels.rehearse(layers.iter().map(|layer| (layer, Operation::Forward)))?;
    /// let mut encoder = kernels.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    /// rehearsal.record_pass(&mut encoder);
    /// queue.submit([encoder.finish()]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`warm`](Self::warm); [`BindError::Refused`] where the device has no room for a few kilobytes.
    pub fn rehearse<D: Borrow<Descriptor>>(
        &self,
        plans: impl IntoIterator<Item = (D, Operation)>,
    ) -> Result<Bound, BindError> {
        Bound::rehearsal(self, self.warmed(plans)?)
    }

    /// The kernels that the plans of all these will need, each once.
    fn warmed<D: Borrow<Descriptor>>(
        &self,
        plans: impl IntoIterator<Item = (D, Operation)>,
    ) -> Result<Vec<Arc<Pipeline>>, PlanError> {
        let (mut wanted, mut seen) = (Vec::new(), HashSet::new());
        for (descriptor, operation) in plans {
            let each = self.expected(&self.recipe(descriptor.borrow(), operation)?);
            wanted.extend(each.into_iter().filter(|permutation| seen.insert(*permutation)));
        }
        self.pipelines(&wanted)
    }

    /// As [`warm`](Self::warm), and waits until the device has taken the kernels or refused them. A browser compiles in
    /// another process and answers later: this is the way to have that over with there, and to learn of a refusal as
    /// an error; without it a kernel that is refused is reported to the device's uncaptured-error handler. Elsewhere
    /// `warm` says all.
    ///
    /// # Errors
    /// As [`warm`](Self::warm); [`PlanError::Pipeline`] for a kernel that was refused, which is tried again by the
    /// next plan that needs it.
    pub async fn ready<D: Borrow<Descriptor>>(
        &self,
        plans: impl IntoIterator<Item = (D, Operation)>,
    ) -> Result<(), PlanError> {
        #[cfg(not(target_arch = "wasm32"))]
        return self.warm(plans);
        #[cfg(target_arch = "wasm32")]
        {
            let mut answers = Vec::new();
            for (descriptor, operation) in plans {
                for permutation in self.expected(&self.recipe(descriptor.borrow(), operation)?) {
                    let cell = self.shared.pipelines.cell(permutation);
                    if lock(&cell).is_some() {
                        continue;
                    }
                    let (made, complaint) = watching(&self.shared.device, self.work(permutation));
                    self.shared.pipelines.count();
                    *lock(&cell) = Some(Arc::new(made));
                    answers.push((permutation, cell, complaint));
                }
            }
            let mut all = Ok(());
            for (permutation, cell, complaint) in answers {
                if let Some(message) = complaint.await {
                    *lock(&cell) = None;
                    all = all.and(Err(self.refused(permutation, message)));
                }
            }
            all
        }
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// An error once a browser has said that the device is lost, which the calls that make something do not say
    /// there. Elsewhere they do.
    pub(crate) fn check_device(&self) -> Result<(), String> {
        #[cfg(target_arch = "wasm32")]
        if self.shared.lost.load(std::sync::atomic::Ordering::Relaxed) {
            return Err("the device is lost".to_owned());
        }
        Ok(())
    }

    /// What recipes go by.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// What the offsets of all bindings must be multiples of, in bytes: the device's
    /// `min_storage_buffer_offset_alignment`, and at least 16.
    pub fn alignment(&self) -> u64 {
        self.shared.capabilities.alignment
    }

    /// A plan for inference: y from the running statistics.
    ///
    /// # Errors
    /// [`PlanError`] where the descriptor makes no sense or asks too much of the device.
    pub fn inference(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Inference)
    }

    /// A plan for the forward pass of training: y from the batch's own statistics, which are saved for
    /// the backward pass and, if the descriptor says so, moved into the running ones. A variance that an f32 does not hold
    /// is saved as infinite, and x̂ is 0 then: y is β, before the rest.
    ///
    /// # Errors
    /// As [`inference`](Self::inference), and [`PlanError::OneValue`].
    pub fn forward(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Forward)
    }

    /// A plan for the backward pass of training, through the statistics that the forward pass saved. Where the variance is
    /// infinite, x̂ is 0 here too: dx and dγ are 0, and dβ is what it always is. (NaN, if x or dy is not finite there.)
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and [`PlanError::NoGradient`].
    pub fn backward(&self, descriptor: &Descriptor, wanted: Gradients) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Backward(wanted))
    }

    /// A plan for the backward pass of inference (a frozen batch norm that is fine-tuned through): the
    /// running statistics are constants. By an infinite running variance it is as in [`backward`](Self::backward).
    ///
    /// # Errors
    /// As [`inference`](Self::inference), and [`PlanError::NoGradient`].
    pub fn frozen_backward(&self, descriptor: &Descriptor, wanted: Gradients) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::FrozenBackward(wanted))
    }

    /// A plan that moves the running statistics by what a forward pass saved, and nothing else: for a forward
    /// pass planned without them ([`Descriptor::running`] `None`) that is computed twice, say, but should count
    /// once; or by what [`finalize`](Self::finalize) saved, whatever part of the batch this shape is of.
    ///
    /// # Errors
    /// As [`inference`](Self::inference), and [`PlanError::NoRunning`].
    pub fn update_running(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::UpdateRunning)
    }

    /// A plan that gathers the batch's statistics as values: counts, means and variances. They can be merged
    /// with those of other batches or devices ([`merge`](Self::merge), or on the host
    /// [`Statistics`](crate::Statistics)), and what they come to is used by [`finalize`](Self::finalize).
    ///
    /// # Errors
    /// As [`inference`](Self::inference), and [`PlanError::Option`] with groups, steps or a cumulative average.
    pub fn gather(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Gather)
    }

    /// A plan that merges statistics of this many parts, in their order.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn merge(&self, descriptor: &Descriptor, parts: u32) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Merge(parts))
    }

    /// A plan that makes of statistics what a training forward leaves: the saved ones, the running ones moved,
    /// and scale and shift for a kernel of the caller's.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn finalize(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Finalize)
    }

    /// A plan that normalises by what [`finalize`](Self::finalize), or a forward pass, has saved.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn normalize(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::Normalize)
    }

    /// A plan that gathers the sums of the backward pass as values: Σdy and Σdy·x̂ a channel, which add up over
    /// batches and devices ([`merge_backward`](Self::merge_backward)).
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn gather_backward(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::GatherBackward)
    }

    /// A plan that adds up the sums of this many parts, in their order.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn merge_backward(&self, descriptor: &Descriptor, parts: u32) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::MergeBackward(parts))
    }

    /// A plan that makes of sums dγ, dβ, and the three numbers a, b, c a channel of dx = a·dy + b·x + c, for a
    /// kernel of the caller's. (At padding it is a·dy.)
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn finalize_backward(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::FinalizeBackward)
    }

    /// A plan that computes dx from sums.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub fn apply_backward(&self, descriptor: &Descriptor) -> Result<Plan, PlanError> {
        self.plan(descriptor, Operation::ApplyBackward)
    }

    /// How an operation would be computed, without compiling anything.
    ///
    /// # Errors
    /// Those of planning it.
    pub fn recipe(&self, descriptor: &Descriptor, operation: Operation) -> Result<Recipe, PlanError> {
        Recipe::new(descriptor, operation, self.capabilities(), &self.tuning, &self.choice)
    }

    /// A plan for any operation; those above are by name.
    ///
    /// # Errors
    /// As theirs.
    pub fn plan(&self, descriptor: &Descriptor, operation: Operation) -> Result<Plan, PlanError> {
        let recipe = self.recipe(descriptor, operation)?;
        Plan::new(self.clone(), descriptor, recipe)
    }

    /// The form of each dispatch's kernel for the buffers that are expected.
    pub(crate) fn expected(&self, recipe: &Recipe) -> Vec<Permutation> {
        recipe.dispatches.iter().map(|dispatch| self.sharing.form(dispatch.permutation)).collect()
    }

    /// The pipelines of permutations. What is new to the device is compiled now, on all cores.
    pub(crate) fn pipelines(&self, wanted: &[Permutation]) -> Result<Vec<Arc<Pipeline>>, PlanError> {
        // What another thread is compiling is waited for beside the work on the others.
        let known = |permutation: &Permutation| self.shared.pipelines.cell(*permutation).try_lock().ok()?.clone();
        if let Some(known) = wanted.iter().map(known).collect() {
            return Ok(known);
        }
        let mut seen = HashSet::new();
        let each: Vec<Permutation> = wanted.iter().copied().filter(|permutation| seen.insert(*permutation)).collect();
        let compile = |permutation: &Permutation| self.pipeline(*permutation);
        // On OpenGL threads wait for one context, and after six seconds of it wgpu panics.
        let made: Result<Vec<_>, _> = match self.shared.device.adapter_info().backend {
            wgpu::Backend::Gl => each.iter().map(compile).collect(),
            _ => on_all_cores(&each, compile).into_iter().collect(),
        };
        let made: HashMap<_, _> = each.into_iter().zip(made?).collect();
        Ok(wanted.iter().map(|permutation| made[permutation].clone()).collect())
    }

    /// The pipeline of a permutation, compiled now if it is not held. Threads that ask for the same one
    /// wait for the first; others do not. What failed is tried again: the device may have been out of memory.
    fn pipeline(&self, permutation: Permutation) -> Result<Arc<Pipeline>, PlanError> {
        let cell = self.shared.pipelines.cell(permutation);
        let mut cell = lock(&cell);
        if let Some(pipeline) = &*cell {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(permutation)?);
        self.shared.pipelines.count();
        Ok(cell.insert(pipeline).clone())
    }

    fn compile(&self, permutation: Permutation) -> Result<Pipeline, PlanError> {
        catching(&self.shared.device, self.work(permutation)).map_err(|message| self.refused(permutation, message))
    }

    fn work(&self, permutation: Permutation) -> impl FnOnce() -> Pipeline {
        let device = &self.shared.device;
        let (label, slots) = (permutation.kernel.name(), permutation.slots());
        let entries: Vec<_> = slots.iter().map(layout_entry).collect();
        move || {
            let text = wgpu::ShaderModuleDescriptor {
                label: Some(label),
                source: wgpu::ShaderSource::Wgsl(permutation.wgsl().into()),
            };
            // wgpu would have every loop count its iterations besides: a twentieth of the time of a copy on lavapipe.
            let mut checks = wgpu::ShaderRuntimeChecks::checked();
            checks.force_loop_bounding = false;
            // SAFETY: every loop of every kernel ends. They count up to numbers of a recipe, or down from a constant;
            // those numbers reach kernels in a buffer that nobody else writes. `Recipe::walk` follows the loops over
            // elements and parts in the same arithmetic, and the tests in `tests/batchnorm/recipes.rs` hold that to
            // `Recipe::iterations` for any shape, device and tuning; loops over groups or merged parts are as long as
            // the planner allows (`MOST_CHUNKS`). Accesses to buffers stay checked.
            let module = unsafe { device.create_shader_module_trusted(text, checks) };
            let layout = device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &[],
                    // Every kernel writes workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: self.shared.cache.as_ref(),
            });
            Pipeline { pipeline, layout, slots }
        }
    }

    fn refused(&self, permutation: Permutation, message: String) -> PlanError {
        PlanError::Pipeline {
            kernel: format!("{} {:?}", permutation.kernel.name(), permutation.flags),
            adapter: self.tuning_key().unwrap_or("an adapter without a name").to_owned(),
            message,
        }
    }
}

fn tuning_key(info: &wgpu::AdapterInfo) -> Option<String> {
    let wgpu::AdapterInfo { name, driver, driver_info, backend, .. } = info;
    (!name.trim().is_empty()).then(|| format!("{name} ({driver} {driver_info}, {backend})"))
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, tuning, choice, sharing } = self;
        f.debug_struct("Kernels")
            .field("adapter", &shared.adapter)
            .field("tuning", tuning)
            .field("choice", choice)
            .field("sharing", sharing)
            .finish_non_exhaustive()
    }
}

fn layout_entry(slot: &Slot) -> wgpu::BindGroupLayoutEntry {
    let ty = match slot.access {
        Access::Uniform => wgpu::BufferBindingType::Uniform,
        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: slot.binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

#[cfg(test)]
mod tests {
    use super::tuning_key;

    #[test]
    fn adapters_without_a_name_have_no_key() {
        let mut info = wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::BrowserWebGpu);
        assert_eq!(tuning_key(&info), None);
        info.name = "card".to_owned();
        assert_eq!(tuning_key(&info).as_deref(), Some("card ( , webgpu)"));
    }
}
