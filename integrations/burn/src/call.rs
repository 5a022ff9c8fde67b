//! What is computed, as far as it is known before any tensor is.

use wgpu_batchnorm::recipe::{Capabilities, Operation};
use wgpu_batchnorm::{
    Activation, Descriptor, Gradients, Layout, Mask, Momentum, OneValue, Over, Padding, PlanError, Running, Types,
};

use crate::capabilities;

/// Which positions count, without the tensor that says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Padded {
    /// All.
    No,
    /// Of each sample so many of the last axis.
    Lengths,
    /// Those of a mask.
    Mask(Mask),
}

/// A normalisation: the module's options, and which tensors come with the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// ε.
    pub epsilon: f64,
    /// The weight of a batch in the running statistics.
    pub momentum: f64,
    /// Steps of the last axis that have running statistics of their own, 0 where it has no steps.
    pub steps: usize,
    /// What follows.
    pub activation: Activation,
    /// Whether a residual is added before that.
    pub residual: bool,
    /// Which positions count.
    pub padded: Padded,
    /// The tensors' types.
    pub types: Types,
    /// How many f32 a training forward saves.
    pub saved: usize,
    /// How many words of signs it keeps, 0 for none.
    pub signs: usize,
    /// Which gradients a backward pass is to give.
    pub wanted: Gradients,
}

/// The axes of burn's `[N, C, ...]` in a layout's order.
pub fn order(layout: Layout, rank: usize) -> Vec<usize> {
    match layout {
        Layout::ChannelsFirst => (0..rank).collect(),
        Layout::ChannelsLast => std::iter::once(0).chain(2..rank).chain([1]).collect(),
    }
}

impl Call {
    /// The descriptor for an input of this shape, `[N, C, ...]`, that lies in this layout.
    pub fn descriptor(&self, shape: &[usize], layout: Layout) -> Descriptor {
        let order = order(layout, shape.len());
        let axis = order.iter().position(|&axis| axis + 1 == shape.len()).unwrap_or(0);
        let padding = match self.padded {
            Padded::No => Padding::None,
            Padded::Lengths => Padding::Lengths { axis },
            Padded::Mask(mask) => Padding::Mask(mask),
        };
        let over = if self.steps == 0 { Over::Batch } else { Over::Steps { kept: self.steps } };
        let momentum = Momentum::New(self.momentum);
        Descriptor::new(order.iter().map(|&axis| shape[axis]).collect::<Vec<_>>(), layout)
            // Positive as an f64, it stays so.
            .epsilon((self.epsilon as f32).max(f32::MIN_POSITIVE))
            // As burn's: variance 0.
            .one_value(OneValue::HasNoVariance)
            .running(Running { momentum, ..Running::default() })
            .over(over)
            .activation(self.activation)
            .residual(self.residual)
            .padding(padding)
            .types(self.types)
    }

    /// The same, once it is known that this device can compute it forward and, where that may be asked for, backward;
    /// and with the sizes of what a training forward leaves.
    pub fn checked(
        mut self,
        shape: &[usize],
        capabilities: &Capabilities,
        trains: bool,
        backward: bool,
    ) -> Result<Self, PlanError> {
        let descriptor = self.descriptor(shape, Layout::ChannelsFirst);
        let plan = |operation| capabilities::plan(&descriptor, operation, capabilities);
        let forward = plan(if trains { Operation::Forward } else { Operation::Inference })?;
        if backward {
            let all = Gradients::ALL;
            plan(if trains { Operation::Backward(all) } else { Operation::FrozenBackward(all) })?;
        }
        self.saved = forward.saved_bytes as usize / 4;
        self.signs = forward.signs_bytes as usize / 4;
        Ok(self)
    }

    /// Whether a backward pass gives the residual's gradient, which differs from dy through an activation.
    pub fn gives_dresidual(&self) -> bool {
        self.residual && self.activation != Activation::Identity
    }
}
