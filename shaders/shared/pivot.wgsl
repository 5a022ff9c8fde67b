// A value from the middle of a channel's data. Statistics are taken of x - pivot, which is exact or
// nearly so where all of a channel is far from zero, and loses nothing elsewhere: a mean of 1e6 then
// costs the variance no digits. The median of three elements, so that one outlier is not chosen;
// zero where that is not finite, so that an infinity stays what it is.

fn pivot(unit: u32) -> Channel {
    let first = lead(x[cursor_at(unit, 0u).address]);
    let middle = lead(x[cursor_at(unit, params.length / 2u).address]);
    let last = lead(x[cursor_at(unit, params.length - 1u).address]);
    let median = max(min(first, middle), min(max(first, middle), last));
    return finite_or_zero(median);
}

/// By the bits: a compiler may take it for granted that no value is infinite or NaN.
#if channels_last
fn finite_or_zero(c: Channel) -> Channel {
    let exponent = bitcast<Bits>(c) & Bits(0x7f800000u);
    return select(c, CHANNEL_ZERO, exponent == Bits(0x7f800000u));
}
#else
fn finite_or_zero(c: Channel) -> Channel {
    return select(c, CHANNEL_ZERO, (bitcast<u32>(c) & 0x7f800000u) == 0x7f800000u);
}
#endif
