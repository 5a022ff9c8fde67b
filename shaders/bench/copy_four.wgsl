// The limit that batch norm is measured against: copied[i] = source[i].
// As copy_spread with four items, all four loads before the first store, so that a GPU has them in
// flight together. The text before this file defines `Element`, `lanes` and `items`.
@group(0) @binding(0) var<storage, read> source: array<Element>;
@group(0) @binding(1) var<storage, read_write> copied: array<Element>;

@compute @workgroup_size(lanes)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.y * groups.x + group.x) * lanes * 4u + lane;
    let count = arrayLength(&source);
    if (i + 3u * lanes < count) {
        let a = source[i];
        let b = source[i + lanes];
        let c = source[i + 2u * lanes];
        let d = source[i + 3u * lanes];
        copied[i] = a;
        copied[i + lanes] = b;
        copied[i + 2u * lanes] = c;
        copied[i + 3u * lanes] = d;
    } else {
        for (var j = i; j < count; j += lanes) {
            copied[j] = source[j];
        }
    }
}
