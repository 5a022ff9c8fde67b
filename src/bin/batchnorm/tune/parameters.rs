//! What is tried: the numbers of a `Tuning` that adapters differ in, and the candidates for each.

use std::fmt::Debug;

use wgpu_batchnorm::tuning::{AdapterKind, Order, Tuning};

/// One number, with what it might be instead.
pub struct Parameter {
    pub name: &'static str,
    /// The tuning with each candidate in place of its own number.
    pub candidates: fn(&Tuning) -> Vec<Tuning>,
    /// The tuning's number.
    pub value: fn(&Tuning) -> String,
    /// Whether a quick search tries it too.
    pub quick: bool,
}

impl Parameter {
    /// Those of a sort of adapter, what matters most first.
    pub fn of(kind: AdapterKind, quick: bool) -> Vec<Self> {
        let mut all = match kind {
            AdapterKind::Gpu => of_gpus(),
            AdapterKind::Cpu => of_software(),
        };
        all.retain(|parameter| parameter.quick || !quick);
        all
    }
}

/// A parameter by the name of its field.
macro_rules! parameter {
    ($field:ident: $candidates:expr, quick: $quick:expr) => {
        Parameter {
            name: stringify!($field),
            candidates: |tuning| $candidates.map(|$field| Tuning { $field, ..*tuning }).to_vec(),
            value: |tuning| shown(&tuning.$field),
            quick: $quick,
        }
    };
}

fn shown(value: &impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

/// Not the order: neighbouring lanes on neighbouring elements is what every GPU coalesces. Not `near`, `long` and
/// `merge`, which no GPU is known to need.
fn of_gpus() -> Vec<Parameter> {
    vec![
        // Two, eight, 16 and 32 subgroups of 32: few lanes merge sooner, many hide more latency.
        parameter!(lanes: [64, 128, 256, 512, 1024], quick: true),
        // 16 bytes a load: from what a small GPU needs in flight up to where registers run short.
        parameter!(loads: [2, 4, 8, 16], quick: true),
        // 8 workgroups of 256 on each of 8 to 264 multiprocessors: from integrated GPUs to the largest.
        parameter!(workgroups: [64, 264, 528, 1056, 2112], quick: true),
        // Channels last, rows of 128, 256, 512 and 1,024 bytes.
        parameter!(columns: [[1, 8], [1, 16], [1, 32], [1, 64]], quick: true),
        // Second caches from 4 to 96 MB, and none. (Quick shapes are too small for several bands.)
        parameter!(cache: [0, 4 << 20, 8 << 20, 16 << 20, 24 << 20, 36 << 20, 48 << 20, 64 << 20, 96 << 20], quick: false),
        // As many as an H100's or a smaller GPU's multiprocessors, and how many channels suffice to keep those busy.
        parameter!(whole: [16, 64, 128, 256, 512], quick: false),
        // More invocations keep larger channels on the chip; fewer leave room for more workgroups beside them.
        parameter!(resident: [[32, 128], [32, 256], [64, 256], [32, 512], [32, 1024]], quick: false),
        // From half the built-in number to all that a resident lane may keep.
        parameter!(share: [4, 8, 16, 32], quick: false),
        // Where a dispatch is dear, later; where the second cache is small, sooner.
        parameter!(settle: [32, 128, 512, 2048], quick: false),
        // Where 16-byte columns do not fill a cache line.
        parameter!(across: [1, 2, 4], quick: false),
    ]
}

/// Not `resident`: more invocations than `lanes` has are as slow there as here.
fn of_software() -> Vec<Parameter> {
    vec![
        // SIMD groups of 128, 256 and 512 bits, and several of them.
        parameter!(lanes: [4, 8, 16, 32], quick: true),
        // More hide a load's cost, until the code of the loop outgrows the first cache.
        parameter!(loads: [1, 2, 4, 8], quick: true),
        // Half as many words are faster where loads are loops, slower where 64-bit integers are emulated.
        parameter!(long: [true, false], quick: true),
        // Wider vectors too.
        parameter!(twin: [true, false], quick: true),
        // What other drivers than lavapipe may walk faster.
        parameter!(order: [Order::Interleaved, Order::Blocked], quick: false),
        // From one core to as many as software drivers use: more share the work more evenly, and merge more.
        parameter!(workgroups: [4, 16, 32, 64, 128], quick: false),
        // As many channels side by side as a SIMD group has lanes, or none.
        parameter!(columns: [[1, 8], [4, 4], [8, 8], [16, 16]], quick: false),
        // From many lanes on a small channel to one.
        parameter!(share: [32, 64, 128, 256], quick: false),
        // Longer pieces of a row walk faster, and compile longer.
        parameter!(across: [2, 4, 8, 16, 32], quick: false),
        // As for `workgroups`.
        parameter!(whole: [4, 16, 32, 128], quick: false),
        // From a dispatch that costs as good as nothing to one that costs more than merging ever does.
        parameter!(settle: [2, 8, 32, 128], quick: false),
        // Second caches a core from 256 KiB to 4 MiB, of which x has a fourth or so.
        parameter!(near: [1 << 16, 1 << 18, 1 << 19, 1 << 20], quick: false),
    ]
}

#[cfg(test)]
mod tests {
    use super::{AdapterKind, Parameter, Tuning};

    #[test]
    fn candidates_hold_the_built_in_number_and_change_nothing_else() {
        for kind in [AdapterKind::Gpu, AdapterKind::Cpu] {
            let built_in = Tuning::of(kind);
            let all = Parameter::of(kind, false);
            for parameter in &all {
                let candidates = (parameter.candidates)(&built_in);
                assert!(candidates.contains(&built_in) && candidates.len() > 1, "{}", parameter.name);
                for other in all.iter().filter(|other| other.name != parameter.name) {
                    let kept = |candidate: &Tuning| (other.value)(candidate) == (other.value)(&built_in);
                    assert!(candidates.iter().all(kept), "{} changes {}", parameter.name, other.name);
                }
            }
            let quick = Parameter::of(kind, true).len();
            assert!(0 < quick && quick < all.len());
        }
    }
}
