// Inference in several dispatches, the first: what `forward_apply` needs of each unit, left in scratch where
// `forward_settle` leaves it, so that the last dispatch binds x, y and scratch alone. For devices with few bindings.
// Flag `settled`: the mean and the scale are there, and beta comes to them in a dispatch of its own. Flag `gradient`: it is
// the first of a backward pass through frozen statistics, and what `backward_partial` and `backward_settle` need is left.
//
// An invocation owns one unit. Reads and writes a few values.

#import element
#import walk
#import affine
#if gradient
#import parts
#else
#import records
#endif
#if !settled
#import statistics
#endif

@group(0) @binding(9) var<storage, read_write> scratch: array<V>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = workgroup_number(id, grid) * LANES * COLUMNS + local;
    if unit >= params.units { return; }
#if copies
    for (var copy = unit; copy < all_copies(); copy += params.units) { leave_map(unit, copy); }
#else
    leave_map(unit, unit);
#endif
}

#if settled
fn leave_map(unit: u32, to: u32) { scratch[plane_at(SHIFT, to)] = spread(shift_of(unit)); }
#else
fn leave_map(unit: u32, to: u32) {
    let u = used(unit);
#if gradient
    scratch[plane_at(MEAN, to)] = spread(u.mean);
    scratch[plane_at(R, to)] = spread(u.r);
#else
    scratch[plane_at(CENTRE, to)] = spread(u.mean);
    scratch[plane_at(REST, to)] = V(0.0);
#endif
    scratch[plane_at(SCALE, to)] = spread(u.scale);
    scratch[plane_at(SHIFT, to)] = spread(u.shift);
}
#endif
