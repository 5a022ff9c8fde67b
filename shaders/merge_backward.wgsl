// The sums of several backward passes added up, in their order. `many` holds planes of sum(dy) and of
// sum(dy * xhat) of all units, then those of the next part.
//
// An invocation owns one unit. Reads two values a part, writes two.

#import element
#import walk

@group(0) @binding(20) var<storage, read> many: array<Channel>;
@group(0) @binding(19) var<storage, read_write> sums: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = workgroup_number(id, grid) * LANES * COLUMNS + local;
    if unit >= params.units { return; }
    var of_beta = CHANNEL_ZERO;
    var of_gamma = CHANNEL_ZERO;
    for (var part = 0u; part < params.all_parts; part++) {
        let source = 2u * part * params.units + unit;
        of_beta += many[source];
        of_gamma += many[source + params.units];
    }
    sums[unit] = of_beta;
    sums[params.units + unit] = of_gamma;
}
