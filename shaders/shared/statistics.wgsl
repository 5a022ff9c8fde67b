// The statistics that the forward pass used: the batch's own, saved by it (planes of means, inverse
// standard deviations, variances, counts), or, flag `frozen`, the running ones; flag `known`: those as `inference_settle`
// has left them in scratch.

struct Used {
    mean: Channel,      // 0 where the variance is infinite
    r: Channel,         // 1 / sqrt(variance + epsilon)
    scale: Channel,     // y before the activation is (x - mean) * scale + shift
    shift: Channel,
    ratio: Channel,     // r and d of batch renormalization
    offset: Channel,
}

/// Where r is 0, (x - mean) * r is 0 for every finite x: without the mean x - mean cannot overflow. What is not finite is NaN.
fn reached(mean: Channel, r: Channel) -> Channel { return mean * within_reach(r); }
fn within_reach(r: Channel) -> Channel { return select(CHANNEL_ONE, CHANNEL_ZERO, r == CHANNEL_ZERO); }

#if known
fn used(unit: u32) -> Used {
    return Used(
        lead(scratch[plane_at(MEAN, unit)]),
        lead(scratch[plane_at(R, unit)]),
        lead(scratch[plane_at(SCALE, unit)]),
        lead(scratch[plane_at(SHIFT, unit)]),
        CHANNEL_ONE,
        CHANNEL_ZERO,
    );
}
#endif
#if frozen !known
#import channel_reads running_mean 5 running
#import channel_reads running_variance 6 running

fn used(unit: u32) -> Used {
    let r = inverse_deviation(load_running_variance(running_of(unit)));
    let mean = reached(load_running_mean(running_of(unit)), r);
    return Used(mean, r, scale_of(unit) * r, shift_of(unit), CHANNEL_ONE, CHANNEL_ZERO);
}
#endif
#if !frozen
#if folded
@group(0) @binding(7) var<storage, read> saved: array<f32>;
fn saved_of(unit: u32, plane: u32) -> Channel {
    let at = plane * params.channel_modulus + channels_at(unit);
    return Channel(saved[at.x], saved[at.y], saved[at.z], saved[at.w]);
}
#else
@group(0) @binding(7) var<storage, read> saved: array<Channel>;
fn saved_of(unit: u32, plane: u32) -> Channel { return saved[plane * params.units + unit]; }
#endif

fn used(unit: u32) -> Used {
    let r = saved_of(unit, 1u);
    let mean = reached(saved_of(unit, 0u), r);
#if renorm
    let ratio = saved_of(unit, 4u);
    let offset = saved_of(unit, 5u);
    let gamma = scale_of(unit);
    return Used(mean, r, gamma * (r * ratio), shift_of(unit) + gamma * offset, ratio, offset);
#else
    return Used(mean, r, scale_of(unit) * r, shift_of(unit), CHANNEL_ONE, CHANNEL_ZERO);
#endif
}
#endif

/// sum(dy * xhat) of sum(dy * (x - mean)) and sum(dy). By an infinite variance the first may have overflowed, and is 0
/// where all dy are finite; all x were, or it would be NaN. (A frozen one says nothing of x: see `centred`.)
fn sum_along(u: Used, along: Channel, of_beta: Channel) -> Channel {
#if frozen
    return along * u.r;
#else
    return select(along, of_beta, u.r == CHANNEL_ZERO) * u.r;
#endif
}

/// m, how many values the statistics were taken over.
fn count_of(unit: u32) -> Channel {
#if counted
    return max(saved_of(unit, 3u), CHANNEL_ONE);
#else
    return Channel(values_of(unit));
#endif
}

#if from_y
/// Whether the scale is too small beside the shift for x to be found again from y.
fn lost(u: Used, unit: u32) -> ChannelTruth {
    return abs(scale_of(unit)) <= abs(u.shift) * LEAST_SCALE;
}
#endif
