//! How values lie in memory: in which type, where, and what is between them.

use half::{bf16, f16};

use crate::descriptor::{Descriptor, Float, Tensor, View};
use crate::sizes;

/// What must be overwritten, or left alone: in every type a NaN that no kernel makes.
pub(super) const POISON: u32 = 0x7fe5_7fe5;

/// How a tensor's values lie in words of 32 bits.
#[derive(Clone)]
pub(super) enum Form {
    /// One after the other.
    Dense(Float),
    /// Value i at `places[i]`, all within this many words.
    Placed { float: Float, places: Vec<usize>, words: usize },
    /// A bit each, that of value i at `places[i]`, the lowest of a word first.
    Bits { places: Vec<usize> },
    /// Whole numbers of 32 bits.
    Numbers,
}

impl Form {
    /// That of a tensor of x's shape.
    pub(super) fn of(descriptor: &Descriptor, tensor: Tensor) -> Self {
        let float = descriptor.types.x;
        match descriptor.view_of(tensor) {
            None => Self::Dense(float),
            Some(view) => {
                let words = sizes::tensor_bytes(descriptor, tensor).map_or(0, |bytes| bytes as usize / 4);
                Self::Placed { float, places: places(view, descriptor.shape()), words }
            }
        }
    }

    /// That of the bits an activation leaves.
    pub(super) fn of_signs(descriptor: &Descriptor) -> Self {
        Self::Bits { places: places(&descriptor.view_of_signs(), descriptor.shape()) }
    }

    /// Memory with nothing in it yet.
    pub(super) fn empty(&self, values: usize) -> Vec<u32> {
        let words = match self {
            Self::Dense(float) => (values * float.bytes() as usize).div_ceil(4),
            Self::Placed { words, .. } => *words,
            Self::Bits { .. } => values.div_ceil(32),
            Self::Numbers => values,
        };
        vec![POISON; words]
    }

    /// Memory with these values.
    pub(super) fn words(&self, values: &[f32]) -> Vec<u32> {
        if let Self::Dense(Float::F32) = self {
            return values.iter().map(|value| value.to_bits()).collect();
        }
        let mut words = self.empty(values.len());
        for (i, value) in values.iter().enumerate() {
            let (bits, width) = match self {
                Self::Dense(float) | Self::Placed { float, .. } => (bits_of(*float, *value), float.bits()),
                Self::Bits { .. } => (u32::from(*value != 0.0), 1),
                Self::Numbers => (*value as u32, 32),
            };
            put(&mut words, self.place(i), width, bits);
        }
        words
    }

    /// The values in memory: all of them NaN where what is between them is no longer what it was.
    pub(super) fn values(&self, words: &[u32], values: usize) -> Vec<f32> {
        if let Self::Dense(Float::F32) = self {
            return words[..values].iter().map(|word| f32::from_bits(*word)).collect();
        }
        let mut rest = words.to_vec();
        let value = |i: usize| match self {
            Self::Dense(float) | Self::Placed { float, .. } => {
                put(&mut rest, self.place(i), float.bits(), POISON);
                float_of(*float, get(words, self.place(i), float.bits()))
            }
            Self::Bits { .. } => get(words, self.place(i), 1) as f32,
            Self::Numbers => words[i] as f32,
        };
        let all: Vec<f32> = (0..values).map(value).collect();
        let floats = matches!(self, Self::Dense(_) | Self::Placed { .. });
        let touched = floats && rest.iter().any(|word| *word != POISON);
        if touched { vec![f32::NAN; values] } else { all }
    }

    fn place(&self, i: usize) -> usize {
        match self {
            Self::Placed { places, .. } | Self::Bits { places } => places[i],
            Self::Dense(_) | Self::Numbers => i,
        }
    }
}

impl Float {
    fn bits(self) -> usize {
        8 * self.bytes() as usize
    }

    /// The nearest value that this type has. One too small for its normal numbers becomes 0, since drivers may
    /// read it so.
    pub(super) fn nearest(self, value: f32) -> f32 {
        let nearest = float_of(self, bits_of(self, value));
        if self == Self::F16 && nearest.abs() < f16::MIN_POSITIVE.to_f32() { 0.0 } else { nearest }
    }

    /// Half the distance of neighbours around a value, which is how far rounding may go; 0 of f32, whose
    /// rounding is accounted for where it happens.
    pub(super) fn rounding(self, value: f64) -> f64 {
        let (digits, least) = match self {
            Self::F32 => return 0.0,
            Self::F16 => (f16::MANTISSA_DIGITS, f16::MIN_EXP),
            Self::Bf16 => (bf16::MANTISSA_DIGITS, bf16::MIN_EXP),
        };
        // (MIN_EXP is that of a significand below 1.)
        let exponent = value.abs().log2().floor().max(f64::from(least) - 1.0);
        (exponent - f64::from(digits)).exp2()
    }
}

/// Where the value at each index of a view is, in the order of a dense tensor.
fn places(view: &View, shape: &[usize]) -> Vec<usize> {
    let mut places = vec![view.offset as isize];
    for (size, stride) in shape.iter().zip(&view.strides) {
        places = places.iter().flat_map(|start| (0..*size as isize).map(move |i| start + i * stride)).collect();
    }
    places.into_iter().map(|place| place as usize).collect()
}

fn put(words: &mut [u32], place: usize, width: usize, bits: u32) {
    let (word, shift) = (place * width / 32, place * width % 32);
    let mask = u32::MAX >> (32 - width);
    words[word] = words[word] & !(mask << shift) | (bits & mask) << shift;
}

fn get(words: &[u32], place: usize, width: usize) -> u32 {
    words[place * width / 32] >> (place * width % 32) & u32::MAX >> (32 - width)
}

fn bits_of(float: Float, value: f32) -> u32 {
    match float {
        Float::F32 => value.to_bits(),
        Float::F16 => f16::from_f32(value).to_bits().into(),
        Float::Bf16 => bf16::from_f32(value).to_bits().into(),
    }
}

fn float_of(float: Float, bits: u32) -> f32 {
    match float {
        Float::F32 => f32::from_bits(bits),
        Float::F16 => f16::from_bits(bits as u16).to_f32(),
        Float::Bf16 => bf16::from_bits(bits as u16).to_f32(),
    }
}
