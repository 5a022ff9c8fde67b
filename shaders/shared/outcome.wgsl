// What training leaves behind a channel: the statistics saved for the backward pass (all means, then all
// inverse standard deviations, then all variances), and, flag `running`, the running ones moved.

@group(0) @binding(7) var<storage, read_write> saved: array<Channel>;
#if running
#import moved
#endif

fn leave(unit: u32, mean: Channel, variance: Channel) {
    saved[unit] = mean;
    saved[params.units + unit] = inverse_deviation(variance);
    saved[2u * params.units + unit] = variance;
#if running
    move_running(unit, mean, variance, params.momentum);
#endif
}
