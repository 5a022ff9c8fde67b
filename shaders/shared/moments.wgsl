// Mean and variance of many parts, merged in a fixed order (Chan, Golub, LeVeque 1979):
//   mean = (n1 mean1 + n2 mean2) / n,   variance = (n1 var1 + n2 var2) / n + (mean2 - mean1)^2 n1 n2 / n^2
// in weights instead of sums of squares: a variance that fits an f32 does not overflow on the way.
// Each value of a V keeps its own moments until `fold`. Their counts differ only under a mask.

#if masked
alias Count = V;
#else
alias Count = f32;
#endif

struct Moments {
    count: Count,
    mean: V,
    variance: V,
}

/// The largest f32.
const LARGEST = 3.40282346638528859811704183484516925e+38f;

fn no_moments() -> Moments {
    return Moments(Count(0.0), V(0.0), V(0.0));
}

fn merge(a: Moments, b: Moments) -> Moments {
    let count = a.count + b.count;
    let weight_b = b.count / max(count, Count(1.0));
    let weight_a = 1.0 - weight_b;
    let delta = b.mean - a.mean;
    // A small step, so that only the sum rounds at the size of the mean; an infinite mean stays so.
    let mean = select(a.mean + delta * weight_b, a.mean + b.mean, abs(delta) > V(LARGEST));
    return Moments(
        count,
        mean,
        a.variance * weight_a + b.variance * weight_b + (delta * weight_a) * (delta * weight_b),
    );
}

/// The values of a V that share a channel, merged.
fn fold(m: Moments) -> Statistics {
#if masked
    let count = gather(m.count);
    let weight = m.count / max(spread(count), V(1.0));
#else
    let count = Channel(m.count * GATHERED);
    let weight = 1.0 / GATHERED;
#endif
    let mean = gather(m.mean * weight);
    let delta = m.mean - spread(mean);
    return Statistics(count, mean, gather(m.variance * weight + delta * (delta * weight)));
}

var<workgroup> lane_count: array<Count, LANES * COLUMNS>;
var<workgroup> lane_mean: array<V, LANES * COLUMNS>;
var<workgroup> lane_variance: array<V, LANES * COLUMNS>;

/// The moments of all lanes of a column, in a tree of fixed shape; every lane gets the result.
fn merge_lanes(local: u32, mine: Moments) -> Moments {
    if LANES == 1u { return mine; }
    lane_count[local] = mine.count;
    lane_mean[local] = mine.mean;
    lane_variance[local] = mine.variance;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half * COLUMNS {
            let other = local + half * COLUMNS;
            let both = merge(
                Moments(lane_count[local], lane_mean[local], lane_variance[local]),
                Moments(lane_count[other], lane_mean[other], lane_variance[other]),
            );
            lane_count[local] = both.count;
            lane_mean[local] = both.mean;
            lane_variance[local] = both.variance;
        }
    }
    workgroupBarrier();
    let column = local % COLUMNS;
    return Moments(lane_count[column], lane_mean[column], lane_variance[column]);
}
