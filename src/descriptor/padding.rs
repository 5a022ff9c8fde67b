//! Which positions count.

/// Which positions of a padded batch count. A position is an index of x without its channel: one mask serves
/// all channels. Statistics are over the valid positions alone; y is written at every position, by those
/// statistics, and dx at every position is the gradient of that.
///
/// With v = 1 where valid, else 0, and m = Σv: μ = Σvx/m, σ² = Σv(x−μ)²/m, y everywhere as ever. Backward,
/// dβ = Σdy and dγ = Σdy·x̂ over all positions, since all of y has been computed, and
/// dx = γ·r·(dy − v·(dβ + x̂·dγ)/m). Where dy is 0, as it should be at padding, what x and
/// the residual are there does not matter, be it NaN.
///
/// Where nothing is valid, μ = 0 and σ² = 0, and the running statistics stay as they are. (A mean far from zero costs
/// the variance digits where the first, the middle and the last position are all padding: statistics are taken about
/// one of these.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// No padding: every position counts.
    #[default]
    None,
    /// A mask in x's order without its channel axis: 0 is padding, anything else counts.
    Mask(Mask),
    /// One `u32` a sample: how many indices of this axis of x (not the batch's nor the channel's) count; those
    /// from there on are padding.
    Lengths {
        /// The padded axis, such as 2 of `[N, C, L]` or 1 of `[N, L, C]`.
        axis: usize,
    },
}

/// How a mask lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// A bit a position, the lowest of each `u32` first.
    Bits,
    /// A byte a position, as in PyTorch's and NumPy's `bool`.
    Bytes,
    /// A `u32` a position.
    Words,
}

impl Mask {
    /// Bits of one position: 1, 8 or 32.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Bits => 1,
            Self::Bytes => 8,
            Self::Words => 32,
        }
    }
}
