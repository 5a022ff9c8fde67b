//! The numbers that a recipe chooses by, apart from the kernels, each with where it comes from.

#[cfg(feature = "serde")]
mod file;

#[cfg(feature = "serde")]
pub use file::{Tunings, TuningsError};

/// How the lanes of a workgroup share its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Order {
    /// Adjacent lanes take adjacent elements: loads of one moment coalesce.
    Interleaved,
    /// Each lane takes a block of its own: what a lane walks is contiguous.
    Blocked,
}

/// The sort of adapter, as far as kernels care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterKind {
    /// A GPU, discrete, integrated or virtual: many threads, loads that want to coalesce.
    Gpu,
    /// A software driver: few cores, SIMD over the lanes of a workgroup, barriers that cost.
    Cpu,
}

/// What a recipe chooses by. The program's `tune` looks for better numbers than the built-in ones on the adapters at
/// hand; with the feature `serde` a program reads those from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Tuning {
    /// How lanes share elements.
    pub order: Order,
    /// Invocations of a workgroup that streams (a power of two).
    pub lanes: u32,
    /// The fewest and the most invocations of a workgroup that keeps its units in registers (powers of
    /// two).
    pub resident: [u32; 2],
    /// The most elements that a lane keeps in registers.
    pub items: u32,
    /// Elements that a lane has at the least before another shares its unit, where there are units to put side by side
    /// instead.
    pub share: u32,
    /// The most units side by side in a workgroup, channels first and channels last (powers of two).
    pub columns: [u32; 2],
    /// Whether 16 bytes move as two 64-bit words, where the device has such; and whether, channels last, several rows
    /// of channels that 4 does not divide are walked as one.
    pub long: bool,
    /// Whether twice 16 bytes move at a time, where 16 do as 64-bit words and rows hold whole pairs; and whether,
    /// channels first, rows that are no whole 16 bytes are walked by all those that they touch.
    pub twin: bool,
    /// Loads of 16 bytes that an invocation has in flight when it streams: of neighbouring elements, and of the
    /// units that it walks along together.
    pub loads: u32,
    /// The most units that an invocation walks along together, channels last.
    pub across: u32,
    /// Workgroups that fill the adapter.
    pub workgroups: u32,
    /// Workgroups that are enough for a channel not to be split, so that it is read again from a cache.
    pub whole: u32,
    /// Bytes of a workgroup's units, of all tensors that are read, up to which it may go over them twice.
    pub slab: u32,
    /// Bytes of a cache that all workgroups share: what is larger is gone over in bands, so that a band's second pass
    /// finds there what the first has read, and all that came by meanwhile. 0 for never.
    pub cache: u32,
    /// What merging the record of a part costs, in elements gone over. A workgroup of a second dispatch merges those
    /// of all parts, so there are no more parts than make that cheaper than the part itself.
    pub merge: u32,
    /// Parts from which on a dispatch of its own merges them, instead of every workgroup of the last one.
    pub settle: u32,
    /// Bytes of x that stay in a cache whichever way they are walked: no unit then needs others across.
    pub near: u32,
    /// The most iterations of the streaming loop a lane may take. Mesa 22.3's software driver ends an
    /// invocation silently after 65,535 iterations of all its loops together.
    pub iterations: u32,
}

impl Tuning {
    /// For GPUs.
    pub const GPU: Self = Self {
        // Neighbouring lanes on neighbouring 16 bytes: full cache lines a load on every vendor.
        order: Order::Interleaved,
        // The most that WebGPU's default limits allow.
        lanes: 256,
        // From one subgroup of the widest common kind but one (32) to as many as above.
        resident: [32, 256],
        // As many as `shader::KEPT` allows.
        items: 32,
        // A quarter of what a resident lane may keep: lanes are many.
        share: 8,
        // Channels first, a row of one channel is what is contiguous. Channels last, 32 units of 16 bytes
        // are 512 contiguous bytes, four cache lines.
        columns: [1, 32],
        // 16 bytes are one load anyway.
        long: false,
        twin: false,
        // 128 bytes in flight a lane: 2,048 lanes a multiprocessor then have 256 KiB, several times what
        // bandwidth times latency asks for (5 TB/s times 600 ns over 132 multiprocessors are 23 KB).
        loads: 8,
        // 32 columns are whole cache lines already.
        across: 1,
        // 8 workgroups of 256 on each of the 132 multiprocessors of a large GPU of 2024 (H100, H200).
        workgroups: 1056,
        // Nearly one on each of those multiprocessors, with the 32 KiB in flight that it asks for: not measured yet.
        whole: 128,
        // Of 256 workgroups 33 MB are in flight, which the second cache of such a GPU (50 MB) holds: not measured
        // yet.
        slab: 128 << 10,
        // What the second caches of large GPUs have at the least (A100 40 MB, H100 50 MB, RTX 4090 72 MB). Forward a
        // third of it is a band, which then saves 13 MB from memory (13 us at 1 TB/s, 2.5 us at 5 TB/s) and costs a
        // dispatch (2 to 3 us); where the cache is smaller nothing is saved. Not measured yet.
        cache: 36 << 20,
        // Latency that other workgroups hide.
        merge: 0,
        // Merging 512 parts in each of 512 workgroups reads 12 MB from the second cache, about what a dispatch
        // takes: not measured yet.
        settle: 512,
        // Nothing goes across.
        near: 0,
        // A quarter of the cap, so that all loops of an invocation together stay under half of it.
        iterations: 16_384,
    };

    /// For software drivers.
    pub const CPU: Self = Self {
        // Measured on lavapipe, copying 16 MB: 10.6 GB/s against 7.0 in blocks (Mesa 22.3), 18 against 12
        // (Mesa 25.0).
        order: Order::Interleaved,
        // One group of 8 SIMD lanes, what lavapipe runs at a time with 256-bit vectors. 16, 32 and 64 lanes
        // copied at 0.53, 0.43 and 0.35 of the speed (Mesa 22.3), since such groups run one after the other.
        lanes: 8,
        // As many as above; one where lanes are not worth it (`share`).
        resident: [1, 8],
        // Each is a load and a store written out, of which 16 took LLVM 2 to 3 s (Mesa 25.0).
        items: 8,
        // What a unit costs besides its elements (its parameters and statistics, some 40 loads and stores) each
        // lane of it pays.
        share: 128,
        // Channels last, 8 units of 16 bytes are one SIMD group's.
        columns: [8, 8],
        // Lavapipe's loads and stores are loops over lanes and, in each, words: half as many words copied 1.28
        // times (Mesa 22.3) and 1.33 times (Mesa 25.0) as fast.
        long: true,
        // And a vector of four such words, of which each is a load to the driver but the loop is one, copied 1.40
        // times (Mesa 22.3) and 1.07 times (Mesa 25.0) as fast again.
        twin: true,
        // More make the code of a loop outgrow the processor's first caches: lavapipe's loads are loops.
        loads: 4,
        // Lavapipe of Mesa 22.3 walked a column of 256-byte to 4-KiB rows at a fourth of the speed of whole
        // rows; of rows of 2 KiB, 512 bytes at a time at half of it, 1,024 a little faster, and all at once as fast as
        // channels first. More take long to compile, and so does half as many where more is done with each value.
        // (With 18, 8 rows of 65 channels, 65 pairs of V, are one tile and take 0.7 of the time; but of 18 a kernel took
        // lavapipe 1.8 seconds to compile.)
        across: 16,
        // A few workgroups for each of the 2 to 16 cores that a machine with a software driver has.
        workgroups: 32,
        whole: 32,
        // What the first caches no longer hold the last one does, and a dispatch is saved.
        slab: u32::MAX,
        // Units that are gone over twice by one workgroup are bands already.
        cache: 0,
        // Three loads, and as much arithmetic as for as many elements again, four times cheaper than the part.
        merge: 24,
        // A dispatch takes 20 us, and the kernel that need not merge compiles in half the time.
        settle: 2,
        // With y or dy, and dx, of as many bytes: the second caches of today's processors hold 1 to 2 MiB a core.
        near: 1 << 19,
        // As above.
        iterations: 16_384,
    };

    /// The default for a sort of adapter.
    pub const fn of(kind: AdapterKind) -> Self {
        match kind {
            AdapterKind::Gpu => Self::GPU,
            AdapterKind::Cpu => Self::CPU,
        }
    }
}
