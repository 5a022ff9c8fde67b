//! The numbers that a recipe chooses by, apart from the kernels, each with where it comes from.

/// How the lanes of a workgroup share its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What a recipe chooses by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How lanes share elements.
    pub order: Order,
    /// Invocations of a workgroup that streams (a power of two).
    pub lanes: u32,
    /// The fewest and the most invocations of a workgroup that keeps its units in registers (powers of
    /// two).
    pub resident: [u32; 2],
    /// The most units side by side in a workgroup, channels first and channels last (powers of two).
    pub columns: [u32; 2],
    /// Workgroups that fill the adapter.
    pub workgroups: u32,
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
        // Channels first, a row of one channel is what is contiguous. Channels last, 32 units of 16 bytes
        // are 512 contiguous bytes, four cache lines.
        columns: [1, 32],
        // 8 workgroups of 256 on each of the 132 multiprocessors of a large GPU of 2024 (H100, H200).
        workgroups: 1056,
        // A quarter of the cap, so that all loops of an invocation together stay under half of it.
        iterations: 16_384,
    };

    /// For software drivers.
    pub const CPU: Self = Self {
        // Measured on lavapipe (Mesa 22.3): 8 lanes in blocks were 4 to 6 times faster than 64 interleaved.
        order: Order::Blocked,
        // One group of 8 SIMD lanes, what lavapipe runs at a time with 256-bit vectors.
        lanes: 8,
        resident: [1, 8],
        // Each invocation a unit of its own where there are enough: nothing to merge, so no barrier, for
        // which lavapipe would make every invocation a coroutine: training forward of 4×2048×7×7 and
        // 2×512×4×4 took 0.36 and 0.41 of the time of one column. Channels last, of 8, 16, 32 and 64 the
        // best on 32×14×14×256, and within 1.2 of the best on N×C (lavapipe 22.3, medians of 11 in one run).
        columns: [8, 16],
        // A few workgroups for each of the 2 to 16 cores that a machine with a software driver has.
        workgroups: 32,
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
