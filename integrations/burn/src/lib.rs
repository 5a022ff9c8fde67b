#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod autodiff;
mod call;
mod capabilities;
mod cube;
mod error;
mod launch;
mod module;
mod ops;

pub use error::Error;
pub use module::{Apply, BatchNorm, BatchNormConfig};
pub use wgpu_batchnorm::Activation;
