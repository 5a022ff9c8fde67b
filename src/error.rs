//! What can go wrong, one enum a phase. Every message names what was wrong, what it was and what it
//! had to be.

/// A descriptor that cannot be planned on this device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Fewer than two axes.
    #[error("shape {shape:?} has {} axes; batch norm needs at least 2, batch and channel", shape.len())]
    Rank {
        /// The shape given.
        shape: Vec<usize>,
    },
    /// A channel axis of length 0. (An empty batch is none of an error's business.)
    #[error("axis {axis} of shape {shape:?}, the channels, is 0; it must be at least 1")]
    ZeroSize {
        /// The shape given.
        shape: Vec<usize>,
        /// The channel axis.
        axis: usize,
    },
    /// An axis, or all of them together, that is longer than this library counts.
    #[error("shape {shape:?} is too large: an axis ends at 2^31 - 1, a tensor at 2^40 values")]
    TooManyValues {
        /// The shape given.
        shape: Vec<usize>,
    },
    /// An option of the descriptor that makes no sense, alone or with the others.
    #[error("{option} cannot be had here: {because}")]
    Option {
        /// The method of [`Descriptor`](crate::Descriptor).
        option: &'static str,
        /// Why not.
        because: String,
    },
    /// A view that does not fit the shape, or that the kernels cannot follow.
    #[error("the view of {tensor} cannot be followed: {because}")]
    View {
        /// The tensor's name.
        tensor: &'static str,
        /// Why not.
        because: String,
    },
    /// ε that is negative or not finite, or in training 0, or so small that some adapters take it for 0.
    #[error(
        "epsilon is {epsilon}; it must be positive, finite and in training at least {}, which no adapter takes for 0 (PyTorch's default is 1e-5); where statistics are constants, as in inference, 0 will do",
        f32::MIN_POSITIVE
    )]
    Epsilon {
        /// The ε given.
        epsilon: f32,
    },
    /// A running-statistics weight outside 0 to 1.
    #[error("momentum gives the new batch a weight of {weight}; it must be from 0 to 1")]
    Momentum {
        /// The weight of the new value.
        weight: f64,
    },
    /// Training on one value a channel, whose variance says nothing.
    #[error(
        "shape {shape:?} has one value per channel; training needs at least 2 (use inference, a larger batch, or OneValue::HasNoVariance)"
    )]
    OneValue {
        /// The shape given.
        shape: Vec<usize>,
    },
    /// An update of running statistics where there are none.
    #[error("the descriptor has no running statistics to update; give it some with Descriptor::running")]
    NoRunning,
    /// A backward pass that computes nothing.
    #[error("no gradient is wanted; ask for at least one of dx, dgamma, dbeta")]
    NoGradient,
    /// The device's limits are too low.
    #[error(
        "{what} needs {needs}, but the device's {limit} is {has}; request a device with more, or {}",
        instead(limit)
    )]
    Limit {
        /// What needs it.
        what: &'static str,
        /// How much.
        needs: u64,
        /// The name of the limit in `wgpu::Limits`.
        limit: &'static str,
        /// What the device has.
        has: u64,
    },
    /// A number of bytes or of values that 64 bits do not hold.
    #[error("{what} takes more than a 64-bit number counts; give fewer channels, groups or steps")]
    Uncountable {
        /// What takes so much.
        what: &'static str,
    },
    /// [`Capabilities`](crate::recipe::Capabilities) that no device has.
    #[error("a device whose {capability} is {is} cannot be planned for; it must be {must}")]
    Capability {
        /// The field.
        capability: &'static str,
        /// Its value.
        is: u64,
        /// What it would have to be.
        must: &'static str,
    },
    /// A manual choice that this shape or device cannot follow.
    #[error("the choice of {choice} cannot be followed: {because}")]
    Choice {
        /// The field of [`Choice`](crate::Choice).
        choice: &'static str,
        /// Why not.
        because: String,
    },
    /// A layer of no channels.
    #[error("the layer is to have 0 channels; it needs at least 1")]
    NoChannels,
    /// The device has no room for a buffer of the library's own.
    #[error("the device gave no buffer of {bytes} bytes for {what}; it is lost or out of memory: {message}")]
    Buffer {
        /// What the buffer is for.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// What wgpu said.
        message: String,
    },
    /// The driver refused a kernel. A fault of this library or of the driver: please report it.
    #[error("kernel {kernel} was refused by {adapter}; please report this: {message}")]
    Pipeline {
        /// The kernel's name.
        kernel: String,
        /// The adapter's name and driver.
        adapter: String,
        /// What wgpu said.
        message: String,
    },
}

/// Buffers that do not fit a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The plan uses a buffer that was not given.
    #[error("{argument} is not given, and this plan needs it ({needs} bytes)")]
    Missing {
        /// The argument's name.
        argument: &'static str,
        /// The bytes it needs.
        needs: u64,
    },
    /// A buffer was given that the plan would not touch.
    #[error("{argument} is given, but this plan does not use it; leave it out, or plan with it")]
    Unused {
        /// The argument's name.
        argument: &'static str,
    },
    /// A binding of the wrong size.
    #[error("{argument} is {has} bytes; {what} needs {} {needs}", if *exactly { "exactly" } else { "at least" })]
    Size {
        /// The argument's name.
        argument: &'static str,
        /// The bytes bound (from the offset to the buffer's end where no size was given).
        has: u64,
        /// The bytes it must have.
        needs: u64,
        /// Whether it must have just that many, which is so where the binding states a size.
        exactly: bool,
        /// What it holds.
        what: String,
    },
    /// A binding that reaches beyond its buffer.
    #[error("{argument} ends at byte {end} of a buffer of {buffer} bytes")]
    Range {
        /// The argument's name.
        argument: &'static str,
        /// One past its last byte.
        end: u64,
        /// The buffer's size.
        buffer: u64,
    },
    /// An offset that the device cannot bind.
    #[error("{argument} starts at byte {offset}; it must be a multiple of {alignment}")]
    Offset {
        /// The argument's name.
        argument: &'static str,
        /// The offset given.
        offset: u64,
        /// The alignment needed.
        alignment: u64,
    },
    /// A buffer made without a usage that is needed.
    #[error("the buffer of {argument} was created with {has:?}; it needs {needs:?}")]
    Usage {
        /// The argument's name.
        argument: &'static str,
        /// Its usages.
        has: wgpu::BufferUsages,
        /// The usage it lacks.
        needs: wgpu::BufferUsages,
    },
    /// Two arguments share bytes, and one of them is written; or both are only read, but from a buffer that
    /// the same dispatch writes elsewhere, so that all of its bindings are writable ones.
    #[error("{first} and {second} overlap in one buffer, and one of them is written or bound as writable")]
    Overlap {
        /// One argument.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// wgpu refused the buffers for a reason that cannot be seen beforehand: one was destroyed or belongs to another
    /// device, or the device is lost.
    #[error("wgpu refuses these buffers: {message}")]
    Refused {
        /// What wgpu said.
        message: String,
    },
    /// The kernels for buffers that are read and written in one dispatch could not be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Any error of this library, for callers who pass them on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// See [`PlanError`].
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// See [`BindError`].
    #[error(transparent)]
    Bind(#[from] BindError),
    /// See [`GpuError`].
    #[cfg(feature = "gpu")]
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// See [`CacheError`](crate::CacheError).
    #[error(transparent)]
    Cache(#[from] crate::CacheError),
    /// See [`FoldError`](crate::fold::FoldError).
    #[error(transparent)]
    Fold(#[from] crate::fold::FoldError),
    /// See [`CheckpointError`](crate::checkpoint::CheckpointError).
    #[cfg(feature = "checkpoint")]
    #[error(transparent)]
    Checkpoint(#[from] crate::checkpoint::CheckpointError),
    /// See [`TuningsError`](crate::tuning::TuningsError).
    #[cfg(feature = "serde")]
    #[error(transparent)]
    Tunings(#[from] crate::tuning::TuningsError),
}

/// No device, or no answer from it.
#[cfg(feature = "gpu")]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// wgpu found no adapter at all.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        error(
            "no GPU adapter found; install a driver: the GPU's own, or the software one \
             (Debian, Ubuntu: apt install mesa-vulkan-drivers; Fedora: dnf install mesa-vulkan-drivers)"
        )
    )]
    #[cfg_attr(
        target_arch = "wasm32",
        error(
            "this page gets no WebGPU adapter; WebGPU needs a page from https or localhost, a browser that has it \
             switched on (Firefox: dom.webgpu.enabled in about:config), and a GPU that the browser trusts \
             (Chromium: chrome://gpu says why not)"
        )
    )]
    NoAdapter,
    /// No adapter of that name or number.
    #[error("no adapter matches {asked:?}; there are: {}", found.join("; "))]
    NoSuchAdapter {
        /// What was asked for.
        asked: String,
        /// The adapters there are.
        found: Vec<String>,
    },
    /// The adapter would not give a device.
    #[error("{adapter} gives no device: {message}")]
    NoDevice {
        /// The adapter.
        adapter: String,
        /// What wgpu said.
        message: String,
    },
    /// A buffer could not be made.
    #[error("{adapter} gave no buffer of {bytes} bytes; it is lost, out of memory or does not make such: {message}")]
    NoBuffer {
        /// The adapter.
        adapter: String,
        /// How many bytes.
        bytes: u64,
        /// What wgpu said.
        message: String,
    },
    /// A buffer could not be read back.
    #[error("reading back {bytes} bytes failed: {message}")]
    ReadBack {
        /// How many bytes.
        bytes: u64,
        /// What wgpu said.
        message: String,
    },
}

/// What helps where the device has no more.
fn instead(limit: &str) -> &'static str {
    match limit {
        "max_storage_buffers_per_shader_stage" => {
            "leave out options: inference, forward and backward of plain batch norm take 4"
        }
        _ => "split the batch",
    }
}
