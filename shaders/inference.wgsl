// Inference: y = (x - running_mean) / sqrt(running_variance + epsilon) * gamma + beta.
// Flag `frozen` absent: by statistics of a batch, saved before. Flag `gradient`: the same map without
// its offsets, which is the gradient of x through frozen statistics; x is then dy, y is dx:
//   dx = gamma / sqrt(running_variance + epsilon) * dy.
//
// A workgroup owns one part of its units, an invocation one lane of it. Reads x once, writes y once.

#import element
#import walk
#import affine
#import x_to_y
#import finish
#import normalize
#if gradient
#import channel_reads running_variance 6 running
#else
#import statistics
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroup, local);
    if !at.inside { return; }

    var maps = array<Map, SEEN>();
#unroll u SEEN
    maps[$u] = map_of(unit_of(at, $uu));
#end
    normalize(at, maps);
}

#if gradient
fn map_of(unit: u32) -> Map {
    let scale = scale_of(unit) * inverse_deviation(load_running_variance(running_of(unit)));
    return Map(V(0.0), V(0.0), spread(scale), V(0.0));
}
#else
fn map_of(unit: u32) -> Map {
    let u = used(unit);
    return Map(spread(u.mean), V(0.0), spread(u.scale), spread(u.shift));
}
#endif
