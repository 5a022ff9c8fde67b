// One batch more: counter += 1. A dispatch of its own where the next one needs the new count, since no
// workgroup can tell when another one has counted. A grid of one workgroup.

#import element
#import walk
#import counter

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    count_batch(workgroup, local);
}
