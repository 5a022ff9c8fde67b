//! The reference against truths of its own: an example worked by hand, finite differences, other layouts
//! of the same data, and other ways to say the same.

use approx::assert_relative_eq;
use wgpu_batchnorm::reference::{self, Backward, Forward, Statistics, Tensors};
use wgpu_batchnorm::verify::Problem;
use wgpu_batchnorm::{Activation, Descriptor, Layout, Mask, Momentum, Over, Padding, Renorm, Running, RunningVariance};

use crate::check::problem;

/// Two channels: 1, 2, 3, 6 (mean 3, variance 14/4) and four times 5 (variance 0).
type Loss<'a> = &'a dyn Fn(&Problem) -> f64;
type Values = fn(&mut Problem) -> &mut Vec<f32>;

#[test]
fn agrees_with_an_example_by_hand() {
    let running = Running { momentum: Momentum::Old(0.75), ..Running::default() };
    let descriptor = Descriptor::new([2, 2, 2], Layout::ChannelsFirst).epsilon(0.5).running(running);
    let tensors = Tensors {
        x: &[1.0, 2.0, 5.0, 5.0, 3.0, 6.0, 5.0, 5.0],
        gamma: Some(&[4.0, 1.0]),
        beta: Some(&[10.0, -1.0]),
        running_mean: &[4.0, 1.0],
        running_variance: &[2.0, 1.0],
        ..Tensors::default()
    };
    let Forward { y, z, statistics } = reference::forward(&descriptor, &tensors);
    assert_eq!((&statistics.mean[..], &statistics.count[..]), (&[3.0, 5.0][..], &[4.0, 4.0][..]));
    assert_eq!(statistics.variance, [3.5, 0.0]);
    // 1/√(3.5 + 0.5) and 1/√0.5.
    assert_relative_eq!(statistics.inverse_deviation[..], [0.5, 2.0_f64.sqrt()][..]);
    assert_relative_eq!(y[..], [6.0, 8.0, -1.0, -1.0, 10.0, 16.0, -1.0, -1.0][..]);
    assert_eq!(y, z);
    // 3/4 of the old and 1/4 of the new; the unbiased variance is 14/3.
    let moved = |descriptor: &Descriptor| reference::running(descriptor, &statistics, &tensors, 1);
    let (mean, variance) = moved(&descriptor);
    assert_relative_eq!(mean[..], [3.75, 2.0][..]);
    assert_relative_eq!(variance[..], [1.5 + 14.0 / 12.0, 0.75][..]);
    let biased = descriptor.clone().running(Running { variance: RunningVariance::Biased, ..running });
    assert_relative_eq!(moved(&biased).1[0], 1.5 + 3.5 / 4.0);
    assert_eq!(moved(&descriptor.running(None)), (vec![4.0, 1.0], vec![2.0, 1.0]));
}

#[test]
fn inference_agrees_with_an_example_by_hand() {
    let descriptor = Descriptor::new([1, 2], Layout::ChannelsLast).epsilon(1.0);
    let tensors = Tensors {
        x: &[7.0, -1.0],
        gamma: Some(&[2.0, 3.0]),
        running_mean: &[1.0, 1.0],
        running_variance: &[3.0, 0.0],
        ..Tensors::default()
    };
    assert_relative_eq!(reference::inference(&descriptor, &tensors)[..], [6.0, -6.0][..]);
}

const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.25),
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clamp(-0.5, 1.0),
];

/// At 1 and −5, to all digits of an f64.
#[test]
fn activations_are_what_they_are_called() {
    let at = |activation, z: f32| {
        let descriptor = Descriptor::new([1, 1], Layout::ChannelsFirst).epsilon(1.0).activation(activation);
        let tensors = Tensors { x: &[z], running_mean: &[0.0], running_variance: &[0.0], ..Tensors::default() };
        reference::inference(&descriptor, &tensors)[0]
    };
    let known = [
        [1.0, -5.0],
        [1.0, 0.0],
        [1.0, -1.25],
        [0.731_058_578_630_004_9, -0.033_464_254_621_424_28],
        [0.841_344_746_068_542_9, -1.433_257_859_395_969_4e-6],
        [0.731_058_578_630_004_9, 6.692_850_924_284_856e-3],
        [0.761_594_155_955_764_9, -0.999_909_204_262_595_1],
        [1.0, -0.5],
    ];
    for (activation, known) in ACTIVATIONS.into_iter().zip(known) {
        for (z, y) in [1.0, -5.0].into_iter().zip(known) {
            assert_relative_eq!(at(activation, z), y, max_relative = 1e-14);
        }
    }
}

/// Every option that a gradient goes through, in both layouts.
fn options() -> Vec<Descriptor> {
    let padding = Padding::Mask(Mask::Bits);
    // Bounds so narrow that both are reached, where r and d are constants indeed.
    let renorm = Renorm { r_max: 1.25, d_max: 0.125 };
    let (groups, steps) = (Over::Groups { samples: 2 }, Over::Steps { kept: 3 });
    let both = [([3, 2, 4], Layout::ChannelsFirst), ([3, 4, 2], Layout::ChannelsLast)];
    let plain = both.map(|(shape, layout)| Descriptor::new(shape, layout).epsilon(0.5));
    let options = plain.into_iter().flat_map(|it| {
        let alone = [it.clone().padding(padding), it.clone().over(groups), it.clone().over(steps)];
        let together = [groups, steps].map(|over| {
            it.clone().padding(padding).over(over).renorm(renorm).activation(Activation::Gelu).residual(true)
        });
        let bent = ACTIVATIONS.map(|activation| it.clone().activation(activation));
        let added = bent.clone().map(|it| it.residual(true));
        [bent.to_vec(), added.to_vec(), alone.to_vec(), together.to_vec(), vec![it.renorm(renorm)]].concat()
    });
    options.collect()
}

/// Data on a grid of 1/1024, so that a step of that size is exact in f32; running statistics far from the batch's.
fn exact(descriptor: Descriptor) -> Problem {
    let p = Problem::random(descriptor, 0.5, 1.0, 3);
    let exact = |values: &[f32]| values.iter().map(|v| (v * 1024.0).round() / 1024.0).collect::<Vec<f32>>();
    let [x, dy, residual, gamma, beta] = [&p.x, &p.dy, &p.residual, &p.gamma, &p.beta].map(|values| exact(values));
    let (running_mean, running_variance) = (vec![-3.0; p.running_mean.len()], vec![8.0; p.running_mean.len()]);
    Problem { x, dy, residual, gamma, beta, running_mean, running_variance, ..p }
}

/// d/dx, d/dγ, d/dβ and d/dresidual of L = Σ dy·y, by central differences of the forward pass.
#[test]
fn gradients_agree_with_finite_differences() {
    let h = 1.0 / 1024.0_f32;
    for descriptor in options() {
        let p = exact(descriptor.clone());
        let loss = |y: &[f64]| -> f64 { y.iter().zip(&p.dy).map(|(y, dy)| y * f64::from(*dy)).sum() };
        let trained = |p: &Problem| loss(&reference::forward(&descriptor, &p.tensors()).y);
        let frozen = |p: &Problem| loss(&reference::inference(&descriptor, &p.tensors()));
        let batch = reference::forward(&descriptor, &p.tensors()).statistics;
        let passes: [(Loss<'_>, Backward); 2] = [
            (&trained, reference::backward(&descriptor, &p.tensors(), &batch)),
            (&frozen, reference::frozen_backward(&descriptor, &p.tensors())),
        ];
        for (loss, Backward { dx, dgamma, dbeta, dresidual }) in passes {
            let tensors: [(Values, Vec<f64>); 4] = [
                (|p| &mut p.x, dx),
                (|p| &mut p.gamma, dgamma),
                (|p| &mut p.beta, dbeta),
                (|p| &mut p.residual, if p.residual.is_empty() { vec![] } else { dresidual }),
            ];
            for (pick, gradient) in tensors {
                for (i, expected) in gradient.into_iter().enumerate() {
                    let at = |by: f32| {
                        let mut nudged = p.clone();
                        pick(&mut nudged)[i] += by;
                        loss(&nudged)
                    };
                    let slope = (at(h) - at(-h)) / (2.0 * f64::from(h));
                    // The error of a central difference falls with h², 10⁻⁶ here.
                    assert!((slope - expected).abs() < 2e-5, "{descriptor:?}[{i}]: {slope}, {expected}");
                }
            }
        }
    }
}

#[test]
fn layouts_agree() {
    let (n, c, l) = (3, 5, 4);
    let first = Descriptor::new([n, c, l], Layout::ChannelsFirst);
    let last = Descriptor::new([n, l, c], Layout::ChannelsLast);
    let p = problem(first.clone());
    let permute = |values: &[f32]| -> Vec<f32> { permuted(n, c, l).map(|i| values[i]).collect() };
    let permute_wide = |values: &[f64]| -> Vec<f64> { permuted(n, c, l).map(|i| values[i]).collect() };
    let (x, dy) = (permute(&p.x), permute(&p.dy));
    let permuted = Tensors { x: &x, dy: &dy, ..p.tensors() };
    let one = reference::forward(&first, &p.tensors());
    let other = reference::forward(&last, &permuted);
    assert_relative_eq!(permute_wide(&one.y)[..], other.y[..], max_relative = 1e-12);
    assert_relative_eq!(one.statistics.variance[..], other.statistics.variance[..], max_relative = 1e-12);
    let one = reference::backward(&first, &p.tensors(), &one.statistics);
    let other = reference::backward(&last, &permuted, &other.statistics);
    assert_relative_eq!(permute_wide(&one.dx)[..], other.dx[..], max_relative = 1e-9, epsilon = 1e-12);
    assert_relative_eq!(one.dgamma[..], other.dgamma[..], max_relative = 1e-12);
}

/// Where in `[n, c, l]` each value of `[n, l, c]` is.
fn permuted(n: usize, c: usize, l: usize) -> impl Iterator<Item = usize> {
    (0..n).flat_map(move |i| (0..l).flat_map(move |k| (0..c).map(move |j| (i * c + j) * l + k)))
}

#[test]
fn channels_are_told_apart() {
    let of = |shape: &[usize], layout| reference::channels_of(&Descriptor::new(shape, layout)).collect::<Vec<_>>();
    assert_eq!(of(&[2, 2, 2], Layout::ChannelsFirst), [0, 0, 1, 1, 0, 0, 1, 1]);
    assert_eq!(of(&[2, 2, 2], Layout::ChannelsLast), [0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(of(&[2, 3], Layout::ChannelsFirst), of(&[2, 3], Layout::ChannelsLast));
}

/// What a pass makes of some tensors: y, the running statistics after the third batch, and the gradients.
struct Pass {
    forward: Forward,
    running: [Vec<f64>; 2],
    backward: Backward,
}

fn pass(descriptor: &Descriptor, tensors: &Tensors<'_>, number: u32) -> Pass {
    let forward = reference::forward(descriptor, tensors);
    let (mean, variance) = reference::running(descriptor, &forward.statistics, tensors, number);
    let backward = reference::backward(descriptor, tensors, &forward.statistics);
    Pass { forward, running: [mean, variance], backward }
}

/// The values at these indices.
fn at<T: Copy>(values: &[T], indices: &[usize]) -> Vec<T> {
    indices.iter().map(|i| values[*i]).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Where dy is 0 at padding, what is valid comes out as if there were nothing else.
#[test]
fn padding_is_as_good_as_nothing() {
    let masked = Descriptor::new([9, 3, 4], Layout::ChannelsFirst).padding(Padding::Mask(Mask::Words));
    let (lengths, samples) = (masked.clone().padding(Padding::Lengths { axis: 2 }), 0..9);
    // Whole samples masked, and all samples cut to three.
    let some: Vec<usize> = samples.clone().filter(|n| n % 3 != 1).collect();
    let whole: Vec<bool> = samples.clone().flat_map(|n| [some.contains(&n); 4]).collect();
    let cut: Vec<bool> = samples.flat_map(|_| [true, true, true, false]).collect();
    for (padded, valid, shape) in [(masked, whole, [some.len(), 3, 4]), (lengths, cut, [9, 3, 3])] {
        let counts = |i: &usize| valid[i / 12 * 4 + i % 4];
        let kept: Vec<usize> = (0..108).filter(counts).collect();
        let mut p = Problem { valid: valid.clone(), ..problem(padded.clone()) };
        (0..108).filter(|i| !counts(i)).for_each(|i| p.dy[i] = 0.0);
        let (x, dy) = (at(&p.x, &kept), at(&p.dy, &kept));
        let dense = Descriptor::new(shape, Layout::ChannelsFirst);
        let expected = pass(&dense, &Tensors { x: &x, dy: &dy, ..p.tensors() }, 1);
        // Nor does it matter what lies at padding.
        for poison in [0.0, 1e30, f32::NAN, f32::INFINITY] {
            (0..108).filter(|i| !counts(i)).for_each(|i| p.x[i] = poison);
            let got = pass(&padded, &p.tensors(), 1);
            assert_eq!(got.forward.statistics, expected.forward.statistics);
            assert_eq!(got.running, expected.running);
            assert_eq!(at(&got.forward.y, &kept), expected.forward.y);
            assert_eq!(at(&got.backward.dx, &kept), expected.backward.dx);
            assert_eq!(got.backward.dgamma, expected.backward.dgamma);
            assert_eq!(got.backward.dbeta, expected.backward.dbeta);
        }
    }
}

#[test]
fn where_nothing_counts_statistics_stay() {
    let masked = Descriptor::new([4, 3], Layout::ChannelsLast).epsilon(0.25).padding(Padding::Mask(Mask::Bytes));
    let p = Problem { valid: vec![false; 4], ..problem(masked.clone()) };
    let Pass { forward, running, backward } = pass(&masked, &p.tensors(), 1);
    let Statistics { mean, variance, count, inverse_deviation, .. } = forward.statistics;
    assert_eq!((mean, variance, count), (vec![0.0; 3], vec![0.0; 3], vec![0.0; 3]));
    assert_eq!(inverse_deviation, [2.0; 3]);
    assert_eq!(running.map(|values| narrow(&values)), [p.running_mean.clone(), p.running_variance.clone()]);
    let dx = |i: usize| 2.0 * f64::from(p.gamma[i % 3]) * f64::from(p.dy[i]);
    assert_relative_eq!(backward.dx[..], (0..12).map(dx).collect::<Vec<_>>()[..]);
}

/// Five samples in twos are three batches, one after the other.
#[test]
fn groups_are_batches_of_their_own() {
    for momentum in [Momentum::New(0.25), Momentum::Cumulative] {
        let rule = Running { momentum, ..Running::default() };
        let of = |samples: usize| Descriptor::new([samples, 3, 2], Layout::ChannelsFirst).running(rule);
        let grouped = of(5).over(Over::Groups { samples: 2 });
        let p = problem(grouped.clone());
        let whole = pass(&grouped, &p.tensors(), 7);
        let (mut mean, mut variance) = (p.running_mean.clone(), p.running_variance.clone());
        let (mut y, mut dx, mut means) = (vec![], vec![], vec![]);
        let (mut dgamma, mut dbeta) = (vec![0.0; 3], vec![0.0; 3]);
        for (number, samples) in [0..2, 2..4, 4..5].into_iter().enumerate() {
            let values = 6 * samples.start..6 * samples.end;
            let (x, dy) = (&p.x[values.clone()], &p.dy[values]);
            let tensors = Tensors { x, dy, running_mean: &mean, running_variance: &variance, ..p.tensors() };
            let one = pass(&of(samples.len()), &tensors, 7 + number as u32);
            y.extend(one.forward.y);
            dx.extend(one.backward.dx);
            means.extend(one.forward.statistics.mean);
            dgamma.iter_mut().zip(one.backward.dgamma).for_each(|(sum, of_group)| *sum += of_group);
            dbeta.iter_mut().zip(one.backward.dbeta).for_each(|(sum, of_group)| *sum += of_group);
            [mean, variance] = one.running.map(|values| narrow(&values));
        }
        assert_eq!((&whole.forward.y, &whole.backward.dx), (&y, &dx));
        assert_eq!(whole.forward.statistics.mean, means);
        assert_relative_eq!(whole.backward.dgamma[..], dgamma[..], max_relative = 1e-12);
        assert_relative_eq!(whole.backward.dbeta[..], dbeta[..], max_relative = 1e-12);
        let after = [mean, variance].map(|values| values.into_iter().map(f64::from).collect::<Vec<_>>());
        assert_relative_eq!(whole.running[0][..], after[0][..], max_relative = 1e-6);
        assert_relative_eq!(whole.running[1][..], after[1][..], max_relative = 1e-6);
    }
}

/// Of four steps, three have running statistics; the fourth looks at the third's and leaves them alone.
#[test]
fn steps_are_layers_of_their_own() {
    let (n, c, steps, kept) = (5, 3, 4, 3);
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let first = layout == Layout::ChannelsFirst;
        let shape = if first { [n, c, steps] } else { [n, steps, c] };
        let stepped = Descriptor::new(shape, layout).over(Over::Steps { kept });
        let p = problem(stepped.clone());
        let whole = pass(&stepped, &p.tensors(), 1);
        let inference = reference::inference(&stepped, &p.tensors());
        let frozen = reference::frozen_backward(&stepped, &p.tensors());
        let mut dgamma = [vec![0.0; c], vec![0.0; c]];
        for step in 0..steps {
            let index =
                |n: usize, c_: usize| if first { (n * c + c_) * steps + step } else { (n * steps + step) * c + c_ };
            let unit = |c_: usize| if first { c_ * steps + step } else { step * c + c_ };
            let values: Vec<usize> = (0..n).flat_map(|n| (0..c).map(move |c| index(n, c))).collect();
            let units: Vec<usize> = (0..c).map(unit).collect();
            let of_step = step.min(kept - 1) * c..(step.min(kept - 1) + 1) * c;
            let (x, dy) = (at(&p.x, &values), at(&p.dy, &values));
            let tensors = Tensors {
                x: &x,
                dy: &dy,
                running_mean: &p.running_mean[of_step.clone()],
                running_variance: &p.running_variance[of_step.clone()],
                ..p.tensors()
            };
            let alone = Descriptor::new([n, c], layout);
            let one = pass(&alone, &tensors, 1);
            assert_eq!(at(&whole.forward.y, &values), one.forward.y);
            assert_eq!(at(&whole.backward.dx, &values), one.backward.dx);
            assert_eq!(at(&whole.forward.statistics.variance, &units), one.forward.statistics.variance);
            assert_eq!(at(&inference, &values), reference::inference(&alone, &tensors));
            let of_frozen = reference::frozen_backward(&alone, &tensors);
            assert_eq!(at(&frozen.dx, &values), of_frozen.dx);
            for (sum, one) in dgamma.iter_mut().zip([one.backward.dgamma, of_frozen.dgamma]) {
                sum.iter_mut().zip(one).for_each(|(sum, of_step)| *sum += of_step);
            }
            if step < kept {
                assert_eq!(whole.running[0][of_step.clone()], one.running[0]);
                assert_eq!(whole.running[1][of_step], one.running[1]);
            }
        }
        assert_relative_eq!(whole.backward.dgamma[..], dgamma[0][..], max_relative = 1e-12);
        assert_relative_eq!(frozen.dgamma[..], dgamma[1][..], max_relative = 1e-12);
    }
}

/// With the narrowest bounds batch renormalization is batch norm, with wide ones it normalises by the running
/// statistics as they were.
#[test]
fn renormalization_is_between_batch_and_inference() {
    let plain = Descriptor::new([6, 3, 2], Layout::ChannelsFirst);
    let p = problem(plain.clone());
    let bound = |r_max, d_max| plain.clone().renorm(Renorm { r_max, d_max });
    let (narrow, expected) = (pass(&bound(1.0, 0.0), &p.tensors(), 1), pass(&plain, &p.tensors(), 1));
    assert_eq!(narrow.forward, expected.forward);
    assert_eq!(narrow.running, expected.running);
    assert_eq!(narrow.backward, expected.backward);
    let wide = reference::forward(&bound(1e6, 1e6), &p.tensors());
    assert_relative_eq!(
        wide.y[..],
        reference::inference(&plain, &p.tensors())[..],
        max_relative = 1e-12,
        epsilon = 1e-12
    );
}

/// What x was can be seen in y, but for a channel whose γ is next to nothing.
#[test]
fn backward_from_y_is_backward() {
    for activation in [Activation::Identity, Activation::LeakyRelu(0.25)] {
        let from_x = Descriptor::new([6, 3, 2], Layout::ChannelsFirst).activation(activation);
        let from_y = from_x.clone().backward_from_y(true);
        let mut p = problem(from_x.clone());
        let forward = reference::forward(&from_x, &p.tensors());
        let y = narrow(&forward.y);
        let expected = reference::backward(&from_x, &p.tensors(), &forward.statistics);
        let got = reference::backward(&from_y, &Tensors { x: &y, ..p.tensors() }, &forward.statistics);
        assert_relative_eq!(got.dx[..], expected.dx[..], max_relative = 1e-4, epsilon = 1e-6);
        assert_relative_eq!(got.dgamma[..], expected.dgamma[..], max_relative = 1e-4, epsilon = 1e-6);
        assert_eq!(got.dbeta, expected.dbeta);
        (p.gamma[1], p.beta[1]) = (0.25 / 4096.0, 0.25);
        let lost = reference::backward(&from_y, &Tensors { x: &y, ..p.tensors() }, &forward.statistics);
        assert_eq!(lost.dgamma[1], 0.0);
    }
}

#[test]
fn an_empty_batch_has_gradients_of_zero() {
    for shape in [[0, 3, 2], [2, 3, 0]] {
        let empty = Descriptor::new(shape, Layout::ChannelsFirst).padding(Padding::Lengths { axis: 2 });
        for over in [Over::Batch, Over::Groups { samples: 1 }, Over::Steps { kept: 2 }] {
            let empty = empty.clone().over(over);
            let p = problem(empty.clone());
            let Pass { forward, running, backward } = pass(&empty, &p.tensors(), 1);
            assert!(forward.y.is_empty() && backward.dx.is_empty());
            assert_eq!(running.map(|values| narrow(&values)), [p.running_mean.clone(), p.running_variance.clone()]);
            assert_eq!((&backward.dgamma[..], &backward.dbeta[..]), (&[0.0; 3][..], &[0.0; 3][..]));
            let frozen = reference::frozen_backward(&empty, &p.tensors());
            assert_eq!((&frozen.dgamma[..], &frozen.dbeta[..]), (&[0.0; 3][..], &[0.0; 3][..]));
        }
    }
}
