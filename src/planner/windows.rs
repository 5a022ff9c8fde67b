//! Where tensors are: what a dispatch binds of each, and how its kernels find values in it. What is larger than a
//! binding is cut into windows; views have axes of their own.

use std::ops::Range;

use super::geometry::common;
use super::{Geometry, Planner};
use crate::argument::Argument;
use crate::descriptor::{Activation, Kept, Tensor, View};
use crate::error::PlanError;
use crate::recipe::{Operation, Params, Piece};
use crate::shader::MOST_DIMS;

/// A block of x that is bound at once, counted in V.
#[derive(Clone)]
pub(super) struct Window {
    pub(super) rows: Range<u64>,
    pub(super) units: Range<u32>,
    pub(super) inner: Range<u64>,
}

impl Window {
    /// All of x.
    pub(super) fn whole(geometry: Geometry) -> Self {
        Self { rows: 0..geometry.rows, units: 0..geometry.units, inner: 0..geometry.inner }
    }
}

/// An axis of views, or several that all tensors walk as one.
pub(super) struct Dim {
    pub(super) size: u64,
    pub(super) strides: [i64; 6],
}

impl Dim {
    /// Whether it can be walked four values at a time.
    pub(super) fn is_wide(&self, fastest: bool) -> bool {
        if fastest {
            self.size.is_multiple_of(4) && self.strides == [1; 6]
        } else {
            self.strides.iter().all(|stride| stride % 4 == 0)
        }
    }
}

impl Planner<'_> {
    /// The slots that tensors of x's shape are bound to, and which tensor each holds.
    pub(super) fn tensors(&self) -> Vec<(Tensor, Tensor)> {
        use Tensor::*;
        let residual = self.descriptor.epilogue.residual;
        let activation = self.descriptor.epilogue.activation != Activation::Identity;
        let x = if self.descriptor.from_y { Y } else { X };
        let mut all = match self.operation {
            Operation::Gather => vec![(X, X)],
            Operation::Inference | Operation::Forward | Operation::Normalize => vec![(X, X), (Y, Y)],
            Operation::GatherBackward => vec![(X, x), (Dy, Dy)],
            Operation::ApplyBackward => vec![(X, x), (Dy, Dy), (Dx, Dx)],
            Operation::FrozenBackward(_) if self.is_elementwise() => vec![(X, Dy), (Y, Dx)],
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => {
                let mut all = vec![(X, x), (Dy, Dy)];
                all.extend(wanted.dx.then_some((Dx, Dx)));
                all
            }
            _ => return vec![],
        };
        let goes_back = all.contains(&(Dy, Dy));
        let leaves_residual = goes_back && self.operation != Operation::ApplyBackward && residual && activation;
        let reads_residual = match self.operation {
            Operation::Gather => false,
            _ if goes_back => self.kept() == Kept::Residual,
            _ => residual && all.contains(&(Y, Y)),
        };
        all.extend(leaves_residual.then_some((Dresidual, Dresidual)));
        all.extend(reads_residual.then_some((Residual, Residual)));
        all
    }

    pub(super) fn is_strided(&self) -> bool {
        self.tensors().iter().any(|(_, tensor)| self.descriptor.view_of(*tensor).is_some())
    }

    /// The axes of some samples, slowest first, merged where all tensors walk two as one; `None` where all
    /// tensors are dense.
    pub(super) fn dims(&self, samples: &Range<u64>) -> Option<Vec<Dim>> {
        if !self.is_strided() {
            return None;
        }
        let shape = &self.descriptor.shape;
        let mut dims: Vec<Dim> = Vec::new();
        for (axis, size) in shape.iter().enumerate() {
            let size = if axis == 0 { samples.end - samples.start } else { *size as u64 };
            if size == 1 {
                continue;
            }
            let dense = View::dense(shape);
            let stride = |tensor| self.descriptor.view_of(tensor).unwrap_or(&dense).strides[axis] as i64;
            let tensors = self.tensors();
            // Slots that are not used go along with the first.
            let mut strides = [tensors.first().map_or(0, |(_, tensor)| stride(*tensor)); 6];
            for (slot, tensor) in tensors {
                strides[slot as usize] = stride(tensor);
            }
            match dims.last_mut() {
                Some(last) if (0..6).all(|t| strides[t].checked_mul(size as i64) == Some(last.strides[t])) => {
                    // Beside an axis of 0 the others may be anything.
                    *last = Dim { size: last.size.saturating_mul(size), strides };
                }
                _ => dims.push(Dim { size, strides }),
            }
        }
        Some(dims)
    }

    pub(super) fn offsets_are_wide(&self) -> bool {
        self.tensors()
            .iter()
            .all(|(_, tensor)| self.descriptor.view_of(*tensor).is_none_or(|view| view.offset % 4 == 0))
    }

    /// What one binding reaches, and no more than kernels count.
    fn binding_reach(&self, geometry: Geometry) -> u64 {
        self.capabilities.binding_bytes.min(MOST_ELEMENTS * self.v_bytes(geometry))
    }

    /// x in as few blocks as fit a binding each: of whole rows, else of whole units of a row, else of parts of
    /// those.
    pub(super) fn windows(&self, geometry: Geometry) -> Result<Vec<Window>, PlanError> {
        let Geometry { units, rows, inner, groups, .. } = geometry;
        let whole = Window::whole(geometry);
        let (reach, v) = (self.binding_reach(geometry), self.v_bytes(geometry));
        let tensors = self.tensors();
        if tensors.is_empty() {
            return Ok(vec![Window { rows: 0..1, units: 0..units, inner: 0..1 }]);
        }
        let most = tensors.iter().map(|(_, tensor)| self.sizes.bytes((*tensor).into())).max().unwrap_or(0);
        // Views may have one place for many values, each of which kernels count.
        let elements = self.values() / geometry.width();
        if most <= reach && elements <= MOST_ELEMENTS {
            return Ok(vec![whole]);
        }
        let too_large = || match self.capabilities.binding_bytes {
            has if most > has => {
                PlanError::Limit { what: "x", needs: most, limit: "max_storage_buffer_binding_size", has }
            }
            _ => {
                let needs = elements.max(most / v);
                PlanError::Limit { what: "x", needs, limit: "a 32-bit index", has: MOST_ELEMENTS }
            }
        };
        if self.is_strided() {
            return self.windows_of_samples(geometry, reach).ok_or_else(too_large);
        }
        if groups.is_some() {
            return Err(too_large());
        }
        // A block may start up to an alignment before its first value.
        let room = reach.saturating_sub(self.capabilities.alignment) / v;
        let fitting = |of: u64, size: u64| Some((room / size.max(1)).min(of)).filter(|most| *most > 0);
        let of_units = u64::from(units);
        let [of_row, of_unit, of_inner] = if let Some(most) = fitting(rows, of_units * inner) {
            [most, of_units, inner]
        } else if let Some(most) = fitting(of_units, inner) {
            [1, most, inner]
        } else if let Some(most) = fitting(inner, 1) {
            [1, 1, most]
        } else {
            return Err(too_large());
        };
        let axes = [(rows, of_row), (of_units, of_unit), (inner, of_inner)];
        let many = axes.iter().fold(1_u64, |many, (of, most)| many.saturating_mul(of.div_ceil(*most)));
        if many > MOST_WINDOWS as u64 {
            return Err(too_large());
        }
        let [rows, units, inner] =
            axes.map(|(of, most)| (0..of.div_ceil(most)).map(move |i| i * most..((i + 1) * most).min(of)));
        let mut windows = Vec::with_capacity(many as usize);
        for rows in rows {
            for units in units.clone() {
                let units = units.start as u32..units.end as u32;
                windows.extend(inner.clone().map(|inner| Window { rows: rows.clone(), units: units.clone(), inner }));
            }
        }
        Ok(windows)
    }

    /// Views in blocks of whole samples.
    fn windows_of_samples(&self, geometry: Geometry, reach: u64) -> Option<Vec<Window>> {
        if geometry.groups.is_some() {
            return None;
        }
        let samples = self.samples();
        let of_sample = self.values() / geometry.width() / samples;
        let tensors = self.tensors();
        let fits = |n: u64| {
            let bound = |tensor| self.piece(tensor, &(0..n)).1 + if n < samples { self.lag(tensor) } else { 0 };
            n * of_sample <= MOST_ELEMENTS && tensors.iter().all(|(_, tensor)| bound(*tensor) <= reach)
        };
        // Bytes grow with the samples.
        let (mut most, mut beyond) = (0, samples + 1);
        while beyond - most > 1 {
            let middle = most + (beyond - most) / 2;
            if fits(middle) { most = middle } else { beyond = middle }
        }
        let rows = geometry.rows / samples;
        if most == 0 || rows == 0 || samples.div_ceil(most) > MOST_WINDOWS as u64 {
            return None;
        }
        let window = |i: u64| Window {
            rows: i * most * rows..((i + 1) * most).min(samples) * rows,
            units: 0..geometry.units,
            inner: 0..geometry.inner,
        };
        Some((0..samples.div_ceil(most)).map(window).collect())
    }

    /// How much more than a first window of a view any other may bind: as far as it may start behind what bindings
    /// are aligned to.
    fn lag(&self, tensor: Tensor) -> u64 {
        let dense = View::dense(&self.descriptor.shape);
        let step = self.descriptor.view_of(tensor).unwrap_or(&dense).strides[0].unsigned_abs() as u64;
        let (step, alignment) = (step * self.descriptor.types.x.bytes(), self.capabilities.alignment);
        (alignment - common(step, alignment)).next_multiple_of(4)
    }

    /// Where some samples of a tensor are: the binding's offset and size in bytes, and the value within it at
    /// index 0.
    fn piece(&self, tensor: Tensor, samples: &Range<u64>) -> (u64, u64, u64) {
        let bytes = self.descriptor.types.x.bytes();
        let dense = View::dense(&self.descriptor.shape);
        let view = self.descriptor.view_of(tensor).unwrap_or(&dense);
        let mut shape = self.descriptor.shape.clone();
        shape[0] = (samples.end - samples.start) as usize;
        // (The view has been checked to start at 0 or beyond.)
        let start = (view.offset as i128 + samples.start as i128 * view.strides[0] as i128).max(0) as u64;
        let moved = View { offset: start as usize, strides: view.strides.clone() };
        let (first, last) = moved.reach(&shape).unwrap_or((0, u64::MAX / 8));
        let offset = first * bytes / self.capabilities.alignment * self.capabilities.alignment;
        ((offset), ((last + 1) * bytes - offset).div_ceil(4) * 4, start - offset / bytes)
    }

    /// Where a window's tensors are: what is bound of each, and how kernels find values in it.
    pub(super) fn place(
        &self,
        geometry: Geometry,
        window: &Window,
        windows: usize,
        params: &mut Params,
    ) -> Result<Vec<Piece>, PlanError> {
        let Window { rows, units, inner } = window;
        let v = self.v_bytes(geometry);
        let Geometry { mut row_stride, mut unit_stride, .. } = geometry;
        let group_stride = geometry.groups.map_or(0, |groups| groups.group_stride);
        let start = rows.start * row_stride + u64::from(units.start) * unit_stride + inner.start;
        let elementwise_dx = matches!(self.operation, Operation::FrozenBackward(_)) && self.is_elementwise();
        let argument = |slot: Tensor, tensor: Tensor| Argument::from(if elementwise_dx { tensor } else { slot });
        let mut base = 0;
        let mut pieces = Vec::new();
        if let Some(samples) = self.is_strided().then(|| {
            let rows_of_sample = (geometry.rows / self.samples()).max(1);
            if windows == 1 { 0..self.samples() } else { rows.start / rows_of_sample..rows.end / rows_of_sample }
        }) {
            // Kernels walk the window as if it were dense, and views say where that is.
            (row_stride, unit_stride) = match geometry.groups {
                None => (u64::from(geometry.units) * geometry.inner, geometry.inner),
                Some(_) => (row_stride, unit_stride),
            };
            params.signs_base = start as u32;
            let dims = self.dims(&samples).unwrap_or_default();
            if dims.len() > MOST_DIMS {
                let tensor = self.descriptor.views.first().map_or("x", |(tensor, _)| tensor.name());
                let because = format!("tensors of these strides take {} loops; kernels have {MOST_DIMS}", dims.len());
                return Err(PlanError::View { tensor, because });
            }
            let width = geometry.width() as i64;
            for (i, dim) in dims.iter().rev().enumerate() {
                let fastest = i == 0;
                params.dims[2 * i][0] = (if fastest { dim.size / width as u64 } else { dim.size }) as u32;
                for (slot, _) in self.tensors() {
                    let stride = dim.strides[slot as usize];
                    let at = slot as usize + 1;
                    // (Wrapping: steps back are steps forward modulo 2^32.)
                    params.dims[2 * i + at / 4][at % 4] = (if fastest { stride } else { stride / width }) as u32;
                }
            }
            for (slot, tensor) in self.tensors() {
                let (offset, bytes, first) = self.piece(tensor, &samples);
                params.offsets[slot as usize / 4][slot as usize % 4] = (first / width as u64) as u32;
                pieces.push(Piece { slot: slot.name(), argument: argument(slot, tensor), offset, bytes });
            }
        } else {
            let end = (rows.end - 1) * row_stride + u64::from(units.end - 1) * unit_stride + inner.end;
            let offset = start * v / self.capabilities.alignment * self.capabilities.alignment;
            base = start - offset / v;
            params.signs_base = (offset / v) as u32;
            for (slot, tensor) in self.tensors() {
                let bytes = match windows {
                    1 => self.sizes.bytes(tensor.into()),
                    _ => (end * v - offset).div_ceil(4) * 4,
                };
                pieces.push(Piece { slot: slot.name(), argument: argument(slot, tensor), offset, bytes });
            }
        }
        // Units and groups are counted through all windows. Products of what is no larger than a window stay
        // within u32; one step may pass its end, where nothing is loaded any more.
        params.base = (base as u32).wrapping_sub(units.start.wrapping_mul(unit_stride as u32));
        params.row_stride = row_stride as u32;
        params.unit_stride = unit_stride as u32;
        params.group_stride = group_stride as u32;
        let Params { step, inner, .. } = *params;
        params.step_address = (step / inner).wrapping_mul(params.row_stride).wrapping_add(step % inner);
        Ok(pieces)
    }
}

/// Elements of a window, which kernels count.
const MOST_ELEMENTS: u64 = i32::MAX as u64;

/// Blocks that x may be cut in. Each takes two or three dispatches.
pub(super) const MOST_WINDOWS: usize = 4_096;
