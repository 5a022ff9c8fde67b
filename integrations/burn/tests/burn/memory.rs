//! Tensors as burn hands them on: not contiguous, part of a larger one, with work on them still pending, and records
//! of burn's own module.

use burn::module::Module;
use burn::nn;
use burn::nn::conv::Conv2dConfig;
use burn::tensor::{DType, Device, Tensor};
use burn_wgpu_batchnorm::{Activation, BatchNorm, BatchNormConfig};

use crate::common::{assert_near, device, numbers, values};

fn modules(channels: usize, device: &Device) -> (BatchNorm, nn::BatchNorm) {
    (BatchNormConfig::new(channels).init(device), nn::BatchNormConfig::new(channels).init(device))
}

/// Both modules on the same input, which `view` makes of a leaf; their gradients come back through it.
fn as_burns<const D: usize, const E: usize>(shape: [usize; D], view: impl Fn(Tensor<D>) -> Tensor<E>) {
    let device = device().autodiff();
    let leaves = [(); 2].map(|()| numbers(shape, 31, &device).require_grad());
    let [x, same_x] = leaves.clone().map(view);
    let (ours, theirs) = modules(x.dims()[1], &device);
    let [y, expected] = [ours.forward(x), theirs.forward(same_x)];
    assert_near("y", &values(&y), &values(&expected), 1e-5);
    let weights = numbers(y.dims(), 32, &device);
    let [got, expected] = [y, expected].map(|y| (y.powi_scalar(3) * weights.clone()).sum().backward());
    let [x, same_x] = &leaves;
    assert_near("dx", &values(&x.grad(&got).unwrap()), &values(&same_x.grad(&expected).unwrap()), 1e-4);
}

#[test]
fn channels_last_under_burns_shape() {
    as_burns([3, 6, 5, 8], |x: Tensor<4>| x.permute([0, 3, 1, 2]));
}

#[test]
fn many_channels_last() {
    as_burns([4, 40, 40, 24], |x: Tensor<4>| x.permute([0, 3, 1, 2]));
}

#[test]
fn more_dimensions_than_a_view_has() {
    as_burns([2, 3, 2, 3, 2, 3, 2], |x: Tensor<7>| x.permute([6, 1, 5, 2, 4, 3, 0]));
}

#[test]
fn other_permutations() {
    as_burns([4, 3, 6, 5], |x: Tensor<4>| x.permute([3, 1, 0, 2]));
    as_burns([7, 12], |x: Tensor<2>| x.transpose());
}

#[test]
fn slices_of_larger_tensors() {
    as_burns([3, 9, 6, 7], |x: Tensor<4>| x.slice([0..3, 2..6, 1..6, 0..7]));
    as_burns([5, 64], |x: Tensor<2>| x.slice([1..5, 3..40]));
}

#[test]
fn broadcast_inputs_and_gradients() {
    as_burns([3, 4, 1], |x: Tensor<3>| x.expand([3, 4, 6]));
    // The gradient of a sum is one number for all values.
    let device = device().autodiff();
    let (ours, theirs) = modules(4, &device);
    let [x, same_x] = [(); 2].map(|()| numbers([2, 4, 3, 3], 33, &device).require_grad());
    let gradients = ours.forward(x.clone()).mean().backward();
    let expected = theirs.forward(same_x.clone()).mean().backward();
    assert_near("dx", &values(&x.grad(&gradients).unwrap()), &values(&same_x.grad(&expected).unwrap()), 1e-6);
}

#[test]
fn what_convolutions_give() {
    let device = device().autodiff();
    device.seed(3);
    let convolution = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
    as_burns([2, 3, 9, 9], |x: Tensor<4>| convolution.forward(x));
}

#[test]
fn pending_work_comes_first_and_later_work_after() {
    let device = device().autodiff();
    let (ours, theirs) = modules(16, &device);
    let chain = |norm: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let more = numbers([64, 16], 35, &device);
        let mut x = numbers([64, 16], 34, &device);
        for _ in 0..20 {
            // Burn's kernels before and after, with buffers that are given back and taken again.
            x = norm(x.mul_scalar(0.5) + more.clone()).tanh();
        }
        values(&x)
    };
    assert_near("chain", &chain(&|x| ours.forward(x)), &chain(&|x| theirs.forward(x)), 1e-5);
}

#[test]
fn inputs_that_are_computed_again_for_the_backward_pass() {
    let device = device().autodiff().gradient_checkpointing();
    let (ours, theirs) = modules(4, &device);
    let [x, same_x] = [(); 2].map(|()| numbers([3, 4, 5], 39, &device).require_grad());
    let weights = numbers([3, 4, 5], 40, &device);
    let chain = |y: Tensor<3>| (y.exp() * weights.clone()).sum().backward();
    let got = chain(ours.forward(x.clone().mul_scalar(0.5).exp()));
    let expected = chain(theirs.forward(same_x.clone().mul_scalar(0.5).exp()));
    assert_near("dx", &values(&x.grad(&got).unwrap()), &values(&same_x.grad(&expected).unwrap()), 1e-5);
}

/// What a forward pass keeps goes by how the input lay; one that is computed again may lie otherwise.
#[test]
fn sums_of_convolutions_with_and_without_checkpointing() {
    for device in [device().autodiff(), device().autodiff().gradient_checkpointing()] {
        device.seed(4);
        let convolution = Conv2dConfig::new([3, 4], [3, 3]).init(&device);
        let (ours, theirs) = modules(4, &device);
        let ours = ours.with_activation(Activation::Relu);
        let [x, same_x] = [(); 2].map(|()| numbers([2, 3, 8, 9], 55, &device).require_grad());
        let skip = numbers([2, 4, 6, 7], 56, &device);
        let weights = numbers([2, 4, 6, 7], 57, &device);
        let sum = |x: &Tensor<4>| convolution.forward(x.clone()) + skip.clone();
        let y = ours.apply(sum(&x)).residual(skip.clone()).run().unwrap();
        let expected = burn::tensor::activation::relu(theirs.forward(sum(&same_x)) + skip.clone());
        let [got, expected] = [y, expected].map(|y| (y * weights.clone()).sum().backward());
        assert_near("dx", &values(&x.grad(&got).unwrap()), &values(&same_x.grad(&expected).unwrap()), 1e-4);
    }
}

#[test]
fn the_input_as_its_own_residual() {
    let device = device().autodiff();
    let (ours, theirs) = modules(4, &device);
    let ours = ours.with_activation(Activation::Relu);
    let [x, same_x] = [(); 2].map(|()| numbers([3, 4, 5], 51, &device).require_grad());
    let weights = numbers([3, 4, 5], 52, &device);
    let y = ours.apply(x.clone()).residual(x.clone()).run().unwrap();
    let expected = burn::tensor::activation::relu(theirs.forward(same_x.clone()) + same_x.clone());
    assert_near("y", &values(&y), &values(&expected), 1e-5);
    let [got, expected] = [y, expected].map(|y| (y * weights.clone()).sum().backward());
    assert_near("dx", &values(&x.grad(&got).unwrap()), &values(&same_x.grad(&expected).unwrap()), 1e-5);
}

#[test]
fn half_precision_with_parameters_in_single() {
    let device = device().autodiff();
    if !device.supports_dtype(DType::F16) {
        return println!("this device has no f16: skipped");
    }
    let (ours, theirs) = modules(6, &device);
    let x = numbers([4, 6, 7], 53, &device);
    let half = x.cast(DType::F16).detach().require_grad();
    let same_x = half.clone().cast(DType::F32).detach().require_grad();
    let (y, expected) = (ours.forward(half.clone()), theirs.forward(same_x.clone()));
    assert_eq!(y.dtype(), DType::F16);
    // An ulp of f16 at 4.
    assert_near("y", &values(&y), &values(&expected), 2e-3);
    let weights = numbers([4, 6, 7], 54, &device);
    let got = (y * weights.clone().cast(DType::F16)).sum().backward();
    let expected = (expected * weights).sum().backward();
    assert_near("dx", &values(&half.grad(&got).unwrap()), &values(&same_x.grad(&expected).unwrap()), 5e-3);
}

#[test]
fn threads_share_a_module() {
    let device = device();
    let norm = BatchNormConfig::new(8).init(&device).with_activation(Activation::Relu);
    let x = numbers([4, 8, 5], 35, &device);
    let expected = values(&norm.forward(x.clone()));
    std::thread::scope(|scope| {
        let run = || values(&norm.forward(x.clone()));
        for thread in [(); 4].map(|()| scope.spawn(run)) {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn records_of_burns_module_are_ours() {
    let device = device().autodiff();
    let theirs = nn::BatchNormConfig::new(5).init(&device);
    for _ in 0..3 {
        theirs.forward(numbers([6, 5, 4], 36, &device).mul_scalar(3.0).add_scalar(1.0));
    }
    let x = numbers([2, 5, 7], 37, &device.clone().inner());
    let expected = values(&theirs.valid().forward(x.clone()));
    let bytes = theirs.into_record().into_bytes().unwrap();
    let read = || burn::store::ModuleRecord::from_bytes(bytes.clone()).unwrap();
    let ours = BatchNormConfig::new(5).init(&device).load_record(read());
    assert_near("y", &values(&ours.valid().forward(x.clone())), &expected, 1e-5);
    // And back.
    let bytes = ours.into_record().into_bytes().unwrap();
    let theirs =
        nn::BatchNormConfig::new(5).init(&device).load_record(burn::store::ModuleRecord::from_bytes(bytes).unwrap());
    assert_near("y", &values(&theirs.valid().forward(x)), &expected, 1e-5);
}

#[test]
fn configurations_of_burns_module_are_ours() {
    use burn::config::Config;
    let theirs = nn::BatchNormConfig::new(5).with_epsilon(1e-3).with_momentum(0.2);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("norm.json");
    theirs.save(&file).unwrap();
    let ours = BatchNormConfig::load(&file).unwrap();
    assert_eq!((ours.num_features, ours.epsilon, ours.momentum), (5, 1e-3, 0.2));
}

#[test]
fn what_was_read_of_running_statistics_stays() {
    let device = device().autodiff();
    let norm = BatchNormConfig::new(3).init(&device);
    let kept = norm.running_mean.value_sync();
    norm.forward(numbers([4, 3, 2], 38, &device).add_scalar(5.0));
    assert_eq!(values(&kept), [0.0; 3]);
    assert!(values(&norm.running_mean.value_sync()).iter().all(|mean| *mean > 0.1));
}
