// What a training forward leaves, from statistics that are values: the saved ones, the running ones
// moved, and scale and shift for a kernel of the caller's that computes y = x * scale + shift.
//
// An invocation owns one unit. Reads and writes a few values.

#import element
#import walk
#import batch
#import affine
#import outcome
#import health
#import counter

@group(0) @binding(19) var<storage, read> statistics: array<Channel>;
@group(0) @binding(20) var<storage, read_write> scale_and_shift: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    count_batch(workgroup, local);
    let unit = workgroup * LANES * COLUMNS + local;
    if unit >= params.units { return; }
    let mean = statistics[params.units + unit];
    let s = Statistics(statistics[unit], mean, statistics[2u * params.units + unit]);
    // Before the running statistics move.
    let affine = affine_of(unit, s);
    leave(unit, s);
    scale_and_shift[unit] = affine.scale;
    scale_and_shift[params.units + unit] = affine.shift - mean * affine.scale;
}
