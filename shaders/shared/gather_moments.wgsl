// The moments of x - centre over a lane's elements, for each of its units. Reads x once.
//
// Sums are taken about the mean so far: over CHUNK elements, over BLOCK of those, then merged, so that
// rounding grows with the length of a block, not of all, and not with the mean. The first block, of
// FIRST elements, is about the first one, which may be far from the rest; each of the next is four times
// as long, as the mean comes nearer. Squares are summed in units of SHARE, so that they do not overflow
// where their mean does not.

const SHARE: f32 = 1.0 / f32(BLOCK * CHUNK);

fn gather_moments(at: Place, centre: array<V, ACROSS>) -> array<Moments, ACROSS> {
    var moments: array<Moments, ACROSS>;
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
#if health
    var bad = 0u;
#endif
#unroll u ACROSS
    var about_$u = V(0.0);
#end
    // A lane may have no element at all, and the next one's memory is none of its business.
    if element < at.end {
        let first = valid_at(at.unit, element);
#unroll u ACROSS
        about_$u = finite_or_zero(select(V(0.0), load_x(cursor.address + beside($uu)) - centre[$u], first));
#end
    }

    var block = FIRST * params.step;
    while element < at.end {
        var count = V(0.0);
#unroll u ACROSS
        var sum_$u = V(0.0);
        var squares_$u = V(0.0);
#end
        let block_end = min(element + block, at.end);
        block = min(4u * block, BLOCK * CHUNK * params.step);
        while element + (CHUNK - 1u) * params.step < block_end {
#unroll k CHUNK
            let at_$k = cursor.address;
            cursor = next(cursor);
            let counts_$k = valid_at(at.unit, element + $ku * params.step);
            count += one_if(counts_$k);
#end
#unroll u ACROSS
            {
                var sum = V(0.0);
                var squares = V(0.0);
#unroll k CHUNK
                let z_$k = select(V(0.0), load_x(at_$k + beside($uu)) - centre[$u], counts_$k);
                let d_$k = select(V(0.0), z_$k - about_$u, counts_$k);
                sum += d_$k;
                squares += d_$k * (d_$k * SHARE);
#if health
                bad += how_many_not_finite(z_$k);
#endif
#end
                sum_$u += sum;
                squares_$u += squares;
            }
#end
            element += CHUNK * params.step;
        }
#if chunked
        while element < block_end {
            let counts = valid_at(at.unit, element);
            count += one_if(counts);
#unroll u ACROSS
            {
                let z = select(V(0.0), load_x(cursor.address + beside($uu)) - centre[$u], counts);
                let d = select(V(0.0), z - about_$u, counts);
                sum_$u += d;
                squares_$u += d * (d * SHARE);
#if health
                bad += how_many_not_finite(z);
#endif
            }
#end
            cursor = next(cursor);
            element += params.step;
        }
#endif
        let per_value = V(1.0) / max(count, V(1.0));
#unroll u ACROSS
        {
            let mean = sum_$u * per_value;
            // Below zero only by rounding; abs rather than max, which would make zero of a NaN.
            let variance = abs(squares_$u * (per_value / SHARE) - mean * mean);
            moments[$u] = merge(moments[$u], Moments(as_count(count), about_$u + mean, variance));
            about_$u = finite_or_zero(moments[$u].mean);
        }
#end
    }
#if health
    if at.inside { note(0u, bad); }
#endif
    return moments;
}
