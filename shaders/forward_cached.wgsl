// Training forward of units that fit a cache, in one dispatch:
//   mean = sum(x) / m,  variance = sum((x - mean)^2) / m,  y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// A workgroup owns whole units, an invocation one lane of them. Reads x twice, the second time from the
// cache that the first has filled; writes y, the saved and the running statistics.

#import element
#import walk
#import valid
#import x_to_y
#import batch
#import moments
#import gather_moments
#import affine
#import outcome
#import health
#import counter
#import finish
#import normalize

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    count_batch(workgroup, local);
    let at = place(workgroup, local);
    let mine = gather_moments(at);
    var maps = array<Map, SEEN>();
#unroll u UNITS
    maps[$u] = map_of(local, unit_of(at, $uu), has(at, $uu) && at.lane == 0u, mine[$u]);
#end
#if ragged
    maps[1] = map_of_next(local, maps[0]);
#endif
    if at.inside { normalize(at, maps); }
}

fn map_of(local: u32, unit: u32, leaves: bool, mine: Moments) -> Map {
    let found = fold(merge_lanes(local, mine));
    if leaves { leave(unit, found.statistics); }
    let affine = affine_of(unit, found.statistics);
    return Map(spread(found.centre), spread(found.rest), spread(affine.scale), spread(affine.shift));
}

#if ragged
/// The map of the next unit, from the lanes that have worked it out: workgroups own as many units as whole runs take.
fn map_of_next(local: u32, own: Map) -> Map {
    storageBarrier(); // in place, all of x has been read
    workgroupBarrier();
    lane_sum[local] = V(own.centre.x, own.mean.x, own.scale.x, own.shift.x);
    workgroupBarrier();
    let next = lane_sum[min(local + 1u, LANES * COLUMNS - 1u)];
    return Map(V(next.x), V(next.y), V(next.z), V(next.w));
}
#endif
