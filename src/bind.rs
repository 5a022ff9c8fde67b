//! Buffers checked against a plan, before wgpu could complain.

use wgpu::{BufferBinding, BufferUsages};

use crate::buffer;
use crate::descriptor::{Descriptor, Float, Tensor};
use crate::error::BindError;
use crate::kernels::Pipeline;
use crate::recipe::{Dispatch, Piece};
use crate::shader::{Access, Slot};

/// A buffer that was given, or not, and what it has to be.
pub(crate) struct Argument<'a> {
    /// What the caller calls it.
    pub name: &'static str,
    pub binding: Option<BufferBinding<'a>>,
    /// The bytes it must have.
    pub needs: u64,
    pub access: Access,
}

impl<'a> Argument<'a> {
    /// Checks one argument on its own. Scratch may be given where none is used.
    pub fn check(&self, used: bool, alignment: u64, descriptor: &Descriptor) -> Result<(), BindError> {
        let Self { name: argument, needs, .. } = *self;
        if needs == 0 {
            return Ok(());
        }
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
                "health" => "a Health of four u32".to_owned(),
                _ => {
                    let float = match argument {
                        "gamma" | "beta" | "dgamma" | "dbeta" => descriptor.types.parameters,
                        "running_mean" | "running_variance" => descriptor.types.running,
                        _ if Tensor::ALL.iter().any(|tensor| tensor.name() == argument) => descriptor.types.x,
                        _ => Float::F32,
                    };
                    format!("shape {:?} ({:?}) with {argument} in {float:?}", descriptor.shape, descriptor.layout)
                }
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
        // (Of an empty batch what is not used has not been checked.)
        Some((binding.buffer, binding.offset..binding.offset.saturating_add(self.needs)))
    }
}

/// The pairs of which one may be written over the other, each value where it was read.
const IN_PLACE: [[&str; 2]; 2] = [["x", "y"], ["dy", "dx"]];

/// Whether a kernel with these slots can write one over another.
pub(crate) fn has_in_place(slots: &[Slot]) -> bool {
    let has = |name: &str| slots.iter().any(|slot| slot.name == name);
    IN_PLACE.iter().any(|pair| pair.iter().all(|name| has(name)))
}

/// Whether one of two arguments is written just where the other is read.
fn in_place(first: &Argument<'_>, second: &Argument<'_>, descriptor: &Descriptor) -> bool {
    let paired = IN_PLACE.iter().any(|pair| pair.contains(&first.name) && pair.contains(&second.name));
    let view = |name: &str| Tensor::ALL.into_iter().find(|t| t.name() == name).and_then(|t| descriptor.view_of(t));
    paired && first.range() == second.range() && view(first.name) == view(second.name)
}

/// No byte may be written by one argument and touched by another, but in place. Where `all_writable`, every
/// binding is declared so, and WebGPU lets no two of those overlap even if neither is written.
pub(crate) fn check_overlaps(
    arguments: &[Argument<'_>],
    descriptor: &Descriptor,
    all_writable: bool,
) -> Result<(), BindError> {
    for (i, first) in arguments.iter().enumerate() {
        for second in &arguments[i + 1..] {
            let (Some((one, a)), Some((other, b))) = (first.range(), second.range()) else { continue };
            let writes = all_writable || first.access == Access::Write || second.access == Access::Write;
            let overlap = one == other && a.start < b.end && b.start < a.end;
            if writes && overlap && !in_place(first, second, descriptor) {
                return Err(BindError::Overlap { first: first.name, second: second.name });
            }
        }
    }
    Ok(())
}

/// A dispatch's slots with what is bound to them.
pub(crate) struct Bindings<'a, 'b> {
    arguments: &'b [Argument<'a>],
    pieces: &'b [Piece],
}

impl<'a, 'b> Bindings<'a, 'b> {
    pub fn new(arguments: &'b [Argument<'a>], dispatch: &'b Dispatch) -> Self {
        Self { arguments, pieces: &dispatch.pieces }
    }

    /// The argument that a slot takes, and which bytes of it.
    fn get(&self, slot: &str) -> Option<(&'b Argument<'a>, u64, u64)> {
        let find = |name: &str| self.arguments.iter().find(|argument| argument.name == name);
        match self.pieces.iter().find(|piece| piece.slot == slot) {
            Some(piece) => Some((find(piece.argument)?, piece.offset, piece.bytes)),
            None => find(slot).map(|argument| (argument, 0, argument.needs)),
        }
    }

    /// The name of the argument that a slot takes.
    pub fn argument(&self, slot: &str) -> Option<&'static str> {
        self.get(slot).map(|(argument, ..)| argument.name)
    }

    /// Whether one slot is written over another, in the kernels that know such.
    pub fn in_place(&self, slots: &[Slot], descriptor: &Descriptor) -> bool {
        let has = |name: &str| slots.iter().any(|slot| slot.name == name).then(|| self.get(name)).flatten();
        IN_PLACE.iter().any(|[read, written]| match (has(read), has(written)) {
            (Some((read, ..)), Some((written, ..))) => in_place(read, written, descriptor),
            _ => false,
        })
    }

    /// Whether the dispatch would read and write the same buffer, if in different places. WebGPU allows a buffer
    /// one usage a dispatch, so then every binding has to be a writable one.
    pub fn share_a_buffer(&self, slots: &[Slot]) -> bool {
        let bound = |access: Access| {
            let slots = slots.iter().filter(move |slot| slot.access == access);
            slots.filter_map(|slot| Some(self.get(&slot.name)?.0.binding.as_ref()?.buffer))
        };
        bound(Access::Read).any(|read| bound(Access::Write).any(|written| read == written))
    }

    /// The bind group. All arguments have been checked.
    pub fn group(
        &self,
        device: &wgpu::Device,
        pipeline: &Pipeline,
        params: BufferBinding<'_>,
    ) -> Result<wgpu::BindGroup, BindError> {
        let entry = |slot: &Slot| {
            let resource = match slot.access {
                Access::Uniform => params.clone(),
                Access::Read | Access::Write => {
                    let (argument, offset, bytes) = self.get(&slot.name)?;
                    let binding = argument.binding.clone()?;
                    // Just the bytes that are needed, so that a large buffer does not exceed the binding limit.
                    let size = wgpu::BufferSize::new(bytes);
                    BufferBinding { offset: binding.offset + offset, size, ..binding }
                }
            };
            Some(wgpu::BindGroupEntry { binding: slot.binding, resource: wgpu::BindingResource::Buffer(resource) })
        };
        let entries: Vec<_> = pipeline.slots.iter().filter_map(entry).collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some("batchnorm"), layout: &pipeline.layout, entries: &entries };
        buffer::catching(device, || device.create_bind_group(&descriptor))
            .map_err(|message| BindError::Refused { message })
    }
}
