//! Random cases, a fixed number in the tests and for as long as one likes with `cargo xtask fuzz`; the smallest that
//! fails is what is printed, with the seed that leads to it.
//!
//! Here: random descriptors and random buffers on the noop device: what is bound runs without a word from wgpu, what is
//! not is an error, and nothing panics. And any descriptor at all on any device at all: no panic, no limit exceeded,
//! and every size of an argument what it is apart from the library.

use std::cell::Cell;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::panic;
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use wgpu_batchnorm::recipe::{Capabilities, Operation, Recipe};
use wgpu_batchnorm::tuning::Tuning;
use wgpu_batchnorm::wgpu::{Buffer, BufferBinding, BufferSize, BufferUsages};
use wgpu_batchnorm::{
    Argument, BindError, Bindings, Choice, Descriptor, Gradients, Kernels, Layout, PlanError, Running,
};

use crate::adapters::say;
use crate::cases::{self, ARGUMENTS, Case};
use crate::noop::Noop;
use crate::recipes::assert_keeps_limits;
use crate::strategies;

/// How many cases, where no time is said, and how many share a seed.
pub struct Times {
    pub cases: u32,
    pub of_batch: u32,
}

thread_local! {
    /// Whether a panic is only a case that fails, of which there are many on the way to the smallest.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Has panics of cases say nothing: what they say is what the test fails with in the end.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                loud(info);
            }
        }));
    });
}

/// A number from the environment.
fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, which is no whole number")))
}

/// Tries random cases, as many as are said, or for BATCHNORM_FUZZ_MINUTES, from BATCHNORM_FUZZ_SEED on. A test returns
/// whether there was anything to try; here is how many times there was.
pub fn fuzz<S: Strategy>(
    name: &str,
    Times { cases, of_batch }: Times,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<bool, TestCaseError>,
) -> u32 {
    quieten();
    let minutes = variable("BATCHNORM_FUZZ_MINUTES");
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    // Tests try the same cases each time. For others large enough that runs do not meet, small enough to be typed.
    let others = || minutes.map_or(1, |_| RandomState::new().hash_one(name) >> 20);
    let first = variable("BATCHNORM_FUZZ_SEED").unwrap_or_else(others);
    let (tried, ran) = (Cell::new(0), Cell::new(0));
    for seed in first.. {
        if end.map_or(tried.get() >= cases, |end| Instant::now() >= end) {
            break;
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = ProptestConfig {
            cases: of_batch,
            failure_persistence: None,
            max_global_rejects: u32::MAX,
            max_local_rejects: u32::MAX,
            max_shrink_iters: 2_000,
            max_shrink_time: 60_000,
            ..ProptestConfig::default()
        };
        QUIET.set(true);
        let outcome =
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)).run(strategy, |case| {
                tried.set(tried.get() + 1);
                ran.set(ran.get() + u32::from(test(case)?));
                Ok(())
            });
        QUIET.set(false);
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, case)) => panic!(
                "{name}: {reason}\nthe smallest case that fails: {case:#?}\nrepeat it with: cargo xtask fuzz --seed {seed}"
            ),
            Err(error) => panic!("{name}, seed {seed}: {error}"),
        }
    }
    if minutes.is_some() {
        say(&format!("{name}: {} cases from seed {first} on, {} of them ran", tried.get(), ran.get()));
    }
    ran.get()
}

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
    let operation = match kind {
        Kind::Inference => Operation::Inference,
        Kind::Forward => Operation::Forward,
        Kind::Backward(gradients) => Operation::Backward(gradients),
        Kind::Frozen(gradients) => Operation::FrozenBackward(gradients),
    };
    let plan = kernels.plan(descriptor, operation).map_err(Refused::Plan)?;
    let scratch = lender.lend(7, plan.scratch_bytes());
    let mut to = Bindings::new().gamma(lender.lend(2, c)).scratch(scratch);
    if !matches!(kind, Kind::Backward(_)) {
        to = to.running_mean(must(4, c)).running_variance(must(5, c));
    }
    if matches!(kind, Kind::Forward | Kind::Backward(_)) {
        to = to.saved(must(6, 4 * c));
    }
    match kind {
        Kind::Inference | Kind::Forward => to = to.x(must(0, x)).y(must(1, x)).beta(lender.lend(3, c)),
        Kind::Backward(wanted) | Kind::Frozen(wanted) => {
            let needs_x = matches!(kind, Kind::Backward(_)) || wanted != Gradients::DX;
            to = to.x(needs_x.then(|| must(0, x))).dy(must(1, x));
            let lent = |wanted: bool, field, bytes| if wanted { lender.lend(field, bytes) } else { None };
            to = to.dx(lent(wanted.dx, 8, x)).dgamma(lent(wanted.dgamma, 9, c)).dbeta(lent(wanted.dbeta, 10, c));
        }
    }
    let bound = plan.bind(&to).map_err(Refused::Bind)?;
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
    let refused = Cell::new(0);
    let ran = fuzz("bindings", Times { cases: 2_000, of_batch: 100 }, &inputs, |(kind, descriptor, given, splits)| {
        let choice = if splits { split } else { Choice::default() };
        let outcome = run(&device, kind, choice, &descriptor, &given);
        device.noop.assert_silent();
        if let Err(error) = &outcome {
            refused.set(refused.get() + 1);
            let message = match error {
                Refused::Plan(error) => error.to_string(),
                Refused::Bind(error) => error.to_string(),
            };
            prop_assert!(!message.is_empty());
        }
        Ok(outcome.is_ok())
    });
    let refused = refused.get();
    assert!(ran > 100 && refused > 100, "{ran} ran, {refused} were refused: too few of one");
}

/// A plan on a device that may be anything, by any tuning.
type Planned = (Case, Operation, Capabilities, Tuning, Choice);

fn planned() -> impl Strategy<Value = Planned> {
    let cases = cases::cases(cases::any_shapes(), cases::any_kept());
    let choices = prop_oneof![Just(Choice::default()), strategies::choices()];
    (cases, cases::operations(), strategies::any_capabilities(), strategies::tunings(), choices)
}

/// Panics where a plan exceeds the device or counts bytes otherwise than they are.
fn assert_planned((case, operation, capabilities, tuning, choice): Planned) -> Result<bool, TestCaseError> {
    let start = Instant::now();
    let planned = Recipe::new(&case.descriptor(), operation, &capabilities, &tuning, &choice);
    prop_assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    let recipe = match planned {
        Ok(recipe) => recipe,
        Err(error) => {
            if let PlanError::Limit { needs, has, .. } = error {
                prop_assert!(needs > has, "{error}");
            }
            return Ok(false);
        }
    };
    assert_keeps_limits(&recipe, &capabilities);
    let bytes = |name: &str| if name == "scratch" { recipe.scratch_bytes.into() } else { case.bytes(operation, name) };
    for name in ARGUMENTS {
        let argument = Argument::named(name).unwrap();
        prop_assert_eq!(u128::from(recipe.argument_bytes(argument)), bytes(name), "{}", name);
    }
    for dispatch in &recipe.dispatches {
        for slot in dispatch.permutation.slots().iter().filter(|slot| slot.name != "params") {
            let (argument, piece) = dispatch.argument(&slot.name).unwrap();
            let argument = argument.name();
            let piece = piece.map_or(0..bytes(argument), |piece| piece.start.into()..piece.end.into());
            prop_assert!(piece.end <= bytes(argument), "{argument}: {piece:?} of {}", bytes(argument));
            prop_assert!(piece.end - piece.start <= capabilities.binding_bytes.into(), "{argument}: {piece:?}");
            prop_assert_eq!(piece.start % u128::from(capabilities.alignment), 0, "{}", argument);
        }
    }
    let saves = matches!(operation, Operation::Forward | Operation::Finalize);
    prop_assert_eq!(u128::from(recipe.saved_bytes), if saves { bytes("saved") } else { 0 });
    prop_assert!([0, bytes("signs")].contains(&recipe.signs_bytes.into()));
    Ok(true)
}

#[test]
fn any_plan_is_within_the_device_or_an_error() {
    let ran = fuzz("plans", Times { cases: 4_000, of_batch: 200 }, &planned(), assert_planned);
    assert!(ran > 40, "{ran} planned");
}
