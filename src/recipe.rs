//! How a batch norm is computed: which kernels, in workgroups of which shape, how many. Pure data,
//! made from a descriptor and the adapter's capabilities, without a GPU.

use std::fmt;
use std::ops::Range;

use crate::argument::Argument;
use crate::descriptor::{Descriptor, Gradients, Kept};
use crate::error::PlanError;
use crate::planner::Planner;
use crate::shader::{BLOCK, FIRST, Flag, Kernel, Permutation, Tile};
use crate::sizes::Sizes;
use crate::tuning::{AdapterKind, Order, Tuning};

/// What a recipe must know of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// GPU or software driver.
    pub kind: AdapterKind,
    /// `max_compute_invocations_per_workgroup`, and no more than `max_compute_workgroup_size_x`.
    pub invocations: u32,
    /// `max_compute_workgroup_storage_size`, bytes.
    pub workgroup_bytes: u32,
    /// `max_compute_workgroups_per_dimension`.
    pub workgroups: u32,
    /// `max_storage_buffer_binding_size`, bytes, and no more than `max_buffer_size`.
    pub binding_bytes: u64,
    /// `max_storage_buffers_per_shader_stage`.
    pub storage_buffers: u32,
    /// Whether kernels may have 64-bit integers: `Features::SHADER_INT64`.
    pub int64: bool,
    /// What the offsets of bindings must be multiples of: `min_storage_buffer_offset_alignment`, and at least the
    /// bytes that kernels read at a time: 16, or 32 with 64-bit integers.
    pub alignment: u64,
}

impl Capabilities {
    /// What WebGPU promises on every device.
    pub const fn webgpu_default(kind: AdapterKind) -> Self {
        Self {
            kind,
            invocations: 256,
            workgroup_bytes: 16_384,
            workgroups: 65_535,
            binding_bytes: 128 << 20,
            storage_buffers: 8,
            int64: false,
            alignment: 256,
        }
    }

    /// Refuses what would have no meaning; where there is too little of something, what needs it says so.
    fn check(&self) -> Result<(), PlanError> {
        let (least, must) = match self.int64 {
            true => (32, "a power of two, and at least 32 with 64-bit integers"),
            false => (16, "a power of two, and at least 16"),
        };
        if !self.alignment.is_power_of_two() || self.alignment < least {
            return Err(PlanError::Capability { capability: "alignment", is: self.alignment, must });
        }
        Ok(())
    }
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// y from the running statistics.
    Inference,
    /// y and the batch's statistics.
    Forward,
    /// Gradients through the batch's statistics.
    Backward(Gradients),
    /// Gradients through the running statistics.
    FrozenBackward(Gradients),
    /// The running statistics, moved by what a forward pass saved.
    UpdateRunning,
    /// The batch's statistics as values.
    Gather,
    /// Statistics of so many parts merged.
    Merge(u32),
    /// What a training forward leaves, from statistics that are values.
    Finalize,
    /// y from what has been saved.
    Normalize,
    /// The sums of the backward pass as values.
    GatherBackward,
    /// Sums of so many parts added up.
    MergeBackward(u32),
    /// dγ, dβ and what dx needs, from sums that are values.
    FinalizeBackward,
    /// dx from sums that are values.
    ApplyBackward,
}

impl Operation {
    /// Whether it is one step of a training pass whose statistics, or sums, are values.
    pub const fn is_a_step(self) -> bool {
        use Operation::*;
        matches!(
            self,
            Gather
                | Merge(_)
                | Finalize
                | Normalize
                | GatherBackward
                | MergeBackward(_)
                | FinalizeBackward
                | ApplyBackward
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, gradients) = match self {
            Self::Inference => ("inference", None),
            Self::Forward => ("training forward", None),
            Self::Backward(gradients) => ("training backward", Some(gradients)),
            Self::FrozenBackward(gradients) => ("frozen backward", Some(gradients)),
            Self::UpdateRunning => ("running update", None),
            Self::Gather => ("statistics as values", None),
            Self::Merge(_) => ("statistics merged", None),
            Self::Finalize => ("statistics made final", None),
            Self::Normalize => ("normalisation by saved statistics", None),
            Self::GatherBackward => ("backward sums as values", None),
            Self::MergeBackward(_) => ("backward sums merged", None),
            Self::FinalizeBackward => ("backward sums made final", None),
            Self::ApplyBackward => ("dx by backward sums", None),
        };
        f.write_str(name)?;
        if let Some(gradients) = gradients {
            let wanted = [(gradients.dx, "dx"), (gradients.dgamma, "dγ"), (gradients.dbeta, "dβ")];
            let names: Vec<&str> = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect();
            write!(f, " ({})", names.join(", "))?;
        }
        Ok(())
    }
}

/// The way through memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Regime {
    /// One dispatch, each value read once: a workgroup keeps its units in registers.
    Resident,
    /// One dispatch, each value read twice: a workgroup goes over its units again while a cache holds them.
    Cached,
    /// Two dispatches or three: partial results of every part, then merged and applied.
    Split,
    /// One dispatch that needs no statistics of the batch.
    Elementwise,
}

impl fmt::Display for Regime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resident => "resident",
            Self::Cached => "cached",
            Self::Split => "split",
            Self::Elementwise => "elementwise",
        })
    }
}

/// What to choose by hand instead of by rule, so that each kernel family can be run on any adapter.
/// A field left `None` is chosen by rule; a choice that cannot be followed is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Resident, cached or split, where the operation knows them; ignored where it is elementwise.
    pub regime: Option<Regime>,
    /// Accesses of four values and more, which the fastest axis has to be whole of, or single values.
    pub wide: Option<bool>,
    /// The shape of a workgroup.
    pub tile: Option<Tile>,
    /// How lanes share elements.
    pub order: Option<Order>,
    /// How many parts a unit is split in (at the most: parts are made equal).
    pub parts: Option<u32>,
}

/// One dispatch of a recipe. An engine that compiles and launches kernels by itself needs no more than this: the
/// WGSL and slots of [`permutation`](Self::permutation), [`argument`](Self::argument) for each slot, and
/// [`params`](Self::params).
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// Which kernel, in which form.
    pub permutation: Permutation,
    /// Workgroups in x and y.
    pub grid: [u32; 2],
    /// What its slots are bound to, where that is not the whole argument of the slot's name.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) params: Params,
}

impl Dispatch {
    /// The contents of the kernel's uniform `params`.
    pub fn params(&self) -> &[u8] {
        bytemuck::bytes_of(&self.params)
    }

    /// What is bound to a slot of the kernel: an argument, and which bytes of it, `None` for all. The uniform takes
    /// none.
    pub fn argument(&self, slot: &str) -> Option<(Argument, Option<Range<u64>>)> {
        match self.pieces.iter().find(|piece| piece.slot == slot) {
            Some(piece) => Some((piece.argument, Some(piece.offset..piece.offset + piece.bytes))),
            None => Some((Argument::named(slot)?, None)),
        }
    }
}

/// A part of an argument that is bound to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub slot: &'static str,
    pub argument: Argument,
    pub offset: u64,
    pub bytes: u64,
}

/// The one list of the uniform's fields.
macro_rules! uniform {
    ($($field:ident: $type:ty,)*) => {
        /// The uniform of `shaders/shared/walk.wgsl`, field by field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct Params {
            $(pub $field: $type,)*
        }

        #[cfg(test)]
        impl Params {
            /// The fields, and where each begins.
            const FIELDS: &[(&str, usize)] = &[$((stringify!($field), std::mem::offset_of!(Params, $field)),)*];
        }
    };
}

uniform! {
    units: u32,
    first_unit: u32,
    end_unit: u32,
    tiles: u32,
    length: u32,
    last_length: u32,
    inner: u32,
    row_stride: u32,
    unit_stride: u32,
    group_stride: u32,
    base: u32,
    parts: u32,
    part_length: u32,
    first_part: u32,
    all_parts: u32,
    lane_stride: u32,
    lane_length: u32,
    step: u32,
    step_address: u32,
    step_column: u32,
    channel_divisor: u32,
    channel_modulus: u32,
    group_divisor: u32,
    group_modulus: u32,
    kept_steps: u32,
    batches: u32,
    position_base: u32,
    position_step: u32,
    position_group: u32,
    mask_shift: u32,
    mask_bits: u32,
    mask_field: u32,
    along: u32,
    after: u32,
    per_sample: u32,
    signs_base: u32,
    unbiased: u32,
    moves_by_none: u32,
    values: f32,
    epsilon: f32,
    keep: f32,
    momentum: f32,
    low: f32,
    high: f32,
    r_max: f32,
    d_max: f32,
    rest: [u32; 2],
    offsets: [[u32; 4]; 2],
    dims: [[u32; 4]; 12],
}

// A uniform's arrays start at multiples of 16 bytes.
const _: () = assert!(std::mem::offset_of!(Params, offsets) % 16 == 0 && size_of::<Params>() == 416);

/// How a batch norm is computed. Prints as a description.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// What is computed.
    pub operation: Operation,
    /// The way through memory.
    pub regime: Regime,
    /// Whether the channel is the fastest axis as the kernels see it (N×C is; one channel is not).
    pub channels_last: bool,
    /// Whether values move four at a time.
    pub wide: bool,
    /// The shape of a workgroup.
    pub tile: Tile,
    /// How lanes share elements.
    pub order: Order,
    /// Parts of a unit.
    pub parts: u32,
    /// Bands of units, of which a cache holds each from the first pass to the second: 1 where all are gone over once
    /// before any is again.
    pub bands: u32,
    /// What is recorded, in order.
    pub dispatches: Vec<Dispatch>,
    /// Bytes of scratch that the caller lends, 0 for none.
    pub scratch_bytes: u64,
    /// Bytes of the statistics that a training forward leaves: mean, inverse standard deviation, variance and
    /// count of every channel (of every group or step). 0 for other operations.
    pub saved_bytes: u64,
    /// What a forward pass has to leave to the backward pass besides, and the backward pass takes.
    pub kept: Kept,
    /// Bytes of the bits that a training forward keeps of its activation and a backward reads, 0 for none:
    /// [`Kept::Signs`].
    pub signs_bytes: u64,
    /// Bytes that the dispatches read from memory: tensors once a dispatch that reads them, but bands, per-channel
    /// values and scratch once in all, since what reads them again finds them in the cache.
    pub bytes_read: u64,
    /// Bytes that they write.
    pub bytes_written: u64,
    pub(crate) sizes: Sizes,
}

impl Recipe {
    /// The recipe for an operation on a device of these capabilities.
    ///
    /// # Errors
    /// [`PlanError`] where the descriptor makes no sense, the device's limits are too low, or `choice`
    /// cannot be followed.
    pub fn new(
        descriptor: &Descriptor,
        operation: Operation,
        capabilities: &Capabilities,
        tuning: &Tuning,
        choice: &Choice,
    ) -> Result<Self, PlanError> {
        capabilities.check()?;
        let extent = descriptor.extent()?;
        let by_constants =
            matches!(operation, Operation::Inference | Operation::FrozenBackward(_) | Operation::Normalize);
        if !by_constants {
            descriptor.check_epsilon()?;
        }
        match operation {
            Operation::Forward => {
                descriptor.check_training()?;
                descriptor.check_running()?;
            }
            Operation::Backward(gradients) | Operation::FrozenBackward(gradients) => {
                if gradients == (Gradients { dx: false, dgamma: false, dbeta: false }) {
                    return Err(PlanError::NoGradient);
                }
                if matches!(operation, Operation::Backward(_)) {
                    descriptor.check_training()?;
                }
            }
            Operation::UpdateRunning => {
                descriptor.check_running()?;
                descriptor.running.ok_or(PlanError::NoRunning)?;
            }
            Operation::Finalize => descriptor.check_running()?,
            _ => {}
        }
        if operation.is_a_step() {
            descriptor.check_steps()?;
        }
        let sizes = Sizes::of(descriptor, operation)?;
        let planner = Planner { descriptor, operation, extent, sizes: &sizes, capabilities, tuning, choice };
        planner.recipe()
    }

    /// Bytes of an argument, from the start of its binding: whole words.
    pub fn argument_bytes(&self, argument: Argument) -> u64 {
        match argument {
            Argument::Scratch => self.scratch_bytes,
            argument => self.sizes.bytes(argument),
        }
    }

    /// The most loop iterations that one invocation makes in a dispatch, all its loops together. Some
    /// drivers end an invocation silently after 65,535.
    pub fn iterations(&self, dispatch: &Dispatch) -> u64 {
        let Params { length, part_length, lane_length, step, all_parts, group_modulus, .. } = dispatch.params;
        let lanes = u64::from(self.tile.lanes);
        let meeting = dispatch.permutation.meeting();
        let chunk = u64::from(dispatch.permutation.chunk);
        let [settled, banded] = [Flag::Settled, Flag::Banded].map(|flag| dispatch.permutation.flags.has(flag));
        let copies = u64::from(dispatch.params.copies(&dispatch.permutation));
        // Of several copies, a loop over them for each part.
        let of_part = if copies > 1 { copies + 2 } else { 1 };
        let given = dispatch.permutation.flags.has(Flag::Given);
        let merging =
            if settled || given { 0 } else { u64::from(all_parts).div_ceil(lanes) * of_part + 1 + meeting + copies };
        let (elements, units) = (u64::from(dispatch.permutation.elements()), u64::from(dispatch.permutation.units()));
        // (An empty batch has no step.)
        let owned = u64::from(lane_length.min(part_length.min(length).div_ceil(step.max(1))));
        let chunks = owned / chunk;
        // Chunks, the rest one by one, and each loop's last test.
        let streaming = chunks + chunk + 2;
        let blocked = streaming + 3 * chunks.div_ceil(u64::from(BLOCK)) + 3;
        // The first blocks of a forward pass are short ones, two of a length, each with a rest.
        let alike = ![Flag::Masked, Flag::Ragged].iter().any(|flag| dispatch.permutation.flags.has(*flag));
        let first = if alike { u64::from(FIRST) / elements } else { 1 };
        let shorter = std::iter::successors(Some(first), |short| Some(2 * short))
            .take_while(|short| *short < u64::from(BLOCK) * chunk);
        let growing = blocked + 2 * shorter.map(|short| 3 + short % chunk).sum::<u64>();
        // A block once more for every value of every unit that is too large in it; and the way to the first values
        // that count, which but for a chunk and eight runs is on the way anyhow.
        let values = units * if dispatch.permutation.flags.has(Flag::Wide) { 4 } else { 1 };
        let growing = growing + values * (u64::from(BLOCK) + chunk + 3) + chunk + 8 + 3;
        let grouped = if dispatch.permutation.flags.has(Flag::Grouped) { u64::from(group_modulus) + 1 } else { 0 };
        match dispatch.permutation.kernel {
            Kernel::Inference => streaming,
            Kernel::InferenceSettle => copies + 1,
            Kernel::Count | Kernel::Finalize | Kernel::FinalizeBackward => 0,
            // Each step is another invocation's.
            Kernel::Running if dispatch.permutation.flags.has(Flag::Stepped) => 0,
            Kernel::Running => grouped,
            Kernel::Collapse => u64::from(group_modulus) + 1,
            Kernel::Merge | Kernel::MergeBackward => u64::from(all_parts) + 1,
            Kernel::ForwardResident => meeting + 3,
            Kernel::BackwardResident => 2 * meeting,
            // The units of an invocation meet one after the other.
            Kernel::ForwardPartial => growing + units * meeting,
            Kernel::ForwardCached => growing + units * meeting + streaming,
            Kernel::BackwardPartial => blocked + units * meeting,
            Kernel::BackwardCached => blocked + units * meeting + streaming,
            Kernel::ForwardSettle | Kernel::BackwardSettle | Kernel::Gather | Kernel::GatherBackward => merging,
            // An invocation goes over one band or the other.
            Kernel::ForwardApply if banded => (units * merging + streaming).max(growing + units * meeting),
            Kernel::BackwardApply if banded => (units * merging + streaming).max(blocked + units * meeting),
            Kernel::ForwardApply | Kernel::BackwardApply => units * merging + streaming,
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, regime, tile, parts, bands, .. } = self;
        let layout = if self.channels_last { "channels last" } else { "channels first" };
        let bytes = self.dispatches.first().map_or(4, |dispatch| dispatch.permutation.bytes());
        writeln!(f, "{operation}: {regime}, {layout}, {bytes}-byte accesses, workgroups of {tile}, {parts} part(s)")?;
        if *bands > 1 {
            writeln!(f, "  in {bands} bands, each over again while a cache holds it")?;
        }
        for Dispatch { permutation, grid: [x, y], .. } in &self.dispatches {
            let items =
                if permutation.items > 0 { format!(", {} in registers", permutation.items) } else { String::new() };
            writeln!(f, "  {} × {x}×{y} workgroups{items}", permutation.kernel.name())?;
        }
        let Self { bytes_read, bytes_written, scratch_bytes, saved_bytes, .. } = self;
        write!(f, "  reads {bytes_read} B, writes {bytes_written} B, scratch {scratch_bytes} B, saved {saved_bytes} B")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Layout;

    /// Name by name and offset by offset; `rest` is the room before the arrays, which WGSL leaves by itself.
    #[test]
    fn the_uniform_is_what_kernels_declare() {
        let descriptor = Descriptor::new([2, 3, 4], Layout::ChannelsFirst);
        let capabilities = Capabilities::webgpu_default(AdapterKind::Gpu);
        let recipe =
            Recipe::new(&descriptor, Operation::Inference, &capabilities, &Tuning::GPU, &Choice::default()).unwrap();
        let module = naga::front::wgsl::parse_str(&recipe.dispatches[0].permutation.wgsl()).unwrap();
        let declared = module.types.iter().find(|(_, declared)| declared.name.as_deref() == Some("Params")).unwrap().1;
        let naga::TypeInner::Struct { members, span } = &declared.inner else { panic!("a struct") };
        let theirs = members.iter().map(|member| (member.name.as_deref().unwrap(), member.offset as usize));
        let ours = Params::FIELDS.iter().copied().filter(|(name, _)| *name != "rest");
        assert_eq!(theirs.collect::<Vec<_>>(), ours.collect::<Vec<_>>());
        assert_eq!(*span as usize, size_of::<Params>());
    }
}
