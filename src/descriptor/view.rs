//! How tensors lie in their buffers.

use crate::error::PlanError;

/// A tensor of x's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tensor {
    /// The input.
    X,
    /// The output.
    Y,
    /// The gradient of y.
    Dy,
    /// The gradient of x.
    Dx,
    /// What is added before the activation.
    Residual,
    /// The gradient of the residual.
    Dresidual,
}

impl Tensor {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::X, Self::Y, Self::Dy, Self::Dx, Self::Residual, Self::Dresidual];

    /// Its name, as kernels and errors have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::Dy => "dy",
            Self::Dx => "dx",
            Self::Residual => "residual",
            Self::Dresidual => "dresidual",
        }
    }
}

/// How a tensor lies in its buffer, where it is not dense: a slice of a wider tensor, a crop, a permutation, a
/// flip. The value at index i is at offset + Σ iₐ·strideₐ, all counted in values from the start of the binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// Where the value at index 0 of every axis is.
    pub offset: usize,
    /// How far it is from one index of an axis to the next, for every axis of the shape. Negative for a flip; 0,
    /// for tensors that are only read, to use one value again and again.
    pub strides: Vec<isize>,
}

impl View {
    /// The axes of a dense tensor of shape `whole`, from `start` on: a slice or crop.
    ///
    /// ```
    /// use wgpu_batchnorm::View;
    /// // Channels 64 to 127 of a tensor of 256 channels.
    /// let slice = View::of_dense(&[8, 256, 28, 28], &[0, 64, 0, 0]);
    /// assert_eq!((slice.offset, &slice.strides[..]), (64 * 784, &[256 * 784, 784, 28, 1][..]));
    /// ```
    pub fn of_dense(whole: &[usize], start: &[usize]) -> Self {
        let mut strides = vec![1_isize; whole.len()];
        for axis in (1..whole.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(isize::try_from(whole[axis]).unwrap_or(isize::MAX));
        }
        let offset = start.iter().zip(&strides).fold(0_usize, |offset, (start, stride)| {
            offset.saturating_add(start.saturating_mul(stride.unsigned_abs()))
        });
        Self { offset, strides }
    }

    /// The same view with its axes in another order: axis i of the result is axis `order[i]` of this one.
    ///
    /// # Errors
    /// [`PlanError::Option`] where the order does not name each axis of the view once.
    pub fn permuted(&self, order: &[usize]) -> Result<Self, PlanError> {
        let mut named = order.to_vec();
        named.sort_unstable();
        if !named.iter().copied().eq(0..self.strides.len()) {
            let because = format!("{order:?} does not name each of the view's {} axes once", self.strides.len());
            return Err(PlanError::Option { option: "permuted", because });
        }
        Ok(self.in_order(order))
    }
}

impl View {
    /// The same where the order is known to be one.
    pub(crate) fn in_order(&self, order: &[usize]) -> Self {
        Self { offset: self.offset, strides: order.iter().map(|&axis| self.strides[axis]).collect() }
    }

    /// The strides of a dense tensor.
    pub(crate) fn dense(shape: &[usize]) -> Self {
        Self::of_dense(shape, &[])
    }

    /// Whether it is that of a dense tensor from the start of the binding.
    pub(crate) fn is_dense(&self, shape: &[usize]) -> bool {
        let dense = Self::dense(shape);
        let alike = |axis: usize| shape[axis] == 1 || self.strides[axis] == dense.strides[axis];
        self.offset == 0 && (0..shape.len()).all(alike)
    }

    /// The first and the last place that it touches, if all are at 0 or beyond. The shape has no 0.
    pub(crate) fn reach(&self, shape: &[usize]) -> Option<(u64, u64)> {
        let (mut first, mut last) = (self.offset as i128, self.offset as i128);
        for (size, stride) in shape.iter().zip(&self.strides) {
            let along = (*size as i128 - 1) * *stride as i128;
            first += along.min(0);
            last += along.max(0);
        }
        Some((u64::try_from(first).ok()?, u64::try_from(last).ok()?))
    }

    pub(super) fn check(&self, tensor: Tensor, shape: &[usize]) -> Result<(), PlanError> {
        let refuse = |because: String| Err(PlanError::View { tensor: tensor.name(), because });
        let Self { offset, strides } = self;
        if strides.len() != shape.len() {
            return refuse(format!("it has {} strides for {} axes", strides.len(), shape.len()));
        }
        if shape.contains(&0) {
            return Ok(());
        }
        // (`of_dense` gives the greatest stride there is where it cannot count.)
        let wide = (1 << 42).min(isize::MAX as u64 - 1);
        let far = shape.iter().zip(strides).any(|(size, stride)| *size > 1 && stride.unsigned_abs() as u64 > wide);
        if far || *offset as u64 > wide || self.reach(shape).is_some_and(|(_, last)| last > wide) {
            return refuse("it reaches beyond 2^42 values".to_owned());
        }
        if self.reach(shape).is_none() {
            return refuse(format!("offset {offset} and strides {strides:?} lead before the start of the binding"));
        }
        // Written places must differ: it is enough that each axis steps over all that faster ones reach.
        if matches!(tensor, Tensor::Y | Tensor::Dx | Tensor::Dresidual) {
            let mut axes: Vec<(u64, u64)> = shape
                .iter()
                .zip(strides)
                .filter(|(n, _)| **n > 1)
                .map(|(n, s)| (s.unsigned_abs() as u64, *n as u64))
                .collect();
            axes.sort_unstable();
            let mut reached = 0_u64;
            for (stride, size) in axes {
                if stride <= reached {
                    return refuse(format!("it is written, and strides {strides:?} may put two values in one place"));
                }
                reached = reached.saturating_add(stride.saturating_mul(size - 1));
            }
        }
        Ok(())
    }
}
