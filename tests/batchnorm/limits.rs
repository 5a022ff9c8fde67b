//! Devices that offer little: the same results, or an error of ours.

use wgpu_batchnorm::recipe::{Choice, Operation, Recipe, Regime};
use wgpu_batchnorm::shader::Kernel;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::wgpu::{self, Limits};
use wgpu_batchnorm::{
    Activation, Descriptor, Error, Float, Gpu, Gradients, Layout, Momentum, PlanError, Running, Types,
};

use crate::adapters::{gpus, say};
use crate::check::{OPERATIONS, check, gradients, judge, problem};
use crate::noop::Noop;

const SHAPES: [(&[usize], Layout); 7] = [
    (&[4, 6, 25], Layout::ChannelsFirst),
    (&[4, 6, 8, 8], Layout::ChannelsFirst),
    (&[70, 7], Layout::ChannelsLast),
    (&[9, 7, 64], Layout::ChannelsLast),
    (&[2, 2, 20_000], Layout::ChannelsFirst),
    (&[5_000, 20], Layout::ChannelsLast),
    (&[2, 3_001, 2], Layout::ChannelsFirst),
];

/// A second device of every adapter, with these limits, as far as the adapter has them.
pub fn with_limits(limits: &Limits) -> Vec<Gpu> {
    let open = async {
        let mut opened = Vec::new();
        for adapter in Gpu::adapters().await {
            match Gpu::open_with(&adapter, limits.clone()).await {
                Ok(gpu) => {
                    gpu.device
                        .on_uncaptured_error(std::sync::Arc::new(|error| panic!("wgpu was the messenger: {error}")));
                    opened.push(gpu);
                }
                Err(error) => say(&format!("not tested with low limits: {error}")),
            }
        }
        opened
    };
    pollster::block_on(open)
}

fn problems() -> impl Iterator<Item = Problem> {
    SHAPES.into_iter().map(|(shape, layout)| problem(Descriptor::new(shape, layout)))
}

#[test]
fn the_defaults_of_webgpu_suffice() {
    for gpu in with_limits(&Limits::default()) {
        for (problem, operation) in problems().flat_map(|p| OPERATIONS.map(|operation| (p.clone(), operation))) {
            for placement in [Placement::Separate, Placement::OneBuffer] {
                check(&gpu, &gpu.kernels, &problem, operation, placement);
            }
        }
    }
}

/// With four storage buffers.
#[test]
fn a_downlevel_device_gets_answers_or_errors() {
    for gpu in with_limits(&Limits::downlevel_defaults()) {
        let (ran, of) = (answers(&gpu, problems()), SHAPES.len() * OPERATIONS.len());
        say(&format!("with downlevel limits {ran} of {of} run on {}", gpu.name()));
        assert_eq!(ran, of, "{}", gpu.name());
    }
}

/// How many run; those that do not must be refused by us for a limit.
fn answers(gpu: &Gpu, problems: impl Iterator<Item = Problem>) -> usize {
    let mut answered = 0;
    for (problem, operation) in problems.flat_map(|p| OPERATIONS.map(|operation| (p.clone(), operation))) {
        match pollster::block_on(problem.run(gpu, &gpu.kernels, operation, Placement::Separate)) {
            Ok(answer) => {
                judge(&gpu.name(), &problem, operation, &answer);
                answered += 1;
            }
            Err(Error::Plan(PlanError::Limit { needs, has, .. })) => assert!(needs > has),
            Err(error) => panic!("{}: {operation}: {error}", gpu.name()),
        }
    }
    answered
}

/// One limit lowered at a time, to where other recipes must be found or none is left.
fn lowered() -> Vec<(&'static str, Limits)> {
    let low = |name, limits| (name, limits);
    let d = Limits::default;
    vec![
        low(
            "one invocation",
            Limits { max_compute_invocations_per_workgroup: 1, max_compute_workgroup_size_x: 1, ..d() },
        ),
        low("three invocations", Limits { max_compute_workgroup_size_x: 3, ..d() }),
        low("64 bytes shared", Limits { max_compute_workgroup_storage_size: 64, ..d() }),
        low("1,000 bytes shared", Limits { max_compute_workgroup_storage_size: 1_000, ..d() }),
        low("nothing shared", Limits { max_compute_workgroup_storage_size: 0, ..d() }),
        low("100 workgroups", Limits { max_compute_workgroups_per_dimension: 100, ..d() }),
        low("ten workgroups", Limits { max_compute_workgroups_per_dimension: 10, ..d() }),
        low("six storage buffers", Limits { max_storage_buffers_per_shader_stage: 6, ..d() }),
        low("no storage buffers", Limits { max_storage_buffers_per_shader_stage: 0, ..d() }),
        low("small bindings", Limits { max_storage_buffer_binding_size: 40_000, ..d() }),
        low("small buffers", Limits { max_buffer_size: 100_000, max_storage_buffer_binding_size: 100_000, ..d() }),
    ]
}

#[test]
fn low_limits_give_other_recipes_or_errors() {
    for (name, limits) in lowered() {
        // wgpu validates these on a device of any kind, the noop one first: it is the quickest.
        let noop = Noop::with(limits.clone());
        let mut planned = 0;
        for (shape, layout) in SHAPES {
            let descriptor = Descriptor::new(shape, layout);
            let plans = [
                noop.kernels.inference(&descriptor).err(),
                noop.kernels.forward(&descriptor).err(),
                noop.kernels.backward(&descriptor, wgpu_batchnorm::Gradients::ALL).err(),
                noop.kernels.frozen_backward(&descriptor, wgpu_batchnorm::Gradients::ALL).err(),
            ];
            for error in plans {
                match error {
                    None => planned += 1,
                    Some(PlanError::Limit { needs, has, .. }) => assert!(needs > has, "{name}"),
                    Some(error) => panic!("{name}: {shape:?}: {error}"),
                }
            }
        }
        noop.assert_silent();
        let none_can = ["no storage buffers"].contains(&name);
        assert_eq!(planned == 0, none_can, "{name}: {planned} plans");
    }
}

/// The same, computed; buffers of the test's own must fit too, so limits on their size are left out.
#[test]
fn low_limits_give_right_answers() {
    for (name, limits) in lowered().into_iter().filter(|(name, _)| !name.contains("small") && !name.starts_with("no")) {
        for gpu in with_limits(&limits) {
            let answered = answers(&gpu, problems());
            assert!(answered > 0, "{name}: nothing runs on {}", gpu.name());
        }
    }
}

/// An adapter's own limits are what `Gpu::open` asks for.
#[test]
fn a_gpu_has_all_that_its_adapter_offers() {
    for (gpu, adapter) in gpus().iter().zip(pollster::block_on(Gpu::adapters())) {
        let wgpu::Limits { max_storage_buffer_binding_size, .. } = adapter.limits();
        assert_eq!(gpu.device.limits().max_storage_buffer_binding_size, max_storage_buffer_binding_size);
    }
}

/// As WebGPU's compatibility mode and OpenGL ES have them: enough for plain batch norm, and for an activation in inference
/// and through frozen statistics.
#[test]
fn four_storage_buffers() {
    let limits = Limits { max_storage_buffers_per_shader_stage: 4, ..Limits::default() };
    let counted = Running { counts_batches: true, ..Running::default() };
    let cumulative = Running { momentum: Momentum::Cumulative, ..counted };
    for gpu in with_limits(&limits) {
        for (shape, layout) in SHAPES {
            let plain = Descriptor::new(shape, layout);
            let all = [
                plain.clone(),
                plain.clone().affine(false, true),
                plain.clone().affine(true, false).running(counted),
                plain.clone().running(cumulative),
                plain.clone().types(Types::all(Float::F16)),
            ];
            for descriptor in all {
                let problem = problem(descriptor);
                for operation in OPERATIONS {
                    check(&gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                }
            }
            for wanted in gradients() {
                let problem = problem(plain.clone());
                check(&gpu, &gpu.kernels, &problem, Operation::FrozenBackward(wanted), Placement::Separate);
            }
            let finished = problem(plain.clone().residual(true).activation(Activation::Relu));
            check(&gpu, &gpu.kernels, &finished, Operation::Inference, Placement::Separate);
            for activation in [Activation::Relu, Activation::Silu] {
                let bent = problem(plain.clone().activation(activation));
                for (wanted, placement) in [(Gradients::ALL, Placement::OneBuffer), (Gradients::DX, Placement::InPlace)]
                {
                    check(&gpu, &gpu.kernels, &bent, Operation::FrozenBackward(wanted), placement);
                }
            }
        }
    }
}

/// The same bits as with as many as it takes.
#[test]
fn parameters_by_way_of_scratch_change_no_bit() {
    let few = Limits { max_storage_buffers_per_shader_stage: 4, ..Limits::default() };
    for (few, many) in with_limits(&few).into_iter().zip(with_limits(&Limits::default())) {
        for plain in SHAPES.map(|(shape, layout)| Descriptor::new(shape, layout)) {
            for descriptor in [plain.clone(), plain.activation(Activation::Silu)] {
                let problem = problem(descriptor);
                for operation in [Operation::Inference, Operation::FrozenBackward(Gradients::ALL)] {
                    // Nothing else has the bindings.
                    let split = Some(Regime::Split).filter(|_| operation != Operation::Inference);
                    let answer = |gpu: &Gpu| {
                        let kernels = gpu.kernels.choosing(Choice { regime: split, ..Choice::default() });
                        pollster::block_on(problem.run(gpu, &kernels, operation, Placement::Separate)).unwrap()
                    };
                    let same = answer(&few).same_bits(&answer(&many));
                    assert!(same, "{operation} of {:?} on {}", problem.descriptor, few.name());
                }
            }
        }
    }
}

/// What a frozen backward pass is handed in scratch is there before the first of several windows.
#[test]
fn parameters_by_way_of_scratch_serve_all_windows() {
    let limits = Limits {
        max_storage_buffers_per_shader_stage: 4,
        max_storage_buffer_binding_size: 65_536,
        ..Limits::default()
    };
    for gpu in with_limits(&limits) {
        for (shape, layout) in [([2, 2, 20_000], Layout::ChannelsFirst), ([5, 1_000, 20], Layout::ChannelsLast)] {
            let plain = problem(Descriptor::new(shape, layout));
            let operation = Operation::FrozenBackward(Gradients::ALL);
            let dispatches = gpu.kernels.recipe(&plain.descriptor, operation).unwrap().dispatches;
            assert!(dispatches.len() > 3, "one window: {dispatches:?}");
            check(&gpu, &gpu.kernels, &plain, operation, Placement::Separate);
        }
    }
}

/// WebGPU's default of eight: through a sum too, and in one pass over the tensors.
#[test]
fn eight_storage_buffers_suffice_for_a_frozen_backward_through_a_sum() {
    let passes = |recipe: &Recipe| {
        let streams = recipe.dispatches.iter().filter(|dispatch| dispatch.permutation.kernel.streams());
        streams.map(|dispatch| dispatch.permutation.kernel).collect::<Vec<_>>()
    };
    for gpu in with_limits(&Limits::default()) {
        let kernels = gpu.kernels.choosing(Choice { regime: Some(Regime::Split), ..Choice::default() });
        for (shape, layout) in [SHAPES[1], SHAPES[3]] {
            for activation in [Activation::Relu, Activation::Silu] {
                let sum = problem(Descriptor::new(shape, layout).residual(true).activation(activation));
                for wanted in gradients() {
                    let operation = Operation::FrozenBackward(wanted);
                    let recipe = kernels.recipe(&sum.descriptor, operation).unwrap();
                    assert_eq!(passes(&recipe), [Kernel::BackwardPartial], "{operation}");
                    check(&gpu, &kernels, &sum, operation, Placement::Separate);
                }
            }
        }
    }
}
