//! A kernel's buffers, as its text declares them.

/// A buffer as a kernel declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its binding number in group 0.
    pub binding: u32,
    /// Its name, the same in all kernels.
    pub name: String,
    /// What the kernel does with it.
    pub access: Access,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The plan's own parameters.
    Uniform,
    /// Storage that is read.
    Read,
    /// Storage that is written, or read and written.
    Write,
}

impl Slot {
    /// Reads a line of the form `@group(0) @binding(3) var<storage, read> gamma: array<Channel>;`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (binding, rest) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
        let (access, rest) = rest.split_once("> ")?;
        let access = match access {
            "uniform" => Access::Uniform,
            "storage, read" => Access::Read,
            _ => Access::Write,
        };
        Some(Self { binding: binding.parse().ok()?, name: rest.split_once(':')?.0.to_owned(), access })
    }
}
