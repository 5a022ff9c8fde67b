//! Kernels as text: which there are, in which permutations, and how a permutation becomes WGSL.
//!
//! A kernel file is WGSL with four directives, each on a line of its own:
//!
//! | directive | meaning |
//! |---|---|
//! | `#import name` | the text of `shaders/shared/name.wgsl` |
//! | `#if flag` … `#else` … `#endif` | kept where the permutation has (has not) the flag |
//! | `#unroll k COUNT` … `#end` | the lines COUNT times, `$k` standing for 0, 1, … |
//!
//! Unrolled text is what keeps values in registers and loads in flight on every compiler.

use std::fmt;

/// A kernel: one file in `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `shaders/inference.wgsl`
    Inference,
    /// `shaders/forward_resident.wgsl`
    ForwardResident,
    /// `shaders/forward_partial.wgsl`
    ForwardPartial,
    /// `shaders/forward_apply.wgsl`
    ForwardApply,
    /// `shaders/backward_resident.wgsl`
    BackwardResident,
    /// `shaders/backward_partial.wgsl`
    BackwardPartial,
    /// `shaders/backward_apply.wgsl`
    BackwardApply,
    /// `shaders/running.wgsl`
    Running,
    /// `shaders/count.wgsl`
    Count,
}

impl Kernel {
    /// All kernels.
    pub const ALL: [Self; 9] = [
        Self::Inference,
        Self::ForwardResident,
        Self::ForwardPartial,
        Self::ForwardApply,
        Self::BackwardResident,
        Self::BackwardPartial,
        Self::BackwardApply,
        Self::Running,
        Self::Count,
    ];

    /// Its name, which is its file's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::ForwardResident => "forward_resident",
            Self::ForwardPartial => "forward_partial",
            Self::ForwardApply => "forward_apply",
            Self::BackwardResident => "backward_resident",
            Self::BackwardPartial => "backward_partial",
            Self::BackwardApply => "backward_apply",
            Self::Running => "running",
            Self::Count => "count",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Inference => include_str!("../shaders/inference.wgsl"),
            Self::ForwardResident => include_str!("../shaders/forward_resident.wgsl"),
            Self::ForwardPartial => include_str!("../shaders/forward_partial.wgsl"),
            Self::ForwardApply => include_str!("../shaders/forward_apply.wgsl"),
            Self::BackwardResident => include_str!("../shaders/backward_resident.wgsl"),
            Self::BackwardPartial => include_str!("../shaders/backward_partial.wgsl"),
            Self::BackwardApply => include_str!("../shaders/backward_apply.wgsl"),
            Self::Running => include_str!("../shaders/running.wgsl"),
            Self::Count => include_str!("../shaders/count.wgsl"),
        }
    }

    /// Whether units stay in registers.
    pub const fn is_resident(self) -> bool {
        matches!(self, Self::ForwardResident | Self::BackwardResident)
    }

    /// The bytes of workgroup memory an invocation takes, for values of this many bytes:
    /// two a lane for sums, and a count besides for moments (`shared/sums.wgsl`, `shared/moments.wgsl`).
    pub const fn workgroup_bytes(self, value: u32) -> u32 {
        match self {
            Self::Inference | Self::Running | Self::Count => 0,
            Self::ForwardPartial | Self::ForwardApply => value.saturating_mul(2).saturating_add(4),
            Self::ForwardResident | Self::BackwardResident | Self::BackwardPartial | Self::BackwardApply => {
                value.saturating_mul(2)
            }
        }
    }
}

const SHARED: [(&str, &str); 12] = [
    ("affine", include_str!("../shaders/shared/affine.wgsl")),
    ("counter", include_str!("../shaders/shared/counter.wgsl")),
    ("element", include_str!("../shaders/shared/element.wgsl")),
    ("gradients", include_str!("../shaders/shared/gradients.wgsl")),
    ("moments", include_str!("../shaders/shared/moments.wgsl")),
    ("moved", include_str!("../shaders/shared/moved.wgsl")),
    ("normalize", include_str!("../shaders/shared/normalize.wgsl")),
    ("outcome", include_str!("../shaders/shared/outcome.wgsl")),
    ("pivot", include_str!("../shaders/shared/pivot.wgsl")),
    ("statistics", include_str!("../shaders/shared/statistics.wgsl")),
    ("sums", include_str!("../shaders/shared/sums.wgsl")),
    ("walk", include_str!("../shaders/shared/walk.wgsl")),
];

/// What a kernel file asks with `#if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Values move four at a time.
    Wide,
    /// The channel is the fastest axis.
    ChannelsLast,
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
    /// The backward pass goes through the running statistics.
    Frozen,
    /// dx is written.
    Dx,
    /// dγ is written.
    Dgamma,
    /// dβ is written.
    Dbeta,
    /// One buffer is both read and written: every binding is `read_write`, since a buffer has one
    /// usage a dispatch in WebGPU.
    OneBuffer,
}

impl Flag {
    const ALL: [(Self, &'static str); 13] = [
        (Self::Wide, "wide"),
        (Self::ChannelsLast, "channels_last"),
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
        (Self::OneBuffer, "one_buffer"),
    ];
}

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// The flags of this list whose condition holds.
    pub fn of(list: &[(Flag, bool)]) -> Self {
        list.iter().fold(Self::default(), |set, &(flag, on)| if on { set.with(flag) } else { set })
    }

    /// This set and one more.
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u16)
    }

    /// Whether the flag is in the set.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u16) != 0
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

/// Elements a lane loads at a time when streaming: with 16-byte loads 128 bytes in flight a lane.
pub const CHUNK: u32 = 8;

/// Chunks that are summed up before they join the lane's total. The square root of the 4,096 chunks
/// that would be a large lane, so that both levels round alike.
pub const BLOCK: u32 = 64;

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
}

impl Permutation {
    /// The bytes of workgroup memory it takes.
    pub const fn workgroup_bytes(&self) -> u32 {
        let value = if self.flags.has(Flag::Wide) { 16 } else { 4 };
        self.kernel.workgroup_bytes(value).saturating_mul(self.tile.invocations())
    }

    /// How many storage buffers it binds, which is how many [`slots`](Self::slots) there are besides the
    /// parameters; counted without assembling the text.
    pub fn storage_buffers(&self) -> u32 {
        let has = |flag| u32::from(self.flags.has(flag));
        // The running statistics are two buffers, the saved ones one.
        let statistics = 1 + has(Flag::Frozen);
        match self.kernel {
            // x, y and the running variance; the running mean but for the gradient.
            Kernel::Inference => 4 - has(Flag::Gradient) + has(Flag::Gamma) + has(Flag::Beta),
            // x, y and saved.
            Kernel::ForwardResident => {
                3 + has(Flag::Gamma) + has(Flag::Beta) + 2 * has(Flag::Running) + has(Flag::Counter)
            }
            // x and scratch.
            Kernel::ForwardPartial => 2 + has(Flag::Counter),
            // x, y, saved and scratch.
            Kernel::ForwardApply => 4 + has(Flag::Gamma) + has(Flag::Beta) + 2 * has(Flag::Running),
            // x and dy, and the gradients.
            Kernel::BackwardResident => 2 + statistics + has(Flag::Gamma) + self.gradients(),
            // x, dy and scratch, and dx if frozen.
            Kernel::BackwardPartial => 3 + statistics + has(Flag::Gamma) + self.gradients(),
            // saved, and the two that move.
            Kernel::Running => 3 + has(Flag::Counter) + has(Flag::Cumulative),
            Kernel::Count => 1,
            // scratch, and x and dy where dx is computed.
            Kernel::BackwardApply => 1 + statistics + has(Flag::Gamma) + 2 * has(Flag::Dx) + self.gradients(),
        }
    }

    fn gradients(&self) -> u32 {
        [Flag::Dx, Flag::Dgamma, Flag::Dbeta].into_iter().filter(|flag| self.flags.has(*flag)).count() as u32
    }

    /// The values that a lane keeps in registers: of x, and in the backward pass of dy too.
    pub const fn kept(&self) -> u32 {
        let width = if self.flags.has(Flag::Wide) { 4 } else { 1 };
        let tensors = if matches!(self.kernel, Kernel::BackwardResident) { 2 } else { 1 };
        self.items.saturating_mul(width * tensors)
    }

    /// The same for buffers that are read and written in one dispatch.
    pub const fn for_one_buffer(self) -> Self {
        Self { flags: self.flags.with(Flag::OneBuffer), ..self }
    }

    /// Its WGSL.
    pub fn wgsl(&self) -> String {
        let constants = [
            ("COLUMNS", self.tile.columns),
            ("LANES", self.tile.lanes),
            ("CHUNK", CHUNK),
            ("BLOCK", BLOCK),
            ("ITEMS", self.items),
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
        self.wgsl().lines().filter_map(Slot::parse).collect()
    }

    /// Every permutation that a recipe can ask for, in workgroups of this shape.
    pub fn all(tile: Tile) -> Vec<Self> {
        Kernel::ALL.into_iter().flat_map(|kernel| Self::of_kernel(kernel, tile)).collect()
    }

    fn of_kernel(kernel: Kernel, tile: Tile) -> Vec<Self> {
        use Flag::*;
        let affine: &[&[Flag]] = &[&[], &[Gamma], &[Beta], &[Gamma, Beta]];
        let running: &[&[Flag]] = &[&[], &[Running], &[Running, Counter]];
        let counter: &[&[Flag]] = &[&[], &[Counter]];
        let sums: &[&[Flag]] = &[&[], &[Dgamma], &[Dbeta], &[Dgamma, Dbeta]];
        let statistics: &[&[Flag]] = &[&[], &[Frozen]];
        // Without dx the kernels do not look at gamma, and some gradient must be wanted.
        let apply: &[&[Flag]] = &[&[], &[Frozen], &[Dx], &[Dx, Gamma]];
        let axes: Vec<&[&[Flag]]> = match kernel {
            Kernel::Inference => vec![&[&[], &[Gamma], &[Beta], &[Gamma, Beta], &[Gradient], &[Gradient, Gamma]]],
            Kernel::ForwardResident => vec![affine, running],
            Kernel::ForwardPartial => vec![counter],
            Kernel::ForwardApply => vec![affine, &[&[], &[Running]]],
            Kernel::BackwardResident => vec![&[&[], &[Dx], &[Dx, Gamma]], sums, statistics],
            Kernel::BackwardPartial => vec![&[&[], &[Frozen], &[Frozen, Dx], &[Frozen, Dx, Gamma]]],
            Kernel::BackwardApply => vec![apply, sums],
            Kernel::Running => vec![&[&[], &[Counter], &[Cumulative]]],
            Kernel::Count => vec![&[&[Counter]]],
        };
        let layout: &[&[Flag]] = &[&[], &[Wide], &[ChannelsLast], &[ChannelsLast, Wide]];
        let one_buffer: &[&[Flag]] = &[&[], &[OneBuffer]];
        let mut sets = vec![Flags::default()];
        for axis in axes.into_iter().chain([layout, one_buffer]) {
            sets = sets
                .iter()
                .flat_map(|set| axis.iter().map(|flags| flags.iter().fold(*set, |set, flag| set.with(*flag))))
                .collect();
        }
        let wants_something = |flags: &Flags| [Dx, Dgamma, Dbeta].into_iter().any(|flag| flags.has(flag));
        if matches!(kernel, Kernel::BackwardResident | Kernel::BackwardApply) {
            sets.retain(wants_something);
        }
        // What reads no buffer has no second form for one buffer.
        if kernel == Kernel::Count {
            sets.retain(|flags| !flags.has(OneBuffer));
        }
        let items: &[u32] = if kernel.is_resident() { &ITEMS } else { &[0] };
        sets.iter()
            .flat_map(|&flags| items.iter().map(move |&items| Self { kernel, flags, tile, items }))
            .filter(|permutation| permutation.kept() <= KEPT)
            .collect()
    }
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
            Some("#if") => {
                let name = words.next().unwrap_or_default();
                let flag = Flag::ALL.iter().find(|(_, known)| *known == name);
                kept.push(flag.is_some_and(|(flag, _)| flags.has(*flag)));
            }
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
                    assemble(text, flags, constants, out);
                }
            }
            Some("#unroll") => {
                let variable = format!("${}", words.next().unwrap_or_default());
                let count = words.next().and_then(|name| constants.iter().find(|(known, _)| *known == name));
                let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "#end").collect();
                for k in 0..if keeping { count.map_or(0, |(_, count)| *count) } else { 0 } {
                    for line in &body {
                        *out += &line.replace(&variable, &k.to_string());
                        out.push('\n');
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelt directive would quietly drop text.
    #[test]
    fn directives_name_what_exists() {
        let sources = Kernel::ALL.iter().map(|kernel| (kernel.name(), kernel.source())).chain(SHARED);
        for (file, source) in sources {
            let mut open = 0;
            for line in source.lines().filter(|line| line.starts_with('#')) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let known = match words[..] {
                    ["#if", flag] => Flag::ALL.iter().any(|(_, name)| *name == flag),
                    ["#import", name] => SHARED.iter().any(|(known, _)| *known == name),
                    ["#unroll", "k", count] => ["CHUNK", "ITEMS"].contains(&count),
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
        let run = |flags| {
            let mut out = String::new();
            assemble(source, flags, &[("N", 2)], &mut out);
            out
        };
        assert_eq!(run(Flags::default()), "narrow\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");
        assert_eq!(run(Flags::default().with(Flag::Wide)), "wide\nlet a_0 = 0u;\nlet a_1 = 1u;\nlast\n");
    }

    #[test]
    fn slots_are_read_from_the_declarations() {
        let tile = Tile { columns: 1, lanes: 8 };
        let flags = Flags::default().with(Flag::Gamma);
        let inference = Permutation { kernel: Kernel::Inference, flags, tile, items: 0 };
        let named: Vec<(String, Access)> = inference.slots().into_iter().map(|slot| (slot.name, slot.access)).collect();
        let expected = [
            ("params", Access::Uniform),
            ("gamma", Access::Read),
            ("x", Access::Read),
            ("y", Access::Write),
            ("running_mean", Access::Read),
            ("running_variance", Access::Read),
        ];
        assert_eq!(named, expected.map(|(name, access)| (name.to_owned(), access)));
        let shared = inference.for_one_buffer().slots();
        assert!(shared.iter().all(|slot| slot.access != Access::Read));
    }

    /// WebGPU promises eight storage buffers a stage.
    #[test]
    fn no_kernel_needs_more_than_eight_storage_buffers() {
        for permutation in Permutation::all(Tile { columns: 1, lanes: 8 }) {
            let storage = permutation.slots().iter().filter(|slot| slot.access != Access::Uniform).count();
            assert!(storage <= 8, "{permutation:?} has {storage}");
            assert_eq!(permutation.storage_buffers() as usize, storage, "{permutation:?}");
        }
    }
}
