//! Which elements an invocation handles and where they are in memory: the twin of
//! `shaders/shared/walk.wgsl` and of the kernels' loops, in the same wrapping arithmetic, so that a
//! recipe can be followed element by element without a GPU.

use crate::recipe::{Dispatch, Params, Recipe};
use crate::shader::{BLOCK, CHUNK, Flag, Kernel, Tile};

/// One element of x on an invocation's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// The unit it belongs to: a channel, or, channels last and wide, four of them side by side.
    pub unit: u32,
    /// The part of that unit.
    pub part: u32,
    /// Where it is in x, counted in loads: four values each where the recipe is wide, else one.
    pub address: u32,
}

impl Recipe {
    /// Follows one invocation of a dispatch: `visit` sees the elements that it owns, in its order.
    /// Returns the iterations that its loops make, each loop's last test included.
    ///
    /// Gives up after 65,536 iterations, as Mesa's software driver does, so that a recipe whose loops
    /// would not end can be told from one whose loops do.
    pub fn walk(&self, dispatch: &Dispatch, workgroup: u32, local: u32, visit: impl FnMut(Element)) -> u64 {
        let (params, kernel) = (&self.params, dispatch.permutation.kernel);
        let applies = matches!(kernel, Kernel::ForwardApply | Kernel::BackwardApply);
        let streams = kernel != Kernel::BackwardApply || dispatch.permutation.flags.has(Flag::Dx);
        let workgroups = if streams { params.groups * params.parts } else { params.groups };
        if workgroup >= workgroups {
            return 0;
        }
        // The second dispatch runs backwards.
        let number = if applies && streams { workgroups - 1 - workgroup } else { workgroup };
        let place = Place::new(params, self.tile, number, local);
        let mut walk =
            Walk { params, place, element: place.first, cursor: params.cursor_at(&place), iterations: 0, visit };
        match kernel {
            Kernel::Inference => walk.stream(place.end),
            Kernel::Running | Kernel::Count => {}
            Kernel::ForwardResident => walk.keep(dispatch.permutation.items, 2, self.tile),
            Kernel::BackwardResident => walk.keep(dispatch.permutation.items, 1, self.tile),
            Kernel::ForwardPartial | Kernel::BackwardPartial => {
                walk.blocks();
                walk.tree(self.tile);
            }
            Kernel::ForwardApply | Kernel::BackwardApply => {
                walk.merge_parts(self.tile);
                walk.tree(self.tile);
                if streams && place.inside {
                    walk.stream(place.end);
                }
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
    inside: bool,
}

impl Place {
    fn new(params: &Params, tile: Tile, workgroup: u32, local: u32) -> Self {
        let (group, part) = (workgroup % params.groups, workgroup / params.groups);
        let unit = group * tile.columns + local % tile.columns;
        let lane = local / tile.columns;
        let begin = part.wrapping_mul(params.part_length);
        let part_end = begin.wrapping_add(params.part_length).min(params.length);
        let first = begin.wrapping_add(lane.wrapping_mul(params.lane_stride));
        let end = first.wrapping_add(params.lane_length.wrapping_mul(params.step)).min(part_end);
        Self { unit: unit.min(params.units - 1), part, lane, first, end, inside: unit < params.units }
    }
}

#[derive(Clone, Copy)]
struct Cursor {
    address: u32,
    column: u32,
}

impl Params {
    fn cursor_at(&self, place: &Place) -> Cursor {
        let (row, column) = (place.first / self.inner, place.first % self.inner);
        let row_start = row.wrapping_mul(self.row_stride).wrapping_add(place.unit.wrapping_mul(self.inner));
        Cursor { address: row_start.wrapping_add(column), column }
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
        let Place { unit, part, inside, .. } = self.place;
        if inside {
            (self.visit)(Element { unit, part, address: self.cursor.address });
        }
        self.cursor = self.params.next(self.cursor);
        self.element = self.element.wrapping_add(self.params.step);
    }

    /// CHUNK elements at a time, then the rest one by one.
    fn stream(&mut self, end: u32) {
        let ahead = (CHUNK - 1).wrapping_mul(self.params.step);
        while self.loops_on(self.element.wrapping_add(ahead) < end) {
            for _ in 0..CHUNK {
                self.step();
            }
        }
        while self.loops_on(self.element < end) {
            self.step();
        }
    }

    fn blocks(&mut self) {
        let block = (BLOCK * CHUNK).wrapping_mul(self.params.step);
        while self.loops_on(self.element < self.place.end) {
            self.stream(self.element.wrapping_add(block).min(self.place.end));
        }
    }

    /// Without loops: ITEMS loads, each behind a test, and that many trees.
    fn keep(&mut self, items: u32, trees: u32, tile: Tile) {
        for _ in 0..items {
            if self.element < self.place.end {
                self.step();
            }
        }
        (0..trees).for_each(|_| self.tree(tile));
    }

    fn tree(&mut self, tile: Tile) {
        let mut half = tile.lanes / 2;
        while self.loops_on(half > 0) {
            half /= 2;
        }
    }

    fn merge_parts(&mut self, tile: Tile) {
        let mut part = self.place.lane;
        while self.loops_on(part < self.params.parts) {
            part = part.wrapping_add(tile.lanes);
        }
    }
}
