//! The frameworks' conventions, against plain computations from their formulas.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{Convention, Descriptor, Gpu, Layout, Momentum, Running};

use crate::adapters::on_every_gpu;
use crate::check::{check, problem};

/// The running statistics after a training forward, and after an update on its own.
fn moved(gpu: &Gpu, problem: &Problem) -> [[Vec<f32>; 2]; 2] {
    [Operation::Forward, Operation::UpdateRunning].map(|operation| {
        let answer = check(gpu, &gpu.kernels, problem, operation, Placement::Separate);
        ["running_mean", "running_variance"].map(|name| answer.get(name).to_vec())
    })
}

/// Four roundings: of both weights, of a product, of the sum.
fn assert_close(got: f32, expected: f64, what: &str) {
    let off = (f64::from(got) - expected).abs();
    assert!(off <= 4.0 * expected.abs() / f64::from(1 << 24), "{what}: {got} for {expected}, off by {off:e}");
}

/// 1 − 0.99 in f32 is 0.00999999, 1e-6 of it too little: both weights come from the number as it was given.
#[test]
fn both_weights_of_a_momentum_are_rounded_once() {
    on_every_gpu(|gpu| {
        for (momentum, old, new) in [(Momentum::Old(0.99), 0.99, 0.01), (Momentum::New(0.99), 0.01, 0.99)] {
            let running = Running { momentum, ..Convention::Keras.running() };
            let mut problem = problem(Descriptor::new([64, 2], Layout::ChannelsLast).running(running));
            // Of a batch of mean 3,000 and variance 10^6 all sums are exact.
            for (i, x) in problem.x.iter_mut().enumerate() {
                *x = if i / 2 % 2 == 0 { 4000.0 } else { 2000.0 };
            }
            (problem.running_mean, problem.running_variance) = (vec![0.0, 3e6], vec![0.0, 3e9]);
            for [mean, variance] in moved(gpu, &problem.with_saved()) {
                for (channel, before) in [[0.0, 0.0], [3e6, 3e9]].into_iter().enumerate() {
                    let what = format!("{} {momentum:?}", gpu.name());
                    assert_close(mean[channel], old * before[0] + new * 3e3, &what);
                    assert_close(variance[channel], old * before[1] + new * 1e6, &what);
                }
            }
        }
    });
}
