//! Running a problem and judging what comes back: one way for all tests, the negative controls too.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Placement, Problem, Verdict};
use wgpu_batchnorm::{Descriptor, Gpu, Gradients, Kernels, Layout};

/// Every operation, with all that it can compute.
pub const OPERATIONS: [Operation; 5] = [
    Operation::Inference,
    Operation::Forward,
    Operation::Backward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::DX),
];

/// Every choice of gradients but none.
pub fn gradients() -> Vec<Gradients> {
    (1..8).map(|bits| Gradients { dx: bits & 1 != 0, dgamma: bits & 2 != 0, dbeta: bits & 4 != 0 }).collect()
}

/// Where the field has a name for it: how many axes x has, and which of them the channels are.
pub const LAYOUTS: [(&str, usize, Layout); 7] = [
    ("NC", 2, Layout::ChannelsFirst),
    ("NCL", 3, Layout::ChannelsFirst),
    ("NCHW", 4, Layout::ChannelsFirst),
    ("NCDHW", 5, Layout::ChannelsFirst),
    ("NLC", 3, Layout::ChannelsLast),
    ("NHWC", 4, Layout::ChannelsLast),
    ("NDHWC", 5, Layout::ChannelsLast),
];

/// A shape with these channels, and `m` values of each spread over the other axes.
pub fn shape(rank: usize, layout: Layout, channels: usize, m: usize) -> Vec<usize> {
    let mut shape = vec![1; rank - 1];
    // Prime factors in turn, the last axis first.
    let (mut rest, mut factor, mut axis) = (m, 2, 0);
    while rest > 1 {
        if rest % factor == 0 {
            rest /= factor;
            shape[rank - 2 - axis % (rank - 1)] *= factor;
            axis += 1;
        } else {
            factor += 1;
        }
    }
    let at = if layout == Layout::ChannelsFirst { 1 } else { rank - 1 };
    shape.insert(at, channels);
    shape
}

/// Small random data around 0.5.
pub fn problem(descriptor: Descriptor) -> Problem {
    Problem::random(descriptor, 0.5, 1.0, 1)
}

/// The verdicts that are out of tolerance.
pub fn failures(problem: &Problem, operation: Operation, answer: &Answer) -> Vec<Verdict> {
    let mut verdicts = problem.judge(operation, answer);
    verdicts.retain(|verdict| !verdict.passed());
    verdicts
}

/// Panics if an answer is out of tolerance anywhere.
pub fn judge(what: &str, problem: &Problem, operation: Operation, answer: &Answer) {
    let failures = failures(problem, operation, answer);
    assert!(failures.is_empty(), "{what}: {operation} of {:?}: {failures:#?}", problem.descriptor);
}

/// Runs an operation and judges it.
pub fn check(gpu: &Gpu, kernels: &Kernels, problem: &Problem, operation: Operation, placement: Placement) -> Answer {
    let what = || format!("{} {placement:?} {:?}", gpu.name(), kernels);
    match pollster::block_on(problem.run(gpu, kernels, operation, placement)) {
        Ok(answer) => {
            judge(&what(), problem, operation, &answer);
            answer
        }
        Err(error) => panic!("{}: {operation} of {:?}: {error}", what(), problem.descriptor),
    }
}

/// Panics unless the message has all of these words.
pub fn says(error: &dyn std::error::Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}
