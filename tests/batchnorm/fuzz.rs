//! Random descriptors and random buffers on the noop device: what is bound runs without a word from wgpu,
//! what is not is an error, and nothing panics.

use std::cell::Cell;

use proptest::prelude::*;
use wgpu_batchnorm::wgpu::{Buffer, BufferBinding, BufferSize, BufferUsages};
use wgpu_batchnorm::{
    BackwardBindings, BindError, Bound, Choice, Descriptor, Extras, ForwardBindings, FrozenBackwardBindings, Gradients,
    InferenceBindings, Kernels, Layout, PlanError, Running, RunningBindings,
};

use crate::noop::Noop;

/// How a binding differs from the right one.
#[derive(Clone, Copy, Debug)]
enum Given {
    /// The right bytes, in a buffer of its own.
    Right,
    /// The right bytes, somewhere in a buffer shared with others.
    Shared {
        slot: u64,
    },
    /// Any bytes of a shared buffer.
    Any {
        buffer: usize,
        offset: u64,
        size: Option<u64>,
    },
    Nothing,
}

fn given() -> impl Strategy<Value = Given> {
    let offset = prop_oneof![(0..40u64).prop_map(|n| n * 256), 0..5_000u64, any::<u64>()];
    let size = prop::option::of(prop_oneof![0..600u64, any::<u64>()]);
    prop_oneof![
        20 => Just(Given::Right),
        5 => (0..16u64).prop_map(|slot| Given::Shared { slot }),
        1 => (0..BUFFERS.len(), offset, size).prop_map(|(buffer, offset, size)| Given::Any { buffer, offset, size }),
        1 => Just(Given::Nothing),
    ]
}

/// Bytes and usages of the buffers that are shared.
const BUFFERS: [(u64, BufferUsages); 3] =
    [(16 * 4_096, BufferUsages::STORAGE), (1_000, BufferUsages::STORAGE), (16 * 4_096, BufferUsages::COPY_DST)];

struct Device {
    noop: Noop,
    shared: Vec<Buffer>,
}

impl Device {
    fn new() -> Self {
        let noop = Noop::new();
        let shared = BUFFERS.iter().map(|(bytes, usage)| noop.buffer_for(*usage, *bytes)).collect();
        Self { noop, shared }
    }

    fn kernels(&self) -> &Kernels {
        &self.noop.kernels
    }
}

/// The buffers of one call: each field has a right size and a way in which it is given.
struct Lender<'a> {
    device: &'a Device,
    own: Vec<Buffer>,
    given: &'a [Given],
}

impl Lender<'_> {
    fn lend(&self, field: usize, bytes: u64) -> Option<BufferBinding<'_>> {
        let size = BufferSize::new(bytes);
        match self.given[field] {
            Given::Right => Some(BufferBinding { buffer: &self.own[field], offset: 0, size }),
            Given::Shared { slot } => {
                Some(BufferBinding { buffer: &self.device.shared[0], offset: slot * 4_096, size })
            }
            Given::Any { buffer, offset, size } => {
                let size = size.and_then(BufferSize::new);
                Some(BufferBinding { buffer: &self.device.shared[buffer], offset, size })
            }
            Given::Nothing => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Inference,
    Forward,
    Backward(Gradients),
    Frozen(Gradients),
}

/// Plans, binds and records; whatever is refused is refused by an error.
fn run(device: &Device, kind: Kind, choice: Choice, descriptor: &Descriptor, given: &[Given]) -> Result<(), Refused> {
    let x = 4 * descriptor.shape().iter().product::<usize>() as u64;
    let c = 4 * descriptor.channels() as u64;
    let kernels = device.kernels().choosing(choice);
    let noop = &device.noop;
    let own = (0..given.len()).map(|_| noop.buffer(64 + x.max(4 * c).max(8_192))).collect();
    let lender = Lender { device, own, given };
    // Fields that are no option get the right bytes where the test would give nothing.
    let must = |field: usize, bytes| {
        let instead = BufferBinding { buffer: &lender.own[field], offset: 0, size: BufferSize::new(bytes) };
        lender.lend(field, bytes).unwrap_or(instead)
    };
    let running = || RunningBindings { mean: must(4, c), variance: must(5, c) };
    let wanted = |gradients: Gradients| {
        [(gradients.dx, 8, x), (gradients.dgamma, 9, c), (gradients.dbeta, 10, c)]
            .map(|(wanted, field, bytes)| if wanted { lender.lend(field, bytes) } else { None })
    };
    let bound: Bound = match kind {
        Kind::Inference => {
            let plan = kernels.inference(descriptor).map_err(Refused::Plan)?;
            let (gamma, beta) = (lender.lend(2, c), lender.lend(3, c));
            let (running, extras) = (running(), Extras::default());
            plan.bind(&InferenceBindings { x: must(0, x), y: must(1, x), gamma, beta, running, extras })
        }
        Kind::Forward => {
            let plan = kernels.forward(descriptor).map_err(Refused::Plan)?;
            plan.bind(&ForwardBindings {
                x: must(0, x),
                y: must(1, x),
                gamma: lender.lend(2, c),
                beta: lender.lend(3, c),
                running: Some(running()),
                counter: None,
                saved: must(6, 4 * c),
                scratch: lender.lend(7, plan.scratch_bytes()),
                extras: Extras::default(),
            })
        }
        Kind::Backward(gradients) => {
            let plan = kernels.backward(descriptor, gradients).map_err(Refused::Plan)?;
            let [dx, dgamma, dbeta] = wanted(gradients);
            plan.bind(&BackwardBindings {
                x: must(0, x),
                dy: must(1, x),
                gamma: lender.lend(2, c),
                saved: must(6, 4 * c),
                dx,
                dgamma,
                dbeta,
                scratch: lender.lend(7, plan.scratch_bytes()),
                extras: Extras::default(),
            })
        }
        Kind::Frozen(gradients) => {
            let plan = kernels.frozen_backward(descriptor, gradients).map_err(Refused::Plan)?;
            let [dx, dgamma, dbeta] = wanted(gradients);
            plan.bind(&FrozenBackwardBindings {
                x: (gradients != Gradients::DX).then(|| must(0, x)),
                dy: must(1, x),
                gamma: lender.lend(2, c),
                running: running(),
                dx,
                dgamma,
                dbeta,
                scratch: lender.lend(7, plan.scratch_bytes()),
                extras: Extras::default(),
            })
        }
    }
    .map_err(Refused::Bind)?;
    noop.run(|pass| {
        bound.record(pass);
        bound.record(pass);
    });
    Ok(())
}

#[derive(Debug)]
enum Refused {
    Plan(PlanError),
    Bind(BindError),
}

fn kinds() -> impl Strategy<Value = Kind> {
    let wanted =
        (1..8u32).prop_map(|bits| Gradients { dx: bits & 1 != 0, dgamma: bits & 2 != 0, dbeta: bits & 4 != 0 });
    prop_oneof![
        Just(Kind::Inference),
        Just(Kind::Forward),
        wanted.clone().prop_map(Kind::Backward),
        wanted.prop_map(Kind::Frozen),
    ]
}

fn descriptors() -> impl Strategy<Value = Descriptor> {
    let shape = prop::collection::vec(prop_oneof![8 => 1..9usize, 1 => 0..30usize], 2..5)
        .prop_filter("small", |shape| shape.iter().product::<usize>() <= 1_000);
    (shape, any::<bool>(), any::<(bool, bool)>()).prop_map(|(shape, last, (gamma, beta))| {
        let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        Descriptor::new(shape, layout).affine(gamma, beta).running(Running::default())
    })
}

#[test]
fn wgpu_is_never_the_messenger() {
    let device = Device::new();
    let split = Choice { regime: Some(wgpu_batchnorm::recipe::Regime::Split), ..Choice::default() };
    let inputs = (kinds(), descriptors(), prop::collection::vec(given(), 11), any::<bool>());
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 2_000, ..ProptestConfig::default() });
    let (ran, refused) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&inputs, |(kind, descriptor, given, splits)| {
        let choice = if splits { split } else { Choice::default() };
        match run(&device, kind, choice, &descriptor, &given) {
            Ok(()) => ran.set(ran.get() + 1),
            Err(error) => {
                refused.set(refused.get() + 1);
                let message = match error {
                    Refused::Plan(error) => error.to_string(),
                    Refused::Bind(error) => error.to_string(),
                };
                prop_assert!(!message.is_empty());
            }
        }
        device.noop.assert_silent();
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (ran, refused) = (ran.get(), refused.get());
    assert!(ran > 100 && refused > 100, "{ran} ran, {refused} were refused: too few of one");
}
