//! Nothing is written outside what is bound, and nothing is read there: every buffer of an operation between guards
//! in a large one, with contents that lie. Lengths beyond their axis, any mask, counts, saved statistics and sums
//! that no batch has, NaN and garbage in all of them and in scratch.

use std::ops::Range;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use wgpu_batchnorm::recipe::{Choice, Operation, Regime};
use wgpu_batchnorm::wgpu::{Buffer, BufferBinding, BufferSize};
use wgpu_batchnorm::{Argument, BindError, Bindings, Bound, Gpu, Plan, PlanError};

use crate::adapters::gpus;
use crate::cases::{ARGUMENTS, Case, cases, kept, operations, small_shapes, writes};
use crate::fuzz::{Times, fuzz};

/// Words of guard on each side of an argument, at least.
const GUARD: usize = 64;

/// What is in memory, which is no batch norm's.
#[derive(Clone, Copy, Debug)]
enum Contents {
    /// Numbers around 0, in any of the types.
    Values,
    /// Any bits: among them what is not finite, subnormal, or far too large for a length or a count.
    Bits,
    /// NaN alone.
    Nan,
    /// 1 in all bits.
    Ones,
    Zeros,
}

const CONTENTS: [Contents; 5] = [Contents::Values, Contents::Bits, Contents::Nan, Contents::Ones, Contents::Zeros];

/// SplitMix64.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}

impl Contents {
    fn word(self, state: &mut u64) -> u32 {
        match self {
            // Halves that are small f16 or bf16 as well as words that are small f32.
            Self::Values => random(state) & 0xbfff_bfff | 0x3000_3000,
            Self::Bits => random(state),
            Self::Nan => 0x7fff_7fff,
            Self::Ones => u32::MAX,
            Self::Zeros => 0,
        }
    }
}

/// One run on one adapter.
#[derive(Clone, Debug)]
struct Canary {
    case: Case,
    operation: Operation,
    split: bool,
    /// What is read in one large buffer, what is written in another; or all in one.
    apart: bool,
    in_place: bool,
    /// Of each argument, and of scratch.
    contents: Vec<Contents>,
    seed: u64,
}

fn canaries() -> impl Strategy<Value = Canary> {
    let contents = prop::collection::vec(prop::sample::select(&CONTENTS[..]), ARGUMENTS.len());
    let cases = cases(small_shapes(3_000), kept(20_000));
    let how = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2), any::<u64>());
    (cases, operations(), how, contents).prop_map(|(case, operation, (split, apart, in_place, seed), contents)| {
        Canary { case, operation, split, apart, in_place, contents, seed }
    })
}

/// An argument in its large buffer, in words.
struct Place {
    name: &'static str,
    buffer: usize,
    words: Range<usize>,
}

/// Two large buffers, and what is where in them.
struct Memory {
    places: Vec<Place>,
    words: [Vec<u32>; 2],
}

impl Canary {
    /// Which buffers there are: all that the plan does not refuse as one that it has no use for.
    fn memory(&self, gpu: &Gpu, plan: &Plan, without: &[&str], guard: u64) -> Memory {
        let alignment = gpu.kernels.alignment() as usize / 4;
        let mut guards = guard;
        let mut memory = Memory { places: vec![], words: [(); 2].map(|()| vec![]) };
        let mut put = |name, buffer: usize, contents: Vec<u32>| {
            let words = &mut memory.words[buffer];
            let start = (words.len() + GUARD).next_multiple_of(alignment);
            words.resize_with(start, || random(&mut guards));
            words.extend(&contents);
            memory.places.push(Place { name, buffer, words: start..start + contents.len() });
        };
        for (i, (name, contents)) in ARGUMENTS.into_iter().zip(&self.contents).enumerate() {
            let over = self.in_place && matches!(name, "y" | "dx");
            if without.contains(&name) || over {
                continue;
            }
            let mut state = self.seed.wrapping_add(i as u64);
            let bytes = self.case.bytes(self.operation, name);
            let written = writes(self.operation, name) || self.in_place && matches!(name, "x" | "dy");
            let words = (0..bytes / 4).map(|_| contents.word(&mut state)).collect();
            put(name, usize::from(self.apart && written), words);
        }
        // Whatever is in scratch, the answer is the same.
        let mut state = guard.wrapping_add(self.seed);
        let garbage = CONTENTS[random(&mut state) as usize % CONTENTS.len()];
        let words = (0..plan.scratch_bytes() / 4).map(|_| garbage.word(&mut state)).collect();
        put("scratch", usize::from(self.apart), words);
        for words in &mut memory.words {
            words.resize_with(words.len() + GUARD, || random(&mut guards));
        }
        memory
    }

    fn bind(&self, plan: &Plan, without: &[&str], memory: &Memory, buffers: &[Buffer; 2]) -> Result<Bound, BindError> {
        let place = |argument: Argument| {
            let over = match argument.name() {
                name if without.contains(&name) => return None,
                "y" if self.in_place => "x",
                "dx" if self.in_place => "dy",
                name => name,
            };
            let Place { buffer, words, .. } = memory.places.iter().find(|place| place.name == over)?;
            // (Of what is empty a word of the guards.)
            let size = BufferSize::new(4 * words.len().max(1) as u64);
            Some(BufferBinding { buffer: &buffers[*buffer], offset: 4 * words.start as u64, size })
        };
        plan.bind(&Bindings::from_fn(place))
    }

    /// Runs it twice, with other guards and other scratch; whether it runs at all.
    fn run(&self, gpu: &Gpu) -> Result<bool, TestCaseError> {
        let regime = self.split.then_some(Regime::Split);
        let kernels = gpu.kernels.choosing(Choice { regime, ..Choice::default() });
        let plan = match kernels.plan(&self.case.descriptor(), self.operation) {
            Ok(plan) => plan,
            Err(PlanError::Pipeline { message, .. }) => return Err(TestCaseError::fail(message)),
            Err(_) => return Ok(false),
        };
        let mut without = vec![];
        let mut runs = vec![];
        while runs.len() < 2 {
            let memory = self.memory(gpu, &plan, &without, runs.len() as u64);
            let buffers = memory.words.each_ref().map(|words| gpu.upload(words).unwrap());
            match self.bind(&plan, &without, &memory, &buffers) {
                Ok(bound) => {
                    gpu.run(|pass| bound.record(pass));
                    let read = |buffer: &Buffer| pollster::block_on(gpu.read::<u32>(buffer)).unwrap();
                    let after = buffers.each_ref().map(read);
                    runs.push((memory, after));
                }
                // There is nothing else that it may find wrong.
                Err(BindError::Unused { argument }) if !without.contains(&argument) => without.push(argument),
                // Views that lie otherwise, or are larger, cannot be one.
                Err(BindError::Overlap { .. } | BindError::Size { .. }) if self.in_place => return Ok(false),
                Err(error) => return Err(TestCaseError::fail(format!("{error}: {}", plan))),
            }
        }
        for (memory, after) in &runs {
            self.assert_outside_is_as_it_was(memory, after)?;
        }
        self.assert_alike(&runs)?;
        Ok(true)
    }

    fn assert_outside_is_as_it_was(&self, memory: &Memory, after: &[Vec<u32>; 2]) -> Result<(), TestCaseError> {
        let mut expected = memory.words.clone();
        for Place { name, buffer, words } in &memory.places {
            let over = self.in_place && matches!(*name, "x" | "dy");
            if writes(self.operation, name) || *name == "scratch" || over {
                expected[*buffer][words.clone()].copy_from_slice(&after[*buffer][words.clone()]);
            }
        }
        for (buffer, (expected, after)) in expected.iter().zip(after).enumerate() {
            let changed = expected.iter().zip(after).position(|(expected, after)| expected != after);
            prop_assert!(changed.is_none(), "word {changed:?} of buffer {buffer} was written");
        }
        Ok(())
    }

    /// What came of what is bound is the same, whatever is around it.
    fn assert_alike(&self, runs: &[(Memory, [Vec<u32>; 2])]) -> Result<(), TestCaseError> {
        let [(memory, one), (_, other)] = runs else { return Ok(()) };
        for Place { name, buffer, words } in memory.places.iter().filter(|place| place.name != "scratch") {
            let (one, other) = (&one[*buffer][words.clone()], &other[*buffer][words.clone()]);
            let differs = one.iter().zip(other).position(|(one, other)| one != other);
            prop_assert!(differs.is_none(), "word {differs:?} of {name} is read from outside, or from scratch");
        }
        Ok(())
    }
}

#[test]
fn nothing_outside_is_written_or_read() {
    let ran = fuzz("canaries", Times { cases: 24, of_batch: 4 }, &canaries(), |canary| {
        let mut ran = false;
        for gpu in gpus().iter() {
            ran |= canary.run(gpu)?;
        }
        Ok(ran)
    });
    assert!(ran > 4, "{ran} ran");
}

/// What the test is for does show.
#[test]
fn a_changed_word_is_noticed() {
    let words = [vec![1; 200], vec![2; 200]];
    let place = |name, buffer| Place { name, buffer, words: 64..80 };
    let memory = || Memory { places: vec![place("x", 0), place("y", 1)], words: words.clone() };
    let mut canary = canaries().new_tree(&mut TestRunner::deterministic()).unwrap().current();
    (canary.operation, canary.in_place) = (Operation::Inference, false);
    let changed = |buffer: usize, word: usize| {
        let mut after = words.clone();
        after[buffer][word] = 7;
        after
    };
    canary.assert_outside_is_as_it_was(&memory(), &changed(1, 64)).unwrap();
    for (buffer, word) in [(0, 0), (0, 63), (0, 64), (0, 80), (1, 63), (1, 80), (1, 199)] {
        canary.assert_outside_is_as_it_was(&memory(), &changed(buffer, word)).unwrap_err();
    }
    let runs = |word| [(memory(), words.clone()), (memory(), changed(1, word))];
    canary.assert_alike(&runs(63)).unwrap();
    canary.assert_alike(&runs(79)).unwrap_err();
}
