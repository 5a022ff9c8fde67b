// The limit that batch norm is measured against: copied[i] = source[i].
// An invocation copies `items` elements in a row, as software drivers like it: each lane walks memory
// in order. Text before this file says what an Element is.
@group(0) @binding(0) var<storage, read> source: array<Element>;
@group(0) @binding(1) var<storage, read_write> copied: array<Element>;

override lanes: u32;
override items: u32;

@compute @workgroup_size(lanes)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = ((group.y * groups.x + group.x) * lanes + lane) * items;
    let end = min(first + items, arrayLength(&source));
    for (var i = first; i < end; i++) {
        copied[i] = source[i];
    }
}
