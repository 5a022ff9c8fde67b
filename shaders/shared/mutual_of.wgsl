// What all dy of a channel have mutually, of its sums: level and slope of `mutual`.

fn level_of(unit: u32, of_beta: Channel) -> Channel { return of_beta / count_of(unit); }

fn slope_of(unit: u32, u: Used, of_gamma: Channel) -> Channel { return u.r * (of_gamma / count_of(unit)); }
