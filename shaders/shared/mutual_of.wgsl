// What is made of a unit's sums: the gradient of gamma, and what all its dy have mutually, level and slope of `mutual`.

fn gamma_gradient(u: Used, of_gamma: Channel, of_beta: Channel) -> Channel {
#if renorm
    return of_gamma * u.ratio + of_beta * u.offset;
#else
    return of_gamma;
#endif
}

fn level_of(unit: u32, of_beta: Channel) -> Channel { return of_beta / count_of(unit); }

fn slope_of(unit: u32, u: Used, of_gamma: Channel) -> Channel { return u.r * (of_gamma / count_of(unit)); }
