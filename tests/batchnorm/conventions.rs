//! The frameworks' conventions, against plain computations from their formulas.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{
    Choice, Convention, Descriptor, Gpu, Gradients, Layout, Mask, Momentum, NoValue, Over, Padding, Renorm, Running,
    reference,
};

use crate::adapters::on_every_gpu;
use crate::check::{check, problem};

/// The running statistics after a training forward in each regime, and after an update on its own.
fn moved(gpu: &Gpu, problem: &Problem) -> [[Vec<f32>; 2]; 3] {
    let tile = Some(Tile { columns: 1, lanes: 64 });
    let kernels = |regime| gpu.kernels.choosing(Choice { regime: Some(regime), tile, ..Choice::default() });
    [
        (kernels(Regime::Resident), Operation::Forward),
        (kernels(Regime::Split), Operation::Forward),
        (gpu.kernels.clone(), Operation::UpdateRunning),
    ]
    .map(|(kernels, operation)| {
        let answer = check(gpu, &kernels, problem, operation, Placement::Separate);
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

/// The moving statistics after a batch with a mask, as `keras.layers.BatchNormalization` of Keras 3.15 has them: with
/// weights w of 1 or 0, mean = Σwx/(Σw + 10⁻⁷), variance = Σw(wx − mean)²/(Σw + 10⁻⁷), and
/// moving = 0.99·moving + (1 − 0.99)·batch.
fn keras(problem: &Problem) -> [Vec<f64>; 2] {
    let (channels, descriptor) = (problem.gamma.len(), &problem.descriptor);
    let of: Vec<usize> = reference::channels_of(descriptor).collect();
    let weights: Vec<f64> = (0..problem.x.len())
        .map(|i| {
            let position = match descriptor.layout() {
                Layout::ChannelsLast => i / channels,
                Layout::ChannelsFirst => {
                    let inner: usize = descriptor.shape()[2..].iter().product();
                    i / (inner * channels) * inner + i % inner
                }
            };
            f64::from(u8::from(problem.valid[position]))
        })
        .collect();
    let sum = |channel: usize, term: &dyn Fn(f64, f64) -> f64| -> f64 {
        let own = (0..problem.x.len()).filter(|i| of[*i] == channel);
        own.map(|i| term(weights[i], problem.x[i].into())).sum()
    };
    let all = (0..channels).map(|channel| {
        let count = sum(channel, &|w, _| w) + 1e-7;
        let mean = sum(channel, &|w, x| w * x) / count;
        let variance = sum(channel, &|w, x| w * (w * x - mean).powi(2)) / count;
        let moving = |before: f32, batch: f64| f64::from(before) * 0.99 + batch * (1.0 - 0.99);
        (moving(problem.running_mean[channel], mean), moving(problem.running_variance[channel], variance))
    });
    let (mean, variance) = all.unzip();
    [mean, variance]
}

/// Of a mask with nothing valid Keras moves its statistics as by mean 0 and variance 0; others leave theirs alone.
#[test]
fn a_mask_with_nothing_valid() {
    on_every_gpu(|gpu| {
        for (shape, layout) in [(&[6, 3, 5][..], Layout::ChannelsFirst), (&[6, 5, 4], Layout::ChannelsLast)] {
            for valid in [0, 1, 17] {
                let masked = Descriptor::new(shape, layout).padding(Padding::Mask(Mask::Bytes));
                let mut problem = problem(masked.convention(Convention::Keras));
                problem.valid.iter_mut().enumerate().for_each(|(i, counts)| *counts = i < valid);
                let problem = problem.with_saved();
                let expected = keras(&problem);
                for got in moved(gpu, &problem) {
                    for (got, expected) in got.iter().flatten().zip(expected.iter().flatten()) {
                        // Of one value Keras' 10⁻⁷ is a tenth of what is allowed; of none all is exact but the weight.
                        let off = (f64::from(*got) - expected).abs();
                        assert!(off <= 1e-6 * expected.abs().max(0.01), "{}, {valid}: {got} {expected}", gpu.name());
                    }
                }
                if valid == 0 {
                    let skipped = Running { no_value: NoValue::Skipped, ..Convention::Keras.running() };
                    let skips = Problem { descriptor: problem.descriptor.clone().running(skipped), ..problem.clone() };
                    for [mean, variance] in moved(gpu, &skips) {
                        assert_eq!((mean, variance), (problem.running_mean.clone(), problem.running_variance.clone()));
                    }
                }
            }
        }
    });
}

/// So it is of a group, a step, and an empty batch.
#[test]
fn groups_and_steps_without_values() {
    on_every_gpu(|gpu| {
        let keras = |shape: [usize; 3]| Descriptor::new(shape, Layout::ChannelsFirst).convention(Convention::Keras);
        let masked = keras([6, 3, 5]).padding(Padding::Mask(Mask::Bits));
        // The last group, and the first step.
        let last: fn(usize) -> bool = |position| position < 20;
        let first: fn(usize) -> bool = |position| position % 5 > 0;
        let without = [
            (masked.clone().over(Over::Groups { samples: 2 }), last, false),
            (masked.over(Over::Steps { kept: 2 }), first, true),
            (keras([0, 3, 5]), last, true),
            (keras([6, 3, 0]), last, true),
        ];
        for (descriptor, counts, decays) in without {
            let mut problem = problem(descriptor);
            problem.valid.iter_mut().enumerate().for_each(|(i, valid)| *valid = counts(i));
            let problem = problem.with_saved();
            for operation in [Operation::Forward, Operation::UpdateRunning] {
                let answer = check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                if decays {
                    for (after, before) in answer.get("running_mean").iter().zip(&problem.running_mean).take(3) {
                        assert_close(*after, 0.99 * f64::from(*before), &gpu.name());
                    }
                }
            }
        }
    });
}

/// Keras' `renorm_clipping` without bounds: y = γ(x − μ_r)/σ_r + β, whatever the batch.
#[test]
fn renormalization_without_bounds() {
    on_every_gpu(|gpu| {
        let renorm = Renorm { r_max: f32::INFINITY, d_max: f32::INFINITY };
        let mut problem = problem(Descriptor::new([40, 3], Layout::ChannelsLast).renorm(renorm));
        (problem.running_mean[1], problem.running_variance[1]) = (50.0, 1e-4);
        let problem = problem.with_saved();
        let [training, inference] = [Operation::Forward, Operation::Inference]
            .map(|operation| check(gpu, &gpu.kernels, &problem, operation, Placement::Separate).get("y").to_vec());
        for (training, inference) in training.iter().zip(&inference) {
            approx::assert_relative_eq!(*training, *inference, max_relative = 1e-4, epsilon = 1e-4);
        }
        check(gpu, &gpu.kernels, &problem, Operation::Backward(Gradients::ALL), Placement::Separate);
    });
}
