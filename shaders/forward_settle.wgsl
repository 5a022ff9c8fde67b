// Training forward in three dispatches, the second: every unit's parts merged, its statistics left,
// and what `forward_apply` needs of it left in scratch, so that it need bind no per-channel buffer and
// merge nothing. For devices with few bindings, and for many parts.
//
// A workgroup owns whole units. Reads a few values a part, writes a few a unit.

#import element
#import walk
#import batch
#import moments
#import records
#import merge_records
#import affine
#import outcome
#import health

@group(0) @binding(9) var<storage, read_write> scratch: array<V>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= params.tiles { return; }
    let at = place(workgroup, local);
    let found = merge_records(local, at.unit, at.lane);
    if !at.inside || at.lane > 0u { return; }

    leave(at.unit, found.statistics);
    let affine = affine_of(at.unit, found.statistics);
#if copies
    for (var copy = at.unit; copy < all_copies(); copy += params.units) {
        leave_map(copy, found, affine);
    }
#else
    leave_map(at.unit, found, affine);
#endif
}

fn leave_map(unit: u32, found: Found, affine: Affine) {
    scratch[plane_at(CENTRE, unit)] = spread(found.centre);
    scratch[plane_at(REST, unit)] = spread(found.rest);
    scratch[plane_at(SCALE, unit)] = spread(affine.scale);
    scratch[plane_at(SHIFT, unit)] = spread(affine.shift);
}
