// The statistics that the forward pass used: the batch's own, saved by it (all means, then all
// inverse standard deviations), or, flag `frozen`, the running ones.

#if frozen
@group(0) @binding(5) var<storage, read> running_mean: array<Channel>;
@group(0) @binding(6) var<storage, read> running_variance: array<Channel>;

fn mean_of(unit: u32) -> Channel { return running_mean[unit]; }
fn inverse_deviation_of(unit: u32) -> Channel { return inverse_deviation(running_variance[unit]); }
#else
@group(0) @binding(7) var<storage, read> saved: array<Channel>;

fn mean_of(unit: u32) -> Channel { return saved[unit]; }
fn inverse_deviation_of(unit: u32) -> Channel { return saved[params.units + unit]; }
#endif
