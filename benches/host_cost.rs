//! What the library costs on the CPU: making a plan whose kernels are compiled, binding it, recording
//! it, the last beside the same dispatches recorded through wgpu by hand.
//!
//! Runs on wgpu's noop device, which does all of wgpu's own work and no driver's. `ADAPTER=name` takes
//! a real one. None of the dispatches is submitted.
//!
//! ```sh
//! cargo bench --features gpu --bench host_cost
//! ```

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgpu_batchnorm::wgpu::{self, BufferBinding};
use wgpu_batchnorm::{Descriptor, Extras, ForwardBindings, Gpu, InferenceBindings, Kernels, Layout, RunningBindings};

/// A layer in the middle of ResNet-50.
const SHAPE: [usize; 4] = [4, 256, 14, 14];

/// Recordings in one pass, so that the pass's own cost is spread thin.
const RECORDINGS: u64 = 100;

/// The kernels, and the queue that a device does not work without.
fn open() -> (Kernels, wgpu::Queue) {
    if let Ok(name) = std::env::var("ADAPTER") {
        let gpu = pollster::block_on(Gpu::named(&name)).expect("ADAPTER names an adapter");
        return (gpu.kernels, gpu.queue);
    }
    let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
    (Kernels::new(&device), queue)
}

/// One buffer for each binding.
struct Buffers {
    x: wgpu::Buffer,
    y: wgpu::Buffer,
    scratch: wgpu::Buffer,
    /// γ, β, running mean, running variance, saved: room for 4C values each.
    channel: [wgpu::Buffer; 5],
}

impl Buffers {
    fn new(device: &wgpu::Device) -> Self {
        let buffer = |size| {
            let usage = wgpu::BufferUsages::STORAGE;
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let x = 4 * SHAPE.iter().product::<usize>() as u64;
        let channel = 16 * SHAPE[1] as u64;
        Self { x: buffer(x), y: buffer(x), scratch: buffer(x), channel: std::array::from_fn(|_| buffer(channel)) }
    }

    fn running(&self) -> RunningBindings<'_> {
        RunningBindings { mean: all(&self.channel[2]), variance: all(&self.channel[3]) }
    }

    fn inference(&self) -> InferenceBindings<'_> {
        InferenceBindings {
            x: all(&self.x),
            y: all(&self.y),
            gamma: Some(all(&self.channel[0])),
            beta: Some(all(&self.channel[1])),
            running: self.running(),
            extras: Extras::default(),
        }
    }

    fn forward(&self) -> ForwardBindings<'_> {
        ForwardBindings {
            x: all(&self.x),
            y: all(&self.y),
            gamma: Some(all(&self.channel[0])),
            beta: Some(all(&self.channel[1])),
            running: Some(self.running()),
            counter: None,
            saved: all(&self.channel[4]),
            scratch: Some(all(&self.scratch)),
            extras: Extras::default(),
        }
    }
}

fn all(buffer: &wgpu::Buffer) -> BufferBinding<'_> {
    buffer.as_entire_buffer_binding()
}

/// A compute pass with what `record` puts into it, as far as a finished command buffer.
fn pass(device: &wgpu::Device, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> wgpu::CommandBuffer {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    encoder.finish()
}

/// A kernel of the caller's own that takes as many bindings as inference does.
fn plain(device: &wgpu::Device, buffers: &Buffers) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
    let Buffers { x, y, channel, .. } = buffers;
    let bound = [x, y, &channel[0], &channel[1], &channel[2], &channel[3], &channel[4]];
    let declare = |i: usize| {
        let access = if i == 1 { "read_write" } else { "read" };
        format!("@group(0) @binding({i}) var<storage, {access}> b{i}: array<f32>;\n")
    };
    let wgsl = (0..bound.len()).map(declare).collect::<String>()
        + "@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) i: vec3<u32>) {
               b1[i.x] = b0[i.x] + b2[i.x] + b3[i.x] + b4[i.x] + b5[i.x] + b6[i.x];
           }";
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let entries: Vec<_> = (0..).zip(bound).map(|(binding, b)| entry(binding, b)).collect();
    let layout = pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    (pipeline, group)
}

fn entry(binding: u32, buffer: &wgpu::Buffer) -> wgpu::BindGroupEntry<'_> {
    wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }
}

fn host_cost(criterion: &mut Criterion) {
    planning_and_binding(criterion);
    recording(criterion);
}

fn planning_and_binding(criterion: &mut Criterion) {
    let (kernels, _queue) = open();
    let buffers = Buffers::new(kernels.device());
    let descriptor = Descriptor::new(SHAPE, Layout::ChannelsFirst);
    let inference = kernels.inference(&descriptor).expect("plans");
    let forward = kernels.forward(&descriptor).expect("plans");
    println!("device: {}", wgpu_batchnorm::gpu::describe(&kernels.device().adapter_info()));

    let mut group = criterion.benchmark_group("plan");
    group.bench_function("inference", |b| b.iter(|| kernels.inference(&descriptor)));
    group.bench_function("training forward", |b| b.iter(|| kernels.forward(&descriptor)));
    group.finish();

    let mut group = criterion.benchmark_group("bind");
    group.bench_function("inference", |b| b.iter(|| inference.bind(&buffers.inference())));
    group.bench_function("training forward", |b| b.iter(|| forward.bind(&buffers.forward())));
    group.finish();
}

/// On a device of its own: what a pass costs in wgpu grows with the number of buffers that its device
/// ever had at once, and planning has just made very many.
fn recording(criterion: &mut Criterion) {
    let (kernels, _queue) = open();
    let device = kernels.device();
    let buffers = Buffers::new(device);
    let inference = kernels.inference(&Descriptor::new(SHAPE, Layout::ChannelsFirst)).expect("plans");
    let bound = inference.bind(&buffers.inference()).expect("binds");
    let (pipeline, bind_group) = plain(device, &buffers);

    // Inference is one dispatch; time and rate are those of RECORDINGS of them in a pass.
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RECORDINGS));
    group.bench_function("inference", |b| {
        b.iter(|| pass(device, |pass| (0..RECORDINGS).for_each(|_| bound.record(pass))));
    });
    group.bench_function("by hand", |b| {
        let by_hand = |pass: &mut wgpu::ComputePass<'_>| {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(4, 1, 1);
        };
        b.iter(|| pass(device, |pass| (0..RECORDINGS).for_each(|_| by_hand(pass))));
    });
    group.finish();
}

criterion_group!(benches, host_cost);
criterion_main!(benches);
