//! The reference against truths of its own: an example worked by hand, finite differences, and other
//! layouts of the same data.

use approx::{assert_abs_diff_eq, assert_relative_eq};
use wgpu_batchnorm::{Descriptor, Layout, Momentum, Running, RunningVariance, reference};

use crate::check::problem;

/// Two channels: 1, 2, 3, 6 (mean 3, variance 14/4) and four times 5 (variance 0).
#[test]
fn agrees_with_an_example_by_hand() {
    let running = Running { momentum: Momentum::Old(0.75), ..Running::default() };
    let descriptor = Descriptor::new([2, 2, 2], Layout::ChannelsFirst).epsilon(0.5).running(running);
    let x = [1.0, 2.0, 5.0, 5.0, 3.0, 6.0, 5.0, 5.0];
    let batch = reference::forward(&descriptor, &x, Some(&[4.0, 1.0]), Some(&[10.0, -1.0]));
    assert_eq!(batch.mean, [3.0, 5.0]);
    assert_eq!(batch.variance, [3.5, 0.0]);
    // 1/√(3.5 + 0.5) and 1/√0.5.
    assert_relative_eq!(batch.inverse_deviation[..], [0.5, 2.0_f64.sqrt()][..]);
    assert_relative_eq!(batch.y[..], [6.0, 8.0, -1.0, -1.0, 10.0, 16.0, -1.0, -1.0][..]);
    // 3/4 of the old and 1/4 of the new; the unbiased variance is 14/3.
    let (mean, variance) = reference::running(&descriptor, &batch, &[4.0, 1.0], &[2.0, 1.0], 1);
    assert_relative_eq!(mean[..], [3.75, 2.0][..]);
    assert_relative_eq!(variance[..], [1.5 + 14.0 / 12.0, 0.75][..]);
    let biased = descriptor.clone().running(Running { variance: RunningVariance::Biased, ..running });
    assert_relative_eq!(reference::running(&biased, &batch, &[4.0, 1.0], &[2.0, 1.0], 1).1[0], 1.5 + 3.5 / 4.0);
    let none = descriptor.running(None);
    assert_eq!(reference::running(&none, &batch, &[4.0, 1.0], &[2.0, 1.0], 1), (vec![4.0, 1.0], vec![2.0, 1.0]));
}

#[test]
fn inference_agrees_with_an_example_by_hand() {
    let descriptor = Descriptor::new([1, 2], Layout::ChannelsLast).epsilon(1.0);
    let y = reference::inference(&descriptor, &[7.0, -1.0], Some(&[2.0, 3.0]), None, &[1.0, 1.0], &[3.0, 0.0]);
    assert_relative_eq!(y[..], [6.0, -6.0][..]);
}

/// Of x, γ and β.
type Loss<'a> = dyn Fn(&[f32], &[f32], &[f32]) -> f64 + 'a;

/// d/dx, d/dγ and d/dβ of L = Σ dy·y, by central differences of the forward pass.
#[test]
fn gradients_agree_with_finite_differences() {
    for (shape, layout) in [([3, 2, 4], Layout::ChannelsFirst), ([3, 4, 2], Layout::ChannelsLast)] {
        let descriptor = Descriptor::new(shape, layout).epsilon(0.01);
        let p = problem(descriptor.clone());
        // Steps are exact in f32, so that x + h is what it says.
        let h = 1.0 / 1024.0_f32;
        let exact = |values: &[f32]| values.iter().map(|v| (v * 1024.0).round() / 1024.0).collect::<Vec<f32>>();
        let (x, dy, gamma, beta) = (exact(&p.x), exact(&p.dy), exact(&p.gamma), exact(&p.beta));
        let loss = |y: &[f64]| -> f64 { y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum() };
        let nudged = |values: &[f32], i: usize, by: f32| {
            let mut values = values.to_vec();
            values[i] += by;
            values
        };
        let slope = |values: &[f32], i: usize, at: &dyn Fn(&[f32]) -> f64| {
            (at(&nudged(values, i, h)) - at(&nudged(values, i, -h))) / (2.0 * f64::from(h))
        };

        let trained = |x: &[f32], gamma: &[f32], beta: &[f32]| {
            loss(&reference::forward(&descriptor, x, Some(gamma), Some(beta)).y)
        };
        let batch = reference::forward(&descriptor, &x, None, None);
        let got = reference::backward(&descriptor, &x, &dy, Some(&gamma), &batch.mean, &batch.inverse_deviation);
        let frozen = |x: &[f32], gamma: &[f32], beta: &[f32]| {
            let (mean, variance) = (&p.running_mean, &p.running_variance);
            loss(&reference::inference(&descriptor, x, Some(gamma), Some(beta), mean, variance))
        };
        let (mean, variance) = (&p.running_mean, &p.running_variance);
        let got_frozen = reference::frozen_backward(&descriptor, &x, &dy, Some(&gamma), mean, variance);

        let losses: [(&Loss, _); 2] = [(&trained, got), (&frozen, got_frozen)];
        for (loss, got) in losses {
            for (i, dx) in got.dx.iter().enumerate() {
                // The error of a central difference falls with h², 10⁻⁶ here.
                assert_abs_diff_eq!(*dx, slope(&x, i, &|x| loss(x, &gamma, &beta)), epsilon = 1e-4);
            }
            for c in 0..2 {
                assert_abs_diff_eq!(got.dgamma[c], slope(&gamma, c, &|g| loss(&x, g, &beta)), epsilon = 1e-6);
                assert_abs_diff_eq!(got.dbeta[c], slope(&beta, c, &|b| loss(&x, &gamma, b)), epsilon = 1e-6);
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
    let (gamma, beta) = (Some(&p.gamma[..]), Some(&p.beta[..]));
    let one = reference::forward(&first, &p.x, gamma, beta);
    let other = reference::forward(&last, &permute(&p.x), gamma, beta);
    assert_relative_eq!(permute_wide(&one.y)[..], other.y[..], max_relative = 1e-12);
    assert_relative_eq!(one.variance[..], other.variance[..], max_relative = 1e-12);
    let one = reference::backward(&first, &p.x, &p.dy, gamma, &one.mean, &one.inverse_deviation);
    let (x, dy) = (permute(&p.x), permute(&p.dy));
    let other = reference::backward(&last, &x, &dy, gamma, &other.mean, &other.inverse_deviation);
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
