// Training forward in two dispatches, the first: count, mean and variance of every part of every unit.
//
// A workgroup owns one part of its units, an invocation one lane of it. A lane takes CHUNK elements
// at a time into registers, computes their mean, then their squares about it (two passes over
// registers, one over memory), merges BLOCK of those, then the blocks: rounding grows with the square
// root of each count, not of all. Reads x once, writes three V a part, of x - pivot, for
// `forward_apply` to merge. Flag `pivoted`: an earlier window of the same units has chosen the pivot.

#import element
#import walk
#import valid
#import reads x 1
#import pivot
#import batch
#import moments
#import records
#import health
#import counter

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
#if pivoted
    let centre = spread(lead(scratch[plane_at(PIVOT, at.unit)]));
#else
    let centre = spread(pivot(at.unit));
    if at.inside && at.part == 0u && at.lane == 0u {
        scratch[plane_at(PIVOT, at.unit)] = centre;
    }
#endif
#if health
    var bad = 0u;
#endif

    var moments = no_moments();
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
        var block = no_moments();
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#if masked
#unroll k CHUNK
            let x_$k = load_x(cursor.address) - centre;
            let counts_$k = valid_at(at.unit, element + $ku * params.step);
            let z_$k = select(V(0.0), x_$k, counts_$k);
            cursor = next(cursor);
#end
            var count = V(0.0);
#unroll k CHUNK
            count += one_if(counts_$k);
#end
            let per_value = V(1.0) / max(count, V(1.0));
            var mean = V(0.0);
#unroll k CHUNK
            mean += z_$k * per_value;
#end
            var variance = V(0.0);
#unroll k CHUNK
            let d_$k = select(V(0.0), z_$k - mean, counts_$k);
            variance += d_$k * (d_$k * per_value);
#end
            block = merge(block, Moments(count, mean, variance));
#else
#unroll k CHUNK
            let z_$k = load_x(cursor.address) - centre;
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
#endif
#if health
#unroll k CHUNK
            bad += how_many_not_finite(z_$k);
#end
#endif
            element += CHUNK * params.step;
        }
        while element < block_end {
#if masked
            let counts = valid_at(at.unit, element);
            let z = select(V(0.0), load_x(cursor.address) - centre, counts);
            block = merge(block, Moments(one_if(counts), z, V(0.0)));
#else
            let z = load_x(cursor.address) - centre;
            block = merge(block, Moments(1.0, z, V(0.0)));
#endif
#if health
            bad += how_many_not_finite(z);
#endif
            cursor = next(cursor);
            element += params.step;
        }
        moments = merge(moments, block);
    }

    moments = merge_lanes(local, moments);
    if !at.inside { return; }
#if health
    note(0u, bad);
#endif
    if at.lane == 0u {
        let to = record_at(params.first_part + at.part, at.unit);
        scratch[to] = V(moments.count);
        scratch[to + 1u] = moments.mean;
        scratch[to + 2u] = moments.variance;
    }
}
