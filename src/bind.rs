//! Buffers checked against a plan, before wgpu could complain.

use wgpu::{BufferBinding, BufferUsages};

use crate::buffer;
use crate::descriptor::Descriptor;
use crate::error::BindError;
use crate::kernels::Pipeline;
use crate::shader::{Access, Slot};

/// A buffer that was given, or not, and what it has to be.
pub(crate) struct Argument<'a> {
    /// What the caller calls it.
    pub name: &'static str,
    /// What the kernels call it.
    pub slot: &'static str,
    pub binding: Option<BufferBinding<'a>>,
    /// The bytes it must have.
    pub needs: u64,
    pub access: Access,
}

impl<'a> Argument<'a> {
    /// Checks one argument on its own. Scratch may be given where none is used.
    pub fn check(&self, used: bool, alignment: u64, descriptor: &Descriptor) -> Result<(), BindError> {
        let Self { name: argument, needs, .. } = *self;
        let Some(binding) = &self.binding else {
            return if used { Err(BindError::Missing { argument, needs }) } else { Ok(()) };
        };
        if !used {
            return if argument == "scratch" { Ok(()) } else { Err(BindError::Unused { argument }) };
        }
        let (offset, buffer) = (binding.offset, binding.buffer.size());
        let rest = buffer.saturating_sub(offset);
        let size = binding.size.map(|size| size.get());
        let end = offset.saturating_add(size.unwrap_or(rest));
        if end > buffer || offset > buffer {
            return Err(BindError::Range { argument, end, buffer });
        }
        // A size given says how large the tensor is; scratch is no tensor.
        let exactly = size.is_some() && argument != "scratch";
        let has = size.unwrap_or(rest);
        if has < needs || (exactly && has != needs) {
            let what = match argument {
                "counter" => "a count in one u32".to_owned(),
                _ => format!("shape {:?} ({:?}) of f32", descriptor.shape, descriptor.layout),
            };
            return Err(BindError::Size { argument, has, needs, exactly, what });
        }
        if offset % alignment != 0 {
            return Err(BindError::Offset { argument, offset, alignment });
        }
        if !binding.buffer.usage().contains(BufferUsages::STORAGE) {
            let (has, needs) = (binding.buffer.usage(), BufferUsages::STORAGE);
            return Err(BindError::Usage { argument, has, needs });
        }
        Ok(())
    }

    /// The buffer and the bytes of it that kernels see.
    fn range(&self) -> Option<(&'a wgpu::Buffer, std::ops::Range<u64>)> {
        let binding = self.binding.as_ref().filter(|_| self.needs > 0)?;
        Some((binding.buffer, binding.offset..binding.offset + self.needs))
    }
}

/// No byte may be written by one argument and touched by another. Where `all_writable`, every binding is
/// declared so, and WebGPU lets no two of those overlap even if neither is written.
pub(crate) fn check_overlaps(arguments: &[Argument<'_>], all_writable: bool) -> Result<(), BindError> {
    for (i, first) in arguments.iter().enumerate() {
        for second in &arguments[i + 1..] {
            let (Some((one, a)), Some((other, b))) = (first.range(), second.range()) else { continue };
            let writes = all_writable || first.access == Access::Write || second.access == Access::Write;
            if writes && one == other && a.start < b.end && b.start < a.end {
                return Err(BindError::Overlap { first: first.name, second: second.name });
            }
        }
    }
    Ok(())
}

/// Whether one dispatch would read and write the same buffer, if in different places. WebGPU allows a
/// buffer one usage a dispatch, so then every binding has to be a writable one.
pub(crate) fn shares_a_buffer(slots: &[Slot], arguments: &[Argument<'_>]) -> bool {
    let bound = |access: Access| {
        let slots = slots.iter().filter(move |slot| slot.access == access);
        slots.filter_map(|slot| Some(find(arguments, &slot.name)?.binding.as_ref()?.buffer))
    };
    bound(Access::Read).any(|read| bound(Access::Write).any(|written| read == written))
}

fn find<'a, 'b>(arguments: &'b [Argument<'a>], slot: &str) -> Option<&'b Argument<'a>> {
    arguments.iter().find(|argument| argument.slot == slot)
}

/// The bind group of one dispatch. All arguments have been checked.
pub(crate) fn group(
    device: &wgpu::Device,
    pipeline: &Pipeline,
    params: &wgpu::Buffer,
    arguments: &[Argument<'_>],
) -> Result<wgpu::BindGroup, BindError> {
    let entry = |slot: &Slot| {
        let resource = match slot.access {
            Access::Uniform => params.as_entire_buffer_binding(),
            Access::Read | Access::Write => {
                let argument = find(arguments, &slot.name)?;
                // Just the bytes that are needed, so that a large buffer does not exceed the binding limit.
                BufferBinding { size: wgpu::BufferSize::new(argument.needs), ..argument.binding.clone()? }
            }
        };
        Some(wgpu::BindGroupEntry { binding: slot.binding, resource: wgpu::BindingResource::Buffer(resource) })
    };
    let entries: Vec<_> = pipeline.slots.iter().filter_map(entry).collect();
    let descriptor =
        wgpu::BindGroupDescriptor { label: Some("batchnorm"), layout: &pipeline.layout, entries: &entries };
    buffer::catching(device, || device.create_bind_group(&descriptor)).map_err(|message| BindError::Refused { message })
}
