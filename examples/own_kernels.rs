//! Batch norm without a pass of its own (Jung et al. 2019): the kernel that makes x gathers its statistics on
//! the way, and the kernel that takes y normalises x as it reads it. The library merges and finishes the
//! statistics in between, a few values a channel. Back likewise.
//!
//! ```sh
//! cargo run --example own_kernels --features gpu
//! ```

use std::error::Error;

use wgpu_batchnorm::wgpu::{self, Buffer, ComputePass, ComputePipeline, Device};
use wgpu_batchnorm::{Activation, Bindings, Descriptor, Gpu, Layout, reference};

/// N×C. Each invocation of the kernels below takes one channel of one part of the rows.
const ROWS: usize = 4096;
const CHANNELS: usize = 64;
const PARTS: usize = 16;

/// The program's own kernels. `produce` and `push_back` are the producers' ends: beside their own output they
/// leave what the library merges. `consume` and `pull_back` are the consumers' ends.
const OWN_KERNELS: &str = "
    const CHANNELS = 64u;
    const ROWS = 256u;     // of a part

    @group(0) @binding(0) var<storage, read_write> x: array<f32>;
    @group(0) @binding(1) var<storage, read_write> y: array<f32>;
    @group(0) @binding(2) var<storage, read_write> dy: array<f32>;
    @group(0) @binding(3) var<storage, read_write> dx: array<f32>;
    // Of each part three planes: counts, means, variances. Later two: sum(dy), sum(dy * xhat).
    @group(0) @binding(4) var<storage, read_write> of_parts: array<f32>;
    // From the library: y = x * scale + shift; dx = a * dy + b * x + c; means, inverse deviations, ...
    @group(0) @binding(5) var<storage, read_write> scale_and_shift: array<f32>;
    @group(0) @binding(6) var<storage, read_write> coefficients: array<f32>;
    @group(0) @binding(7) var<storage, read_write> saved: array<f32>;

    fn random(i: u32) -> f32 { return f32((i * 2654435761u) >> 16u) / 65536.0; }

    @compute @workgroup_size(CHANNELS)
    fn produce(@builtin(workgroup_id) part: vec3<u32>, @builtin(local_invocation_index) channel: u32) {
        var count = 0.0;
        var mean = 0.0;
        var squares = 0.0;
        for (var row = part.x * ROWS; row < (part.x + 1u) * ROWS; row++) {
            let at = row * CHANNELS + channel;
            let value = 100.0 + random(at);       // whatever the kernel is there for
            x[at] = value;
            count += 1.0;
            let delta = value - mean;             // Welford 1962
            mean += delta / count;
            squares += delta * (value - mean);
        }
        let to = 3u * part.x * CHANNELS + channel;
        of_parts[to] = count;
        of_parts[to + CHANNELS] = mean;
        of_parts[to + 2u * CHANNELS] = squares / count;
    }

    @compute @workgroup_size(CHANNELS)
    fn consume(@builtin(workgroup_id) part: vec3<u32>, @builtin(local_invocation_index) channel: u32) {
        for (var row = part.x * ROWS; row < (part.x + 1u) * ROWS; row++) {
            let at = row * CHANNELS + channel;
            let normalized = x[at] * scale_and_shift[channel] + scale_and_shift[CHANNELS + channel];
            y[at] = max(normalized, 0.0);         // whatever the kernel is there for
        }
    }

    @compute @workgroup_size(CHANNELS)
    fn push_back(@builtin(workgroup_id) part: vec3<u32>, @builtin(local_invocation_index) channel: u32) {
        let mean = saved[channel];
        let inverse_deviation = saved[CHANNELS + channel];
        var of_beta = 0.0;
        var of_gamma = 0.0;
        for (var row = part.x * ROWS; row < (part.x + 1u) * ROWS; row++) {
            let at = row * CHANNELS + channel;
            dy[at] = select(0.0, random(at + 12345u), y[at] > 0.0);   // of ReLU, from some loss
            of_beta += dy[at];
            of_gamma += dy[at] * (x[at] - mean) * inverse_deviation;
        }
        let to = 2u * part.x * CHANNELS + channel;
        of_parts[to] = of_beta;
        of_parts[to + CHANNELS] = of_gamma;
    }

    @compute @workgroup_size(CHANNELS)
    fn pull_back(@builtin(workgroup_id) part: vec3<u32>, @builtin(local_invocation_index) channel: u32) {
        let a = coefficients[channel];
        let b = coefficients[CHANNELS + channel];
        let c = coefficients[2u * CHANNELS + channel];
        for (var row = part.x * ROWS; row < (part.x + 1u) * ROWS; row++) {
            let at = row * CHANNELS + channel;
            dx[at] = a * dy[at] + b * x[at] + c;
        }
    }
";

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let gpu = Gpu::new().await?;
    println!("{}", gpu.name());
    let planes = |planes: usize| gpu.empty(4 * (planes * CHANNELS) as u64);
    let tensor = || planes(ROWS);
    let (x, y, dy, dx) = (tensor()?, tensor()?, tensor()?, tensor()?);
    let of_parts = planes(3 * PARTS)?;
    let (statistics, sums, saved) = (planes(3)?, planes(2)?, planes(4)?);
    let (scale_and_shift, coefficients) = (planes(2)?, planes(3)?);
    let (gamma, beta) = (gpu.upload(&[1.5_f32; CHANNELS])?, gpu.upload(&[0.5_f32; CHANNELS])?);
    let (dgamma, dbeta) = (planes(1)?, planes(1)?);

    // The library's part, planned and bound once.
    let descriptor = Descriptor::new([ROWS, CHANNELS], Layout::ChannelsLast).running(None);
    let (kernels, parts) = (&gpu.kernels, PARTS as u32);
    let merge = kernels.merge(&descriptor, parts)?;
    let merge = merge.bind(&Bindings::new().many(&of_parts).statistics(&statistics))?;
    let to = Bindings::new().statistics(&statistics).gamma(&gamma).beta(&beta).saved(&saved);
    let finalize = kernels.finalize(&descriptor)?.bind(&to.scale_and_shift(&scale_and_shift))?;
    let merge_backward = kernels.merge_backward(&descriptor, parts)?;
    let merge_backward = merge_backward.bind(&Bindings::new().many(&of_parts).sums(&sums))?;
    let to = Bindings::new().sums(&sums).saved(&saved).gamma(&gamma).dgamma(&dgamma).dbeta(&dbeta);
    let finalize_backward = kernels.finalize_backward(&descriptor)?.bind(&to.coefficients(&coefficients))?;

    // A step of training in one pass.
    let own = OwnKernels::new(&gpu.device, &[&x, &y, &dy, &dx, &of_parts, &scale_and_shift, &coefficients, &saved]);
    gpu.run(|pass| {
        own.record(pass, "produce");
        merge.record(pass);
        finalize.record(pass);
        own.record(pass, "consume");
        own.record(pass, "push_back");
        merge_backward.record(pass);
        finalize_backward.record(pass);
        own.record(pass, "pull_back");
    });

    // The same by the CPU reference.
    let (x, y): (Vec<f32>, Vec<f32>) = (gpu.read(&x).await?, gpu.read(&y).await?);
    let (dy, dx): (Vec<f32>, Vec<f32>) = (gpu.read(&dy).await?, gpu.read(&dx).await?);
    let (gamma, beta) = ([1.5; CHANNELS], [0.5; CHANNELS]);
    let tensors = reference::Tensors { x: &x, dy: &dy, gamma: Some(&gamma), beta: Some(&beta), ..Default::default() };
    let expected = reference::forward(&descriptor.clone().activation(Activation::Relu), &tensors);
    let gradients = reference::backward(&descriptor, &tensors, &expected.statistics);
    let apart = |got: &[f32], expected: &[f64]| -> f64 {
        got.iter().zip(expected).map(|(got, expected)| (f64::from(*got) - expected).abs()).fold(0.0, f64::max)
    };
    let (of_y, of_dx) = (apart(&y, &expected.y), apart(&dx, &gradients.dx));
    println!("y is within {of_y:.1e} of the reference, dx within {of_dx:.1e}");
    // The mean is 350 standard deviations from zero, and x · scale + shift loses as much of x.
    if of_y < 1e-3 && of_dx < 1e-3 { Ok(()) } else { Err("that is too far".into()) }
}

/// The program's kernels, which all see the same buffers.
struct OwnKernels {
    pipelines: Vec<(&'static str, ComputePipeline)>,
    group: wgpu::BindGroup,
}

impl OwnKernels {
    fn new(device: &Device, buffers: &[&Buffer]) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(OWN_KERNELS.into()),
        });
        let bindings = || 0..buffers.len() as u32;
        let entries: Vec<_> = bindings().map(storage).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = |name| {
            let descriptor = wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(name),
                compilation_options: Default::default(),
                cache: None,
            };
            (name, device.create_compute_pipeline(&descriptor))
        };
        let entries: Vec<_> = bindings()
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        Self {
            pipelines: ["produce", "consume", "push_back", "pull_back"].map(pipeline).into(),
            group: device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layout,
                entries: &entries,
            }),
        }
    }

    fn record(&self, pass: &mut ComputePass<'_>, name: &str) {
        for (_, pipeline) in self.pipelines.iter().filter(|(known, _)| *known == name) {
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            pass.dispatch_workgroups(PARTS as u32, 1, 1);
        }
    }
}

fn storage(binding: u32) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: false },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
