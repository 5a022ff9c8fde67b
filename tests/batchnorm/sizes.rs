//! Every small number of values and of channels, in every layout.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::{Descriptor, Error, Gradients, Layout, PlanError};

use crate::adapters::on_every_gpu;
use crate::check::{LAYOUTS, OPERATIONS, check, problem, shape};

/// Shapes beyond the usual: primes, no factor of four, more channels than a grid has columns, long slabs.
const AWKWARD: [(&[usize], Layout); 9] = [
    (&[1, 65_539, 2], Layout::ChannelsFirst),
    (&[2, 65_539], Layout::ChannelsFirst),
    (&[3, 65_539], Layout::ChannelsLast),
    (&[2, 1, 1], Layout::ChannelsFirst),
    (&[1, 1, 3_000_000], Layout::ChannelsFirst),
    (&[3_000_001, 1], Layout::ChannelsLast),
    (&[7, 3, 101, 103], Layout::ChannelsFirst),
    (&[100_003, 5], Layout::ChannelsLast),
    (&[1, 2, 1, 1, 1, 1, 1, 65_537], Layout::ChannelsFirst),
];

#[test]
fn every_count_of_values_from_1_to_300() {
    on_every_gpu(|gpu| {
        for (name, rank, layout) in LAYOUTS {
            for m in 1..=300 {
                // Three channels are never wide channels last; four are.
                let channels = 3 + m % 2;
                let problem = problem(Descriptor::new(shape(rank, layout, channels, m), layout));
                for operation in OPERATIONS {
                    let trains = matches!(operation, Operation::Forward | Operation::Backward(_));
                    if m == 1 && trains {
                        let shape = problem.descriptor.shape().to_vec();
                        let run = problem.run(gpu, &gpu.kernels, operation, Placement::Separate);
                        let refused = pollster::block_on(run).unwrap_err();
                        assert_eq!(refused, Error::Plan(PlanError::OneValue { shape }), "{name}");
                    } else {
                        check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                    }
                }
            }
        }
    });
}

#[test]
fn every_count_of_channels_from_1_to_70() {
    on_every_gpu(|gpu| {
        for (_, rank, layout) in LAYOUTS {
            for channels in 1..=70 {
                let m = 6 + channels % 7;
                let problem = problem(Descriptor::new(shape(rank, layout, channels, m), layout));
                for operation in OPERATIONS {
                    check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                }
            }
        }
    });
}

#[test]
fn awkward_shapes() {
    on_every_gpu(|gpu| {
        for (shape, layout) in AWKWARD {
            let problem = problem(Descriptor::new(shape, layout));
            for operation in [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)] {
                check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
            }
        }
    });
}
