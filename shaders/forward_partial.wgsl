// Training forward in two dispatches, the first: the moments of every part of every unit.
//
// A workgroup owns one part of its units, an invocation one lane of it. Reads x once, writes four V a
// part, for `forward_apply` to merge.

#import element
#import walk
#import valid
#import reads x 1
#import batch
#import moments
#import gather_moments
#import records
#import health
#import counter
#import forward_first

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
    forward_first(local, place(workgroup, local));
}
