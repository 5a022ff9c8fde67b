// Statistics of several batches, or of one batch in several places, merged in their order:
//   mean = (n1 mean1 + n2 mean2) / n,   variance = (n1 var1 + n2 var2) / n + (mean2 - mean1)^2 n1 n2 / n^2.
// `many` holds planes of counts, means and variances of all units, then those of the next part.
//
// An invocation owns one unit. Reads three values a part, writes three.

#import element
#import walk

@group(0) @binding(20) var<storage, read> many: array<Channel>;
@group(0) @binding(19) var<storage, read_write> statistics: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = workgroup_number(id, grid) * LANES * COLUMNS + local;
    if unit >= params.units { return; }
    var count = CHANNEL_ZERO;
    var mean = CHANNEL_ZERO;
    var variance = CHANNEL_ZERO;
    for (var part = 0u; part < params.all_parts; part++) {
        let source = 3u * part * params.units + unit;
        let both = count + many[source];
        // Each by a division of its own: 1 - weight may be 0 beside an infinite variance.
        let weight = many[source] / max(both, CHANNEL_ONE);
        let rest = count / max(both, CHANNEL_ONE);
        let other = many[source + params.units];
        let delta = other - mean;
        let apart = (delta * rest) * (delta * weight);
        variance = variance * rest + many[source + 2u * params.units] * weight + apart;
        // A small step, so that only the sum rounds at the size of the mean; but not from or to infinity.
        let far = (bitcast<ChannelBits>(delta) & ChannelBits(MAGNITUDE)) == ChannelBits(INFINITE);
        mean = select(mean + delta * weight, mean * rest + other * weight, far);
        count = both;
    }
    statistics[unit] = count;
    statistics[params.units + unit] = mean;
    statistics[2u * params.units + unit] = variance;
}
