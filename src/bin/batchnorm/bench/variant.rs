//! The options of a layer that are timed beside the plain one.

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::{Activation, Descriptor, Float, Mask, Padding, Types};

/// The same layer with one option or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Everything in f32, and nothing else.
    #[default]
    Plain,
    /// Tensors in f16, parameters and statistics in f32.
    F16,
    /// The same in bf16.
    Bf16,
    /// Padding by a mask of bytes, of which three quarters count.
    Mask,
    /// ReLU fused.
    Relu,
    /// A residual added, then ReLU, fused.
    AddRelu,
}

impl Variant {
    #[cfg(test)]
    pub const ALL: [Self; 6] = [Self::Plain, Self::F16, Self::Bf16, Self::Mask, Self::Relu, Self::AddRelu];

    /// Its name, which is that of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Mask => "mask",
            Self::Relu => "relu",
            Self::AddRelu => "add-relu",
        }
    }

    /// A layer with its options.
    pub fn of(self, layer: Descriptor) -> Descriptor {
        match self {
            Self::Plain => layer,
            Self::F16 | Self::Bf16 => layer.types(Types::mixed(self.float())),
            Self::Mask => layer.padding(Padding::Mask(Mask::Bytes)),
            Self::Relu => layer.activation(Activation::Relu),
            Self::AddRelu => layer.residual(true).activation(Activation::Relu),
        }
    }

    /// The type of x.
    pub fn float(self) -> Float {
        match self {
            Self::F16 => Float::F16,
            Self::Bf16 => Float::Bf16,
            Self::Plain | Self::Mask | Self::Relu | Self::AddRelu => Float::F32,
        }
    }
}
