// y = ((x - centre) - mean) * scale + shift over a lane's elements of each of its units; the mean of x is
// centre + mean. In this order because x * scale + shift' would lose what x - centre keeps when the mean
// is large, and so would centre + mean rounded to one f32.

struct Map {
    centre: V,
    mean: V,
    scale: V,
    shift: V,
}

fn normalize(at: Place, maps: array<Map, SEEN>) {
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#import normalize_some CHUNK
    }
#if chunked
    while element < at.end {
#import normalize_some ONE
    }
#endif
}

fn mapped(x: V, m: Map) -> V { return ((x - m.centre) - m.mean) * m.scale + m.shift; }

/// The map of a unit's own values and, where ragged, of the next one's.
fn either(own: Map, next: Map, is_next: Truth) -> Map {
#if ragged
    return Map(
        select(own.centre, next.centre, is_next),
        select(own.mean, next.mean, is_next),
        select(own.scale, next.scale, is_next),
        select(own.shift, next.shift, is_next),
    );
#else
    return own;
#endif
}
