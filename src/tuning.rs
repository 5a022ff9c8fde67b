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
    /// The most invocations of a workgroup that keeps its units in registers (a power of two).
    pub resident_lanes: u32,
    /// The most units side by side in a workgroup, channels last (a power of two).
    pub columns: u32,
    /// Workgroups that fill the adapter.
    pub workgroups: u32,
    /// Fewer groups than this leave a GPU idle, so that a long unit is better split than kept.
    pub resident_groups: u32,
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
        resident_lanes: 256,
        // 32 units of 16 bytes are 512 contiguous bytes a row, four cache lines.
        columns: 32,
        // 8 workgroups of 256 on each of the 132 multiprocessors of a large GPU of 2024 (H100, H200).
        workgroups: 1056,
        // A quarter of those multiprocessors. Planned, not measured.
        resident_groups: 32,
        // A quarter of the cap, so that all loops of an invocation together stay under half of it.
        iterations: 16_384,
    };

    /// For software drivers.
    pub const CPU: Self = Self {
        // Measured on lavapipe (Mesa 22.3): 8 lanes in blocks were 4 to 6 times faster than 64 interleaved.
        order: Order::Blocked,
        // One group of 8 SIMD lanes, what lavapipe runs at a time with 256-bit vectors.
        lanes: 8,
        resident_lanes: 8,
        // Whole rows up to 256 channels: a column-wise walk misses the cache.
        columns: 64,
        // A few workgroups for each of the 2 to 16 cores that a machine with a software driver has.
        workgroups: 32,
        // Two cores.
        resident_groups: 2,
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
