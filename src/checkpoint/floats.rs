//! Tensors of a file as numbers, and numbers as tensors.

use std::borrow::Cow;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};

use super::error::CheckpointError;
use super::names::Names;

/// A tensor to be written, by `safetensors::serialize` or [`write()`](super::write()).
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<'a> {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) data: Cow<'a, [u8]>,
}

/// A tensor as it is in its file.
impl<'a> From<TensorView<'a>> for Tensor<'a> {
    fn from(view: TensorView<'a>) -> Self {
        Self { dtype: view.dtype(), shape: view.shape().to_vec(), data: view.data().into() }
    }
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// A tensor's values widened to f64, which loses nothing, with the type they had.
#[derive(Clone, Debug, PartialEq)]
pub struct Floats {
    /// F16, BF16, F32 or F64.
    pub dtype: Dtype,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The values, in row-major order.
    pub values: Vec<f64>,
}

impl Floats {
    /// Reads a tensor of any shape.
    ///
    /// # Errors
    /// [`CheckpointError::Missing`], [`CheckpointError::Type`].
    pub fn read(file: &SafeTensors<'_>, name: &str) -> Result<Self, CheckpointError> {
        let tensor = view(file, name)?;
        let dtype = tensor.dtype();
        let values = floats(dtype, tensor.data()).ok_or_else(|| wrong_type(name, dtype, FLOATS))?;
        Ok(Self { dtype, shape: tensor.shape().to_vec(), values })
    }

    /// Reads a tensor of this shape.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`CheckpointError::Shape`].
    pub fn read_shaped(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Result<Self, CheckpointError> {
        check_shape(name, view(file, name)?.shape(), shape)?;
        Self::read(file, name)
    }

    /// The tensor, its values rounded to the nearest of its type.
    ///
    /// # Errors
    /// [`CheckpointError::Overflow`] where a finite value would become infinite, and [`CheckpointError::Type`]
    /// for a [`dtype`](Self::dtype) that is none of the four.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'static>, CheckpointError> {
        fn bytes<T, const N: usize>(values: Vec<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            values.into_iter().flat_map(bytes).collect()
        }
        // To a half type by way of f32: `from_f64` rounds differently from machine to machine.
        let data = match self.dtype {
            Dtype::F16 => bytes(self.round(name, Dtype::F16, |value| f16::from_f32(value as f32))?, f16::to_le_bytes),
            Dtype::BF16 => {
                bytes(self.round(name, Dtype::BF16, |value| bf16::from_f32(value as f32))?, bf16::to_le_bytes)
            }
            Dtype::F32 => bytes(self.to_f32(name)?, f32::to_le_bytes),
            Dtype::F64 => bytes(self.values.clone(), f64::to_le_bytes),
            has => return Err(wrong_type(name, has, FLOATS)),
        };
        Ok(Tensor { dtype: self.dtype, shape: self.shape.clone(), data: data.into() })
    }

    /// The values rounded to the nearest f32.
    ///
    /// # Errors
    /// [`CheckpointError::Overflow`] where a finite value would become infinite.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.round(name, Dtype::F32, |value| value as f32)
    }

    fn round<T: Copy + Into<f64>>(
        &self,
        name: &str,
        into: Dtype,
        round: impl Fn(f64) -> T,
    ) -> Result<Vec<T>, CheckpointError> {
        let rounded: Vec<T> = self.values.iter().map(|value| round(*value)).collect();
        let overflows = |(value, rounded): (&f64, &T)| value.is_finite() && !(*rounded).into().is_finite();
        match self.values.iter().zip(&rounded).position(overflows) {
            None => Ok(rounded),
            Some(index) => {
                let (tensor, value) = (name.to_owned(), self.values[index]);
                Err(CheckpointError::Overflow { tensor, index, value, into })
            }
        }
    }
}

const FLOATS: &str = "F16, BF16, F32 or F64";

/// Reads a batch counter of any type that counts.
pub(super) fn read_counter(file: &SafeTensors<'_>, name: &str) -> Result<u32, CheckpointError> {
    let tensor = view(file, name)?;
    if tensor.shape() != [1] {
        check_shape(name, tensor.shape(), &[])?;
    }
    let (dtype, data) = (tensor.dtype(), tensor.data());
    let values = integers(dtype, data).or_else(|| floats(dtype, data));
    let needs = "an integer, or F16, BF16, F32 or F64";
    let value = values.ok_or_else(|| wrong_type(name, dtype, needs))?.first().copied().unwrap_or_default();
    let counts = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
    if counts { Ok(value as u32) } else { Err(CheckpointError::Counter { tensor: name.to_owned(), value }) }
}

fn view<'a>(file: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>, CheckpointError> {
    file.tensor(name)
        .map_err(|_| CheckpointError::Missing { tensor: name.to_owned(), found: Names::prefixes(file.names()) })
}

fn check_shape(name: &str, has: &[usize], needs: &[usize]) -> Result<(), CheckpointError> {
    if has == needs {
        return Ok(());
    }
    Err(CheckpointError::Shape { tensor: name.to_owned(), has: has.to_vec(), needs: needs.to_vec() })
}

fn wrong_type(name: &str, has: Dtype, needs: &'static str) -> CheckpointError {
    CheckpointError::Type { tensor: name.to_owned(), has, needs }
}

fn floats(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::F16 => each(data, |bytes| f16::from_le_bytes(bytes).into()),
        Dtype::BF16 => each(data, |bytes| bf16::from_le_bytes(bytes).into()),
        Dtype::F32 => each(data, |bytes| f32::from_le_bytes(bytes).into()),
        Dtype::F64 => each(data, f64::from_le_bytes),
        _ => return None,
    })
}

/// Those of 64 bits are exact up to 2^53, far beyond what a counter here may be.
fn integers(dtype: Dtype, data: &[u8]) -> Option<Vec<f64>> {
    Some(match dtype {
        Dtype::I64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::U64 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
        Dtype::I32 => each(data, |bytes| i32::from_le_bytes(bytes).into()),
        Dtype::U32 => each(data, |bytes| u32::from_le_bytes(bytes).into()),
        Dtype::I16 => each(data, |bytes| i16::from_le_bytes(bytes).into()),
        Dtype::U16 => each(data, |bytes| u16::from_le_bytes(bytes).into()),
        Dtype::I8 => each(data, |bytes| i8::from_le_bytes(bytes).into()),
        Dtype::U8 => each(data, |bytes| u8::from_le_bytes(bytes).into()),
        _ => return None,
    })
}

fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
}
