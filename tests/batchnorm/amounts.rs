//! Numbers of a caller's, however large, small or odd: products do not wrap, every binding is one that the device
//! makes, and what is too much, or nothing at all, is an error at once.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Recipe};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning};
use wgpu_batchnorm::{
    Activation, BatchNorm, BindError, Bindings, Descriptor, Float, Gradients, Layout, Over, PlanError, Tensor, Types,
    View,
};

use crate::check::says;
use crate::every::{OPERATIONS, OPTIONS};
use crate::fuzz::{Times, fuzz};
use crate::noop::Noop;
use crate::strategies::HUGE;

const FIRST: Layout = Layout::ChannelsFirst;
const DEVICE: Capabilities = Capabilities::webgpu_default(AdapterKind::Cpu);

fn plan(descriptor: &Descriptor, operation: Operation, capabilities: &Capabilities) -> Result<Recipe, PlanError> {
    Recipe::new(descriptor, operation, capabilities, &Tuning::of(capabilities.kind), &Choice::default())
}

fn steps(kept: usize) -> Descriptor {
    Descriptor::new([2, 4, 3], FIRST).over(Over::Steps { kept })
}

/// What no step sees but all share: 4 channels of so many steps, 4 bytes each.
#[test]
fn running_statistics_of_more_steps_than_64_bits_count() {
    let noop = Noop::new();
    for kept in [1 << 60, 1 << 61, 1 << 62, usize::MAX] {
        let refusals = [
            noop.kernels.inference(&steps(kept)).err(),
            noop.kernels.forward(&steps(kept)).err(),
            noop.kernels.update_running(&steps(kept)).err(),
            noop.kernels.frozen_backward(&steps(kept), Gradients::ALL).err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal, Some(PlanError::Uncountable { what: "running_mean" }), "{kept}");
        }
        let layer = BatchNorm::new(&noop.kernels, 4).unwrap().options(|of| of.over(Over::Steps { kept }));
        assert_eq!(layer.err(), Some(PlanError::Uncountable { what: "running_mean" }), "{kept}");
    }
    says(&PlanError::Uncountable { what: "running_mean" }, &["running_mean", "64-bit", "steps"]);
    for kept in [(1 << 23) + 1, 1 << 40, 1 << 59] {
        let error = noop.kernels.forward(&steps(kept)).unwrap_err();
        let (needs, limit, has) = (16 * kept as u64, "max_storage_buffer_binding_size", 128 << 20);
        assert_eq!(error, PlanError::Limit { what: "running_mean", needs, limit, has });
    }
    noop.assert_silent();
}

/// As many as one binding holds are planned, and bound only whole.
#[test]
fn running_statistics_of_many_steps_are_bound_whole() {
    let noop = Noop::new();
    let plan = noop.kernels.forward(&steps(1 << 23)).unwrap();
    let inference = noop.kernels.inference(&steps(1 << 23)).unwrap();
    let [x, y, gamma, beta, small, saved] = [96, 96, 16, 16, 16, 4 * 4 * 4 * 3].map(|bytes| noop.buffer(bytes));
    let large = [0; 2].map(|_| noop.buffer(128 << 20));
    let bind = |mean, variance| {
        let to = Bindings::new().x(&x).y(&y).gamma(&gamma).beta(&beta).running_mean(mean).running_variance(variance);
        inference.bind(&to)?;
        plan.bind(&to.saved(&saved))
    };
    bind(&large[0], &large[1]).unwrap();
    let error = bind(&small, &large[1]).unwrap_err();
    assert!(matches!(error, BindError::Size { argument: "running_mean", has: 16, needs, .. } if needs == 128 << 20));
    noop.assert_silent();
}

/// Per-channel buffers that are larger than a binding, of tensors that are cut or empty.
#[test]
fn every_binding_is_within_the_limit() {
    let limit = |what, needs| {
        Err(PlanError::Limit { what, needs, limit: "max_storage_buffer_binding_size", has: DEVICE.binding_bytes })
    };
    let wide = |samples| Descriptor::new([samples, 1 << 24, 3], FIRST);
    let planned = |descriptor: &Descriptor, operation| plan(descriptor, operation, &DEVICE).map(drop);
    assert_eq!(planned(&wide(0), Operation::Finalize), limit("saved", (4 * 4) << 24));
    assert_eq!(planned(&wide(0), Operation::Forward), limit("saved", (4 * 4) << 24));
    assert_eq!(planned(&wide(0), Operation::Merge(3)), limit("many", (3 * 3 * 4) << 24));
    assert_eq!(planned(&wide(0), Operation::MergeBackward(2)), limit("many", (2 * 2 * 4) << 24));
    let channels = Descriptor::new([2, 1 << 26], FIRST);
    assert_eq!(planned(&channels, Operation::Inference), limit("gamma", 4 << 26));
    assert_eq!(planned(&channels, Operation::UpdateRunning), limit("running_mean", 4 << 26));
    assert_eq!(planned(&channels, Operation::Merge(2)), limit("many", (2 * 3 * 4) << 26));
    // More channels of groups than 31 bits count, and statistics of them than 64.
    let empty = |steps| Descriptor::new([0, (1 << 31) - 1, steps], FIRST).over(Over::Steps { kept: 1 });
    let error = plan(&empty(3), Operation::Forward, &HUGE).unwrap_err();
    says(&error, &["the channels of all groups", "32-bit index"]);
    let error = plan(&empty((1 << 31) - 1), Operation::Forward, &HUGE).unwrap_err();
    assert_eq!(error, PlanError::Uncountable { what: "saved" });
}

#[test]
fn devices_that_are_none() {
    let descriptor = Descriptor::new([2, 4, 3], FIRST);
    for operation in OPERATIONS {
        for alignment in [0, 1, 8, 24, 48, u64::MAX] {
            let error = plan(&descriptor, operation, &Capabilities { alignment, ..DEVICE }).unwrap_err();
            assert!(matches!(error, PlanError::Capability { capability: "alignment", is, .. } if is == alignment));
            says(&error, &["alignment", &alignment.to_string(), "power of two"]);
        }
        let long = Capabilities { alignment: 16, int64: true, ..DEVICE };
        says(&plan(&descriptor, operation, &long).unwrap_err(), &["alignment", "16", "at least 32"]);
        plan(&descriptor, operation, &Capabilities { int64: false, ..long }).unwrap();
        plan(&descriptor, operation, &Capabilities { alignment: 1 << 63, ..DEVICE }).unwrap();
        let nothing = [
            Capabilities { workgroups: 0, ..DEVICE },
            Capabilities { invocations: 0, ..DEVICE },
            Capabilities { binding_bytes: 0, ..DEVICE },
            Capabilities { storage_buffers: 0, ..DEVICE },
        ];
        for capabilities in nothing {
            let error = plan(&descriptor, operation, &capabilities).unwrap_err();
            assert!(matches!(error, PlanError::Limit { has: 0, .. }), "{operation}: {error}");
        }
    }
}

/// Tensors of a million bindings and more are refused before they are cut.
#[test]
fn tiny_bindings_are_refused_at_once() {
    let start = Instant::now();
    let shapes: [(&[usize], Layout); 5] = [
        (&[(1 << 31) - 1, 100], Layout::ChannelsLast),
        (&[(1 << 31) - 1, 7, 9], FIRST),
        (&[1, 1, (1 << 31) - 1], FIRST),
        (&[1, (1 << 31) - 1, 500], FIRST),
        (&[3, 5, (1 << 31) - 1], FIRST),
    ];
    for ((shape, layout), binding_bytes) in shapes.into_iter().flat_map(|s| [600, 1_000, 1 << 20].map(|b| (s, b))) {
        for operation in [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)] {
            let descriptor = Descriptor::new(shape, layout);
            let error = plan(&descriptor, operation, &Capabilities { binding_bytes, ..DEVICE }).unwrap_err();
            assert!(matches!(error, PlanError::Limit { needs, has, .. } if needs > has), "{error}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn an_empty_batch_can_be_walked() {
    let shapes = [([0, 4, 3], FIRST), ([2, 4, 0], FIRST), ([0, 3, 4], Layout::ChannelsLast)];
    for (shape, layout) in shapes {
        for (_, option) in OPTIONS {
            for operation in OPERATIONS {
                let Ok(recipe) = plan(&option(Descriptor::new(shape, layout)), operation, &DEVICE) else { continue };
                for dispatch in &recipe.dispatches {
                    for workgroup in 0..dispatch.grid[0] * dispatch.grid[1] {
                        for local in 0..recipe.tile.invocations() {
                            let most = recipe.iterations(dispatch);
                            let walked = recipe.walk(dispatch, workgroup, local, |element| panic!("{element:?}"));
                            assert!(walked <= most, "{walked} iterations, {most} stated: {recipe:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn views_are_permuted_by_permutations() {
    let view = View::of_dense(&[2, 3, 4], &[]);
    assert_eq!(view.permuted(&[2, 0, 1]).unwrap().strides, [1, 12, 4]);
    for order in [&[0, 5][..], &[0, 1], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 3], &[usize::MAX, 0, 1]] {
        says(&view.permuted(order).unwrap_err(), &["permuted", &format!("{order:?}"), "3 axes"]);
    }
}

/// One place for 2⁴⁰ values: no binding is too small, but kernels do not count so far.
#[test]
fn values_of_one_place_are_counted() {
    let spread = |shape: [usize; 3], strides: [isize; 3]| {
        let view = View { offset: 0, strides: strides.to_vec() };
        Descriptor::new(shape, FIRST).view(Tensor::X, view.clone()).view(Tensor::Dy, view)
    };
    let sums = Gradients { dx: false, ..Gradients::ALL };
    for operation in [Operation::Gather, Operation::GatherBackward, Operation::Backward(sums)] {
        let error = plan(&spread([1, 1, 1 << 31], [0, 0, 0]), operation, &DEVICE).unwrap_err();
        assert!(matches!(error, PlanError::TooManyValues { .. }));
        let one_sample = spread([1, 1 << 10, 1 << 30], [0, 0, 0]);
        says(&plan(&one_sample, operation, &DEVICE).unwrap_err(), &["x", "32-bit index"]);
        // In as many windows as count them.
        let recipe = plan(&spread([1 << 14, 1, 1 << 20], [0, 0, 0]), operation, &DEVICE).unwrap();
        assert!(recipe.dispatches.len() > 8, "{recipe}");
    }
}

/// A view's places in bytes, first and last, by hand.
fn reach(view: &View, shape: &[usize], bytes: i128) -> [i128; 2] {
    let mut ends = [view.offset as i128; 2];
    for (size, stride) in shape.iter().zip(&view.strides) {
        let along = (*size as i128 - 1) * *stride as i128;
        ends[0] += along.min(0);
        ends[1] += along.max(0);
    }
    [ends[0] * bytes, (ends[1] + 1) * bytes]
}

/// A descriptor whose tensors lie in views.
#[derive(Clone, Debug)]
struct Viewed {
    descriptor: Descriptor,
    views: Vec<(Tensor, View)>,
    float: Float,
}

/// Panics unless what is bound of each tensor is within the limit, and all windows together reach all of it.
fn assert_windows_fit(Viewed { descriptor, views, float }: &Viewed, recipe: &Recipe, capabilities: &Capabilities) {
    let shape = descriptor.shape();
    for (tensor, view) in views {
        let pieces: Vec<_> = (recipe.dispatches.iter())
            .filter_map(|dispatch| {
                let slots = dispatch.permutation.slots();
                slots.iter().any(|slot| slot.name == tensor.name()).then(|| dispatch.argument(tensor.name())?.1)
            })
            .flatten()
            .collect();
        if pieces.is_empty() {
            continue;
        }
        for piece in &pieces {
            assert!(piece.end - piece.start <= capabilities.binding_bytes, "{descriptor:?} {piece:?}");
            assert!(piece.start % capabilities.alignment == 0, "{descriptor:?} {piece:?}");
        }
        let all = reach(view, shape, float.bytes().into());
        let (first, last) = (pieces.iter().map(|p| p.start).min(), pieces.iter().map(|p| p.end).max());
        assert!(first.unwrap() as i128 <= all[0] && all[1] <= last.unwrap() as i128, "{descriptor:?} {pieces:?}");
        assert!(last.unwrap() as i128 - all[1] < 4, "{descriptor:?} {pieces:?}");
    }
}

#[test]
fn later_windows_of_a_view_fit_too() {
    // Windows of 1,398,101 samples would be 134,217,696 bytes from an alignment on, and 188 more from elsewhere.
    let view = View { offset: 0, strides: vec![24, 1] };
    let descriptor = Descriptor::new([16_777_217, 23], Layout::ChannelsLast).view(Tensor::Y, view.clone());
    let viewed = Viewed { descriptor, views: vec![(Tensor::Y, view)], float: Float::F32 };
    for operation in [Operation::Inference, Operation::Forward] {
        let recipe = plan(&viewed.descriptor, operation, &DEVICE).unwrap();
        assert_windows_fit(&viewed, &recipe, &DEVICE);
        assert!(recipe.dispatches.len() > 12, "{recipe}");
    }
}

/// Strides of axes in any order, with room between them, forwards and backwards.
fn views(shape: Vec<usize>) -> impl Strategy<Value = View> {
    let axes = shape.len();
    let order = Just((0..axes).collect::<Vec<usize>>()).prop_shuffle();
    (order, prop::collection::vec((0..4usize, any::<bool>()), axes), 0..70usize).prop_map(
        move |(order, gaps, offset)| {
            let (mut strides, mut offset, mut step) = (vec![0; axes], offset, 1);
            for axis in order {
                let (gap, flipped) = gaps[axis];
                step += gap;
                strides[axis] = if flipped { -(step as isize) } else { step as isize };
                offset += if flipped { step * (shape[axis] - 1) } else { 0 };
                step *= shape[axis];
            }
            View { offset, strides }
        },
    )
}

fn viewed() -> impl Strategy<Value = Viewed> {
    let shape = prop::collection::vec(prop_oneof![1..6usize, 1..40usize, 1..300usize], 2..5)
        .prop_filter("small", |shape| shape.iter().product::<usize>() <= 200_000);
    let half = any::<bool>().prop_map(|half| if half { Float::F16 } else { Float::F32 });
    (shape, any::<bool>(), half).prop_flat_map(|(shape, last, float)| {
        let layout = if last { Layout::ChannelsLast } else { FIRST };
        let descriptor = Descriptor::new(shape.clone(), layout).types(Types::mixed(float));
        let descriptor = descriptor.activation(Activation::Silu).residual(true);
        let which = prop::sample::subsequence(&Tensor::ALL[..], 1..=6);
        (which, prop::collection::vec(views(shape), 6)).prop_map(move |(tensors, views)| {
            let views: Vec<_> = tensors.into_iter().zip(views).collect();
            let apply = |of: Descriptor, (tensor, view): &(Tensor, View)| of.view(*tensor, view.clone());
            Viewed { descriptor: views.iter().fold(descriptor.clone(), apply), views, float }
        })
    })
}

#[test]
fn every_window_of_a_view_fits() {
    let operations = prop::sample::select(&OPERATIONS[..]);
    let alignments = prop::sample::select(&[16_u64, 32, 256][..]);
    let cases = (viewed(), operations, 500..60_000_u64, alignments);
    let ran = fuzz("windows of views", Times { cases: 2_000, of_batch: 200 }, &cases, |case| {
        let (viewed, operation, binding_bytes, alignment) = case;
        let capabilities = Capabilities { binding_bytes, alignment, storage_buffers: 12, ..DEVICE };
        match plan(&viewed.descriptor, operation, &capabilities) {
            Ok(recipe) => assert_windows_fit(&viewed, &recipe, &capabilities),
            Err(PlanError::Limit { needs, has, .. }) => {
                prop_assert!(needs > has);
                return Ok(false);
            }
            Err(PlanError::OneValue { .. } | PlanError::View { .. }) => return Ok(false),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
        Ok(true)
    });
    assert!(ran > 100, "{ran} planned");
}
