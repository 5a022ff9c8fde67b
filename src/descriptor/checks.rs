//! What is refused, with the reason.

use super::{Activation, Descriptor, Float, Momentum, OneValue, Over, Padding, Renorm};
use crate::error::PlanError;

impl Descriptor {
    /// Checks what every operation needs, and sees the shape as `[outer, channels, inner]`.
    pub(crate) fn extent(&self) -> Result<Extent, PlanError> {
        let shape = || self.shape.clone();
        let axis = match self.channel_axis() {
            Some(axis) if self.shape.len() >= 2 => axis,
            _ => return Err(PlanError::Rank { shape: shape() }),
        };
        if self.shape[axis] == 0 {
            return Err(PlanError::ZeroSize { shape: shape(), axis });
        }
        let product = |axes: &[usize]| axes.iter().fold(1_u64, |n, &axis| n.saturating_mul(axis as u64));
        let long = self.shape.iter().any(|&axis| axis > i32::MAX as usize);
        if long || product(&self.shape) > 1 << 40 {
            return Err(PlanError::TooManyValues { shape: shape() });
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(PlanError::Epsilon { epsilon: self.epsilon });
        }
        self.check_options()?;
        let (before, behind) = (&self.shape[..axis], &self.shape[axis + 1..]);
        Ok(Extent { outer: product(before), channels: self.shape[axis] as u64, inner: product(behind) })
    }

    /// Checks the options, alone and together.
    fn check_options(&self) -> Result<(), PlanError> {
        let refuse = |option, because: &str| Err(PlanError::Option { option, because: because.to_owned() });
        let Self { shape, types, padding, over, renorm, epilogue, .. } = self;
        if [types.parameters, types.running].into_iter().any(|float| float != Float::F32 && float != types.x) {
            return refuse("types", "parameters and running statistics are f32 or of x's type");
        }
        if let Padding::Lengths { axis } = *padding
            && (axis == 0 || axis >= shape.len() || Some(axis) == self.channel_axis())
        {
            return refuse("padding", "lengths are along an axis of x that is neither the batch's nor the channel's");
        }
        match *over {
            Over::Groups { samples: 0 } => return refuse("over", "a group has at least 1 sample"),
            Over::Steps { kept: 0 } => return refuse("over", "running statistics are kept of at least 1 step"),
            Over::Steps { .. } if shape.len() != 3 => {
                return refuse("over", "steps are the third axis of a shape that has three: [N, C, T] or [N, T, C]");
            }
            _ => {}
        }
        if let Some(Renorm { r_max, d_max }) = *renorm {
            if !(r_max >= 1.0 && d_max >= 0.0) {
                return refuse("renorm", "r_max is at least 1, d_max at least 0");
            }
            if self.running.is_none() {
                return refuse("renorm", "it corrects towards running statistics, and there are none");
            }
        }
        let sound = match epilogue.activation {
            Activation::LeakyRelu(slope) => slope.is_finite(),
            Activation::Clamp(low, high) => low <= high,
            _ => true,
        };
        if !sound {
            return refuse("activation", "a slope is finite, and a lower bound not above the upper one");
        }
        if self.from_y {
            let invertible = match epilogue.activation {
                Activation::Identity => true,
                Activation::LeakyRelu(slope) => slope > 0.0,
                _ => false,
            };
            if !invertible || epilogue.residual {
                return refuse(
                    "backward_from_y",
                    "x is found again through the identity or a leaky ReLU of positive slope, without a residual",
                );
            }
            if renorm.is_some() {
                return refuse("backward_from_y", "not through batch renormalization");
            }
        }
        for (tensor, view) in &self.views {
            view.check(*tensor, shape)?;
        }
        Ok(())
    }

    /// Checks ε where the statistics are the batch's. It is a normal number there: some adapters take a smaller one
    /// for 0.
    pub(crate) fn check_epsilon(&self) -> Result<(), PlanError> {
        let epsilon = self.epsilon;
        if epsilon.is_normal() { Ok(()) } else { Err(PlanError::Epsilon { epsilon }) }
    }

    /// Checks what training needs besides.
    pub(crate) fn check_training(&self) -> Result<(), PlanError> {
        let values = self.values_per_channel();
        let fewest = match self.over {
            Over::Batch => values,
            Over::Groups { samples } => {
                let rest = self.shape[0] % samples;
                values / self.shape[0].max(1) * if rest == 0 { samples.min(self.shape[0]) } else { rest }
            }
            Over::Steps { .. } => self.shape[0],
        };
        match (fewest, self.one_value) {
            (1, OneValue::Refused) => Err(PlanError::OneValue { shape: self.shape.clone() }),
            _ => Ok(()),
        }
    }

    /// Checks what the steps of a pass whose statistics are values need.
    pub(crate) fn check_steps(&self) -> Result<(), PlanError> {
        let refuse = |option, because: &str| Err(PlanError::Option { option, because: because.to_owned() });
        if self.over != Over::Batch {
            return refuse(
                "over",
                "statistics as values are of the whole batch; a group or step is a batch of its own",
            );
        }
        if self.running.is_some_and(|running| running.momentum == Momentum::Cumulative) {
            return refuse("running", "the cumulative average is taken by update_running, after finalize without it");
        }
        Ok(())
    }

    /// Checks what moving the running statistics needs.
    pub(crate) fn check_running(&self) -> Result<(), PlanError> {
        match self.running.map(|running| running.momentum.weight_of_new(1)) {
            Some(weight) if !(0.0..=1.0).contains(&weight) => Err(PlanError::Momentum { weight }),
            _ => Ok(()),
        }
    }
}

/// x as `[outer, channels, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub outer: u64,
    pub channels: u64,
    pub inner: u64,
}
