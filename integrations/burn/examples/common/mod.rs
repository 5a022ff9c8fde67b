//! What the examples share: their data, and the pictures of their training.

// Each example compiles these modules into itself and calls only its part of them.
#![allow(dead_code)]

pub mod data;
pub mod digits;
pub mod layer;
pub mod learn;
pub mod mel;
pub mod mnist;
pub mod plot;
pub mod reviews;
pub mod shuffle;
pub mod spoken;
