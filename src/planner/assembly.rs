//! The dispatches of an operation, put together.

use super::bands::Passes;
use super::{Form, Geometry, MOST_CHUNKS, MOST_MERGES, Planner, Stretch};
use crate::argument::Argument;
use crate::descriptor::{Descriptor, Gradients, Momentum};
use crate::error::PlanError;
use crate::recipe::{Dispatch, Operation, Params, Piece, Regime};
use crate::shader::{Flag, Flags, Kernel, Permutation};
use crate::sizes;

/// The dispatches of a recipe as they are put together.
pub(super) struct Assembly<'a, 'b> {
    pub(super) planner: &'a Planner<'b>,
    pub(super) geometry: Geometry,
    pub(super) form: Form,
    pub(super) stretches: Vec<Stretch>,
    /// Units of a band.
    pub(super) band: Option<u32>,
    pub(super) dispatches: Vec<Dispatch>,
    /// Bytes of scratch.
    pub(super) scratch: u64,
}

impl<'a, 'b> Assembly<'a, 'b> {
    pub(super) fn of(planner: &'a Planner<'b>, geometry: Geometry, form: Form, stretches: Vec<Stretch>) -> Self {
        Self { planner, geometry, form, stretches, band: None, dispatches: vec![], scratch: 0 }
    }

    pub(super) fn assemble(&mut self, regime: Regime) -> Result<(), PlanError> {
        match (self.planner.operation, regime) {
            (Operation::Inference, _) => self.inference(),
            (Operation::FrozenBackward(_), Regime::Elementwise) => {
                let flags = Flags::of(&[(Flag::Gradient, true), (Flag::Gamma, self.planner.descriptor.gamma)]);
                self.over_windows(Kernel::Inference, |_, _| flags)
            }
            (Operation::UpdateRunning, _) => self.move_running(),
            (Operation::Forward, Regime::Resident) => self.forward_in_one(Kernel::ForwardResident),
            (Operation::Forward, Regime::Cached) => self.forward_in_one(Kernel::ForwardCached),
            (Operation::Forward, _) => self.forward_split(),
            (Operation::Backward(wanted), _) => self.backward(wanted, false, regime),
            (Operation::FrozenBackward(wanted), _) => self.backward(wanted, true, regime),
            _ => self.step(),
        }
    }

    /// One step of a pass whose statistics, or sums, are values.
    pub(super) fn step(&mut self) -> Result<(), PlanError> {
        let planner = self.planner;
        let backward = planner.backward_flags(false);
        let Params { units, .. } = self.stretches[0].params;
        match planner.operation {
            Operation::Gather => {
                let first = |i, _: &Params| planner.forward_first(false, i);
                self.over_windows(Kernel::ForwardPartial, first)?;
                self.scratch = self.forward_records()?;
                self.over_units(Kernel::Gather, planner.padding_flags())
            }
            Operation::Normalize => {
                let renorm = Flags::of(&[(Flag::Renorm, planner.descriptor.renorm.is_some())]);
                let flags = planner.affine_flags().and(planner.finish_flags()).and(renorm);
                self.over_windows(Kernel::Inference, |_, _| flags)
            }
            Operation::Merge(parts) | Operation::MergeBackward(parts) => {
                if !(1..=MOST_CHUNKS).contains(&parts) {
                    let because = format!("there are {parts}; one call merges 1 to {MOST_CHUNKS}");
                    return Err(PlanError::Option { option: "parts", because });
                }
                self.stretches[0].params.all_parts = parts;
                let forward = matches!(planner.operation, Operation::Merge(_));
                self.small(if forward { Kernel::Merge } else { Kernel::MergeBackward }, Flags::default(), units)
            }
            Operation::Finalize => {
                let moves = planner.moves_at_once(self.geometry);
                let moves = moves && self.fits(Kernel::Finalize, planner.outcome_flags(true));
                self.small(Kernel::Finalize, planner.outcome_flags(moves), units)?;
                if moves { Ok(()) } else { self.move_running() }
            }
            Operation::GatherBackward => {
                let dresidual = planner.backward_flags(true).has(Flag::Dresidual);
                let flags = backward.and(Flags::of(&[(Flag::Dresidual, dresidual)]));
                self.over_windows(Kernel::BackwardPartial, |_, _| flags)?;
                self.over_units(Kernel::GatherBackward, without_elements(backward))?;
                self.scratch = self.backward_records()?;
                Ok(())
            }
            Operation::FinalizeBackward => {
                let Descriptor { gamma, renorm, .. } = planner.descriptor;
                let flags = Flags::of(&[
                    (Flag::Gamma, *gamma),
                    (Flag::Dgamma, true),
                    (Flag::Dbeta, true),
                    (Flag::Renorm, renorm.is_some()),
                    (Flag::Counted, true),
                ]);
                self.small(Kernel::FinalizeBackward, flags, units)
            }
            _ => {
                let flags = backward.with(Flag::Dx).with(Flag::Given);
                self.over_windows(Kernel::BackwardApply, |_, _| flags)
            }
        }
    }

    /// Two V a part and unit, and the planes of `shared/parts.wgsl`.
    pub(super) fn backward_records(&self) -> Result<u64, PlanError> {
        let Params { units, all_parts, .. } = self.stretches[0].params;
        sizes::product("scratch", &[self.v(), units.into(), 2 * u64::from(all_parts) + 6])
    }

    fn permutation(&self, kernel: Kernel, flags: Flags) -> Permutation {
        self.planner.permutation(self.geometry, self.form, kernel, flags)
    }

    pub(super) fn fits(&self, kernel: Kernel, flags: Flags) -> bool {
        self.planner.fits_bindings(&self.permutation(kernel, flags))
    }

    fn push(
        &mut self,
        permutation: Permutation,
        workgroups: u64,
        params: Params,
        pieces: Vec<Piece>,
    ) -> Result<(), PlanError> {
        self.planner.check_workgroup(&permutation)?;
        let grid = self.planner.grid(workgroups)?;
        self.dispatches.push(Dispatch { permutation, grid, pieces, params });
        Ok(())
    }

    /// A kernel once a window, over all of it, with flags that may depend on which window it is.
    pub(super) fn over_windows(
        &mut self,
        kernel: Kernel,
        flags: impl Fn(usize, &Params) -> Flags,
    ) -> Result<(), PlanError> {
        for i in 0..self.stretches.len() {
            let stretch = self.stretches[i].clone();
            let flags = flags(i, &stretch.params);
            self.over_window(stretch, kernel, flags, 1)?;
        }
        Ok(())
    }

    /// A kernel over one, with so many workgroups a part and tile.
    pub(super) fn over_window(
        &mut self,
        Stretch { params, pieces }: Stretch,
        kernel: Kernel,
        flags: Flags,
        times: u64,
    ) -> Result<(), PlanError> {
        let permutation = self.permutation(kernel, flags);
        self.push(permutation, times * u64::from(params.tiles) * u64::from(params.parts), params, pieces)
    }

    /// A kernel once a range of units, whatever windows they come in.
    pub(super) fn over_units(&mut self, kernel: Kernel, flags: Flags) -> Result<(), PlanError> {
        for i in 0..self.stretches.len() {
            let params = self.stretches[i].params;
            if params.first_part == 0 {
                // One unit an invocation.
                let params = self.of_channels(params);
                let units = params.first_unit..params.end_unit;
                let params = Params { tiles: self.form.of_units().tiles(&units), ..params };
                let permutation = self.permutation(kernel, flags);
                self.push(permutation, u64::from(params.tiles), params, vec![])?;
            }
        }
        Ok(())
    }

    /// A kernel with an invocation for each of `many` things.
    pub(super) fn small(&mut self, kernel: Kernel, flags: Flags, many: u32) -> Result<(), PlanError> {
        let permutation = self.permutation(kernel, flags);
        let workgroups = many.div_ceil(self.form.tile.invocations());
        let params = self.of_channels(self.stretches[0].params);
        self.push(permutation, u64::from(workgroups), params, vec![])
    }

    /// As kernels have them that go over no tensor.
    fn of_channels(&self, params: Params) -> Params {
        match self.geometry.folded {
            Some(_) => Params { units: params.channel_modulus, end_unit: params.channel_modulus, ..params },
            None => params,
        }
    }

    /// In one dispatch, or where that is too many bindings, by way of scratch.
    fn inference(&mut self) -> Result<(), PlanError> {
        use Kernel::{ForwardApply, Inference};
        let finish = self.planner.finish_flags();
        let [whole, settled] = [self.planner.affine_flags().with(Flag::Frozen), finish.with(Flag::Settled)];
        let at_once = whole.and(finish);
        if self.fits(Inference, at_once) || !self.fits(ForwardApply, settled) {
            return self.over_windows(Inference, |_, _| at_once);
        }
        // No records come before the planes.
        self.stretches.iter_mut().for_each(|stretch| stretch.params.all_parts = 0);
        self.scratch = self.forward_records()?;
        self.leave_statistics(whole)?;
        self.over_windows(ForwardApply, |_, _| settled)
    }

    /// The running statistics, γ and β left in scratch, in one dispatch or, where that is too many bindings, in two.
    fn leave_statistics(&mut self, flags: Flags) -> Result<(), PlanError> {
        use Kernel::InferenceSettle;
        let Params { units, .. } = self.of_channels(self.stretches[0].params);
        if self.fits(InferenceSettle, flags) || !flags.has(Flag::Beta) {
            return self.small(InferenceSettle, flags, units);
        }
        self.small(InferenceSettle, flags.without(Flag::Beta), units)?;
        let of_beta = flags.without(Flag::Frozen).without(Flag::Gamma).with(Flag::Settled);
        self.small(InferenceSettle, of_beta, units)
    }

    fn forward_in_one(&mut self, kernel: Kernel) -> Result<(), PlanError> {
        let planner = self.planner;
        let flags = |moves| planner.forward_flags().and(planner.outcome_flags(moves));
        let moves = planner.moves_at_once(self.geometry) && self.fits(kernel, flags(true));
        self.over_windows(kernel, |_, _| flags(moves))?;
        if moves { Ok(()) } else { self.move_running() }
    }

    fn forward_split(&mut self) -> Result<(), PlanError> {
        use Kernel::{ForwardApply, ForwardPartial, ForwardSettle};
        let planner = self.planner;
        let outcome = |moves| without_counter(planner.outcome_flags(moves));
        let first = planner.forward_first(false, 0);
        let apply = |moves| planner.forward_second(moves);
        let can_move = planner.moves_at_once(self.geometry);
        let moves = can_move && self.fits_second(ForwardApply, first, apply(true));
        let settles = self.settles() || !self.fits_second(ForwardApply, first, apply(moves));
        let moves = if settles { can_move && self.fits(ForwardSettle, outcome(true)) } else { moves };
        let counts = planner.outcome_flags(moves).has(Flag::Counter);

        self.scratch = self.forward_records()?;
        self.in_two_passes(Passes {
            kernels: [ForwardPartial, ForwardSettle, ForwardApply],
            first: &|i, _| planner.forward_first(counts, i),
            settle: settles.then(|| outcome(moves).and(planner.padding_flags())).into_iter().collect(),
            second: if settles { planner.finish_flags().with(Flag::Settled) } else { apply(moves) },
        })?;
        if moves { Ok(()) } else { self.move_running() }
    }

    /// Whether a dispatch of its own merges the parts: where it is cheaper, where an invocation of the last
    /// dispatch, which would merge those of all its units, would loop for long, and where one would have to merge
    /// those of its neighbours' units besides, or of its units' copies.
    pub(super) fn settles(&self) -> bool {
        let (parts, lanes) = (self.stretches[0].params.all_parts, self.form.tile.lanes);
        let merged = u64::from(parts.div_ceil(lanes)) * u64::from(self.form.units());
        let joined = self.geometry.ragged.is_some() || self.geometry.folded.is_some();
        joined || parts >= self.planner.tuning.settle || merged > u64::from(MOST_MERGES)
    }

    /// Four V a part and unit, and the planes of `shared/records.wgsl`.
    pub(super) fn forward_records(&self) -> Result<u64, PlanError> {
        let Params { units, all_parts, .. } = self.stretches[0].params;
        sizes::product("scratch", &[self.v(), units.into(), 4 * u64::from(all_parts) + 4])
    }

    /// The running statistics moved by what has been saved.
    pub(super) fn move_running(&mut self) -> Result<(), PlanError> {
        let Some(running) = self.planner.descriptor.running else { return Ok(()) };
        let params = self.of_channels(self.stretches[0].params);
        let Params { units, channel_modulus, group_modulus, kept_steps, .. } = params;
        let cumulative = running.momentum == Momentum::Cumulative;
        let many = match self.geometry.groups {
            None => units,
            Some(groups) if groups.stepped => kept_steps.min(group_modulus).saturating_mul(channel_modulus),
            Some(groups) => groups.channels,
        };
        if self.geometry.groups.is_some_and(|groups| !groups.stepped) {
            self.check_groups()?;
        }
        if cumulative {
            self.small(Kernel::Count, Flags::default().with(Flag::Counter), 1)?;
        }
        let counts = running.has_counter() && !cumulative;
        self.small(Kernel::Running, Flags::of(&[(Flag::Cumulative, cumulative), (Flag::Counter, counts)]), many)
    }

    /// One loop over all groups must end before drivers end it.
    fn check_groups(&self) -> Result<(), PlanError> {
        let groups = self.stretches[0].params.group_modulus;
        if self.geometry.groups.is_some() && groups > MOST_CHUNKS {
            let because = format!("there are {groups} groups or steps, and no more than {MOST_CHUNKS} are added up");
            return Err(PlanError::Option { option: "over", because });
        }
        Ok(())
    }

    fn v(&self) -> u64 {
        4 * self.geometry.width()
    }

    fn backward(&mut self, wanted: Gradients, frozen: bool, regime: Regime) -> Result<(), PlanError> {
        let planner = self.planner;
        let Params { units, .. } = self.stretches[0].params;
        let all = planner.backward_flags(true);
        let first = planner.backward_flags(false);
        let sums = wanted.dgamma || wanted.dbeta;
        let notes = all.has(Flag::Health);
        let in_one = match regime {
            Regime::Resident => Some(Kernel::BackwardResident),
            Regime::Cached => Some(Kernel::BackwardCached),
            _ => None,
        };
        let records = if in_one.is_some() { 0 } else { self.backward_records()? };
        // Gradients of every group's channels, to be added up.
        let grouped = self.geometry.groups.is_some() && sums;
        let alignment = planner.capabilities.alignment;
        let channels = 4 * u64::from(units) * if self.geometry.channels_last { self.geometry.width() } else { 1 };
        let behind = |end| sizes::aligned("scratch", end, alignment);
        let gradients = [behind(records)?, behind(sizes::sum("scratch", &[behind(records)?, channels])?)?];
        let from = self.dispatches.len();
        if let Some(kernel) = in_one {
            self.over_windows(kernel, |_, _| all)?;
        } else {
            let dresidual = all.has(Flag::Dresidual);
            // Frozen, dx waits for no sum, so the first dispatch writes it, if it can bind so much; but not over a dy
            // of which the unit before writes what this one has yet to sum.
            let shared = self.geometry.ragged.is_some() && sums;
            let on_the_way = frozen && wanted.dx && !shared;
            let leaves = dresidual && self.band.is_none();
            let on_the_way = Flags::of(&[(Flag::Dx, on_the_way), (Flag::Dresidual, leaves)]);
            // Where that is too many bindings with frozen statistics, a dispatch before leaves those in scratch.
            let leave = Flags::of(&[(Flag::Frozen, true), (Flag::Gradient, true), (Flag::Beta, first.has(Flag::Beta))]);
            let leave = leave.and(Flags::of(&[(Flag::Gamma, first.has(Flag::Gamma))]));
            let handed = [Flag::Gamma, Flag::Beta].into_iter().fold(first.with(Flag::Known), Flags::without);
            let hands_over = frozen
                && !first.has(Flag::FromY)
                && !self.fits(Kernel::BackwardPartial, first.and(on_the_way))
                && self.fits(Kernel::BackwardPartial, handed.and(on_the_way));
            let first = if hands_over { handed } else { first };
            if hands_over {
                self.leave_statistics(leave)?;
            }
            let full = first.and(on_the_way);
            let at_once = self.fits(Kernel::BackwardPartial, full);
            // Channels that are lost are counted by the kernel that ends with them.
            let noting = full.with(Flag::Health);
            let ends = notes && frozen && !sums && self.fits(Kernel::BackwardPartial, noting);
            let partial = match at_once {
                true if ends => noting,
                true => full,
                false => first,
            };
            // Sums need no scale but to find the activation, or x, again.
            let sums_alone = !partial.has(Flag::Dx) && !partial.has(Flag::Activation) && !partial.has(Flag::FromY);
            let partial = if sums_alone { partial.without(Flag::Gamma) } else { partial };
            let dx_later = wanted.dx && !partial.has(Flag::Dx);
            let dresidual_later = dresidual && !partial.has(Flag::Dresidual);
            let settle = without_elements(first).and(Flags::of(&[
                (Flag::Dx, dx_later),
                (Flag::Dgamma, wanted.dgamma),
                (Flag::Dbeta, wanted.dbeta),
                (Flag::Health, notes),
            ]));
            if !dx_later && dresidual_later {
                let (what, needs) =
                    ("backward_partial", u64::from(self.permutation(Kernel::BackwardPartial, full).storage_buffers()));
                let (limit, has) =
                    ("max_storage_buffers_per_shader_stage", u64::from(planner.capabilities.storage_buffers));
                return Err(PlanError::Limit { what, needs, limit, has });
            }
            if dx_later {
                let apply = planner.backward_second(dresidual_later);
                let settles = self.settles() || !self.fits_second(Kernel::BackwardApply, first, apply);
                self.in_two_passes(Passes {
                    kernels: [Kernel::BackwardPartial, Kernel::BackwardSettle, Kernel::BackwardApply],
                    first: &|_, _| partial,
                    settle: if settles { self.backward_settles(settle) } else { vec![] },
                    second: if settles { without_statistics(apply).with(Flag::Settled) } else { apply },
                })?;
            } else {
                self.over_windows(Kernel::BackwardPartial, |_, _| partial)?;
                if sums || notes && !ends {
                    self.settle_units(Kernel::BackwardSettle, &self.backward_settles(settle))?;
                }
            }
            self.scratch = records;
        }
        if grouped {
            self.scratch = sizes::sum("scratch", &[gradients[1], channels])?;
            for dispatch in &mut self.dispatches[from..] {
                let region = |slot, offset, bytes| Piece { slot, argument: Argument::Scratch, offset, bytes };
                dispatch.pieces.push(region("dgamma", gradients[0], channels));
                dispatch.pieces.push(region("dbeta", gradients[1], channels));
                if records > 0 {
                    dispatch.pieces.push(region("scratch", 0, records));
                }
            }
            self.collapse(wanted, gradients, channels)?;
        }
        Ok(())
    }

    /// Parts added up once, or where that is too many bindings, twice: for dγ and dβ, and for dx.
    fn backward_settles(&self, all: Flags) -> Vec<Flags> {
        let gradients = [Flag::Dgamma, Flag::Dbeta, Flag::Health];
        if self.fits(Kernel::BackwardSettle, all) || !gradients.iter().any(|flag| all.has(*flag)) {
            return vec![all];
        }
        // γ and β say which channels are lost, and what dx needs.
        let parameters = [Flag::Gamma, Flag::Beta].into_iter().filter(|_| !all.has(Flag::FromY));
        let of_gradients = parameters.fold(all.without(Flag::Dx), Flags::without);
        let of_dx = all.has(Flag::Dx).then(|| gradients.into_iter().fold(all, Flags::without));
        [of_gradients].into_iter().chain(of_dx).collect()
    }

    /// dγ and dβ of all groups added up, found in scratch at these offsets.
    pub(super) fn collapse(&mut self, wanted: Gradients, at: [u64; 2], bytes: u64) -> Result<(), PlanError> {
        self.check_groups()?;
        let flags = Flags::of(&[(Flag::Dgamma, wanted.dgamma), (Flag::Dbeta, wanted.dbeta)]);
        let permutation = self.permutation(Kernel::Collapse, flags);
        let params = self.stretches[0].params;
        let workgroups = params.channel_modulus.div_ceil(self.form.tile.invocations());
        let region = |slot, offset| Piece { slot, argument: Argument::Scratch, offset, bytes };
        let pieces = vec![region("dgamma_of_units", at[0]), region("dbeta_of_units", at[1])];
        self.push(permutation, u64::from(workgroups), params, pieces)
    }
}

/// Of kernels that do not count batches.
pub(super) fn without_counter(flags: Flags) -> Flags {
    flags.without(Flag::Counter)
}

/// Of kernels that see no tensor of x's shape, but have to know what x is found by.
pub(super) fn without_elements(flags: Flags) -> Flags {
    [Flag::Signs, Flag::Residual, Flag::Masked, Flag::Words, Flag::Lengths, Flag::Leading]
        .into_iter()
        .fold(flags, Flags::without)
}

/// Of kernels to which everything a channel is handed in scratch.
fn without_statistics(flags: Flags) -> Flags {
    [Flag::Gamma, Flag::Beta, Flag::Dgamma, Flag::Dbeta, Flag::Health, Flag::Counted]
        .into_iter()
        .fold(flags, Flags::without)
}
