//! The module against burn's own, on whatever adapter burn's default device is.

mod common;
mod errors;
#[path = "../../examples/common/mod.rs"]
mod examples;
mod memory;
mod module;
mod options;
mod padded;
mod simple_net;
