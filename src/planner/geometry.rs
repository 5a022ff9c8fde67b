//! x as the kernels see it: rows of units, counted in V.

use super::Planner;
use super::windows::Dim;
use crate::descriptor::{Descriptor, Extent, Over, Padding};
use crate::error::PlanError;
use crate::recipe::{Operation, Regime};

/// x as the kernels see it, counted in V: `units` with `rows` times `inner` elements each.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub(super) channels_last: bool,
    pub(super) wide: bool,
    pub(super) units: u32,
    /// Of one group.
    pub(super) rows: u64,
    pub(super) inner: u64,
    pub(super) row_stride: u64,
    /// In values, where ragged.
    pub(super) unit_stride: u64,
    pub(super) groups: Option<Groups>,
    /// Rows begin and end within a run of so many V; `inner` are those of all runs that a row touches.
    pub(super) ragged: Option<u32>,
    /// So many rows of the channels are one row of as many copies of each.
    pub(super) folded: Option<u32>,
}

/// Units that are channels within groups or steps.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub(super) stepped: bool,
    pub(super) channels: u32,
    pub(super) channel_divisor: u32,
    pub(super) groups: u32,
    pub(super) group_divisor: u32,
    pub(super) group_stride: u64,
    /// Of the last group.
    pub(super) last_rows: u64,
    pub(super) position_step: u32,
    pub(super) position_group: u64,
}

impl Geometry {
    pub(super) fn length(&self) -> u64 {
        self.rows.saturating_mul(self.inner)
    }

    pub(super) fn width(&self) -> u64 {
        if self.wide { 4 } else { 1 }
    }

    /// Channels that have statistics of their own.
    pub(super) fn channels(&self) -> u64 {
        let copies = u64::from(self.units) * if self.channels_last { self.width() } else { 1 };
        copies / u64::from(self.folded.unwrap_or(1))
    }

    /// Units that take whole runs together.
    pub(super) fn whole_runs(&self) -> u32 {
        self.ragged.map_or(1, |side| 4 * side / common(self.unit_stride, 4 * u64::from(side)) as u32)
    }

    /// As kernels see it that go over no tensor: without copies.
    pub(super) fn of_channels(self) -> Self {
        match self.folded {
            Some(_) => Self { wide: false, units: self.channels() as u32, ..self },
            None => self,
        }
    }
}

impl Planner<'_> {
    /// What has statistics of its own here: groups only where the batch gives them.
    pub(super) fn over(&self) -> Over {
        match (self.descriptor.over, self.operation) {
            (Over::Groups { .. }, Operation::Inference | Operation::FrozenBackward(_)) => Over::Batch,
            (Over::Groups { samples }, _) if samples as u64 >= self.samples() => Over::Batch,
            (over, _) => over,
        }
    }

    /// One channel is one contiguous unit; channels without an inner axis are the fastest axis.
    pub(super) fn geometry(&self, dims: Option<&[Dim]>) -> Result<Geometry, PlanError> {
        let Extent { outer, channels, inner } = self.extent;
        let samples = self.samples();
        let over = self.over();
        let one = channels == 1 && over == Over::Batch && !self.is_strided();
        let (outer, inner) = if one { (1, outer * inner) } else { (outer, inner) };
        let steps = match over {
            // The axis that is neither batch nor channel.
            Over::Steps { .. } => outer * inner / samples,
            _ => 1,
        };
        let channels_last = (inner == 1 || steps > 1) && channels * steps > 1;
        let fastest = if channels_last { channels } else { inner };
        let can_be_wide = fastest % 4 == 0 && steps == 1 && !matches!(over, Over::Steps { .. }) && {
            dims.is_none_or(|dims| dims.iter().rev().enumerate().all(|(i, dim)| dim.is_wide(i == 0)))
        };
        // Four neighbours are in one sample (`shared/valid.wgsl`).
        let lengths = matches!(self.descriptor.padding, Padding::Lengths { .. });
        let in_one_sample = channels_last || !lengths || (outer * inner / samples.max(1)).is_multiple_of(4);
        let can_be_wide = can_be_wide && self.offsets_are_wide() && in_one_sample;
        let wide = self.choice.wide.unwrap_or(can_be_wide);
        if wide && !can_be_wide {
            let because =
                format!("the fastest axis has {fastest} values, not a multiple of 4, or a view does not allow it");
            return Err(PlanError::Choice { choice: "wide", because });
        }
        let width = if wide { 4 } else { 1 };
        if let Over::Steps { .. } = over {
            let first = !self.descriptor.channels_are_last();
            let units = small("the channels of all steps", channels * steps)?;
            // The axis is behind the channels, or before them.
            let (channel_divisor, group_divisor) = if first { (steps as u32, 1) } else { (1, channels as u32) };
            return Ok(Geometry {
                channels_last: true,
                wide: false,
                units,
                rows: samples,
                inner: 1,
                row_stride: u64::from(units),
                unit_stride: u64::from(channel_divisor),
                groups: Some(Groups {
                    stepped: true,
                    channels: channels as u32,
                    channel_divisor,
                    groups: steps as u32,
                    group_divisor,
                    group_stride: u64::from(group_divisor),
                    last_rows: samples,
                    position_step: steps as u32,
                    position_group: 1,
                }),
                ragged: None,
                folded: None,
            });
        }
        let (units, inner) = if channels_last { (channels / width, 1) } else { (channels, inner / width) };
        let geometry = Geometry {
            channels_last,
            wide,
            units: small("the channel axis", units)?,
            rows: outer,
            inner,
            row_stride: units * inner,
            unit_stride: inner,
            groups: None,
            ragged: None,
            folded: None,
        };
        let Over::Groups { samples: of_group } = over else { return Ok(geometry) };
        let groups = samples.div_ceil(of_group as u64);
        let rows_of = |samples: u64| samples * (outer / self.samples());
        let rows = rows_of(of_group as u64);
        Ok(Geometry {
            units: small("the channels of all groups", units * groups)?,
            rows,
            groups: Some(Groups {
                stepped: false,
                channels: units as u32,
                channel_divisor: 1,
                groups: groups as u32,
                group_divisor: units as u32,
                group_stride: rows * geometry.row_stride,
                last_rows: rows_of(samples - (groups - 1) * of_group as u64),
                position_step: 1,
                position_group: rows * inner,
            }),
            ..geometry
        })
    }

    /// The same where rows are no whole V, but all units of one together are whole runs. (Rows that are whole V, but
    /// not whole pairs, moved no faster in pairs: 14×14 took 1 to 1.15 times as long.)
    pub(super) fn ragged(&self, geometry: Geometry) -> Option<Geometry> {
        let Geometry { channels_last, wide, units, rows, inner: row, groups, .. } = geometry;
        let fits = |side: u32| {
            let run = 4 * u64::from(side);
            row >= run && row.saturating_mul(units.into()).is_multiple_of(run)
        };
        let plain = !wide && !channels_last && groups.is_none() && !self.is_strided() && !self.tensors().is_empty();
        let plain = plain && self.descriptor.padding == Padding::None && self.choice.wide != Some(false);
        // A workgroup that goes over units twice has to own whole runs, which not every tile does.
        let plain = plain && (self.choice.regime != Some(Regime::Cached) || self.choice.tile.is_none());
        let few = row.saturating_mul(u64::from(units)).saturating_mul(rows) <= i32::MAX as u64;
        let side = [2, 1].into_iter().find(|side| fits(*side))?;
        (plain && few && self.tuning.twin && self.has_long_words()).then(|| {
            let run = 4 * u64::from(side);
            // Units begin at multiples of what a row and a run have in common.
            let touched = (run - common(row, run) + row).div_ceil(run);
            Geometry {
                wide: true,
                inner: touched * u64::from(side),
                row_stride: row * u64::from(units) / 4,
                unit_stride: row,
                ragged: Some(side),
                ..geometry
            }
        })
    }

    /// The same where 4 does not divide the channels, which are the fastest axis, but those of several rows.
    pub(super) fn folded(&self, geometry: Geometry) -> Option<Geometry> {
        use Operation::*;
        let Geometry { channels_last, wide, units, rows, groups, .. } = geometry;
        let Descriptor { padding, health, from_y, .. } = self.descriptor;
        let plain = channels_last && !wide && groups.is_none() && !self.is_strided() && *padding == Padding::None;
        let whole = matches!(self.operation, Inference | Forward | Backward(_) | FrozenBackward(_));
        // Lost channels are counted while x is gone over, where they have copies.
        let counts = *health && *from_y;
        let chosen = self.choice.wide == Some(false) || self.choice.regime == Some(Regime::Cached);
        // What a unit costs besides its elements is multiplied too: 4,096 rows of 10 channels, walked as 1,024, took
        // 1.15 times as long (Mesa 22.3); 2^20 rows of 3 channels, walked as 2^17, a third. Where memory is what takes
        // long, few rows will do: 32 of 65,535 channels, walked as 8, took 0.4 of the time forward.
        let enough = if self.is_far() { 8 } else { 16 * u64::from(self.tuning.share) };
        let worth = |by: u64| rows.is_multiple_of(by) && rows / by >= enough;
        let odd = 4 / common(units.into(), 4);
        let by = [2 * odd, odd].into_iter().find(|by| worth(*by))?;
        let copies = u64::from(units) * by;
        let small = copies <= u64::from(i32::MAX as u32);
        (plain && whole && !counts && !chosen && small && self.tuning.long).then(|| Geometry {
            wide: true,
            units: (copies / 4) as u32,
            rows: rows / by,
            row_stride: copies / 4,
            folded: Some(by as u32),
            ..geometry
        })
    }
}

/// A number that kernels count to.
pub(super) fn small(what: &'static str, needs: u64) -> Result<u32, PlanError> {
    let (limit, has) = ("a 32-bit index", u64::from(i32::MAX as u32));
    u32::try_from(needs).ok().filter(|_| needs <= has).ok_or(PlanError::Limit { what, needs, limit, has })
}

/// The greatest power of two, up to `run`, that divides `row`.
pub(super) fn common(row: u64, run: u64) -> u64 {
    run.min(1 << row.trailing_zeros().min(32))
}
