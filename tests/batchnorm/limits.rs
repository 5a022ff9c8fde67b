//! Devices that offer little: the same results, or an error of ours.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::wgpu::{self, Limits};
use wgpu_batchnorm::{
    Activation, Descriptor, Error, Float, Gpu, Gradients, Layout, Momentum, PlanError, Running, Types,
};

use crate::adapters::{gpus, say};
use crate::check::{OPERATIONS, check, judge, problem};
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

/// All but the frozen backward pass with sums, which takes five storage buffers.
#[test]
fn a_downlevel_device_gets_answers_or_errors() {
    for gpu in with_limits(&Limits::downlevel_defaults()) {
        let (ran, of) = (answers(&gpu, problems()), SHAPES.len() * OPERATIONS.len());
        say(&format!("with downlevel limits {ran} of {of} run on {}", gpu.name()));
        assert_eq!(ran, of - SHAPES.len(), "{}", gpu.name());
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

/// As WebGPU's compatibility mode and OpenGL ES have them: enough for plain batch norm, and for an activation in inference.
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
                for operation in [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)] {
                    check(&gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                }
            }
            let finished = problem(plain.residual(true).activation(Activation::Relu));
            check(&gpu, &gpu.kernels, &finished, Operation::Inference, Placement::Separate);
        }
    }
}

/// The same bits as with as many as it takes.
#[test]
fn parameters_by_way_of_scratch_change_no_bit() {
    let few = Limits { max_storage_buffers_per_shader_stage: 4, ..Limits::default() };
    for (few, many) in with_limits(&few).into_iter().zip(with_limits(&Limits::default())) {
        for (shape, layout) in SHAPES {
            let problem = problem(Descriptor::new(shape, layout));
            let answer = |gpu: &Gpu| {
                let run = problem.run(gpu, &gpu.kernels, Operation::Inference, Placement::Separate);
                pollster::block_on(run).unwrap().get("y").iter().map(|y| y.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(answer(&few), answer(&many), "{shape:?} {layout:?} on {}", few.name());
        }
    }
}
