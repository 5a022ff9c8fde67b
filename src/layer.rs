//! `BatchNorm`, the layer: parameters and running statistics on the device, training and inference
//! apart.

use std::num::NonZeroU64;

use wgpu::{BufferBinding, BufferUsages};

use crate::buffer;
use crate::descriptor::{Descriptor, Gradients, Kept, Layout, Running, Types};
use crate::error::{Error, PlanError};
use crate::kernels::Kernels;
use crate::operations::{
    BackwardBindings, Extras, Forward, ForwardBindings, FrozenBackwardBindings, InferenceBindings, RunningBindings,
};
use crate::plan::Bound;
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

    /// Binds inference: y from the running statistics, which stay as they are.
    ///
    /// # Errors
    /// As [`Kernels::inference`] and [`Inference::bind`](crate::Inference::bind); a shape with another
    /// number of channels than the layer is a [`BindError::Size`](crate::BindError::Size) of γ.
    pub fn inference(&self, shape: &[usize], x: BufferBinding<'_>, y: BufferBinding<'_>) -> Result<Bound, Error> {
        self.inference_with(shape, x, y, Extras::default())
    }

    /// The same with what comes with options: the residual, and, of a layer without running statistics, a mask and a
    /// health counter.
    ///
    /// # Errors
    /// As [`inference`](Self::inference).
    pub fn inference_with(
        &self,
        shape: &[usize],
        x: BufferBinding<'_>,
        y: BufferBinding<'_>,
        extras: Extras<'_>,
    ) -> Result<Bound, Error> {
        let descriptor = self.descriptor(shape);
        let [gamma, beta] = self.affine();
        if descriptor.running.is_some() {
            let plan = self.kernels.inference(&descriptor)?;
            let running = self.running_bindings();
            let scratch = match plan.scratch_bytes() {
                0 => None,
                bytes => Some(self.buffer("batchnorm scratch", bytes)?),
            };
            let scratch = scratch.as_ref().map(wgpu::Buffer::as_entire_buffer_binding);
            return Ok(plan.bind(&InferenceBindings { x, y, gamma, beta, running, scratch, extras })?);
        }
        let plan = self.kernels.forward(&descriptor)?;
        let [saved, scratch, signs] = self.workspace(&plan, 0)?;
        Ok(plan.bind(&ForwardBindings {
            x,
            y,
            gamma,
            beta,
            running: None,
            counter: None,
            saved: saved.as_entire_buffer_binding(),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras { signs: signs_of(&plan, &signs), ..extras },
        })?)
    }

    /// Binds a training step on x of this shape: [`Training::forward`] and [`Training::backward`], with
    /// buffers of their own for what passes between them and for the gradients of γ and β.
    ///
    /// # Errors
    /// As [`Kernels::forward`], [`Kernels::backward`] and their `bind`.
    pub fn training(
        &self,
        shape: &[usize],
        x: BufferBinding<'_>,
        y: BufferBinding<'_>,
        dy: BufferBinding<'_>,
        dx: BufferBinding<'_>,
    ) -> Result<Training, Error> {
        self.training_with(shape, x, y, dy, dx, Extras::default())
    }

    /// The same with what comes with options: a mask, the residual and its gradient, a health counter. (β and the
    /// bits that pass from forward to backward are the layer's own.)
    ///
    /// # Errors
    /// As [`training`](Self::training).
    pub fn training_with(
        &self,
        shape: &[usize],
        x: BufferBinding<'_>,
        y: BufferBinding<'_>,
        dy: BufferBinding<'_>,
        dx: BufferBinding<'_>,
        extras: Extras<'_>,
    ) -> Result<Training, Error> {
        let descriptor = self.descriptor(shape);
        let forward = self.kernels.forward(&descriptor)?;
        let backward = self.kernels.backward(&descriptor, Gradients::ALL)?;
        let [saved, scratch, signs] = self.workspace(&forward, backward.scratch_bytes())?;
        let (dgamma, dbeta) = (self.gradient("batchnorm dgamma")?, self.gradient("batchnorm dbeta")?);
        let [gamma, beta] = self.affine();
        let Extras { valid, residual, dresidual, health, .. } = extras;
        let signs = signs_of(&forward, &signs);
        let source = if descriptor.from_y { y.clone() } else { x.clone() };
        let kept_residual = residual.clone().filter(|_| forward.kept() == Kept::Residual);
        let forward = forward.bind(&ForwardBindings {
            x,
            y,
            gamma: gamma.clone(),
            beta: beta.clone(),
            running: descriptor.running.map(|_| self.running_bindings()),
            counter: descriptor.running.map(|_| self.batches.as_entire_buffer_binding()),
            saved: saved.as_entire_buffer_binding(),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras {
                valid: valid.clone(),
                residual,
                health: health.clone(),
                signs: signs.clone(),
                ..Extras::default()
            },
        })?;
        let backward = backward.bind(&BackwardBindings {
            x: source,
            dy,
            gamma,
            saved: saved.as_entire_buffer_binding(),
            dx: Some(dx),
            dgamma: Some(dgamma.as_entire_buffer_binding()),
            dbeta: Some(dbeta.as_entire_buffer_binding()),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras {
                valid,
                residual: kept_residual,
                dresidual,
                signs,
                health: health.filter(|_| descriptor.from_y),
                beta,
            },
        })?;
        Ok(Training { forward, backward, saved, dgamma, dbeta })
    }

    /// Binds the backward pass of inference, for a network trained through this layer while it is
    /// frozen: dx alone, from dy. Not for a layer with an activation, whose backward pass needs x too: see
    /// [`Kernels::frozen_backward`].
    ///
    /// # Errors
    /// As [`Kernels::frozen_backward`] and its `bind`.
    pub fn frozen_backward(
        &self,
        shape: &[usize],
        dy: BufferBinding<'_>,
        dx: BufferBinding<'_>,
    ) -> Result<Bound, Error> {
        let plan = self.kernels.frozen_backward(&self.descriptor(shape), Gradients::DX)?;
        Ok(plan.bind(&FrozenBackwardBindings {
            x: None,
            dy,
            gamma: self.affine()[0].clone(),
            running: self.running_bindings(),
            dx: Some(dx),
            dgamma: None,
            dbeta: None,
            scratch: None,
            extras: Extras::default(),
        })?)
    }

    /// γ and β, as far as the options have them.
    fn affine(&self) -> [Option<BufferBinding<'_>>; 2] {
        let Descriptor { gamma, beta, .. } = self.options;
        [gamma.then(|| self.parameter(&self.gamma)), beta.then(|| self.parameter(&self.beta))]
    }

    /// Saved statistics, scratch and the activation's signs.
    fn workspace(&self, forward: &Forward, scratch: u64) -> Result<[wgpu::Buffer; 3], PlanError> {
        Ok([
            self.buffer("batchnorm saved", forward.saved_bytes())?,
            self.buffer("batchnorm scratch", forward.scratch_bytes().max(scratch))?,
            self.buffer("batchnorm signs", forward.signs_bytes())?,
        ])
    }

    /// With its size, so that a shape of other channels is refused.
    fn parameter<'a>(&self, buffer: &'a wgpu::Buffer) -> BufferBinding<'a> {
        BufferBinding { buffer, offset: 0, size: NonZeroU64::new(4 * self.channels as u64) }
    }

    fn running_bindings(&self) -> RunningBindings<'_> {
        let whole = |buffer| BufferBinding { buffer, offset: 0, size: NonZeroU64::new(buffer.size()) };
        RunningBindings { mean: whole(&self.running_mean), variance: whole(&self.running_variance) }
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

/// The signs, where a plan has them.
fn signs_of<'a>(forward: &Forward, signs: &'a wgpu::Buffer) -> Option<BufferBinding<'a>> {
    (forward.kept() == Kept::Signs).then(|| signs.as_entire_buffer_binding())
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
