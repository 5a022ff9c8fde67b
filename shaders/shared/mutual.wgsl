// dx = gamma * r * (dy - level - (x - mean) * slope), less what all dy of a channel have mutually:
//   level = sum(dy) / m,  slope = r * sum(dy * xhat) / m.
// Through frozen statistics they have nothing.

struct Mutual {
    level: V,
    slope: V,
}

/// Of a unit's own values and, where ragged, of the next one's.
fn either_mutual(own: Mutual, next: Mutual, is_next: Truth) -> Mutual {
#if ragged
    return Mutual(select(own.level, next.level, is_next), select(own.slope, next.slope, is_next));
#else
    return own;
#endif
}

#if dx
fn less(unit: u32, element: u32, of_y: V, z: V, mutual: Mutual) -> V {
#if frozen
    return of_y;
#else
    let rest = of_y - mutual.level - z * mutual.slope;
#if masked
    // What did not count for the statistics has no share in them.
    return select(of_y, rest, valid_at(unit, element));
#else
    return rest;
#endif
#endif
}
#endif
