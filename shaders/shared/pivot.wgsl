// A value from the middle of a channel's data. Statistics are taken of x - pivot, which is exact or
// nearly so where all of a channel is far from zero, and loses nothing elsewhere: a mean of 1e6 then
// costs the variance no digits. The median of three elements, so that one outlier is not chosen; zero
// where that is not finite, so that an infinity stays what it is. What does not count is not looked at;
// where none of the three counts, zero will do.

fn pivot(unit: u32) -> Channel {
    let length = length_of(unit);
    let elements = array(0u, length / 2u, length - 1u);
    let first = lead(load_x(cursor_at(unit, elements[0]).address));
    let middle = lead(load_x(cursor_at(unit, elements[1]).address));
    let last = lead(load_x(cursor_at(unit, elements[2]).address));
    let median = max(min(first, middle), min(max(first, middle), last));
#if masked
    let has = array(lead_counts(unit, elements[0]), lead_counts(unit, elements[1]), lead_counts(unit, elements[2]));
    let one = select(select(select(CHANNEL_ZERO, last, has[2]), middle, has[1]), first, has[0]);
    return lead(finite_or_zero(spread(select(one, median, has[0] && has[1] && has[2]))));
#else
    return lead(finite_or_zero(spread(median)));
#endif
}

#if masked
fn lead_counts(unit: u32, element: u32) -> bool {
#if wide
    return valid_at(unit, element).x;
#else
    return valid_at(unit, element);
#endif
}
#endif
