// Backward in two dispatches, the first: sum(dy) and sum(dy * (x - mean)) of every part of every unit,
// dy first pulled through the activation (and left as the residual's gradient, flag `dresidual`).
// Through frozen statistics dx needs neither and is written here (flag `dx`), at no further read:
//   dx = gamma / sqrt(variance + epsilon) * dy.
//
// A workgroup owns one part of its units, an invocation one lane of it; sums are taken over CHUNK
// elements, over BLOCK of those, over the lane, then over the lanes, so that rounding stays small.
// Reads x and dy once, writes two V a part.

#import element
#import walk
#import reads x 1
#import dy_to_dx
#import sums
#import parts
#import affine
#import statistics
#import centred
#import pull
#import health
#if dresidual
#import writes dresidual 16
#endif

@group(0) @binding(9) var<storage, read_write> scratch: array<V>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroup, local);
    let u = used(at.unit);
    let centre = centre_of(u, at.unit);
    let scale = spread(u.scale);
    let shift = spread(u.shift);

    var mine = Sums(V(0.0), V(0.0));
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
        var block = Sums(V(0.0), V(0.0));
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#unroll k CHUNK
            let to_$k = cursor.address;
            let z_$k = centred(to_$k, centre);
            let of_y_$k = load_dy(to_$k);
            cursor = next(cursor);
#end
            var chunk = Sums(V(0.0), V(0.0));
#unroll k CHUNK
            let dy_$k = pull(of_y_$k, z_$k * scale + shift, to_$k);
            chunk.a += dy_$k;
            chunk.b += along(dy_$k, z_$k);
#end
            if at.inside {
#unroll k CHUNK
                leave_elementwise(to_$k, dy_$k, scale);
#end
            }
            block = Sums(block.a + chunk.a, block.b + chunk.b);
            element += CHUNK * params.step;
        }
        while element < block_end {
            let z = centred(cursor.address, centre);
            let dy = pull(load_dy(cursor.address), z * scale + shift, cursor.address);
            block = Sums(block.a + dy, block.b + along(dy, z));
            if at.inside { leave_elementwise(cursor.address, dy, scale); }
            cursor = next(cursor);
            element += params.step;
        }
        mine = Sums(mine.a + block.a, mine.b + block.b);
    }

    let sums = sum_lanes(local, mine);
    if at.inside && at.lane == 0u {
#if health from_y
        if at.part == 0u && params.first_part == 0u { note(3u, tally_channels(lost(u, at.unit))); }
#endif
        let to = sums_at(params.first_part + at.part, at.unit);
        scratch[to] = sums.a;
        scratch[to + 1u] = sums.b;
    }
}

/// What needs no sums.
fn leave_elementwise(address: u32, dy: V, scale: V) {
#if dresidual
    store_dresidual(address, dy);
#endif
#if dx
    store_dx(address, scale * dy);
#endif
}
