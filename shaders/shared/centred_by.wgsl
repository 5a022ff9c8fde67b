// What x - mean is found by in the backward pass: the mean from x, or, flag `from_y`, shift and scale
// from y, which is bound as x, and undone: (activation^-1(y) - shift) / scale. Where the scale is too
// small beside the shift for that, x - mean is taken as 0.

struct Centre {
    mean: V,        // from y: the shift
    inverse: V,     // from y: 1 / scale
}

#if !settled from_y
fn centre_of(u: Used, unit: u32) -> Centre {
    return Centre(spread(u.shift), spread(select(CHANNEL_ONE / u.scale, CHANNEL_ZERO, lost(u, unit))));
}
#endif
#if !settled !from_y
fn centre_of(u: Used, unit: u32) -> Centre { return Centre(spread(u.mean), V(1.0)); }
#endif
