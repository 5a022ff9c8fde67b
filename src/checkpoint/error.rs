//! What is wrong with a checkpoint.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensorError};

/// A checkpoint that cannot be loaded or saved. Messages name the tensor, what it was and what it had to be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Bytes that are no safetensors, or tensors that cannot be written as such.
    #[error("not a whole safetensors file: {message}")]
    Format {
        /// What the reader said.
        message: String,
    },
    /// Another file than safetensors.
    #[error("this is {is}, not a safetensors file; {do_this}")]
    Other {
        /// What it is, by its first bytes.
        is: &'static str,
        /// How to come by what is needed.
        do_this: &'static str,
    },
    /// A tensor that is not there.
    #[error("{tensor} is missing{}; {}", lenient(tensor), batch_norms(found))]
    Missing {
        /// The tensor's whole name.
        tensor: String,
        /// The prefixes of the batch norms in the file, in alphabetical order.
        found: Vec<String>,
    },
    /// A tensor of another shape.
    #[error("{tensor} has shape {has:?}; it must be {needs:?}")]
    Shape {
        /// The tensor's whole name.
        tensor: String,
        /// Its shape.
        has: Vec<usize>,
        /// What it must be.
        needs: Vec<usize>,
    },
    /// A tensor of a type that is not read.
    #[error("{tensor} is of type {has}; it must be {needs}")]
    Type {
        /// The tensor's whole name.
        tensor: String,
        /// Its type.
        has: Dtype,
        /// Those that are read.
        needs: &'static str,
    },
    /// A finite value beyond the largest of the type that it goes to.
    #[error("{tensor} has the value {value} at index {index}, which is more than {into} holds")]
    Overflow {
        /// The tensor's whole name.
        tensor: String,
        /// Where, in row-major order.
        index: usize,
        /// The value.
        value: f64,
        /// The type.
        into: Dtype,
    },
    /// A batch counter that the device's `u32` cannot be.
    #[error("{tensor} is {value}; it must be a whole number from 0 to {}", u32::MAX)]
    Counter {
        /// The tensor's whole name.
        tensor: String,
        /// Its value.
        value: f64,
    },
    /// A state for a layer of other channels.
    #[error("{part} of the state has {has} values; the layer has {needs} channels")]
    Channels {
        /// The field of [`State`](super::State).
        part: &'static str,
        /// Its length.
        has: usize,
        /// The layer's channels.
        needs: usize,
    },
    /// A file that cannot be written. What was there before still is.
    #[error("{}: cannot be written: {message}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
}

impl From<SafeTensorError> for CheckpointError {
    fn from(error: SafeTensorError) -> Self {
        Self::Format { message: error.to_string() }
    }
}

/// The first few, for a reader to find the right prefix.
fn batch_norms(found: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = found.iter().take(SHOWN).map(|prefix| format!("{prefix:?}")).collect();
    let more = found.len().saturating_sub(SHOWN);
    match (shown.join(", "), more) {
        (none, _) if none.is_empty() => {
            "the file has no batch norm: no tensor's name ends with running_mean, moving_mean, or mean beside var"
                .to_owned()
        }
        (all, 0) => format!("the file's batch norms have the prefixes {all}"),
        (some, more) => format!("the file's batch norms have the prefixes {some} and {more} more"),
    }
}

/// What can be done about a tensor that some files lack.
fn lenient(tensor: &str) -> &'static str {
    match tensor.rsplit(['.', '/']).next() {
        Some("num_batches_tracked") => {
            " (files from before PyTorch 0.4.1 lack it: to read it as 0, load with MayLack { batches: true, .. })"
        }
        _ => "",
    }
}
