//! A problem's tensors on the device.

use wgpu::BufferBinding;

use super::Placement;
use super::form::{Form, POISON};
use crate::argument::Bindings;
use crate::error::Error;
use crate::gpu::Gpu;

/// One tensor of a problem.
pub(super) struct Tensor {
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// How many values it has.
    pub(super) len: usize,
    /// What is in memory before.
    pub(super) words: Vec<u32>,
    pub(super) output: bool,
}

impl Tensor {
    pub(super) fn input(name: &'static str, form: Form, values: &[f32]) -> Self {
        Self { output: false, words: at_least_one(form.words(values)), ..Self::output(name, form, values.len()) }
    }

    /// One that is made of whole words.
    pub(super) fn of_words(name: &'static str, words: Vec<u32>) -> Self {
        Self { name, form: Form::Numbers, len: words.len(), words, output: false }
    }

    /// With nothing but poison in it.
    pub(super) fn output(name: &'static str, form: Form, len: usize) -> Self {
        Self { name, words: at_least_one(form.empty(len)), form, len, output: true }
    }
}

/// No buffer is empty.
fn at_least_one(mut words: Vec<u32>) -> Vec<u32> {
    words.resize(words.len().max(1), POISON);
    words
}

/// What may be written over what.
const IN_PLACE: [[&str; 2]; 2] = [["x", "y"], ["dy", "dx"]];

/// Writes y over x and dx over dy: each pair becomes one tensor, with the contents of the one that is read and
/// the name of the one that is written.
pub(super) fn in_place(tensors: &mut Vec<Tensor>) {
    for [read, written] in IN_PLACE {
        let find = |name| tensors.iter().position(|tensor: &Tensor| tensor.name == name);
        if let (Some(read), Some(written)) = (find(read), find(written)) {
            tensors[written].words = std::mem::take(&mut tensors[read].words);
            tensors.remove(read);
        }
    }
}

/// A problem's tensors on the device.
pub(super) struct Arena {
    /// Name, buffer, offset and size of each.
    places: Vec<(&'static str, wgpu::Buffer, u64, u64)>,
}

impl Arena {
    pub(super) fn new(gpu: &Gpu, tensors: &[Tensor], placement: Placement) -> Result<Self, Error> {
        let bytes = |tensor: &Tensor| 4 * tensor.words.len() as u64;
        let places = match placement {
            Placement::Separate | Placement::InPlace => tensors
                .iter()
                .map(|tensor| Ok((tensor.name, gpu.upload(&tensor.words)?, 0, bytes(tensor))))
                .collect::<Result<_, Error>>()?,
            Placement::OneBuffer => {
                let alignment = gpu.kernels.alignment() as usize / 4;
                let mut all = vec![POISON; alignment];
                let mut places = Vec::new();
                for tensor in tensors {
                    places.push((tensor.name, 4 * all.len() as u64, bytes(tensor)));
                    all.extend(&tensor.words);
                    all.resize(all.len().next_multiple_of(alignment), POISON);
                }
                let buffer = gpu.upload(&all)?;
                places.into_iter().map(|(name, offset, size)| (name, buffer.clone(), offset, size)).collect()
            }
        };
        Ok(Self { places })
    }

    pub(super) fn bindings(&self) -> Bindings<'_> {
        Bindings::from_fn(|argument| self.get(argument.name()))
    }

    pub(super) fn get(&self, name: &str) -> Option<BufferBinding<'_>> {
        let find = |name: &str| self.places.iter().find(|(known, ..)| *known == name);
        let over = || IN_PLACE.iter().find(|[read, _]| *read == name).and_then(|[_, written]| find(written));
        let (_, buffer, offset, size) = find(name).or_else(over)?;
        Some(BufferBinding { buffer, offset: *offset, size: wgpu::BufferSize::new(*size) })
    }
}
