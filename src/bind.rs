//! Buffers checked against a plan, before wgpu could complain.

use std::ops::Range;

use wgpu::{BufferBinding, BufferUsages};

use crate::argument::{Argument, Bindings};
use crate::buffer;
use crate::descriptor::Descriptor;
use crate::error::BindError;
use crate::kernels::Pipeline;
use crate::recipe::{Dispatch, Recipe};
use crate::shader::{Access, Slot};

/// A buffer that a plan needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// Which.
    pub argument: Argument,
    /// Bytes from the start of its binding, 0 for an empty tensor.
    pub bytes: u64,
    /// Whether any of the plan's dispatches writes it.
    pub written: bool,
}

impl Requirement {
    /// The arguments of all dispatches of a recipe, in their order in [`Argument::ALL`].
    pub(crate) fn of(recipe: &Recipe, slots: &[Vec<Slot>]) -> Vec<Self> {
        let mut written = [None; Argument::ALL.len()];
        for (dispatch, slots) in recipe.dispatches.iter().zip(slots) {
            for slot in slots {
                if let Some((argument, _)) = dispatch.argument(&slot.name) {
                    let so_far = written[argument as usize].unwrap_or(false);
                    written[argument as usize] = Some(so_far || slot.access == Access::Write);
                }
            }
        }
        let requirement = |argument: Argument| {
            let written = written[argument as usize]?;
            Some(Self { argument, bytes: recipe.argument_bytes(argument), written })
        };
        Argument::ALL.into_iter().filter_map(requirement).collect()
    }

    /// Checks one binding on its own.
    pub(crate) fn check(
        &self,
        binding: Option<&BufferBinding<'_>>,
        alignment: u64,
        descriptor: &Descriptor,
    ) -> Result<(), BindError> {
        let (argument, needs) = (self.argument.name(), self.bytes);
        if needs == 0 {
            return Ok(());
        }
        let Some(binding) = binding else {
            return Err(BindError::Missing { argument, needs });
        };
        let (offset, buffer) = (binding.offset, binding.buffer.size());
        let rest = buffer.saturating_sub(offset);
        let size = binding.size.map(|size| size.get());
        let end = offset.saturating_add(size.unwrap_or(rest));
        if end > buffer || offset > buffer {
            return Err(BindError::Range { argument, end, buffer });
        }
        // A size given says how large the tensor is; scratch is no tensor.
        let exactly = size.is_some() && self.argument != Argument::Scratch;
        let has = size.unwrap_or(rest);
        if has < needs || (exactly && has != needs) {
            let what = match self.argument {
                Argument::Counter => "a count in one u32".to_owned(),
                Argument::Health => "a Health of four u32".to_owned(),
                _ => {
                    let float = self.argument.float(descriptor.types);
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
    fn range<'a>(&self, to: &Bindings<'a>) -> Option<(&'a wgpu::Buffer, Range<u64>)> {
        let binding = to.get(self.argument).filter(|_| self.bytes > 0)?;
        Some((binding.buffer, binding.offset..binding.offset.saturating_add(self.bytes)))
    }
}

/// The pairs of which one may be written over the other, each value where it was read.
const IN_PLACE: [[Argument; 2]; 2] = [[Argument::X, Argument::Y], [Argument::Dy, Argument::Dx]];

/// Whether a kernel with these slots can write one over another.
pub(crate) fn has_in_place(slots: &[Slot]) -> bool {
    let has = |argument: Argument| slots.iter().any(|slot| slot.name == argument.name());
    IN_PLACE.iter().any(|pair| pair.iter().all(|argument| has(*argument)))
}

/// Buffers, and the plan's arguments that they are for.
pub(crate) struct Given<'a, 'b> {
    pub requirements: &'b [Requirement],
    pub to: &'b Bindings<'a>,
    pub descriptor: &'b Descriptor,
}

impl<'a> Given<'a, '_> {
    fn requirement(&self, argument: Argument) -> Option<&Requirement> {
        self.requirements.iter().find(|needed| needed.argument == argument)
    }

    /// Whether one of two arguments is written just where the other is read.
    fn in_place(&self, first: &Requirement, second: &Requirement) -> bool {
        let paired = IN_PLACE.iter().any(|pair| pair.contains(&first.argument) && pair.contains(&second.argument));
        let view = |needed: &Requirement| needed.argument.tensor().and_then(|tensor| self.descriptor.view_of(tensor));
        paired && first.range(self.to) == second.range(self.to) && view(first) == view(second)
    }

    /// No byte may be written by one argument and touched by another, but in place. Where `all_writable`, every
    /// binding is declared so, and WebGPU lets no two of those overlap even if neither is written.
    pub fn check_overlaps(&self, all_writable: bool) -> Result<(), BindError> {
        for (i, first) in self.requirements.iter().enumerate() {
            for second in &self.requirements[i + 1..] {
                let (Some((one, a)), Some((other, b))) = (first.range(self.to), second.range(self.to)) else {
                    continue;
                };
                let writes = all_writable || first.written || second.written;
                let overlap = one == other && a.start < b.end && b.start < a.end;
                if writes && overlap && !self.in_place(first, second) {
                    let [first, second] = [first, second].map(|needed| needed.argument.name());
                    return Err(BindError::Overlap { first, second });
                }
            }
        }
        Ok(())
    }

    /// Whether a dispatch writes one slot over another, in the kernels that know such.
    pub fn goes_in_place(&self, dispatch: &Dispatch, slots: &[Slot]) -> bool {
        let has = |argument: Argument| {
            let slot = slots.iter().find(|slot| slot.name == argument.name())?;
            self.requirement(dispatch.argument(&slot.name)?.0)
        };
        IN_PLACE.iter().any(|[read, written]| match (has(*read), has(*written)) {
            (Some(read), Some(written)) => self.in_place(read, written),
            _ => false,
        })
    }

    /// Whether a dispatch would read and write the same buffer, if in different places. WebGPU allows a buffer
    /// one usage a dispatch, so then every binding has to be a writable one.
    pub fn share_a_buffer(&self, dispatch: &Dispatch, slots: &[Slot]) -> bool {
        let bound = |access: Access| {
            let slots = slots.iter().filter(move |slot| slot.access == access);
            slots.filter_map(|slot| Some(self.to.get(dispatch.argument(&slot.name)?.0)?.buffer))
        };
        bound(Access::Read).any(|read| bound(Access::Write).any(|written| read == written))
    }

    /// The bind group of a dispatch. All buffers have been checked.
    pub fn group(
        &self,
        dispatch: &Dispatch,
        device: &wgpu::Device,
        pipeline: &Pipeline,
        params: BufferBinding<'_>,
    ) -> Result<wgpu::BindGroup, BindError> {
        let entry = |slot: &Slot| {
            let resource = match slot.access {
                Access::Uniform => params.clone(),
                Access::Read | Access::Write => {
                    let (argument, piece) = dispatch.argument(&slot.name)?;
                    let binding = self.to.get(argument)?.clone();
                    // Just the bytes that are needed, so that a large buffer does not exceed the binding limit.
                    let bytes = piece.unwrap_or(0..self.requirement(argument)?.bytes);
                    let size = wgpu::BufferSize::new(bytes.end - bytes.start);
                    BufferBinding { offset: binding.offset + bytes.start, size, ..binding }
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
