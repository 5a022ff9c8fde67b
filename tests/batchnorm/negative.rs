//! The harness must be able to fail: the judge of all other tests sees what is wrong.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Placement, Problem};
use wgpu_batchnorm::{Descriptor, Gradients, Layout};

use crate::adapters::gpus;
use crate::check::{OPERATIONS, failures, problem};
use crate::every::every;
use crate::permutations::validate;

fn good() -> Problem {
    problem(Descriptor::new([4, 6, 25], Layout::ChannelsFirst))
}

fn answer(problem: &Problem, operation: Operation) -> Answer {
    let gpu = &gpus()[0];
    pollster::block_on(problem.run(gpu, &gpu.kernels, operation, Placement::Separate)).unwrap()
}

/// Breaks one value of every output in turn; each time, that output alone must be out.
fn assert_sees(break_one: impl Fn(f32) -> f32) {
    let problem = good();
    for operation in OPERATIONS {
        let answer = answer(&problem, operation);
        assert!(failures(&problem, operation, &answer).is_empty());
        for tensor in 0..answer.0.len() {
            let mut broken = answer.clone();
            let (name, ref mut values) = broken.0[tensor];
            let middle = values.len() / 2;
            values[middle] = break_one(values[middle]);
            let seen: Vec<&str> = failures(&problem, operation, &broken).iter().map(|verdict| verdict.name).collect();
            assert_eq!(seen, [name], "{operation}");
        }
    }
}

#[test]
fn a_wrong_value_is_seen() {
    assert_sees(|value| value + 0.01);
    assert_sees(|value| -value);
}

#[test]
fn an_unwritten_value_is_seen() {
    let poison = f32::from_bits(0x7fc0_dead);
    assert_sees(|_| poison);
    assert_sees(|_| f32::INFINITY);
}

#[test]
fn a_missing_or_short_output_is_seen() {
    let problem = good();
    let mut answer = answer(&problem, Operation::Forward);
    answer.0[0].1.pop();
    assert_eq!(failures(&problem, Operation::Forward, &answer).len(), 1);
    answer.0.clear();
    assert_eq!(failures(&problem, Operation::Forward, &answer).len(), 4);
}

/// The kernel computes with one ε, the reference with another: of low variance, they differ.
#[test]
fn a_wrong_epsilon_is_seen() {
    let descriptor = |epsilon| Descriptor::new([4, 6, 25], Layout::ChannelsFirst).epsilon(epsilon);
    let small = |epsilon| Problem::random(descriptor(epsilon), 0.0, 0.01, 1);
    let (right, wrong) = (small(1e-5), small(1.1e-5));
    for operation in [Operation::Inference, Operation::Forward, Operation::FrozenBackward(Gradients::ALL)] {
        let answer = answer(&wrong, operation);
        assert!(failures(&wrong, operation, &answer).is_empty());
        assert!(!failures(&right, operation, &answer).is_empty(), "{operation}");
    }
}

/// Around 10⁶ each y may be off by half a deviation, but not all of a channel's by a tenth.
#[test]
fn a_wrong_mean_is_seen() {
    let problem = Problem::random(good().descriptor, 1e6, 1.0, 1);
    let mut answer = answer(&problem, Operation::Forward);
    assert!(failures(&problem, Operation::Forward, &answer).is_empty());
    let (_, y) = answer.0.iter_mut().find(|(name, _)| *name == "y").unwrap();
    // Channel 2 of [4, 6, 25].
    y.chunks_mut(25).skip(2).step_by(6).flatten().for_each(|y| *y += 0.1 * problem.gamma[2]);
    let seen = failures(&problem, Operation::Forward, &answer);
    assert_eq!(seen.iter().map(|verdict| (verdict.name, verdict.index)).collect::<Vec<_>>(), [("mean of y", 2)]);
}

/// Answers of other data are no answers, for any operation.
#[test]
fn the_answer_to_another_question_is_seen() {
    let (one, other) = (good(), Problem::random(good().descriptor, 0.5, 1.0, 2));
    for operation in OPERATIONS {
        assert!(!failures(&one, operation, &answer(&other, operation)).is_empty(), "{operation}");
    }
}

/// What the permutations' validator is for: unknown names, types that do not fit, barriers that not all
/// invocations reach.
#[test]
fn a_broken_kernel_is_seen() {
    for permutation in every().single.iter().filter(|permutation| !permutation.kernel.is_small()).step_by(10) {
        let text = permutation.wgsl();
        assert!(validate(&text).is_ok());
        for (from, to) in
            [("let workgroup = ", "let elsewhere = "), ("fn main(", "fn main(("), ("tiles: u32,", "tiles: f32,")]
        {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text);
            assert!(validate(&broken).is_err(), "{permutation:?} with {to:?}");
        }
    }
}
