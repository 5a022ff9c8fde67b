// The running statistics moved towards the batch's:
//   running = keep * running + momentum * batch,
// the batch's variance times m / (m - 1) where it is to be unbiased. Where nothing counted they stay, or
// move as by mean 0 and variance 0.

#import channel_moves running_mean 5 running
#import channel_moves running_variance 6 running

fn move_running(to: u32, count: Channel, mean: Channel, variance: Channel, keep: f32, momentum: f32) {
    let some = (count > CHANNEL_ZERO) | ChannelTruth(params.moves_by_none == 1u);
    let unbias = select(CHANNEL_ONE, count / max(count - CHANNEL_ONE, CHANNEL_ONE), params.unbiased == 1u);
    let old_mean = load_running_mean(to);
    let old_variance = load_running_variance(to);
    store_running_mean(to, select(old_mean, old_mean * keep + mean * momentum, some));
    store_running_variance(to, select(old_variance, old_variance * keep + variance * (unbias * momentum), some));
}
