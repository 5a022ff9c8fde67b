// The sums of a unit made into the gradients of gamma and beta, and into what dx needs.

#import mutual_of

fn settle(unit: u32, u: Used, sums: Sums, first: bool) -> Mutual {
    let of_beta = gather(sums.a);
    let of_gamma = sum_along(u, gather(sums.b), of_beta);
    if first {
        leave_gradients(unit, gamma_gradient(u, of_gamma, of_beta), of_beta);
#if health from_y
        note(3u, tally_channels(lost(u, unit)));
#endif
    }
    return Mutual(spread(level_of(unit, of_beta)), spread(slope_of(unit, u, of_gamma)));
}
