//! The operations that are timed, and the bytes that each streams.

use serde::{Deserialize, Serialize};

use super::layers::Layer;
use super::variant::Variant;

/// An operation, with every gradient where it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Inference: y from the running statistics.
    Infer,
    /// Training forward: y, saved and running statistics.
    TrainFwd,
    /// Training backward: dx, dγ and dβ.
    Bwd,
    /// Backward through frozen statistics: dx, dγ and dβ.
    FrozenBwd,
    /// Training forward and backward, in one pass.
    Train,
}

impl Op {
    pub const ALL: [Self; 5] = [Self::Infer, Self::TrainFwd, Self::Bwd, Self::FrozenBwd, Self::Train];

    /// Its name, which is that of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::TrainFwd => "train-fwd",
            Self::Bwd => "bwd",
            Self::FrozenBwd => "frozen-bwd",
            Self::Train => "train",
        }
    }

    /// How often it reads or writes as many bytes as x has, where nothing but streams fits on the chip:
    /// inference x → y; forward x, x → y; backward x, dy, x, dy → dx; frozen x, dy → dx.
    ///
    /// With a residual, whatever writes y reads it too. Backward x, dy → dresidual, which is what dy is behind the
    /// activation; then x, dresidual → dx. Frozen x, dy, residual → dx, dresidual. An activation alone is computed
    /// again from x, and a mask is no tensor of x's size: neither adds a pass.
    pub fn passes(self, variant: Variant) -> u64 {
        let adds = variant == Variant::AddRelu;
        match self {
            Self::Infer => 2 + u64::from(adds),
            Self::TrainFwd => 3 + u64::from(adds),
            Self::FrozenBwd => 3 + 2 * u64::from(adds),
            Self::Bwd => 5 + u64::from(adds),
            Self::Train => Self::TrainFwd.passes(variant) + Self::Bwd.passes(variant),
        }
    }

    /// Bytes of all passes, at the size that the variant's values have, and of what is small beside x. That is for
    /// a ReLU of a sum its signs, a bit a value: the forward pass writes and the backward pass reads them once. Of
    /// a mask it is a byte a position, once where the batch's statistics are taken and once where dx is made of
    /// them; inference and frozen statistics know no padding. (γ, β and statistics are not counted.)
    pub fn streamed_bytes(self, variant: Variant, layer: &Layer) -> u64 {
        let values = layer.values();
        let small = match variant {
            Variant::Plain | Variant::F16 | Variant::Bf16 | Variant::Relu => 0,
            Variant::Mask => values / layer.shape[1] as u64,
            Variant::AddRelu => values.div_ceil(8),
        };
        let times = match self {
            Self::Infer | Self::FrozenBwd => 0,
            Self::TrainFwd | Self::Bwd => 1,
            Self::Train => 2,
        };
        self.passes(variant) * variant.float().bytes() * values + times * small
    }
}

/// The layouts, as options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// NCHW.
    First,
    /// NHWC.
    Last,
}

impl From<LayoutName> for wgpu_batchnorm::Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::First => Self::ChannelsFirst,
            LayoutName::Last => Self::ChannelsLast,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Layer, Op, Variant};

    #[test]
    fn a_variant_moves_what_it_is_made_of() {
        // 800 values, 100 a channel.
        let layer = Layer { shape: vec![2, 8, 5, 10], count: 1 };
        let bytes = |variant| Op::ALL.map(|op| op.streamed_bytes(variant, &layer));
        let [infer, forward, bwd, frozen, train] = bytes(Variant::Plain);
        assert_eq!([infer, forward, bwd, frozen, train], [6_400, 9_600, 16_000, 9_600, 25_600]);
        assert_eq!(bytes(Variant::Relu), bytes(Variant::Plain));
        assert_eq!(bytes(Variant::F16), bytes(Variant::Plain).map(|bytes| bytes / 2));
        assert_eq!(bytes(Variant::Bf16), bytes(Variant::F16));
        assert_eq!(bytes(Variant::Mask), [infer, forward + 100, bwd + 100, frozen, train + 200]);
        let x = 3_200;
        let added = [infer + x, forward + x + 100, bwd + x + 100, frozen + 2 * x, train + 2 * x + 200];
        assert_eq!(bytes(Variant::AddRelu), added);
    }
}
