// What training leaves behind a channel: the statistics saved for the backward pass (all means, then
// all inverse standard deviations), and the running statistics moved towards the batch's:
//   running = (1 - momentum) * running + momentum * batch.

@group(0) @binding(7) var<storage, read_write> saved: array<Channel>;
#if running
@group(0) @binding(5) var<storage, read_write> running_mean: array<Channel>;
@group(0) @binding(6) var<storage, read_write> running_variance: array<Channel>;
#endif

fn leave(unit: u32, mean: Channel, variance: Channel) {
    saved[unit] = mean;
    saved[params.units + unit] = inverse_deviation(variance);
#if running
    let keep = 1.0 - params.momentum;
    running_mean[unit] = running_mean[unit] * keep + mean * params.momentum;
    running_variance[unit] = running_variance[unit] * keep + variance * (params.unbias * params.momentum);
#endif
}
