//! A dispatch of a recipe as a program without this library would have it, for measuring the library against wgpu.

use wgpu_batchnorm::recipe::Dispatch;
use wgpu_batchnorm::shader::{Access, Slot};
use wgpu_batchnorm::wgpu::{self, BufferUsages};

pub struct ByHand {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl ByHand {
    /// Compiles the kernel, and binds a buffer to each slot.
    pub fn new(device: &wgpu::Device, dispatch: &Dispatch, buffer: impl FnMut(&Slot) -> wgpu::Buffer) -> Self {
        let slots = dispatch.permutation.slots();
        let text = wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(dispatch.permutation.wgsl().into()),
        };
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.force_loop_bounding = false;
        // SAFETY: as the library has it (`src/kernels.rs`), so that what is timed is what users get.
        let module = unsafe { device.create_shader_module_trusted(text, checks) };
        let entries: Vec<_> = slots.iter().map(layout_entry).collect();
        let layout =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let buffers: Vec<wgpu::Buffer> = slots.iter().map(buffer).collect();
        let entries: Vec<_> = (slots.iter().zip(&buffers))
            .map(|(slot, buffer)| wgpu::BindGroupEntry { binding: slot.binding, resource: buffer.as_entire_binding() })
            .collect();
        let bind_group =
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
        Self { pipeline, bind_group, grid: dispatch.grid }
    }

    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        let [x, y] = self.grid;
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(x, y, 1);
    }
}

/// Zeros for a slot. With parameters of 0 no loop of a kernel goes round.
pub fn zeros(device: &wgpu::Device, slot: &Slot) -> wgpu::Buffer {
    let usage = if slot.access == Access::Uniform { BufferUsages::UNIFORM } else { BufferUsages::STORAGE };
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 4_096, usage, mapped_at_creation: false })
}

fn layout_entry(slot: &Slot) -> wgpu::BindGroupLayoutEntry {
    let ty = match slot.access {
        Access::Uniform => wgpu::BufferBindingType::Uniform,
        Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
        Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
    };
    wgpu::BindGroupLayoutEntry {
        binding: slot.binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}
