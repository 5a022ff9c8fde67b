//! The operations that are timed, and the bytes that each streams.

use serde::{Deserialize, Serialize};

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
    pub fn passes(self) -> u64 {
        match self {
            Self::Infer => 2,
            Self::TrainFwd | Self::FrozenBwd => 3,
            Self::Bwd => 5,
            Self::Train => 8,
        }
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
