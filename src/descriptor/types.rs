//! What values are in memory.

/// The type of values in memory. Arithmetic is in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE 754 binary32, 4 bytes.
    #[default]
    F32,
    /// IEEE 754 binary16, 2 bytes. Beyond 65,504 it rounds to infinity.
    F16,
    /// The upper half of an f32, 2 bytes.
    Bf16,
}

impl Float {
    /// Bytes of one value.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The square root of its rounding, 2⁻²⁴, 2⁻¹¹ or 2⁻⁸: a γ of no more than so much of β loses x beside it
    /// ([`Descriptor::backward_from_y`](crate::Descriptor::backward_from_y)). Kernels have it as `LEAST_SCALE`.
    pub(crate) const fn least_scale(self) -> f32 {
        match self {
            Self::F32 => 1.0 / 4096.0,
            Self::F16 => 0.022097087,
            Self::Bf16 => 1.0 / 16.0,
        }
    }
}

/// The types of all tensors. What is stored in 16 bits is rounded to the nearest, ties to even.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Types {
    /// Of x, y, dy, dx, the residual and its gradient.
    pub x: Float,
    /// Of γ, β and their gradients: f32, or the type of x.
    pub parameters: Float,
    /// Of the running statistics: f32, or the type of x. (What a forward pass saves is f32.)
    pub running: Float,
}

impl Types {
    /// 16-bit tensors with parameters and statistics in f32, which is what mixed precision does.
    pub const fn mixed(x: Float) -> Self {
        Self { x, parameters: Float::F32, running: Float::F32 }
    }

    /// All of them in one type.
    pub const fn all(float: Float) -> Self {
        Self { x: float, parameters: float, running: float }
    }
}
