// What training makes of a unit's statistics: scale and shift of its values, and what it leaves behind:
// planes of per-unit values for the backward pass (means, inverse standard deviations, variances,
// counts), and, flag `running`, the running statistics moved.
//
// Flag `renorm`, batch renormalization (Ioffe 2017): y = gamma * (xhat * r + d) + beta with
//   r = clamp(deviation / running deviation, 1 / r_max, r_max),
//   d = clamp((mean - running mean) / running deviation, -d_max, d_max),
// two planes more. The running statistics are those before the batch, so another dispatch moves them.

@group(0) @binding(7) var<storage, read_write> saved: array<Channel>;
#if running
#import moved
#endif
#if renorm
#import channel_reads running_mean 5 running
#import channel_reads running_variance 6 running
#endif

struct Affine {
    scale: Channel,
    shift: Channel,
}

fn affine_of(unit: u32, s: Statistics) -> Affine {
    let r = inverse_deviation(s.variance);
    let gamma = scale_of(unit);
#if renorm
    let correction = correction_of(unit, s);
    return Affine(gamma * (r * correction.scale), shift_of(unit) + gamma * correction.shift);
#else
    return Affine(gamma * r, shift_of(unit));
#endif
}

#if renorm
fn correction_of(unit: u32, s: Statistics) -> Affine {
    let running = inverse_deviation(load_running_variance(running_of(unit)));
    let r_max = Channel(params.r_max);
    let r = sqrt(s.variance + Channel(params.epsilon)) * running;
    let d = (s.mean - load_running_mean(running_of(unit))) * running;
    let d_max = Channel(params.d_max);
    return Affine(bounded(r, CHANNEL_ONE / r_max, r_max), bounded(d, -d_max, d_max));
}

/// Of a NaN `clamp` may make a bound.
fn bounded(c: Channel, low: Channel, high: Channel) -> Channel {
    let is_nan = (bitcast<ChannelBits>(c) & ChannelBits(MAGNITUDE)) > ChannelBits(INFINITE);
    return select(clamp(c, low, high), c, is_nan);
}
#endif

fn leave(unit: u32, s: Statistics) {
    saved[unit] = s.mean;
    saved[params.units + unit] = inverse_deviation(s.variance);
    saved[2u * params.units + unit] = s.variance;
    saved[3u * params.units + unit] = s.count;
#if renorm
    let correction = correction_of(unit, s);
    saved[4u * params.units + unit] = correction.scale;
    saved[5u * params.units + unit] = correction.shift;
#endif
#if running
    move_running(running_of(unit), s.count, s.mean, s.variance, params.keep, params.momentum);
#endif
#if health
    let exponent = ChannelBits(INFINITE);
    let mean_is_finite = (bitcast<ChannelBits>(s.mean) & exponent) != exponent;
    let variance_is_not = (bitcast<ChannelBits>(s.variance) & exponent) == exponent;
    note(1u, tally_channels(s.count <= CHANNEL_ONE));
    note(2u, tally_channels(mean_is_finite & variance_is_not));
#endif
}
