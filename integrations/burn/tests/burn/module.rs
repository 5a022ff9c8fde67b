//! Values and gradients of the module, and those of burn's.

use burn::module::Module;
use burn::nn;
use burn::tensor::{Device, Tensor};
use burn_wgpu_batchnorm::{BatchNorm, BatchNormConfig};

use crate::common::{assert_near, device, numbers, values};

/// Both modules with the same parameters.
fn pair(channels: usize, device: &Device) -> (BatchNorm, nn::BatchNorm) {
    let mut ours = BatchNormConfig::new(channels).init(device);
    let mut theirs = nn::BatchNormConfig::new(channels).init(device);
    let (gamma, beta) = (numbers([channels], 1, device), numbers([channels], 2, device));
    ours.gamma = ours.gamma.map(|_| gamma.clone().detach().require_grad());
    theirs.gamma = theirs.gamma.map(|_| gamma.detach().require_grad());
    ours.beta = ours.beta.map(|_| beta.clone().detach().require_grad());
    theirs.beta = theirs.beta.map(|_| beta.detach().require_grad());
    (ours, theirs)
}

fn trains_as_burns<const D: usize>(shape: [usize; D]) {
    let device = device().autodiff();
    let (ours, theirs) = pair(shape[1], &device);
    let inputs = || numbers(shape, 3, &device).mul_scalar(2.0).add_scalar(0.5).require_grad();
    let (x, of_theirs) = (inputs(), inputs());
    let dy = numbers(shape, 4, &device);
    let (y, expected) = (ours.forward(x.clone()), theirs.forward(of_theirs.clone()));
    assert_near("y", &values(&y), &values(&expected), 1e-5);
    let gradients = (y * dy.clone()).sum().backward();
    let of_their = (expected * dy).sum().backward();
    let grad = |tensor: &Tensor<D>, gradients| values(&tensor.grad(gradients).unwrap());
    assert_near("dx", &grad(&x, &gradients), &grad(&of_theirs, &of_their), 1e-5);
    for (what, ours, theirs) in [("dgamma", &ours.gamma, &theirs.gamma), ("dbeta", &ours.beta, &theirs.beta)] {
        let [ours, theirs] =
            [(ours, &gradients), (theirs, &of_their)].map(|(param, g)| values(&param.val().grad(g).unwrap()));
        assert_near(what, &ours, &theirs, 1e-4);
    }
    // PyTorch averages the unbiased variance, burn the biased one: 0.9 · 1 + 0.1 · variance.
    let m = (shape.iter().product::<usize>() / shape[1]) as f32;
    let unbiased: Vec<f32> =
        values(&theirs.running_var.value_sync()).iter().map(|v| 0.9 + (v - 0.9) * m / (m - 1.0)).collect();
    assert_near(
        "running mean",
        &values(&ours.running_mean.value_sync()),
        &values(&theirs.running_mean.value_sync()),
        1e-6,
    );
    assert_near("running variance", &values(&ours.running_var.value_sync()), &unbiased, 1e-5);
    // Now by running statistics, those of ours.
    let mut theirs = theirs.valid();
    let ours = ours.valid();
    theirs.running_var = ours.running_var.clone();
    let x = x.inner();
    assert_near("inference", &values(&ours.forward(x.clone())), &values(&theirs.forward(x)), 1e-5);
}

#[test]
fn rows() {
    trains_as_burns([32, 10]);
}

#[test]
fn sequences() {
    trains_as_burns([4, 6, 37]);
}

#[test]
fn images() {
    trains_as_burns([3, 5, 8, 9]);
}

/// Channels that several workgroups share.
#[test]
fn large_images() {
    trains_as_burns([2, 4, 80, 80]);
}

#[test]
fn volumes() {
    trains_as_burns([2, 3, 4, 5, 6]);
}
