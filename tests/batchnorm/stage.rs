//! A problem's tensors in one buffer of the test's own, with guards around each: for tests that look at
//! every byte, or that record several plans together.

use std::ops::Range;

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Problem};
use wgpu_batchnorm::wgpu::{self, BufferBinding, BufferSize};
use wgpu_batchnorm::{Argument, Bindings, Bound, Gpu, Gradients, Kernels};

/// Words of guard on each side of a tensor, at least.
const GUARD: usize = 64;

pub struct Stage {
    pub bound: Bound,
    buffer: wgpu::Buffer,
    places: Places,
    before: Vec<u32>,
}

/// Where the tensors are, in words.
struct Places(Vec<(&'static str, Range<usize>)>);

impl Places {
    fn words(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, words)| words.clone())
    }

    fn get<'a>(&self, buffer: &'a wgpu::Buffer, name: &str) -> Option<BufferBinding<'a>> {
        let words = self.words(name)?;
        Some(BufferBinding { buffer, offset: 4 * words.start as u64, size: BufferSize::new(4 * words.len() as u64) })
    }
}

const OUTPUTS: [&str; 8] = ["y", "saved", "running_mean", "running_variance", "counter", "dx", "dgamma", "dbeta"];

/// What an operation writes.
fn writes(operation: Operation, name: &str) -> bool {
    let forward = operation == Operation::Forward;
    match name {
        "saved" | "running_mean" | "running_variance" => forward,
        _ => OUTPUTS.contains(&name),
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

impl Stage {
    /// Everything in place: outputs, scratch and guards hold `garbage`. Where `scratch` is given, it is
    /// used instead of a place in the buffer.
    pub fn new(
        gpu: &Gpu,
        kernels: &Kernels,
        problem: &Problem,
        operation: Operation,
        garbage: u32,
        scratch: Option<&wgpu::Buffer>,
    ) -> Self {
        let Problem { descriptor, .. } = problem;
        let running = descriptor.clone().running(None) != *descriptor;
        let none = Gradients { dx: false, dgamma: false, dbeta: false };
        let (forward, inference) = (operation == Operation::Forward, operation == Operation::Inference);
        let wanted = match operation {
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => wanted,
            _ => none,
        };
        let frozen = matches!(operation, Operation::FrozenBackward(_));
        let plan = kernels.plan(descriptor, operation).unwrap();
        let (x, c) = (problem.x.len(), problem.gamma.len());
        let empty = |words: usize| vec![garbage; words];
        let reads_running = inference || frozen || (forward && running);
        let tensors = [
            ("x", true, bits(&problem.x)),
            ("gamma", forward || inference || wanted.dx, bits(&problem.gamma)),
            ("beta", forward || inference, bits(&problem.beta)),
            ("running_mean", reads_running, bits(&problem.running_mean)),
            ("running_variance", reads_running, bits(&problem.running_variance)),
            ("saved", !inference && !frozen, if forward { empty(4 * c) } else { bits(&problem.saved) }),
            ("dy", !forward && !inference, bits(&problem.dy)),
            ("y", forward || inference, empty(x)),
            ("dx", wanted.dx, empty(x)),
            ("dgamma", wanted.dgamma, empty(c)),
            ("dbeta", wanted.dbeta, empty(c)),
            ("scratch", scratch.is_none(), empty(plan.scratch_bytes() as usize / 4)),
        ];
        let alignment = gpu.kernels.alignment() as usize / 4;
        let mut before = empty(GUARD.next_multiple_of(alignment));
        let mut places = Places(Vec::new());
        for (name, _, contents) in tensors.into_iter().filter(|(_, present, words)| *present && !words.is_empty()) {
            places.0.push((name, before.len()..before.len() + contents.len()));
            before.extend(contents);
            before.resize((before.len() + GUARD).next_multiple_of(alignment), garbage);
        }
        let buffer = gpu.upload(&before).unwrap();
        let given = |argument: Argument| match scratch {
            Some(scratch) if argument == Argument::Scratch => Some(scratch.as_entire_buffer_binding()),
            _ => places.get(&buffer, argument.name()),
        };
        let bound = plan.bind(&Bindings::from_fn(given).taken_by(&plan)).unwrap();
        Self { bound, buffer, places, before }
    }

    /// What came back, after all that was submitted before; panics if anything else in the buffer changed.
    pub fn read(&self, gpu: &Gpu, operation: Operation) -> Answer {
        let after: Vec<u32> = pollster::block_on(gpu.read(&self.buffer)).unwrap();
        let outputs = self.places.0.iter().filter(|(name, _)| writes(operation, name));
        let mut expected = self.before.clone();
        for (_, words) in outputs.clone().chain(self.places.0.iter().filter(|(name, _)| *name == "scratch")) {
            expected[words.clone()].copy_from_slice(&after[words.clone()]);
        }
        let disturbed = expected.iter().zip(&after).position(|(expected, after)| expected != after);
        assert_eq!(disturbed, None, "{}: {operation} wrote where it must not", gpu.name());
        let values = |words: &Range<usize>| after[words.clone()].iter().map(|word| f32::from_bits(*word)).collect();
        Answer(outputs.map(|(name, words)| (*name, values(words))).collect())
    }
}
