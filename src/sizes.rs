//! How large things are. Products and sums of a caller's numbers are taken here, where none wraps.

use crate::descriptor::{Descriptor, Health, Over, Padding, Tensor};
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
    bytes: Vec<(&'static str, u64)>,
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
        let mut bytes = vec![
            ("gamma", parameter),
            ("beta", parameter),
            ("dgamma", parameter),
            ("dbeta", parameter),
            ("running_mean", words("running_mean", &running)?),
            ("running_variance", words("running_variance", &running)?),
            ("counter", 4),
            ("saved", product("saved", &[4, descriptor.saved_planes(), units])?),
            ("statistics", plane("statistics", 3)?),
            ("sums", plane("sums", 2)?),
            ("scale_and_shift", plane("scale_and_shift", 2)?),
            ("coefficients", plane("coefficients", 3)?),
            ("many", product("many", &[4, many, planes, channels])?),
            ("valid", padding_bytes(descriptor)?),
            ("signs", values(descriptor)?.div_ceil(32) * 4),
            ("health", size_of::<Health>() as u64),
        ];
        for tensor in Tensor::ALL {
            let lies = if tensor == Tensor::X && back && *from_y { Tensor::Y } else { tensor };
            bytes.push((tensor.name(), tensor_bytes(descriptor, lies)?));
        }
        Ok(Self { units, bytes })
    }

    /// Bytes of the argument of this name, with the name for good; `None` of scratch.
    pub fn get(&self, name: &str) -> Option<(&'static str, u64)> {
        self.bytes.iter().find(|(known, _)| *known == name).copied()
    }

    /// The same where it is known to be one.
    pub fn bytes(&self, name: &'static str) -> u64 {
        self.get(name).map_or(0, |(_, bytes)| bytes)
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
