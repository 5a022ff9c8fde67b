//! What the first use of kernels costs: that everything is compiled beforehand where that was asked for, and
//! nothing that no plan uses; and the driver's cache over two runs of a program.

use std::collections::HashSet;
use std::time::Instant;

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::wgpu::{self, Backends, Features, Instance, Limits};
use wgpu_batchnorm::{Bound, CacheError, Descriptor, Gpu, Gradients, Kernels, Layout, PlanError, Sharing};

use crate::adapters::{gpus, on_every_gpu, say};
use crate::check::{check, problem};
use crate::noop::Noop;

/// The operations of training and inference.
const OPERATIONS: [Operation; 3] = [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)];

/// Where the tensors are, and how kernels are told of it.
const PLACEMENTS: [(Placement, Sharing); 3] = [
    (Placement::Separate, Sharing { one_buffer: false, in_place: false }),
    (Placement::OneBuffer, Sharing { one_buffer: true, in_place: false }),
    (Placement::InPlace, Sharing { one_buffer: false, in_place: true }),
];

/// Layers of a network: of some shapes several, with one dispatch and with two.
fn layers() -> Vec<Descriptor> {
    let shapes: [[usize; 4]; 5] = [[2, 8, 4, 4], [2, 8, 4, 4], [2, 3, 100, 100], [2, 16, 3, 3], [2, 3, 80, 80]];
    shapes.map(|shape| Descriptor::new(shape, Layout::ChannelsFirst)).to_vec()
}

/// wgpu's device that computes nothing, and the instance, which counts what its devices have.
fn counted() -> (Instance, Gpu) {
    let descriptor = wgpu::InstanceDescriptor {
        backends: Backends::NOOP,
        backend_options: wgpu::BackendOptions { noop: wgpu::NoopBackendOptions::enabled(), ..Default::default() },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    let instance = Instance::new(descriptor);
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    (instance, pollster::block_on(Gpu::open(&adapter)).unwrap())
}

fn pipelines(instance: &Instance) -> usize {
    instance.generate_report().unwrap().hub.compute_pipelines.num_kept_from_user
}

/// Plans, binds and runs everything.
fn use_all(gpu: &Gpu, kernels: &Kernels, placement: Placement) {
    for layer in layers() {
        for operation in OPERATIONS {
            let problem = problem(layer.clone());
            pollster::block_on(problem.run(gpu, kernels, operation, placement)).unwrap();
        }
    }
}

fn warm(kernels: &Kernels) {
    let operations = |layer| OPERATIONS.map(|operation| (layer, operation));
    kernels.warm(layers().iter().flat_map(operations)).unwrap();
}

#[test]
fn nothing_is_left_to_compile_and_nothing_is_for_nothing() {
    for (placement, sharing) in PLACEMENTS {
        let (instance, gpu) = counted();
        let kernels = gpu.kernels.sharing(sharing);
        warm(&kernels);
        let warmed = pipelines(&instance);
        use_all(&gpu, &kernels, placement);
        assert_eq!(pipelines(&instance), warmed, "{placement:?} compiles later");

        let mut needed = HashSet::new();
        for layer in layers() {
            for operation in OPERATIONS {
                let recipe = kernels.recipe(&layer, operation).unwrap();
                needed.extend(recipe.dispatches.iter().map(|dispatch| dispatch.permutation));
            }
        }
        assert_eq!(warmed, needed.len(), "{placement:?} compiles too much");
        // Layers share kernels, or the test says little.
        assert!(warmed < layers().len() * OPERATIONS.len());
    }
}

#[test]
fn what_is_ready_is_compiled() {
    let (instance, gpu) = counted();
    let operations = |layer| OPERATIONS.map(|operation| (layer, operation));
    pollster::block_on(gpu.kernels.ready(layers().iter().flat_map(operations))).unwrap();
    let ready = pipelines(&instance);
    use_all(&gpu, &gpu.kernels, Placement::Separate);
    assert_eq!(pipelines(&instance), ready);
    assert!(ready > OPERATIONS.len());
}

fn rehearse(kernels: &Kernels) -> Bound {
    let operations = |layer| OPERATIONS.map(|operation| (layer, operation));
    kernels.rehearse(layers().iter().flat_map(operations)).unwrap()
}

#[test]
fn a_rehearsal_has_every_kernel_and_computes_nothing() {
    for (placement, sharing) in PLACEMENTS {
        let (instance, gpu) = counted();
        let kernels = gpu.kernels.sharing(sharing);
        let rehearsal = rehearse(&kernels);
        gpu.run(|pass| rehearsal.record(pass));
        drop(rehearsal);
        let warmed = pipelines(&instance);
        use_all(&gpu, &kernels, placement);
        assert_eq!(pipelines(&instance), warmed, "{placement:?} compiles later");
    }
    let noop = Noop::new();
    let rehearsal = rehearse(&noop.kernels);
    noop.run(|pass| rehearsal.record(pass));
    noop.assert_silent();
}

/// What the first step costs by itself, after compiling everything, and after a rehearsal; told and not judged, as
/// drivers keep what they have compiled in files (Mesa's do not with `MESA_SHADER_CACHE_DISABLE=true`).
#[test]
fn a_rehearsal_comes_before_the_first_step() {
    let descriptor = Descriptor::new([2, 8, 40, 40], Layout::ChannelsFirst);
    let problem = problem(descriptor.clone());
    let plans = || [(&descriptor, Operation::Forward)];
    on_every_gpu(|gpu| {
        let step = |kernels: &Kernels| check(gpu, kernels, &problem, Operation::Forward, Placement::Separate);
        for before in ["nothing", "warm", "a rehearsal", "a step"] {
            let kernels = Kernels::new(&gpu.device);
            match before {
                "warm" => kernels.warm(plans()).unwrap(),
                "a rehearsal" => {
                    let rehearsal = kernels.rehearse(plans()).unwrap();
                    gpu.run(|pass| rehearsal.record(pass));
                    gpu.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
                }
                "a step" => drop(step(&kernels)),
                _ => {}
            }
            let start = Instant::now();
            step(&kernels);
            say(&format!("{}: after {before} the first step took {:.1?}", gpu.name(), start.elapsed()));
        }
    });
}

/// The control of the tests above: where buffers lie otherwise than was said, binding compiles.
#[test]
fn what_was_not_foreseen_is_compiled_later() {
    for (placement, _) in &PLACEMENTS[1..] {
        let (instance, gpu) = counted();
        warm(&gpu.kernels);
        let warmed = pipelines(&instance);
        use_all(&gpu, &gpu.kernels, *placement);
        assert!(pipelines(&instance) > warmed, "{placement:?}");
    }
}

#[test]
fn what_was_foreseen_wrongly_is_right_all_the_same() {
    on_every_gpu(|gpu| {
        for (_, sharing) in PLACEMENTS {
            let kernels = Kernels::new(&gpu.device).sharing(sharing);
            for (placement, _) in PLACEMENTS {
                for operation in OPERATIONS {
                    check(gpu, &kernels, &problem(layers()[2].clone()), operation, placement);
                }
            }
        }
    });
}

#[test]
fn a_layer_that_cannot_be_planned_is_named_before_anything_is_compiled() {
    let (instance, gpu) = counted();
    let [good, bad] = [[2, 8, 4, 4], [2, 0, 4, 4]].map(|shape| Descriptor::new(shape, Layout::ChannelsFirst));
    let warmed = gpu.kernels.warm([(&good, Operation::Forward), (&bad, Operation::Forward)]);
    assert!(matches!(warmed, Err(PlanError::ZeroSize { axis: 1, .. })), "{warmed:?}");
    assert_eq!(pipelines(&instance), 0);
    gpu.kernels.warm([(good, Operation::Forward)]).unwrap();
    assert_ne!(pipelines(&instance), 0);
}

/// wgpu's error scopes are a thread's own: what other threads hear comes back too, and no handler hears it.
#[test]
fn kernels_that_are_refused_are_an_error_on_any_thread() {
    let noop = Noop::with(Limits { max_uniform_buffers_per_shader_stage: 0, ..Limits::default() });
    let plans = layers().into_iter().flat_map(|layer| OPERATIONS.map(|operation| (layer.clone(), operation)));
    let refused = noop.kernels.warm(plans);
    assert!(matches!(refused, Err(PlanError::Pipeline { .. })), "{refused:?}");
    noop.assert_silent();
}

/// The program of this run and that of the next.
#[test]
fn a_cache_lasts_over_two_runs() {
    let shape = problem(layers()[2].clone());
    for adapter in pollster::block_on(Gpu::adapters()) {
        let [first, second] = [(); 2].map(|()| pollster::block_on(Gpu::open(&adapter)).unwrap());
        let answer = check(&first, &first.kernels, &shape, Operation::Forward, Placement::Separate);
        let Some(saved) = first.kernels.cache_data() else {
            assert!(!adapter.features().contains(Features::PIPELINE_CACHE), "{}", first.name());
            continue;
        };
        say(&format!("{}: a pipeline cache of {} bytes", first.name(), saved.len()));
        // SAFETY: it comes from `cache_data`.
        let kernels = unsafe { Kernels::with_cache(&second.device, &saved) }.unwrap();
        let again = check(&second, &kernels, &shape, Operation::Forward, Placement::Separate);
        assert!(answer.same_bits(&again), "{}", first.name());
        // And once more.
        // SAFETY: it comes from `cache_data`.
        unsafe { Kernels::with_cache(&first.device, &kernels.cache_data().unwrap()) }.unwrap();
    }
}

#[test]
fn what_is_no_cache_is_refused() {
    let gpus = gpus();
    for gpu in gpus.iter() {
        let Some(saved) = gpu.kernels.cache_data() else { continue };
        let (bytes, half) = (saved.len(), saved.len() / 2);
        let mut changed = saved.clone();
        changed[half] ^= 4;
        let text = b"no cache, but long enough to be one, and more".to_vec();
        let foreign = |bytes| CacheError::Foreign { bytes };
        let cases = [
            (vec![], foreign(0)),
            (text.clone(), foreign(text.len())),
            (saved[..7].to_vec(), foreign(7)),
            (saved[..half].to_vec(), CacheError::Damaged { bytes: half }),
            (changed, CacheError::Damaged { bytes }),
        ];
        for (garbage, expected) in cases {
            // SAFETY: none of these passes for a cache.
            let refused = unsafe { Kernels::with_cache(&gpu.device, &garbage) }.unwrap_err();
            assert_eq!(refused, expected, "{}", gpu.name());
        }
        for other in gpus.iter().filter(|other| other.name() != gpu.name()) {
            // SAFETY: it comes from `cache_data`, and passes for one of its own adapter only.
            let refused = unsafe { Kernels::with_cache(&other.device, &saved) }.unwrap_err();
            let same = matches!(refused, CacheError::OtherDriver { .. } | CacheError::Unsupported);
            assert!(same, "{} takes the cache of {}: {refused}", other.name(), gpu.name());
        }
    }
}

#[test]
fn a_device_without_the_feature_has_no_cache() {
    let noop = Noop::new();
    assert!(!noop.device.features().contains(Features::PIPELINE_CACHE));
    assert_eq!(noop.kernels.cache_data(), None);
    for gpu in gpus().iter() {
        let Some(saved) = gpu.kernels.cache_data() else { continue };
        // SAFETY: it comes from `cache_data`.
        let refused = unsafe { Kernels::with_cache(&noop.device, &saved) }.unwrap_err();
        assert_eq!(refused, CacheError::Unsupported);
    }
    noop.assert_silent();
}
