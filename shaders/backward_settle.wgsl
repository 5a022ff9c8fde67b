// Backward in two dispatches or three, the second: every unit's parts added up into dgamma and dbeta,
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
// and, flag `dx`, what `backward_apply` needs of it left in scratch.
//
// A workgroup owns whole units. Reads two values a part, writes a few a unit.

#import element
#import walk
#import sums
#import parts
#import sum_parts
#import affine
#import statistics
#import centred_by
#import mutual
#import gradients
#import health
#import settled
#if dx
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
    if workgroup >= params.tiles { return; }
    let at = place(workgroup, local);
    let sums = sum_parts(local, at.unit, at.lane);
    if !at.inside || at.lane > 0u { return; }

    let u = used(at.unit);
    let mutual = settle(at.unit, u, sums, true);
#if dx
#if copies
    for (var copy = at.unit; copy < all_copies(); copy += params.units) {
        leave_known(copy, u, centre_of(u, at.unit), mutual);
    }
#else
    leave_known(at.unit, u, centre_of(u, at.unit), mutual);
#endif
#endif
}

#if dx
fn leave_known(unit: u32, u: Used, c: Centre, mutual: Mutual) {
    scratch[plane_at(MEAN, unit)] = c.mean;
    scratch[plane_at(SCALE, unit)] = spread(u.scale);
    scratch[plane_at(SHIFT, unit)] = spread(u.shift);
    scratch[plane_at(INVERSE, unit)] = c.inverse;
    scratch[plane_at(LEVEL, unit)] = mutual.level;
    scratch[plane_at(SLOPE, unit)] = mutual.slope;
}
#endif
