//! What the tests share.

use burn::tensor::{Device, Tensor, TensorData};

/// The device, said once on the way.
pub fn device() -> Device {
    Device::default()
}

/// Numbers that look random, the same each run, about normally distributed.
pub fn numbers<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (0..6).map(|_| uniform()).sum::<f32>() - 3.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values of a tensor.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().into_data().convert::<f32>().try_to_vec().unwrap()
}

/// Panics unless all values are within `tolerance` of the greater of the two and 1.
#[track_caller]
pub fn assert_near(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let far = (got - expected).abs() / expected.abs().max(1.0);
        assert!(far <= tolerance, "{what}[{i}] is {got}, not {expected}");
    }
}
