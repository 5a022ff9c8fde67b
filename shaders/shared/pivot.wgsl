// A value from the middle of a channel's data. Statistics are taken of x - pivot, which is exact or
// nearly so where all of a channel is far from zero, and loses nothing elsewhere: a mean of 1e6 then
// costs the variance no digits. The median of three elements, so that one outlier is not chosen; zero
// where that is not finite, so that an infinity stays what it is. What does not count is not looked at;
// where none of the three counts, zero will do.

fn pivot(unit: u32) -> Channel {
    let length = length_of(unit);
    let elements = array(0u, length / 2u, length - 1u);
    let first = lead_at(unit, elements[0]);
    let middle = lead_at(unit, elements[1]);
    let last = lead_at(unit, elements[2]);
    let median = max(min(first, middle), min(max(first, middle), last));
#if masked
    let has = array(lead_counts(unit, elements[0]), lead_counts(unit, elements[1]), lead_counts(unit, elements[2]));
    let one = select(select(select(CHANNEL_ZERO, last, has[2]), middle, has[1]), first, has[0]);
    return lead(finite_or_zero(spread(select(one, median, has[0] && has[1] && has[2]))));
#else
    return lead(finite_or_zero(spread(median)));
#endif
}

/// The first value of an element, or where ragged one of the unit's own near it.
fn lead_at(unit: u32, element: u32) -> Channel {
    let at = cursor_at(unit, element);
#if ragged
    let value = min(4u * at.column, params.unit_stride - 1u);
    let place = 4u * (element / params.inner * params.row_stride) + unit * params.unit_stride + value;
    return one_of(load_x(place / 4u), place / 4u)[place % 4u];
#else
    return lead(one_of(load_x(at.address), at.address));
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
