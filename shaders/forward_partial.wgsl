// Training forward in two dispatches, the first: mean and variance of every part of every unit.
//
// A workgroup owns one part of its units, an invocation one lane of it. A lane takes CHUNK elements
// at a time into registers, computes their mean, then their squares about it (two passes over
// registers, one over memory), merges BLOCK of those, then the blocks: rounding grows with the square
// root of each count, not of all. Reads x once, writes two V a part: mean and variance of x - pivot,
// for `forward_apply` to merge.

#import element
#import walk
#import pivot
#import moments
#import counter

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(9) var<storage, read_write> scratch: array<V>;

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
    let centre = spread(pivot(at.unit));

    var moments = no_moments();
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
        var block = no_moments();
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#unroll k CHUNK
            let z_$k = x[cursor.address] - centre;
            cursor = next(cursor);
#end
            var mean = V(0.0);
#unroll k CHUNK
            mean += z_$k / f32(CHUNK);
#end
            var variance = V(0.0);
#unroll k CHUNK
            let d_$k = z_$k - mean;
            variance += d_$k * (d_$k / f32(CHUNK));
#end
            block = merge(block, Moments(f32(CHUNK), mean, variance));
            element += CHUNK * params.step;
        }
        while element < block_end {
            block = merge(block, Moments(1.0, x[cursor.address] - centre, V(0.0)));
            cursor = next(cursor);
            element += params.step;
        }
        moments = merge(moments, block);
    }

    moments = merge_lanes(local, moments);
    if at.inside && at.lane == 0u {
        let to = 2u * (at.part * params.units + at.unit);
        scratch[to] = moments.mean;
        scratch[to + 1u] = moments.variance;
    }
}
