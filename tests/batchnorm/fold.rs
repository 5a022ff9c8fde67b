//! Folding, held against the layer and batch norm one after the other, in f64 on the CPU.

use std::collections::BTreeMap;

use wgpu_batchnorm::fold::{Affine, Axes, FoldError, Layer, Normalization, Padding, into_next, into_previous};

use crate::check::says;
use crate::convolution::{Images, Walk, folded, random};

/// Sums of up to 54 products in f64, twice: a thousand roundings of 2^-53, and none of a result that is
/// folded wrongly.
const TOLERANCE: f64 = 1e-13;

/// Weight shapes with the walk that goes with them: linear, convolutions over one and two axes, grouped,
/// depthwise.
const LAYERS: [(&[usize], Walk); 8] = [
    (&[4, 6], Walk::PLAIN),
    (&[4, 6, 3], Walk::PLAIN),
    (&[4, 6, 3, 3], Walk::PLAIN),
    (&[4, 6, 1, 1], Walk { stride: 2, zeros: 0, groups: 1 }),
    (&[4, 6, 3, 2], Walk { stride: 2, zeros: 1, groups: 1 }),
    (&[4, 3, 3, 3], Walk { stride: 1, zeros: 0, groups: 2 }),
    (&[6, 1, 3, 3], Walk { stride: 1, zeros: 0, groups: 6 }),
    (&[12, 1, 3, 3], Walk { stride: 1, zeros: 2, groups: 6 }),
];

/// The input of a layer: 6 channels in all of them.
fn input(shape: &[usize]) -> Images {
    let size = if shape.len() == 2 { 1 } else { 7 };
    Images::random([2, 6, size, size], 1)
}

/// A batch norm that is far from doing nothing.
fn norm(channels: usize) -> Affine {
    let variance: Vec<f64> = random(channels, 2).iter().map(|v| 2.0 + v).collect();
    let gamma: Vec<f64> = random(channels, 3).iter().map(|v| 1.5 + v).collect();
    let norm = Normalization {
        gamma: Some(&gamma),
        beta: Some(&random(channels, 4)),
        mean: &random(channels, 5),
        variance: &variance,
        epsilon: 1e-3,
    };
    norm.affine().unwrap()
}

fn on_every_layer(test: impl Fn(&Layer<'_, f64>, Walk)) {
    for (shape, walk) in LAYERS {
        let (weight, bias) = (random(shape.iter().product(), 6), random(shape[0], 7));
        for bias in [None, Some(bias.as_slice())] {
            test(&Layer { weight: &weight, shape, axes: Axes::OutIn, groups: walk.groups, bias }, walk);
        }
    }
}

#[test]
fn a_layer_with_the_batch_norm_behind_it_in_it_computes_both() {
    on_every_layer(|layer, walk| {
        let norm = norm(layer.shape[0]);
        let x = input(layer.shape);
        let expected = x.convolve(layer, walk).normalize(&norm);
        let result = into_previous(&norm, layer).unwrap();
        let distance = expected.distance(&x.convolve(&folded(&result, layer), walk));
        assert!(distance < TOLERANCE, "{:?} {walk:?}: {distance:e}", layer.shape);
    });
}

#[test]
fn a_layer_with_the_batch_norm_before_it_in_it_computes_both() {
    on_every_layer(|layer, walk| {
        let norm = norm(6);
        let x = input(layer.shape);
        let expected = x.normalize(&norm).convolve(layer, walk);
        // What would come out if nobody minded the padding.
        let result = into_next(&norm, layer, Padding::None).unwrap();
        let distance = expected.distance(&x.convolve(&folded(&result, layer), walk));
        if walk.padding() == Padding::None {
            assert!(distance < TOLERANCE, "{:?} {walk:?}: {distance:e}", layer.shape);
        } else {
            assert!(distance > 0.01, "{:?} {walk:?}: {distance:e}", layer.shape);
            let error = into_next(&norm, layer, walk.padding()).unwrap_err();
            assert_eq!(error, FoldError::ZeroPadding { channel: 0, shift: norm.shift[0] });
            says(&error, &["zeros", "channel 0", &norm.shift[0].to_string()]);
        }
    });
}

/// Zeros are zeros before and after a batch norm that only scales.
#[test]
fn zero_padding_is_no_matter_where_nothing_is_shifted() {
    on_every_layer(|layer, walk| {
        let norm = Affine { shift: vec![0.0; 6], ..norm(6) };
        let x = input(layer.shape);
        let expected = x.normalize(&norm).convolve(layer, walk);
        let result = into_next(&norm, layer, walk.padding()).unwrap();
        let distance = expected.distance(&x.convolve(&folded(&result, layer), walk));
        assert!(distance < TOLERANCE, "{:?} {walk:?}: {distance:e}", layer.shape);
    });
}

/// A weight as the definition of its axes reads it: from output channel, input channel and place in the kernel.
fn weights(weight: &[f64], shape: &[usize], axes: Axes, groups: usize) -> BTreeMap<[usize; 3], f64> {
    let mut all = BTreeMap::new();
    let mut values = weight.iter();
    let [a, b, c] = [0, 1, 2].map(|axis| shape[axis]);
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                // How many channels of the kind that is all on one axis a group has.
                let one = |all: usize, part: usize, parts: usize, whole: usize| all / (whole / groups) * parts + part;
                let place = match axes {
                    Axes::OutIn => [i, one(i, j, b, a), k],
                    Axes::InOut => [one(i, j, b, a), i, k],
                    Axes::LastInOut => [k, one(k, j, b, c), i],
                    Axes::LastOutIn => [one(k, j, b, c), k, i],
                    Axes::Depthwise => [j * c + k, j, i],
                    Axes::OutLastIn => [i, one(i, k, c, a), j],
                };
                assert_eq!(all.insert(place, *values.next().unwrap()), None, "{axes:?}");
            }
        }
    }
    all
}

/// Whatever a framework's order: W′[o, i, k] = s[o]·W[o, i, k], or s[i]·W[o, i, k] with t[i] in the bias.
#[test]
fn every_order_of_axes_is_folded_along_the_right_one() {
    for (axes, shape, groups, [outputs, inputs]) in [
        (Axes::OutIn, [4, 6, 3], 1, [4, 6]),
        (Axes::OutIn, [4, 3, 3], 2, [4, 6]),
        (Axes::InOut, [6, 4, 3], 1, [4, 6]),
        (Axes::InOut, [6, 2, 3], 2, [4, 6]),
        (Axes::InOut, [6, 6, 2], 1, [6, 6]),
        (Axes::InOut, [6, 1, 3], 6, [6, 6]),
        (Axes::LastInOut, [3, 6, 4], 1, [4, 6]),
        (Axes::LastInOut, [3, 3, 4], 2, [4, 6]),
        (Axes::LastOutIn, [3, 4, 6], 1, [4, 6]),
        (Axes::LastOutIn, [3, 2, 6], 2, [4, 6]),
        (Axes::Depthwise, [3, 6, 2], 1, [12, 6]),
        (Axes::OutLastIn, [4, 3, 6], 1, [4, 6]),
        (Axes::OutLastIn, [4, 3, 3], 2, [4, 6]),
    ] {
        let about = format!("{axes:?} {shape:?} {groups}");
        let (weight, bias) = (random(shape.iter().product(), 6), random(outputs, 7));
        let layer = Layer { weight: &weight, shape: &shape, axes, groups, bias: Some(&bias) };
        let before = weights(&weight, &shape, axes, groups);
        let close = |a: f64, b: f64| assert!((a - b).abs() < TOLERANCE, "{about}: {a} {b}");

        let affine = norm(outputs);
        let folded = into_previous(&affine, &layer).unwrap();
        let after = weights(&folded.weight, &shape, axes, groups);
        assert_eq!(after.len(), before.len(), "{about}");
        for (place, weight) in &before {
            close(after[place], affine.scale[place[0]] * weight);
        }
        for (o, bias) in bias.iter().enumerate() {
            close(folded.bias[o], affine.scale[o] * bias + affine.shift[o]);
        }

        let affine = norm(inputs);
        if [Axes::InOut, Axes::LastOutIn].contains(&axes) {
            // The inputs that meet in an output differ from place to place.
            let error = into_next(&affine, &layer, Padding::None).unwrap_err();
            assert!(matches!(error, FoldError::ZeroPadding { .. }), "{about}: {error:?}");
        }
        for affine in [Affine { shift: vec![0.0; inputs], ..affine.clone() }, affine] {
            let Ok(folded) = into_next(&affine, &layer, Padding::None) else { continue };
            let after = weights(&folded.weight, &shape, axes, groups);
            let mut expected = bias.clone();
            for (place, weight) in &before {
                close(after[place], affine.scale[place[1]] * weight);
                expected[place[0]] += weight * affine.shift[place[1]];
            }
            expected.iter().zip(&folded.bias).for_each(|(a, b)| close(*a, *b));
        }
    }
}

/// The negative control: each of the two ways is wrong for the other order.
#[test]
fn the_order_matters() {
    let weight = random(36, 6);
    let layer = Layer { weight: &weight, shape: &[6, 6], axes: Axes::OutIn, groups: 1, bias: None };
    let (norm, x) = (norm(6), input(layer.shape));
    let expected = x.normalize(&norm).convolve(&layer, Walk::PLAIN);
    let wrong = into_previous(&norm, &layer).unwrap();
    let distance = expected.distance(&x.convolve(&folded(&wrong, &layer), Walk::PLAIN));
    assert!(distance > 0.01, "{distance:e}");
}

#[test]
fn parts_that_are_not_there_are_one_and_zero() {
    let (mean, variance) = ([0.5f32, -1.0], [4.0f32, 0.25]);
    let none = Normalization { gamma: None, beta: None, mean: &mean, variance: &variance, epsilon: 1e-5 };
    let same = Normalization { gamma: Some(&[1.0, 1.0]), beta: Some(&[0.0, 0.0]), ..none };
    assert_eq!(none.affine(), same.affine());
    assert_eq!(none.affine().unwrap().scale[0], 1.0 / (4.0 + 1e-5f64).sqrt());
}

#[test]
fn errors_name_what_was_and_what_had_to_be() {
    let norm = norm(4);
    let weight = [0.0; 24];
    let layer = |shape| Layer { weight: &weight, shape, axes: Axes::OutIn, groups: 1, bias: None };
    let previous = |shape| into_previous(&norm, &layer(shape)).unwrap_err();
    let next = |shape, groups| into_next(&norm, &Layer { groups, ..layer(shape) }, Padding::None).unwrap_err();
    let refused: [(FoldError, &[&str]); 12] = [
        (previous(&[24]), &["[24]", "[out, in]"]),
        (previous(&[]), &["[]", "[out, in]"]),
        (previous(&[4, 0, 6]), &["[4, 0, 6]", "0"]),
        (previous(&[usize::MAX, 3]), &["[out, in]"]),
        (previous(&[4, 5]), &["weight", "24", "20"]),
        (previous(&[6, 4]), &["[6, 4]", "6 channels", "has 4"]),
        (next(&[4, 6], 1), &["[4, 6]", "6 channels", "1 group", "has 4"]),
        (next(&[6, 4], 2), &["[6, 4]", "8 channels", "2 group", "has 4"]),
        (next(&[6, 4], 0), &["groups is 0", "6 output"]),
        (next(&[6, 4], 4), &["groups is 4", "6 output"]),
        (into_previous(&norm, &Layer { bias: Some(&[0.0; 3]), ..layer(&[4, 6]) }).unwrap_err(), &["bias", "3", "4"]),
        (into_previous(&Affine { shift: vec![], ..norm.clone() }, &layer(&[4, 6])).unwrap_err(), &["shift", "0", "4"]),
    ];
    for (error, words) in refused {
        says(&error, words);
    }
}

/// Whatever made them so: the layer, or what it is folded with.
#[test]
fn results_that_are_not_finite_are_refused_in_both_orders() {
    let (norm, mut weight) = (norm(2), [1.0; 8]);
    weight[6] = f64::NAN;
    let layer = Layer { weight: &weight, shape: &[2, 2, 2], axes: Axes::OutIn, groups: 1, bias: None };
    let previous = |norm: &Affine, layer: &Layer<'_, f64>| into_previous(norm, layer);
    let next = |norm: &Affine, layer: &Layer<'_, f64>| into_next(norm, layer, Padding::None);
    for fold in [&previous as &dyn Fn(&_, &Layer<'_, _>) -> _, &next] {
        let error = fold(&norm, &layer).unwrap_err();
        assert!(matches!(error, FoldError::Folded { what: "weight", index: 6, channel: 1, .. }), "{error:?}");
        says(&error, &["weight", "NaN", "index 6", "output channel 1"]);
        let layer = Layer { weight: &[1.0; 8], bias: Some(&[0.0, f64::INFINITY]), ..layer };
        let error = fold(&norm, &layer).unwrap_err();
        assert!(matches!(error, FoldError::Folded { what: "bias", index: 1, channel: 1, .. }), "{error:?}");
        let infinite = Affine { scale: vec![1.0, f64::INFINITY], shift: vec![0.0; 2] };
        let layer = Layer { bias: None, ..layer };
        assert!(matches!(fold(&infinite, &layer), Err(FoldError::Folded { what: "weight", .. })));
    }
}

#[test]
fn batch_norms_without_a_positive_variance_are_refused() {
    let norm = |variance: &'static [f32]| Normalization {
        gamma: None,
        beta: None,
        mean: &[0.0, 0.0],
        variance,
        epsilon: 1e-5,
    };
    for (variance, shown) in [(&[1.0, -1.0], "-1"), (&[1.0, f32::NAN], "NaN"), (&[1.0, f32::NEG_INFINITY], "-inf")] {
        let error = norm(variance).affine().unwrap_err();
        assert!(matches!(error, FoldError::Variance { channel: 1, .. }), "{error:?}");
        says(&error, &["channel 1", shown, "0.00001", "above 0"]);
    }
    // Less than ε below 0, so that the root is there all the same; and infinite, so that it is 0 all the same.
    for (variance, shown) in [(&[1.0, -1e-6], "-0.00000099"), (&[1.0, f32::INFINITY], "inf")] {
        says(&norm(variance).affine().unwrap_err(), &["channel 1", shown]);
    }
    for epsilon in [f64::INFINITY, f64::NAN, -1e-9] {
        let error = Normalization { epsilon, ..norm(&[1.0, 1.0]) }.affine().unwrap_err();
        assert!(matches!(error, FoldError::Epsilon { .. }), "{error:?}");
        says(&error, &["epsilon", &epsilon.to_string(), "finite"]);
    }
    for what in ["gamma", "beta", "mean"] {
        for value in [f32::NAN, f32::INFINITY] {
            let (fine, wrong) = ([0.0, 1.0], [1.0, value]);
            let of = |part| if part == what { &wrong } else { &fine };
            let norm =
                Normalization { gamma: Some(of("gamma")), beta: Some(of("beta")), mean: of("mean"), ..norm(&[1.0; 2]) };
            says(&norm.affine().unwrap_err(), &[what, "channel 1", &value.to_string()]);
        }
    }
    norm(&[0.0, 0.0]).affine().unwrap();
    let zero = Normalization { epsilon: 0.0, ..norm(&[0.0, 0.0]) };
    assert!(matches!(zero.affine(), Err(FoldError::Variance { channel: 0, .. })));
    let error = norm(&[1.0]).affine().unwrap_err();
    assert_eq!(error, FoldError::Length { what: "variance", has: 1, needs: 2 });
    let error = Normalization { gamma: Some(&[1.0; 3]), ..norm(&[1.0, 1.0]) }.affine().unwrap_err();
    assert_eq!(error, FoldError::Length { what: "gamma", has: 3, needs: 2 });
}
