//! Units in bands of which a cache holds each from the first pass to the second, so that x (and dy) come from memory
//! once. A dispatch goes over one band the second time and over the next the first time, both at once: while one
//! half of its workgroups waits for memory, the other has the cache.

use super::assembly::{Assembly, without_counter};
use super::windows::{MOST_WINDOWS, Window};
use super::{Form, Geometry, Planner, Stretch};
use crate::descriptor::{Gradients, Tensor};
use crate::error::PlanError;
use crate::recipe::{Operation, Params, Regime};
use crate::shader::{Flag, Flags, Kernel};

/// Fewer bands gain little: without any the second pass runs backwards, and meets a band or two in the cache.
const FEWEST_BANDS: u64 = 4;

/// Each takes a dispatch, as windows do.
const MOST_BANDS: u64 = MOST_WINDOWS as u64;

impl Planner<'_> {
    /// The units of a band: so many whole tiles that all which comes by from its first pass to its second fits the
    /// cache.
    pub(super) fn band(&self, geometry: Geometry, windows: &[Window], form: Form, regime: Regime) -> Option<u32> {
        let goes_twice = matches!(self.operation, Operation::Forward | Operation::Backward(Gradients { dx: true, .. }));
        if regime != Regime::Split || windows.len() > 1 || !goes_twice {
            return None;
        }
        // What both passes read is there twice, of this band and of the next.
        let forward = self.operation == Operation::Forward;
        let times = |tensor| match tensor {
            Tensor::X | Tensor::Dy => 2,
            Tensor::Residual if !forward => 2,
            _ => 1,
        };
        let tensors = self.tensors().into_iter().map(|(slot, _)| times(slot)).sum::<u64>();
        let of_tile = u64::from(form.tile.columns.saturating_mul(form.units()));
        let comes_by = geometry.length().saturating_mul(of_tile).saturating_mul(self.v_bytes(geometry) * tensors);
        let tiles = u64::from(form.tiles(&(0..geometry.units)));
        let held = u64::from(self.tuning.cache) / comes_by.max(1);
        let bands = tiles.checked_div(held).map_or(0, |_| tiles.div_ceil(held));
        // No fewer bands, but no fuller ones than that takes.
        let band = tiles.div_ceil(bands.max(1)) * of_tile;
        (FEWEST_BANDS..=MOST_BANDS).contains(&bands).then(|| u32::try_from(band).ok()).flatten()
    }
}

/// Of a second pass that is the next band's first one too. (Batches have been counted with the first band.)
fn banded(first: Flags, second: Flags) -> Flags {
    without_counter(first).and(second).with(Flag::Banded)
}

/// Two passes over all units: the kernels of the first, of what settles each unit in between, and of the second; and
/// their flags, those of the first by window, of the settling by dispatch.
pub(super) struct Passes<'a> {
    pub(super) kernels: [Kernel; 3],
    pub(super) first: &'a dyn Fn(usize, &Params) -> Flags,
    pub(super) settle: Vec<Flags>,
    pub(super) second: Flags,
}

impl Assembly<'_, '_> {
    /// Whether every other workgroup of a dispatch may have the next band: not where bands would take a dispatch more
    /// each, to be settled, which costs as much as they gain.
    pub(super) fn can_go_in_bands(&self) -> bool {
        let planner = self.planner;
        let (kernel, first, second) = match planner.operation {
            Operation::Backward(_) => {
                let dresidual = planner.backward_flags(true).has(Flag::Dresidual);
                (Kernel::BackwardApply, planner.backward_flags(false), planner.backward_second(dresidual))
            }
            _ => (Kernel::ForwardApply, planner.forward_first(false, 0), planner.forward_second(false)),
        };
        !self.settles() && self.fits(kernel, banded(first, second))
    }

    /// Whether a second pass can be bound, next to the next band's first one where there are bands.
    pub(super) fn fits_second(&self, kernel: Kernel, first: Flags, second: Flags) -> bool {
        self.fits(kernel, if self.band.is_some() { banded(first, second) } else { second })
    }

    pub(super) fn settle_units(&mut self, kernel: Kernel, dispatches: &[Flags]) -> Result<(), PlanError> {
        dispatches.iter().try_for_each(|flags| self.over_units(kernel, *flags))
    }

    pub(super) fn in_two_passes(&mut self, passes: Passes<'_>) -> Result<(), PlanError> {
        let Passes { kernels: [gather, merge, apply], first, settle, second } = passes;
        let Some(band) = self.band else {
            self.over_windows(gather, first)?;
            self.settle_units(merge, &settle)?;
            return self.over_windows(apply, |_, _| second);
        };
        debug_assert!(settle.is_empty(), "a band that is settled: can_go_in_bands");
        let Stretch { params: all, pieces } = self.stretches[0].clone();
        for first_unit in (0..all.units).step_by(band as usize) {
            let end_unit = first_unit.saturating_add(band).min(all.units);
            let params = Params { first_unit, end_unit, tiles: self.form.tiles(&(first_unit..end_unit)), ..all };
            let of_band = Stretch { params, pieces: pieces.clone() };
            if first_unit == 0 {
                self.over_window(of_band.clone(), gather, first(0, &params), 1)?;
            }
            let ahead = end_unit < all.units;
            let flags = if ahead { banded(first(0, &params), second) } else { second };
            self.over_window(of_band, apply, flags, 1 + u64::from(ahead))?;
        }
        Ok(())
    }
}
