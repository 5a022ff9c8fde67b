//! Batch normalization on any GPU that wgpu reaches.
#![warn(missing_docs)]

mod bind;
mod descriptor;
mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
mod kernels;
mod layer;
mod operations;
mod plan;
pub mod recipe;
pub mod reference;
pub mod shader;
pub mod tuning;
#[cfg(feature = "gpu")]
pub mod verify;

pub use descriptor::{Descriptor, Gradients, Layout, Momentum, Running, RunningVariance};
#[cfg(feature = "gpu")]
pub use error::GpuError;
pub use error::{BindError, Error, PlanError};
#[cfg(feature = "gpu")]
pub use gpu::Gpu;
pub use kernels::Kernels;
pub use layer::{BatchNorm, Training};
pub use operations::{
    Backward, BackwardBindings, Forward, ForwardBindings, FrozenBackward, FrozenBackwardBindings, Inference,
    InferenceBindings, RunningBindings,
};
pub use plan::{Bound, Plan};
pub use recipe::Choice;
pub use wgpu;
