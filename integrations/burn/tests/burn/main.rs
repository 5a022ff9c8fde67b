//! The module against burn's own, on whatever adapter burn's default device is.

mod common;
#[path = "../../examples/common/mod.rs"]
mod examples;
mod module;
