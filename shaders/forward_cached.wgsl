// Training forward of units that fit a cache, in one dispatch:
//   mean = sum(x) / m,  variance = sum((x - mean)^2) / m,  y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// A workgroup owns whole units, an invocation one lane of them. Reads x twice, the second time from the
// cache that the first has filled; writes y, the saved and the running statistics.

#import element
#import walk
#import valid
#import x_to_y
#import pivot
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
    var centre = array<V, UNITS>();
#unroll u UNITS
    centre[$u] = spread(pivot(unit_of(at, $uu)));
#end
    let mine = gather_moments(at, centre);
    var maps = array<Map, SEEN>();
#unroll u UNITS
    maps[$u] = map_of(local, at, unit_of(at, $uu), lead(centre[$u]), mine[$u]);
#end
#if ragged
    maps[1] = map_of_next(local, maps[0]);
#endif
    if at.inside { normalize(at, maps); }
}

fn map_of(local: u32, at: Place, unit: u32, centre: Channel, mine: Moments) -> Map {
    let about_pivot = fold(merge_lanes(local, mine));
    let statistics = Statistics(about_pivot.count, centre + about_pivot.mean, about_pivot.variance);
    if at.inside && at.lane == 0u {
        leave(unit, statistics);
    }
    let affine = affine_of(unit, statistics);
    return Map(spread(centre), spread(about_pivot.mean), spread(affine.scale), spread(affine.shift));
}

#if ragged
/// The map of the next unit, from the lanes that have worked it out: workgroups own as many units as whole runs take.
fn map_of_next(local: u32, own: Map) -> Map {
    storageBarrier(); // in place, all of x has been read
    workgroupBarrier();
    lane_mean[local] = V(own.centre.x, own.mean.x, own.scale.x, own.shift.x);
    workgroupBarrier();
    let next = lane_mean[min(local + 1u, LANES * COLUMNS - 1u)];
    return Map(V(next.x), V(next.y), V(next.z), V(next.w));
}
#endif
