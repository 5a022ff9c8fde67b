// The moments of a lane's elements, for each of its units. Reads x once.
//
// Sums are taken over CHUNK runs, over BLOCK of those, then over the lane, so that rounding grows with the length of
// a block, not of all. They are about the lane's first value that counts, which may be far from the rest; so the
// first block has only FIRST elements (a run where not all count), and every second block is twice as long as the one
// before it, as the centre comes nearer the mean. A block whose squares are too large is gone over again, shrunk.
// What a total loses of a block, of which there may be hundreds, is added with the next one: beside the square of one large
// value all others' would be too small to be seen.

fn gather_moments(at: Place) -> array<Moments, UNITS> {
    var moments = array<Moments, UNITS>();
    var lost_sum = array<V, UNITS>();
    var lost_squares = array<V, UNITS>();
    var shrink = array<V, UNITS>();
#unroll u UNITS
    shrink[$u] = V(1.0);
#end
    var element = at.first;
#if masked
    // Where nothing counts, there is nothing to look at.
    while element + (CHUNK - 1u) * params.step < at.end && none_counts(at.unit, element) {
        element += CHUNK * params.step;
    }
#endif
    var cursor = cursor_at(at.unit, element);
#if health
    var bad = 0u;
#endif
#if masked|ragged
    var seek = cursor;
    var have = Truth(false);
    var tries = 8u;
    for (var e = element; e < at.end && tries > 0u; e += params.step) {
        if tally(have) == 0u {
            element = e;
            cursor = seek;
        }
#unroll e ELEMENTS
        let counts_$e = counts_at(at.unit, e + $eu, seek.column + $eu);
        if tally(counts_$e & !have) > 0u {
#unroll a ACROSS
            if runs(at, $au) {
                let x = load_x(address_of(seek) + beside($au));
#unroll u BESIDE
                let u_$u = $a * BESIDE + $u;
                moments[u_$u].centre = finite_or_zero(first_of_all(moments[u_$u].centre, x[$e + $u], counts_$e, have));
#end
            }
#end
            have = have | counts_$e;
        }
#end
        seek = next(seek);
        if tally(have) > 0u { tries -= 1u; }
        if tally(have) == tally(Truth(true)) { tries = 0u; }
    }
#else
    // A lane may have no element at all, and the next one's memory is none of its business.
    if element < at.end {
#unroll a ACROSS
        if runs(at, $au) {
            let x = load_x(address_of(cursor) + beside($au));
#unroll u BESIDE
            moments[$a * BESIDE + $u].centre = finite_or_zero(x[$u]);
#end
        }
#end
    }
#endif

#if masked|ragged
    var block = params.step;
#else
    var block = FIRST / ELEMENTS * params.step;
#endif
    var is_second = false;
    while element < at.end {
        let begin = element;
#if health
        let bad_before = bad;
#endif
        var count = Count(0.0);
        var sum = array<V, UNITS>();
        var squares = array<V, UNITS>();
        let block_end = min(element + block, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#import gather_moments_some CHUNK
        }
#if chunked
        while element < block_end {
#import gather_moments_some ONE
        }
#endif
        var again = 0u;
#unroll u UNITS
        let huge_$u = (squares[$u] >= V(LARGE)) & (shrink[$u] == V(1.0));
        again += tally(huge_$u);
#end
        if again > 0u {
            element = begin;
            cursor = cursor_at(at.unit, element);
#if health
            bad = bad_before;
#endif
#unroll u UNITS
            shrink[$u] = select(shrink[$u], V(SHRINK), huge_$u);
            moments[$u].sum += lost_sum[$u];
            moments[$u].squares += lost_squares[$u];
            lost_sum[$u] = V(0.0);
            lost_squares[$u] = V(0.0);
            moments[$u] = shrunk(moments[$u], huge_$u);
#end
        } else {
            block = min(select(block, 2u * block, is_second), BLOCK * CHUNK * params.step);
            is_second = !is_second;
#unroll u UNITS
            let m_$u = moments[$u];
            let more_$u = sum[$u] + lost_sum[$u];
            let more_squares_$u = squares[$u] + lost_squares[$u];
            let all_$u = Moments(m_$u.count + count, m_$u.centre, m_$u.sum + more_$u, m_$u.squares + more_squares_$u);
            // Of many units squares alone, in which much more is lost: each is text that lavapipe compiles for long.
            if UNITS <= 2u { lost_sum[$u] = lost(m_$u.sum, more_$u, all_$u.sum); }
            lost_squares[$u] = lost(m_$u.squares, more_squares_$u, all_$u.squares);
            moments[$u] = recentred(all_$u);
#end
        }
    }
#unroll u UNITS
    moments[$u].sum += lost_sum[$u];
    moments[$u].squares += lost_squares[$u];
#if masked|ragged
    // Where nothing counted the centre is another's, which may be too far from others still: 0 times infinity is a NaN.
    moments[$u].centre = select(moments[$u].centre, V(0.0), moments[$u].count == V(0.0));
#endif
    moments[$u] = marked(moments[$u], shrink[$u] < V(1.0));
#end
#if health
    if at.inside { note(0u, bad); }
#endif
    return moments;
}

/// What the sum of a and b has lost, exactly; nothing where it is not finite (Knuth's TwoSum). The minimum changes no
/// finite sum: it keeps compilers from taking (a + b) - a for b, as Mesa's does.
fn lost(a: V, b: V, sum: V) -> V {
    let same = min(sum, V(MOST));
    let of_b = same - a;
    let rest = (a - (same - of_b)) + (b - of_b);
    return select(V(0.0), rest, abs(rest) < abs(sum));
}

#if masked|ragged
/// The first value that counts of each of a V; as long as there is none, one of those that share the channel.
fn first_of_all(so_far: V, v: V, counts: Truth, have: Truth) -> V {
#if wide !channels_last
    let one = select(select(select(v.w, v.z, counts.z), v.y, counts.y), v.x, counts.x);
    return select(select(so_far, V(one), tally(have) == 0u), v, counts & !have);
#else
    return v;
#endif
}
#endif

#if masked
/// Whether no value of the next CHUNK runs counts.
fn none_counts(unit: u32, element: u32) -> bool {
    var some = 0u;
#unroll k CHUNK
#unroll e ELEMENTS
    some += tally(valid_at(unit, element + $ku * params.step + $eu));
#end
#end
    return some == 0u;
}
#endif
