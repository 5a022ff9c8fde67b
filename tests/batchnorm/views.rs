//! Speed does not depend on how memory is described: a view of memory that has another order of axes is planned as
//! that order, and computes what it says.

use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Recipe};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning};
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::{Descriptor, Kept, Layout, Tensor, View};

use crate::adapters::on_every_gpu;
use crate::check::{OPERATIONS, check, problem};
use crate::every::OPTIONS;

const SHAPES: [(&[usize], Layout); 5] = [
    (&[8, 56, 56, 64], Layout::ChannelsLast),
    (&[512, 64, 32], Layout::ChannelsLast),
    (&[6, 14, 14, 63], Layout::ChannelsLast),
    (&[8, 64, 28, 28], Layout::ChannelsFirst),
    (&[8, 30, 7, 7], Layout::ChannelsFirst),
];

/// The same memory, its channel axis named where the other layout has it.
fn renamed(of: &Descriptor, option: impl Fn(Descriptor) -> Descriptor) -> Descriptor {
    let (rank, mut shape) = (of.shape().len(), of.shape().to_vec());
    let mut order: Vec<usize> = (0..rank).collect();
    let layout = match of.layout() {
        Layout::ChannelsFirst => Layout::ChannelsLast,
        Layout::ChannelsLast => Layout::ChannelsFirst,
    };
    match layout {
        Layout::ChannelsLast => [&mut shape, &mut order].into_iter().for_each(|axes| axes[1..].rotate_left(1)),
        Layout::ChannelsFirst => [&mut shape, &mut order].into_iter().for_each(|axes| axes[1..].rotate_right(1)),
    }
    let view = View::of_dense(of.shape(), &[]).permuted(&order).unwrap();
    let renamed = option(Descriptor::new(shape, layout));
    Tensor::ALL.into_iter().fold(renamed, |it, tensor| it.view(tensor, view.clone()))
}

#[test]
fn memory_of_another_order_is_planned_as_that_order() {
    let steps = [Operation::Gather, Operation::Normalize, Operation::GatherBackward, Operation::ApplyBackward];
    for kind in [AdapterKind::Cpu, AdapterKind::Gpu] {
        let (capabilities, tuning) = (Capabilities::webgpu_default(kind), Tuning::of(kind));
        for (shape, layout) in SHAPES {
            for (name, option) in OPTIONS {
                // Steps are saved in the order of the shape; the others are views already.
                if name == "steps" || name.contains("views") {
                    continue;
                }
                let of = option(Descriptor::new(shape, layout));
                let view = renamed(&Descriptor::new(shape, layout), option);
                for operation in OPERATIONS.into_iter().chain(steps) {
                    let recipe =
                        |of: &Descriptor| Recipe::new(of, operation, &capabilities, &tuning, &Choice::default());
                    assert_eq!(recipe(&view), recipe(&of), "{shape:?}, {layout:?}, {name}, {operation}");
                }
            }
        }
    }
}

/// Signs, masks and lengths too mean the same places.
#[test]
fn memory_of_another_order_gives_what_it_says() {
    let names =
        ["nothing", "residual, ReLU", "residual, SiLU", "mask", "lengths", "groups", "x in f16", "from y, leaky ReLU"];
    on_every_gpu(|gpu| {
        for (shape, layout) in [(&[4, 6, 5, 8], Layout::ChannelsLast), (&[4, 6, 5, 7], Layout::ChannelsFirst)] {
            for (_, option) in OPTIONS.into_iter().filter(|(name, _)| names.contains(name)) {
                let all = renamed(&Descriptor::new(*shape, layout), option);
                // x alone as memory has it, or all but x.
                let dense = View::of_dense(all.shape(), &[]);
                let x = Tensor::ALL[1..].iter().fold(all.clone(), |it, tensor| it.view(*tensor, dense.clone()));
                let rest = all.clone().view(Tensor::X, dense);
                for descriptor in [all, x, rest] {
                    let problem = problem(descriptor);
                    for operation in OPERATIONS {
                        check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                    }
                }
            }
        }
    });
}

/// The case above has signs whose order is that of memory.
#[test]
fn a_residual_leaves_signs() {
    let (_, option) = OPTIONS.into_iter().find(|(name, _)| *name == "residual, ReLU").unwrap();
    let of = renamed(&Descriptor::new([4, 6, 5, 8], Layout::ChannelsLast), option);
    let (capabilities, tuning) = (Capabilities::webgpu_default(AdapterKind::Cpu), Tuning::of(AdapterKind::Cpu));
    let recipe = Recipe::new(&of, Operation::Forward, &capabilities, &tuning, &Choice::default()).unwrap();
    assert_eq!((recipe.kept, recipe.channels_last), (Kept::Signs, true));
}
