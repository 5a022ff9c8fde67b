//! From a descriptor and a device to a recipe: every rule by which kernels, tiles and parts are chosen.

mod assembly;
mod bands;
mod flags;
mod form;
mod geometry;
mod stretches;
mod windows;

use crate::argument::Argument;
use crate::descriptor::{Activation, Descriptor, Extent, Gradients, Kept, Over, Padding, Tensor};
use crate::error::PlanError;
use crate::recipe::{Capabilities, Choice, Dispatch, Operation, Params, Recipe, Regime};
use crate::shader::{Access, Flag, Kernel, Permutation, Tile};
use crate::sizes::Sizes;
use crate::tuning::Tuning;
use assembly::{Assembly, without_elements};
use form::Form;
use geometry::{Geometry, Groups, small};
use stretches::Stretch;
use windows::Window;

/// What a recipe is made from.
pub(crate) struct Planner<'a> {
    pub descriptor: &'a Descriptor,
    pub operation: Operation,
    pub extent: Extent,
    pub sizes: &'a Sizes,
    pub capabilities: &'a Capabilities,
    pub tuning: &'a Tuning,
    pub choice: &'a Choice,
}

impl Planner<'_> {
    /// The recipe, by which kernels walk as the tensor that they read first lies in memory.
    pub fn recipe(&self) -> Result<Recipe, PlanError> {
        let leader = self.tensors().first().map_or(Tensor::X, |(_, tensor)| *tensor);
        let descriptor = &*self.descriptor.in_memory_order(leader);
        Planner { descriptor, extent: descriptor.extent()?, ..*self }.recipe_in_order()
    }

    fn recipe_in_order(&self) -> Result<Recipe, PlanError> {
        self.check_choice()?;
        if self.extent.outer == 0 || self.extent.inner == 0 {
            return self.of_nothing();
        }
        let dims = self.dims(&(0..self.samples()));
        let geometry = self.geometry(dims.as_deref())?;
        let windows = self.windows(geometry)?;
        let resident = if windows.len() == 1 { self.resident_form(geometry) } else { None };
        let streams_whole = windows.len() == 1 && resident.is_none();
        let joined = || self.ragged(geometry).or_else(|| self.folded(geometry));
        let (geometry, windows) = match streams_whole.then(joined).flatten() {
            Some(other) => (other, vec![Window::whole(other)]),
            None => (geometry, windows),
        };
        let run = self.run(geometry, &windows);
        let streaming = self.streaming_form(geometry, &windows, run);
        // A kernel that goes over its units twice, with all that is worked out between, took lavapipe (Mesa 25.0) up to
        // four seconds to compile for two units a lane; and with a mask up to 1.3 for all of the loads.
        let cached = self.streaming_form(geometry, &windows, if geometry.channels_last { [1, 1] } else { run });
        let masked = self.descriptor.padding != Padding::None;
        let cached = Form { chunk: if masked { cached.chunk.div_ceil(2) } else { cached.chunk }, ..cached };
        let regime = self.regime(geometry, &windows, resident, cached)?;
        let form = match (regime, resident) {
            (Regime::Resident, Some(form)) => form,
            (Regime::Cached, _) => cached,
            _ => streaming,
        };
        let band = self.band(geometry, &windows, form, regime);
        let of_band = |band| {
            let stretches = self.stretches(geometry, &windows, form, regime, band)?;
            Ok(Assembly { band, ..Assembly::of(self, geometry, form, stretches) })
        };
        let mut assembly = of_band(band)?;
        if band.is_some() && !assembly.can_go_in_bands() {
            assembly = of_band(None)?;
        }
        let parts = assembly.stretches.first().map_or(1, |stretch| stretch.params.all_parts);
        assembly.assemble(regime)?;
        let Assembly { dispatches, scratch, .. } = assembly;
        let recipe = self.summary(regime, geometry, form, parts, dispatches, scratch)?;
        // Kernels count them from the start of x.
        if recipe.signs_bytes > 0 && self.values() / geometry.width() > u64::from(u32::MAX) {
            let (what, limit, has) = ("the activation's signs", "a 32-bit index", u64::from(u32::MAX));
            return Err(PlanError::Limit { what, needs: self.values() / geometry.width(), limit, has });
        }
        Ok(recipe)
    }

    /// Of an empty batch no value counts, and gradients are 0. Steps that go over no tensor are those of any batch.
    fn of_nothing(&self) -> Result<Recipe, PlanError> {
        // As many as have statistics, with groups and steps too.
        let channels = self.extent.channels as u32;
        let units = small("the channels of all groups", self.sizes.units)?;
        let groups = units / channels;
        let (stepped, [channel_divisor, group_divisor]) = match self.descriptor.over {
            Over::Steps { .. } if !self.descriptor.channels_are_last() => (true, [groups, 1]),
            over => (matches!(over, Over::Steps { .. }), [1, channels]),
        };
        let groups = Groups {
            stepped,
            channels,
            channel_divisor,
            groups,
            group_divisor,
            group_stride: 0,
            last_rows: 0,
            position_step: 1,
            position_group: 0,
        };
        let geometry = Geometry {
            channels_last: false,
            wide: false,
            units,
            rows: 0,
            inner: 1,
            row_stride: 0,
            unit_stride: 1,
            groups: (self.over() != Over::Batch).then_some(groups),
            ragged: None,
            folded: None,
        };
        let form = self.streaming_form(geometry, &[], [1, 1]);
        let params = Params {
            units,
            end_unit: units,
            tiles: units.div_ceil(form.tile.columns),
            inner: 1,
            ..self.rules(geometry)
        };
        let stretches = vec![Stretch { params, pieces: vec![] }];
        let mut assembly = Assembly::of(self, geometry, form, stretches);
        match self.operation {
            Operation::Forward => {
                let flags = self.outcome_flags(false).and(self.padding_flags());
                assembly.over_units(Kernel::ForwardSettle, flags)?;
                assembly.scratch = assembly.forward_records()?;
                assembly.move_running()?;
            }
            Operation::UpdateRunning => assembly.move_running()?,
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) if wanted.dgamma || wanted.dbeta => {
                // Nothing is added up.
                assembly.stretches[0].params.group_modulus = 0;
                assembly.collapse(wanted, [0; 2], 16)?;
                assembly.scratch = 16;
            }
            Operation::Gather => {
                assembly.over_units(Kernel::Gather, self.padding_flags())?;
                assembly.scratch = assembly.forward_records()?;
            }
            Operation::GatherBackward => {
                assembly.over_units(Kernel::GatherBackward, without_elements(self.backward_flags(false)))?;
                assembly.scratch = assembly.backward_records()?;
            }
            Operation::Merge(_) | Operation::MergeBackward(_) | Operation::Finalize | Operation::FinalizeBackward => {
                assembly.step()?;
            }
            _ => {}
        }
        let Assembly { dispatches, scratch, .. } = assembly;
        self.summary(Regime::Elementwise, geometry, form, 1, dispatches, scratch)
    }

    fn summary(
        &self,
        regime: Regime,
        geometry: Geometry,
        form: Form,
        parts: u32,
        dispatches: Vec<Dispatch>,
        scratch_bytes: u64,
    ) -> Result<Recipe, PlanError> {
        self.check_bindings(&dispatches, scratch_bytes)?;
        let banded = |dispatch: &&Dispatch| dispatch.permutation.flags.has(Flag::Banded);
        let bands = 1 + dispatches.iter().filter(banded).count() as u32;
        let (bytes_read, bytes_written) = self.traffic(&dispatches, geometry, scratch_bytes, bands > 1);
        let uses_signs =
            self.kept() == Kept::Signs && (self.keeps_signs() || self.tensors().contains(&(Tensor::Dy, Tensor::Dy)));
        let saves = matches!(self.operation, Operation::Forward | Operation::Finalize);
        Ok(Recipe {
            operation: self.operation,
            regime,
            channels_last: geometry.channels_last,
            wide: geometry.wide,
            tile: form.tile,
            order: form.order,
            parts,
            bands,
            dispatches,
            scratch_bytes,
            saved_bytes: if saves { self.sizes.bytes(Argument::Saved) } else { 0 },
            kept: self.kept(),
            signs_bytes: if uses_signs { self.sizes.bytes(Argument::Signs) } else { 0 },
            bytes_read,
            bytes_written,
            sizes: self.sizes.clone(),
        })
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

    /// Checks that the device binds as much as each dispatch does, and that kernels can count it.
    fn check_bindings(&self, dispatches: &[Dispatch], scratch: u64) -> Result<(), PlanError> {
        let (limit, has) = ("max_storage_buffer_binding_size", self.capabilities.binding_bytes);
        for dispatch in dispatches {
            let permutation = &dispatch.permutation;
            for slot in permutation.slots() {
                let Some((argument, piece)) = dispatch.argument(&slot.name) else { continue };
                let what = argument.name();
                let needs = match (piece, argument) {
                    (Some(piece), _) => piece.end - piece.start,
                    (None, Argument::Scratch) => scratch,
                    (None, argument) => self.sizes.bytes(argument),
                };
                if needs > has {
                    return Err(PlanError::Limit { what, needs, limit, has });
                }
                // Tensors and records are counted in V, what there is a channel in words.
                let wide = if permutation.flags.has(Flag::Wide) { 4 } else { 1 };
                let element = match Argument::named(&slot.name) {
                    Some(Argument::Scratch) => 4 * wide,
                    Some(argument) if argument.tensor().is_some() => self.descriptor.types.x.bytes() * wide,
                    _ => 4,
                };
                let (needs, limit, has) = (needs / element, "a 32-bit index", u64::from(u32::MAX));
                if needs > has {
                    return Err(PlanError::Limit { what, needs, limit, has });
                }
            }
        }
        // Dispatches may bind parts of it alone, but it is one buffer.
        if scratch > has {
            return Err(PlanError::Limit { what: "scratch", needs: scratch, limit, has });
        }
        Ok(())
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

    fn regime(
        &self,
        geometry: Geometry,
        windows: &[Window],
        resident: Option<Form>,
        cached: Form,
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
            Some(Regime::Cached) if !self.can_be_cached(geometry, cached) => {
                because("nothing is to be read twice, a lane would loop too long, or there are too few bindings".into())
            }
            Some(Regime::Elementwise) | None => {
                let tiles = cached.tiles(&(0..geometry.units));
                // Few parts would gain little.
                let enough = tiles >= self.tuning.whole || self.cheap_parts(length) < 4;
                let near = self.slab_bytes(geometry, cached) <= u64::from(self.tuning.slab);
                let enough = enough && near && windows.len() == 1 && cached.across == 1;
                // What fits is read once, even where few workgroups are busy: they have little to do, and a
                // second dispatch would cost more.
                Ok(match resident {
                    Some(_) => Regime::Resident,
                    None if enough && self.can_be_cached(geometry, cached) => Regime::Cached,
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
        let whole = form.tile.columns.is_multiple_of(geometry.whole_runs()) && geometry.folded.is_none();
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

    /// Enough workgroups in two dimensions.
    fn grid(&self, workgroups: u64) -> Result<[u32; 2], PlanError> {
        let most = u64::from(self.capabilities.workgroups);
        let rows = workgroups.div_ceil(most.max(1));
        let columns = workgroups.div_ceil(rows.max(1));
        let refuse = |needs, limit, has| Err(PlanError::Limit { what: "the grid", needs, limit, has });
        if rows > most {
            return refuse(rows, "max_compute_workgroups_per_dimension", most);
        }
        // Kernels number all of the grid's, the few among them too that have no work.
        let all = columns.saturating_mul(rows);
        if all > u64::from(u32::MAX) {
            return refuse(all, "a 32-bit index", u64::from(u32::MAX));
        }
        // Both at most `most`, which is a u32.
        Ok([columns as u32, rows as u32])
    }

    /// Bytes read and written by all dispatches: tensors as often as a kernel passes over them, but bands and the rest
    /// once.
    fn traffic(&self, dispatches: &[Dispatch], geometry: Geometry, scratch: u64, bands: bool) -> (u64, u64) {
        let x = self.values() * self.descriptor.types.x.bytes();
        let size = |argument: Argument| {
            use Argument::*;
            match argument {
                Gamma | Beta | Dgamma | Dbeta | RunningMean | RunningVariance | Signs | Valid => {
                    self.sizes.bytes(argument)
                }
                Saved => 4 * self.sizes.units,
                // In bands.
                argument if argument.tensor().is_some() => x,
                _ => 0,
            }
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
                let Some(argument) = Argument::named(&slot.name) else { continue };
                let tensor = argument.tensor().is_some();
                let writes = slot.access == Access::Write;
                let moves = matches!(argument, Argument::RunningMean | Argument::RunningVariance) && writes;
                let bytes = if tensor && !bands { streams(dispatch).min(x) } else { size(argument) };
                let planes = match (argument, writes) {
                    (Argument::Saved, true) => self.descriptor.saved_planes(),
                    (Argument::Saved, false) => 2,
                    _ => 1,
                };
                if tensor && !bands || once.insert((argument, writes)) {
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

/// Invocations of a workgroup that no device exceeds by far (1,024 is common, 2,048 the most seen), so
/// that what is multiplied by it stays a u32.
const MOST_INVOCATIONS: u32 = 4_096;
