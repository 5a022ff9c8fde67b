// Backward in two dispatches, the first: sum(dy) and sum(dy * (x - mean)) of every part of every unit.
// Through frozen statistics dx needs neither and is written here (flag `dx`), at no further read:
//   dx = gamma / sqrt(variance + epsilon) * dy.
//
// A workgroup owns one part of its units, an invocation one lane of it; sums are taken over CHUNK
// elements, over BLOCK of those, over the lane, then over the lanes, so that rounding stays small.
// Reads x and dy once, writes two V a part.

#import element
#import walk
#import sums
#import affine
#import statistics

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(10) var<storage, read> dy: array<V>;
@group(0) @binding(9) var<storage, read_write> scratch: array<V>;
#if dx
@group(0) @binding(11) var<storage, read_write> dx: array<V>;
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroup, local);
    let mean = spread(mean_of(at.unit));
#if dx
    let scale = spread(scale_of(at.unit) * inverse_deviation_of(at.unit));
#endif

    var mine = Sums(V(0.0), V(0.0));
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
        var block = Sums(V(0.0), V(0.0));
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#unroll k CHUNK
            let to_$k = cursor.address;
            let z_$k = x[to_$k] - mean;
            let dy_$k = dy[to_$k];
            cursor = next(cursor);
#end
            var chunk = Sums(V(0.0), V(0.0));
#unroll k CHUNK
            chunk.a += dy_$k;
            chunk.b += dy_$k * z_$k;
#end
#if dx
            if at.inside {
#unroll k CHUNK
                dx[to_$k] = scale * dy_$k;
#end
            }
#endif
            block = Sums(block.a + chunk.a, block.b + chunk.b);
            element += CHUNK * params.step;
        }
        while element < block_end {
            let of_y = dy[cursor.address];
            block = Sums(block.a + of_y, block.b + of_y * (x[cursor.address] - mean));
#if dx
            if at.inside { dx[cursor.address] = scale * of_y; }
#endif
            cursor = next(cursor);
            element += params.step;
        }
        mine = Sums(mine.a + block.a, mine.b + block.b);
    }

    let sums = sum_lanes(local, mine);
    if at.inside && at.lane == 0u {
        let to = 2u * (at.part * params.units + at.unit);
        scratch[to] = sums.a;
        scratch[to + 1u] = sums.b;
    }
}
