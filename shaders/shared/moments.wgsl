// Mean and variance of many parts, merged in a fixed order (Chan, Golub, LeVeque 1979):
//   mean = (n1 mean1 + n2 mean2) / n,   variance = (n1 var1 + n2 var2) / n + (mean2 - mean1)^2 n1 n2 / n^2
// in weights instead of sums of squares: a variance that fits an f32 does not overflow on the way.
// Each value of a V keeps its own moments until `fold`. Their counts differ only under a mask,
// and where rows are ragged.

#if masked|ragged
alias Count = V;
fn as_count(v: V) -> Count { return v; }
#else
alias Count = f32;
#if wide
fn as_count(v: V) -> Count { return v.x; }
#else
fn as_count(v: V) -> Count { return v; }
#endif
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
#if masked|ragged
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

/// The moments of all lanes of a column, merged in a fixed order; every lane gets the result. Some
/// lanes first merge those of FOLD lanes each, as often as more than FOLD are left; then every lane
/// merges the LAST that remain, as one:
///   mean = sum(n_k mean_k) / n,   variance = sum(n_k (var_k + (mean_k - mean)^2)) / n.
fn merge_lanes(local: u32, mine: Moments) -> Moments {
    if LANES == 1u { return mine; }
    leave_moments(local, mine);
    for (var many = LANES / FOLD; many >= LAST; many /= FOLD) {
        workgroupBarrier();
        if local < many * COLUMNS {
            var all = moments_of(local);
            for (var k = 1u; k < FOLD; k++) {
                all = merge(all, moments_of(local + k * many * COLUMNS));
            }
            leave_moments(local, all);
        }
    }
    workgroupBarrier();
    let column = local % COLUMNS;
    var count = Count(0.0);
#unroll k LAST
    let m_$k = moments_of($ku * COLUMNS + column);
    count += m_$k.count;
#end
    let per_value = Count(1.0) / max(count, Count(1.0));
    var mean = V(0.0);
#unroll k LAST
    mean += m_$k.mean * (m_$k.count * per_value);
#end
    var variance = V(0.0);
#unroll k LAST
    let d_$k = m_$k.mean - mean;
    variance += m_$k.variance * (m_$k.count * per_value) + d_$k * (d_$k * (m_$k.count * per_value));
#end
    if UNITS > 1u { workgroupBarrier(); } // before the arrays are used again
    return Moments(count, mean, variance);
}

fn leave_moments(place: u32, m: Moments) {
    lane_count[place] = m.count;
    lane_mean[place] = m.mean;
    lane_variance[place] = m.variance;
}

fn moments_of(place: u32) -> Moments {
    return Moments(lane_count[place], lane_mean[place], lane_variance[place]);
}
