//! A layer on the device: its buffers, made once, and its operations bound to them.

use wgpu_batchnorm::{
    BackwardBindings, Bound, Descriptor, Error, Extras, ForwardBindings, FrozenBackwardBindings, Gpu, GpuError,
    Gradients, InferenceBindings, Plan, RunningBindings, wgpu,
};

use super::clock::Work;
use super::op::Op;

/// The buffers that operations on one shape take.
pub struct Workload<'a> {
    gpu: &'a Gpu,
    descriptor: &'a Descriptor,
    x: wgpu::Buffer,
    y: wgpu::Buffer,
    dy: wgpu::Buffer,
    dx: wgpu::Buffer,
    gamma: wgpu::Buffer,
    beta: wgpu::Buffer,
    running_mean: wgpu::Buffer,
    running_variance: wgpu::Buffer,
    saved: wgpu::Buffer,
    dgamma: wgpu::Buffer,
    dbeta: wgpu::Buffer,
}

/// An operation ready to be timed.
pub struct Ready {
    pub work: Work,
    /// Bytes that the plans say they read and write.
    pub plan_bytes: u64,
}

impl<'a> Workload<'a> {
    /// Buffers for x of this many values, with numbers in them that no driver has it easy with.
    pub fn new(gpu: &'a Gpu, descriptor: &'a Descriptor) -> Result<Self, GpuError> {
        let channels = descriptor.channels();
        let values = descriptor.shape().iter().product::<usize>() as u64;
        let data: Vec<f32> = noise(values).collect();
        let constant = |value: f32| gpu.upload(&vec![value; channels]);
        Ok(Self {
            gpu,
            descriptor,
            x: gpu.upload(&data)?,
            y: gpu.empty(4 * values)?,
            dy: gpu.upload(&data)?,
            dx: gpu.empty(4 * values)?,
            gamma: constant(1.5)?,
            beta: constant(0.5)?,
            running_mean: constant(0.0)?,
            running_variance: constant(1.0)?,
            // Means, inverse standard deviations, variances.
            saved: gpu.upload(&[0.0_f32, 1.0, 1.0, 1.0].map(|value| vec![value; channels]).concat())?,
            dgamma: constant(0.0)?,
            dbeta: constant(0.0)?,
        })
    }

    /// Plans an operation and binds it.
    pub fn ready(&self, op: Op) -> Result<Ready, Error> {
        let parts = match op {
            Op::Infer => vec![self.inference()?],
            Op::TrainFwd => vec![self.forward()?],
            Op::Bwd => vec![self.backward()?],
            Op::FrozenBwd => vec![self.frozen_backward()?],
            Op::Train => vec![self.forward()?, self.backward()?],
        };
        let plan_bytes = parts.iter().map(|(_, bytes)| bytes).sum();
        let record = move |pass: &mut wgpu::ComputePass<'_>| parts.iter().for_each(|(bound, _)| bound.record(pass));
        Ok(Ready { work: Work::Pass(Box::new(record)), plan_bytes })
    }

    fn inference(&self) -> Result<(Bound, u64), Error> {
        let plan = self.gpu.kernels.inference(self.descriptor)?;
        let bound = plan.bind(&InferenceBindings {
            x: self.x.as_entire_buffer_binding(),
            y: self.y.as_entire_buffer_binding(),
            gamma: Some(self.gamma.as_entire_buffer_binding()),
            beta: Some(self.beta.as_entire_buffer_binding()),
            running: self.running(),
            extras: Extras::default(),
        })?;
        Ok((bound, traffic(&plan)))
    }

    fn forward(&self) -> Result<(Bound, u64), Error> {
        let plan = self.gpu.kernels.forward(self.descriptor)?;
        let scratch = self.scratch(&plan)?;
        let bound = plan.bind(&ForwardBindings {
            x: self.x.as_entire_buffer_binding(),
            y: self.y.as_entire_buffer_binding(),
            gamma: Some(self.gamma.as_entire_buffer_binding()),
            beta: Some(self.beta.as_entire_buffer_binding()),
            running: Some(self.running()),
            counter: None,
            saved: self.saved.as_entire_buffer_binding(),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras::default(),
        })?;
        Ok((bound, traffic(&plan)))
    }

    fn backward(&self) -> Result<(Bound, u64), Error> {
        let plan = self.gpu.kernels.backward(self.descriptor, Gradients::ALL)?;
        let scratch = self.scratch(&plan)?;
        let bound = plan.bind(&BackwardBindings {
            x: self.x.as_entire_buffer_binding(),
            dy: self.dy.as_entire_buffer_binding(),
            gamma: Some(self.gamma.as_entire_buffer_binding()),
            saved: self.saved.as_entire_buffer_binding(),
            dx: Some(self.dx.as_entire_buffer_binding()),
            dgamma: Some(self.dgamma.as_entire_buffer_binding()),
            dbeta: Some(self.dbeta.as_entire_buffer_binding()),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras::default(),
        })?;
        Ok((bound, traffic(&plan)))
    }

    fn frozen_backward(&self) -> Result<(Bound, u64), Error> {
        let plan = self.gpu.kernels.frozen_backward(self.descriptor, Gradients::ALL)?;
        let scratch = self.scratch(&plan)?;
        let bound = plan.bind(&FrozenBackwardBindings {
            x: Some(self.x.as_entire_buffer_binding()),
            dy: self.dy.as_entire_buffer_binding(),
            gamma: Some(self.gamma.as_entire_buffer_binding()),
            running: self.running(),
            dx: Some(self.dx.as_entire_buffer_binding()),
            dgamma: Some(self.dgamma.as_entire_buffer_binding()),
            dbeta: Some(self.dbeta.as_entire_buffer_binding()),
            scratch: Some(scratch.as_entire_buffer_binding()),
            extras: Extras::default(),
        })?;
        Ok((bound, traffic(&plan)))
    }

    fn running(&self) -> RunningBindings<'_> {
        RunningBindings {
            mean: self.running_mean.as_entire_buffer_binding(),
            variance: self.running_variance.as_entire_buffer_binding(),
        }
    }

    /// Each plan's own; a plan without scratch passes it over.
    fn scratch(&self, plan: &Plan) -> Result<wgpu::Buffer, GpuError> {
        self.gpu.empty(plan.scratch_bytes().max(4))
    }
}

fn traffic(plan: &Plan) -> u64 {
    plan.bytes_read() + plan.bytes_written()
}

/// Numbers spread evenly over −1 to 1, the same every time: multiples of the golden ratio, of which the
/// whole part is dropped (Weyl's sequence).
pub fn noise(values: u64) -> impl Iterator<Item = f32> {
    const GOLDEN: u32 = 0x9e37_79b9;
    (0..values).map(|i| (i as u32).wrapping_mul(GOLDEN) as i32 as f32 / i32::MIN as f32)
}

#[cfg(test)]
mod tests {
    use wgpu_batchnorm::{Error, Layout};

    use super::*;

    #[test]
    fn every_operation_has_the_buffers_it_takes() {
        let made: Result<(), Error> = pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await?;
                for shape in [[2, 3, 4, 5], [64, 48, 1, 1]] {
                    let descriptor = Descriptor::new(shape, Layout::ChannelsFirst);
                    let workload = Workload::new(&gpu, &descriptor)?;
                    Op::ALL.into_iter().try_for_each(|op| workload.ready(op).map(|_| ()))?;
                }
            }
            Ok(())
        });
        assert_eq!(made, Ok(()));
    }
}
