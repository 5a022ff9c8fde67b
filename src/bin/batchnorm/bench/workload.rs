//! A layer on the device: its buffers, made once, and its operations bound to them.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::{Bindings, Bound, Descriptor, Error, Float, Gpu, GpuError, Gradients, Kernels, Plan, wgpu};

use super::clock::Work;
use super::op::Op;
use super::variant::Variant;

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
    valid: Option<wgpu::Buffer>,
    residual: Option<wgpu::Buffer>,
    dresidual: Option<wgpu::Buffer>,
    signs: Option<wgpu::Buffer>,
}

/// An operation ready to be timed.
pub struct Ready {
    pub work: Work,
    /// Bytes that the plans say they read and write.
    pub plan_bytes: u64,
}

impl<'a> Workload<'a> {
    /// Buffers for a descriptor of this variant, with numbers in them that no driver has it easy with.
    pub fn new(gpu: &'a Gpu, descriptor: &'a Descriptor, variant: Variant) -> Result<Self, GpuError> {
        let channels = descriptor.channels();
        let values = descriptor.shape().iter().product::<usize>() as u64;
        let tensor = || upload(gpu, variant.float(), values);
        let empty = || gpu.empty(variant.float().bytes() * values);
        let adds = variant == Variant::AddRelu;
        let mask = || -> Vec<u8> {
            // Three quarters of what is spread evenly over −1 to 1.
            noise(descriptor.values_per_channel() as u64).map(|value| u8::from(value > -0.5)).collect()
        };
        let constant = |value: f32| gpu.upload(&vec![value; channels]);
        // First what takes no memory of the host's: what the device refuses is never made up there.
        let (y, dx) = (empty()?, empty()?);
        Ok(Self {
            gpu,
            descriptor,
            x: tensor()?,
            y,
            dy: tensor()?,
            dx,
            gamma: constant(1.5)?,
            beta: constant(0.5)?,
            running_mean: constant(0.0)?,
            running_variance: constant(1.0)?,
            // Means, inverse standard deviations, variances.
            saved: gpu.upload(&[0.0_f32, 1.0, 1.0, 1.0].map(|value| vec![value; channels]).concat())?,
            dgamma: constant(0.0)?,
            dbeta: constant(0.0)?,
            valid: (variant == Variant::Mask).then(|| gpu.upload(&mask())).transpose()?,
            residual: adds.then(tensor).transpose()?,
            dresidual: adds.then(empty).transpose()?,
            signs: adds.then(|| gpu.empty(values.div_ceil(32) * 4)).transpose()?,
        })
    }

    /// Plans an operation and binds it.
    pub fn ready(&self, op: Op) -> Result<Ready, Error> {
        self.ready_by(&self.gpu.kernels, op)
    }

    /// The same by these kernels of the device, which may choose otherwise.
    pub fn ready_by(&self, kernels: &Kernels, op: Op) -> Result<Ready, Error> {
        let operations = match op {
            Op::Infer => vec![Operation::Inference],
            Op::TrainFwd => vec![Operation::Forward],
            Op::Bwd => vec![Operation::Backward(Gradients::ALL)],
            Op::FrozenBwd => vec![Operation::FrozenBackward(Gradients::ALL)],
            Op::Train => vec![Operation::Forward, Operation::Backward(Gradients::ALL)],
        };
        let plans = operations.into_iter().map(|operation| kernels.plan(self.descriptor, operation));
        let plans = plans.collect::<Result<Vec<_>, _>>()?;
        let bound = plans.iter().map(|plan| self.bind(plan)).collect::<Result<Vec<_>, _>>()?;
        let plan_bytes = plans.iter().map(|plan| plan.bytes_read() + plan.bytes_written()).sum();
        let record = move |pass: &mut wgpu::ComputePass<'_>| bound.iter().for_each(|bound| bound.record(pass));
        Ok(Ready { work: Work::Pass(Box::new(record)), plan_bytes })
    }

    /// Binds a plan to what it takes, and to scratch of its own.
    fn bind(&self, plan: &Plan) -> Result<Bound, Error> {
        let scratch = self.gpu.empty(plan.scratch_bytes().max(4))?;
        let all = Bindings::new()
            .x(&self.x)
            .y(&self.y)
            .dy(&self.dy)
            .dx(&self.dx)
            .gamma(&self.gamma)
            .beta(&self.beta)
            .running_mean(&self.running_mean)
            .running_variance(&self.running_variance)
            .saved(&self.saved)
            .dgamma(&self.dgamma)
            .dbeta(&self.dbeta)
            .valid(self.valid.as_ref())
            .residual(self.residual.as_ref())
            .dresidual(self.dresidual.as_ref())
            .signs(self.signs.as_ref())
            .scratch(&scratch);
        Ok(plan.bind(&all.taken_by(plan))?)
    }
}

/// A tensor of this type, with noise in it.
fn upload(gpu: &Gpu, float: Float, values: u64) -> Result<wgpu::Buffer, GpuError> {
    let halves = |bits: fn(f32) -> u16| gpu.upload(&collected(gpu, values, bits)?);
    match float {
        Float::F32 => gpu.upload(&collected(gpu, values, |value| value)?),
        Float::F16 => halves(|value| half::f16::from_f32(value).to_bits()),
        Float::Bf16 => halves(|value| half::bf16::from_f32(value).to_bits()),
    }
}

/// Noise in the host's memory, if it has room for so much.
fn collected<T>(gpu: &Gpu, values: u64, of: impl Fn(f32) -> T) -> Result<Vec<T>, GpuError> {
    let no_room = |message: String| GpuError::NoBuffer {
        adapter: gpu.name(),
        bytes: values.saturating_mul(size_of::<T>() as u64),
        message: format!("the host has no room for its contents: {message}"),
    };
    let mut all = Vec::new();
    let count = usize::try_from(values).map_err(|error| no_room(error.to_string()))?;
    all.try_reserve_exact(count).map_err(|error| no_room(error.to_string()))?;
    all.extend(noise(values).map(of));
    Ok(all)
}

/// Numbers spread evenly over −1 to 1, the same every time: multiples of the golden ratio, of which the
/// whole part is dropped (Weyl's sequence).
pub fn noise(values: u64) -> impl Iterator<Item = f32> {
    const GOLDEN: u32 = 0x9e37_79b9;
    (0..values).map(|i| (i as u32).wrapping_mul(GOLDEN) as i32 as f32 / i32::MIN as f32)
}

#[cfg(test)]
mod tests {
    use wgpu_batchnorm::{Error, Layout, PlanError};

    use super::*;
    use crate::bench::layers::Layer;

    #[test]
    fn every_operation_has_the_buffers_it_takes() {
        let shapes = [[2, 3, 4, 5], [64, 48, 1, 1], [3, 5, 7, 1]];
        let made: Result<(), Error> = pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await?;
                for (shape, variant) in shapes.iter().flat_map(|shape| Variant::ALL.map(|variant| (*shape, variant))) {
                    let descriptor = variant.of(Descriptor::new(shape, Layout::ChannelsFirst));
                    let workload = Workload::new(&gpu, &descriptor, variant)?;
                    for op in Op::ALL {
                        match workload.ready(op) {
                            Ok(_) | Err(Error::Plan(PlanError::Limit { .. })) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
            Ok(())
        });
        assert_eq!(made, Ok(()));
    }

    /// What `streamed_bytes` says is the least that plans which stream move, and all but a few per cent of it.
    #[test]
    fn plans_that_stream_move_what_is_said() {
        let layer = Layer { shape: vec![8, 4, 128, 128], count: 1 };
        pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await?;
                for variant in Variant::ALL {
                    let descriptor = variant.of(layer.descriptor(Layout::ChannelsFirst));
                    let workload = Workload::new(&gpu, &descriptor, variant)?;
                    for op in Op::ALL {
                        let said = op.streamed_bytes(variant, &layer);
                        let plans = match workload.ready(op) {
                            Ok(ready) => ready.plan_bytes,
                            Err(Error::Plan(PlanError::Limit { .. })) => continue,
                            Err(error) => return Err(error),
                        };
                        assert!((said..said + said / 20).contains(&plans), "{variant:?} {op:?}: {plans}, said {said}");
                    }
                }
            }
            Ok::<(), Error>(())
        })
        .unwrap();
    }
}
