//! Which kernels there are.

/// A kernel: one file in `shaders/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// `shaders/inference.wgsl`
    Inference,
    /// `shaders/inference_settle.wgsl`
    InferenceSettle,
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
    pub const ALL: [Self; 21] = [
        Self::Inference,
        Self::InferenceSettle,
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
            Self::InferenceSettle => "inference_settle",
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

    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Inference => include_str!("../../shaders/inference.wgsl"),
            Self::InferenceSettle => include_str!("../../shaders/inference_settle.wgsl"),
            Self::ForwardResident => include_str!("../../shaders/forward_resident.wgsl"),
            Self::ForwardCached => include_str!("../../shaders/forward_cached.wgsl"),
            Self::ForwardPartial => include_str!("../../shaders/forward_partial.wgsl"),
            Self::ForwardSettle => include_str!("../../shaders/forward_settle.wgsl"),
            Self::ForwardApply => include_str!("../../shaders/forward_apply.wgsl"),
            Self::BackwardResident => include_str!("../../shaders/backward_resident.wgsl"),
            Self::BackwardCached => include_str!("../../shaders/backward_cached.wgsl"),
            Self::BackwardPartial => include_str!("../../shaders/backward_partial.wgsl"),
            Self::BackwardSettle => include_str!("../../shaders/backward_settle.wgsl"),
            Self::BackwardApply => include_str!("../../shaders/backward_apply.wgsl"),
            Self::Running => include_str!("../../shaders/running.wgsl"),
            Self::Count => include_str!("../../shaders/count.wgsl"),
            Self::Collapse => include_str!("../../shaders/collapse.wgsl"),
            Self::Gather => include_str!("../../shaders/gather.wgsl"),
            Self::Merge => include_str!("../../shaders/merge.wgsl"),
            Self::Finalize => include_str!("../../shaders/finalize.wgsl"),
            Self::GatherBackward => include_str!("../../shaders/gather_backward.wgsl"),
            Self::MergeBackward => include_str!("../../shaders/merge_backward.wgsl"),
            Self::FinalizeBackward => include_str!("../../shaders/finalize_backward.wgsl"),
        }
    }

    /// Whether an invocation owns a unit, or a channel, and goes over no tensor.
    pub const fn is_small(self) -> bool {
        use Kernel::*;
        matches!(
            self,
            InferenceSettle | Running | Count | Collapse | Merge | Finalize | MergeBackward | FinalizeBackward
        )
    }

    /// Whether lanes, or parts, merge their moments.
    pub const fn merges_moments(self) -> bool {
        use Kernel::*;
        matches!(self, ForwardResident | ForwardCached | ForwardPartial | ForwardSettle | ForwardApply | Gather)
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
