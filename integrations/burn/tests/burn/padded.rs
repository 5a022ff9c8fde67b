//! Batches of sequences padded to one length, against the same sequences end to end.

use burn::module::Param;
use burn::tensor::{Int, Tensor};
use burn_wgpu_batchnorm::{Activation, BatchNormConfig};

use crate::common::{assert_near, device, numbers, values};

const LENGTHS: [i64; 4] = [3, 7, 1, 5];
const CHANNELS: usize = 6;

/// The sequences of `[4, CHANNELS, 7]` without their padding, end to end: `[1, CHANNELS, 16]`.
fn end_to_end(padded: &Tensor<3>) -> Tensor<3> {
    let sequence = |(n, length)| padded.clone().narrow(0, n, 1).narrow(2, 0, length as usize);
    Tensor::cat((0..).zip(LENGTHS).map(sequence).collect(), 2)
}

#[test]
fn what_padding_holds_changes_nothing() {
    let device = device().autodiff();
    let lengths = Tensor::<1, Int>::from_data(LENGTHS, &device);
    let x = numbers([4, CHANNELS, 7], 1, &device);
    let places = Tensor::<1, Int>::arange(0..7, &device).reshape([1, 1, 7]).expand([4, CHANNELS, 7]);
    let padding = places.greater_equal(lengths.clone().reshape([4, 1, 1]).expand([4, CHANNELS, 7]));
    let padded = x.clone().mask_fill(padding.clone(), 1e3).require_grad();
    let tight = end_to_end(&x).require_grad();
    let dy = numbers([4, CHANNELS, 7], 2, &device).mask_fill(padding, 0.0);

    let norm = || BatchNormConfig::new(CHANNELS).init(&device).with_activation(Activation::Relu);
    let (ours, expected) = (norm(), norm());
    let y = ours.apply(padded.clone()).lengths(lengths).run().unwrap();
    let of_tight = expected.forward(tight.clone());
    assert_near("y", &values(&end_to_end(&y)), &values(&of_tight), 1e-5);

    let gradients = (y * dy.clone()).sum().backward();
    let of_expected = (of_tight * end_to_end(&dy)).sum().backward();
    let dx = padded.grad(&gradients).unwrap();
    assert_near("dx", &values(&end_to_end(&dx)), &values(&tight.grad(&of_expected).unwrap()), 1e-5);
    let grad = |parameter: &Param<Tensor<1>>, gradients| values(&parameter.val().grad(gradients).unwrap());
    assert_near("dgamma", &grad(&ours.gamma, &gradients), &grad(&expected.gamma, &of_expected), 1e-5);
    assert_near("dbeta", &grad(&ours.beta, &gradients), &grad(&expected.beta, &of_expected), 1e-5);

    for (what, ours, expected) in [
        ("running mean", &ours.running_mean, &expected.running_mean),
        ("running variance", &ours.running_var, &expected.running_var),
    ] {
        assert_near(what, &values(&ours.value_sync()), &values(&expected.value_sync()), 1e-5);
    }
}
