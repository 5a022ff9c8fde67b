//! Random shapes, devices, tunings and choices for property tests of recipes.

use proptest::prelude::*;
use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Regime};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::tuning::{AdapterKind, Order, Tuning};
use wgpu_batchnorm::{Descriptor, Layout, Momentum, NoValue, Over, Running, RunningVariance};

use crate::check::gradients;
use crate::every::OPTIONS;

pub const KINDS: [AdapterKind; 2] = [AdapterKind::Cpu, AdapterKind::Gpu];

/// A device with nothing in the way.
pub const HUGE: Capabilities = Capabilities {
    kind: AdapterKind::Gpu,
    invocations: 1024,
    workgroup_bytes: 1 << 20,
    workgroups: u32::MAX,
    binding_bytes: u64::MAX,
    storage_buffers: 64,
    int64: true,
    alignment: 32,
};

pub fn shapes() -> impl Strategy<Value = (Vec<usize>, Layout)> {
    let axis = prop_oneof![4 => 1..9usize, 3 => 1..40usize, 1 => Just(64), 1 => 1..700usize];
    let shape =
        prop::collection::vec(axis, 2..6).prop_filter("small", |shape| shape.iter().product::<usize>() <= 60_000);
    (shape, prop_oneof![Just(Layout::ChannelsFirst), Just(Layout::ChannelsLast)])
}

pub fn descriptors() -> impl Strategy<Value = Descriptor> {
    let running = prop::option::of(any::<[bool; 3]>().prop_map(|[unbiased, counts_batches, skips]| Running {
        momentum: Momentum::Old(0.9),
        variance: if unbiased { RunningVariance::Unbiased } else { RunningVariance::Biased },
        counts_batches,
        no_value: if skips { NoValue::Skipped } else { NoValue::CountsAsZero },
    }));
    (shapes(), any::<(bool, bool)>(), running).prop_map(|((shape, layout), (gamma, beta), running)| {
        Descriptor::new(shape, layout).affine(gamma, beta).running(running)
    })
}

/// With any options, together senseless or not.
pub fn optioned() -> impl Strategy<Value = Descriptor> {
    let options = prop::collection::vec(prop::sample::select(&OPTIONS[..]), 0..5);
    (descriptors(), options, 1..9usize).prop_map(|(descriptor, options, samples)| {
        let descriptor = options.iter().fold(descriptor, |descriptor, (_, option)| option(descriptor));
        // Groups of which the last is shorter, or not.
        if options.iter().any(|(name, _)| *name == "groups") {
            descriptor.over(Over::Groups { samples })
        } else {
            descriptor
        }
    })
}

pub fn operations() -> impl Strategy<Value = Operation> {
    let wanted = prop::sample::select(gradients());
    prop_oneof![
        Just(Operation::Inference),
        Just(Operation::Forward),
        wanted.clone().prop_map(Operation::Backward),
        wanted.prop_map(Operation::FrozenBackward),
    ]
}

pub fn kinds() -> impl Strategy<Value = AdapterKind> {
    prop::sample::select(&KINDS[..])
}

pub fn capabilities() -> impl Strategy<Value = Capabilities> {
    let any = (
        kinds(),
        prop_oneof![1..9u32, 1..1025u32, any::<u32>()],
        prop_oneof![0..500u32, 0..65_537u32],
        prop_oneof![1..20u32, Just(65_535), any::<u32>()],
        prop_oneof![0..100_000u64, any::<u64>()],
        0..12u32,
        prop::sample::select(&[32_u64, 64, 256][..]),
    )
        .prop_map(|(kind, invocations, workgroup_bytes, workgroups, binding_bytes, storage_buffers, alignment)| {
            let int64 = true;
            Capabilities {
                kind,
                invocations,
                workgroup_bytes,
                workgroups,
                binding_bytes,
                storage_buffers,
                int64,
                alignment,
            }
        });
    prop_oneof![kinds().prop_map(Capabilities::webgpu_default), Just(HUGE), any]
}

/// Those that no device has among them.
pub fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    let alignment = prop_oneof![any::<u64>(), (0..64u32).prop_map(|power| 1 << power)];
    let bindings = (0..64u32).prop_map(|power| 1_u64 << power);
    (capabilities(), any::<bool>(), prop::option::weighted(0.1, alignment), prop::option::of(bindings)).prop_map(
        |(capabilities, int64, alignment, bindings)| Capabilities {
            int64,
            alignment: alignment.unwrap_or(capabilities.alignment),
            binding_bytes: bindings.unwrap_or(capabilities.binding_bytes),
            ..capabilities
        },
    )
}

fn orders() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Interleaved), Just(Order::Blocked)]
}

/// The built-in ones and any numbers at all.
pub fn tunings() -> impl Strategy<Value = Tuning> {
    let number = || prop_oneof![0..5u32, (0..10u32).prop_map(|power| 1 << power), 0..2000u32, any::<u32>()];
    let pair = || [number(), number()];
    let any = (
        (orders(), any::<bool>(), any::<bool>()),
        [pair(), pair()],
        [pair(), pair(), pair(), pair()],
        pair(),
        pair(),
        number(),
    );
    let any = any.prop_map(|((order, long, twin), [resident, columns], [a, b, c, d], e, f, cache)| Tuning {
        order,
        lanes: a[0],
        resident,
        share: a[1],
        columns,
        long,
        twin,
        loads: b[0],
        across: b[1],
        workgroups: c[0],
        whole: c[1],
        merge: d[0],
        settle: d[1],
        near: e[0],
        slab: f[0],
        cache,
        items: f[1],
        iterations: e[1],
    });
    prop_oneof![kinds().prop_map(Tuning::of), any]
}

pub fn choices() -> impl Strategy<Value = Choice> {
    let number = || prop_oneof![(0..11u32).prop_map(|power| 1 << power), 0..40u32, any::<u32>()];
    (
        prop::option::of(prop::sample::select(vec![
            Regime::Resident,
            Regime::Cached,
            Regime::Split,
            Regime::Elementwise,
        ])),
        prop::option::of(any::<bool>()),
        prop::option::of((number(), number()).prop_map(|(columns, lanes)| Tile { columns, lanes })),
        prop::option::of(orders()),
        prop::option::of(number()),
    )
        .prop_map(|(regime, wide, tile, order, parts)| Choice { regime, wide, tile, order, parts })
}
