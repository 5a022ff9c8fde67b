// Training forward in two dispatches, the second: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// Every workgroup first merges the moments of all parts of its units, in one fixed order, so that all
// of them get the same bits; the first part's writes the saved and the running statistics. Then it
// normalises its own part. Workgroups run backwards: the first dispatch has just left the end of x in
// the cache. Reads x once, writes y once.

#import element
#import walk
#import pivot
#import moments
#import affine
#import outcome
#import normalize

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;
@group(0) @binding(9) var<storage, read> scratch: array<V>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroups() - 1u - workgroup, local);

    var moments = no_moments();
    for (var part = at.lane; part < params.parts; part += LANES) {
        let source = 2u * (part * params.units + at.unit);
        moments = merge(moments, Moments(f32(part_size(part)), scratch[source], scratch[source + 1u]));
    }
    let statistics = fold(merge_lanes(local, moments));
    if !at.inside { return; }

    let centre = pivot(at.unit);
    if at.part == 0u && at.lane == 0u {
        leave(at.unit, centre + statistics.mean, statistics.variance);
    }
    let scale = scale_of(at.unit) * inverse_deviation(statistics.variance);
    normalize(at, centre, statistics.mean, scale, shift_of(at.unit));
}
