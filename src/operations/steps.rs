//! The steps of a training pass whose statistics are values of the caller's: see "Statistics as values" of the crate.

use wgpu::BufferBinding;

use super::{Extras, RunningBindings, derefs_to_plan};
use crate::descriptor::Tensor;
use crate::error::BindError;
use crate::plan::{Bound, Plan};
use crate::shader::Access::{Read, Write};

/// Buffers for [`Gather`].
#[derive(Clone, Debug)]
pub struct GatherBindings<'a> {
    /// Input, of the descriptor's shape.
    pub x: BufferBinding<'a>,
    /// Where the statistics go: 3 C values f32.
    pub statistics: BufferBinding<'a>,
    /// [`Plan::scratch_bytes`] of anything.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`Merge`].
#[derive(Clone, Debug)]
pub struct MergeBindings<'a> {
    /// The statistics of all parts, one after the other: 3 C values f32 each.
    pub many: BufferBinding<'a>,
    /// Where the merged ones go: 3 C values f32.
    pub statistics: BufferBinding<'a>,
}

/// Buffers for [`Finalize`].
#[derive(Clone, Debug)]
pub struct FinalizeBindings<'a> {
    /// 3 C values f32.
    pub statistics: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// β, if the descriptor has one: C values.
    pub beta: Option<BufferBinding<'a>>,
    /// The running statistics to move, if the descriptor has them.
    pub running: Option<RunningBindings<'a>>,
    /// The batch counter, one `u32`, if the descriptor's running statistics have it.
    pub counter: Option<BufferBinding<'a>>,
    /// Where to leave what a forward pass saves: [`Plan::saved_bytes`].
    pub saved: BufferBinding<'a>,
    /// Where scale and shift go, C values f32 each, for a kernel that computes y = x · scale + shift.
    pub scale_and_shift: BufferBinding<'a>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`Normalize`].
#[derive(Clone, Debug)]
pub struct NormalizeBindings<'a> {
    /// Input, of the descriptor's shape.
    pub x: BufferBinding<'a>,
    /// Output, of the same shape; x itself to write over it.
    pub y: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// β, if the descriptor has one: C values.
    pub beta: Option<BufferBinding<'a>>,
    /// What [`Finalize`], or a forward pass, has left.
    pub saved: BufferBinding<'a>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`GatherBackward`].
#[derive(Clone, Debug)]
pub struct GatherBackwardBindings<'a> {
    /// The forward pass's input.
    pub x: BufferBinding<'a>,
    /// The gradient of y.
    pub dy: BufferBinding<'a>,
    /// γ, where an activation is computed again. Otherwise it is not looked at.
    pub gamma: Option<BufferBinding<'a>>,
    /// What [`Finalize`] has left.
    pub saved: BufferBinding<'a>,
    /// Where the sums go: 2 C values f32.
    pub sums: BufferBinding<'a>,
    /// [`Plan::scratch_bytes`] of anything.
    pub scratch: Option<BufferBinding<'a>>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// Buffers for [`MergeBackward`].
#[derive(Clone, Debug)]
pub struct MergeBackwardBindings<'a> {
    /// The sums of all parts, one after the other: 2 C values f32 each.
    pub many: BufferBinding<'a>,
    /// Where their sums go: 2 C values f32.
    pub sums: BufferBinding<'a>,
}

/// Buffers for [`FinalizeBackward`].
#[derive(Clone, Debug)]
pub struct FinalizeBackwardBindings<'a> {
    /// 2 C values f32.
    pub sums: BufferBinding<'a>,
    /// What [`Finalize`] has left.
    pub saved: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// Where dγ goes: C values.
    pub dgamma: BufferBinding<'a>,
    /// Where dβ goes: C values.
    pub dbeta: BufferBinding<'a>,
    /// Where a, b and c go, C values f32 each, for a kernel that computes dx = a · dy + b · x + c.
    pub coefficients: BufferBinding<'a>,
}

/// Buffers for [`ApplyBackward`].
#[derive(Clone, Debug)]
pub struct ApplyBackwardBindings<'a> {
    /// The forward pass's input.
    pub x: BufferBinding<'a>,
    /// The gradient of y.
    pub dy: BufferBinding<'a>,
    /// γ, if the descriptor has one: C values.
    pub gamma: Option<BufferBinding<'a>>,
    /// What [`Finalize`] has left.
    pub saved: BufferBinding<'a>,
    /// The sums over all parts: 2 C values f32.
    pub sums: BufferBinding<'a>,
    /// Where dx goes; dy itself to write over it.
    pub dx: BufferBinding<'a>,
    /// What comes with options.
    pub extras: Extras<'a>,
}

/// The plan of [`Kernels::gather`](crate::Kernels::gather).
#[derive(Debug)]
pub struct Gather(pub(crate) Plan);

/// The plan of [`Kernels::merge`](crate::Kernels::merge).
#[derive(Debug)]
pub struct Merge(pub(crate) Plan);

/// The plan of [`Kernels::finalize`](crate::Kernels::finalize).
#[derive(Debug)]
pub struct Finalize(pub(crate) Plan);

/// The plan of [`Kernels::normalize`](crate::Kernels::normalize).
#[derive(Debug)]
pub struct Normalize(pub(crate) Plan);

/// The plan of [`Kernels::gather_backward`](crate::Kernels::gather_backward).
#[derive(Debug)]
pub struct GatherBackward(pub(crate) Plan);

/// The plan of [`Kernels::merge_backward`](crate::Kernels::merge_backward).
#[derive(Debug)]
pub struct MergeBackward(pub(crate) Plan);

/// The plan of [`Kernels::finalize_backward`](crate::Kernels::finalize_backward).
#[derive(Debug)]
pub struct FinalizeBackward(pub(crate) Plan);

/// The plan of [`Kernels::apply_backward`](crate::Kernels::apply_backward).
#[derive(Debug)]
pub struct ApplyBackward(pub(crate) Plan);

impl Gather {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Inference::bind`](crate::Inference::bind); here and below.
    pub fn bind(&self, to: &GatherBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.tensor(Tensor::X, Some(&to.x), Read),
            self.0.planes("statistics", &to.statistics, Write),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

impl Merge {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &MergeBindings<'_>) -> Result<Bound, BindError> {
        let many = self.0.planes("many", &to.many, Read);
        self.0.bind(&[many, self.0.planes("statistics", &to.statistics, Write)])
    }
}

impl Finalize {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &FinalizeBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.planes("statistics", &to.statistics, Read),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.parameter("beta", to.beta.as_ref(), Read),
            self.0.counter(to.counter.as_ref()),
            self.0.saved(&to.saved, Write),
            self.0.planes("scale_and_shift", &to.scale_and_shift, Write),
        ];
        arguments.extend(self.0.running(to.running.as_ref(), Write));
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

impl Normalize {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &NormalizeBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.tensor(Tensor::X, Some(&to.x), Read),
            self.0.tensor(Tensor::Y, Some(&to.y), Write),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.parameter("beta", to.beta.as_ref(), Read),
            self.0.saved(&to.saved, Read),
        ];
        arguments.extend(self.0.extras(&to.extras, Write));
        self.0.bind(&arguments)
    }
}

impl GatherBackward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &GatherBackwardBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.x_or_y(Some(&to.x)),
            self.0.tensor(Tensor::Dy, Some(&to.dy), Read),
            self.0.optional_parameter("gamma", to.gamma.as_ref()),
            self.0.optional_parameter("beta", to.extras.beta.as_ref()),
            self.0.saved(&to.saved, Read),
            self.0.planes("sums", &to.sums, Write),
            self.0.scratch(to.scratch.as_ref()),
        ];
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

impl MergeBackward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &MergeBackwardBindings<'_>) -> Result<Bound, BindError> {
        let many = self.0.planes("many", &to.many, Read);
        self.0.bind(&[many, self.0.planes("sums", &to.sums, Write)])
    }
}

impl FinalizeBackward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &FinalizeBackwardBindings<'_>) -> Result<Bound, BindError> {
        self.0.bind(&[
            self.0.planes("sums", &to.sums, Read),
            self.0.saved(&to.saved, Read),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.parameter("dgamma", Some(&to.dgamma), Write),
            self.0.parameter("dbeta", Some(&to.dbeta), Write),
            self.0.planes("coefficients", &to.coefficients, Write),
        ])
    }
}

impl ApplyBackward {
    /// Binds buffers.
    ///
    /// # Errors
    /// As [`Gather::bind`].
    pub fn bind(&self, to: &ApplyBackwardBindings<'_>) -> Result<Bound, BindError> {
        let mut arguments = vec![
            self.0.x_or_y(Some(&to.x)),
            self.0.tensor(Tensor::Dy, Some(&to.dy), Read),
            self.0.parameter("gamma", to.gamma.as_ref(), Read),
            self.0.optional_parameter("beta", to.extras.beta.as_ref()),
            self.0.saved(&to.saved, Read),
            self.0.planes("sums", &to.sums, Read),
            self.0.tensor(Tensor::Dx, Some(&to.dx), Write),
        ];
        arguments.extend(self.0.extras(&to.extras, Read));
        self.0.bind(&arguments)
    }
}

derefs_to_plan!(Gather, Merge, Finalize, Normalize, GatherBackward, MergeBackward, FinalizeBackward, ApplyBackward);
