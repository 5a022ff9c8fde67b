//! Recording: how often, by how many, in which order, and in whose memory.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::verify::{Answer, Placement, Problem};
use wgpu_batchnorm::wgpu;
use wgpu_batchnorm::{Choice, Descriptor, Gpu, Gradients, Kernels, Layout, Momentum, Running};

use crate::adapters::{gpus, on_every_gpu};
use crate::check::{OPERATIONS, check, judge, problem};
use crate::stage::Stage;

const FIRST: Layout = Layout::ChannelsFirst;
const LAST: Layout = Layout::ChannelsLast;

/// A NaN, the largest number, an infinity, nothing, and something that looks like data.
const GARBAGE: [u32; 5] = [0xffff_ffff, 0x7f7f_ffff, 0xff80_0000, 0, 0x3f80_0000];

fn split(kernels: &Kernels) -> Kernels {
    kernels.choosing(Choice { regime: Some(Regime::Split), parts: Some(3), ..Choice::default() })
}

fn split_problem(shape: [usize; 3], layout: Layout) -> Problem {
    problem(Descriptor::new(shape, layout))
}

fn run_times(gpu: &Gpu, problem: &Problem, times: usize) -> Answer {
    let run = problem.run_times(gpu, &gpu.kernels, Operation::Forward, Placement::Separate, times);
    pollster::block_on(run).unwrap()
}

#[test]
fn twice_before_one_submit_is_two_steps() {
    on_every_gpu(|gpu| {
        for shape in [[4, 5, 9], [3, 4, 4_000]] {
            let running = Running { momentum: Momentum::New(0.3), counts_batches: true, ..Running::default() };
            let first = problem(Descriptor::new(shape, FIRST).running(running));
            let once = run_times(gpu, &first, 1);
            judge("once", &first, Operation::Forward, &once);
            assert_eq!(once.get("counter")[0].to_bits(), 1);
            // The second step starts from what the first left.
            let second = Problem {
                running_mean: once.get("running_mean").to_vec(),
                running_variance: once.get("running_variance").to_vec(),
                batches: 1,
                ..first.clone()
            };
            let twice = run_times(gpu, &first, 2);
            judge("twice", &second, Operation::Forward, &twice);
            assert_eq!(twice.get("counter")[0].to_bits(), 2);
            assert!(!crate::check::failures(&first, Operation::Forward, &twice).is_empty(), "the second did nothing");
        }
    });
}

/// Two plans of different shapes, ε and momenta in one pass, with one scratch between them, which is
/// full of garbage to begin with.
#[test]
fn two_plans_share_a_pass_and_a_scratch() {
    on_every_gpu(|gpu| {
        let kernels = split(&gpu.kernels);
        let momentum = |f| Running { momentum: Momentum::New(f), ..Running::default() };
        let one = problem(Descriptor::new([3, 5, 700], FIRST).running(momentum(0.7)));
        let other = Problem::random(Descriptor::new([900, 12], LAST).epsilon(0.5).running(momentum(0.2)), -3.0, 2.0, 7);
        for garbage in GARBAGE {
            let scratch = gpu.upload(&vec![garbage; 100_000]).unwrap();
            let stage = |problem, operation| Stage::new(gpu, &kernels, problem, operation, garbage, Some(&scratch));
            let backward = Operation::Backward(Gradients::ALL);
            let jobs = [(&one, Operation::Forward), (&other, Operation::Forward), (&one, backward), (&other, backward)];
            let stages = jobs.map(|(problem, operation)| stage(problem, operation));
            gpu.run(|pass| stages.iter().for_each(|stage| stage.bound.record(pass)));
            for ((problem, operation), stage) in jobs.iter().zip(&stages) {
                judge("shared scratch", problem, *operation, &stage.read(gpu, *operation));
            }
        }
    });
}

#[test]
fn the_encoder_is_as_good_as_a_pass() {
    let gpu = &gpus()[0];
    let problem = split_problem([3, 5, 700], FIRST);
    let stage = Stage::new(gpu, &split(&gpu.kernels), &problem, Operation::Forward, GARBAGE[0], None);
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    stage.bound.record_pass(&mut encoder);
    gpu.queue.submit([encoder.finish()]);
    judge("encoder", &problem, Operation::Forward, &stage.read(gpu, Operation::Forward));
}

/// `Stage::read` compares every byte that is nobody's output with what it was.
#[test]
fn the_rest_of_a_big_buffer_is_left_alone_and_garbage_does_not_matter() {
    on_every_gpu(|gpu| {
        for kernels in [gpu.kernels.clone(), split(&gpu.kernels)] {
            for (shape, layout) in [([3, 5, 7], FIRST), ([2, 3, 40], FIRST), ([5, 9, 7], LAST), ([5, 9, 20], LAST)] {
                let problem = split_problem(shape, layout);
                for operation in OPERATIONS {
                    let run = |garbage| {
                        let stage = Stage::new(gpu, &kernels, &problem, operation, garbage, None);
                        gpu.run(|pass| stage.bound.record(pass));
                        stage.read(gpu, operation)
                    };
                    let answers = GARBAGE.map(run);
                    judge(&gpu.name(), &problem, operation, &answers[0]);
                    assert!(answers.iter().all(|answer| answer.same_bits(&answers[0])), "{operation} {shape:?}");
                }
            }
        }
    });
}

/// Threads that start with nothing compiled, on clones of one `Kernels`, some after the same kernels.
#[test]
fn threads_share_kernels() {
    for gpu in gpus().iter() {
        let kernels = Kernels::new(&gpu.device);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let kernels = kernels.clone();
                scope.spawn(move || {
                    for operation in OPERATIONS {
                        let problem = split_problem([3 + thread % 2, 6, 50], FIRST);
                        check(gpu, &kernels, &problem, operation, Placement::Separate);
                    }
                });
            }
        });
    }
}

/// Two devices of every adapter, all at once.
#[test]
fn devices_do_not_meet() {
    let opened: Vec<Gpu> = pollster::block_on(async {
        let mut opened = Vec::new();
        for adapter in Gpu::adapters().await {
            opened.push(Gpu::open(&adapter).await.unwrap());
            opened.push(Gpu::open(&adapter).await.unwrap());
        }
        opened
    });
    let problem = split_problem([3, 5, 300], FIRST);
    std::thread::scope(|scope| {
        for gpu in &opened {
            scope.spawn(|| {
                for operation in OPERATIONS {
                    check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                }
            });
        }
    });
}
