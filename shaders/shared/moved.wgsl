// The running statistics moved towards the batch's:
//   running = (1 - momentum) * running + momentum * batch.

@group(0) @binding(5) var<storage, read_write> running_mean: array<Channel>;
@group(0) @binding(6) var<storage, read_write> running_variance: array<Channel>;

fn move_running(unit: u32, mean: Channel, variance: Channel, momentum: f32) {
    let keep = 1.0 - momentum;
    running_mean[unit] = running_mean[unit] * keep + mean * momentum;
    running_variance[unit] = running_variance[unit] * keep + variance * (params.unbias * momentum);
}
