// What x - mean is found by in the backward pass: the mean from x, or, flag `from_y`, shift and scale
// from y, which is bound as x, and undone: (activation^-1(y) - shift) / scale. It is taken as 0 where the scale is too
// small beside the shift for that, and where the variance is infinite: then xhat is 0. What is not finite is NaN there.

struct Centre {
    mean: V,        // from y: the shift
    inverse: V,     // frozen: what x is multiplied by, 1 or 0; from y: 1 / scale or 0
}

#if !settled from_y
fn centre_of(u: Used, unit: u32) -> Centre {
    let inverse = select(CHANNEL_ONE / u.scale, CHANNEL_ZERO, lost(u, unit) | (u.r == CHANNEL_ZERO));
    return Centre(spread(u.shift), spread(inverse));
}
#endif
#if !settled !from_y
fn centre_of(u: Used, unit: u32) -> Centre { return Centre(spread(u.mean), spread(within_reach(u.r))); }
#endif
