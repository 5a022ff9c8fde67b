// Moments of many parts, merged in a fixed order: about a centre c how many values there are, sum(x - c) and
// sum((x - c)^2). So
//   mean = c + sum / n,   variance = squares / n - (sum / n)^2.
// Nothing is lost where the centre is within a few deviations of the mean. It is 0 if that is (so that the sum is one of x
// itself, and one large value among zeros costs no digits), else near the mean (so that a mean of 1e6 costs none).
// Each value of a V keeps its own moments until `fold`. Their counts differ only under a mask, and where rows
// are ragged.
//
// Where squares would overflow, the moments are those of SHRINK * x, and the squares have a minus sign to say so.

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
    centre: V,
    sum: V,
    squares: V,
}

/// Squares from here on are too large: with as many again as a tensor has values they would overflow. So would those of
/// centres that are farther apart than FAR.
const LARGE: f32 = 0x1p96f;
const FAR: f32 = 0x1p48f;
/// Of the largest value the square is 2^98 then, and of one that makes squares LARGE 2^-64. (The square of SHRINK is 0
/// in f32: what is squared is multiplied by it twice.)
const SHRINK: f32 = 0x1p-80f;
const UNSHRINK: f32 = 0x1p80f;
/// The least normal f32, and the largest.
const LEAST: f32 = 0x1p-126f;
const MOST: f32 = 0x1.fffffep127f;
/// Squares below have lost digits, or all of them.
const SMALL: f32 = 0x1p-100f;

fn no_moments() -> Moments {
    return Moments(Count(0.0), V(0.0), V(0.0), V(0.0));
}

/// The first 12 of the 24 digits of v. The product of two such numbers is exact, and so is that of what they leave.
fn first_digits(v: V) -> V {
    return bitcast<V>(bitcast<Bits>(v) & Bits(0xfffff000u));
}

/// The same about another centre. The way there, times the count, is taken in two parts of 12 digits, both of which are
/// exact for counts up to 4,096: otherwise it would be off by as much as the whole sum rounds. (Squares are below zero
/// only by rounding. A maximum would make zero of a NaN.)
fn about(m: Moments, centre: V) -> Moments {
    let way = m.centre - centre;
    let most = first_digits(way);
    let sum = (m.sum + V(m.count) * most) + V(m.count) * (way - most);
    return Moments(m.count, centre, sum, abs(m.squares + way * (m.sum + sum)));
}

/// About 0 if the mean is near it, or values are so small that squares do not tell; else about the mean if that is
/// farther than a deviation from the centre; else as it is. Near is less than 1.5 variances, so that squares about 0 are
/// at most 2.5 times those about the mean; it is more than one variance, which is where one value and a 0 are.
fn recentred(m: Moments) -> Moments {
    let per_value = V(1.0) / max(V(m.count), V(1.0));
    let rest = m.sum * per_value;
    let variance = m.squares * per_value - rest * rest;
    let mean = m.centre + rest;
    let is_small = (m.squares < V(SMALL)) & (m.sum != V(0.0));
    let centre = select(m.centre, mean, rest * rest > variance);
    return about(m, select(centre, V(0.0), (mean * mean < 1.5 * variance) | is_small));
}

/// Those of SHRINK * x where it is so, the sign taken off; `marked` puts it on.
fn shrunk(m: Moments, huge: Truth) -> Moments {
    let by = select(V(1.0), V(SHRINK), huge & (m.squares >= V(0.0)));
    return Moments(m.count, m.centre * by, m.sum * by, (abs(m.squares) * by) * by);
}

/// (Squares of 0 have no sign to tell. What is added is 2^34 at full size, of values of 2^48 and more.)
fn marked(m: Moments, huge: Truth) -> Moments {
    return Moments(m.count, m.centre, m.sum, select(m.squares, -(m.squares + V(LEAST)), huge));
}

/// Both, about the centre of the one with more values.
fn merge(a: Moments, b: Moments) -> Moments {
    let far = (abs(a.centre - b.centre) > V(FAR)) & (V(a.count) > V(0.0)) & (V(b.count) > V(0.0));
    let huge = far | (a.squares < V(0.0)) | (b.squares < V(0.0));
    let one = shrunk(a, huge);
    let other = shrunk(b, huge);
    let centre = select(one.centre, other.centre, V(b.count) > V(a.count));
    let p = about(one, centre);
    let q = about(other, centre);
    return marked(recentred(Moments(p.count + q.count, centre, p.sum + q.sum, p.squares + q.squares)), huge);
}

/// What moments say: the statistics, and what y is found by, (x - centre) - rest being x - mean. That is x where the
/// variance is more than an f32 holds: times 0 it is 0, as long as it is finite itself.
struct Found {
    statistics: Statistics,
    centre: Channel,
    rest: Channel,
}

/// By a division that WGSL allows to be off by 2.5 units in the last place, more than the mean may be; and by what it has
/// left, which is not a number where the quotient is none. What is left is a unit in the last place of the sum or so: the
/// quotient times the count is taken from it in four exact parts. (`fma` need not be one rounding.)
fn divided(sum: V, count: V) -> V {
    let quotient = sum / count;
    let q = first_digits(quotient);
    let n = first_digits(count);
    let q_rest = quotient - q;
    let n_rest = count - n;
    let left = ((sum - q * n) - (q * n_rest + q_rest * n)) - q_rest * n_rest;
    return quotient + select(V(0.0), left / count, abs(left) < abs(sum));
}

/// The values of a V that share a channel, merged.
fn fold(m: Moments) -> Found {
#if wide !channels_last
#if masked|ragged
    let two = merge(m, Moments(m.count.yxwz, m.centre.yxwz, m.sum.yxwz, m.squares.yxwz));
    let all = merge(two, Moments(two.count.zwxy, two.centre.zwxy, two.sum.zwxy, two.squares.zwxy));
#else
    let two = merge(m, Moments(m.count, m.centre.yxwz, m.sum.yxwz, m.squares.yxwz));
    let all = merge(two, Moments(two.count, two.centre.zwxy, two.sum.zwxy, two.squares.zwxy));
#endif
#else
    let all = m;
#endif
    let count = max(V(all.count), V(1.0));
    let rest = divided(all.sum, count);
    let whole = select(V(1.0), V(UNSHRINK), all.squares < V(0.0));
    let variance = (abs(abs(all.squares) / count - rest * rest) * whole) * whole;
    let statistics = Statistics(lead(V(all.count)), lead((all.centre + rest) * whole), lead(variance));
    let holds = (bitcast<Bits>(variance) & Bits(0x7f800000u)) != Bits(0x7f800000u);
    let zero = V(0.0);
    return Found(
        statistics,
        lead(select(zero, all.centre * whole, holds)),
        lead(select(zero, rest * whole, holds)),
    );
}

var<workgroup> lane_count: array<Count, LANES * COLUMNS>;
var<workgroup> lane_centre: array<V, LANES * COLUMNS>;
var<workgroup> lane_sum: array<V, LANES * COLUMNS>;
var<workgroup> lane_squares: array<V, LANES * COLUMNS>;

/// The moments of all lanes of a column, merged in a fixed order; every lane gets the result. The upper half of the lanes
/// leaves its moments to the lower one, as often as more than one is left: nobody holds more than two at a time, which is
/// what registers are short of.
fn merge_lanes(local: u32, mine: Moments) -> Moments {
    if LANES == 1u { return mine; }
    var all = mine;
    leave_moments(local, all);
    for (var many = LANES / 2u; many > 0u; many /= 2u) {
        workgroupBarrier();
        if local < many * COLUMNS {
            all = merge(all, moments_of(local + many * COLUMNS));
            leave_moments(local, all);
        }
    }
    workgroupBarrier();
    all = moments_of(local % COLUMNS);
    if UNITS > 1u { workgroupBarrier(); } // before the arrays are used again
    return all;
}

fn leave_moments(place: u32, m: Moments) {
    lane_count[place] = m.count;
    lane_centre[place] = m.centre;
    lane_sum[place] = m.sum;
    lane_squares[place] = m.squares;
}

fn moments_of(place: u32) -> Moments {
    return Moments(lane_count[place], lane_centre[place], lane_sum[place], lane_squares[place]);
}
