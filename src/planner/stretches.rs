//! The numbers of the dispatches over each window: which part of x is whose.

use super::windows::Window;
use super::{Form, Geometry, MOST_MERGES, Planner};
use crate::descriptor::{Activation, NoValue, Padding, RunningVariance};
use crate::error::PlanError;
use crate::recipe::{Operation, Params, Piece, Regime};
use crate::tuning::Order;

/// The numbers of the dispatches over a window, and what they bind of the tensors.
#[derive(Clone)]
pub(super) struct Stretch {
    pub(super) params: Params,
    pub(super) pieces: Vec<Piece>,
}

impl Planner<'_> {
    /// Every window with the numbers of its dispatches.
    pub(super) fn stretches(
        &self,
        geometry: Geometry,
        windows: &[Window],
        form: Form,
        regime: Regime,
        band: Option<u32>,
    ) -> Result<Vec<Stretch>, PlanError> {
        let mut stretches = Vec::with_capacity(windows.len());
        // Windows of the same units come with the same parts: the first has the most units.
        let tiles = windows.first().map_or(1, |window| form.tiles(&window.units));
        // Two bands are gone over at a time.
        let tiles = band.map_or(tiles, |band| 2 * form.tiles(&(0..band)));
        let of_units = windows.iter().filter(|window| window.units.start == 0).count() as u64;
        // Three V a part and unit, and a few planes, are one binding.
        let planes = self.capabilities.binding_bytes / (4 * geometry.width() * u64::from(geometry.units)).max(1);
        let room = u32::try_from(planes.saturating_sub(6) / 3 / of_units.max(1)).unwrap_or(u32::MAX).max(1);
        // Nor as many as would have to be settled, band by band.
        let room = band.map_or(room, |_| room.min(self.tuning.settle.saturating_sub(1)).max(1));
        let mut parts_before = std::collections::HashMap::<u32, u32>::new();
        for window in windows {
            let mut params = self.params(geometry, window, form, regime, [tiles, room])?;
            let before = parts_before.entry(window.units.start).or_default();
            params.first_part = *before;
            *before = before.saturating_add(params.parts);
            let pieces = self.place(geometry, window, windows.len(), &mut params)?;
            stretches.push(Stretch { params, pieces });
        }
        let all_parts = parts_before.into_values().max().unwrap_or(1);
        let lanes = form.tile.lanes;
        if all_parts > MOST_MERGES.saturating_mul(lanes) {
            let (what, limit) = ("merging the parts of a channel", "max_compute_invocations_per_workgroup");
            let (needs, has) = (u64::from(all_parts.div_ceil(MOST_MERGES)), u64::from(lanes));
            return Err(PlanError::Limit { what, needs, limit, has });
        }
        stretches.iter_mut().for_each(|stretch| stretch.params.all_parts = all_parts);
        Ok(stretches)
    }

    pub(super) fn params(
        &self,
        geometry: Geometry,
        window: &Window,
        form: Form,
        regime: Regime,
        [tiles, room]: [u32; 2],
    ) -> Result<Params, PlanError> {
        let Form { tile, order, elements, .. } = form;
        let Window { rows, units, inner } = window;
        // All of these are numbers of one window, which kernels can count.
        let (rows, inner) = (rows.end - rows.start, (inner.end - inner.start) as u32);
        let length = (rows * u64::from(inner)) as u32;
        let whole = matches!(regime, Regime::Resident | Regime::Cached) || self.tensors().is_empty();
        let parts = if whole { 1 } else { self.parts(geometry, length, [tiles, room], form)? };
        let part_length = length.div_ceil(parts);
        // Whole workgroups of lanes a part keep interleaved lanes on aligned addresses.
        let part_length = match order {
            Order::Interleaved if parts > 1 => part_length.next_multiple_of(tile.lanes * elements),
            _ => part_length.next_multiple_of(elements),
        };
        // In steps, of a run each.
        let lane_length = (part_length / elements).div_ceil(tile.lanes);
        let (lane_stride, step) = match order {
            Order::Interleaved => (elements, tile.lanes * elements),
            Order::Blocked => (lane_length * elements, elements),
        };
        let of_channel = self.extent.outer * self.extent.inner;
        let mut params = Params {
            units: geometry.units,
            first_unit: units.start,
            end_unit: units.end,
            tiles: form.tiles(units),
            length,
            last_length: length,
            inner,
            parts: length.div_ceil(part_length),
            part_length,
            lane_stride,
            lane_length,
            step,
            step_column: step % inner,
            position_step: 1,
            values: of_channel as f32,
            ..self.rules(geometry)
        };
        if let Some(groups) = geometry.groups {
            params = Params {
                last_length: (groups.last_rows * geometry.inner) as u32,
                position_step: groups.position_step,
                position_group: groups.position_group as u32,
                ..params
            };
        }
        self.pad(geometry, window, &mut params)?;
        Ok(params)
    }

    /// What the descriptor says of all units, however many values they have: its conventions, and which channel and
    /// group each is.
    pub(super) fn rules(&self, geometry: Geometry) -> Params {
        let running = self.descriptor.running.unwrap_or_default();
        let (low, high) = match self.descriptor.epilogue.activation {
            Activation::LeakyRelu(slope) => (slope, 0.0),
            Activation::Clamp(low, high) => (low, high),
            _ => (0.0, 0.0),
        };
        // Compilers may take it that no value is infinite.
        let finite = |bound: f32| bound.min(f32::MAX);
        let bounds = self.descriptor.renorm.map(|renorm| [renorm.r_max, renorm.d_max].map(finite));
        let [r_max, d_max] = bounds.unwrap_or_default();
        let params = Params {
            channel_divisor: 1,
            channel_modulus: geometry.folded.map_or(geometry.units, |_| geometry.channels() as u32),
            group_divisor: 1,
            group_modulus: 1,
            kept_steps: u32::try_from(self.descriptor.running_sets()).unwrap_or(u32::MAX),
            batches: 1,
            unbiased: u32::from(running.variance == RunningVariance::Unbiased),
            moves_by_none: u32::from(running.no_value == NoValue::CountsAsZero),
            epsilon: self.descriptor.epsilon,
            keep: running.momentum.weight_of_old(1) as f32,
            momentum: running.momentum.weight_of_new(1) as f32,
            low,
            high,
            r_max,
            d_max,
            ..Params::default()
        };
        match geometry.groups {
            Some(groups) => Params {
                channel_divisor: groups.channel_divisor,
                channel_modulus: groups.channels,
                group_divisor: groups.group_divisor,
                group_modulus: groups.groups,
                batches: if groups.stepped { 1 } else { groups.groups },
                ..params
            },
            None => params,
        }
    }

    /// What kernels find the valid positions by.
    pub(super) fn pad(&self, geometry: Geometry, window: &Window, params: &mut Params) -> Result<(), PlanError> {
        // In elements, of which wide ones channels first have four positions.
        params.position_base = (window.rows.start * geometry.inner + window.inner.start) as u32;
        let positions = self.extent.outer * self.extent.inner;
        let looks = matches!(
            self.operation,
            Operation::Forward | Operation::Gather | Operation::Backward(_) | Operation::ApplyBackward
        );
        match self.descriptor.padding {
            Padding::None => return Ok(()),
            _ if !looks => return Ok(()),
            Padding::Mask(mask) => {
                params.mask_bits = mask.bits();
                params.mask_shift = (32 / mask.bits()).ilog2();
                params.mask_field = u32::MAX >> (32 - mask.bits());
            }
            Padding::Lengths { axis } => {
                let shape = &self.descriptor.shape;
                let channel = if self.descriptor.channels_are_last() { shape.len() - 1 } else { 1 };
                let behind = (axis + 1..shape.len()).filter(|axis| *axis != channel).map(|axis| shape[axis] as u64);
                params.along = shape[axis] as u32;
                params.after = behind.product::<u64>() as u32;
                params.per_sample = (positions / self.samples()) as u32;
            }
        }
        if positions > u64::from(u32::MAX) {
            let (what, limit) = ("the positions of a mask", "a 32-bit index");
            return Err(PlanError::Limit { what, needs: positions, limit, has: u64::from(u32::MAX) });
        }
        Ok(())
    }

    /// Parts of a unit: enough to fill the adapter, none so small that lanes go without a chunk, none
    /// so large that a lane would loop too long; and no more than the lanes can merge, and scratch has room for.
    pub(super) fn parts(
        &self,
        geometry: Geometry,
        length: u32,
        [tiles, room]: [u32; 2],
        form: Form,
    ) -> Result<u32, PlanError> {
        let tile = form.tile;
        let runs = length / form.elements;
        let chunks = runs.div_ceil(form.chunk).div_ceil(tile.lanes);
        let least = chunks.div_ceil(self.most_chunks()).max(1);
        // A lane merges those of all copies.
        let merges = MOST_MERGES / geometry.folded.unwrap_or(1);
        let most = merges.saturating_mul(tile.lanes).min(runs);
        match self.choice.parts {
            // Few lanes on a unit of 2^31 values.
            _ if least > most => Err(PlanError::Limit {
                what: "merging the parts of a channel",
                needs: u64::from(least.div_ceil(merges)),
                limit: "max_compute_invocations_per_workgroup",
                has: u64::from(tile.lanes),
            }),
            Some(parts) if !(least..=most).contains(&parts) => {
                let because = format!("with {} lanes, {length} elements take {least} to {most} parts", tile.lanes);
                Err(PlanError::Choice { choice: "parts", because })
            }
            Some(parts) => Ok(parts),
            None => {
                let filling = self.tuning.workgroups.div_ceil(tiles).clamp(1, chunks.max(1));
                Ok(filling.min(self.cheap_parts(length.into())).min(room).clamp(least, most))
            }
        }
    }

    /// The most parts of which merging all costs less than going over one: parts * merge <= length / parts.
    pub(super) fn cheap_parts(&self, length: u64) -> u32 {
        let most = length.checked_div(u64::from(self.tuning.merge)).map_or(u64::MAX, |most| most.isqrt().max(1));
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}
