// The sums of the backward pass as values, after `backward_partial`: planes of sum(dy) and of
// sum(dy * xhat) of all units, the parts of each added up.
//
// A workgroup owns whole units. Reads two values a part, writes two a unit.

#import element
#import walk
#import sums
#import parts
#import sum_parts
#import affine
#import statistics

@group(0) @binding(9) var<storage, read> scratch: array<V>;
@group(0) @binding(19) var<storage, read_write> sums: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= params.tiles { return; }
    let at = place(workgroup, local);
    let total = sum_parts(local, at.unit, at.lane);
    if !at.inside || at.lane > 0u { return; }

    let of_beta = gather(total.a);
    sums[at.unit] = of_beta;
    sums[params.units + at.unit] = sum_along(used(at.unit), gather(total.b), of_beta);
}
