//! `BatchNorm`, the layer: parameters and running statistics on the device, training and inference
//! apart.

use std::num::NonZeroU64;

use wgpu::{BufferBinding, BufferUsages};

use crate::argument::{Argument, Bindings};
use crate::buffer;
use crate::descriptor::{Descriptor, Gradients, Layout, Running, Types};
use crate::error::{BindError, Error, PlanError};
use crate::kernels::Kernels;
use crate::plan::{Bound, Plan};
use crate::sizes;

const USAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// A batch-normalization layer, by default PyTorch's `BatchNorm1d`/`2d`/`3d` after construction: γ = 1,
/// β = 0, running mean 0, running variance 1, no batches counted, ε = 1e-5, momentum 0.1, unbiased
/// running variance.
///
/// A clone is the same layer: it shares the buffers. They are public, to be read, written and handed to an
/// optimiser on the GPU; all have `STORAGE`, `COPY_SRC` and `COPY_DST`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// γ: C values f32.
    pub gamma: wgpu::Buffer,
    /// β: C values f32.
    pub beta: wgpu::Buffer,
    /// Running mean: C values f32, with [`Over::Steps`](crate::Over::Steps) C a step kept.
    pub running_mean: wgpu::Buffer,
    /// Running variance, likewise.
    pub running_variance: wgpu::Buffer,
    /// Batches that the running statistics have seen: one `u32`.
    pub batches: wgpu::Buffer,
    kernels: Kernels,
    pub(crate) channels: usize,
    /// All that a descriptor says but the shape.
    options: Descriptor,
}

impl BatchNorm {
    /// A layer over this many channels, the second axis of x.
    ///
    /// # Errors
    /// [`PlanError`] where there are no channels, or more than the device has room for.
    pub fn new(kernels: &Kernels, channels: usize) -> Result<Self, PlanError> {
        if channels == 0 {
            return Err(PlanError::NoChannels);
        }
        let what = "a layer's γ";
        let (needs, has) = (sizes::product(what, &[4, channels as u64])?, kernels.capabilities().binding_bytes);
        if needs > has {
            let limit = "max_storage_buffer_binding_size";
            return Err(PlanError::Limit { what, needs, limit, has });
        }
        let filled = |what, contents: &[u8]| {
            let made = kernels.check_device().and_then(|()| buffer::filled(kernels.device(), what, USAGE, contents));
            made.map_err(|message| PlanError::Buffer { what, bytes: needs, message })
        };
        let all = |what, value: f32| filled(what, bytemuck::cast_slice(&vec![value; channels]));
        Ok(Self {
            gamma: all("batchnorm gamma", 1.0)?,
            beta: all("batchnorm beta", 0.0)?,
            running_mean: all("batchnorm running mean", 0.0)?,
            running_variance: all("batchnorm running variance", 1.0)?,
            batches: filled("batchnorm batches", &[0; 4])?,
            kernels: kernels.clone(),
            channels,
            options: Descriptor::new([], Layout::ChannelsFirst).running(counting(Running::default())),
        })
    }

    /// The same layer for another layout of x.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.options.layout = layout;
        self
    }

    /// The same layer with another ε.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Self { options: self.options.clone().epsilon(epsilon), ..self }
    }

    /// The same layer with another rule for the running statistics, or none: then inference takes the batch's
    /// own, as PyTorch's `track_running_stats=False` does. With a rule batches are always counted.
    pub fn running(self, running: impl Into<Option<Running>>) -> Self {
        Self { options: self.options.clone().running(running.into().map(counting)), ..self }
    }

    /// The same layer with options of its descriptors, such as an activation or padding.
    ///
    /// ```no_run
    /// # use wgpu_batchnorm::{Activation, BatchNorm, Error, Gpu};
    /// # fn layer(gpu: &Gpu) -> Result<BatchNorm, Error> {
    /// Ok(BatchNorm::new(&gpu.kernels, 64)?.options(|layer| layer.activation(Activation::Relu).residual(true))?)
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PlanError::Option`] where parameters or running statistics are to be anything but f32, which they are
    /// here; [`PlanError::Buffer`] where running statistics of more steps find no room.
    pub fn options(self, change: impl FnOnce(Descriptor) -> Descriptor) -> Result<Self, PlanError> {
        let options = change(self.options.clone());
        let options = Descriptor { running: options.running.map(counting), ..options };
        if Types::mixed(options.types.x) != options.types {
            let because = "a layer's parameters and running statistics are f32".to_owned();
            return Err(PlanError::Option { option: "types", because });
        }
        let mut layer = Self { options, ..self };
        let what = "running_mean";
        let (channels, sets) = (layer.channels as u64, layer.options.running_sets() as u64);
        let (needs, has) = (sizes::product(what, &[4, channels, sets])?, layer.kernels.capabilities().binding_bytes);
        if needs > has {
            let (what, limit) = ("running statistics of so many steps", "max_storage_buffer_binding_size");
            return Err(PlanError::Limit { what, needs, limit, has });
        }
        if layer.running_mean.size() != needs {
            let filled = |what, value: f32| {
                let contents = vec![value; needs as usize / 4];
                buffer::filled(layer.kernels.device(), what, USAGE, bytemuck::cast_slice(&contents))
                    .map_err(|message| PlanError::Buffer { what, bytes: needs, message })
            };
            (layer.running_mean, layer.running_variance) =
                (filled("batchnorm running mean", 0.0)?, filled("batchnorm running variance", 1.0)?);
        }
        Ok(layer)
    }

    /// The descriptor for x of this shape.
    pub fn descriptor(&self, shape: &[usize]) -> Descriptor {
        self.options.clone().of_shape(shape)
    }

    /// Binds inference, y from the running statistics, which stay as they are: x and y, and what the layer's options ask
    /// for besides, which is the residual and, without running statistics, a mask and a health counter. All else is the
    /// layer's own.
    ///
    /// # Errors
    /// As [`Kernels::inference`] and [`Plan::bind`]; a shape with another number of channels than the layer is a
    /// [`BindError::Size`] of γ.
    pub fn inference(&self, shape: &[usize], to: &Bindings<'_>) -> Result<Bound, Error> {
        let descriptor = self.descriptor(shape);
        let plan = match descriptor.running {
            Some(_) => self.kernels.inference(&descriptor)?,
            None => self.kernels.forward(&descriptor)?,
        };
        self.bind(&plan, to)
    }

    /// Binds a training step on x of this shape, [`Training::forward`] and [`Training::backward`], with buffers of the
    /// layer's own for what passes between them and for the gradients of γ and β. It takes x, y, dy and dx, and what the
    /// layer's options ask for besides: a mask, the residual and its gradient, a health counter.
    ///
    /// # Errors
    /// As [`Kernels::forward`], [`Kernels::backward`] and [`Plan::bind`].
    pub fn training(&self, shape: &[usize], to: &Bindings<'_>) -> Result<Training, Error> {
        let descriptor = self.descriptor(shape);
        let forward = self.kernels.forward(&descriptor)?;
        let backward = self.kernels.backward(&descriptor, Gradients::ALL)?;
        check_used(to, &[&forward, &backward])?;
        let workspace = self.workspace(&[&forward, &backward])?;
        let (dgamma, dbeta) = (self.gradient("batchnorm dgamma")?, self.gradient("batchnorm dbeta")?);
        let to = self.own(&workspace, to).dgamma(&dgamma).dbeta(&dbeta);
        let source = to.get(if descriptor.from_y { Argument::Y } else { Argument::X }).cloned();
        let bound = [forward.bind(&to.taken_by(&forward))?, backward.bind(&to.x(source).taken_by(&backward))?];
        let [forward, backward] = bound;
        let [saved, ..] = workspace;
        Ok(Training { forward, backward, saved, dgamma, dbeta })
    }

    /// Binds the backward pass of inference, for a network trained through this layer while it is frozen: dx from dy, and,
    /// in a layer with an activation, from x.
    ///
    /// # Errors
    /// As [`Kernels::frozen_backward`] and [`Plan::bind`].
    pub fn frozen_backward(&self, shape: &[usize], to: &Bindings<'_>) -> Result<Bound, Error> {
        let plan = self.kernels.frozen_backward(&self.descriptor(shape), Gradients::DX)?;
        self.bind(&plan, to)
    }

    /// Binds one plan to the caller's buffers and the layer's own.
    fn bind(&self, plan: &Plan, to: &Bindings<'_>) -> Result<Bound, Error> {
        check_used(to, &[plan])?;
        let workspace = self.workspace(&[plan])?;
        Ok(plan.bind(&self.own(&workspace, to).taken_by(plan))?)
    }

    /// The caller's buffers and the layer's own, of which a plan takes what it needs. γ, β and the running statistics are
    /// bound with their sizes, so that a shape of other channels is refused.
    fn own<'a>(&'a self, [saved, scratch, signs]: &'a [wgpu::Buffer; 3], to: &Bindings<'a>) -> Bindings<'a> {
        let parameter = |buffer| BufferBinding { buffer, offset: 0, size: NonZeroU64::new(4 * self.channels as u64) };
        let whole =
            |buffer: &'a wgpu::Buffer| BufferBinding { buffer, offset: 0, size: NonZeroU64::new(buffer.size()) };
        to.clone()
            .gamma(parameter(&self.gamma))
            .beta(parameter(&self.beta))
            .running_mean(whole(&self.running_mean))
            .running_variance(whole(&self.running_variance))
            .counter(&self.batches)
            .saved(saved)
            .scratch(scratch)
            .signs(signs)
    }

    /// Saved statistics, scratch and the activation's signs, as large as any of these plans wants them.
    fn workspace(&self, plans: &[&Plan]) -> Result<[wgpu::Buffer; 3], PlanError> {
        let most = |bytes: fn(&Plan) -> u64| plans.iter().map(|plan| bytes(plan)).max().unwrap_or(0);
        Ok([
            self.buffer("batchnorm saved", most(Plan::saved_bytes))?,
            self.buffer("batchnorm scratch", most(Plan::scratch_bytes))?,
            self.buffer("batchnorm signs", most(Plan::signs_bytes))?,
        ])
    }

    fn gradient(&self, label: &'static str) -> Result<wgpu::Buffer, PlanError> {
        self.buffer(label, 4 * self.channels as u64)
    }

    /// A buffer, of some size even where a plan needs none.
    fn buffer(&self, what: &'static str, bytes: u64) -> Result<wgpu::Buffer, PlanError> {
        buffer::empty(self.kernels.device(), what, USAGE, bytes.max(4)).map_err(|message| PlanError::Buffer {
            what,
            bytes,
            message,
        })
    }
}

fn counting(running: Running) -> Running {
    Running { counts_batches: true, ..running }
}

/// Refuses a buffer that none of the plans has a use for.
fn check_used(to: &Bindings<'_>, plans: &[&Plan]) -> Result<(), BindError> {
    let unused = to.arguments().find(|argument| plans.iter().all(|plan| plan.refuses(*argument)));
    unused.map_or(Ok(()), |argument| Err(BindError::Unused { argument: argument.name() }))
}

/// A training step bound to buffers. Record [`forward`](Self::forward), whatever computes dy, then
/// [`backward`](Self::backward).
#[derive(Debug)]
pub struct Training {
    /// y from x; moves the running statistics and counts the batch.
    pub forward: Bound,
    /// dx, dγ and dβ from x and dy.
    pub backward: Bound,
    /// The batch's statistics, as [`Plan::saved_bytes`](crate::Plan::saved_bytes) lays them out.
    pub saved: wgpu::Buffer,
    /// dγ after the backward pass: C values f32.
    pub dgamma: wgpu::Buffer,
    /// dβ after the backward pass: C values f32.
    pub dbeta: wgpu::Buffer,
}
