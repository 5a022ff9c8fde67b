//! MNIST's files, as the examples of `integrations/burn` read them.
#![no_main]
#![allow(dead_code)]

#[path = "../../integrations/burn/examples/common/data.rs"]
mod data;
#[path = "../../integrations/burn/examples/common/mnist.rs"]
mod mnist;

use std::path::Path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // A gzip file or not, and of one or three dimensions.
    let unpacked = data::unpack(data, 1 << 20).unwrap_or(data.to_vec());
    let path = Path::new("file");
    if let Ok((sizes, values)) = mnist::values::<3>(path, &unpacked) {
        assert_eq!(sizes.iter().product::<usize>(), values.len());
    }
    if let Ok(([size], values)) = mnist::values::<1>(path, &unpacked) {
        assert_eq!(size, values.len());
    }
});
