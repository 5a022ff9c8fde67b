//! Batch norm between two passes of a program that has its own device, encoder and allocator: all
//! tensors lie in one big buffer, and one submit runs everything.
//!
//! ```sh
//! cargo run --example embed --features gpu
//! ```
//!
//! (The feature `gpu` is only here to turn wgpu's backends on. A program that turns its own on needs
//! no feature of this crate.)

use std::error::Error;
use std::ops::Range;

use wgpu_batchnorm::wgpu::{self, BufferBinding, BufferSize, BufferUsages};
use wgpu_batchnorm::{Bindings, Descriptor, Kernels, Layout, reference};

/// `[N, H, W, C]`.
const SHAPE: [usize; 4] = [8, 16, 16, 32];
const VALUES: usize = SHAPE[0] * SHAPE[1] * SHAPE[2] * SHAPE[3];
const CHANNELS: usize = SHAPE[3];

/// The program's own kernels: one makes x, one takes y and leaves ReLU(y) in its place.
const OWN_KERNELS: &str = "
    @group(0) @binding(0) var<storage, read_write> values: array<f32>;

    @compute @workgroup_size(64)
    fn produce(@builtin(global_invocation_id) id: vec3<u32>) {
        values[id.x] = 3.0 + f32((id.x * 2654435761u) >> 16u) / 65536.0;
    }

    @compute @workgroup_size(64)
    fn relu(@builtin(global_invocation_id) id: vec3<u32>) {
        values[id.x] = max(values[id.x], 0.0);
    }
";

fn main() {
    if let Err(error) = pollster::block_on(run()) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // What such a program has anyway.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await?;
    let (device, queue) = adapter.request_device(&wgpu::DeviceDescriptor::default()).await?;

    // Once a device, and once a shape. The plan says what it needs before there is any buffer.
    let kernels = Kernels::new(&device);
    let descriptor = Descriptor::new(SHAPE, Layout::ChannelsLast);
    let plan = kernels.forward(&descriptor)?;
    println!("{}\n{plan}", adapter.get_info().name);

    // One big buffer. The program's allocator only has to keep to the alignment.
    let mut end = 0;
    let mut allocate = |bytes: u64| -> Range<u64> {
        let start = end;
        end = (start + bytes).next_multiple_of(kernels.alignment());
        start..start + bytes
    };
    let [x, y] = [(); 2].map(|()| allocate(4 * VALUES as u64));
    let [gamma, beta, mean, variance] = [(); 4].map(|()| allocate(4 * CHANNELS as u64));
    let saved = allocate(plan.saved_bytes());
    let scratch = allocate(plan.scratch_bytes());
    let arena = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("arena"),
        size: end,
        usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let at = |range: &Range<u64>| BufferBinding {
        buffer: &arena,
        offset: range.start,
        size: BufferSize::new(range.end - range.start),
    };
    for (range, value) in [(&gamma, 2.0), (&beta, 0.5), (&mean, 0.0), (&variance, 1.0_f32)] {
        queue.write_buffer(&arena, range.start, &value.to_le_bytes().repeat(CHANNELS));
    }

    // Bound once, recorded as often as wanted.
    let to = Bindings::new().x(at(&x)).y(at(&y)).gamma(at(&gamma)).beta(at(&beta)).running_mean(at(&mean));
    let norm = plan.bind(&to.running_variance(at(&variance)).saved(at(&saved)).scratch(at(&scratch)))?;
    let produce = OwnKernel::new(&device, "produce", at(&x));
    let relu = OwnKernel::new(&device, "relu", at(&y));

    // Three passes of the program, the second with the batch norm in it. One pass for all would do as
    // well: recording leaves nothing behind but a pipeline and bind group 0.
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let own_pass = wgpu::ComputePassDescriptor::default();
    produce.record(&mut encoder.begin_compute_pass(&own_pass));
    norm.record(&mut encoder.begin_compute_pass(&own_pass));
    relu.record(&mut encoder.begin_compute_pass(&own_pass));
    let result = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("result"),
        size: y.end - y.start,
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    encoder.copy_buffer_to_buffer(&arena, y.start, &result, 0, y.end - y.start);
    queue.submit([encoder.finish()]);

    result.map_async(wgpu::MapMode::Read, .., |_| {});
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let mapped = result.get_mapped_range(..)?;
    let got = mapped.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));

    // The same on the CPU, in f64.
    let x: Vec<f32> =
        (0..VALUES as u32).map(|i| 3.0 + (i.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0).collect();
    let (gamma, beta) = (Some(&[2.0; CHANNELS][..]), Some(&[0.5; CHANNELS][..]));
    let tensors = reference::Tensors { x: &x, gamma, beta, ..Default::default() };
    let expected = reference::forward(&descriptor, &tensors).y;
    let error = got.zip(expected).map(|(got, y)| (f64::from(got) - y.max(0.0)).abs()).fold(0.0, f64::max);
    println!("largest difference from the reference: {error:.1e}");
    // |y| stays below 4, where f32 steps by 2.4e-7: this is some 40 steps.
    if error < 1e-5 { Ok(()) } else { Err("batch norm is wrong on this adapter".into()) }
}

/// A kernel of the program, over one tensor.
struct OwnKernel {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
}

impl OwnKernel {
    fn new(device: &wgpu::Device, name: &str, values: BufferBinding<'_>) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl(OWN_KERNELS.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module: &module,
            entry_point: Some(name),
            compilation_options: Default::default(),
            cache: None,
        });
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(values) }],
        });
        Self { pipeline, bind_group }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(VALUES as u32 / 64, 1, 1);
    }
}
