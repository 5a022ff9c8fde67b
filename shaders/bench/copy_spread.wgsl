// The limit that batch norm is measured against: copied[i] = source[i].
// A workgroup owns `lanes` times `items` elements in a row; its lanes take them in turns, so that the
// loads of one moment are neighbours. The text before this file defines `Element`, `lanes` and `items`.
@group(0) @binding(0) var<storage, read> source: array<Element>;
@group(0) @binding(1) var<storage, read_write> copied: array<Element>;

@compute @workgroup_size(lanes)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (group.y * groups.x + group.x) * lanes * items;
    for (var k = 0u; k < items; k++) {
        let i = first + k * lanes + lane;
        if (i < arrayLength(&source)) {
            copied[i] = source[i];
        }
    }
}
