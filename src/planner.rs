//! From a descriptor and a device to a recipe: every rule by which kernels, tiles and parts are chosen.

mod assembly;
mod windows;

use crate::descriptor::{
    Activation, Descriptor, Extent, Float, Gradients, Kept, Mask, Momentum, Over, Padding, RunningVariance, Tensor,
};
use crate::error::PlanError;
use crate::recipe::{Capabilities, Choice, Dispatch, Operation, Params, Piece, Recipe, Regime};
use crate::shader::{Flag, Flags, ITEMS, KEPT, Kernel, Permutation, Tile};
use crate::tuning::{Order, Tuning};
use assembly::{Assembly, without_elements};
use windows::{Dim, Window};

/// What a recipe is made from.
pub(crate) struct Planner<'a> {
    pub descriptor: &'a Descriptor,
    pub operation: Operation,
    pub extent: Extent,
    pub capabilities: &'a Capabilities,
    pub tuning: &'a Tuning,
    pub choice: &'a Choice,
}

/// x as the kernels see it, counted in V: `units` with `rows` times `inner` elements each.
#[derive(Clone, Copy)]
struct Geometry {
    channels_last: bool,
    wide: bool,
    units: u32,
    /// Of one group.
    rows: u64,
    inner: u64,
    row_stride: u64,
    /// In values, where ragged.
    unit_stride: u64,
    groups: Option<Groups>,
    /// Rows begin and end within a run of so many V; `inner` are those of all runs that a row touches.
    ragged: Option<u32>,
    /// So many rows of the channels are one row of as many copies of each.
    folded: Option<u32>,
}

/// Units that are channels within groups or steps.
#[derive(Clone, Copy)]
struct Groups {
    stepped: bool,
    channels: u32,
    channel_divisor: u32,
    groups: u32,
    group_divisor: u32,
    group_stride: u64,
    /// Of the last group.
    last_rows: u64,
    position_step: u32,
    position_group: u64,
}

/// How invocations share and walk the elements of a workgroup.
#[derive(Clone, Copy)]
struct Form {
    tile: Tile,
    order: Order,
    /// Elements that a lane keeps.
    items: u32,
    /// Elements of a unit in a run, and units beside each other: one of them is 1.
    elements: u32,
    beside: u32,
    /// Runs of a unit that a lane loads at a time.
    chunk: u32,
    /// Runs that an invocation walks along together.
    across: u32,
}

/// The numbers of the dispatches over a window, and what they bind of the tensors.
struct Stretch {
    params: Params,
    pieces: Vec<Piece>,
}

impl Form {
    /// Workgroups side by side.
    fn tiles(&self, units: &std::ops::Range<u32>) -> u32 {
        (units.len() as u32).div_ceil(self.tile.columns.saturating_mul(self.units()))
    }

    /// Units of an invocation.
    fn units(&self) -> u32 {
        self.across.saturating_mul(self.beside)
    }

    /// As kernels have it that do not stream: one unit an invocation.
    fn of_units(self) -> Self {
        Self { elements: 1, beside: 1, chunk: 1, across: 1, ..self }
    }
}

impl Geometry {
    fn length(&self) -> u64 {
        self.rows.saturating_mul(self.inner)
    }

    fn width(&self) -> u64 {
        if self.wide { 4 } else { 1 }
    }

    /// Channels that have statistics of their own.
    fn channels(&self) -> u64 {
        let copies = u64::from(self.units) * if self.channels_last { self.width() } else { 1 };
        copies / u64::from(self.folded.unwrap_or(1))
    }

    /// As kernels see it that go over no tensor: without copies.
    fn of_channels(self) -> Self {
        match self.folded {
            Some(_) => Self { wide: false, units: self.channels() as u32, ..self },
            None => self,
        }
    }
}

impl Planner<'_> {
    pub fn recipe(&self) -> Result<Recipe, PlanError> {
        self.check_choice()?;
        if self.extent.outer == 0 || self.extent.inner == 0 {
            return self.of_nothing();
        }
        let dims = self.dims(&(0..self.samples()));
        let geometry = self.geometry(dims.as_deref())?;
        let windows = self.windows(geometry)?;
        let resident = if windows.len() == 1 { self.resident_form(geometry) } else { None };
        let ragged = if windows.len() == 1 && resident.is_none() { self.ragged(geometry) } else { None };
        let folded = if windows.len() == 1 && resident.is_none() { self.folded(geometry) } else { None };
        let (geometry, windows) = match ragged.or(folded) {
            Some(other) => (other, vec![Window::whole(other)]),
            None => (geometry, windows),
        };
        let streaming = self.streaming_form(geometry, &windows);
        let regime = self.regime(geometry, &windows, resident, streaming)?;
        let form = match (regime, resident) {
            (Regime::Resident, Some(form)) => form,
            _ => streaming,
        };
        let stretches = self.stretches(geometry, &windows, form, regime)?;
        let mut assembly = Assembly { planner: self, geometry, form, stretches, dispatches: vec![], scratch: 0 };
        assembly.assemble(regime)?;
        let Assembly { stretches, dispatches, scratch, .. } = assembly;
        self.check_binding("scratch", scratch)?;
        let parts = stretches.first().map_or(1, |stretch| stretch.params.all_parts);
        let recipe = self.summary(regime, geometry, form, parts, dispatches, scratch);
        self.check_binding("the saved statistics", recipe.saved_bytes)?;
        self.check_binding("the activation's signs", recipe.signs_bytes)?;
        // Kernels count them from the start of x.
        if recipe.signs_bytes > 0 && self.values() / geometry.width() > u64::from(u32::MAX) {
            let (what, limit, has) = ("the activation's signs", "a 32-bit index", u64::from(u32::MAX));
            return Err(PlanError::Limit { what, needs: self.values() / geometry.width(), limit, has });
        }
        Ok(recipe)
    }

    /// Of an empty batch statistics stay, the counter moves, and gradients are 0.
    fn of_nothing(&self) -> Result<Recipe, PlanError> {
        // As many as have statistics, with groups and steps too.
        let channels = self.extent.channels as u32;
        let units = self.descriptor.saved_bytes() / (4 * self.descriptor.saved_planes());
        self.check_binding("a plane of the saved statistics", 4 * units)?;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let geometry = Geometry {
            channels_last: false,
            wide: false,
            units,
            rows: 0,
            inner: 1,
            row_stride: 0,
            unit_stride: 1,
            groups: None,
            ragged: None,
            folded: None,
        };
        let form = self.streaming_form(geometry, &[]);
        let params = Params {
            units,
            end_unit: units,
            tiles: units.div_ceil(form.tile.columns),
            channel_modulus: channels,
            inner: 1,
            batches: 1,
            epsilon: self.descriptor.epsilon,
            ..Params::default()
        };
        let stretches = vec![Stretch { params, pieces: vec![] }];
        let mut assembly = Assembly { planner: self, geometry, form, stretches, dispatches: vec![], scratch: 0 };
        let counts = self.descriptor.running.is_some_and(|running| running.has_counter());
        match self.operation {
            Operation::Forward => {
                let flags = self.outcome_flags(false).and(self.padding_flags());
                assembly.over_units(Kernel::ForwardSettle, flags)?;
                assembly.scratch = assembly.forward_records();
                if counts {
                    assembly.small(Kernel::Count, Flags::default().with(Flag::Counter), 1)?;
                }
            }
            Operation::UpdateRunning if counts => {
                assembly.small(Kernel::Count, Flags::default().with(Flag::Counter), 1)?;
            }
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) if wanted.dgamma || wanted.dbeta => {
                assembly.collapse(wanted, [0; 2], 16)?;
                assembly.scratch = 16;
            }
            Operation::Gather => {
                assembly.over_units(Kernel::Gather, self.padding_flags())?;
                assembly.scratch = assembly.forward_records();
            }
            Operation::GatherBackward => {
                assembly.over_units(Kernel::GatherBackward, without_elements(self.backward_flags(false)))?;
                assembly.scratch = assembly.backward_records();
            }
            Operation::Merge(_) | Operation::MergeBackward(_) | Operation::Finalize | Operation::FinalizeBackward => {
                assembly.step()?;
            }
            _ => {}
        }
        let Assembly { dispatches, scratch, .. } = assembly;
        self.check_binding("scratch", scratch)?;
        Ok(self.summary(Regime::Elementwise, geometry, form, 1, dispatches, scratch))
    }

    fn summary(
        &self,
        regime: Regime,
        geometry: Geometry,
        form: Form,
        parts: u32,
        dispatches: Vec<Dispatch>,
        scratch_bytes: u64,
    ) -> Recipe {
        let (bytes_read, bytes_written) = self.traffic(&dispatches, geometry, scratch_bytes);
        let uses_signs =
            self.kept() == Kept::Signs && (self.keeps_signs() || self.tensors().contains(&(Tensor::Dy, Tensor::Dy)));
        let units = geometry.channels();
        let saves = matches!(self.operation, Operation::Forward | Operation::Finalize);
        Recipe {
            operation: self.operation,
            regime,
            channels_last: geometry.channels_last,
            wide: geometry.wide,
            tile: form.tile,
            order: form.order,
            parts,
            dispatches,
            scratch_bytes,
            saved_bytes: if saves { 4 * self.descriptor.saved_planes() * units } else { 0 },
            kept: self.kept(),
            signs_bytes: if uses_signs { self.values().div_ceil(32) * 4 } else { 0 },
            bytes_read,
            bytes_written,
        }
    }

    fn values(&self) -> u64 {
        self.extent.outer * self.extent.channels * self.extent.inner
    }

    fn samples(&self) -> u64 {
        self.descriptor.shape[0] as u64
    }

    /// Bytes of a V in memory.
    fn v_bytes(&self, geometry: Geometry) -> u64 {
        self.descriptor.types.x.bytes() * geometry.width()
    }

    /// A choice that no shape could follow.
    fn check_choice(&self) -> Result<(), PlanError> {
        let Choice { regime, tile, parts, .. } = *self.choice;
        let error = |choice, because: &str| Err(PlanError::Choice { choice, because: because.to_owned() });
        if regime == Some(Regime::Elementwise) && !self.is_elementwise() {
            return error("regime", "this operation gathers statistics or sums first; choose resident or split");
        }
        if matches!(regime, Some(Regime::Resident | Regime::Cached)) && parts.is_some_and(|parts| parts > 1) {
            return error("parts", "a resident or cached unit has one part");
        }
        match tile {
            Some(Tile { lanes, .. }) if !lanes.is_power_of_two() => error("tile", "lanes must be a power of two"),
            Some(Tile { columns: 0, .. }) => error("tile", "columns must be at least 1"),
            Some(tile) if tile.invocations() > self.invocations() => {
                error("tile", "it has more invocations than the device allows in a workgroup")
            }
            _ => Ok(()),
        }
    }

    /// The most invocations of a workgroup: the device's, and no more than any device has.
    fn invocations(&self) -> u32 {
        self.capabilities.invocations.min(MOST_INVOCATIONS)
    }

    fn check_binding(&self, what: &'static str, needs: u64) -> Result<(), PlanError> {
        let has = self.capabilities.binding_bytes;
        let limit = "max_storage_buffer_binding_size";
        if needs > has { Err(PlanError::Limit { what, needs, limit, has }) } else { Ok(()) }
    }

    fn fits_bindings(&self, permutation: &Permutation) -> bool {
        permutation.storage_buffers() <= self.capabilities.storage_buffers
    }

    fn check_workgroup(&self, permutation: &Permutation) -> Result<(), PlanError> {
        let has = self.capabilities;
        let checks = [
            (
                "a workgroup",
                u64::from(permutation.tile.invocations()),
                "max_compute_invocations_per_workgroup",
                u64::from(self.invocations()),
            ),
            (
                "a workgroup's memory",
                u64::from(permutation.workgroup_bytes()),
                "max_compute_workgroup_storage_size",
                u64::from(has.workgroup_bytes),
            ),
            (
                permutation.kernel.name(),
                u64::from(permutation.storage_buffers()),
                "max_storage_buffers_per_shader_stage",
                u64::from(has.storage_buffers),
            ),
        ];
        for (what, needs, limit, has) in checks {
            if needs > has {
                return Err(PlanError::Limit { what, needs, limit, has });
            }
        }
        Ok(())
    }

    /// What has statistics of its own here: groups only where the batch gives them.
    fn over(&self) -> Over {
        match (self.descriptor.over, self.operation) {
            (Over::Groups { .. }, Operation::Inference | Operation::FrozenBackward(_)) => Over::Batch,
            (Over::Groups { samples }, _) if samples as u64 >= self.samples() => Over::Batch,
            (over, _) => over,
        }
    }

    /// One channel is one contiguous unit; channels without an inner axis are the fastest axis.
    fn geometry(&self, dims: Option<&[Dim]>) -> Result<Geometry, PlanError> {
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
        let small = |what, needs: u64| {
            let (limit, has) = ("a 32-bit index", u64::from(i32::MAX as u32));
            u32::try_from(needs).ok().filter(|_| needs <= has).ok_or(PlanError::Limit { what, needs, limit, has })
        };
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
    fn ragged(&self, geometry: Geometry) -> Option<Geometry> {
        let Geometry { channels_last, wide, units, rows, inner: row, groups, .. } = geometry;
        let fits = |side: u32| {
            let run = 4 * u64::from(side);
            row >= run && row.saturating_mul(units.into()).is_multiple_of(run)
        };
        let plain = !wide && !channels_last && groups.is_none() && !self.is_strided() && !self.tensors().is_empty();
        let plain = plain && self.descriptor.padding == Padding::None && self.choice.wide != Some(false);
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
    fn folded(&self, geometry: Geometry) -> Option<Geometry> {
        use Operation::*;
        let Geometry { channels_last, wide, units, rows, groups, .. } = geometry;
        let Descriptor { padding, health, from_y, .. } = self.descriptor;
        let plain = channels_last && !wide && groups.is_none() && !self.is_strided() && *padding == Padding::None;
        let whole = matches!(self.operation, Inference | Forward | Backward(_) | FrozenBackward(_));
        // Lost channels are counted while x is gone over, where they have copies.
        let counts = *health && *from_y;
        let chosen = self.choice.wide == Some(false) || self.choice.regime == Some(Regime::Cached);
        // What a unit costs besides its elements is multiplied too: 1,024 rows of 10 channels, walked as one of 40 each
        // four, took 1.15 times as long (Mesa 22.3), 2^20 rows of 3 channels a third.
        let enough = 16 * u64::from(self.tuning.share);
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

    /// Units that take whole runs together.
    fn whole_runs(geometry: Geometry) -> u32 {
        geometry.ragged.map_or(1, |side| 4 * side / common(geometry.unit_stride, 4 * u64::from(side)) as u32)
    }

    /// The workgroup that streams, over units of these windows.
    fn streaming_form(&self, geometry: Geometry, windows: &[Window]) -> Form {
        let most = floor_power_of_two(self.invocations().min(self.memory_invocations(geometry)));
        let total = floor_power_of_two(self.tuning.lanes).min(most);
        let [elements, beside] = self.run(geometry, windows);
        let lanes = if geometry.channels_last { 1 } else { self.lanes(geometry.length()).min(total) };
        let lanes = lanes.min((total / Self::whole_runs(geometry)).max(1));
        let columns = self.columns(geometry, beside).min((total / lanes).max(1)).min(most);
        let lanes = (total / columns).clamp(1, most / columns);
        let tile = self.choice.tile.unwrap_or(Tile { columns, lanes });
        let across = self.across(geometry, windows, tile, beside);
        // As many loads in flight, of elements of one unit or of units.
        let chunk = (self.tuning.loads / (elements * beside * across)).clamp(1, MOST_LOADS);
        Form { tile, order: self.order(), items: 0, elements, beside, chunk, across }
    }

    /// Elements of a unit, and units beside each other, that one load moves: two V side by side where rows, and the
    /// windows that they are cut in, hold whole pairs.
    fn run(&self, geometry: Geometry, windows: &[Window]) -> [u32; 2] {
        let pairs = |window: &Window| match geometry.channels_last {
            true => window.units.start.is_multiple_of(2) && window.units.end.is_multiple_of(2),
            false => window.inner.start.is_multiple_of(2) && window.inner.end.is_multiple_of(2),
        };
        if let Some(side) = geometry.ragged {
            return [side, 1];
        }
        let twin = self.tuning.twin && self.is_long(geometry) && geometry.groups.is_none() && !self.is_strided();
        match twin && windows.iter().all(pairs) {
            true if geometry.channels_last => [1, 2],
            true => [2, 1],
            false => [1, 1],
        }
    }

    /// Whether values move in 64-bit words.
    fn is_long(&self, geometry: Geometry) -> bool {
        geometry.wide && self.has_long_words()
    }

    fn has_long_words(&self) -> bool {
        self.tuning.long && self.capabilities.int64
    }

    /// The lanes that so many elements of a unit are worth.
    fn lanes(&self, length: u64) -> u32 {
        floor_power_of_two(u32::try_from(length / u64::from(self.tuning.share.max(1))).unwrap_or(u32::MAX))
    }

    fn order(&self) -> Order {
        self.choice.order.unwrap_or(self.tuning.order)
    }

    /// Runs that an invocation walks along together: as many as divide the units of every window evenly.
    fn across(&self, geometry: Geometry, windows: &[Window], tile: Tile, beside: u32) -> u32 {
        let divides = |across: &u32| {
            let units = tile.columns.saturating_mul(*across * beside);
            windows.iter().all(|window| (window.units.len() as u32).is_multiple_of(units))
        };
        let far = self.values() * self.descriptor.types.x.bytes() > u64::from(self.tuning.near);
        let most = if geometry.channels_last && geometry.groups.is_none() && far { self.tuning.across } else { 1 };
        (2..=most.min(MOST_LOADS) / beside).rev().find(divides).unwrap_or(1)
    }

    /// Units, or runs of them, side by side: no more than there are.
    fn columns(&self, geometry: Geometry, beside: u32) -> u32 {
        let [first, last] = self.tuning.columns;
        let columns = if geometry.channels_last { last } else { first };
        let there = (geometry.units / beside).checked_next_power_of_two().unwrap_or(1 << 31);
        floor_power_of_two(columns).min(there)
    }

    /// The invocations whose workgroup memory fits, whichever kernel asks for it.
    fn memory_invocations(&self, geometry: Geometry) -> u32 {
        let value = if geometry.wide { 16 } else { 4 };
        // Of the hungriest kernel: two values and a count a lane.
        let count = if self.descriptor.padding == Padding::None { 4 } else { value };
        (self.capabilities.workgroup_bytes / (2 * value + count)).max(1)
    }

    /// The workgroup and the registers that a whole unit fits, if it does.
    fn resident_form(&self, geometry: Geometry) -> Option<Form> {
        // The backward pass keeps two values where the forward pass keeps one.
        let tensors = match self.operation {
            Operation::Forward => 1,
            Operation::Backward(_) | Operation::FrozenBackward(_) => 2,
            _ => return None,
        };
        let length = u32::try_from(geometry.length()).ok()?;
        let most = floor_power_of_two(self.invocations().min(self.memory_invocations(geometry)))
            .min(floor_power_of_two(self.tuning.resident[1]).max(self.columns(geometry, 1)));
        let tile = match self.choice.tile {
            Some(tile) => tile,
            None => {
                let lanes = self.lanes(geometry.length().next_power_of_two()).min(most);
                // Fewer columns where the lanes need the room, but whole 128-byte lines.
                let line = if geometry.wide { 8 } else { 32 };
                let columns = self.columns(geometry, 1);
                let columns = columns.min((most / lanes).max(line.min(columns)));
                let lanes = lanes.max(floor_power_of_two(self.tuning.resident[0]).min(most) / columns);
                Tile { columns, lanes: lanes.min(most / columns) }
            }
        };
        let items = ITEMS.into_iter().find(|items| length <= tile.lanes.saturating_mul(*items))?;
        let width = if geometry.wide { 4 } else { 1 };
        let form = Form { tile, order: self.order(), items, elements: 1, beside: 1, chunk: 1, across: 1 };
        let few = items <= self.tuning.items && items * width * tensors <= KEPT;
        (few && self.fits_in_one(geometry, form)).then_some(form)
    }

    fn regime(
        &self,
        geometry: Geometry,
        windows: &[Window],
        resident: Option<Form>,
        streaming: Form,
    ) -> Result<Regime, PlanError> {
        if self.is_elementwise() {
            return Ok(Regime::Elementwise);
        }
        let length = geometry.length();
        let because = |because: String| Err(PlanError::Choice { choice: "regime", because });
        // Parts chosen by hand are parts to split in.
        match self.choice.regime.or(self.choice.parts.map(|_| Regime::Split)) {
            Some(Regime::Resident | Regime::Cached) if windows.len() > 1 => {
                because(format!("x takes {} bindings", windows.len()))
            }
            Some(Regime::Resident) if resident.is_none() => {
                because(format!("a channel's {length} elements do not fit a workgroup's registers and bindings"))
            }
            Some(Regime::Cached) if !self.can_be_cached(geometry, streaming) => {
                because("nothing is to be read twice, a lane would loop too long, or there are too few bindings".into())
            }
            Some(Regime::Elementwise) | None => {
                let tiles = streaming.tiles(&(0..geometry.units));
                // Few parts would gain little.
                let enough = tiles >= self.tuning.whole || self.cheap_parts(length) < 4;
                let near = self.slab_bytes(geometry, streaming) <= u64::from(self.tuning.slab);
                let enough = enough && near && windows.len() == 1 && streaming.across == 1;
                // What fits is read once, even where few workgroups are busy: they have little to do, and a
                // second dispatch would cost more.
                Ok(match resident {
                    Some(_) => Regime::Resident,
                    None if enough && self.can_be_cached(geometry, streaming) => Regime::Cached,
                    None => Regime::Split,
                })
            }
            Some(regime) => Ok(regime),
        }
    }

    /// Bytes of a workgroup's units, of all tensors that are read twice.
    fn slab_bytes(&self, geometry: Geometry, form: Form) -> u64 {
        let tensors = if self.operation == Operation::Forward { 1 } else { 2 };
        let units = u64::from(form.tile.columns) * u64::from(form.units());
        (geometry.length() * units).saturating_mul(self.v_bytes(geometry) * tensors)
    }

    /// Whether one workgroup may go over whole units twice.
    fn can_be_cached(&self, geometry: Geometry, form: Form) -> bool {
        let reads_twice = match self.operation {
            Operation::Forward => true,
            Operation::Backward(wanted) => wanted.dx,
            _ => false,
        };
        let chunks = geometry.length() / u64::from(form.chunk * form.elements * form.tile.lanes);
        let whole = form.tile.columns.is_multiple_of(Self::whole_runs(geometry)) && geometry.folded.is_none();
        reads_twice && whole && chunks <= u64::from(self.most_chunks() / 2) && self.fits_in_one(geometry, form)
    }

    /// Whether the one kernel that does it all has no more buffers than the device binds at once.
    fn fits_in_one(&self, geometry: Geometry, form: Form) -> bool {
        let forward = self.operation == Operation::Forward;
        let kernel = match (forward, form.items > 0) {
            (true, true) => Kernel::ForwardResident,
            (true, false) => Kernel::ForwardCached,
            (false, true) => Kernel::BackwardResident,
            (false, false) => Kernel::BackwardCached,
        };
        let flags = match forward {
            true => self.forward_flags().and(self.outcome_flags(false)),
            false => self.backward_flags(true),
        };
        self.fits_bindings(&self.permutation(geometry, form, kernel, flags))
    }

    fn most_chunks(&self) -> u32 {
        self.tuning.iterations.clamp(1, MOST_CHUNKS)
    }

    /// Without statistics of the batch nor sums over it, values do not meet.
    fn is_elementwise(&self) -> bool {
        let frozen_dx = Operation::FrozenBackward(Gradients::DX);
        match self.operation {
            Operation::Gather | Operation::GatherBackward => false,
            operation if operation.is_a_step() => true,
            Operation::Inference | Operation::UpdateRunning => true,
            operation => operation == frozen_dx && self.descriptor.epilogue.activation == Activation::Identity,
        }
    }

    /// Every window with the numbers of its dispatches.
    fn stretches(
        &self,
        geometry: Geometry,
        windows: &[Window],
        form: Form,
        regime: Regime,
    ) -> Result<Vec<Stretch>, PlanError> {
        let mut stretches = Vec::with_capacity(windows.len());
        // Windows of the same units come with the same parts: the first has the most units.
        let tiles = windows.first().map_or(1, |window| form.tiles(&window.units));
        let of_units = windows.iter().filter(|window| window.units.start == 0).count() as u64;
        // Three V a part and unit, and a few planes, are one binding.
        let planes = self.capabilities.binding_bytes / (4 * geometry.width() * u64::from(geometry.units)).max(1);
        let room = u32::try_from(planes.saturating_sub(6) / 3 / of_units.max(1)).unwrap_or(u32::MAX).max(1);
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

    fn params(
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
        let running = self.descriptor.running.unwrap_or_default();
        let (low, high) = match self.descriptor.epilogue.activation {
            Activation::LeakyRelu(slope) => (slope, 0.0),
            Activation::Clamp(low, high) => (low, high),
            _ => (0.0, 0.0),
        };
        let [r_max, d_max] = self.descriptor.renorm.map_or([0.0; 2], |renorm| [renorm.r_max, renorm.d_max]);
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
            channel_divisor: 1,
            channel_modulus: geometry.folded.map_or(geometry.units, |_| geometry.channels() as u32),
            group_divisor: 1,
            group_modulus: 1,
            kept_steps: u32::try_from(self.descriptor.running_sets()).unwrap_or(u32::MAX),
            batches: 1,
            position_step: 1,
            unbiased: u32::from(running.variance == RunningVariance::Unbiased),
            values: of_channel as f32,
            epsilon: self.descriptor.epsilon,
            momentum: running.momentum.weight_of_new(1),
            low,
            high,
            r_max,
            d_max,
            ..Params::default()
        };
        if let Some(groups) = geometry.groups {
            params = Params {
                last_length: (groups.last_rows * geometry.inner) as u32,
                channel_divisor: groups.channel_divisor,
                channel_modulus: groups.channels,
                group_divisor: groups.group_divisor,
                group_modulus: groups.groups,
                batches: if groups.stepped { 1 } else { groups.groups },
                position_step: groups.position_step,
                position_group: groups.position_group as u32,
                ..params
            };
        }
        self.pad(geometry, window, &mut params)?;
        Ok(params)
    }

    /// What kernels find the valid positions by.
    fn pad(&self, geometry: Geometry, window: &Window, params: &mut Params) -> Result<(), PlanError> {
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
                let behind = (axis + 1..shape.len()).filter(|axis| *axis != channel).map(|axis| shape[axis]);
                params.along = shape[axis] as u32;
                params.after = behind.product::<usize>() as u32;
                params.per_sample = (positions / self.samples()) as u32;
            }
        }
        if positions > u64::from(u32::MAX) {
            let (what, limit) = ("the positions of a mask", "a 32-bit index");
            return Err(PlanError::Limit { what, needs: positions, limit, has: u64::from(u32::MAX) });
        }
        self.check_binding("the mask", self.descriptor.padding_bytes())
    }

    /// Parts of a unit: enough to fill the adapter, none so small that lanes go without a chunk, none
    /// so large that a lane would loop too long; and no more than the lanes can merge, and scratch has room for.
    fn parts(&self, geometry: Geometry, length: u32, [tiles, room]: [u32; 2], form: Form) -> Result<u32, PlanError> {
        let tile = form.tile;
        let runs = length / form.elements;
        let chunks = runs.div_ceil(form.chunk).div_ceil(tile.lanes);
        let least = chunks.div_ceil(self.most_chunks()).max(1);
        let copies = geometry.folded.unwrap_or(1);
        let most = (MOST_MERGES / copies).saturating_mul(tile.lanes).min(runs);
        match self.choice.parts {
            // Few lanes on a unit of 2^31 values.
            _ if least > most => Err(PlanError::Limit {
                what: "merging the parts of a channel",
                needs: u64::from(least.div_ceil(MOST_MERGES)),
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
    fn cheap_parts(&self, length: u64) -> u32 {
        let most = length.checked_div(u64::from(self.tuning.merge)).map_or(u64::MAX, |most| most.isqrt().max(1));
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// A kernel with these flags, and those that say how tensors lie.
    fn permutation(&self, geometry: Geometry, form: Form, kernel: Kernel, flags: Flags) -> Permutation {
        let types = self.descriptor.types;
        let packs = |float: Float| float != Float::F32;
        let strided = self.is_strided();
        let folded = geometry.folded.is_some();
        let geometry = if kernel.streams() { geometry } else { geometry.of_channels() };
        let layout = Flags::of(&[
            (Flag::Folded, folded && kernel.streams()),
            (Flag::Copies, folded && !kernel.streams()),
            (Flag::Wide, geometry.wide),
            (Flag::Long, self.is_long(geometry)),
            (Flag::ChannelsLast, geometry.channels_last),
            (Flag::Packed, packs(types.x)),
            (Flag::Bf16, types.x == Float::Bf16),
            (Flag::PackedParameters, packs(types.parameters)),
            (Flag::PackedGradients, packs(types.parameters) && geometry.groups.is_none()),
            (Flag::PackedRunning, packs(types.running)),
            (Flag::Strided, strided),
            (Flag::Ragged, geometry.ragged.is_some()),
            (Flag::Grouped, geometry.groups.is_some()),
            (Flag::Stepped, geometry.groups.is_some_and(|groups| groups.stepped)),
        ]);
        let form = if kernel.streams() { form } else { form.of_units() };
        let Form { tile, items, elements, beside, chunk, across, .. } = form;
        let items = if kernel.is_resident() { items } else { 0 };
        let layout = layout.and(Flags::of(&[(Flag::Chunked, chunk > 1), (Flag::Twin, elements * beside > 1)]));
        let dims = if strided { self.dims(&(0..self.samples())).map_or(0, |dims| dims.len().max(1) as u32) } else { 0 };
        Permutation { kernel, flags: layout.and(flags), tile, items, chunk, across, dims }
    }

    fn activation_flags(&self) -> Flags {
        let activation = match self.descriptor.epilogue.activation {
            Activation::Identity => return Flags::default(),
            Activation::Relu => Flag::Relu,
            Activation::LeakyRelu(_) => Flag::LeakyRelu,
            Activation::Silu => Flag::Silu,
            Activation::Gelu => Flag::Gelu,
            Activation::Sigmoid => Flag::Sigmoid,
            Activation::Tanh => Flag::Tanh,
            Activation::Clamp(..) => Flag::Clamp,
        };
        Flags::default().with(Flag::Activation).with(activation)
    }

    fn padding_flags(&self) -> Flags {
        let first_axis = if self.descriptor.channels_are_last() { 1 } else { 2 };
        match self.descriptor.padding {
            Padding::None => Flags::default(),
            Padding::Mask(mask) => Flags::of(&[(Flag::Masked, true), (Flag::Words, mask == Mask::Words)]),
            Padding::Lengths { axis } => {
                Flags::of(&[(Flag::Masked, true), (Flag::Lengths, true), (Flag::Leading, axis == first_axis)])
            }
        }
    }

    /// The end of a forward pass or of inference.
    fn finish_flags(&self) -> Flags {
        let epilogue = self.descriptor.epilogue;
        let signs = self.keeps_signs() && epilogue.kept() == Kept::Signs;
        self.activation_flags().and(Flags::of(&[(Flag::Residual, epilogue.residual), (Flag::Signs, signs)]))
    }

    /// What is kept from the forward pass; after inference the residual, where a training forward would have
    /// kept signs.
    fn kept(&self) -> Kept {
        match (self.operation, self.descriptor.epilogue.kept()) {
            (Operation::Inference | Operation::UpdateRunning, _) => Kept::Nothing,
            (Operation::FrozenBackward(_), Kept::Signs) => Kept::Residual,
            (_, kept) => kept,
        }
    }

    /// Whether it is a forward pass that a backward pass may follow.
    fn keeps_signs(&self) -> bool {
        matches!(self.operation, Operation::Forward | Operation::Normalize)
    }

    fn affine_flags(&self) -> Flags {
        Flags::of(&[(Flag::Gamma, self.descriptor.gamma), (Flag::Beta, self.descriptor.beta)])
    }

    /// What a forward kernel does to x and y.
    fn forward_flags(&self) -> Flags {
        self.finish_flags().and(self.padding_flags())
    }

    /// What a forward kernel that has the statistics does with them.
    fn outcome_flags(&self, moves: bool) -> Flags {
        let counts = self.descriptor.running.is_some_and(|running| running.has_counter());
        let Descriptor { renorm, health, .. } = self.descriptor;
        self.affine_flags().and(Flags::of(&[
            (Flag::Renorm, renorm.is_some()),
            (Flag::Health, *health),
            (Flag::Running, moves),
            (Flag::Counter, moves && counts),
        ]))
    }

    /// Whether the kernel that has the statistics may move the running ones itself. The cumulative average has
    /// to know the count first, groups come one after the other, and batch renormalization looks at the running
    /// statistics while others would move them.
    fn moves_at_once(&self, geometry: Geometry) -> bool {
        let Descriptor { running, renorm, .. } = self.descriptor;
        running.is_some_and(|running| running.momentum != Momentum::Cumulative)
            && renorm.is_none()
            && geometry.groups.is_none()
    }

    /// What a backward kernel that has everything does.
    fn backward_flags(&self, all: bool) -> Flags {
        let (wanted, frozen) = match self.operation {
            Operation::Backward(wanted) => (wanted, false),
            Operation::FrozenBackward(wanted) => (wanted, true),
            Operation::ApplyBackward => (Gradients::DX, false),
            _ => (Gradients { dx: false, dgamma: false, dbeta: false }, false),
        };
        let Descriptor { epilogue, from_y, health, renorm, padding, .. } = self.descriptor;
        let kept = self.kept();
        let activation = epilogue.activation != Activation::Identity;
        let again = activation && kept != Kept::Signs;
        let masked = if frozen { Flags::default() } else { self.padding_flags() };
        self.activation_flags().and(masked).and(Flags::of(&[
            (Flag::Frozen, frozen),
            (Flag::Gamma, self.descriptor.gamma && (wanted.dx || again || *from_y)),
            (Flag::Beta, self.descriptor.beta && (again || *from_y)),
            (Flag::Dx, wanted.dx && all),
            (Flag::Dgamma, wanted.dgamma && all),
            (Flag::Dbeta, wanted.dbeta && all),
            (Flag::Signs, kept == Kept::Signs),
            (Flag::Residual, kept == Kept::Residual),
            (Flag::Dresidual, all && epilogue.residual && activation),
            (Flag::Renorm, renorm.is_some() && !frozen),
            (Flag::Counted, (*padding != Padding::None || self.operation.is_a_step()) && !frozen),
            (Flag::FromY, *from_y),
            (Flag::Health, *health && *from_y && all),
        ]))
    }

    /// Enough workgroups in two dimensions.
    fn grid(&self, workgroups: u64) -> Result<[u32; 2], PlanError> {
        let most = u64::from(self.capabilities.workgroups.max(1));
        let rows = workgroups.div_ceil(most);
        if rows > most || workgroups > u64::from(u32::MAX) {
            let (what, limit) = ("the grid", "max_compute_workgroups_per_dimension");
            return Err(PlanError::Limit { what, needs: rows, limit, has: most });
        }
        // Both at most `most`, which is a u32.
        Ok([workgroups.div_ceil(rows.max(1)) as u32, rows as u32])
    }

    /// Bytes read and written by all dispatches: tensors as often as a kernel passes over them, the rest once.
    fn traffic(&self, dispatches: &[Dispatch], geometry: Geometry, scratch: u64) -> (u64, u64) {
        let x = self.values() * self.descriptor.types.x.bytes();
        let channel = self.extent.channels;
        let units = geometry.channels();
        let parameters = channel * self.descriptor.types.parameters.bytes();
        let running = channel * self.descriptor.running_sets() as u64 * self.descriptor.types.running.bytes();
        let bits = self.values().div_ceil(32) * 4;
        let size = |name: &str| match name {
            "gamma" | "beta" | "dgamma" | "dbeta" => parameters,
            "running_mean" | "running_variance" => running,
            "saved" => 4 * units,
            "signs" => bits,
            "valid" => self.descriptor.padding_bytes(),
            _ => 0,
        };
        // A window has its share of the tensors.
        let streams = |dispatch: &Dispatch| {
            let Params { length, first_unit, end_unit, last_length, group_modulus, .. } = dispatch.params;
            let units = u64::from(end_unit - first_unit);
            let short = u64::from(length - last_length.min(length)) * units / u64::from(group_modulus.max(1));
            (units * u64::from(length) - short) * self.v_bytes(geometry)
        };
        let (mut read, mut written) = (scratch, scratch);
        let mut once = std::collections::HashSet::new();
        for dispatch in dispatches {
            for slot in dispatch.permutation.slots() {
                let name = slot.name.as_str();
                let tensor = Tensor::ALL.iter().any(|tensor| tensor.name() == name);
                let writes = slot.access == crate::shader::Access::Write;
                let moves = matches!(name, "running_mean" | "running_variance") && writes;
                let bytes = if tensor { streams(dispatch).min(x) } else { size(name) };
                let planes = match (name, writes) {
                    ("saved", true) => self.descriptor.saved_planes(),
                    ("saved", false) => 2,
                    _ => 1,
                };
                if tensor || once.insert((slot.name.clone(), writes)) {
                    read += if writes && !moves { 0 } else { bytes * planes };
                    written += if writes { bytes * planes } else { 0 };
                }
            }
        }
        (read, written)
    }
}

/// Chunks that a lane may take, whatever the tuning says, and parts that it may merge: together well
/// under half of the 65,535 iterations after which Mesa 22.3's software driver silently ends an
/// invocation.
const MOST_CHUNKS: u32 = 16_384;
const MOST_MERGES: u32 = 12_000;

/// Loads in flight that a kernel's text may spell out.
const MOST_LOADS: u32 = 32;

/// Invocations of a workgroup that no device exceeds by far (1,024 is common, 2,048 the most seen), so
/// that what is multiplied by it stays a u32.
const MOST_INVOCATIONS: u32 = 4_096;

/// The greatest power of two, up to `run`, that divides `row`.
fn common(row: u64, run: u64) -> u64 {
    run.min(1 << row.trailing_zeros().min(32))
}

fn floor_power_of_two(n: u32) -> u32 {
    if n == 0 { 1 } else { 1 << n.ilog2() }
}
