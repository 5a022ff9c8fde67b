// Training forward in two dispatches, the second: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// Every workgroup first merges the moments of all parts of its units, in one fixed order, so that all
// of them get the same bits; the first part's writes the saved and the running statistics. Then it
// normalises its own part. Workgroups run backwards: the first dispatch has just left the end of x in
// the cache. Reads x once, writes y once. Flag `settled`: `forward_settle` has done the first half; flag
// `banded`: every other workgroup does for the next band what the first dispatch has done for this one (and
// none run backwards).

#import element
#import walk
#import x_to_y
#import records
#if !settled
#import batch
#import moments
#import merge_records
#import affine
#import outcome
#import health
#endif
#import finish
#import normalize
#if banded
#import valid
#import gather_moments
#import forward_first
@group(0) @binding(9) var<storage, read_write> scratch: array<V>;
#else
@group(0) @binding(9) var<storage, read> scratch: array<V>;
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
#if banded
    if goes_ahead(id, grid) {
        if is_behind(workgroup) { forward_first(local, place_behind(workgroup, local)); }
        return;
    }
#endif
    let at = place_again(workgroup, local);
#if settled
    if !at.inside { return; }
#endif
    var maps = array<Map, SEEN>();
#unroll u SEEN
    maps[$u] = map_of(local, at, unit_of(at, $uu), has(at, $uu));
#end
    if at.inside { normalize(at, maps); }
}

#if settled
fn map_of(local: u32, at: Place, unit: u32, is_own: bool) -> Map {
    return Map(
        scratch[plane_at(CENTRE, unit)],
        scratch[plane_at(REST, unit)],
        scratch[plane_at(SCALE, unit)],
        scratch[plane_at(SHIFT, unit)],
    );
}
#else
fn map_of(local: u32, at: Place, unit: u32, is_own: bool) -> Map {
    let found = merge_records(local, unit, at.lane);
    if is_own && params.first_part == 0u && at.part == 0u && at.lane == 0u { leave(unit, found.statistics); }
    let affine = affine_of(unit, found.statistics);
    return Map(spread(found.centre), spread(found.rest), spread(affine.scale), spread(affine.shift));
}
#endif
