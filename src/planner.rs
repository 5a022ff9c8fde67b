//! From a descriptor and a device to a recipe: every rule by which kernels, tiles and parts are chosen.

use crate::descriptor::{Descriptor, Gradients, Momentum, RunningVariance, View};
use crate::error::PlanError;
use crate::recipe::{Capabilities, Choice, Dispatch, Operation, Params, Recipe, Regime};
use crate::shader::{CHUNK, Flag, Flags, ITEMS, KEPT, Kernel, Permutation, Tile};
use crate::tuning::{Order, Tuning};

/// What a recipe is made from.
pub(crate) struct Planner<'a> {
    pub descriptor: &'a Descriptor,
    pub operation: Operation,
    pub view: View,
    pub capabilities: &'a Capabilities,
    pub tuning: &'a Tuning,
    pub choice: &'a Choice,
}

/// x as the kernels see it: `units` of `length` elements V, `inner` of them contiguous.
#[derive(Clone, Copy)]
struct Geometry {
    channels_last: bool,
    wide: bool,
    units: u32,
    length: u32,
    inner: u32,
}

impl Planner<'_> {
    pub fn recipe(&self) -> Result<Recipe, PlanError> {
        self.check_device()?;
        self.check_choice()?;
        let geometry = self.geometry()?;
        let resident = self.resident_tile(geometry);
        let regime = self.regime(geometry, resident)?;
        let (tile, items) = match (regime, resident) {
            (Regime::Resident, Some((tile, items))) => (tile, items),
            _ => (self.streaming_tile(geometry), 0),
        };
        let order = self.choice.order.unwrap_or(self.tuning.order);
        let params = self.params(geometry, tile, order, regime)?;
        let permutations = self.permutations(geometry, tile, regime, items);
        let mut dispatches = Vec::new();
        for permutation in permutations {
            self.check_workgroup(&permutation)?;
            let groups = u64::from(params.groups);
            let workgroups = match permutation.kernel {
                Kernel::Count => 1,
                // An invocation a unit.
                Kernel::Running => u64::from(params.units.div_ceil(permutation.tile.invocations())),
                // Sums alone need no more than one a group.
                Kernel::BackwardApply if !permutation.flags.has(Flag::Dx) => groups,
                _ => groups * u64::from(params.parts),
            };
            dispatches.push(Dispatch { permutation, grid: self.grid(workgroups)? });
        }
        let (bytes_read, bytes_written) = self.traffic(regime, geometry, params.parts);
        let channel_bytes = 4 * u64::from(self.view.channels);
        let scratch_bytes = if regime == Regime::Split { scratch_bytes(geometry, params.parts) } else { 0 };
        self.check_binding("scratch", scratch_bytes)?;
        Ok(Recipe {
            operation: self.operation,
            regime,
            channels_last: geometry.channels_last,
            wide: geometry.wide,
            tile,
            order,
            parts: params.parts,
            dispatches,
            scratch_bytes,
            saved_bytes: if self.operation == Operation::Forward { 3 * channel_bytes } else { 0 },
            bytes_read,
            bytes_written,
            params,
        })
    }

    fn values(&self) -> u64 {
        u64::from(self.view.outer) * u64::from(self.view.channels) * u64::from(self.view.inner)
    }

    fn check_device(&self) -> Result<(), PlanError> {
        self.check_binding("x", 4 * self.values())?;
        match self.operation {
            Operation::Forward | Operation::Backward(_) | Operation::UpdateRunning => {
                self.check_binding("the saved statistics", 12 * u64::from(self.view.channels))
            }
            Operation::Inference | Operation::FrozenBackward(_) => Ok(()),
        }
    }

    /// A choice that no shape could follow.
    fn check_choice(&self) -> Result<(), PlanError> {
        let Choice { regime, tile, parts, .. } = *self.choice;
        let error = |choice, because: &str| Err(PlanError::Choice { choice, because: because.to_owned() });
        if regime == Some(Regime::Elementwise) && !self.is_elementwise() {
            return error("regime", "this operation gathers statistics or sums first; choose resident or split");
        }
        if regime == Some(Regime::Resident) && parts.is_some_and(|parts| parts > 1) {
            return error("parts", "a resident unit has one part");
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

    /// One channel is one contiguous unit; channels without an inner axis are the fastest axis.
    fn geometry(&self) -> Result<Geometry, PlanError> {
        let View { outer, channels, inner } = self.view;
        let (outer, inner) = if channels == 1 { (1, outer * inner) } else { (outer, inner) };
        let channels_last = inner == 1 && channels > 1;
        let fastest = if channels_last { channels } else { inner };
        let wide = self.choice.wide.unwrap_or(fastest % 4 == 0);
        if wide && fastest % 4 != 0 {
            let because = format!("the fastest axis has {fastest} values, not a multiple of 4");
            return Err(PlanError::Choice { choice: "wide", because });
        }
        let width = if wide { 4 } else { 1 };
        Ok(if channels_last {
            Geometry { channels_last, wide, units: channels / width, length: outer, inner: 1 }
        } else {
            Geometry { channels_last, wide, units: channels, length: outer * (inner / width), inner: inner / width }
        })
    }

    fn streaming_tile(&self, geometry: Geometry) -> Tile {
        let most = floor_power_of_two(self.invocations().min(self.memory_invocations(geometry)));
        let columns = self.columns(geometry).min(most);
        let lanes = (floor_power_of_two(self.tuning.lanes) / columns).clamp(1, most / columns);
        self.choice.tile.unwrap_or(Tile { columns, lanes })
    }

    /// Units side by side: no more than there are.
    fn columns(&self, geometry: Geometry) -> u32 {
        let [first, last] = self.tuning.columns;
        let columns = if geometry.channels_last { last } else { first };
        floor_power_of_two(columns).min(geometry.units.next_power_of_two())
    }

    /// The invocations whose workgroup memory fits.
    fn memory_invocations(&self, geometry: Geometry) -> u32 {
        let value = if geometry.wide { 16 } else { 4 };
        (self.capabilities.workgroup_bytes / Kernel::ForwardPartial.workgroup_bytes(value)).max(1)
    }

    /// The workgroup and the registers that a whole unit fits, if it does.
    fn resident_tile(&self, geometry: Geometry) -> Option<(Tile, u32)> {
        // The backward pass keeps two values where the forward pass keeps one.
        let tensors = match self.operation {
            Operation::Forward => 1,
            Operation::Backward(_) | Operation::FrozenBackward(_) => 2,
            Operation::Inference | Operation::UpdateRunning => return None,
        };
        let most = floor_power_of_two(self.invocations().min(self.memory_invocations(geometry)))
            .min(floor_power_of_two(self.tuning.resident[1]).max(self.columns(geometry)));
        let tile = match self.choice.tile {
            Some(tile) => tile,
            None => {
                let lanes = geometry.length.div_ceil(ITEMS[1]).checked_next_power_of_two()?.min(most);
                // Fewer columns where the lanes need the room, but whole 128-byte lines.
                let line = if geometry.wide { 8 } else { 32 };
                let columns = self.columns(geometry);
                let columns = columns.min((most / lanes).max(line.min(columns)));
                let lanes = lanes.max(floor_power_of_two(self.tuning.resident[0]).min(most) / columns);
                Tile { columns, lanes: lanes.min(most / columns) }
            }
        };
        let items = ITEMS.into_iter().find(|items| geometry.length <= tile.lanes * items)?;
        let width = if geometry.wide { 4 } else { 1 };
        (items * width * tensors <= KEPT).then_some((tile, items))
    }

    fn regime(&self, geometry: Geometry, resident: Option<(Tile, u32)>) -> Result<Regime, PlanError> {
        if self.is_elementwise() {
            return Ok(Regime::Elementwise);
        }
        // Parts chosen by hand are parts to split in.
        let chosen = self.choice.regime.or(self.choice.parts.map(|_| Regime::Split));
        match (chosen, resident) {
            (Some(Regime::Resident), None) => {
                let length = geometry.length;
                let because = format!("a channel's {length} elements do not fit a workgroup's registers");
                Err(PlanError::Choice { choice: "regime", because })
            }
            // What fits is read once, even where few workgroups are busy: they have little to do, and a second
            // dispatch would cost more.
            (None | Some(Regime::Resident), Some(_)) => Ok(Regime::Resident),
            _ => Ok(Regime::Split),
        }
    }

    /// Without statistics of the batch nor sums over it, values do not meet.
    fn is_elementwise(&self) -> bool {
        let frozen_dx = Operation::FrozenBackward(Gradients::DX);
        [Operation::Inference, Operation::UpdateRunning, frozen_dx].contains(&self.operation)
    }

    fn params(&self, geometry: Geometry, tile: Tile, order: Order, regime: Regime) -> Result<Params, PlanError> {
        let Geometry { units, length, inner, .. } = geometry;
        let groups = units.div_ceil(tile.columns);
        let parts = if regime == Regime::Resident { 1 } else { self.parts(length, groups, tile)? };
        let part_length = length.div_ceil(parts);
        // Whole workgroups of lanes a part keep interleaved lanes on aligned addresses.
        let part_length = match order {
            Order::Interleaved if parts > 1 => part_length.next_multiple_of(tile.lanes),
            _ => part_length,
        };
        let lane_length = part_length.div_ceil(tile.lanes);
        let (lane_stride, step) = match order {
            Order::Interleaved => (1, tile.lanes),
            Order::Blocked => (lane_length, 1),
        };
        // Products of what is no larger than x stay within u32; one step may pass the end of x, where
        // nothing is loaded any more.
        let row_stride = units.wrapping_mul(inner);
        let running = self.descriptor.running.unwrap_or_default();
        let values = f64::from(self.view.outer) * f64::from(self.view.inner);
        let unbias = match running.variance {
            // (Of one value the variance is 0, whatever it is multiplied by.)
            RunningVariance::Unbiased => values / (values - 1.0).max(1.0),
            RunningVariance::Biased => 1.0,
        };
        Ok(Params {
            units,
            groups,
            length,
            inner,
            row_stride,
            parts: length.div_ceil(part_length),
            part_length,
            lane_stride,
            lane_length,
            step,
            step_address: (step / inner).wrapping_mul(row_stride).wrapping_add(step % inner),
            step_column: step % inner,
            values: values as f32,
            epsilon: self.descriptor.epsilon,
            momentum: running.momentum.weight_of_new(1),
            unbias: unbias as f32,
        })
    }

    /// Parts of a unit: enough to fill the adapter, none so small that lanes go without a chunk, none
    /// so large that a lane would loop too long; and no more than the lanes can merge.
    fn parts(&self, length: u32, groups: u32, tile: Tile) -> Result<u32, PlanError> {
        let chunks = length.div_ceil(CHUNK).div_ceil(tile.lanes);
        let least = chunks.div_ceil(self.tuning.iterations.clamp(1, MOST_CHUNKS)).max(1);
        let most = MOST_MERGES.saturating_mul(tile.lanes).min(length);
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
            None => Ok(self.tuning.workgroups.div_ceil(groups).clamp(1, chunks.max(1)).clamp(least, most)),
        }
    }

    fn permutations(&self, geometry: Geometry, tile: Tile, regime: Regime, items: u32) -> Vec<Permutation> {
        let Geometry { wide, channels_last, .. } = geometry;
        let Descriptor { gamma, beta, running, .. } = *self.descriptor;
        let permutation = |kernel: Kernel, flags: &[(Flag, bool)]| {
            let layout = [(Flag::Wide, wide), (Flag::ChannelsLast, channels_last)];
            Permutation { kernel, flags: Flags::of(&[&layout, flags].concat()), tile, items }
        };
        let affine = [(Flag::Gamma, gamma), (Flag::Beta, beta)];
        // The cumulative average has to know the count, so it is taken after the forward pass.
        let cumulative = running.is_some_and(|running| running.momentum == Momentum::Cumulative);
        let updates = (Flag::Running, running.is_some() && !cumulative);
        let counts = running.is_some_and(|running| running.has_counter());
        let counter = (Flag::Counter, counts && !cumulative);
        let average = [
            Permutation { items: 0, ..permutation(Kernel::Count, &[(Flag::Counter, true)]) },
            Permutation { items: 0, ..permutation(Kernel::Running, &[(Flag::Cumulative, true)]) },
        ];
        let mut permutations = match (self.operation, regime) {
            (Operation::Inference, _) => vec![permutation(Kernel::Inference, &affine)],
            (Operation::Forward, Regime::Resident) => {
                vec![permutation(Kernel::ForwardResident, &[affine[0], affine[1], updates, counter])]
            }
            (Operation::Forward, _) => vec![
                permutation(Kernel::ForwardPartial, &[counter]),
                permutation(Kernel::ForwardApply, &[affine[0], affine[1], updates]),
            ],
            (Operation::FrozenBackward(_), Regime::Elementwise) => {
                vec![permutation(Kernel::Inference, &[(Flag::Gradient, true), affine[0]])]
            }
            (Operation::UpdateRunning, _) if cumulative => vec![],
            (Operation::UpdateRunning, _) => vec![permutation(Kernel::Running, &[counter])],
            (Operation::Backward(wanted) | Operation::FrozenBackward(wanted), _) => {
                let frozen = matches!(self.operation, Operation::FrozenBackward(_));
                let sums = [(Flag::Frozen, frozen), (Flag::Dgamma, wanted.dgamma), (Flag::Dbeta, wanted.dbeta)];
                let dx = |here: bool| [(Flag::Dx, wanted.dx && here), (Flag::Gamma, gamma && wanted.dx && here)];
                if regime == Regime::Resident {
                    vec![permutation(Kernel::BackwardResident, &[&sums[..], &dx(true)].concat())]
                } else {
                    // Frozen, dx waits for no sum, so the first dispatch writes it.
                    vec![
                        permutation(Kernel::BackwardPartial, &[&sums[..1], &dx(frozen)].concat()),
                        permutation(Kernel::BackwardApply, &[&sums[..], &dx(!frozen)].concat()),
                    ]
                }
            }
        };
        if cumulative && matches!(self.operation, Operation::Forward | Operation::UpdateRunning) {
            permutations.extend(average);
        }
        permutations
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
        Ok([workgroups.div_ceil(rows) as u32, rows as u32])
    }

    /// Bytes read and written by all dispatches.
    fn traffic(&self, regime: Regime, geometry: Geometry, parts: u32) -> (u64, u64) {
        let x = 4 * self.values();
        let channel = 4 * u64::from(self.view.channels);
        let Descriptor { gamma, beta, running, .. } = *self.descriptor;
        let given = |flags: &[bool]| channel * flags.iter().filter(|flag| **flag).count() as u64;
        let scratch = if regime == Regime::Split { scratch_bytes(geometry, parts) } else { 0 };
        match self.operation {
            Operation::Inference => (x + 2 * channel + given(&[gamma, beta]), x),
            Operation::UpdateRunning => (4 * channel, 2 * channel),
            Operation::Forward => {
                let reads = if regime == Regime::Split { 2 } else { 1 };
                let moved = if running.is_some() { 2 * channel } else { 0 };
                (reads * x + given(&[gamma, beta]) + moved + scratch, x + 3 * channel + moved + scratch)
            }
            Operation::Backward(wanted) | Operation::FrozenBackward(wanted) => {
                let frozen = matches!(self.operation, Operation::FrozenBackward(_));
                let reads = match regime {
                    Regime::Elementwise => 1,
                    Regime::Split if wanted.dx && !frozen => 4,
                    _ => 2,
                };
                let gamma = given(&[gamma && wanted.dx]);
                let dx = if wanted.dx { x } else { 0 };
                let sums = given(&[wanted.dgamma, wanted.dbeta]);
                let statistics = if regime == Regime::Elementwise { channel } else { 2 * channel };
                (reads * x + statistics + gamma + scratch, dx + sums + scratch)
            }
        }
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

/// Two V a part of each unit (`shaders/shared/moments.wgsl`, `sums.wgsl`).
fn scratch_bytes(geometry: Geometry, parts: u32) -> u64 {
    let value = if geometry.wide { 16 } else { 4 };
    2 * value * u64::from(geometry.units) * u64::from(parts)
}

fn floor_power_of_two(n: u32) -> u32 {
    if n == 0 { 1 } else { 1 << n.ilog2() }
}
