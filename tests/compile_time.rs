//! That no kernel takes a driver long to compile. Software drivers are the slowest at it (LLVM, optimising for a CPU),
//! and the only ones that every machine has.
//!
//! A binary of its own: cargo runs one after the other, so that no other test is timed along.

mod by_hand;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use by_hand::{ByHand, zeros};
use wgpu_batchnorm::recipe::{Dispatch, Operation};
use wgpu_batchnorm::wgpu::{DeviceType, PollType};
use wgpu_batchnorm::{
    Activation, Choice, Descriptor, Float, Gpu, GpuError, Gradients, Layout, Mask, Over, Padding, Renorm, Running,
    Tensor, Types, View,
};

/// The most that one kernel may take. naga's part is not optimised in debug builds, and no more than half of it.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 1_000 });

/// A kernel over the limit is compiled again, since caches may have been cold or full of something else; the best time
/// counts.
const TRIES: usize = 3;

/// Mesa keeps what it has compiled in files, and asks for this when it is loaded.
const NO_FILES: &str = "MESA_SHADER_CACHE_DISABLE";

type Change = fn(Descriptor) -> Descriptor;

/// Options whose kernels are long, alone and together.
const OPTIONS: [Change; 9] = [
    |of| of,
    |of| of.running(Running { counts_batches: true, ..Running::default() }).health(true),
    |of| of.types(Types::all(Float::F16)).activation(Activation::Relu).residual(true),
    |of| of.types(Types::mixed(Float::Bf16)).activation(Activation::Gelu).residual(true),
    |of| of.padding(Padding::Mask(Mask::Bits)).activation(Activation::Silu).health(true),
    |of| {
        let axis = if of.layout() == Layout::ChannelsFirst { 2 } else { 1 };
        of.padding(Padding::Lengths { axis }).renorm(Renorm { r_max: 3.0, d_max: 5.0 })
    },
    |of| of.over(Over::Groups { samples: 2 }).types(Types::all(Float::Bf16)).activation(Activation::Tanh),
    |of| of.backward_from_y(true).health(true).types(Types::all(Float::F16)),
    in_views,
];

/// All tensors as crops of wider ones, in which no axes can be walked as one; in f16, padded.
fn in_views(of: Descriptor) -> Descriptor {
    let mut whole = of.shape().to_vec();
    whole.iter_mut().skip(1).for_each(|axis| *axis += 4);
    let view = View::of_dense(&whole, &[]);
    let of = of.padding(Padding::Mask(Mask::Bytes)).types(Types::mixed(Float::F16)).activation(Activation::Relu);
    Tensor::ALL.into_iter().fold(of, |of, tensor| of.view(tensor, view.clone()))
}

/// Kept in registers, as many as fit, and too large for that; each in wide accesses and single ones; and with rows that
/// begin and end within an access.
const SHAPES: [[usize; 4]; 5] = [[4, 8, 4, 4], [4, 7, 3, 5], [8, 32, 64, 64], [8, 7, 63, 63], [8, 8, 63, 63]];

/// So many channels that an invocation walks along several, all alike or not: the most without options.
const WALKED_ALONG: [[usize; 4]; 2] = [[1, 512, 32, 32], [1, 513, 40, 40]];

const OPERATIONS: [Operation; 11] = [
    Operation::Inference,
    Operation::Forward,
    Operation::Backward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::UpdateRunning,
    Operation::Gather,
    Operation::Finalize,
    Operation::Normalize,
    Operation::GatherBackward,
    Operation::FinalizeBackward,
    Operation::ApplyBackward,
];

/// A dispatch of each kernel that the recipes of all these ask for on this device.
fn dispatches(gpu: &Gpu) -> Vec<Dispatch> {
    let (mut known, mut all) = (HashSet::new(), Vec::new());
    let by_rule = gpu.kernels.choosing(Choice::default());
    let with_options = SHAPES.iter().flat_map(|shape| OPTIONS.iter().map(move |change| (shape, change)));
    let plain = WALKED_ALONG.iter().map(|shape| (shape, &OPTIONS[0]));
    for ([n, c, h, w], change) in with_options.chain(plain) {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let shape = if layout == Layout::ChannelsFirst { [*n, *c, *h, *w] } else { [*n, *h, *w, *c] };
            let descriptor = change(Descriptor::new(shape, layout));
            // Some options are not for some operations.
            let recipes = OPERATIONS.iter().filter_map(|operation| by_rule.recipe(&descriptor, *operation).ok());
            let dispatches = recipes.flat_map(|recipe| recipe.dispatches);
            all.extend(dispatches.filter(|dispatch| known.insert(dispatch.permutation)));
        }
    }
    all
}

/// What the process has had of the processors so far, which is not more on a busy machine: a driver compiles a kernel
/// on one thread. Linux counts it in hundredths of a second; elsewhere it is the time on the wall.
fn clock() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let hundredths = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // After the program's name in brackets come the state and ten numbers, then the times of user and system.
        let times = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
        times.map(|time| time.parse::<u64>().ok()).sum::<Option<u64>>()
    };
    let wall = || START.get_or_init(Instant::now).elapsed();
    hundredths().map_or_else(wall, |hundredths| Duration::from_millis(10 * hundredths))
}

/// How long a kernel takes to be made, and to be run for the first time over that of a second time: some drivers
/// compile only then.
fn time(gpu: &Gpu, dispatch: &Dispatch) -> [Duration; 2] {
    let start = clock();
    let kernel = ByHand::new(&gpu.device, dispatch, |slot| zeros(&gpu.device, slot));
    let made = clock() - start;
    let run = || {
        let start = clock();
        gpu.run(|pass| kernel.record(pass));
        gpu.device.poll(PollType::wait_indefinitely()).unwrap();
        clock() - start
    };
    let (first, second) = (run(), run());
    [made, first.saturating_sub(second)]
}

fn sum(times: &[Duration; 2]) -> Duration {
    times.iter().sum()
}

#[test]
fn no_kernel_takes_long() {
    if std::env::var_os(NO_FILES).is_none() {
        // Anew, since the driver may be loaded already.
        let again = Command::new(std::env::current_exe().unwrap()).arg("--nocapture").env(NO_FILES, "true").status();
        assert!(again.unwrap().success(), "see above");
        return;
    }
    let adapters = pollster::block_on(Gpu::adapters());
    assert!(!adapters.is_empty(), "{}", GpuError::NoAdapter);
    for adapter in adapters {
        let gpu = pollster::block_on(Gpu::open(&adapter)).unwrap();
        // A clock that stands still would pass everything.
        let start = clock();
        let mut timed: Vec<(Dispatch, [Duration; 2])> =
            dispatches(&gpu).into_iter().map(|dispatch| (dispatch.clone(), time(&gpu, &dispatch))).collect();
        assert!(clock() > start, "the clock stands still");
        for (dispatch, times) in &mut timed {
            for _ in 1..TRIES {
                if sum(times) > LIMIT {
                    *times = [*times, time(&gpu, dispatch)].into_iter().min_by_key(sum).unwrap();
                }
            }
        }
        timed.sort_by_key(|(_, times)| Reverse(sum(times)));
        let total: Duration = timed.iter().map(|(_, times)| sum(times)).sum();
        println!("{}: {} kernels in {total:.1?}; made, then run first:", gpu.name(), timed.len());
        for (dispatch, [made, run]) in &timed[..5] {
            println!("  {} + {} ms: {:?}", made.as_millis(), run.as_millis(), dispatch.permutation);
        }
        // What a GPU's driver takes is its own affair.
        let slow = timed.iter().filter(|(_, times)| sum(times) > LIMIT).count();
        let software = gpu.info.device_type == DeviceType::Cpu;
        assert!(slow == 0 || !software, "{slow} kernels take more than {LIMIT:?} on {}", gpu.name());
    }
}
