//! Every kernel family, forced by hand where no rule would choose it: regime × width × order × tile ×
//! parts, every set of gradients, every affine, with running statistics or not.

use std::collections::BTreeSet;

use wgpu_batchnorm::recipe::{Dispatch, Operation, Recipe, Regime};
use wgpu_batchnorm::shader::{Flag, Tile};
use wgpu_batchnorm::tuning::{Order, Tuning};
use wgpu_batchnorm::verify::{Answer, Placement};
use wgpu_batchnorm::{
    Activation, Choice, Convention, Descriptor, Float, Gpu, Layout, Mask, Momentum, Padding, PlanError, Running, Types,
};

use crate::adapters::on_every_gpu;
use crate::check::{OPERATIONS, check, gradients, problem};

/// Narrow and wide, channels first and last; channels that no tile divides.
const SHAPES: [(&[usize], Layout); 4] = [
    (&[3, 5, 7], Layout::ChannelsFirst),
    (&[2, 3, 5, 8], Layout::ChannelsFirst),
    (&[41, 7], Layout::ChannelsLast),
    (&[5, 7, 20], Layout::ChannelsLast),
];

const TILES: [Tile; 4] = [
    Tile { columns: 1, lanes: 1 },
    Tile { columns: 8, lanes: 1 },
    Tile { columns: 4, lanes: 4 },
    Tile { columns: 1, lanes: 64 },
];

/// Runs an operation with a choice, or `None` where the shape cannot follow it.
fn check_choice(
    gpu: &Gpu,
    descriptor: &Descriptor,
    operation: Operation,
    choice: Choice,
    placements: &[Placement],
) -> Option<(Recipe, Vec<Answer>)> {
    let (capabilities, tuning) = (gpu.kernels.capabilities(), Tuning::of(gpu.kernels.capabilities().kind));
    let recipe = match Recipe::new(descriptor, operation, capabilities, &tuning, &choice) {
        Err(PlanError::Choice { .. }) => return None,
        recipe => recipe.unwrap(),
    };
    let (kernels, problem) = (gpu.kernels.choosing(choice), problem(descriptor.clone()));
    let answers = placements.iter().map(|placement| check(gpu, &kernels, &problem, operation, *placement));
    Some((recipe, answers.collect()))
}

#[test]
fn every_family_on_awkward_shapes() {
    on_every_gpu(|gpu| {
        let mut families = BTreeSet::new();
        for (shape, layout) in SHAPES {
            let descriptor = Descriptor::new(shape, layout);
            for operation in OPERATIONS {
                for (regime, wide, order, tile) in choices() {
                    // More parts than one where a lane has few elements.
                    let parts = (regime == Regime::Split && tile.lanes < 64).then_some(3);
                    let choice =
                        Choice { regime: Some(regime), wide: Some(wide), tile: Some(tile), order: Some(order), parts };
                    let followed = check_choice(gpu, &descriptor, operation, choice, &[Placement::Separate]);
                    families.extend(followed.map(|(recipe, _)| {
                        let Recipe { regime, channels_last, .. } = recipe;
                        format!("{operation}: {regime} channels_last={channels_last} wide={wide} {order:?} {tile}")
                    }));
                }
            }
        }
        // In four tiles and two orders, narrow and wide, channels first and last: three operations split, two are
        // cached, two do not know regimes. Which tiles can keep a whole unit depends on its length.
        let found = |regime: Regime| families.iter().filter(|family| family.contains(&regime.to_string())).count();
        assert_eq!(found(Regime::Split), 3 * 4 * 2 * 4, "{families:#?}");
        assert_eq!(found(Regime::Cached), 2 * 4 * 2 * 4, "{families:#?}");
        assert_eq!(found(Regime::Elementwise), 2 * 4 * 2 * 4, "{families:#?}");
        assert!(found(Regime::Resident) > found(Regime::Split) / 3, "{families:#?}");
    });
}

fn choices() -> impl Iterator<Item = (Regime, bool, Order, Tile)> {
    let regimes = [Regime::Resident, Regime::Cached, Regime::Split].into_iter();
    regimes.flat_map(|regime| {
        [false, true].into_iter().flat_map(move |wide| {
            let orders = [Order::Interleaved, Order::Blocked].into_iter();
            orders.flat_map(move |order| TILES.map(move |tile| (regime, wide, order, tile)))
        })
    })
}

/// Both regimes of the operations that know two, in a tile that keeps the units of all shapes here.
const REGIMES: [Choice; 2] = [
    Choice {
        regime: Some(Regime::Resident),
        tile: Some(Tile { columns: 2, lanes: 8 }),
        wide: None,
        order: None,
        parts: None,
    },
    Choice {
        regime: Some(Regime::Split),
        tile: Some(Tile { columns: 2, lanes: 8 }),
        wide: None,
        order: None,
        parts: Some(2),
    },
];

const BOTH: [Placement; 2] = [Placement::Separate, Placement::OneBuffer];

/// Panics unless the choice can be followed; the same bits come back wherever the tensors lie.
fn check_placements(gpu: &Gpu, descriptor: &Descriptor, operation: Operation, choice: Choice) -> Answer {
    let (_, mut answers) = check_choice(gpu, descriptor, operation, choice, &BOTH).unwrap();
    assert!(answers[0].same_bits(&answers[1]), "{}: {operation} differs in one buffer: {choice:?}", gpu.name());
    answers.remove(0)
}

#[test]
fn every_set_of_gradients() {
    on_every_gpu(|gpu| {
        for ((shape, layout), choice) in [SHAPES[0], SHAPES[3]].into_iter().zip(REGIMES) {
            for wanted in gradients() {
                for gamma in [false, true] {
                    let descriptor = Descriptor::new(shape, layout).affine(gamma, true);
                    check_placements(gpu, &descriptor, Operation::Backward(wanted), choice);
                    check_placements(gpu, &descriptor, Operation::FrozenBackward(wanted), choice);
                }
            }
        }
        for ((shape, layout), choice) in [SHAPES[2], SHAPES[1]].into_iter().zip(REGIMES) {
            for wanted in gradients() {
                let descriptor = Descriptor::new(shape, layout);
                for operation in [Operation::Backward(wanted), Operation::FrozenBackward(wanted)] {
                    assert!(check_choice(gpu, &descriptor, operation, choice, &BOTH[..1]).is_some());
                }
            }
        }
    });
}

#[test]
fn every_affine_and_every_rule_for_running_statistics() {
    let rules = [
        None,
        Some(Running::default()),
        Some(Running { counts_batches: true, ..Running::default() }),
        Some(Convention::Keras.running()),
        Some(Running { momentum: Momentum::New(1.0), ..Running::default() }),
        Some(Running { momentum: Momentum::New(0.0), ..Running::default() }),
    ];
    on_every_gpu(|gpu| {
        for ((shape, layout), choice) in [SHAPES[1], SHAPES[2]].into_iter().flat_map(|s| REGIMES.map(|r| (s, r))) {
            for (gamma, beta) in [(false, false), (false, true), (true, false), (true, true)] {
                for running in rules {
                    let descriptor = Descriptor::new(shape, layout).affine(gamma, beta).running(running).epsilon(1e-3);
                    let answer = check_placements(gpu, &descriptor, Operation::Forward, choice);
                    let counter: Vec<u32> = answer.get("counter").iter().map(|value| value.to_bits()).collect();
                    let counts = running.is_some_and(|running| running.counts_batches);
                    assert_eq!(counter, if counts { vec![1] } else { vec![] });
                }
                let descriptor = Descriptor::new(shape, layout).affine(gamma, beta);
                check_placements(gpu, &descriptor, Operation::Inference, choice);
            }
        }
    });
}

/// Invocations that walk several units along, of which the last have fewer: of all channels, of copies of them, and one
/// by one; split with a dispatch that merges parts and without one, and cached.
#[test]
fn units_that_do_not_divide_evenly() {
    type Change = fn(Descriptor) -> Descriptor;
    let options: [Change; 4] = [
        |of| of.running(Running { counts_batches: true, ..Running::default() }).health(true),
        |of| of.padding(Padding::Mask(Mask::Bits)).activation(Activation::Relu).residual(true),
        |of| of.backward_from_y(true).health(true),
        |of| of.types(Types::all(Float::F16)).activation(Activation::Gelu).residual(true),
    ];
    let plain = Tuning { items: 0, near: 0, ..Tuning::CPU };
    let merged = Tuning { slab: 0, merge: 0, settle: u32::MAX, ..plain };
    let cached = Choice { regime: Some(Regime::Cached), ..Choice::default() };
    let shapes = [[264, 7], [132, 13], [70, 100], [45, 37]];
    on_every_gpu(|gpu| {
        let mut uneven = 0;
        for (shape, operation) in shapes.into_iter().flat_map(|shape| OPERATIONS.map(|o| (shape, o))) {
            let mut run = |descriptor: &Descriptor, tuning: Tuning, choice: Choice, placement: Placement| {
                let kernels = gpu.kernels.tuned(tuning).choosing(choice);
                let Ok(recipe) = kernels.recipe(descriptor, operation) else { return };
                let streams = |dispatch: &Dispatch| dispatch.permutation.kernel.streams();
                let over_x = recipe.dispatches.iter().find(|dispatch| streams(dispatch)).unwrap();
                uneven += usize::from(over_x.permutation.flags.has(Flag::Uneven));
                check(gpu, &kernels, &problem(descriptor.clone()), operation, placement);
            };
            let descriptor = Descriptor::new(shape, Layout::ChannelsLast);
            for placement in [Placement::Separate, Placement::InPlace] {
                run(&descriptor, plain, Choice::default(), placement);
                run(&descriptor, merged, Choice::default(), placement);
            }
            run(&descriptor, plain, cached, Placement::Separate);
            for option in options {
                run(&option(descriptor.clone()), merged, Choice::default(), Placement::Separate);
            }
        }
        // Of the nine ways of four shapes and five operations most: some have no such kernels, or too few bindings.
        assert!(uneven > 80, "{uneven}");
    });
}

/// What a GPU would get, on software drivers too, and the other way round.
#[test]
fn every_tuning_on_every_adapter() {
    let shapes = [
        (&[4, 9, 13][..], Layout::ChannelsFirst),
        (&[2, 3, 64, 64], Layout::ChannelsFirst),
        (&[2, 40, 8], Layout::ChannelsFirst),
        (&[1, 2, 40_001], Layout::ChannelsFirst),
        (&[30, 64], Layout::ChannelsLast),
        (&[9, 200, 37], Layout::ChannelsLast),
    ];
    on_every_gpu(|gpu| {
        for tuning in [Tuning::GPU, Tuning::CPU] {
            let kernels = gpu.kernels.tuned(tuning);
            for ((shape, layout), operation) in shapes.into_iter().flat_map(|shape| OPERATIONS.map(|o| (shape, o))) {
                check(gpu, &kernels, &problem(Descriptor::new(shape, layout)), operation, Placement::Separate);
            }
        }
    });
}
