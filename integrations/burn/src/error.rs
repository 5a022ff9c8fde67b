//! What can be wrong with a call.

use burn::tensor::{DType, Device};
use wgpu_batchnorm::PlanError;

/// Why a batch norm cannot be computed by these kernels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tensors are on a device whose backend has no WGSL.
    #[error(
        "the tensors are on {device:?}, which runs {backend}; these kernels need burn's feature `wgpu`, whose devices \
         compile WGSL (`vulkan` and `metal` compile other languages)"
    )]
    NotWgpu {
        /// The device.
        device: Device,
        /// What runs on it.
        backend: String,
    },
    /// A tensor is on another device than the input.
    #[error("{argument} is on {has:?}, the input on {needs:?}; move one of them with `to_device`")]
    Device {
        /// Which tensor.
        argument: &'static str,
        /// Its device.
        has: Box<Device>,
        /// The input's.
        needs: Box<Device>,
    },
    /// A tensor's type is not one that it can have here.
    #[error("{argument} is of {has:?}; here it has to be {knows}")]
    Type {
        /// Which tensor.
        argument: &'static str,
        /// Its type.
        has: DType,
        /// Which types it may have.
        knows: String,
    },
    /// A tensor has another shape than it must have beside the input.
    #[error("{argument} has shape {has:?}; beside an input of {input:?} it must have {needs:?}")]
    Shape {
        /// Which tensor.
        argument: &'static str,
        /// Its shape.
        has: Vec<usize>,
        /// The shape it must have.
        needs: Vec<usize>,
        /// The input's shape.
        input: Vec<usize>,
    },
    /// The normalisation itself makes no sense, or the device's limits are too low for it.
    #[error(transparent)]
    Plan(#[from] PlanError),
}
