//! How invocations share and walk the elements of a workgroup.

use super::windows::Window;
use super::{Geometry, Planner};
use crate::descriptor::{Activation, Descriptor, Float, Padding};
use crate::recipe::Operation;
use crate::shader::{ITEMS, KEPT, Tile};
use crate::tuning::Order;

/// How invocations share and walk the elements of a workgroup.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) tile: Tile,
    pub(super) order: Order,
    /// Elements that a lane keeps.
    pub(super) items: u32,
    /// Elements of a unit in a run, and units beside each other: one of them is 1.
    pub(super) elements: u32,
    pub(super) beside: u32,
    /// Runs of a unit that a lane loads at a time.
    pub(super) chunk: u32,
    /// Runs that an invocation walks along together; and whether some have fewer, at the end of the units.
    pub(super) across: u32,
    pub(super) uneven: bool,
}

impl Form {
    /// Workgroups side by side.
    pub(super) fn tiles(&self, units: &std::ops::Range<u32>) -> u32 {
        (units.len() as u32).div_ceil(self.tile.columns.saturating_mul(self.units()))
    }

    /// Units of an invocation.
    pub(super) fn units(&self) -> u32 {
        self.across.saturating_mul(self.beside)
    }

    /// As kernels have it that do not stream: one unit an invocation.
    pub(super) fn of_units(self) -> Self {
        Self { elements: 1, beside: 1, chunk: 1, across: 1, uneven: false, ..self }
    }
}

impl Planner<'_> {
    /// The workgroup that streams, over units of these windows, by runs of so many elements and units.
    pub(super) fn streaming_form(&self, geometry: Geometry, windows: &[Window], [elements, beside]: [u32; 2]) -> Form {
        let most = floor_power_of_two(self.invocations().min(self.memory_invocations(geometry)));
        let total = floor_power_of_two(self.tuning.lanes).min(most);
        let lanes = if geometry.channels_last { 1 } else { self.lanes(geometry.length()).min(total) };
        let lanes = lanes.min((total / geometry.whole_runs()).max(1));
        let columns = self.columns(geometry, beside).min((total / lanes).max(1)).min(most);
        let lanes = (total / columns).clamp(1, most / columns);
        let tile = self.choice.tile.unwrap_or(Tile { columns, lanes });
        let across = self.across(geometry, windows, tile, beside);
        // As many loads in flight, of elements of one unit or of units.
        let chunk = (self.tuning.loads / (elements * beside * across)).clamp(1, MOST_LOADS);
        let divides = |window: &Window| (window.units.len() as u32).is_multiple_of(tile.columns * across * beside);
        let uneven = across > 1 && !windows.iter().all(divides);
        Form { tile, order: self.order(), items: 0, elements, beside, chunk, across, uneven }
    }

    /// Elements of a unit, and units beside each other, that one load moves: two V side by side where rows, and the
    /// windows that they are cut in, hold whole pairs.
    pub(super) fn run(&self, geometry: Geometry, windows: &[Window]) -> [u32; 2] {
        let pairs = |window: &Window| match geometry.channels_last {
            true => window.units.start.is_multiple_of(2) && window.units.end.is_multiple_of(2),
            false => window.inner.start.is_multiple_of(2) && window.inner.end.is_multiple_of(2),
        };
        if let Some(side) = geometry.ragged {
            return [side, 1];
        }
        let twin = self.tuning.twin && self.is_long(geometry) && geometry.groups.is_none() && !self.is_strided();
        // Lanes that meet for each unit of a pair are much text: of 8 of them it took lavapipe (Mesa 25.0) up to two
        // seconds to compile. There are two at the most where pairs fill half the columns.
        let enough = self.columns(geometry, 2) >= self.tuning.columns[1] / 2;
        match twin && windows.iter().all(pairs) {
            true if geometry.channels_last && !enough => [1, 1],
            true if geometry.channels_last => [1, 2],
            true => [2, 1],
            false => [1, 1],
        }
    }

    /// Whether values move in 64-bit words.
    pub(super) fn is_long(&self, geometry: Geometry) -> bool {
        geometry.wide && self.has_long_words()
    }

    pub(super) fn has_long_words(&self) -> bool {
        self.tuning.long && self.capabilities.int64
    }

    /// The lanes that so many elements of a unit are worth.
    pub(super) fn lanes(&self, length: u64) -> u32 {
        floor_power_of_two(u32::try_from(length / u64::from(self.tuning.share.max(1))).unwrap_or(u32::MAX))
    }

    pub(super) fn order(&self) -> Order {
        self.choice.order.unwrap_or(self.tuning.order)
    }

    /// Runs that an invocation walks along together: as many as there may be, unless that leaves over an eighth of all
    /// runs without units.
    pub(super) fn across(&self, geometry: Geometry, windows: &[Window], tile: Tile, beside: u32) -> u32 {
        let most =
            if geometry.channels_last && geometry.groups.is_none() && self.is_far() { self.tuning.across } else { 1 };
        // What is done with each is text, which compilers need time for (`tests/compile_time.rs`).
        let most = if self.does_much_with_each() { most / 2 } else { most };
        let counts = || ACROSS.into_iter().filter(|across| across * beside <= most.max(beside));
        // Runs of all workgroups, had they all as many.
        let runs = |across: u32| -> u64 {
            let of_tile = u64::from(tile.columns) * u64::from(across * beside);
            windows.iter().map(|window| (window.units.len() as u64).div_ceil(of_tile) * u64::from(across)).sum()
        };
        let fewest = counts().map(runs).min().unwrap_or(1);
        counts().rev().find(|across| 8 * runs(*across) <= 9 * fewest).unwrap_or(1)
    }

    /// Whether kernels do more with each value than what batch normalization is.
    fn does_much_with_each(&self) -> bool {
        let Descriptor { types, padding, epilogue, health, from_y, .. } = self.descriptor;
        let plain = types.x == Float::F32 && *padding == Padding::None && !*health && !*from_y;
        !plain || epilogue.activation != Activation::Identity || epilogue.residual || self.is_strided()
    }

    /// Whether x is more than stays in a cache whichever way it is walked.
    pub(super) fn is_far(&self) -> bool {
        self.values() * self.descriptor.types.x.bytes() > u64::from(self.tuning.near)
    }

    /// Units, or runs of them, side by side: no more than there are.
    pub(super) fn columns(&self, geometry: Geometry, beside: u32) -> u32 {
        let [first, last] = self.tuning.columns;
        let columns = if geometry.channels_last { last } else { first };
        let there = (geometry.units / beside).checked_next_power_of_two().unwrap_or(1 << 31);
        floor_power_of_two(columns).min(there)
    }

    /// The invocations whose workgroup memory fits, whichever kernel asks for it.
    pub(super) fn memory_invocations(&self, geometry: Geometry) -> u32 {
        let value = if geometry.wide { 16 } else { 4 };
        // Of the hungriest kernel: three values and a count a lane.
        let alike = self.descriptor.padding == Padding::None && geometry.ragged.is_none();
        let count = if alike { 4 } else { value };
        (self.capabilities.workgroup_bytes / (3 * value + count)).max(1)
    }

    /// The workgroup and the registers that a whole unit fits, if it does.
    pub(super) fn resident_form(&self, geometry: Geometry) -> Option<Form> {
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
        let form =
            Form { tile, order: self.order(), items, elements: 1, beside: 1, chunk: 1, across: 1, uneven: false };
        let few = items <= self.tuning.items && items * width * tensors <= KEPT;
        (few && self.fits_in_one(geometry, form)).then_some(form)
    }
}

/// Loads in flight that a kernel's text may spell out.
const MOST_LOADS: u32 = 32;

/// Runs that an invocation may walk along together: each number makes other kernels. With these, all up to 9 fit a number
/// of their own, and what is more some number to an eighth.
const ACROSS: [u32; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, MOST_LOADS];

fn floor_power_of_two(n: u32) -> u32 {
    if n == 0 { 1 } else { 1 << n.ilog2() }
}
