//! The tolerances are bounds, not slack: real errors come near them, and four times as much is out.

use std::collections::BTreeMap;

use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{Descriptor, Layout, reference};

use crate::adapters::{gpus, say};
use crate::check::{OPERATIONS, check, failures};

const PROBLEMS: [(&[usize], Layout, f32); 5] = [
    (&[4, 6, 25], Layout::ChannelsFirst, 0.5),
    (&[4, 6, 25], Layout::ChannelsFirst, 1e4),
    (&[300, 8], Layout::ChannelsLast, -3.0),
    (&[2, 3, 10_000], Layout::ChannelsFirst, 0.0),
    (&[2, 9, 5, 7], Layout::ChannelsLast, 100.0),
];

#[test]
fn errors_are_there_and_a_multiple_of_them_is_seen() {
    for gpu in gpus().iter() {
        let mut worst = BTreeMap::<&str, f64>::new();
        for (shape, layout, mean) in PROBLEMS {
            let problem = Problem::random(Descriptor::new(shape, layout), mean, 1.0, 9);
            let channels: Vec<usize> = reference::channels_of(&problem.descriptor).collect();
            for operation in OPERATIONS {
                let answer = check(gpu, &gpu.kernels, &problem, operation, Placement::Separate);
                for verdict in problem.judge(operation, &answer) {
                    let ratio = worst.entry(verdict.name).or_default();
                    *ratio = ratio.max(verdict.ratio);
                }
                for expected in problem.expect(operation) {
                    for sign in [-4.0, 4.0] {
                        let mut off = answer.clone();
                        let (_, values) = off.0.iter_mut().find(|(name, _)| *name == expected.name).unwrap();
                        let last = values.len() - 1;
                        let of_x = expected.tolerances.len() < values.len();
                        let c = if of_x { channels[last] } else { last };
                        values[last] = (expected.values[last] + sign * expected.tolerances[c]) as f32;
                        let seen = failures(&problem, operation, &off);
                        assert_eq!(seen.len(), 1, "{operation} of {shape:?} around {mean}: {}", expected.name);
                    }
                }
            }
        }
        let line: Vec<String> = worst.iter().map(|(name, ratio)| format!("{name} {ratio:.2}")).collect();
        say(&format!("worst errors as fractions of their tolerances, {}: {}", gpu.name(), line.join(", ")));
        // A hundredth of a tolerance would be a tolerance that says nothing.
        assert!(worst.values().all(|ratio| *ratio > 0.01), "{worst:?}");
    }
}
