// The running statistics moved by what a forward pass saved, on their own, and the batch counted. Flag
// `cumulative`: by the average over all batches so far, this one included, which `count` has counted.
//
// An invocation owns one unit. Reads and writes a few values a channel.

#import element
#import walk
#import moved
#import counter
#if cumulative
@group(0) @binding(8) var<storage, read> counter: array<u32>;
#endif

@group(0) @binding(7) var<storage, read> saved: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    let unit = workgroup * LANES * COLUMNS + local;
    count_batch(workgroup, local);
    if unit >= params.units { return; }
#if cumulative
    let momentum = 1.0 / f32(counter[0]);
#else
    let momentum = params.momentum;
#endif
    // Saved are means, inverse standard deviations, variances.
    move_running(unit, saved[unit], saved[2u * params.units + unit], momentum);
}
