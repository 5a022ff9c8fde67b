//! Every error of binding.

use wgpu_batchnorm::recipe::Regime;
use wgpu_batchnorm::wgpu::{
    Buffer, BufferBinding, BufferDescriptor, BufferSize, BufferUsages, CommandEncoderDescriptor,
};
use wgpu_batchnorm::{
    Argument, BindError, Bindings, Bound, Choice, Descriptor, Gradients, Kernels, Layout, Plan, PlanError, Running,
};

use crate::adapters::on_every_gpu;
use crate::check::says;
use crate::noop::Noop;

const FIRST: Layout = Layout::ChannelsFirst;

fn images() -> Descriptor {
    Descriptor::new([2, 4, 3], FIRST)
}

/// Buffers for a forward pass that fit, and one field after another that does not.
fn forward(kernels: &Kernels) -> Plan {
    // In two dispatches, so that there is scratch.
    let split = Choice { regime: Some(Regime::Split), ..Choice::default() };
    let running = Running { counts_batches: true, ..Running::default() };
    kernels.choosing(split).forward(&images().running(running)).unwrap()
}

const X: u64 = 4 * 2 * 4 * 3;
const C: u64 = 4 * 4;

struct Buffers([Buffer; 9]);

impl Buffers {
    fn new(noop: &Noop) -> Self {
        Self([X, X, C, C, C, C, 4, 4 * C, 4096].map(|bytes| noop.buffer(bytes)))
    }

    fn bindings(&self) -> Bindings<'_> {
        let [x, y, gamma, beta, mean, variance, counter, saved, scratch] = &self.0;
        let to = Bindings::new().x(x).y(y).gamma(gamma).beta(beta).running_mean(mean).running_variance(variance);
        to.counter(counter).saved(saved).scratch(scratch)
    }
}

fn bind_error(change: impl for<'a> Fn(Bindings<'a>, &'a Buffers) -> Bindings<'a>, words: &[&str]) -> BindError {
    let noop = Noop::new();
    let (plan, buffers) = (forward(&noop.kernels), Buffers::new(&noop));
    plan.bind(&buffers.bindings()).unwrap();
    let error = plan.bind(&change(buffers.bindings(), &buffers)).unwrap_err();
    noop.assert_silent();
    says(&error, words);
    error
}

/// The same without one.
fn without(to: Bindings<'_>, argument: Argument) -> Bindings<'_> {
    to.with(argument, None::<&Buffer>)
}

#[test]
fn missing() {
    let error = bind_error(|to, _| without(to, Argument::Gamma), &["gamma", "not given", "16 bytes"]);
    assert_eq!(error, BindError::Missing { argument: "gamma", needs: C });
    bind_error(|to, _| without(to, Argument::Beta), &["beta", "not given"]);
    bind_error(|to, _| without(to, Argument::RunningMean), &["running_mean", "not given"]);
    bind_error(|to, _| without(to, Argument::RunningVariance), &["running_variance", "not given"]);
    bind_error(|to, _| without(to, Argument::Counter), &["counter", "not given", "4 bytes"]);
    let noop = Noop::new();
    let plan = noop.kernels.forward(&Descriptor::new([1, 1, 1_000_000], FIRST)).unwrap();
    let [x, y] = [0, 1].map(|_| noop.buffer(4_000_000));
    let buffers = Buffers::new(&noop);
    let large = without(without(buffers.bindings().x(&x).y(&y), Argument::Counter), Argument::Scratch);
    let error = plan.bind(&large).unwrap_err();
    assert_eq!(error, BindError::Missing { argument: "scratch", needs: plan.scratch_bytes() });
}

#[test]
fn unused() {
    let noop = Noop::new();
    let buffers = Buffers::new(&noop);
    let plain = noop.kernels.forward(&images().affine(false, false).running(None)).unwrap();
    let all = buffers.bindings();
    plain.bind(&all.taken_by(&plain)).unwrap();
    for argument in Argument::ALL {
        // Scratch may always be given, and so may bits that are not kept.
        let passed_over = matches!(argument, Argument::Scratch | Argument::Signs);
        if passed_over || plain.arguments().iter().any(|needed| needed.argument == argument) {
            continue;
        }
        let error = plain.bind(&all.taken_by(&plain).with(argument, &buffers.0[0])).unwrap_err();
        assert_eq!(error, BindError::Unused { argument: argument.name() });
        says(&error, &[argument.name(), "does not use"]);
    }
    let sums = Gradients { dx: false, dgamma: true, dbeta: false };
    let backward = noop.kernels.backward(&images(), sums).unwrap();
    let [x, dy, gamma, dgamma, _, _, _, saved, scratch] = &buffers.0;
    let to = Bindings::new().x(x).dy(dy).gamma(gamma).saved(saved).dgamma(dgamma).scratch(scratch);
    backward.bind(&to).unwrap();
    let error = backward.bind(&to.dx(scratch)).unwrap_err();
    assert_eq!(error, BindError::Unused { argument: "dx" });
    noop.assert_silent();
}

/// What a plan says that it takes is enough, and each of it is needed.
#[test]
fn what_is_taken_is_said() {
    let noop = Noop::new();
    let (plan, buffers) = (forward(&noop.kernels), Buffers::new(&noop));
    let all = buffers.bindings();
    assert_eq!(plan.arguments().len(), all.arguments().count());
    let written = plan.arguments().iter().filter(|needed| needed.written).map(|needed| needed.argument);
    use Argument::*;
    assert_eq!(written.collect::<Vec<_>>(), [Y, RunningMean, RunningVariance, Counter, Saved, Scratch]);
    for needed in plan.arguments() {
        let error = plan.bind(&without(all.clone(), needed.argument)).unwrap_err();
        assert_eq!(error, BindError::Missing { argument: needed.argument.name(), needs: needed.bytes });
    }
    noop.assert_silent();
}

fn sized(buffer: &Buffer, offset: u64, size: u64) -> BufferBinding<'_> {
    BufferBinding { buffer, offset, size: BufferSize::new(size) }
}

#[test]
fn size() {
    // A buffer too small, a size too small, a size too large: all of them not x.
    let error = bind_error(|to, all| to.x(&all.0[2]), &["x is 16 bytes", "[2, 4, 3]", "F32", "needs at least 96"]);
    assert!(matches!(error, BindError::Size { argument: "x", has: C, needs: X, .. }));
    bind_error(|to, all| to.y(sized(&all.0[1], 0, X - 4)), &["y is 92 bytes", "exactly 96"]);
    bind_error(|to, all| to.y(sized(&all.0[8], 0, X + 4)), &["y is 100 bytes", "96"]);
    bind_error(|to, all| to.saved(&all.0[2]), &["saved is 16 bytes", "at least 64"]);
    bind_error(|to, all| to.gamma(&all.0[6]), &["gamma is 4 bytes", "at least 16"]);
}

#[test]
fn range() {
    let error = bind_error(|to, all| to.x(sized(&all.0[0], 256, X)), &["x ends at byte 352", "buffer of 96"]);
    assert_eq!(error, BindError::Range { argument: "x", end: 256 + X, buffer: X });
    bind_error(|to, all| to.x(BufferBinding { offset: 512, buffer: &all.0[0], size: None }), &["x", "96"]);
    bind_error(|to, all| to.x(sized(&all.0[0], u64::MAX - 255, X)), &["x", "96"]);
}

#[test]
fn offset() {
    let error = bind_error(|to, all| to.y(sized(&all.0[8], 32, X)), &["y starts at byte 32", "multiple of 256"]);
    assert_eq!(error, BindError::Offset { argument: "y", offset: 32, alignment: 256 });
}

#[test]
fn usage() {
    let noop = Noop::new();
    let (plan, buffers) = (forward(&noop.kernels), Buffers::new(&noop));
    let vertices = noop.buffer_for(BufferUsages::VERTEX, X);
    let error = plan.bind(&buffers.bindings().x(&vertices)).unwrap_err();
    let (has, needs) = (BufferUsages::VERTEX, BufferUsages::STORAGE);
    assert_eq!(error, BindError::Usage { argument: "x", has, needs });
    says(&error, &["x", "VERTEX", "STORAGE"]);
    noop.assert_silent();
}

#[test]
fn overlap() {
    // y may be x, but no part of it.
    let error = bind_error(
        |to, all| {
            let (x, saved) = (sized(&all.0[8], 256, X), sized(&all.0[8], 256, 4 * C));
            to.x(x.clone()).y(x).saved(saved).scratch(sized(&all.0[8], 1024, 1024))
        },
        &["x and saved", "overlap", "written"],
    );
    assert_eq!(error, BindError::Overlap { first: "x", second: "saved" });
    bind_error(|to, all| to.saved(sized(&all.0[8], 0, 4 * C)), &["saved and scratch"]);
    bind_error(
        |to, all| {
            let (c, saved) = (sized(&all.0[8], 256, C), sized(&all.0[8], 256, 4 * C));
            to.gamma(c.clone()).beta(c).saved(saved).scratch(sized(&all.0[8], 1024, 1024))
        },
        &["gamma and saved"],
    );
    // Only read, but from the buffer that y is written to.
    bind_error(
        |to, all| {
            let c = sized(&all.0[8], 256, C);
            to.gamma(c.clone()).beta(c).y(sized(&all.0[8], 1024, X))
        },
        &["gamma and beta", "writable"],
    );
}

/// Scratch that the plan does not need is not looked at.
#[test]
fn unused_scratch_may_lie_anywhere() {
    let noop = Noop::new();
    let plan = noop.kernels.forward(&images().running(None)).unwrap();
    assert_eq!(plan.scratch_bytes(), 0);
    let [x, y, c] = [X, 4096, 2 * C].map(|bytes| noop.buffer(bytes));
    let saved = noop.buffer(4 * C);
    let elsewhere = BufferBinding { buffer: &y, offset: 17, size: None };
    let bound = plan.bind(&Bindings::new().x(&x).y(&y).gamma(&c).beta(&c).saved(&saved).scratch(elsewhere));
    noop.run(|pass| bound.unwrap().record(pass));
    noop.assert_silent();
}

#[test]
fn refused() {
    let noop = Noop::new();
    let gone = noop.buffer(X);
    gone.destroy();
    let plan = noop.kernels.inference(&images()).unwrap();
    let [y, c] = [X, C].map(|bytes| noop.buffer(bytes));
    let error = bound(&plan, [&gone, &y, &c]);
    let error = error.unwrap_err();
    assert!(matches!(error, BindError::Refused { .. }), "{error:?}");
    says(&error, &["refuses", "destroyed"]);
    noop.assert_silent();
}

/// An inference over these buffers, bound.
fn bound(plan: &Plan, [x, y, c]: [&Buffer; 3]) -> Result<Bound, BindError> {
    plan.bind(&Bindings::new().x(x).y(y).gamma(c).beta(c).running_mean(c).running_variance(c))
}

/// wgpu itself says nothing of a lost device.
#[test]
fn on_a_lost_device() {
    let noop = Noop::new();
    let plan = noop.kernels.inference(&images()).unwrap();
    let buffers = [X, X, C].map(|bytes| noop.buffer(bytes));
    let before = bound(&plan, buffers.each_ref()).unwrap();
    noop.device.destroy();
    let error = bound(&plan, buffers.each_ref()).unwrap_err();
    assert!(matches!(error, BindError::Refused { .. }), "{error:?}");
    says(&error, &["refuses", "the device is lost"]);
    let error = noop.kernels.inference(&images()).unwrap_err();
    says(&error, &["gave no buffer", "lost"]);
    // Recording is what wgpu makes of it: nothing, and no complaint.
    noop.run(|pass| before.record(pass));
    noop.assert_silent();
}

/// Buffers of another device of the same instance, and a pass of another.
#[test]
fn of_another_device() {
    let [one, other] = Noop::two_of_one_instance();
    let plan = one.kernels.inference(&images()).unwrap();
    let own = [X, X, C].map(|bytes| one.buffer(bytes));
    let foreign = other.buffer(X);
    let error = bound(&plan, [&foreign, &own[1], &own[2]]).unwrap_err();
    assert!(matches!(error, BindError::Refused { .. }), "{error:?}");
    says(&error, &["refuses", "evice"]);
    let bound = bound(&plan, own.each_ref()).unwrap();
    one.assert_silent();
    other.run(|pass| bound.record(pass));
    one.assert_silent();
    other.assert_heard("evice");
}

/// A buffer may be mapped while it is bound and recorded, but not when that is submitted.
#[test]
fn mapped() {
    let noop = Noop::new();
    let plan = noop.kernels.inference(&images()).unwrap();
    let [y, c] = [X, C].map(|bytes| noop.buffer(bytes));
    let (label, usage) = (Some("mapped"), BufferUsages::STORAGE);
    let x = noop.device.create_buffer(&BufferDescriptor { label, size: X, usage, mapped_at_creation: true });
    let bound = bound(&plan, [&x, &y, &c]).unwrap();
    let recorded = [(); 2].map(|()| {
        let mut encoder = noop.device.create_command_encoder(&CommandEncoderDescriptor::default());
        bound.record_pass(&mut encoder);
        encoder.finish()
    });
    noop.assert_silent();
    let [first, second] = recorded;
    noop.queue.submit([first]);
    noop.assert_heard("mapped");
    x.unmap();
    noop.queue.submit([second]);
    noop.assert_silent();
}

/// Two that are only read may be one.
#[test]
fn reading_twice_is_no_overlap() {
    let noop = Noop::new();
    let plan = noop.kernels.inference(&images()).unwrap();
    let [x, y, c] = [X, X, C].map(|bytes| noop.buffer(bytes));
    let bound = bound(&plan, [&x, &y, &c]);
    noop.run(|pass| bound.unwrap().record(pass));
    noop.assert_silent();
}

/// Kernels for one buffer are compiled while binding; no device is known that takes the others and refuses
/// those.
#[test]
fn plan_while_binding() {
    let error = BindError::from(PlanError::NoGradient);
    assert_eq!(error.to_string(), PlanError::NoGradient.to_string());
}

/// The same checks stand before a device that computes.
#[test]
fn on_real_devices_too() {
    on_every_gpu(|gpu| {
        let plan = gpu.kernels.inference(&images()).unwrap();
        let small = gpu.empty(4).unwrap();
        let error = bound(&plan, [&small, &small, &small]);
        assert!(matches!(error.unwrap_err(), BindError::Size { argument: "x", has: 4, needs: X, .. }));
    });
}
