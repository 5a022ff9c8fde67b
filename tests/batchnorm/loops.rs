//! How long an invocation may loop on a driver, by a kernel that owes nothing to the library: why a recipe
//! keeps the iterations of an invocation few.

use wgpu_batchnorm::Gpu;
use wgpu_batchnorm::wgpu;

use crate::adapters::on_every_gpu;
use crate::expectations::{Subject, hold};

/// Two loops that only count, one after the other. The buffer says how often they go round, so that no
/// compiler knows it.
const KERNEL: &str = "
    @group(0) @binding(0) var<storage, read_write> iterations: array<u32, 3>;

    @compute @workgroup_size(1)
    fn main() {
        for (var i = 0u; i < iterations[0]; i++) { iterations[2]++; }
        for (var i = 0u; i < iterations[1]; i++) { iterations[2]++; }
    }
";

/// Panics unless the two loops together go round as often as they should.
fn go_round(gpu: &Gpu, [first, second]: [u32; 2]) {
    let device = &gpu.device;
    let source = wgpu::ShaderSource::Wgsl(KERNEL.into());
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source }),
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let buffer = gpu.upload(&[first, second, 0]).unwrap();
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
    });
    gpu.run(|pass| {
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
    });
    let after: Vec<u32> = pollster::block_on(gpu.read(&buffer)).unwrap();
    let (done, asked) = (after[2], first + second);
    assert!(done == asked, "{}: {done} iterations of {asked}", gpu.name());
}

#[test]
fn end_when_they_are_done() {
    on_every_gpu(|gpu| {
        go_round(gpu, [30_000, 30_000]);
        hold(Subject::LongLoops, gpu, || go_round(gpu, [50_000, 50_000]));
    });
}
