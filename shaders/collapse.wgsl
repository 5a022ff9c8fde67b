// The gradients of gamma and beta from those of every group or step: added up, in order.
//
// An invocation owns one channel. Reads and writes a few values a channel.

#import element
#import walk

#if dgamma
@group(0) @binding(19) var<storage, read> dgamma_of_units: array<Channel>;
#import channel_writes dgamma 12 parameters
#endif
#if dbeta
@group(0) @binding(20) var<storage, read> dbeta_of_units: array<Channel>;
#import channel_writes dbeta 13 parameters
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let channel = workgroup_number(id, grid) * LANES * COLUMNS + local;
    if channel >= params.channel_modulus { return; }
    var of_gamma = CHANNEL_ZERO;
    var of_beta = CHANNEL_ZERO;
    for (var group = 0u; group < params.group_modulus; group++) {
        let unit = channel * params.channel_divisor + group * params.group_divisor;
#if dgamma
        of_gamma += dgamma_of_units[unit];
#endif
#if dbeta
        of_beta += dbeta_of_units[unit];
#endif
    }
#if dgamma
    store_dgamma(channel, of_gamma);
#endif
#if dbeta
    store_dbeta(channel, of_beta);
#endif
}
