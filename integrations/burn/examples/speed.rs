//! The time of a training step of this batch norm and of burn's own, side by side: forward and backward through
//! autodiff, from a tensor on the device to its gradient, waited for. Medians, taken in turns.
//!
//! ```sh
//! cargo run --release -p burn-wgpu-batchnorm --example speed
//! ```

use std::time::{Duration, Instant};

use burn::nn;
use burn::tensor::{Device, Distribution, Tensor};
use burn_wgpu_batchnorm::{Activation, BatchNormConfig};

/// Batch, channels, height and width: a layer of SimpleNet, of small images, and of ResNet-50.
const SHAPES: [[usize; 4]; 5] = [[64, 256, 1, 1], [64, 16, 8, 8], [16, 64, 28, 28], [8, 256, 14, 14], [4, 64, 56, 56]];

const TURNS: usize = 15;

fn main() {
    let device = Device::default().autodiff();
    println!("{:>20}  {:>10}  {:>10}  {:>6}  {:>22}", "shape", "burn's", "this one", "ratio", "with ReLU and residual");
    for shape in SHAPES {
        let ours = BatchNormConfig::new(shape[1]).init(&device);
        let theirs = nn::BatchNormConfig::new(shape[1]).init(&device);
        let fused = BatchNormConfig::new(shape[1]).init(&device).with_activation(Activation::Relu);
        let x = Tensor::<4>::random(shape, Distribution::Default, &device);
        let step = |norm: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            let x = x.clone().detach().require_grad();
            device.sync().expect("the device works");
            let start = Instant::now();
            let gradients = norm(x.clone()).backward();
            let dx = x.grad(&gradients).expect("x takes part");
            device.sync().expect("the device works");
            drop(dx);
            start.elapsed()
        };
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..TURNS {
            times[0].push(step(&|x| theirs.forward(x)));
            times[1].push(step(&|x| ours.forward(x)));
            times[2].push(step(&|x| burn::tensor::activation::relu(theirs.forward(x.clone()) + x)));
            times[3].push(step(&|x| fused.apply(x.clone()).residual(x).run().expect("the residual fits")));
        }
        let [burns, ours, burns_and_more, fused] = times.map(median);
        let ratio = |one: Duration, other: Duration| one.as_secs_f64() / other.as_secs_f64();
        println!(
            "{:>20}  {:>7.2} ms  {:>7.2} ms  {:>6.1}  {:>6.2} against {:.2} ms",
            format!("{shape:?}"),
            burns.as_secs_f64() * 1e3,
            ours.as_secs_f64() * 1e3,
            ratio(burns, ours),
            fused.as_secs_f64() * 1e3,
            burns_and_more.as_secs_f64() * 1e3,
        );
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
