//! `BatchNorm`, the layer: parameters and running statistics on the device, training and inference
//! apart.

use std::num::NonZeroU64;

use wgpu::{BufferBinding, BufferUsages};

use crate::bind::buffer_of;
use crate::descriptor::{Descriptor, Gradients, Layout, Running};
use crate::error::Error;
use crate::kernels::Kernels;
use crate::operations::{
    BackwardBindings, ForwardBindings, FrozenBackwardBindings, InferenceBindings, RunningBindings,
};
use crate::plan::Bound;

/// A batch-normalization layer, by default PyTorch's `BatchNorm1d`/`2d`/`3d` after construction: γ = 1,
/// β = 0, running mean 0, running variance 1, no batches counted, ε = 1e-5, momentum 0.1, unbiased
/// running variance.
///
/// The buffers are public, to be read, written and handed to an optimiser on the GPU; all have `STORAGE`,
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
    channels: usize,
    layout: Layout,
    epsilon: f32,
    running: Running,
}

impl BatchNorm {
    /// A layer over this many channels, the second axis of x.
    pub fn new(kernels: &Kernels, channels: usize) -> Self {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let filled = |label: &str, value: f32| {
            buffer_of(kernels.device(), label, usage, bytemuck::cast_slice(&vec![value; channels.max(1)]))
        };
        Self {
            gamma: filled("batchnorm gamma", 1.0),
            beta: filled("batchnorm beta", 0.0),
            running_mean: filled("batchnorm running mean", 0.0),
            running_variance: filled("batchnorm running variance", 1.0),
            batches: buffer_of(kernels.device(), "batchnorm batches", usage, &[0; 4]),
            kernels: kernels.clone(),
            channels,
            layout: Layout::ChannelsFirst,
            epsilon: 1e-5,
            running: Running { counts_batches: true, ..Running::default() },
        }
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
        let saved = self.buffer("batchnorm saved", forward.saved_bytes());
        let scratch = self.buffer("batchnorm scratch", forward.scratch_bytes().max(backward.scratch_bytes()));
        let (dgamma, dbeta) = (self.gradient("batchnorm dgamma"), self.gradient("batchnorm dbeta"));
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

    fn gradient(&self, label: &str) -> wgpu::Buffer {
        self.buffer(label, 4 * self.channels as u64)
    }

    fn buffer(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        self.kernels.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            // A plan without scratch ignores the buffer, but a buffer has to have a size.
            size: bytes.max(4),
            usage,
            mapped_at_creation: false,
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
    /// The batch's statistics: C means, then C inverse standard deviations.
    pub saved: wgpu::Buffer,
    /// dγ after the backward pass: C values f32.
    pub dgamma: wgpu::Buffer,
    /// dβ after the backward pass: C values f32.
    pub dbeta: wgpu::Buffer,
}
