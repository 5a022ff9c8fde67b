//! Recipes, without a GPU: whatever the shape, the device, the tuning and the choices, every element is
//! handled exactly once, limits are kept, and no invocation loops for long.

use proptest::prelude::*;
use wgpu_batchnorm::recipe::{Capabilities, Choice, Dispatch, Operation, Recipe, Regime};
use wgpu_batchnorm::shader::{Access, Flag, Kernel};
use wgpu_batchnorm::tuning::{AdapterKind, Order, Tuning};
use wgpu_batchnorm::{Descriptor, Gradients, Layout, Momentum, PlanError, Running, reference};

use crate::check::OPERATIONS;
use crate::every::{self, OPTIONS, is_single};
use crate::permutations::{WAYS, tiles};
use crate::strategies::{
    HUGE, KINDS, capabilities, choices, descriptors, kinds, operations, optioned, shapes, tunings,
};

/// Mesa 22.3's software driver silently ends an invocation after 65,535 iterations; this is half.
const MOST_ITERATIONS: u64 = 32_000;

fn recipe(
    shape: &[usize],
    layout: Layout,
    operation: Operation,
    capabilities: &Capabilities,
    choice: &Choice,
) -> Result<Recipe, PlanError> {
    let descriptor = Descriptor::new(shape, layout);
    Recipe::new(&descriptor, operation, capabilities, &Tuning::of(capabilities.kind), choice)
}

/// Follows every invocation: each element once by every kernel, in its own channel, parts even.
fn assert_covers(descriptor: &Descriptor, recipe: &Recipe) {
    let width = if recipe.wide { 4 } else { 1 };
    let channels: Vec<usize> = reference::channels_of(descriptor).collect();
    if recipe.bands > 1 {
        return assert_bands_cover(descriptor, recipe, channels.len() / width);
    }
    for of_kernel in recipe.dispatches.chunk_by(|a, b| a.permutation.kernel == b.permutation.kernel) {
        let kernel = of_kernel[0].permutation.kernel;
        let mut visited = 0;
        for dispatch in of_kernel {
            let [columns, rows] = dispatch.grid;
            // Of a window, whose addresses are its own.
            let mut visits = vec![false; channels.len() / width];
            let most = recipe.iterations(dispatch);
            for workgroup in 0..columns * rows {
                for local in 0..recipe.tile.invocations() {
                    let iterations = recipe.walk(dispatch, workgroup, local, |element| {
                        let address = element.address as usize;
                        assert!(!visits[address], "{descriptor:?} {recipe:#?}: {element:?} again");
                        visits[address] = true;
                        let whole = of_kernel.len() == 1 && !dispatch.permutation.flags.has(Flag::Grouped);
                        // Of several rows walked as one, units are channels' copies.
                        let channel = element.unit as usize * if recipe.channels_last { width } else { 1 };
                        let channel = channel % descriptor.channels();
                        let right = !whole || channels[address * width] == channel;
                        assert!(right, "{descriptor:?} {recipe:#?}: {element:?}");
                    });
                    assert!(iterations <= most, "{descriptor:?} {recipe:#?}: {iterations} iterations");
                }
            }
            visited += visits.iter().filter(|visited| **visited).count();
        }
        let goes_over_x = kernel.is_resident() || kernel.streams();
        let elements = if goes_over_x { channels.len() / width } else { 0 };
        assert_eq!(visited, elements, "{descriptor:?} {recipe:#?}: {kernel:?}");
    }
}

/// In bands: each element once in the first pass, and in the second of a later dispatch.
fn assert_bands_cover(descriptor: &Descriptor, recipe: &Recipe, elements: usize) {
    let mut passes = vec![0; elements];
    let over_x = recipe.dispatches.iter().filter(|dispatch| dispatch.permutation.kernel.streams());
    for dispatch in over_x {
        let [columns, rows] = dispatch.grid;
        let banded = dispatch.permutation.flags.has(Flag::Banded);
        let before = passes.clone();
        for workgroup in 0..columns * rows {
            let second = matches!(dispatch.permutation.kernel, Kernel::ForwardApply | Kernel::BackwardApply);
            let second = second && !(banded && workgroup % 2 == 1);
            for local in 0..recipe.tile.invocations() {
                let iterations = recipe.walk(dispatch, workgroup, local, |element| {
                    let address = element.address as usize;
                    assert_eq!(before[address], u32::from(second), "{descriptor:?} {recipe:#?}: {element:?}");
                    passes[address] += 1;
                });
                assert!(iterations <= recipe.iterations(dispatch), "{recipe:#?}: {iterations} iterations");
            }
        }
        assert!(passes.iter().zip(&before).all(|(after, before)| after - before <= 1), "{descriptor:?} {recipe:#?}");
    }
    assert!(passes.iter().all(|passes| *passes == 2), "{descriptor:?} {recipe:#?}");
}

pub fn assert_keeps_limits(recipe: &Recipe, capabilities: &Capabilities) {
    for dispatch in &recipe.dispatches {
        let Dispatch { permutation, grid, .. } = dispatch;
        assert!(grid.iter().all(|n| (1..=capabilities.workgroups).contains(n)), "{recipe:#?}");
        // Kernels number them.
        assert!(grid.map(u64::from).iter().product::<u64>() <= u32::MAX.into(), "{recipe:#?}");
        assert!(permutation.tile.invocations() <= capabilities.invocations, "{recipe:#?}");
        assert!(permutation.workgroup_bytes() <= capabilities.workgroup_bytes, "{recipe:#?}");
        let storage = permutation.slots().iter().filter(|slot| slot.access != Access::Uniform).count();
        assert!(storage as u32 <= capabilities.storage_buffers, "{recipe:#?}");
        assert!(recipe.iterations(dispatch) <= MOST_ITERATIONS, "{recipe:#?}");
        assert!(permutation.tile.lanes.is_power_of_two(), "{recipe:#?}");
    }
    assert!(recipe.scratch_bytes <= capabilities.binding_bytes, "{recipe:#?}");
}

/// The bytes that a recipe states, from the definitions: N for each pass over a tensor of x's size.
fn assert_traffic(descriptor: &Descriptor, recipe: &Recipe) {
    let bytes: u64 = descriptor.shape().iter().map(|&n| n as u64).product::<u64>() * 4;
    let channel = 4 * descriptor.channels() as u64;
    let passes = |bytes_moved: u64| (bytes_moved - recipe.scratch_bytes) / bytes;
    let kernels = |wanted: Kernel| {
        let mut kernels: Vec<Kernel> = recipe.dispatches.iter().map(|dispatch| dispatch.permutation.kernel).collect();
        kernels.dedup();
        kernels.iter().filter(|kernel| **kernel == wanted).count() as u64
    };
    use Kernel::*;
    let in_one =
        [kernels(ForwardResident) + kernels(ForwardCached), kernels(BackwardResident) + kernels(BackwardCached)];
    let there = kernels(Inference) + in_one[0] + kernels(ForwardPartial) + kernels(ForwardApply);
    let back = in_one[1] + kernels(BackwardPartial) + kernels(BackwardApply);
    // A cache holds a band.
    let (there, back) = if recipe.bands > 1 { (there.min(1), back.min(1)) } else { (there, back) };
    let writes = match recipe.operation {
        Operation::Inference | Operation::Forward => 1,
        Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => u64::from(wanted.dx),
        _ => 0,
    };
    // Small shapes have more bytes of channels than of x.
    if bytes > 10 * channel {
        let passes = (passes(recipe.bytes_read), passes(recipe.bytes_written));
        assert_eq!(passes, (there + 2 * back, writes), "{recipe:#?}");
    }
    // So many V for every part of every unit, and for every unit.
    let per_unit = if recipe.wide && !recipe.channels_last { 4 } else { 1 };
    let (of_part, of_unit) = if kernels(ForwardPartial) > 0 { (4, 4) } else { (2, 6) };
    let records = match recipe.regime {
        Regime::Split => of_part * u64::from(recipe.parts) + of_unit,
        // Parameters by way of scratch.
        _ if kernels(InferenceSettle) > 0 => 4,
        _ => 0,
    };
    let scratch = channel * per_unit * records;
    // Of several rows walked as one, each channel has copies.
    let folded = recipe.dispatches.iter().any(|dispatch| dispatch.permutation.flags.has(Flag::Folded));
    let copies = if folded && scratch > 0 { recipe.scratch_bytes / scratch } else { 1 };
    assert!(copies == 1 || [2, 4, 8].contains(&copies), "{recipe:#?}");
    let scratch = copies * scratch;
    assert_eq!(recipe.scratch_bytes, scratch, "{recipe:#?}");
    assert_eq!(recipe.saved_bytes, if recipe.operation == Operation::Forward { 4 * channel } else { 0 });
}

fn assert_right(descriptor: &Descriptor, recipe: &Recipe, capabilities: &Capabilities) {
    assert_keeps_limits(recipe, capabilities);
    assert_traffic(descriptor, recipe);
    assert_covers(descriptor, recipe);
}

#[test]
fn every_small_shape_is_covered_once() {
    for kind in KINDS {
        let capabilities = Capabilities::webgpu_default(kind);
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for (outer, channels, inner) in
                (1..=6).flat_map(|o| (1..=9).flat_map(move |c| (1..=18).map(move |i| (o, c, i))))
            {
                let shape = match layout {
                    Layout::ChannelsFirst => [outer, channels, inner],
                    Layout::ChannelsLast => [outer, inner, channels],
                };
                let descriptor = Descriptor::new(shape, layout);
                for operation in OPERATIONS {
                    match recipe(&shape, layout, operation, &capabilities, &Choice::default()) {
                        Ok(recipe) => assert_right(&descriptor, &recipe, &capabilities),
                        Err(error) => {
                            assert!(matches!(error, PlanError::OneValue { .. }) && outer * inner == 1, "{error}");
                        }
                    }
                }
            }
        }
    }
}

/// Rows that begin and end within a load, whose ends two units meet in.
#[test]
fn ragged_rows_are_covered_once() {
    let capabilities = Capabilities { int64: true, ..Capabilities::webgpu_default(AdapterKind::Cpu) };
    let cached = Tuning { items: 0, ..Tuning::CPU };
    let tunings = [cached, Tuning { slab: 0, merge: 0, ..cached }, Tuning { order: Order::Blocked, ..cached }];
    let mut sides = [0; 3];
    for (outer, channels, inner) in [1, 3]
        .into_iter()
        .flat_map(|o| [2, 4, 8, 12, 16].into_iter().flat_map(move |c| (2..50).map(move |i| (o, c, i))))
    {
        let descriptor = Descriptor::new([outer, channels, inner], Layout::ChannelsFirst);
        for (operation, tuning) in OPERATIONS.into_iter().flat_map(|o| tunings.map(|tuning| (o, tuning))) {
            let recipe = Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default()).unwrap();
            assert_right(&descriptor, &recipe, &capabilities);
            let over_x = recipe.dispatches.iter().find(|dispatch| dispatch.permutation.kernel.streams()).unwrap();
            let permutation = over_x.permutation;
            sides[if permutation.flags.has(Flag::Ragged) { permutation.side() as usize } else { 0 }] += 1;
        }
    }
    assert!(sides.iter().all(|reached| *reached > 100), "not ragged, by four, by eight: {sides:?}");
}

/// Several rows of channels that 4 does not divide, walked as one.
#[test]
fn folded_rows_are_covered_once() {
    let capabilities = Capabilities { int64: true, ..Capabilities::webgpu_default(AdapterKind::Cpu) };
    let (mut sides, mut uneven) = ([0; 3], 0);
    for (rows, channels) in [128, 132, 264, 271].into_iter().flat_map(|r| (2..24).map(move |c| (r, c))) {
        let descriptor = Descriptor::new([rows, channels], Layout::ChannelsLast);
        let near = Tuning { items: 0, share: 1, ..Tuning::CPU };
        let tunings = [near, Tuning { near: 0, columns: [1, 2], ..near }];
        for (operation, tuning) in OPERATIONS.into_iter().flat_map(|o| tunings.map(|tuning| (o, tuning))) {
            let recipe = Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default()).unwrap();
            assert_keeps_limits(&recipe, &capabilities);
            assert_covers(&descriptor, &recipe);
            let over_x = recipe.dispatches.iter().find(|dispatch| dispatch.permutation.kernel.streams()).unwrap();
            let permutation = over_x.permutation;
            sides[if permutation.flags.has(Flag::Folded) { permutation.side() as usize } else { 0 }] += 1;
            uneven += usize::from(permutation.flags.has(Flag::Uneven));
        }
    }
    assert!(sides.iter().all(|reached| *reached > 20), "not folded, by four, by eight: {sides:?}");
    assert!(uneven > 20, "{uneven}");
}

/// Channels last, what an invocation and its neighbours walk at a time is enough of a row, whatever number of channels
/// there is: how fast memory is walked depends on it.
#[test]
fn as_much_of_a_row_is_walked_whatever_divides_the_channels() {
    let capabilities = Capabilities { int64: true, ..Capabilities::webgpu_default(AdapterKind::Cpu) };
    for channels in [63, 64, 65, 256, 257, 512, 513, 1024, 1025, 2047, 2048, 65_535, 65_536] {
        let samples = (1_usize << 21) / channels;
        for shape in [vec![samples.next_multiple_of(8), channels], vec![samples.div_ceil(196), 14, 14, channels]] {
            for operation in OPERATIONS {
                let recipe =
                    recipe(&shape, Layout::ChannelsLast, operation, &capabilities, &Choice::default()).unwrap();
                let of_x = recipe.dispatches.iter().filter(|dispatch| dispatch.permutation.kernel.streams());
                for permutation in of_x.map(|dispatch| dispatch.permutation) {
                    assert!(permutation.flags.has(Flag::Wide), "{recipe:#?}");
                    let bytes =
                        permutation.tile.columns as usize * permutation.across as usize * permutation.bytes() as usize;
                    assert!(bytes >= 1_024.min(4 * channels), "{bytes} of a row: {recipe:#?}");
                }
            }
        }
    }
}

/// In bands of a few units, the last of which may have fewer, walked one by one and several along.
#[test]
fn bands_are_covered_once() {
    let capabilities =
        Capabilities { int64: true, storage_buffers: 10, ..Capabilities::webgpu_default(AdapterKind::Gpu) };
    let mut reached = [0; 2];
    for (outer, channels, inner) in
        [1, 3].into_iter().flat_map(|o| [7, 8, 16, 40].into_iter().flat_map(move |c| [5, 8, 36].map(|i| (o, c, i))))
    {
        for (shape, layout) in [
            ([outer, channels, inner], Layout::ChannelsFirst),
            ([outer * inner, 1, 4 * channels], Layout::ChannelsLast),
        ] {
            let descriptor = Descriptor::new(shape, layout);
            for (kind, cache, across) in KINDS
                .into_iter()
                .flat_map(|kind| [2_000, 6_000].into_iter().flat_map(move |cache| [1, 2].map(|a| (kind, cache, a))))
            {
                let plain = Tuning { cache, across, columns: [1, 2], near: 0, ..Tuning::of(kind) };
                let tuning = Tuning { slab: 0, items: 0, settle: u32::MAX, merge: 0, ..plain };
                for operation in OPERATIONS {
                    let recipe =
                        Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default()).unwrap();
                    assert_right(&descriptor, &recipe, &capabilities);
                    if recipe.bands > 1 {
                        reached[usize::from(recipe.dispatches[0].permutation.across > 1)] += 1;
                    }
                }
            }
        }
    }
    assert!(reached.iter().all(|reached| *reached > 10), "one by one, several along: {reached:?}");
}

/// A tensor of large layers comes from memory once where the second cache is as large as the tuning says.
#[test]
fn large_layers_go_in_bands_on_gpus() {
    let capabilities = Capabilities::webgpu_default(AdapterKind::Gpu);
    let of = |shape: &[usize], operation| {
        recipe(shape, Layout::ChannelsFirst, operation, &capabilities, &Choice::default()).unwrap()
    };
    // 103 MB in bands of which three are no more than 36 MiB: of 7 channels of 1.6 MB.
    let there = of(&[32, 64, 112, 112], Operation::Forward);
    assert_eq!((there.bands, there.dispatches.len()), (10, 11), "{there}");
    let bytes = 4 * 32 * 64 * 112 * 112;
    assert_eq!((there.bytes_read / bytes, there.bytes_written / bytes), (1, 1), "{there}");
    let back = of(&[32, 64, 112, 112], Operation::Backward(Gradients::ALL));
    assert_eq!((back.bytes_read / bytes, back.bytes_written / bytes), (2, 1), "{back}");
    // Not where bands would take a dispatch more each: ReLU's backward pass binds nine buffers so.
    let relu = Descriptor::new([32, 64, 112, 112], Layout::ChannelsFirst).activation(wgpu_batchnorm::Activation::Relu);
    let of_relu = |storage_buffers| {
        let capabilities = Capabilities { storage_buffers, ..capabilities };
        let operation = Operation::Backward(Gradients::ALL);
        Recipe::new(&relu, operation, &capabilities, &Tuning::GPU, &Choice::default()).unwrap().bands
    };
    assert_eq!(of_relu(8), 1);
    assert!(of_relu(9) > 10);
    // What the cache holds anyway.
    assert_eq!(of(&[32, 64, 56, 56], Operation::Forward).bands, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// By rule, on any device: a recipe that is right, or an error that is no fault of a choice.
    #[test]
    fn are_right_on_any_device(
        descriptor in descriptors(), operation in operations(), capabilities in capabilities(), tuning in tunings(),
    ) {
        match Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default()) {
            Ok(recipe) => assert_right(&descriptor, &recipe, &capabilities),
            Err(PlanError::OneValue { .. }) => prop_assert!(descriptor.values_per_channel() == 1),
            Err(PlanError::Limit { needs, has, .. }) => prop_assert!(needs > has),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// With options too, as far as they go together.
    #[test]
    fn are_right_with_options(
        descriptor in optioned(), operation in operations(), capabilities in capabilities(), tuning in tunings(),
    ) {
        match Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default()) {
            Ok(recipe) => {
                assert_keeps_limits(&recipe, &capabilities);
                assert_covers(&descriptor, &recipe);
            }
            Err(PlanError::Limit { needs, has, .. }) => prop_assert!(needs > has),
            Err(PlanError::OneValue { .. } | PlanError::Option { .. } | PlanError::View { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// By hand: followed to the letter, or refused.
    #[test]
    fn follow_choices(
        descriptor in descriptors(), operation in operations(), choice in choices(), kind in kinds(),
    ) {
        let capabilities = Capabilities::webgpu_default(kind);
        match Recipe::new(&descriptor, operation, &capabilities, &Tuning::of(kind), &choice) {
            Ok(recipe) => {
                assert_right(&descriptor, &recipe, &capabilities);
                prop_assert!(choice.wide.is_none_or(|wide| wide == recipe.wide));
                prop_assert!(choice.tile.is_none_or(|tile| tile == recipe.tile));
                prop_assert!(choice.order.is_none_or(|order| order == recipe.order));
                let whole = matches!(recipe.regime, Regime::Resident | Regime::Cached);
                prop_assert!(whole || choice.parts.is_none_or(|parts| recipe.parts <= parts));
                if let (Some(regime), false) = (choice.regime, recipe.regime == Regime::Elementwise) {
                    let followed = regime == recipe.regime || regime == Regime::Elementwise;
                    prop_assert!(followed, "{regime} became {}", recipe.regime);
                }
            }
            Err(PlanError::OneValue { .. } | PlanError::Choice { .. } | PlanError::Limit { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// What a device with the default limits is ever asked to compile has been through naga.
    #[test]
    fn stay_within_what_is_validated(
        (shape, layout) in shapes(), (name, option) in prop::sample::select(&OPTIONS[..]), operation in prop::sample::select(&every::OPERATIONS[..]),
        kind in kinds(), int64 in any::<bool>(),
    ) {
        let capabilities = Capabilities { int64, ..Capabilities::webgpu_default(kind) };
        let descriptor = option(Descriptor::new(shape, layout));
        if let Ok(recipe) = Recipe::new(&descriptor, operation, &capabilities, &Tuning::of(kind), &Choice::default()) {
            prop_assert!(tiles().any(|tile| tile == recipe.tile), "{}", recipe.tile);
            for Dispatch { permutation, .. } in &recipe.dispatches {
                prop_assert!(is_single(permutation), "{name}: {permutation:?}");
                let way = [permutation.chunk, permutation.across];
                prop_assert!(WAYS.contains(&way), "{name}: {permutation:?}");
            }
        }
    }

    /// Any numbers for a shape, any at all: an answer, never a panic.
    #[test]
    fn never_panic(
        shape in prop::collection::vec(prop_oneof![0..4usize, any::<usize>(), Just(1 << 16)], 0..6),
        options in prop::collection::vec(prop::sample::select(&OPTIONS[..]), 0..5),
        last in any::<bool>(), epsilon in any::<f32>(), momentum in any::<f64>(),
        operation in operations(), capabilities in capabilities(), tuning in tunings(), choice in choices(),
    ) {
        let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        let running = Running { momentum: Momentum::New(momentum), ..Running::default() };
        let descriptor = Descriptor::new(shape, layout).epsilon(epsilon).running(running);
        let descriptor = options.iter().fold(descriptor, |descriptor, (_, option)| option(descriptor));
        if let Ok(recipe) = Recipe::new(&descriptor, operation, &capabilities, &tuning, &choice) {
            assert_keeps_limits(&recipe, &capabilities);
            prop_assert!(!recipe.to_string().is_empty());
        }
    }
}

/// Shapes with very long channels or very many, up to the most values that a plan takes.
const EXTREME: [(&[usize], Layout); 14] = [
    (&[1, 1, 500_000_000], Layout::ChannelsFirst),
    (&[1, 1, 499_999_993], Layout::ChannelsFirst),
    (&[1 << 29, 1], Layout::ChannelsFirst),
    (&[1 << 29, 2], Layout::ChannelsLast),
    (&[300_000_007, 7], Layout::ChannelsLast),
    (&[1, 65_539, 1], Layout::ChannelsFirst),
    (&[65_539, 3], Layout::ChannelsFirst),
    (&[2, 65_539, 16_001], Layout::ChannelsFirst),
    (&[2, 3, 1 << 28], Layout::ChannelsFirst),
    (&[500_000_000, 1, 4], Layout::ChannelsFirst),
    (&[2, (1 << 30) - 1], Layout::ChannelsFirst),
    (&[2, (1 << 30) - 1], Layout::ChannelsLast),
    (&[1, 1, (1 << 31) - 1], Layout::ChannelsFirst),
    (&[(1 << 31) - 1, 1], Layout::ChannelsLast),
];

/// Follows the first and the last invocations of the first, the last and a middle workgroup.
fn assert_loops_end(recipe: &Recipe, values: u64) {
    let width = if recipe.wide { 4 } else { 1 };
    for dispatch in &recipe.dispatches {
        let most = recipe.iterations(dispatch);
        assert!(most <= MOST_ITERATIONS, "{recipe:#?}: {most} iterations");
        let workgroups = dispatch.grid[0] * dispatch.grid[1];
        let last = recipe.tile.invocations() - 1;
        for workgroup in [0, 1, workgroups / 2, workgroups.saturating_sub(2), workgroups - 1] {
            for local in [0, last / 2, last] {
                let iterations = recipe.walk(dispatch, workgroup, local, |element| {
                    assert!(u64::from(element.address) < values / width, "{recipe:#?}: {element:?}");
                });
                assert!(iterations <= most, "{recipe:#?}: {iterations} iterations");
            }
        }
    }
}

#[test]
fn no_invocation_loops_for_long_on_extreme_shapes() {
    // The last would loop for ever, if it were let.
    let tunings = [Tuning::GPU, Tuning::CPU, Tuning { iterations: u32::MAX, workgroups: 1, ..Tuning::CPU }];
    for ((shape, layout), tuning) in EXTREME.into_iter().flat_map(|shape| tunings.map(|tuning| (shape, tuning))) {
        let descriptor = Descriptor::new(shape, layout);
        let values = shape.iter().map(|&n| n as u64).product();
        for operation in OPERATIONS {
            for invocations in [8, 256, 1024] {
                let capabilities = Capabilities { invocations, ..HUGE };
                let recipe = Recipe::new(&descriptor, operation, &capabilities, &tuning, &Choice::default());
                match recipe {
                    Ok(recipe) => assert_loops_end(&recipe, values),
                    // Records of so many channels as no 32-bit index reaches.
                    Err(PlanError::Limit { what: "scratch", limit: "a 32-bit index", .. }) => {
                        assert!(descriptor.channels() >= 1 << 29, "{shape:?} {operation}")
                    }
                    Err(error) => {
                        assert!(matches!(error, PlanError::OneValue { .. }), "{shape:?} {operation}: {error}")
                    }
                }
            }
        }
    }
}

/// Sums that the caller brings are not merged, however many parts the windows of x come in.
#[test]
fn given_sums_are_not_merged() {
    let small = Capabilities { binding_bytes: 128 << 10, ..HUGE };
    let descriptor = Descriptor::new([4_545, 8_192], Layout::ChannelsLast);
    let tuning = Tuning { lanes: 1, columns: [1, 1], across: 32, near: 0, ..Tuning::GPU };
    let apply = Operation::ApplyBackward;
    let recipe = Recipe::new(&descriptor, apply, &small, &tuning, &Choice::default()).unwrap();
    assert_keeps_limits(&recipe, &small);
    let dispatch = &recipe.dispatches[0];
    assert!(recipe.dispatches.len() > 1_000 && dispatch.permutation.across > 1, "{dispatch:?}");
    assert!(recipe.walk(dispatch, 0, 0, |_| {}) <= recipe.iterations(dispatch), "{dispatch:?}");
}

/// The elements of all invocations together are as many as x has, where x is too large to follow each.
#[test]
fn parts_are_even_where_they_can_be() {
    let capabilities = Capabilities::webgpu_default(AdapterKind::Gpu);
    let recipe =
        recipe(&[1, 1, 24_000_000], Layout::ChannelsFirst, Operation::Forward, &capabilities, &Choice::default())
            .unwrap();
    let mut lengths = vec![0_u64; recipe.parts as usize];
    for workgroup in 0..recipe.dispatches[0].grid[0] {
        for local in 0..recipe.tile.invocations() {
            recipe.walk(&recipe.dispatches[0], workgroup, local, |element| lengths[element.part as usize] += 1);
        }
    }
    let (last, full) = lengths.split_last().unwrap();
    assert!(full.iter().all(|length| *length == full[0]), "{lengths:?}");
    assert!((1..=full[0]).contains(last), "{lengths:?}");
}
