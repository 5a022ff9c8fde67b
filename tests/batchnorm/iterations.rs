//! Long loops, for real: Mesa's software driver of 2022 silently stops an invocation after 65,535
//! iterations, and what it had not reached yet would be missing here.

use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::shader::Tile;
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{Choice, Descriptor, Gradients, Layout};

use crate::adapters::gpus;
use crate::check::check;

/// As few parts as a recipe allows, so that each lane goes as far as it ever may.
#[test]
fn a_channel_of_24_million_values_in_few_parts() {
    let descriptor = Descriptor::new([1, 1, 24_000_000], Layout::ChannelsFirst);
    let problem = Problem::random(descriptor.clone(), 3.0, 2.0, 5);
    for gpu in gpus().iter() {
        let choice = |parts| Choice {
            regime: Some(Regime::Split),
            wide: Some(false),
            tile: Some(Tile { columns: 1, lanes: 8 }),
            parts: Some(parts),
            ..Choice::default()
        };
        let plan = |parts| gpu.kernels.choosing(choice(parts)).forward(&descriptor);
        let parts = (1..100).find(|parts| plan(*parts).is_ok()).unwrap();
        let plan = plan(parts).unwrap();
        let most = plan.recipe().dispatches.iter().map(|dispatch| plan.recipe().iterations(dispatch)).max();
        assert!(most > Some(16_000), "{plan}: {most:?} iterations are no test");
        let kernels = gpu.kernels.choosing(choice(parts));
        for operation in [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)] {
            check(gpu, &kernels, &problem, operation, Placement::Separate);
        }
    }
}
