//! Tensors larger than one binding, and devices with few storage buffers: the same answers in more dispatches.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::wgpu::Limits;
use wgpu_batchnorm::{
    Activation, Descriptor, Error, Float, Gradients, Layout, Mask, Padding, PlanError, Renorm, Tensor, Types, View,
};

use crate::adapters::say;
use crate::check::{OPERATIONS, check, judge, problem};
use crate::limits::with_limits;

/// Bindings of 64 KiB, so of 16,384 values in f32. Buffers may be larger.
const SMALL: u64 = 65_536;

/// What is cut: between rows, between channels of a row that is larger than a binding, within a channel that is.
const LARGE: [(&[usize], Layout); 10] = [
    (&[40, 6, 100], Layout::ChannelsFirst),
    (&[41, 7, 99], Layout::ChannelsFirst),
    (&[2, 17, 1_000], Layout::ChannelsFirst),
    (&[3, 23, 777], Layout::ChannelsFirst),
    (&[2, 3, 20_000], Layout::ChannelsFirst),
    (&[2, 3, 16_389], Layout::ChannelsFirst),
    (&[1, 1, 50_001], Layout::ChannelsFirst),
    (&[2_000, 20], Layout::ChannelsLast),
    (&[9, 250, 13], Layout::ChannelsLast),
    (&[6, 20, 350], Layout::ChannelsLast),
];

fn small_bindings() -> Limits {
    Limits { max_storage_buffer_binding_size: SMALL, ..Limits::default() }
}

/// Panics unless every operation on every device of these limits is right, in as many dispatches as are said.
fn check_all(limits: &Limits, descriptors: &[Descriptor], dispatches: usize) {
    for gpu in with_limits(limits) {
        for descriptor in descriptors {
            let problem = problem(descriptor.clone());
            let plan = gpu.kernels.forward(descriptor).unwrap();
            assert!(plan.recipe().dispatches.len() >= dispatches, "{plan}");
            for operation in OPERATIONS {
                check(&gpu, &gpu.kernels, &problem, operation, Placement::Separate);
            }
        }
    }
}

#[test]
fn tensors_of_several_bindings() {
    // Two passes over two windows, at least.
    check_all(&small_bindings(), &LARGE.map(|(shape, layout)| Descriptor::new(shape, layout)), 4);
}

#[test]
fn tensors_of_several_bindings_in_16_bits() {
    let options: [fn(Descriptor) -> Descriptor; 4] = [
        |of| of.types(Types::mixed(Float::F16)),
        |of| of.types(Types::all(Float::Bf16)),
        |of| of.types(Types::mixed(Float::F16)).activation(Activation::Relu).residual(true),
        |of| of.padding(Padding::Mask(Mask::Bits)).types(Types::mixed(Float::Bf16)),
    ];
    let large = [
        (&[80, 6, 100][..], Layout::ChannelsFirst),
        (&[81, 7, 99], Layout::ChannelsFirst),
        (&[9, 600, 13], Layout::ChannelsLast),
    ];
    let all: Vec<Descriptor> = large
        .into_iter()
        .flat_map(|(shape, layout)| options.map(|option| option(Descriptor::new(shape, layout))))
        .collect();
    check_all(&small_bindings(), &all, 4);
}

#[test]
fn tensors_of_several_bindings_with_options() {
    let options: [fn(Descriptor) -> Descriptor; 7] = [
        |of| of.padding(Padding::Mask(Mask::Bytes)),
        |of| of.activation(Activation::Gelu),
        |of| of.activation(Activation::Relu).residual(true),
        |of| of.activation(Activation::Silu).residual(true),
        |of| of.renorm(Renorm { r_max: 1.5, d_max: 0.5 }).health(true),
        |of| of.backward_from_y(true).activation(Activation::LeakyRelu(0.2)),
        |of| {
            let mut whole = of.shape().to_vec();
            *whole.last_mut().unwrap() += 3;
            let view = View::of_dense(&whole, &[]);
            of.view(Tensor::X, view.clone()).view(Tensor::Dx, view)
        },
    ];
    // (Views are cut between samples.)
    let all: Vec<Descriptor> = [LARGE[0], LARGE[1], LARGE[8]]
        .into_iter()
        .flat_map(|(shape, layout)| options.map(|option| option(Descriptor::new(shape, layout))))
        .collect();
    check_all(&small_bindings(), &all, 4);
}

/// The most that a descriptor can ask for at once.
fn everything(of: Descriptor) -> [Descriptor; 3] {
    let padded = of.padding(Padding::Mask(Mask::Bits)).health(true);
    let renorm = padded.clone().renorm(Renorm { r_max: 1.5, d_max: 0.5 });
    [
        renorm.clone().residual(true).activation(Activation::Relu),
        renorm.residual(true).activation(Activation::Gelu),
        padded.backward_from_y(true).activation(Activation::LeakyRelu(0.2)),
    ]
}

#[test]
fn few_storage_buffers() {
    let shapes = [
        (&[4, 6, 25][..], Layout::ChannelsFirst),
        (&[3, 5, 4, 8], Layout::ChannelsFirst),
        (&[9, 7, 13], Layout::ChannelsLast),
        (&[2, 2, 20_000], Layout::ChannelsFirst),
    ];
    for (buffers, all_run) in [(8, true), (6, false), (5, false)] {
        let limits = Limits { max_storage_buffers_per_shader_stage: buffers, ..Limits::default() };
        for gpu in with_limits(&limits) {
            let (mut run, mut refused) = (0, 0);
            let descriptors = shapes.into_iter().flat_map(|(shape, layout)| everything(Descriptor::new(shape, layout)));
            for (descriptor, operation) in descriptors.flat_map(|d| OPERATIONS.map(|operation| (d.clone(), operation)))
            {
                let problem = problem(descriptor);
                match pollster::block_on(problem.run(&gpu, &gpu.kernels, operation, Placement::Separate)) {
                    Ok(answer) => {
                        judge(&format!("{buffers} buffers"), &problem, operation, &answer);
                        run += 1;
                    }
                    Err(Error::Plan(PlanError::Limit { what, needs, has, .. })) if !all_run => {
                        assert!(needs > has, "{what}");
                        refused += 1;
                    }
                    Err(error) => panic!("{buffers} buffers: {operation} of {:?}: {error}", problem.descriptor),
                }
            }
            say(&format!("with {buffers} storage buffers {run} run and {refused} do not, on {}", gpu.name()));
            assert!(run > 0);
        }
    }
}

/// Gradients of every choice, where sums come from several windows.
#[test]
fn every_set_of_gradients() {
    for gpu in with_limits(&small_bindings()) {
        let problem = problem(Descriptor::new([41, 7, 99], Layout::ChannelsFirst));
        for wanted in
            [Gradients::DX, Gradients { dx: false, ..Gradients::ALL }, Gradients { dbeta: false, ..Gradients::ALL }]
        {
            check(&gpu, &gpu.kernels, &problem, Operation::Backward(wanted), Placement::Separate);
            check(&gpu, &gpu.kernels, &problem, Operation::FrozenBackward(wanted), Placement::Separate);
        }
    }
}
