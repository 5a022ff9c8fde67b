//! What burn's own module has not: activations and residuals in the kernels, padding, and statistics of steps,
//! against the same composed of burn's operations.

use burn::tensor::{Bool, Device, Int, IntDType, Tensor, activation::relu};
use burn_wgpu_batchnorm::{Activation, BatchNorm, BatchNormConfig};

use crate::common::{assert_near, device, numbers, values};

const EPSILON: f64 = 1e-5;

fn module(channels: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(channels).init(device);
    norm.gamma = norm.gamma.map(|_| numbers([channels], 11, device).add_scalar(1.5).detach().require_grad());
    norm.beta = norm.beta.map(|_| numbers([channels], 12, device).detach().require_grad());
    norm
}

/// A tensor that gradients are taken of.
fn leaf<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    numbers(shape, seed, device).require_grad()
}

/// Per channel mean and biased variance over the positions that count, and y, by burn's operations; x is [N, C, L].
fn composed(x: &Tensor<3>, counts: &Tensor<3>, norm: &BatchNorm) -> (Tensor<3>, Tensor<3>, Tensor<3>) {
    let sum = |tensor: Tensor<3>| tensor.sum_dim(0).sum_dim(2);
    let m = sum(counts.clone());
    let mean = sum(x.clone() * counts.clone()) / m.clone();
    let from_mean = x.clone() - mean.clone();
    let variance = sum(from_mean.clone().powi_scalar(2) * counts.clone()) / m;
    let channels = norm.gamma.val().dims()[0];
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|param| param.val().reshape([1, channels, 1]));
    let y = from_mean / variance.clone().add_scalar(EPSILON).sqrt() * gamma + beta;
    (y, mean, variance)
}

/// Checks y and the gradients of x, γ and β, for a loss that weighs every value.
#[track_caller]
fn same(
    what: &str,
    got: Tensor<3>,
    expected: Tensor<3>,
    of_got: &[Tensor<3>],
    of_expected: &[Tensor<3>],
    norms: [&BatchNorm; 2],
) {
    let weights = numbers(got.dims(), 13, &got.device());
    assert_near(&format!("{what}: y"), &values(&got), &values(&expected), 2e-5);
    let (one, other) = ((got * weights.clone()).sum().backward(), (expected * weights).sum().backward());
    for (i, (got, expected)) in of_got.iter().zip(of_expected).enumerate() {
        let [got, expected] = [(got, &one), (expected, &other)].map(|(tensor, g)| values(&tensor.grad(g).unwrap()));
        assert_near(&format!("{what}: gradient {i}"), &got, &expected, 2e-5);
    }
    for (name, param) in [("dgamma", [&norms[0].gamma, &norms[1].gamma]), ("dbeta", [&norms[0].beta, &norms[1].beta])] {
        let [got, expected] = [(param[0], &one), (param[1], &other)].map(|(p, g)| values(&p.val().grad(g).unwrap()));
        assert_near(name, &got, &expected, 1e-4);
    }
}

#[test]
fn every_activation() {
    let device = device().autodiff();
    use Activation::*;
    for activation in [Relu, LeakyRelu(0.1), Silu, Gelu, Sigmoid, Tanh, Clamp(-0.5, 0.75)] {
        let shape = [4, 6, 9];
        let (fused, plain) = (module(6, &device).with_activation(activation), module(6, &device));
        let (x, same_x) = (leaf(shape, 14, &device), leaf(shape, 14, &device));
        let z = plain.forward(same_x.clone());
        use burn::tensor::activation as burns;
        let expected = match activation {
            Identity => z,
            Relu => burns::relu(z),
            LeakyRelu(slope) => burns::leaky_relu(z, slope.into()),
            Silu => burns::silu(z),
            // The gradient of burn's own is an approximation by tanh.
            Gelu => z.clone() * z.div_scalar(std::f32::consts::SQRT_2).erf().add_scalar(1.0).div_scalar(2.0),
            Sigmoid => burns::sigmoid(z),
            Tanh => burns::tanh(z),
            Clamp(low, high) => z.clamp(low, high),
        };
        same(&format!("{activation:?}"), fused.forward(x.clone()), expected, &[x], &[same_x], [&fused, &plain]);
    }
}

#[test]
fn residuals_with_and_without_an_activation() {
    let device = device().autodiff();
    // ReLU keeps signs, SiLU the residual; identity hands dy on.
    for activation in [Activation::Identity, Activation::Relu, Activation::Silu] {
        let shape = [3, 8, 7];
        let (fused, plain) = (module(8, &device).with_activation(activation), module(8, &device));
        let inputs = || [leaf(shape, 15, &device), leaf(shape, 16, &device)];
        let ([x, skip], [same_x, same_skip]) = (inputs(), inputs());
        let z = plain.forward(same_x.clone()) + same_skip.clone();
        let expected = match activation {
            Activation::Relu => relu(z),
            Activation::Silu => burn::tensor::activation::silu(z),
            _ => z,
        };
        let got = fused.apply(x.clone()).residual(skip.clone()).run().unwrap();
        same(&format!("{activation:?}"), got, expected, &[x, skip], &[same_x, same_skip], [&fused, &plain]);
    }
}

#[test]
fn frozen_layers_take_gradients_through_running_statistics() {
    use burn::module::Module;
    let device = device().autodiff();
    let shape = [3, 5, 6];
    // A layer frozen amid others that train: its input still wants a gradient.
    let norm = module(5, &device).with_activation(Activation::Relu);
    norm.forward(leaf(shape, 17, &device));
    let running = [&norm.running_mean, &norm.running_var].map(|running| running.value_sync().reshape([1, 5, 1]));
    let norm = norm.freeze();
    let (x, same_x) = (leaf(shape, 18, &device), leaf(shape, 18, &device));
    let (skip, same_skip) = (leaf(shape, 19, &device), leaf(shape, 19, &device));
    let [mean, variance] = running;
    let [gamma, beta] = [&norm.gamma, &norm.beta].map(|param| param.val().reshape([1, 5, 1]));
    let z = (same_x.clone() - mean) / variance.add_scalar(EPSILON).sqrt() * gamma + beta + same_skip.clone();
    let got = norm.apply(x.clone()).residual(skip.clone()).run().unwrap();
    let expected = relu(z);
    assert_near("y", &values(&got), &values(&expected), 2e-5);
    let (got, expected) = (got.powi_scalar(2).sum().backward(), expected.powi_scalar(2).sum().backward());
    for (what, mine, burns) in [("dx", &x, &same_x), ("dresidual", &skip, &same_skip)] {
        assert_near(what, &values(&mine.grad(&got).unwrap()), &values(&burns.grad(&expected).unwrap()), 2e-5);
    }
    assert!(norm.gamma.val().grad(&got).is_none());
}

/// 1 where a position counts, [N, C, L].
fn ones(lengths: &[i32], [n, c, l]: [usize; 3], device: &Device) -> Tensor<3> {
    let row = |length: &i32| (0..l).map(|i| f32::from((i as i32) < *length)).collect::<Vec<_>>();
    let values: Vec<f32> = lengths.iter().flat_map(row).collect();
    Tensor::<3>::from_data(burn::tensor::TensorData::new(values, [n, 1, l]), device).expand([n, c, l])
}

#[test]
fn lengths_and_masks_say_what_counts() {
    let device = device().autodiff();
    let (shape, lengths) = ([4, 5, 9], [9, 1, 4, 7]);
    let counts = ones(&lengths, shape, &device);
    let mask: Tensor<2, Bool> = counts.clone().slice([0..4, 0..1, 0..9]).reshape([4, 9]).greater_elem(0.5);
    // Of any integer type.
    let lengths = || Tensor::<1, Int>::from_data(lengths, &device).cast(IntDType::I64);
    for masked in [false, true] {
        let (norm, plain) = (module(5, &device), module(5, &device));
        let (x, same_x) = (leaf(shape, 20, &device), leaf(shape, 20, &device));
        let (expected, mean, variance) = composed(&same_x, &counts, &plain);
        let call = norm.apply(x.clone());
        let call = if masked { call.mask(mask.clone()) } else { call.lengths(lengths()) };
        same(if masked { "mask" } else { "lengths" }, call.run().unwrap(), expected, &[x], &[same_x], [&norm, &plain]);
        let m = 21.0;
        let flat = |tensor: Tensor<3>| values(&tensor.reshape([5]));
        let expected: Vec<f32> = flat(mean).iter().map(|mean| 0.1 * mean).collect();
        assert_near("running mean", &values(&norm.running_mean.value_sync()), &expected, 1e-6);
        let expected: Vec<f32> = flat(variance).iter().map(|v| 0.9 + 0.1 * v * m / (m - 1.0)).collect();
        assert_near("running variance", &values(&norm.running_var.value_sync()), &expected, 1e-5);
    }
}

#[test]
fn steps_have_statistics_of_their_own() {
    let device = device().autodiff();
    let [n, c, steps] = [6, 4, 3];
    let norm = BatchNormConfig::new(c).init_steps(steps, &device);
    let x = leaf([n, c, steps], 21, &device);
    let y = norm.forward(x.clone());
    let each: Vec<BatchNorm> = (0..steps).map(|_| BatchNormConfig::new(c).init(&device)).collect();
    let expected = each
        .iter()
        .enumerate()
        .map(|(t, norm)| norm.forward(x.clone().slice([0..n, 0..c, t..t + 1]).reshape([n, c])).unsqueeze_dim::<3>(2));
    let expected = Tensor::cat(expected.collect(), 2);
    assert_near("y", &values(&y), &values(&expected), 1e-5);
    let weights = numbers([n, c, steps], 22, &device);
    let gradients = (y * weights.clone()).sum().backward();
    let of_expected = (expected * weights).sum().backward();
    assert_near("dx", &values(&x.grad(&gradients).unwrap()), &values(&x.grad(&of_expected).unwrap()), 1e-5);
    let expected: Vec<f32> = each.iter().flat_map(|norm| values(&norm.running_mean.value_sync())).collect();
    assert_near("running means, step by step", &values(&norm.running_mean.value_sync()), &expected, 1e-6);
    let expected: Vec<f32> = each.iter().flat_map(|norm| values(&norm.running_var.value_sync())).collect();
    assert_near("running variances, step by step", &values(&norm.running_var.value_sync()), &expected, 1e-5);
}
