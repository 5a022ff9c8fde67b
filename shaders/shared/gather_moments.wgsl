// The moments of x - centre over a lane's elements, for each of its units. Reads x once.
//
// Sums are taken about the mean so far: over CHUNK runs, over BLOCK of those, then merged, so that
// rounding grows with the length of a block, not of all, and not with the mean. The first block, of
// FIRST elements, is about the first one, which may be far from the rest; each of the next is four times
// as long, as the mean comes nearer. Squares are summed in units of SHARE, so that they do not overflow
// where their mean does not.

const SHARE: f32 = 1.0 / f32(BLOCK * CHUNK * ELEMENTS);

fn gather_moments(at: Place, centre: array<V, UNITS>) -> array<Moments, UNITS> {
    var moments = array<Moments, UNITS>();
    var about = array<V, UNITS>();
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
#if health
    var bad = 0u;
#endif
    // A lane may have no element at all, and the next one's memory is none of its business.
    if element < at.end {
        let first = counts_at(at.unit, element, cursor.column);
#unroll a ACROSS
        {
            let x = load_x(address_of(cursor) + beside($au));
#unroll u BESIDE
            about[$a * BESIDE + $u] = finite_or_zero(select(V(0.0), x[$u] - centre[$a * BESIDE + $u], first));
#end
        }
#end
    }

    var block = FIRST / ELEMENTS * params.step;
    while element < at.end {
        var count = V(0.0);
        var sum = array<V, UNITS>();
        var squares = array<V, UNITS>();
        let block_end = min(element + block, at.end);
        block = min(4u * block, BLOCK * CHUNK * params.step);
        while element + (CHUNK - 1u) * params.step < block_end {
#import gather_moments_some CHUNK
        }
#if chunked
        while element < block_end {
#import gather_moments_some ONE
        }
#endif
        let per_value = V(1.0) / max(count, V(1.0));
#unroll u UNITS
        {
            let mean = sum[$u] * per_value;
            // Below zero only by rounding; abs rather than max, which would make zero of a NaN.
            let variance = abs(squares[$u] * (per_value / SHARE) - mean * mean);
            moments[$u] = merge(moments[$u], Moments(as_count(count), about[$u] + mean, variance));
            about[$u] = finite_or_zero(moments[$u].mean);
        }
#end
    }
#if health
    if at.inside { note(0u, bad); }
#endif
    return moments;
}
