//! Kernels as text: which there are, in which permutations, and how a permutation becomes WGSL.
//!
//! A kernel file is WGSL with four directives, each on a line of its own:
//!
//! | directive | meaning |
//! |---|---|
//! | `#import name` | the text of `shaders/shared/name.wgsl` |
//! | `#import name a 1 b` | the same with `$name`, `$binding` and `$kind` standing for a, 1 and b (in pieces of loops, for counts and numbers) |
//! | `#if flag` … `#else` … `#endif` | kept where the permutation has (has not) the flag; `!flag` where it has not, `a b` where both hold, `a\|b` where one does |
//! | `#unroll k COUNT` … `#end` | the lines COUNT times, `$k` standing for 0, 1, …; may hold another |
//!
//! Unrolled text is what keeps values in registers and loads in flight on every compiler.

mod flag;
mod kernel;
mod slot;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::descriptor::Float;
pub use flag::{Flag, Flags};
pub use kernel::Kernel;
pub use slot::{Access, Slot};
use template::assemble;

/// The shape of a workgroup: `columns` units side by side, `lanes` invocations deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Units side by side.
    pub columns: u32,
    /// Invocations that share a unit; a power of two.
    pub lanes: u32,
}

impl Tile {
    /// The invocations of a workgroup.
    pub const fn invocations(self) -> u32 {
        self.columns.saturating_mul(self.lanes)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.columns, self.lanes)
    }
}

/// Chunks that are summed up before they join the lane's total. The square root of the 4,096 chunks
/// that would be a large lane, so that both levels round alike.
pub const BLOCK: u32 = 64;

/// Elements of a forward pass's first block (several runs); every second block is twice as long as the one before it, up
/// to BLOCK chunks. Two is the least that tell a mean, and no block is longer than what came before it: where the data
/// change, not much is summed about a centre that is far away. With first blocks of 4 and each of the next four times as
/// long, the mean of eight values was off by up to 1.2 times its tolerance, the variance of data with a step by 3.3 times;
/// it is 0.9 and 0.8 so (of 60,000 draws a shape).
pub const FIRST: u32 = 2;

/// Lanes of which one merges the results, where there are more than so many: the square root of 256, the
/// most common largest workgroup, so that its lanes meet twice.
pub const FOLD: u32 = 16;

/// The numbers of elements that a lane of a resident kernel can keep, as far as [`KEPT`] allows.
pub const ITEMS: [u32; 4] = [2, 8, 16, 32];

/// The most values that a lane of a resident kernel keeps: 64 of the 255 registers that an invocation
/// has on the GPUs with the fewest, so that several workgroups still fit.
pub const KEPT: u32 = 64;

/// One compiled form of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permutation {
    /// Which kernel.
    pub kernel: Kernel,
    /// What it does and has.
    pub flags: Flags,
    /// The shape of its workgroup.
    pub tile: Tile,
    /// Elements a lane keeps, resident kernels only (else 0).
    pub items: u32,
    /// Runs of a unit that a lane loads at a time, kernels that stream only (else 1).
    pub chunk: u32,
    /// Runs that an invocation walks along together, kernels that stream only (else 1).
    pub across: u32,
    /// Dimensions of the views that tensors lie in, with [`Flag::Strided`] (else 0).
    pub dims: u32,
}

/// The most dimensions of views, once those that all tensors walk as one are merged (`shared/walk.wgsl`).
pub const MOST_DIMS: usize = 6;

impl Permutation {
    /// The bytes of workgroup memory it takes: two values a lane for sums, three and a count for moments
    /// (`shared/sums.wgsl`, `shared/moments.wgsl`).
    pub const fn workgroup_bytes(&self) -> u32 {
        let value = if self.flags.has(Flag::Wide) { 16_u32 } else { 4 };
        let counts_differ = self.flags.has(Flag::Masked) || self.flags.has(Flag::Ragged);
        let count = if counts_differ { value } else { 4 };
        use Kernel::*;
        let lane = match self.kernel {
            _ if self.flags.has(Flag::Settled) || self.flags.has(Flag::Given) || self.kernel.is_small() => 0,
            kernel if kernel.merges_moments() => 3 * value + count,
            BackwardResident | BackwardCached | BackwardPartial | BackwardSettle | BackwardApply | GatherBackward => {
                2 * value
            }
            _ => 0,
        };
        self.tile.invocations().saturating_mul(lane)
    }

    /// The loop iterations in which lanes meet: two at a time where moments are merged (`shared/moments.wgsl`), FOLD where
    /// sums are added up (`shared/sums.wgsl`). The last test is one.
    pub(crate) fn meeting(&self) -> u64 {
        let lanes = self.tile.lanes;
        if self.kernel.merges_moments() {
            return u64::from(if lanes > 1 { lanes.ilog2() + 1 } else { 0 });
        }
        let rounds = (lanes / last_lanes(lanes)).ilog2() / FOLD.ilog2();
        u64::from(rounds * (FOLD + 1) + 1)
    }

    /// How many storage buffers it binds, which is how many [`slots`](Self::slots) there are besides the
    /// parameters.
    pub fn storage_buffers(&self) -> u32 {
        self.slots().iter().filter(|slot| slot.access != Access::Uniform).count() as u32
    }

    /// The values that a lane keeps in registers: of x, and in the backward pass of dy too.
    pub const fn kept(&self) -> u32 {
        let width = if self.flags.has(Flag::Wide) { 4 } else { 1 };
        let tensors = if matches!(self.kernel, Kernel::BackwardResident) { 2 } else { 1 };
        self.items.saturating_mul(width * tensors)
    }

    /// V that one load moves, side by side: a run.
    pub const fn side(&self) -> u32 {
        if self.flags.has(Flag::Twin) { 2 } else { 1 }
    }

    /// Values that a load moves.
    pub const fn values(&self) -> u32 {
        let width = if self.flags.has(Flag::Wide) { 4 } else { 1 };
        width * self.side()
    }

    /// The type of x.
    const fn float(&self) -> Float {
        match (self.flags.has(Flag::Packed), self.flags.has(Flag::Bf16)) {
            (false, _) => Float::F32,
            (true, false) => Float::F16,
            (true, true) => Float::Bf16,
        }
    }

    /// Bytes that a load moves.
    pub const fn bytes(&self) -> u32 {
        self.float().bytes() as u32 * self.values()
    }

    /// Elements of a run, which are of one unit channels first.
    pub const fn elements(&self) -> u32 {
        if self.flags.has(Flag::ChannelsLast) { 1 } else { self.side() }
    }

    /// Units of a run, which holds one element of each channels last.
    pub const fn beside(&self) -> u32 {
        self.side() / self.elements()
    }

    /// Units of an invocation.
    pub const fn units(&self) -> u32 {
        self.across.saturating_mul(self.beside())
    }

    /// Units whose values an invocation meets: of ragged rows, the next one's too.
    pub const fn seen(&self) -> u32 {
        if self.flags.has(Flag::Ragged) { 2 } else { self.units() }
    }

    /// The same for buffers that are read and written in one dispatch.
    pub const fn for_one_buffer(self) -> Self {
        Self { flags: self.flags.with(Flag::OneBuffer), ..self }
    }

    /// The same for y written over x, or dx over dy.
    pub const fn in_place(self) -> Self {
        Self { flags: self.flags.with(Flag::InPlace), ..self }
    }

    /// Its WGSL.
    pub fn wgsl(&self) -> String {
        let constants = [
            ("COLUMNS", self.tile.columns),
            ("LANES", self.tile.lanes),
            ("CHUNK", self.chunk),
            ("ONE", 1),
            ("ACROSS", self.across),
            ("UNITS", self.units()),
            ("SEEN", self.seen()),
            ("SIDE", self.side()),
            ("ELEMENTS", self.elements()),
            ("BESIDE", self.beside()),
            ("BLOCK", BLOCK),
            ("FIRST", FIRST),
            ("FOLD", FOLD),
            ("LAST", last_lanes(self.tile.lanes)),
            ("ITEMS", self.items),
            ("DIMS", self.dims),
        ];
        let mut text = String::new();
        for (name, value) in constants {
            text += &format!("const {name}: u32 = {value}u;\n");
        }
        text += &format!("const LEAST_SCALE: f32 = {:?};\n", self.float().least_scale());
        text.push('\n');
        assemble(self.kernel.source(), self.flags, &constants, &mut text);
        if self.flags.has(Flag::OneBuffer) {
            text = text.replace("var<storage, read>", "var<storage, read_write>");
        }
        text
    }

    /// Its buffers, as its WGSL declares them.
    pub fn slots(&self) -> Vec<Slot> {
        // Which depends on nothing but these; planning asks again and again.
        static KNOWN: Mutex<BTreeMap<(Kernel, u64), Vec<Slot>>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((self.kernel, self.flags.0)).or_insert_with(|| self.declared()).clone()
    }

    fn declared(&self) -> Vec<Slot> {
        // Loops declare nothing.
        let mut text = String::new();
        assemble(self.kernel.source(), self.flags, &[], &mut text);
        let read = if self.flags.has(Flag::OneBuffer) { Access::Write } else { Access::Read };
        let as_bound = |slot: Slot| if slot.access == Access::Read { Slot { access: read, ..slot } } else { slot };
        text.lines().filter_map(Slot::parse).map(as_bound).collect()
    }
}

/// How many of so many lanes are left to merge when they have been merged by FOLD, as often as more than FOLD
/// are left.
pub const fn last_lanes(lanes: u32) -> u32 {
    let mut last = lanes;
    while last > FOLD {
        last /= FOLD;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_from_the_declarations() {
        let tile = Tile { columns: 1, lanes: 8 };
        let flags = Flags::default().with(Flag::Gamma);
        let inference = Permutation { kernel: Kernel::Inference, flags, tile, items: 0, chunk: 1, across: 1, dims: 0 };
        let named: Vec<(String, Access)> = inference.slots().into_iter().map(|slot| (slot.name, slot.access)).collect();
        let expected = [
            ("params", Access::Uniform),
            ("gamma", Access::Read),
            ("x", Access::Read),
            ("y", Access::Write),
            ("saved", Access::Read),
        ];
        assert_eq!(named, expected.map(|(name, access)| (name.to_owned(), access)));
        let shared = inference.for_one_buffer().slots();
        assert!(shared.iter().all(|slot| slot.access != Access::Read));
    }
}
