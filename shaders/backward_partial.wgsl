// Backward in two dispatches, the first: sum(dy) and sum(dy * (x - mean)) of every part of every unit,
// dy first pulled through the activation (and left as the residual's gradient, flag `dresidual`).
// Through frozen statistics dx needs neither and is written here (flag `dx`), at no further read:
//   dx = gamma / sqrt(variance + epsilon) * dy.
//
// A workgroup owns one part of its units, an invocation one lane of it. Reads x and dy once, writes two
// V a part.

#import element
#import walk
#import reads x 1
#import dy_to_dx
#import sums
#import parts
#import affine
#import statistics
#import centred
#import lens
#import pull
#import gather_sums
#import backward_first
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
    backward_first(local, at);
#if health from_y
#unroll u UNITS
    if has(at, $uu) && at.lane == 0u && at.part == 0u && params.first_part == 0u {
        let unit_$u = unit_of(at, $uu);
        note(3u, tally_channels(lost(used(unit_$u), unit_$u)));
    }
#end
#endif
}

/// What needs no sums.
fn leave_on_the_way(inside: bool, address: u32, dy: Run, scale: Run) {
#if dx|dresidual
    if !inside { return; }
#endif
#if dresidual
    store_dresidual(address, dy);
#endif
#if dx
    var dx = dy;
#unroll s SIDE
    dx[$s] *= scale[$s];
#end
    store_dx(address, dx);
#endif
}
