//! `BatchNorm`, the layer: parameters and running statistics on the device, training and inference
//! apart.

use std::num::NonZeroU64;

use wgpu::{BufferBinding, BufferUsages};

use crate::buffer;
use crate::descriptor::{Descriptor, Gradients, Layout, Running};
use crate::error::{Error, PlanError};
use crate::kernels::Kernels;
use crate::operations::{
    BackwardBindings, ForwardBindings, FrozenBackwardBindings, InferenceBindings, RunningBindings,
};
use crate::plan::Bound;

const USAGE: BufferUsages = BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// A batch-normalization layer, by default PyTorch's `BatchNorm1d`/`2d`/`3d` after construction: γ = 1,
/// β = 0, running mean 0, running variance 1, no batches counted, ε = 1e-5, momentum 0.1, unbiased
/// running variance.
///
/// A clone is the same layer: it shares the buffers. They are public, to be read, written and handed to an optimiser on the GPU; all have `STORAGE`,
/// `COPY_SRC` and `COPY_DST`.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// γ: C values f32.
    pub gamma: wgpu::Buffer,
    /// β: C values f32.
    pub beta: wgpu::Buffer,
    /// Running mean: C values f32.
    pub running_mean: wgpu::Buffer,
    /// Running variance: C values f32.
    pub running_variance: wgpu::Buffer,
    /// Batches that the running statistics have seen: one `u32`.
    pub batches: wgpu::Buffer,
    kernels: Kernels,
    pub(crate) channels: usize,
    layout: Layout,
    epsilon: f32,
    running: Running,
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
        let (needs, has) = ((channels as u64).saturating_mul(4), kernels.capabilities().binding_bytes);
        if needs > has {
            let (what, limit) = ("a layer's γ", "max_storage_buffer_binding_size");
            return Err(PlanError::Limit { what, needs, limit, has });
        }
        let filled = |what, contents: &[u8]| {
            buffer::filled(kernels.device(), what, USAGE, contents).map_err(|message| PlanError::Buffer {
                what,
                bytes: needs,
                message,
            })
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
            layout: Layout::ChannelsFirst,
            epsilon: 1e-5,
            running: Running { counts_batches: true, ..Running::default() },
        })
    }

    /// The same layer for another layout of x.
    pub fn layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// The same layer with another ε.
    pub fn epsilon(self, epsilon: f32) -> Self {
        Self { epsilon, ..self }
    }

    /// The same layer with another rule for the running statistics. Batches are always counted.
    pub fn running(self, running: Running) -> Self {
        Self { running: Running { counts_batches: true, ..running }, ..self }
    }

    /// The descriptor for x of this shape.
    pub fn descriptor(&self, shape: &[usize]) -> Descriptor {
        Descriptor::new(shape, self.layout).epsilon(self.epsilon).running(self.running)
    }

    /// Binds inference: y from the running statistics, which stay as they are.
    ///
    /// # Errors
    /// As [`Kernels::inference`] and [`Inference::bind`](crate::Inference::bind); a shape with another
    /// number of channels than the layer is a [`BindError::Size`](crate::BindError::Size) of γ.
    pub fn inference(&self, shape: &[usize], x: BufferBinding<'_>, y: BufferBinding<'_>) -> Result<Bound, Error> {
        let plan = self.kernels.inference(&self.descriptor(shape))?;
        Ok(plan.bind(&InferenceBindings {
            x,
            y,
            gamma: Some(self.parameter(&self.gamma)),
            beta: Some(self.parameter(&self.beta)),
            running: self.running_bindings(),
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
        let descriptor = self.descriptor(shape);
        let forward = self.kernels.forward(&descriptor)?;
        let backward = self.kernels.backward(&descriptor, Gradients::ALL)?;
        let saved = self.buffer("batchnorm saved", forward.saved_bytes())?;
        let scratch = self.buffer("batchnorm scratch", forward.scratch_bytes().max(backward.scratch_bytes()))?;
        let (dgamma, dbeta) = (self.gradient("batchnorm dgamma")?, self.gradient("batchnorm dbeta")?);
        let forward = forward.bind(&ForwardBindings {
            x: x.clone(),
            y,
            gamma: Some(self.parameter(&self.gamma)),
            beta: Some(self.parameter(&self.beta)),
            running: Some(self.running_bindings()),
            counter: Some(self.batches.as_entire_buffer_binding()),
            saved: saved.as_entire_buffer_binding(),
            scratch: Some(scratch.as_entire_buffer_binding()),
        })?;
        let backward = backward.bind(&BackwardBindings {
            x,
            dy,
            gamma: Some(self.parameter(&self.gamma)),
            saved: saved.as_entire_buffer_binding(),
            dx: Some(dx),
            dgamma: Some(dgamma.as_entire_buffer_binding()),
            dbeta: Some(dbeta.as_entire_buffer_binding()),
            scratch: Some(scratch.as_entire_buffer_binding()),
        })?;
        Ok(Training { forward, backward, saved, dgamma, dbeta })
    }

    /// Binds the backward pass of inference, for a network trained through this layer while it is
    /// frozen: dx alone, from dy.
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
            gamma: Some(self.parameter(&self.gamma)),
            running: self.running_bindings(),
            dx: Some(dx),
            dgamma: None,
            dbeta: None,
            scratch: None,
        })?)
    }

    /// With its size, so that a shape of other channels is refused.
    fn parameter<'a>(&self, buffer: &'a wgpu::Buffer) -> BufferBinding<'a> {
        BufferBinding { buffer, offset: 0, size: NonZeroU64::new(4 * self.channels as u64) }
    }

    fn running_bindings(&self) -> RunningBindings<'_> {
        let (mean, variance) = (self.parameter(&self.running_mean), self.parameter(&self.running_variance));
        RunningBindings { mean, variance }
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

/// A training step bound to buffers. Record [`forward`](Self::forward), whatever computes dy, then
/// [`backward`](Self::backward).
#[derive(Debug)]
pub struct Training {
    /// y from x; moves the running statistics and counts the batch.
    pub forward: Bound,
    /// dx, dγ and dβ from x and dy.
    pub backward: Bound,
    /// The batch's statistics: C means, then C inverse standard deviations, then C (biased) variances.
    pub saved: wgpu::Buffer,
    /// dγ after the backward pass: C values f32.
    pub dgamma: wgpu::Buffer,
    /// dβ after the backward pass: C values f32.
    pub dbeta: wgpu::Buffer,
}
