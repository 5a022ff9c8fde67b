// What is unhealthy, counted: values that are not finite, channels with one value or none, channels
// whose variance overflowed, channels whose x cannot be found again from y.

#if health
@group(0) @binding(18) var<storage, read_write> health: array<atomic<u32>>;

fn note(which: u32, many: u32) {
    if many > 0u { atomicAdd(&health[which], many); }
}

/// By the bits, since a compiler may take it for granted that no value is infinite or NaN.
fn how_many_not_finite(v: V) -> u32 {
    return tally((bitcast<Bits>(v) & Bits(0x7f800000u)) == Bits(0x7f800000u));
}
#endif
