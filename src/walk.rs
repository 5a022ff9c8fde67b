//! Which elements an invocation handles and where they are in memory: the twin of
//! `shaders/shared/walk.wgsl` and of the kernels' loops, in the same wrapping arithmetic, so that a
//! recipe can be followed element by element without a GPU.

use std::ops::Range;

use crate::recipe::{Dispatch, Params, Recipe};
use crate::shader::{BLOCK, FIRST, Flag, Kernel, Permutation};

/// One element of x on an invocation's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// The unit it belongs to: a channel, or, channels last and wide, four of them side by side. (Where units meet
    /// within it, the one that it starts in.)
    pub unit: u32,
    /// The part of that unit.
    pub part: u32,
    /// Where it is in x, counted in V: four values where the recipe is wide, else one.
    pub address: u32,
}

impl Recipe {
    /// Follows one invocation of a dispatch: `visit` sees the elements that it owns, in its order.
    /// Returns the iterations that its loops make, each loop's last test included.
    ///
    /// Gives up after 65,536 iterations, as Mesa's software driver does, so that a recipe whose loops
    /// would not end can be told from one whose loops do.
    pub fn walk(&self, dispatch: &Dispatch, workgroup: u32, local: u32, visit: impl FnMut(Element)) -> u64 {
        let (params, permutation) = (&dispatch.params, dispatch.permutation);
        let Permutation { kernel, flags, .. } = permutation;
        if kernel.is_small() {
            return 0;
        }
        let applies = matches!(kernel, Kernel::ForwardApply | Kernel::BackwardApply);
        let settles =
            matches!(kernel, Kernel::ForwardSettle | Kernel::BackwardSettle | Kernel::Gather | Kernel::GatherBackward);
        let workgroups = if settles { params.tiles } else { params.tiles * params.parts };
        // Of two workgroups in turn one goes over a band, the other over the next.
        let banded = flags.has(Flag::Banded);
        let (workgroup, ahead) = if banded { (workgroup / 2, workgroup % 2 == 1) } else { (workgroup, false) };
        if workgroup >= workgroups {
            return 0;
        }
        // The second dispatch runs backwards, but not within a band.
        let number = if applies && !banded { workgroups - 1 - workgroup } else { workgroup };
        let units = if ahead { params.behind() } else { params.first_unit..params.end_unit };
        let tile = workgroup % params.tiles * (permutation.tile.columns * permutation.units());
        if ahead && units.start + tile >= units.end {
            return 0;
        }
        let place = Place::new(params, &permutation, units, number, local);
        let cursor = params.cursor_at(&place, &permutation);
        let mut walk = Walk { params, permutation, place, element: place.first, cursor, iterations: 0, visit };
        // Lanes of each unit meet.
        let meet = |walk: &mut Walk<'_, _>| (0..permutation.units()).for_each(|_| walk.meet());
        match kernel {
            Kernel::Inference => walk.stream(place.end),
            Kernel::ForwardResident | Kernel::BackwardResident => walk.keep(),
            Kernel::ForwardPartial | Kernel::BackwardPartial => {
                walk.blocks(kernel == Kernel::ForwardPartial);
                meet(&mut walk);
            }
            Kernel::ForwardCached | Kernel::BackwardCached => {
                walk.blocks(kernel == Kernel::ForwardCached);
                meet(&mut walk);
                // The same elements again.
                walk.element = place.first;
                walk.place.inside = false;
                walk.stream(place.end);
            }
            Kernel::ForwardApply | Kernel::BackwardApply if ahead => {
                walk.blocks(kernel == Kernel::ForwardApply);
                meet(&mut walk);
            }
            Kernel::ForwardApply | Kernel::BackwardApply => {
                if !flags.has(Flag::Settled) && !flags.has(Flag::Given) {
                    (0..permutation.units()).for_each(|_| walk.merge_parts());
                    meet(&mut walk);
                }
                if place.inside {
                    walk.stream(place.end);
                }
            }
            _ => {
                walk.merge_parts();
                walk.meet();
                walk.iterations += u64::from(params.copies(&permutation));
            }
        }
        walk.iterations
    }
}

#[derive(Clone, Copy)]
struct Place {
    unit: u32,
    part: u32,
    lane: u32,
    first: u32,
    end: u32,
    end_unit: u32,
    inside: bool,
}

impl Place {
    fn new(params: &Params, permutation: &Permutation, units: Range<u32>, workgroup: u32, local: u32) -> Self {
        let Permutation { tile, .. } = *permutation;
        let beside = permutation.beside();
        let column = workgroup % params.tiles * (tile.columns * permutation.units()) + local % tile.columns * beside;
        let (unit, part) = (units.start + column, workgroup / params.tiles);
        let lane = local / tile.columns;
        let begin = part.wrapping_mul(params.part_length);
        let clamped = unit.min(units.end - beside);
        let part_end = begin.wrapping_add(params.part_length).min(params.length_of(clamped));
        let first = begin.wrapping_add(lane.wrapping_mul(params.lane_stride));
        let end = first.wrapping_add(params.lane_length.wrapping_mul(params.step)).min(part_end);
        Self { unit: clamped, part, lane, first, end, end_unit: units.end, inside: unit < units.end }
    }
}

#[derive(Clone, Copy)]
struct Cursor {
    address: u32,
    column: u32,
}

impl Params {
    fn cursor_at(&self, place: &Place, permutation: &Permutation) -> Cursor {
        let (row, column) = (place.first / self.inner, place.first % self.inner);
        let unit = match permutation.flags {
            flags if flags.has(Flag::Ragged) => {
                place.unit * self.unit_stride / permutation.values() * permutation.side()
            }
            flags if flags.has(Flag::Folded) => self.base.wrapping_add(place.unit * self.unit_stride),
            _ => self.unit_address(place.unit),
        };
        let row_start = unit.wrapping_add(row.wrapping_mul(self.row_stride));
        Cursor { address: row_start.wrapping_add(column), column }
    }

    /// The units of the next band.
    fn behind(&self) -> Range<u32> {
        self.end_unit..(2 * self.end_unit - self.first_unit).min(self.units)
    }

    fn channel_of(&self, unit: u32) -> u32 {
        unit / self.channel_divisor % self.channel_modulus
    }

    /// How many of each channel a kernel finds records of.
    pub(crate) fn copies(&self, permutation: &Permutation) -> u32 {
        if permutation.flags.has(Flag::Copies) { 4 * self.row_stride / self.units } else { 1 }
    }

    fn group_of(&self, unit: u32) -> u32 {
        unit / self.group_divisor % self.group_modulus
    }

    fn length_of(&self, unit: u32) -> u32 {
        if self.group_of(unit) + 1 == self.group_modulus { self.last_length } else { self.length }
    }

    fn unit_address(&self, unit: u32) -> u32 {
        let in_group = self.channel_of(unit).wrapping_mul(self.unit_stride);
        self.base.wrapping_add(self.group_of(unit).wrapping_mul(self.group_stride)).wrapping_add(in_group)
    }

    fn next(&self, at: Cursor) -> Cursor {
        let column = at.column.wrapping_add(self.step_column);
        let wraps = column >= self.inner;
        let skipped = if wraps { self.row_stride.wrapping_sub(self.inner) } else { 0 };
        Cursor {
            address: at.address.wrapping_add(self.step_address).wrapping_add(skipped),
            column: if wraps { column - self.inner } else { column },
        }
    }
}

struct Walk<'a, F> {
    params: &'a Params,
    permutation: Permutation,
    place: Place,
    element: u32,
    cursor: Cursor,
    iterations: u64,
    visit: F,
}

impl<F: FnMut(Element)> Walk<'_, F> {
    fn loops_on(&mut self, condition: bool) -> bool {
        self.iterations += 1;
        condition && self.iterations <= 1 << 16
    }

    fn step(&mut self) {
        let Place { unit, part, end_unit, inside, .. } = self.place;
        let Permutation { tile, across, .. } = self.permutation;
        let (elements, beside) = (self.permutation.elements(), self.permutation.beside());
        if self.permutation.flags.has(Flag::Ragged) {
            self.step_ragged();
            return;
        }
        let runs = (0..if inside { across } else { 0 }).map(|across| across * tile.columns * beside);
        for run in runs.filter(|run| unit + run < end_unit) {
            let address = self.cursor.address.wrapping_add(run.wrapping_mul(self.params.unit_stride));
            for v in 0..self.permutation.side() {
                let unit = unit + run + v / elements;
                (self.visit)(Element { unit, part, address: address.wrapping_add(v) });
            }
        }
        self.cursor = self.params.next(self.cursor);
        self.element = self.element.wrapping_add(self.params.step);
    }

    /// A run of a ragged row: owned by the unit that it starts in, and each V of it one of the unit that it starts in.
    fn step_ragged(&mut self) {
        let Place { unit, part, inside, .. } = self.place;
        let of_row = self.params.unit_stride;
        let before = (unit * of_row) % self.permutation.values();
        let value = (4 * self.cursor.column).wrapping_sub(before);
        if inside && value < of_row {
            for v in 0..self.permutation.side() {
                let unit = unit + (value + 4 * v) / of_row;
                (self.visit)(Element { unit, part, address: self.cursor.address.wrapping_add(v) });
            }
        }
        self.cursor = self.params.next(self.cursor);
        self.element = self.element.wrapping_add(self.params.step);
    }

    /// CHUNK runs at a time, then the rest one by one.
    fn stream(&mut self, end: u32) {
        let chunk = self.permutation.chunk;
        let ahead = (chunk - 1).wrapping_mul(self.params.step);
        while self.loops_on(self.element.wrapping_add(ahead) < end) {
            for _ in 0..chunk {
                self.step();
            }
        }
        while self.loops_on(self.element < end) {
            self.step();
        }
    }

    /// The same, BLOCK chunks at a time, or growing from FIRST elements to so many.
    fn blocks(&mut self, grow: bool) {
        let most = (BLOCK * self.permutation.chunk).wrapping_mul(self.params.step);
        let alike = ![Flag::Masked, Flag::Ragged].iter().any(|flag| self.permutation.flags.has(*flag));
        let first = if alike { FIRST / self.permutation.elements() } else { 1 };
        let mut block = if grow { self.params.step.wrapping_mul(first) } else { most };
        let mut is_second = false;
        while self.loops_on(self.element < self.place.end) {
            self.stream(self.element.wrapping_add(block).min(self.place.end));
            block = block.wrapping_mul(if is_second { 2 } else { 1 }).min(most);
            is_second = !is_second;
        }
    }

    /// Without loops: ITEMS loads, each behind a test, and lanes that meet.
    fn keep(&mut self) {
        for _ in 0..self.permutation.items {
            if self.element < self.place.end {
                self.step();
            }
        }
        self.meet();
    }

    /// Lanes that merge what others have left.
    fn meet(&mut self) {
        self.iterations += self.permutation.meeting();
    }

    fn merge_parts(&mut self) {
        let mut part = self.place.lane;
        let copies = self.params.copies(&self.permutation);
        // Of several copies, a loop over them too.
        let of_part = if copies > 1 { u64::from(copies) + 1 } else { 0 };
        while self.loops_on(part < self.params.all_parts) {
            self.iterations += of_part;
            part = part.wrapping_add(self.permutation.tile.lanes);
        }
    }
}
