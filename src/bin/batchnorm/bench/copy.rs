//! What batch norm is measured against: copies of as many bytes, by several kernels, since none is the
//! fastest on every adapter and at every size.

use wgpu_batchnorm::{Gpu, GpuError, wgpu};

use super::clock::Work;

/// A way to copy.
struct Variant {
    name: &'static str,
    /// WGSL in `shaders/bench`.
    source: &'static str,
    /// What moves at a time.
    element: Element,
    /// Invocations of a workgroup.
    lanes: u32,
    /// Elements of an invocation.
    items: u32,
}

const SPREAD: &str = include_str!("../../../../shaders/bench/copy_spread.wgsl");
const BLOCK: &str = include_str!("../../../../shaders/bench/copy_block.wgsl");
const FOUR: &str = include_str!("../../../../shaders/bench/copy_four.wgsl");

/// One line a kernel: coalescing ones for GPUs, few lanes with long runs for software drivers.
const VARIANTS: [Variant; 13] = [
    variant("f32, 256 lanes", SPREAD, Element::F32, 256, 1),
    variant("vec4, 64 lanes", SPREAD, Element::Vec4, 64, 1),
    variant("vec4, 256 lanes", SPREAD, Element::Vec4, 256, 1),
    variant("vec4, 256 lanes × 8", SPREAD, Element::Vec4, 256, 8),
    variant("vec4, 64 lanes × 4 in flight", FOUR, Element::Vec4, 64, 4),
    variant("vec4, 256 lanes × 4 in flight", FOUR, Element::Vec4, 256, 4),
    variant("vec4, 8 lanes × 128", SPREAD, Element::Vec4, 8, 128),
    variant("vec4, 8 lanes × 1024", SPREAD, Element::Vec4, 8, 1024),
    variant("vec4, 8 lanes, blocks of 64", BLOCK, Element::Vec4, 8, 64),
    variant("vec4, 8 lanes, blocks of 1024", BLOCK, Element::Vec4, 8, 1024),
    variant("vec4, 4 lanes, blocks of 1024", BLOCK, Element::Vec4, 4, 1024),
    variant("u64 × 2, 8 lanes × 1024", SPREAD, Element::Long2, 8, 1024),
    variant("u64 × 4, 8 lanes × 512", SPREAD, Element::Long4, 8, 512),
];

const fn variant(name: &'static str, source: &'static str, element: Element, lanes: u32, items: u32) -> Variant {
    Variant { name, source, element, lanes, items }
}

/// What moves at a time. Software drivers move long words faster, where a device has such.
#[derive(Clone, Copy)]
enum Element {
    F32,
    Vec4,
    Long2,
    Long4,
}

impl Element {
    const fn wgsl(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Vec4 => "vec4<f32>",
            Self::Long2 => "vec2<u64>",
            Self::Long4 => "vec4<u64>",
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Vec4 | Self::Long2 => 16,
            Self::Long4 => MOST_BYTES,
        }
    }

    const fn is_long(self) -> bool {
        matches!(self, Self::Long2 | Self::Long4)
    }
}

/// Of the largest element: what every copy is a multiple of.
const MOST_BYTES: u64 = 32;

/// The copy kernels of one adapter, compiled.
pub struct CopyKernels {
    kernels: Vec<(&'static Variant, wgpu::ComputePipeline)>,
    /// The most bytes that one buffer here has: what a binding may have.
    most: u64,
    workgroups: u32,
}

/// A buffer to copy from and one to copy to.
pub struct CopyBuffers {
    source: wgpu::Buffer,
    copied: wgpu::Buffer,
}

impl CopyKernels {
    /// Those that the device's limits allow.
    pub fn new(gpu: &Gpu) -> Self {
        let limits = gpu.device.limits();
        let most = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) / MOST_BYTES * MOST_BYTES;
        let lanes = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
        let has_long = gpu.device.features().contains(wgpu::Features::SHADER_INT64);
        let fits = |variant: &&Variant| variant.lanes <= lanes && (has_long || !variant.element.is_long());
        let fitting = VARIANTS.iter().filter(fits);
        let kernels = fitting.map(|variant| (variant, variant.compile(&gpu.device))).collect();
        Self { kernels, most, workgroups: limits.max_compute_workgroups_per_dimension }
    }

    /// Buffers for copies of up to this many bytes of traffic. A copy that is larger than a binding may
    /// be goes over the same buffers several times.
    pub fn buffers(&self, gpu: &Gpu, traffic: u64) -> Result<CopyBuffers, GpuError> {
        let bytes = half(traffic).min(self.most);
        let values: Vec<f32> = super::workload::noise(bytes / 4).collect();
        Ok(CopyBuffers { source: gpu.upload(&values)?, copied: gpu.empty(bytes)? })
    }

    /// Every kernel to make this much traffic, half of it reads and half of it writes.
    pub fn works(&self, gpu: &Gpu, buffers: &CopyBuffers, traffic: u64) -> Vec<(&'static str, Work)> {
        let work = |(variant, pipeline): &(&'static Variant, wgpu::ComputePipeline)| {
            let dispatch =
                |bytes| (bind(gpu, pipeline, buffers, bytes), grid(variant.workgroups(bytes), self.workgroups));
            let dispatches: Vec<_> = self.pieces(traffic).into_iter().map(dispatch).collect();
            let pipeline = pipeline.clone();
            let record = move |pass: &mut wgpu::ComputePass<'_>| {
                pass.set_pipeline(&pipeline);
                for (group, [x, y]) in &dispatches {
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(*x, *y, 1);
                }
            };
            (variant.name, Work::Pass(Box::new(record)))
        };
        self.kernels.iter().map(work).collect()
    }

    /// The same by `copy_buffer_to_buffer`, for which drivers have means that no kernel has.
    pub fn transfer(&self, buffers: &CopyBuffers, traffic: u64) -> Work {
        let (source, copied, pieces) = (buffers.source.clone(), buffers.copied.clone(), self.pieces(traffic));
        Work::Transfer(Box::new(move |encoder| {
            for bytes in &pieces {
                encoder.copy_buffer_to_buffer(&source, 0, &copied, 0, *bytes);
            }
        }))
    }

    /// The bytes of each copy that together make this much traffic.
    fn pieces(&self, traffic: u64) -> Vec<u64> {
        let (whole, rest) = (half(traffic) / self.most, half(traffic) % self.most);
        let mut pieces = vec![self.most; whole as usize];
        pieces.extend(Some(rest).filter(|rest| *rest > 0));
        pieces
    }
}

/// The bytes that a copy of this much traffic reads: whole elements of every kernel, so that all move the same.
fn half(traffic: u64) -> u64 {
    traffic.div_ceil(2).next_multiple_of(MOST_BYTES)
}

/// Workgroups in two dimensions, where one does not take as many. Those beyond the end do nothing.
fn grid(workgroups: u64, most: u32) -> [u32; 2] {
    let x = workgroups.clamp(1, u64::from(most));
    [x as u32, workgroups.div_ceil(x) as u32]
}

impl Variant {
    fn workgroups(&self, bytes: u64) -> u64 {
        (bytes / self.element.bytes()).div_ceil(u64::from(self.lanes * self.items))
    }

    fn compile(&self, device: &wgpu::Device) -> wgpu::ComputePipeline {
        let Self { name, source, element, lanes, items, .. } = self;
        let element = element.wgsl();
        let head = format!("alias Element = {element};\nconst lanes = {lanes}u;\nconst items = {items}u;\n");
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(name),
            source: wgpu::ShaderSource::Wgsl((head + source).into()),
        });
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    }
}

fn bind(gpu: &Gpu, pipeline: &wgpu::ComputePipeline, buffers: &CopyBuffers, bytes: u64) -> wgpu::BindGroup {
    let entry = |binding, buffer| wgpu::BindGroupEntry {
        binding,
        resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer,
            offset: 0,
            size: wgpu::BufferSize::new(bytes),
        }),
    };
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("bench copy"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[entry(0, &buffers.source), entry(1, &buffers.copied)],
    })
}

#[cfg(test)]
mod tests {
    use super::CopyKernels;
    use crate::bench::clock::Work;
    use wgpu_batchnorm::{Gpu, GpuError};

    #[test]
    fn every_copy_copies_every_byte() {
        pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await?;
                // 64 bytes a binding: more pieces than one, the last a short one.
                for (most, traffic) in [(u64::MAX, 32), (u64::MAX, 300_000), (u64::MAX, 2_000_032), (64, 352)] {
                    let kernels = CopyKernels::new(&gpu);
                    let most = most.min(kernels.most);
                    // Three workgroups in x at the most, so that there are several in y.
                    let kernels = CopyKernels { most, workgroups: 3, ..kernels };
                    let source = kernels.buffers(&gpu, traffic)?.source;
                    let expected: Vec<u32> = gpu.read(&source).await?;
                    assert!(expected.iter().all(|bits| *bits != 0xffff_ffff), "the poison is in the source");
                    let count = kernels.works(&gpu, &kernels.buffers(&gpu, traffic)?, traffic).len();
                    assert!(count > 0);
                    for kernel in 0..=count {
                        let mut buffers = kernels.buffers(&gpu, traffic)?;
                        buffers.copied = gpu.upload(&vec![u32::MAX; expected.len()])?;
                        let mut works = kernels.works(&gpu, &buffers, traffic);
                        works.push(("transfer", kernels.transfer(&buffers, traffic)));
                        let (name, work) = &works[kernel];
                        match work {
                            Work::Pass(record) => gpu.run(|pass| record(pass)),
                            Work::Transfer(record) => {
                                let mut encoder = gpu.device.create_command_encoder(&Default::default());
                                record(&mut encoder);
                                gpu.queue.submit([encoder.finish()]);
                            }
                        }
                        let copied: Vec<u32> = gpu.read(&buffers.copied).await?;
                        assert!(copied == expected, "{name}, {traffic} bytes of traffic, on {}", gpu.name());
                    }
                }
            }
            Ok::<(), GpuError>(())
        })
        .unwrap();
    }
}
