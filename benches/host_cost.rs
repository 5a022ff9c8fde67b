//! What the library costs on the CPU: making a plan whose kernels are compiled, binding it, recording
//! it, the last beside the same dispatches recorded through wgpu by hand: of one layer, and of all layers of a network
//! in one pass.
//!
//! Runs on wgpu's noop device, which does all of wgpu's own work and no driver's. `ADAPTER=name` takes
//! a real one. None of the dispatches is submitted.
//!
//! ```sh
//! cargo bench --features gpu --bench host_cost
//! ```

#[path = "../tests/by_hand/mod.rs"]
mod by_hand;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use by_hand::{ByHand, zeros};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::shader::Slot;
use wgpu_batchnorm::wgpu;
use wgpu_batchnorm::{BatchNorm, Bindings, Descriptor, Gpu, Gradients, Kernels, Layout, Training};

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
        let buffer = |size| storage(device, size);
        let x = 4 * SHAPE.iter().product::<usize>() as u64;
        let channel = 16 * SHAPE[1] as u64;
        Self { x: buffer(x), y: buffer(x), scratch: buffer(x), channel: std::array::from_fn(|_| buffer(channel)) }
    }

    fn inference(&self) -> Bindings<'_> {
        let [gamma, beta, mean, variance, _] = &self.channel;
        Bindings::new().x(&self.x).y(&self.y).gamma(gamma).beta(beta).running_mean(mean).running_variance(variance)
    }

    fn forward(&self) -> Bindings<'_> {
        self.inference().saved(&self.channel[4]).scratch(&self.scratch)
    }
}

fn storage(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
}

/// A compute pass with what `record` puts into it, as far as a finished command buffer.
fn pass(device: &wgpu::Device, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> wgpu::CommandBuffer {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    record(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default()));
    encoder.finish()
}

fn host_cost(criterion: &mut Criterion) {
    planning_and_binding(criterion);
    recording(criterion);
    recording_a_network(criterion);
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
    let [dispatch] = &inference.recipe().dispatches[..] else { panic!("inference is one dispatch") };
    let by_hand = ByHand::new(device, dispatch, |slot| zeros(device, slot));

    // Inference is one dispatch; time and rate are those of RECORDINGS of them in a pass.
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RECORDINGS));
    group.bench_function("inference", |b| {
        b.iter(|| pass(device, |pass| (0..RECORDINGS).for_each(|_| bound.record(pass))));
    });
    group.bench_function("by hand", |b| {
        b.iter(|| pass(device, |pass| (0..RECORDINGS).for_each(|_| by_hand.record(pass))));
    });
    group.finish();
}

/// The 53 batch norms of ResNet-50 (He et al. 2015): channels and size of each.
fn resnet50() -> Vec<[usize; 2]> {
    let mut layers = vec![[64, 112]];
    let mut input = 56;
    for (stage, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        let (width, output) = (64 << stage, 56 >> stage);
        for block in 0..blocks {
            // The shortcut's own comes in the first block.
            layers.extend([[width, input], [width, output], [4 * width, output]]);
            layers.extend((block == 0).then_some([4 * width, output]));
            input = output;
        }
    }
    layers
}

/// A training step of a layer with its buffers, and the same dispatches by hand.
struct Layer {
    step: Training,
    by_hand: [Vec<ByHand>; 2],
}

impl Layer {
    fn new(kernels: &Kernels, [channels, size]: [usize; 2]) -> Self {
        let (device, shape) = (kernels.device(), [1, channels, size, size]);
        let [x, y, dy, dx] = [(); 4].map(|()| storage(device, 4 * shape.iter().product::<usize>() as u64));
        let layer = BatchNorm::new(kernels, channels).expect("a layer");
        let step = layer.training(&shape, &Bindings::new().x(&x).y(&y).dy(&dy).dx(&dx)).expect("binds");
        // Dispatches share buffers, as ours do.
        let mut known: HashMap<String, wgpu::Buffer> = HashMap::new();
        let mut buffer = |slot: &Slot| known.entry(slot.name.clone()).or_insert_with(|| zeros(device, slot)).clone();
        let by_hand = [Operation::Forward, Operation::Backward(Gradients::ALL)].map(|operation| {
            let recipe = kernels.recipe(&layer.descriptor(&shape), operation).expect("plans");
            recipe.dispatches.iter().map(|dispatch| ByHand::new(device, dispatch, &mut buffer)).collect()
        });
        Self { step, by_hand }
    }
}

/// A training step of every layer, forward and then backward, in one pass.
fn recording_a_network(criterion: &mut Criterion) {
    let (kernels, _queue) = open();
    let device = kernels.device();
    let layers: Vec<Layer> = resnet50().into_iter().map(|layer| Layer::new(&kernels, layer)).collect();
    let dispatches = layers.iter().flat_map(|layer| &layer.by_hand).map(Vec::len).sum::<usize>() as u32;
    let ours = |pass: &mut wgpu::ComputePass<'_>| {
        layers.iter().for_each(|layer| layer.step.forward.record(pass));
        layers.iter().rev().for_each(|layer| layer.step.backward.record(pass));
    };
    let by_hand = |pass: &mut wgpu::ComputePass<'_>| {
        layers.iter().flat_map(|layer| &layer.by_hand[0]).for_each(|dispatch| dispatch.record(pass));
        layers.iter().rev().flat_map(|layer| &layer.by_hand[1]).for_each(|dispatch| dispatch.record(pass));
    };

    let mut group = criterion.benchmark_group("record a step of ResNet-50");
    group.throughput(Throughput::Elements(u64::from(dispatches)));
    group.bench_function("layers", |b| b.iter(|| pass(device, ours)));
    group.bench_function("by hand", |b| b.iter(|| pass(device, by_hand)));
    group.finish();

    // By turns, the best of many, and without what wgpu does at the end of a pass.
    let mut best = [Duration::MAX; 2];
    for _ in 0..1_000 {
        best = [best[0].min(recorded(device, ours)), best[1].min(recorded(device, by_hand))];
    }
    let [ours, by_hand] = best.map(|time| time.as_secs_f64() * 1e9 / f64::from(dispatches));
    println!(
        "recording alone, {} layers, {dispatches} dispatches: {ours:.0} ns a dispatch, {by_hand:.0} ns by hand, \
         difference {:.0} ns",
        layers.len(),
        ours - by_hand
    );
}

/// How long recording alone takes.
fn recorded(device: &wgpu::Device, record: impl Fn(&mut wgpu::ComputePass<'_>)) -> Duration {
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    let start = Instant::now();
    record(&mut pass);
    start.elapsed()
}

criterion_group!(benches, host_cost);
criterion_main!(benches);
