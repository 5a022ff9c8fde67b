//! How large things are. Products and sums of a caller's numbers are taken here, where none wraps.

use crate::argument::Argument;
use crate::descriptor::{Descriptor, Over, Padding, Tensor};
use crate::error::PlanError;
use crate::recipe::Operation;

/// A product, or an error where 64 bits do not hold it.
pub(crate) fn product(what: &'static str, factors: &[u64]) -> Result<u64, PlanError> {
    // Beside a 0 the others may be anything.
    let many = if factors.contains(&0) { &[0] } else { factors };
    many.iter().try_fold(1_u64, |product, factor| product.checked_mul(*factor)).ok_or(PlanError::Uncountable { what })
}

/// A sum, likewise.
pub(crate) fn sum(what: &'static str, terms: &[u64]) -> Result<u64, PlanError> {
    terms.iter().try_fold(0_u64, |sum, term| sum.checked_add(*term)).ok_or(PlanError::Uncountable { what })
}

/// The next multiple.
pub(crate) fn aligned(what: &'static str, bytes: u64, alignment: u64) -> Result<u64, PlanError> {
    bytes.checked_next_multiple_of(alignment).ok_or(PlanError::Uncountable { what })
}

/// Bytes of everything that an operation may be bound to but scratch, in whole words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    /// Channels that have statistics of their own: of each group or step.
    pub units: u64,
    bytes: [u64; Argument::ALL.len()],
}

impl Sizes {
    pub fn of(descriptor: &Descriptor, operation: Operation) -> Result<Self, PlanError> {
        let Descriptor { types, from_y, over, .. } = descriptor;
        let channels = descriptor.channels() as u64;
        let words = |what, factors: &[u64]| aligned(what, product(what, factors)?, 4);
        let axis = |axis: usize| descriptor.shape().get(axis).map_or(0, |size| *size as u64);
        let sets = match *over {
            Over::Batch => 1,
            Over::Groups { samples } => axis(0).div_ceil(samples.max(1) as u64).max(1),
            Over::Steps { .. } => axis(if descriptor.channels_are_last() { 1 } else { 2 }).max(1),
        };
        let units = product("the channels of all groups", &[channels, sets])?;
        let back = matches!(
            operation,
            Operation::Backward(_)
                | Operation::FrozenBackward(_)
                | Operation::GatherBackward
                | Operation::ApplyBackward
        );
        let [many, planes] = match operation {
            Operation::Merge(parts) => [parts.into(), 3],
            Operation::MergeBackward(parts) => [parts.into(), 2],
            _ => [0, 0],
        };
        let running = [channels, descriptor.running_sets() as u64, types.running.bytes()];
        let parameter = words("gamma", &[channels, types.parameters.bytes()])?;
        let plane = |what, planes: u64| product(what, &[4, planes, channels]);
        let of = |argument: Argument| -> Result<u64, PlanError> {
            use Argument::*;
            let what = argument.name();
            match argument {
                Gamma | Beta | Dgamma | Dbeta => Ok(parameter),
                RunningMean | RunningVariance => words(what, &running),
                Counter => Ok(4),
                Saved => product(what, &[4, descriptor.saved_planes(), units]),
                Statistics | Coefficients => plane(what, 3),
                Sums | ScaleAndShift => plane(what, 2),
                Many => product(what, &[4, many, planes, channels]),
                Valid => padding_bytes(descriptor),
                Signs => Ok(values(descriptor)?.div_ceil(32) * 4),
                Health => Ok(size_of::<crate::descriptor::Health>() as u64),
                X if back && *from_y => tensor_bytes(descriptor, Tensor::Y),
                X => tensor_bytes(descriptor, Tensor::X),
                Y => tensor_bytes(descriptor, Tensor::Y),
                Dy => tensor_bytes(descriptor, Tensor::Dy),
                Dx => tensor_bytes(descriptor, Tensor::Dx),
                Residual => tensor_bytes(descriptor, Tensor::Residual),
                Dresidual => tensor_bytes(descriptor, Tensor::Dresidual),
                Scratch => Ok(0),
            }
        };
        let mut bytes = [0; Argument::ALL.len()];
        for argument in Argument::ALL {
            bytes[argument as usize] = of(argument)?;
        }
        Ok(Self { units, bytes })
    }

    /// Bytes of an argument; 0 of scratch.
    pub fn bytes(&self, argument: Argument) -> u64 {
        self.bytes[argument as usize]
    }
}

fn values(descriptor: &Descriptor) -> Result<u64, PlanError> {
    let shape: Vec<u64> = descriptor.shape().iter().map(|axis| *axis as u64).collect();
    product("x", &shape)
}

/// Bytes of a tensor of x's shape, from the start of its binding to its last value, in whole words.
pub(crate) fn tensor_bytes(descriptor: &Descriptor, tensor: Tensor) -> Result<u64, PlanError> {
    let what = tensor.name();
    let values = match descriptor.view_of(tensor) {
        None => values(descriptor)?,
        Some(_) if descriptor.shape().contains(&0) => 0,
        Some(view) => {
            let (_, last) = view.reach(descriptor.shape()).ok_or(PlanError::Uncountable { what })?;
            sum(what, &[last, 1])?
        }
    };
    aligned(what, product(what, &[values, descriptor.types.x.bytes()])?, 4)
}

/// Bytes of the mask or the lengths; 0 without padding.
fn padding_bytes(descriptor: &Descriptor) -> Result<u64, PlanError> {
    let samples = descriptor.shape().first().map_or(0, |samples| *samples as u64);
    let channels = descriptor.channels().max(1) as u64;
    match descriptor.padding {
        Padding::None => Ok(0),
        Padding::Mask(mask) => {
            let bits = product("valid", &[values(descriptor)? / channels, u64::from(mask.bits())])?;
            Ok(bits.div_ceil(32) * 4)
        }
        Padding::Lengths { .. } => product("valid", &[4, samples]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_64_bits_do_not_hold_is_an_error() {
        let refused = Err(PlanError::Uncountable { what: "x" });
        assert_eq!(product("x", &[1 << 32, 1 << 32]), refused);
        assert_eq!(product("x", &[1 << 32, 1 << 32, 0]), Ok(0));
        assert_eq!(product("x", &[1 << 32, (1 << 32) - 1]), Ok(u64::MAX - u64::from(u32::MAX)));
        assert_eq!(sum("x", &[u64::MAX, 1]), refused);
        assert_eq!(aligned("x", u64::MAX - 2, 4), refused);
        assert_eq!(aligned("x", 5, 4), Ok(8));
    }
}
