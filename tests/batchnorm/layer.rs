//! `BatchNorm`, the layer.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Placement, Problem};
use wgpu_batchnorm::wgpu::Buffer;
use wgpu_batchnorm::{
    BatchNorm, BindError, Bindings, Convention, Descriptor, Error, Gpu, Gradients, Layout, Momentum, OneValue,
    PlanError, Running, RunningVariance,
};

use crate::adapters::on_every_gpu;
use crate::check::judge;

fn read(gpu: &Gpu, buffer: &Buffer) -> Vec<f32> {
    pollster::block_on(gpu.read(buffer)).unwrap()
}

fn batches(gpu: &Gpu, layer: &BatchNorm) -> Vec<u32> {
    pollster::block_on(gpu.read(&layer.batches)).unwrap()
}

fn bytes(values: &[f32]) -> u64 {
    4 * values.len() as u64
}

/// γ = 1, β = 0, running mean 0 and variance 1, no batch seen.
#[test]
fn starts_as_pytorch_does() {
    on_every_gpu(|gpu| {
        let layer = BatchNorm::new(&gpu.kernels, 5).unwrap();
        assert_eq!(read(gpu, &layer.gamma), [1.0; 5]);
        assert_eq!(read(gpu, &layer.beta), [0.0; 5]);
        assert_eq!(read(gpu, &layer.running_mean), [0.0; 5]);
        assert_eq!(read(gpu, &layer.running_variance), [1.0; 5]);
        assert_eq!(batches(gpu, &layer), [0]);
        let running = Running { counts_batches: true, ..Running::default() };
        let descriptor = Descriptor::new([2, 5, 3], Layout::ChannelsFirst).epsilon(1e-5).running(running);
        assert_eq!(layer.descriptor(&[2, 5, 3]), descriptor);
        assert_eq!((running.momentum, running.variance), (Momentum::New(0.1), RunningVariance::Unbiased));
    });
}

/// Three training steps on new data each, the last judged with the running statistics that the second
/// left; inference in between changes nothing.
#[test]
fn trains_and_evaluates() {
    on_every_gpu(|gpu| {
        for (shape, layout) in [(vec![6, 4, 10], Layout::ChannelsFirst), (vec![6, 10, 4], Layout::ChannelsLast)] {
            let layer = BatchNorm::new(&gpu.kernels, 4).unwrap().layout(layout).epsilon(1e-3);
            let descriptor = layer.descriptor(&shape);
            let problems = [1, 2, 3].map(|seed| Problem::random(descriptor.clone(), 2.0, 3.0, seed));
            gpu.queue.write_buffer(&layer.gamma, 0, bytemuck::cast_slice(&problems[0].gamma));
            gpu.queue.write_buffer(&layer.beta, 0, bytemuck::cast_slice(&problems[0].beta));
            for (step, problem) in (1..).zip(&problems) {
                let before = (read(gpu, &layer.running_mean), read(gpu, &layer.running_variance));
                let problem = Problem {
                    gamma: problems[0].gamma.clone(),
                    beta: problems[0].beta.clone(),
                    running_mean: before.0,
                    running_variance: before.1,
                    batches: step - 1,
                    ..problem.clone()
                };
                train(gpu, &layer, &shape, &problem);
                assert_eq!(batches(gpu, &layer), [step]);
                evaluate(gpu, &layer, &shape, &problem);
                assert_eq!(batches(gpu, &layer), [step]);
            }
        }
    });
}

fn train(gpu: &Gpu, layer: &BatchNorm, shape: &[usize], problem: &Problem) {
    let (x, dy) = (gpu.upload(&problem.x).unwrap(), gpu.upload(&problem.dy).unwrap());
    let (y, dx) = (gpu.empty(bytes(&problem.x)).unwrap(), gpu.empty(bytes(&problem.x)).unwrap());
    let training = layer.training(shape, &Bindings::new().x(&x).y(&y).dy(&dy).dx(&dx)).unwrap();
    gpu.run(|pass| training.forward.record(pass));
    let saved = read(gpu, &training.saved);
    let answer = Answer(vec![
        ("y", read(gpu, &y)),
        ("saved", saved.clone()),
        ("running_mean", read(gpu, &layer.running_mean)),
        ("running_variance", read(gpu, &layer.running_variance)),
        ("counter", read(gpu, &layer.batches)),
    ]);
    judge(&gpu.name(), problem, Operation::Forward, &answer);
    gpu.run(|pass| training.backward.record(pass));
    let answer = Answer(vec![
        ("dx", read(gpu, &dx)),
        ("dgamma", read(gpu, &training.dgamma)),
        ("dbeta", read(gpu, &training.dbeta)),
    ]);
    judge(&gpu.name(), &Problem { saved, ..problem.clone() }, Operation::Backward(Gradients::ALL), &answer);
}

fn evaluate(gpu: &Gpu, layer: &BatchNorm, shape: &[usize], problem: &Problem) {
    let state = || [&layer.running_mean, &layer.running_variance, &layer.gamma, &layer.beta].map(|b| read(gpu, b));
    let before = state();
    let [running_mean, running_variance, ..] = before.clone();
    let problem = Problem { running_mean, running_variance, ..problem.clone() };
    let (x, dy) = (gpu.upload(&problem.x).unwrap(), gpu.upload(&problem.dy).unwrap());
    let (y, dx) = (gpu.empty(bytes(&problem.x)).unwrap(), gpu.empty(bytes(&problem.x)).unwrap());
    let inference = layer.inference(shape, &Bindings::new().x(&x).y(&y)).unwrap();
    let backward = layer.frozen_backward(shape, &Bindings::new().dy(&dy).dx(&dx)).unwrap();
    gpu.run(|pass| {
        inference.record(pass);
        backward.record(pass);
    });
    judge(&gpu.name(), &problem, Operation::Inference, &Answer(vec![("y", read(gpu, &y))]));
    let frozen = Operation::FrozenBackward(Gradients::DX);
    judge(&gpu.name(), &problem, frozen, &Answer(vec![("dx", read(gpu, &dx))]));
    assert_eq!(state(), before);
}

/// Five channels of data for a layer of four.
#[test]
fn refuses_other_channels() {
    on_every_gpu(|gpu| {
        let layer = BatchNorm::new(&gpu.kernels, 4).unwrap();
        let buffers = [0; 4].map(|_| gpu.empty(4 * 2 * 5 * 3).unwrap());
        let [x, y, dy, dx] = &buffers;
        let (forward, backward) = (Bindings::new().x(x).y(y), Bindings::new().dy(dy).dx(dx));
        let shape = [2, 5, 3];
        let errors = [
            layer.inference(&shape, &forward).err(),
            layer.frozen_backward(&shape, &backward).err(),
            layer.training(&shape, &forward.dy(dy).dx(dx)).err(),
        ];
        for error in errors {
            let is_gamma =
                matches!(error, Some(Error::Bind(BindError::Size { argument: "gamma", has: 16, needs: 20, .. })));
            assert!(is_gamma, "{error:?}");
        }
    });
}

#[test]
fn refuses_to_have_no_channels_or_too_many() {
    on_every_gpu(|gpu| {
        assert_eq!(BatchNorm::new(&gpu.kernels, 0).err(), Some(PlanError::NoChannels));
        let error = BatchNorm::new(&gpu.kernels, usize::MAX).err();
        assert!(matches!(error, Some(PlanError::Uncountable { .. })), "{error:?}");
        let error = BatchNorm::new(&gpu.kernels, 1 << 40).err();
        assert!(matches!(error, Some(PlanError::Limit { needs, .. }) if needs == 1 << 42), "{error:?}");
    });
}

/// PyTorch's `momentum=None`: after n batches the running statistics are the plain average of theirs.
#[test]
fn the_cumulative_average_is_the_average() {
    on_every_gpu(|gpu| {
        let rule = Running { momentum: Momentum::Cumulative, ..Running::default() };
        let layer = BatchNorm::new(&gpu.kernels, 5).unwrap().running(rule);
        let mut average = vec![0.0; 5];
        for seed in 1..=4 {
            let problem = Problem::random(layer.descriptor(&[6, 5, 3]), seed as f32, 1.0, seed);
            let x = gpu.upload(&problem.x).unwrap();
            let others = [0; 3].map(|_| gpu.empty(x.size()).unwrap());
            let [y, dy, dx] = &others;
            let step = layer.training(&[6, 5, 3], &Bindings::new().x(&x).y(y).dy(dy).dx(dx)).unwrap();
            gpu.run(|pass| step.forward.record(pass));
            let batch = wgpu_batchnorm::reference::forward(&problem.descriptor, &problem.tensors());
            average.iter_mut().zip(&batch.statistics.mean).for_each(|(sum, mean)| *sum += mean / 4.0);
        }
        let running_mean: Vec<f32> = read(gpu, &layer.running_mean);
        for (got, expected) in running_mean.iter().zip(&average) {
            approx::assert_abs_diff_eq!(f64::from(*got), *expected, epsilon = 1e-5);
        }
        assert_eq!(pollster::block_on(gpu.read::<u32>(&layer.batches)).unwrap(), [4]);
    });
}

/// A forward pass without running statistics, computed twice, and one update of them: as one forward pass.
#[test]
fn running_statistics_can_be_moved_apart() {
    on_every_gpu(|gpu| {
        for momentum in [Momentum::New(0.3), Momentum::Cumulative] {
            let rule = Running { momentum, counts_batches: true, ..Running::default() };
            let descriptor = Descriptor::new([6, 5, 3], Layout::ChannelsFirst).running(rule);
            let problem = Problem { batches: 3, ..Problem::random(descriptor.clone(), 2.0, 1.0, 9) };
            let run = |problem: &Problem, operation| {
                pollster::block_on(problem.run(gpu, &gpu.kernels, operation, Placement::Separate)).unwrap()
            };
            let together = run(&problem, Operation::Forward);
            let alone = Problem { descriptor: descriptor.running(None), ..problem.clone() };
            let saved = run(&alone, Operation::Forward).get("saved").to_vec();
            let moved = run(&Problem { saved, ..problem }, Operation::UpdateRunning);
            for name in ["running_mean", "running_variance", "counter"] {
                assert_eq!(moved.get(name), together.get(name), "{name} {momentum:?}");
            }
            assert_eq!(moved.get("counter")[0].to_bits(), 4);
        }
    });
}

/// Frameworks but PyTorch: one value a channel has no variance, and y is β.
#[test]
fn one_value_may_have_no_variance() {
    on_every_gpu(|gpu| {
        for convention in Convention::ALL.into_iter().filter(|convention| convention.one_value() != OneValue::Refused) {
            let descriptor = Descriptor::new([1, 5], Layout::ChannelsFirst).convention(convention);
            let problem = Problem::random(descriptor, 2.0, 1.0, 9);
            let answer =
                pollster::block_on(problem.run(gpu, &gpu.kernels, Operation::Forward, Placement::Separate)).unwrap();
            assert_eq!(answer.get("y"), problem.beta, "{convention:?}");
            judge(&gpu.name(), &problem, Operation::Forward, &answer);
        }
    });
}
