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

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A kernel: one file in `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// `shaders/inference.wgsl`
    Inference,
    /// `shaders/forward_resident.wgsl`
    ForwardResident,
    /// `shaders/forward_cached.wgsl`
    ForwardCached,
    /// `shaders/forward_partial.wgsl`
    ForwardPartial,
    /// `shaders/forward_settle.wgsl`
    ForwardSettle,
    /// `shaders/forward_apply.wgsl`
    ForwardApply,
    /// `shaders/backward_resident.wgsl`
    BackwardResident,
    /// `shaders/backward_cached.wgsl`
    BackwardCached,
    /// `shaders/backward_partial.wgsl`
    BackwardPartial,
    /// `shaders/backward_settle.wgsl`
    BackwardSettle,
    /// `shaders/backward_apply.wgsl`
    BackwardApply,
    /// `shaders/running.wgsl`
    Running,
    /// `shaders/count.wgsl`
    Count,
    /// `shaders/collapse.wgsl`
    Collapse,
    /// `shaders/gather.wgsl`
    Gather,
    /// `shaders/merge.wgsl`
    Merge,
    /// `shaders/finalize.wgsl`
    Finalize,
    /// `shaders/gather_backward.wgsl`
    GatherBackward,
    /// `shaders/merge_backward.wgsl`
    MergeBackward,
    /// `shaders/finalize_backward.wgsl`
    FinalizeBackward,
}

impl Kernel {
    /// All kernels.
    pub const ALL: [Self; 20] = [
        Self::Inference,
        Self::ForwardResident,
        Self::ForwardCached,
        Self::ForwardPartial,
        Self::ForwardSettle,
        Self::ForwardApply,
        Self::BackwardResident,
        Self::BackwardCached,
        Self::BackwardPartial,
        Self::BackwardSettle,
        Self::BackwardApply,
        Self::Running,
        Self::Count,
        Self::Collapse,
        Self::Gather,
        Self::Merge,
        Self::Finalize,
        Self::GatherBackward,
        Self::MergeBackward,
        Self::FinalizeBackward,
    ];

    /// Its name, which is its file's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::ForwardResident => "forward_resident",
            Self::ForwardCached => "forward_cached",
            Self::ForwardPartial => "forward_partial",
            Self::ForwardSettle => "forward_settle",
            Self::ForwardApply => "forward_apply",
            Self::BackwardResident => "backward_resident",
            Self::BackwardCached => "backward_cached",
            Self::BackwardPartial => "backward_partial",
            Self::BackwardSettle => "backward_settle",
            Self::BackwardApply => "backward_apply",
            Self::Running => "running",
            Self::Count => "count",
            Self::Collapse => "collapse",
            Self::Gather => "gather",
            Self::Merge => "merge",
            Self::Finalize => "finalize",
            Self::GatherBackward => "gather_backward",
            Self::MergeBackward => "merge_backward",
            Self::FinalizeBackward => "finalize_backward",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Inference => include_str!("../shaders/inference.wgsl"),
            Self::ForwardResident => include_str!("../shaders/forward_resident.wgsl"),
            Self::ForwardCached => include_str!("../shaders/forward_cached.wgsl"),
            Self::ForwardPartial => include_str!("../shaders/forward_partial.wgsl"),
            Self::ForwardSettle => include_str!("../shaders/forward_settle.wgsl"),
            Self::ForwardApply => include_str!("../shaders/forward_apply.wgsl"),
            Self::BackwardResident => include_str!("../shaders/backward_resident.wgsl"),
            Self::BackwardCached => include_str!("../shaders/backward_cached.wgsl"),
            Self::BackwardPartial => include_str!("../shaders/backward_partial.wgsl"),
            Self::BackwardSettle => include_str!("../shaders/backward_settle.wgsl"),
            Self::BackwardApply => include_str!("../shaders/backward_apply.wgsl"),
            Self::Running => include_str!("../shaders/running.wgsl"),
            Self::Count => include_str!("../shaders/count.wgsl"),
            Self::Collapse => include_str!("../shaders/collapse.wgsl"),
            Self::Gather => include_str!("../shaders/gather.wgsl"),
            Self::Merge => include_str!("../shaders/merge.wgsl"),
            Self::Finalize => include_str!("../shaders/finalize.wgsl"),
            Self::GatherBackward => include_str!("../shaders/gather_backward.wgsl"),
            Self::MergeBackward => include_str!("../shaders/merge_backward.wgsl"),
            Self::FinalizeBackward => include_str!("../shaders/finalize_backward.wgsl"),
        }
    }

    /// Whether an invocation owns a unit, or a channel, and goes over no tensor.
    pub const fn is_small(self) -> bool {
        use Kernel::*;
        matches!(self, Running | Count | Collapse | Merge | Finalize | MergeBackward | FinalizeBackward)
    }

    /// Whether units stay in registers.
    pub const fn is_resident(self) -> bool {
        matches!(self, Self::ForwardResident | Self::BackwardResident)
    }

    /// Whether it goes over a tensor in a loop, CHUNK elements at a time.
    pub const fn streams(self) -> bool {
        use Kernel::*;
        matches!(
            self,
            Inference
                | ForwardCached
                | ForwardPartial
                | ForwardApply
                | BackwardCached
                | BackwardPartial
                | BackwardApply
        )
    }
}

const SHARED: [(&str, &str); 49] = [
    ("activation", include_str!("../shaders/shared/activation.wgsl")),
    ("affine", include_str!("../shaders/shared/affine.wgsl")),
    ("apply_sums", include_str!("../shaders/shared/apply_sums.wgsl")),
    ("apply_sums_some", include_str!("../shaders/shared/apply_sums_some.wgsl")),
    ("backward_first", include_str!("../shaders/shared/backward_first.wgsl")),
    ("batch", include_str!("../shaders/shared/batch.wgsl")),
    ("centred", include_str!("../shaders/shared/centred.wgsl")),
    ("centred_by", include_str!("../shaders/shared/centred_by.wgsl")),
    ("channel_moves", include_str!("../shaders/shared/channel_moves.wgsl")),
    ("channel_reads", include_str!("../shaders/shared/channel_reads.wgsl")),
    ("channel_writes", include_str!("../shaders/shared/channel_writes.wgsl")),
    ("counter", include_str!("../shaders/shared/counter.wgsl")),
    ("dy_to_dx", include_str!("../shaders/shared/dy_to_dx.wgsl")),
    ("element", include_str!("../shaders/shared/element.wgsl")),
    ("finish", include_str!("../shaders/shared/finish.wgsl")),
    ("forward_first", include_str!("../shaders/shared/forward_first.wgsl")),
    ("gather_moments", include_str!("../shaders/shared/gather_moments.wgsl")),
    ("gather_moments_some", include_str!("../shaders/shared/gather_moments_some.wgsl")),
    ("gather_sums", include_str!("../shaders/shared/gather_sums.wgsl")),
    ("gather_sums_some", include_str!("../shaders/shared/gather_sums_some.wgsl")),
    ("gradients", include_str!("../shaders/shared/gradients.wgsl")),
    ("health", include_str!("../shaders/shared/health.wgsl")),
    ("lens", include_str!("../shaders/shared/lens.wgsl")),
    ("lies", include_str!("../shaders/shared/lies.wgsl")),
    ("merge_records", include_str!("../shaders/shared/merge_records.wgsl")),
    ("moments", include_str!("../shaders/shared/moments.wgsl")),
    ("moved", include_str!("../shaders/shared/moved.wgsl")),
    ("mutual", include_str!("../shaders/shared/mutual.wgsl")),
    ("mutual_of", include_str!("../shaders/shared/mutual_of.wgsl")),
    ("normalize", include_str!("../shaders/shared/normalize.wgsl")),
    ("normalize_some", include_str!("../shaders/shared/normalize_some.wgsl")),
    ("outcome", include_str!("../shaders/shared/outcome.wgsl")),
    ("packed", include_str!("../shaders/shared/packed.wgsl")),
    ("parts", include_str!("../shaders/shared/parts.wgsl")),
    ("pivot", include_str!("../shaders/shared/pivot.wgsl")),
    ("pull", include_str!("../shaders/shared/pull.wgsl")),
    ("reads", include_str!("../shaders/shared/reads.wgsl")),
    ("records", include_str!("../shaders/shared/records.wgsl")),
    ("replaces", include_str!("../shaders/shared/replaces.wgsl")),
    ("seen_through", include_str!("../shaders/shared/seen_through.wgsl")),
    ("settled", include_str!("../shaders/shared/settled.wgsl")),
    ("signs", include_str!("../shaders/shared/signs.wgsl")),
    ("statistics", include_str!("../shaders/shared/statistics.wgsl")),
    ("sum_parts", include_str!("../shaders/shared/sum_parts.wgsl")),
    ("sums", include_str!("../shaders/shared/sums.wgsl")),
    ("valid", include_str!("../shaders/shared/valid.wgsl")),
    ("walk", include_str!("../shaders/shared/walk.wgsl")),
    ("writes", include_str!("../shaders/shared/writes.wgsl")),
    ("x_to_y", include_str!("../shaders/shared/x_to_y.wgsl")),
];

/// What a kernel file asks with `#if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Values move four at a time.
    Wide,
    /// Those four are two words of 64 bits in memory, or one where they are packed.
    Long,
    /// Twice as many move at a time.
    Twin,
    /// Rows begin and end within what one load moves.
    Ragged,
    /// Several rows of channels are walked as one, so that 4 divides it.
    Folded,
    /// What was found of the same channel in each of those rows is merged.
    Copies,
    /// Lanes load more than one run at a time, and the rest one by one.
    Chunked,
    /// The channel is the fastest axis.
    ChannelsLast,
    /// x and what has its shape is in 16 bits: f16, or bf16 with the next flag.
    Packed,
    /// 16 bits are the upper half of an f32.
    Bf16,
    /// γ and β, and their gradients where this kernel writes the last ones, are in 16 bits.
    PackedParameters,
    /// dγ and dβ that a backward kernel writes are in 16 bits.
    PackedGradients,
    /// The running statistics are in 16 bits.
    PackedRunning,
    /// Tensors lie in views.
    Strided,
    /// There is a γ.
    Gamma,
    /// There is a β.
    Beta,
    /// Running statistics are updated.
    Running,
    /// Batches are counted.
    Counter,
    /// The running statistics are the average over all batches.
    Cumulative,
    /// Inference as the gradient of x through frozen statistics.
    Gradient,
    /// The running statistics are used, not those of a batch.
    Frozen,
    /// dx is written.
    Dx,
    /// dγ is written.
    Dgamma,
    /// dβ is written.
    Dbeta,
    /// Not every position counts.
    Masked,
    /// Which do is said by a length a sample, not by a mask.
    Lengths,
    /// They are those of a sample's first axis.
    Leading,
    /// The mask has a word a position.
    Words,
    /// How many do is in the saved statistics.
    Counted,
    /// Groups of samples, or steps, have statistics of their own.
    Grouped,
    /// They are steps.
    Stepped,
    /// Batch renormalization.
    Renorm,
    /// A residual is added, or read again.
    Residual,
    /// Its gradient is written.
    Dresidual,
    /// A bit a value says what the activation did.
    Signs,
    /// There is an activation: one of those that follow.
    Activation,
    /// max(z, 0).
    Relu,
    /// Leaky ReLU.
    LeakyRelu,
    /// z·sigmoid(z).
    Silu,
    /// z·Φ(z).
    Gelu,
    /// 1/(1 + exp(−z)).
    Sigmoid,
    /// tanh(z).
    Tanh,
    /// Bounded from both sides.
    Clamp,
    /// The backward pass finds x again from y.
    FromY,
    /// What is unhealthy is counted.
    Health,
    /// An earlier window has chosen the pivot.
    Pivoted,
    /// An earlier dispatch has merged the parts.
    Settled,
    /// The second pass over a band of units, and the first over the next one.
    Banded,
    /// The caller brings the sums.
    Given,
    /// y is written over x, dx over dy.
    InPlace,
    /// One buffer is both read and written: every binding is `read_write`, since a buffer has one usage
    /// a dispatch in WebGPU.
    OneBuffer,
}

impl Flag {
    const ALL: [(Self, &'static str); 51] = [
        (Self::Wide, "wide"),
        (Self::Long, "long"),
        (Self::Twin, "twin"),
        (Self::Ragged, "ragged"),
        (Self::Folded, "folded"),
        (Self::Copies, "copies"),
        (Self::Chunked, "chunked"),
        (Self::ChannelsLast, "channels_last"),
        (Self::Packed, "packed"),
        (Self::Bf16, "bf16"),
        (Self::PackedParameters, "packed_parameters"),
        (Self::PackedGradients, "packed_gradients"),
        (Self::PackedRunning, "packed_running"),
        (Self::Strided, "strided"),
        (Self::Gamma, "gamma"),
        (Self::Beta, "beta"),
        (Self::Running, "running"),
        (Self::Counter, "counter"),
        (Self::Cumulative, "cumulative"),
        (Self::Gradient, "gradient"),
        (Self::Frozen, "frozen"),
        (Self::Dx, "dx"),
        (Self::Dgamma, "dgamma"),
        (Self::Dbeta, "dbeta"),
        (Self::Masked, "masked"),
        (Self::Lengths, "lengths"),
        (Self::Leading, "leading"),
        (Self::Words, "words"),
        (Self::Counted, "counted"),
        (Self::Grouped, "grouped"),
        (Self::Stepped, "stepped"),
        (Self::Renorm, "renorm"),
        (Self::Residual, "residual"),
        (Self::Dresidual, "dresidual"),
        (Self::Signs, "signs"),
        (Self::Activation, "activation"),
        (Self::Relu, "relu"),
        (Self::LeakyRelu, "leaky_relu"),
        (Self::Silu, "silu"),
        (Self::Gelu, "gelu"),
        (Self::Sigmoid, "sigmoid"),
        (Self::Tanh, "tanh"),
        (Self::Clamp, "clamp"),
        (Self::FromY, "from_y"),
        (Self::Health, "health"),
        (Self::Pivoted, "pivoted"),
        (Self::Settled, "settled"),
        (Self::Banded, "banded"),
        (Self::Given, "given"),
        (Self::InPlace, "in_place"),
        (Self::OneBuffer, "one_buffer"),
    ];

    /// The flag of this name, in kernel files.
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(flag, _)| *flag)
    }
}

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u64);

impl Flags {
    /// The flags of this list whose condition holds.
    pub fn of(list: &[(Flag, bool)]) -> Self {
        list.iter().fold(Self::default(), |set, &(flag, on)| if on { set.with(flag) } else { set })
    }

    /// All of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set and one more.
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u64)
    }

    /// This set and one less.
    pub const fn without(self, flag: Flag) -> Self {
        Self(self.0 & !(1 << flag as u64))
    }

    /// Whether the flag is in the set.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u64) != 0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Flag::ALL.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name)).finish()
    }
}

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

/// Elements of a forward pass's first block (several runs); each of the next is four times as long, up to BLOCK chunks.
/// Of normally distributed values the variance of 128 to 4,096 was then within 8 units of rounding (the worst of 10,000), with a
/// first block of 8 and all others of BLOCK chunks within 13.
pub const FIRST: u32 = 4;

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
    /// The bytes of workgroup memory it takes: two values a lane for sums, and a count besides for moments
    /// (`shared/sums.wgsl`, `shared/moments.wgsl`).
    pub const fn workgroup_bytes(&self) -> u32 {
        let value = if self.flags.has(Flag::Wide) { 16_u32 } else { 4 };
        let counts_differ = self.flags.has(Flag::Masked) || self.flags.has(Flag::Ragged);
        let count = if counts_differ { value } else { 4 };
        use Kernel::*;
        let meets = self.flags.has(Flag::Banded) || !(self.flags.has(Flag::Settled) || self.flags.has(Flag::Given));
        let lane = match self.kernel {
            _ if !meets || self.kernel.is_small() => 0,
            ForwardCached | ForwardPartial | ForwardSettle | ForwardApply | Gather => 2 * value + count,
            ForwardResident | BackwardResident | BackwardCached | BackwardPartial | BackwardSettle | BackwardApply
            | GatherBackward => 2 * value,
            _ => 0,
        };
        self.tile.invocations().saturating_mul(lane)
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

    /// Bytes that a load moves.
    pub const fn bytes(&self) -> u32 {
        let value = if self.flags.has(Flag::Packed) { 2 } else { 4 };
        value * self.values()
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

/// A buffer as a kernel declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its binding number in group 0.
    pub binding: u32,
    /// Its name, the same in all kernels.
    pub name: String,
    /// What the kernel does with it.
    pub access: Access,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The plan's own parameters.
    Uniform,
    /// Storage that is read.
    Read,
    /// Storage that is written, or read and written.
    Write,
}

impl Slot {
    /// Reads a line of the form `@group(0) @binding(3) var<storage, read> gamma: array<Channel>;`.
    fn parse(line: &str) -> Option<Self> {
        let (binding, rest) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
        let (access, rest) = rest.split_once("> ")?;
        let access = match access {
            "uniform" => Access::Uniform,
            "storage, read" => Access::Read,
            _ => Access::Write,
        };
        Some(Self { binding: binding.parse().ok()?, name: rest.split_once(':')?.0.to_owned(), access })
    }
}

/// Follows the directives of `source` and appends what is left to `out`.
fn assemble(source: &str, flags: Flags, constants: &[(&str, u32)], out: &mut String) {
    // Whether each open `#if` is being kept, innermost last.
    let mut kept = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let mut words = line.split_whitespace();
        let keeping = kept.iter().all(|&keep| keep);
        match words.next() {
            Some("#if") => kept.push(words.all(|condition| holds(condition, flags))),
            Some("#else") => {
                if let Some(keep) = kept.last_mut() {
                    *keep = !*keep;
                }
            }
            Some("#endif") => {
                kept.pop();
            }
            Some("#import") if keeping => {
                let name = words.next().unwrap_or_default();
                if let Some((_, text)) = SHARED.iter().find(|(known, _)| *known == name) {
                    let arguments = ARGUMENTS.into_iter().zip(words);
                    let text = arguments.fold((*text).to_owned(), |text, (name, value)| text.replace(name, value));
                    assemble(&text, flags, constants, out);
                }
            }
            Some("#unroll") => {
                let variable = format!("${}", words.next().unwrap_or_default());
                let count = words.next().and_then(|name| constants.iter().find(|(known, _)| *known == name));
                // Up to the `#end` of this one.
                let mut open = 1;
                let inside = |line: &&str| {
                    open += i32::from(line.starts_with("#unroll")) - i32::from(line.trim() == "#end");
                    open > 0
                };
                let body: Vec<&str> = lines.by_ref().take_while(inside).collect();
                let body = body.join("\n");
                for k in 0..if keeping { count.map_or(0, |(_, count)| *count) } else { 0 } {
                    assemble(&body.replace(&variable, &k.to_string()), flags, constants, out);
                }
            }
            _ if keeping => {
                *out += line;
                out.push('\n');
            }
            _ => {}
        }
    }
}

/// What the words after an import's name stand for in the imported text.
const ARGUMENTS: [&str; 3] = ["$name", "$binding", "$kind"];

/// One word of an `#if`: a flag, `!flag`, or several with `|` between.
fn holds(condition: &str, flags: Flags) -> bool {
    condition.split('|').any(|name| match name.strip_prefix('!') {
        Some(name) => !Flag::named(name).is_some_and(|flag| flags.has(flag)),
        None => Flag::named(name).is_some_and(|flag| flags.has(flag)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(condition: &str) -> bool {
        let named = |name: &str| Flag::named(name.trim_start_matches('!')).is_some();
        // Of some per-channel buffers, which flag it is depends on the import.
        condition.trim_start_matches('!') == "packed_$kind" || condition.split('|').all(named)
    }

    /// A misspelt directive would quietly drop text.
    #[test]
    fn directives_name_what_exists() {
        let sources = Kernel::ALL.iter().map(|kernel| (kernel.name(), kernel.source())).chain(SHARED);
        for (file, source) in sources {
            let mut open = 0;
            for line in source.lines().filter(|line| line.starts_with('#')) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let known = match words[..] {
                    ["#if", ref conditions @ ..] => conditions.iter().all(|condition| is_known(condition)),
                    ["#import", name, ..] => SHARED.iter().any(|(known, _)| *known == name),
                    ["#unroll", "k" | "u" | "a" | "e" | "s", count] => {
                        let counts =
                            ["CHUNK", "ACROSS", "UNITS", "SEEN", "SIDE", "ELEMENTS", "BESIDE", "LAST", "ITEMS", "DIMS"];
                        counts.contains(&count) || count == "$name"
                    }
                    ["#else" | "#endif" | "#end"] => true,
                    _ => false,
                };
                assert!(known, "{file}: {line}");
                open += i32::from(words[0] == "#if") - i32::from(words[0] == "#endif");
            }
            assert_eq!(open, 0, "{file}: #if and #endif do not pair");
        }
    }

    #[test]
    fn assembles_conditions_and_loops() {
        let source = "#if wide\nwide\n#else\nnarrow\n#endif\n#unroll k N\nlet a_$k = $ku;\n#end\nlast";
        let run = |flags: Flags| {
            let mut out = String::new();
            assemble(source, flags, &[("N", 2)], &mut out);
            out
        };
        assert_eq!(run(Flags::default()), "narrow\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");
        assert_eq!(run(Flags::default().with(Flag::Wide)), "wide\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");

        let nested = "#unroll u N\n#unroll k N\n$u$k\n#end\n($u)\n#end\nlast";
        let mut out = String::new();
        assemble(nested, Flags::default(), &[("N", 2)], &mut out);
        assert_eq!(out, "00\n01\n(0)\n10\n11\n(1)\nlast\n");
    }

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
