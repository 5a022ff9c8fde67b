// Inference: y = (x - running_mean) / sqrt(running_variance + epsilon) * gamma + beta.
// Flag `gradient`: the same map without its offsets, which is the gradient of x through frozen
// statistics; x is then dy, y is dx: dx = gamma / sqrt(running_variance + epsilon) * dy.
//
// A workgroup owns one part of its units, an invocation one lane of it. Reads x once, writes y once.

#import element
#import walk
#import affine
#import normalize

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;
#if gradient
#else
@group(0) @binding(5) var<storage, read> running_mean: array<Channel>;
#endif
@group(0) @binding(6) var<storage, read> running_variance: array<Channel>;

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

    let scale = scale_of(at.unit) * inverse_deviation(running_variance[at.unit]);
#if gradient
    normalize(at, CHANNEL_ZERO, CHANNEL_ZERO, scale, CHANNEL_ZERO);
#else
    normalize(at, running_mean[at.unit], CHANNEL_ZERO, scale, shift_of(at.unit));
#endif
}
