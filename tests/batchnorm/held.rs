//! How many compiled kernels are held, and that memory stays as it is however many shapes a program comes to see.

use wgpu_batchnorm::wgpu::{Buffer, BufferBinding, PollType};
use wgpu_batchnorm::{Activation, Bindings, Compiled, Descriptor, Float, Kernels, Layout, Types};

use crate::adapters::say;
use crate::noop::Noop;

/// A shape of each activation: as many kernels of inference.
fn layers() -> Vec<Descriptor> {
    let activations = [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu, Activation::Tanh];
    activations.map(|activation| Descriptor::new([2, 8, 4, 4], Layout::ChannelsFirst).activation(activation)).to_vec()
}

fn numbers(kernels: &Kernels) -> [u64; 3] {
    let Compiled { held, compiled, evicted, .. } = kernels.compiled();
    [held as u64, compiled, evicted]
}

#[test]
fn no_more_are_held_than_was_said() {
    let noop = Noop::new();
    let kernels = &noop.kernels;
    assert_eq!(kernels.compiled().most, 256);
    kernels.hold_at_most(3);
    let all = layers();
    let plan = |i: usize| kernels.inference(&all[i]).unwrap();
    drop([0, 1, 2].map(plan));
    assert_eq!(numbers(kernels), [3, 3, 0]);
    // What was used last stays, on whichever clone: 1 goes.
    kernels.clone().inference(&all[0]).unwrap();
    drop(plan(3));
    assert_eq!(numbers(kernels), [3, 4, 1]);
    drop([0, 2, 3].map(plan));
    assert_eq!(numbers(kernels), [3, 4, 1]);
    drop(plan(1));
    assert_eq!(numbers(kernels), [3, 5, 2]);
    kernels.hold_at_most(1);
    assert_eq!(numbers(kernels), [1, 5, 4]);
    drop(plan(1));
    assert_eq!(numbers(kernels), [1, 5, 4]);
    kernels.clear();
    assert_eq!(numbers(kernels), [0, 5, 4]);
    // None at all is possible too.
    kernels.hold_at_most(0);
    drop(plan(1));
    assert_eq!(numbers(kernels), [0, 6, 4]);
    noop.assert_silent();
}

/// A plan binds and runs by what it has, after everything was let go.
#[test]
fn plans_keep_their_kernels() {
    let noop = Noop::new();
    let buffers = Buffers::new(&noop);
    let plan = noop.kernels.forward(&layers()[1]).unwrap();
    let compiled = noop.kernels.compiled().compiled;
    noop.kernels.clear();
    let bound = plan.bind(&buffers.bindings()).unwrap();
    drop(plan);
    noop.run(|pass| bound.record(pass));
    assert_eq!(numbers(&noop.kernels), [0, compiled, 0]);
    noop.assert_silent();
}

/// Large enough for all shapes here: x, y, parameters, statistics, scratch.
struct Buffers([Buffer; 5]);

impl Buffers {
    fn new(noop: &Noop) -> Self {
        Self([1 << 22, 1 << 22, 1 << 16, 1 << 16, 1 << 22].map(|bytes| noop.buffer(bytes)))
    }

    fn bindings(&self) -> Bindings<'_> {
        let [x, y, parameters, statistics, scratch] = &self.0;
        let at = |buffer, place: u64| BufferBinding { buffer, offset: place << 12, size: None };
        let to = Bindings::new().x(x).y(y).gamma(at(parameters, 0)).beta(at(parameters, 1)).scratch(scratch);
        to.running_mean(at(statistics, 0)).running_variance(at(statistics, 1)).saved(at(statistics, 2))
    }
}

const SHAPES: usize = 2_000;

/// One of as many shapes, of which each hundred has options of its own.
fn shape(i: usize) -> Descriptor {
    let layout = [Layout::ChannelsFirst, Layout::ChannelsLast][i / 100 % 2];
    let activations = [Activation::Identity, Activation::Relu, Activation::Silu, Activation::Gelu, Activation::Tanh];
    let types = [Float::F32, Float::F16].map(Types::mixed)[i / 1_000];
    let descriptor = Descriptor::new([2 + i / 100 % 3, 1 + i % 64, 1 + i % 100, 1 + i / 64], layout).types(types);
    descriptor.activation(activations[i / 200 % 5])
}

/// Plans, binds and runs a shape a step; goes through all of them, some before others and each again and again.
fn train(noop: &Noop, steps: usize, mut after: impl FnMut(usize)) {
    let buffers = Buffers::new(noop);
    let mut random = 1_usize;
    for step in 0..steps {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let i = step * SHAPES / steps + (random >> 33) % 32;
        let plan = noop.kernels.forward(&shape(i % SHAPES)).unwrap();
        let bound = plan.bind(&buffers.bindings()).unwrap();
        noop.run(|pass| bound.record(pass));
        if step % 100 == 0 {
            noop.device.poll(PollType::Poll).unwrap();
        }
        after(step);
    }
}

/// Bytes of memory that the process has, of pages of 4096.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    4_096 * text.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
}

/// A process of its own, whose memory no other test takes.
#[test]
fn memory_stays_as_it_is_over_two_thousand_shapes() {
    if !std::path::Path::new("/proc/self/statm").exists() {
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["held::soak", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    say(text.lines().find(|line| line.contains("steps over")).unwrap_or_default());
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by memory_stays_as_it_is_over_two_thousand_shapes, in a process of its own"]
fn soak() {
    let steps = 100_000;
    let noop = Noop::new();
    let most = 32;
    noop.kernels.hold_at_most(most);
    let (mut early, mut late) = (0, 0);
    train(&noop, steps, |step| {
        assert!(noop.kernels.compiled().held <= most);
        // Half the way everything has grown to what it needs.
        if step == steps / 2 {
            early = resident();
        }
        late = resident().max(late);
    });
    let Compiled { compiled, evicted, .. } = noop.kernels.compiled();
    say(&format!(
        "{steps} steps over {SHAPES} shapes: {compiled} kernels compiled, {evicted} let go, {} KiB half way, at most {} KiB",
        early >> 10,
        late >> 10
    ));
    assert!(evicted > most as u64, "{evicted}");
    assert!(late < early + (8 << 20), "{early} bytes half way, at most {late}");
    noop.assert_silent();
}
