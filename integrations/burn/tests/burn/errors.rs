//! What cannot be computed is an error.

use burn::nn;
use burn::tensor::{DType, Device, Int, Tensor};
use burn_wgpu_batchnorm::{Activation, BatchNormConfig, Error};

use crate::common::{assert_near, device, numbers, values};

#[test]
fn a_device_that_is_not_wgpu_is_named_and_burns_kernels_step_in() {
    let device = Device::flex().autodiff();
    let (ours, theirs) = (BatchNormConfig::new(4).init(&device), nn::BatchNormConfig::new(4).init(&device));
    let x = || numbers([5, 4, 3], 41, &device);
    let error = ours.apply(x()).run().unwrap_err();
    assert!(matches!(error, Error::NotWgpu { .. }), "{error}");
    assert!(error.to_string().contains("feature `wgpu`"), "{error}");
    assert_near("y", &values(&ours.forward(x())), &values(&theirs.forward(x())), 1e-5);
    let m = 15.0;
    let unbiased: Vec<f32> =
        values(&theirs.running_var.value_sync()).iter().map(|v| 0.9 + (v - 0.9) * m / (m - 1.0)).collect();
    assert_near("running variance", &values(&ours.running_var.value_sync()), &unbiased, 1e-5);
    let expected: Vec<f32> = values(&theirs.forward(x())).iter().map(|y| y.max(0.0)).collect();
    assert_near("relu", &values(&ours.with_activation(Activation::Relu).forward(x())), &expected, 1e-5);
}

#[test]
fn shapes_and_types_that_do_not_fit_are_named() {
    let device = device();
    let norm = BatchNormConfig::new(4).init(&device);
    let x = || numbers([5, 4, 3], 42, &device);
    let message = |result: Result<Tensor<3>, Error>| result.unwrap_err().to_string();
    let residual = message(norm.apply(x()).residual(numbers([5, 4, 2], 43, &device)).run());
    assert!(residual.contains("the residual has shape") && residual.contains("[5, 4, 3]"), "{residual}");
    let lengths = message(norm.apply(x()).lengths(Tensor::<1, Int>::from_data([1, 2], &device)).run());
    assert!(lengths.contains("lengths has shape") && lengths.contains("[5]"), "{lengths}");
    let mask = message(norm.apply(x()).mask(Tensor::<2, Int>::ones([4, 3], &device).bool()).run());
    assert!(mask.contains("the mask has shape") && mask.contains("[5, 3]"), "{mask}");
    let channels = message(norm.apply(numbers([5, 3, 2], 44, &device)).run());
    assert!(channels.contains("gamma has shape") && channels.contains("[3]"), "{channels}");
}

#[test]
fn tensors_that_do_not_go_together_are_named() {
    let device = device();
    let norm = BatchNormConfig::new(4).init(&device);
    let x = || numbers([5, 4, 3], 46, &device);
    if device.supports_dtype(DType::F16) {
        let message = norm.apply(x()).residual(x().cast(DType::F16)).run().unwrap_err().to_string();
        assert!(message.contains("the residual is of F16") && message.contains("F32"), "{message}");
    }
    let elsewhere = numbers([5, 4, 3], 46, &Device::flex());
    let message = norm.apply(x()).residual(elsewhere).run().unwrap_err().to_string();
    assert!(message.contains("the residual is on") && message.contains("to_device"), "{message}");
    let message = norm.apply(numbers([4], 46, &device)).run().unwrap_err().to_string();
    assert!(message.contains("at least 2"), "{message}");
}

#[test]
fn an_epsilon_that_only_an_f64_can_hold() {
    let device = device().autodiff();
    let norm = BatchNormConfig::new(3).with_epsilon(1e-50).init(&device);
    assert!(values(&norm.forward(numbers([4, 3], 47, &device))).iter().all(|y| y.is_finite()));
}

#[test]
fn one_value_a_channel_is_normalised_as_burn_does() {
    let device = device().autodiff();
    let (ours, theirs) = (BatchNormConfig::new(4).init(&device), nn::BatchNormConfig::new(4).init(&device));
    let x = numbers([1, 4], 45, &device);
    assert_near("y", &values(&ours.forward(x.clone())), &values(&theirs.forward(x)), 1e-6);
    assert!(values(&ours.running_var.value_sync()).iter().all(|variance| variance.is_finite()));
}

#[test]
#[should_panic(expected = "num_features must be greater than zero.")]
fn a_configuration_without_features() {
    BatchNormConfig::new(0).init(&device());
}
