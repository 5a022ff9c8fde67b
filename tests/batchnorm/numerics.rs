//! Data that breaks careless arithmetic.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{
    Activation, Choice, Descriptor, Float, Gpu, Gradients, Kernels, Layout, Momentum, NoValue, Over, Renorm, Running,
    RunningVariance, Types, reference,
};

use crate::adapters::on_every_gpu;
use crate::check::{OPERATIONS, check, problem};

const SHAPES: [(&[usize], Layout); 5] = [
    (&[8, 3, 10], Layout::ChannelsFirst),
    (&[4, 3, 9, 9], Layout::ChannelsFirst),
    (&[70, 8], Layout::ChannelsLast),
    (&[5, 9, 7], Layout::ChannelsLast),
    (&[2, 2, 4_099], Layout::ChannelsFirst),
];

/// The running statistics become the batch's own, so that they can be looked at.
const OF_THE_BATCH: Running = Running {
    momentum: Momentum::New(1.0),
    variance: RunningVariance::Biased,
    counts_batches: false,
    no_value: NoValue::Skipped,
};

const RENORM: Renorm = Renorm { r_max: 1.5, d_max: 0.5 };

/// Every shape in every regime, but that the largest is too large to be resident.
fn on_shapes(test: impl Fn(&Gpu, &Kernels, Descriptor) + Sync) {
    let tile = Some(Tile { columns: 1, lanes: 64 });
    on_every_gpu(|gpu| {
        for (shape, layout) in SHAPES {
            for (regime, parts) in [(Regime::Resident, None), (Regime::Split, Some(3))] {
                let kernels = gpu.kernels.choosing(Choice { regime: Some(regime), tile, parts, ..Choice::default() });
                let descriptor = Descriptor::new(shape, layout).running(OF_THE_BATCH);
                if regime == Regime::Split || descriptor.values_per_channel() < 400 {
                    test(gpu, &kernels, descriptor);
                }
            }
        }
    });
}

/// Random data, x changed by its index and channel.
fn with_x(descriptor: Descriptor, value: impl Fn(usize, usize, f32) -> f32) -> Problem {
    let mut problem = problem(descriptor);
    let channels: Vec<usize> = reference::channels_of(&problem.descriptor).collect();
    for (i, x) in problem.x.iter_mut().enumerate() {
        *x = value(i, channels[i], *x);
    }
    problem.with_saved()
}

/// E[x²] − E[x]² in f32 would return anything from 0 to 10⁵ here.
#[test]
fn a_mean_of_a_million_costs_nothing() {
    on_shapes(|gpu, kernels, descriptor| {
        let problem = Problem::random(descriptor, 1e6, 1.0, 3);
        for operation in OPERATIONS {
            check(gpu, kernels, &problem, operation, Placement::Separate);
        }
        let answer = check(gpu, kernels, &problem, Operation::Forward, Placement::Separate);
        let batch = reference::forward(&problem.descriptor, &problem.tensors());
        // Nor y, though no f32 holds the mean to better than 0.03.
        for (got, expected) in answer.get("y").iter().zip(&batch.y) {
            approx::assert_abs_diff_eq!(f64::from(*got), *expected, epsilon = 1e-5);
        }
        for (got, expected) in answer.get("running_variance").iter().zip(&batch.statistics.variance) {
            approx::assert_relative_eq!(f64::from(*got), *expected, max_relative = 1e-4);
        }
    });
}

#[test]
fn constant_channels_have_no_variance_and_become_beta() {
    on_shapes(|gpu, kernels, descriptor| {
        for constant in [0.0, 1.0, -1e6, 16_777_217.0, 1e-30, 0.1, 3e38] {
            let problem = with_x(descriptor.clone(), |_, _, _| constant);
            let answer = check(gpu, kernels, &problem, Operation::Forward, Placement::Separate);
            assert!(answer.get("running_variance").iter().all(|variance| *variance == 0.0), "{constant}: {answer:?}");
            assert!(answer.get("running_mean").iter().all(|mean| *mean == constant), "{constant}: {answer:?}");
            let channels = reference::channels_of(&problem.descriptor);
            for (y, c) in answer.get("y").iter().zip(channels) {
                assert_eq!(*y, problem.beta[c], "{constant}");
            }
        }
    });
}

#[test]
fn an_outlier_among_tiny_values() {
    on_shapes(|gpu, kernels, descriptor| {
        let m = descriptor.values_per_channel();
        for outlier in [1.0, 1e6, 1e18] {
            // First, last and in between: wherever a kernel looks for a typical value.
            for at in [0, m / 2, m - 1] {
                let seen = std::cell::RefCell::new(vec![0; descriptor.channels()]);
                let problem = with_x(descriptor.clone(), |_, c, x| {
                    let mut seen = seen.borrow_mut();
                    seen[c] += 1;
                    if seen[c] == at + 1 { outlier } else { x * 1e-6 }
                });
                check(gpu, kernels, &problem, Operation::Forward, Placement::Separate);
                check(gpu, kernels, &problem, Operation::Backward(Gradients::ALL), Placement::Separate);
            }
        }
    });
}

#[test]
fn what_is_not_finite_stays_in_its_channel() {
    on_shapes(|gpu, kernels, descriptor| {
        let clean = problem(descriptor);
        let channels: Vec<usize> = reference::channels_of(&clean.descriptor).collect();
        let sick = 1;
        let last = channels.iter().rposition(|c| *c == sick).unwrap();
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for operation in OPERATIONS {
                let mut problem = clean.clone();
                problem.x[last] = poison;
                problem.dy[last] = poison;
                let run = |problem: &Problem| {
                    pollster::block_on(problem.run(gpu, kernels, operation, Placement::Separate)).unwrap()
                };
                let (well, ill) = (run(&clean), run(&problem));
                for ((name, well), (_, ill)) in well.0.iter().zip(&ill.0) {
                    let mut spoilt = 0;
                    for (i, (well, ill)) in well.iter().zip(ill).enumerate() {
                        let c = if is_of_x(name) { channels[i] } else { i % clean.descriptor.channels() };
                        if c == sick {
                            spoilt += usize::from(!ill.is_finite());
                        } else {
                            assert_eq!(well.to_bits(), ill.to_bits(), "{operation} {name}[{i}], {poison} elsewhere");
                        }
                    }
                    assert!(spoilt > 0, "{operation}: {poison} does not show in {name} of its own channel");
                }
            }
        }
    });
}

/// ε = 0 where statistics are constants: y = γ(x − μ)/√σ² + β, dx = γ·dy/√σ², and of variance 0 nothing finite.
#[test]
fn no_epsilon_by_constants() {
    on_every_gpu(|gpu| {
        for (shape, layout) in SHAPES {
            let mut problem = problem(Descriptor::new(shape, layout).epsilon(0.0));
            problem.running_variance[0] = 1e-6;
            let channels: Vec<usize> = reference::channels_of(&problem.descriptor).collect();
            for operation in [Operation::FrozenBackward(Gradients::ALL), Operation::FrozenBackward(Gradients::DX)] {
                check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
            }
            let answer = check(gpu, &gpu.kernels, &problem, Operation::Inference, Placement::Separate);
            let of = |values: &[f32], c: usize| f64::from(values[c]);
            for ((y, x), c) in answer.get("y").iter().zip(&problem.x).zip(&channels) {
                let deviation = of(&problem.running_variance, *c).sqrt();
                let x_hat = (f64::from(*x) - of(&problem.running_mean, *c)) / deviation;
                let expected = of(&problem.gamma, *c) * x_hat + of(&problem.beta, *c);
                let size = (of(&problem.gamma, *c) * x_hat).abs() + of(&problem.beta, *c).abs();
                approx::assert_abs_diff_eq!(f64::from(*y), expected, epsilon = 1e-6 * size);
            }
            problem.running_variance[0] = 0.0;
            for (operation, name) in [(Operation::Inference, "y"), (Operation::FrozenBackward(Gradients::DX), "dx")] {
                let answer = check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                for (value, c) in answer.get(name).iter().zip(&channels) {
                    assert_eq!(value.is_finite(), *c > 0, "{} {name}: {value}", gpu.name());
                }
            }
        }
    });
}

/// Not one of their bounds.
#[test]
fn r_and_d_of_a_nan_are_nan() {
    on_shapes(|gpu, kernels, descriptor| {
        let channels = descriptor.channels();
        let problem = with_x(descriptor.renorm(RENORM), |_, c, x| if c == 1 { f32::NAN } else { x });
        let run = problem.run(gpu, kernels, Operation::Forward, Placement::Separate);
        let saved = pollster::block_on(run).unwrap().get("saved").to_vec();
        for (i, value) in saved[4 * channels..].iter().enumerate() {
            assert_eq!(value.is_nan(), i % channels == 1, "{} {i}: {value}", gpu.name());
        }
    });
}

/// r and d of a batch without values are those of mean 0 and variance 0, in groups and steps too.
#[test]
fn an_empty_batch_has_r_and_d() {
    on_every_gpu(|gpu| {
        let groups = Over::Groups { samples: 1 };
        let empty = [
            Descriptor::new([0, 3, 2], Layout::ChannelsFirst),
            Descriptor::new([2, 3, 0], Layout::ChannelsFirst).over(groups),
            Descriptor::new([2, 0, 3], Layout::ChannelsLast).over(groups),
            Descriptor::new([0, 3, 4], Layout::ChannelsFirst).over(Over::Steps { kept: 2 }),
            Descriptor::new([0, 4, 3], Layout::ChannelsLast).over(Over::Steps { kept: 2 }),
        ];
        for descriptor in empty {
            let counted = Running { counts_batches: true, ..Running::default() };
            for running in [counted, Running { momentum: Momentum::Cumulative, ..counted }] {
                let problem = problem(descriptor.clone().renorm(RENORM).running(running));
                for operation in [Operation::Forward, Operation::UpdateRunning, Operation::Backward(Gradients::ALL)] {
                    check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                }
            }
        }
    });
}

fn is_of_x(name: &str) -> bool {
    name == "y" || name == "dx"
}

#[test]
fn the_same_bits_every_time() {
    on_shapes(|gpu, kernels, descriptor| {
        let problem = problem(descriptor);
        for operation in OPERATIONS {
            let first = check(gpu, kernels, &problem, operation, Placement::Separate);
            for placement in [Placement::Separate, Placement::OneBuffer, Placement::Separate] {
                let again = check(gpu, kernels, &problem, operation, placement);
                assert!(first.same_bits(&again), "{}: {operation} {placement:?}", gpu.name());
            }
        }
    });
}

/// A y so near the bend that x, found again from it and rounded, would be on the other side.
#[test]
fn from_y_the_side_of_the_bend_is_that_of_y() {
    on_shapes(|gpu, kernels, descriptor| {
        let descriptor = descriptor.backward_from_y(true).activation(Activation::LeakyRelu(0.1));
        let mut problem = with_x(descriptor, |i, _, x| if i % 3 == 0 { x * 1e-9 } else { x + 3.0 });
        let statistics = reference::forward(&problem.descriptor, &problem.tensors()).statistics;
        for (c, beta) in problem.beta.iter_mut().enumerate() {
            problem.gamma[c] = 1.0 + c as f32;
            *beta = (f64::from(problem.gamma[c]) * statistics.mean[c] * statistics.inverse_deviation[c]) as f32;
        }
        check(gpu, kernels, &problem, Operation::Backward(Gradients::ALL), Placement::Separate);
    });
}

/// Values that a flushing adapter may take for zero are zero or themselves, no NaN among them.
/// γ = 0.01 beside β = 1 loses x in a y of 16 bits, of which √u is 0.022 or 0.0625, and not in one of f32, of which it is
/// 1/4096; so does γ = 0.03 in bf16 alone.
#[test]
fn what_is_lost_depends_on_the_type_of_y() {
    on_shapes(|gpu, kernels, descriptor| {
        let from_y = descriptor.backward_from_y(true).health(true);
        for (float, lost) in [(Float::F32, 0), (Float::F16, 1), (Float::Bf16, 2)] {
            let mut problem = problem(from_y.clone().types(Types::mixed(float)));
            let channels = problem.gamma.len();
            (problem.gamma, problem.beta) = (vec![1.0; channels], vec![1.0; channels]);
            problem.gamma[..2].copy_from_slice(&[0.01, 0.03]);
            let frozen = Operation::FrozenBackward(Gradients::ALL);
            for operation in [Operation::Backward(Gradients::ALL), frozen] {
                let answer = check(gpu, kernels, &problem, operation, Placement::Separate);
                // (One was counted before.)
                assert_eq!(answer.get("health")[3], 1.0 + lost as f32, "{float:?}");
            }
        }
    });
}

#[test]
fn subnormal_values_are_harmless() {
    on_shapes(|gpu, kernels, descriptor| {
        let problem = with_x(descriptor.epsilon(1e-30), |_, _, x| x * 1e-40);
        for operation in [Operation::Forward, Operation::Backward(Gradients::ALL)] {
            check(gpu, kernels, &problem, operation, Placement::Separate);
        }
    });
}

/// What side of a bend a value is on depends on how the statistics are rounded; whoever judges goes by the rounded ones.
#[test]
fn sides_of_a_bend_are_judged_by_the_saved_statistics() {
    on_shapes(|gpu, kernels, descriptor| {
        for activation in [Activation::Relu, Activation::Clamp(-0.5, 0.5)] {
            for residual in [false, true] {
                let bent = descriptor.clone().activation(activation).residual(residual);
                let problem = Problem::random(bent, 1e5, 1.0, 3);
                check(gpu, kernels, &problem, Operation::Backward(Gradients::ALL), Placement::Separate);
            }
        }
    });
}

/// Then y has no mean that could be wrong.
#[test]
fn a_scale_or_shift_that_is_not_finite_is_judged_by_y_alone() {
    on_every_gpu(|gpu| {
        for value in [f32::NAN, f32::INFINITY] {
            let mut problem = problem(Descriptor::new([9, 3], Layout::ChannelsFirst));
            (problem.gamma[0], problem.beta[1]) = (value, value);
            check(gpu, &gpu.kernels, &problem, Operation::Forward, Placement::Separate);
        }
    });
}
