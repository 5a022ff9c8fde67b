// The limit that batch norm is measured against: copied[i] = source[i].
// An invocation copies `items` elements in a row, as software drivers like it: each lane walks memory
// in order, with four loads before the first store. The text before this file defines `Element`,
// `lanes` and `items`.
@group(0) @binding(0) var<storage, read> source: array<Element>;
@group(0) @binding(1) var<storage, read_write> copied: array<Element>;

@compute @workgroup_size(lanes)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var i = ((group.y * groups.x + group.x) * lanes + lane) * items;
    let end = min(i + items, arrayLength(&source));
    for (; i + 4u <= end; i += 4u) {
        let a = source[i];
        let b = source[i + 1u];
        let c = source[i + 2u];
        let d = source[i + 3u];
        copied[i] = a;
        copied[i + 1u] = b;
        copied[i + 2u] = c;
        copied[i + 3u] = d;
    }
    for (; i < end; i++) {
        copied[i] = source[i];
    }
}
