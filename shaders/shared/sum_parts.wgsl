fn with_record(sums: Sums, at: u32) -> Sums { return Sums(sums.a + scratch[at], sums.b + scratch[at + VALUE]); }

/// The sums of a unit: those of all parts, and of all its copies, added up by the lanes that share it.
fn sum_parts(local: u32, unit: u32, lane: u32) -> Sums {
    var mine = Sums(V(0.0), V(0.0));
    for (var part = lane; part < params.all_parts; part += LANES) {
#if copies
        for (var copy = unit; copy < all_copies(); copy += params.units) {
            mine = with_record(mine, sums_at(part, copy));
        }
#else
        mine = with_record(mine, sums_at(part, unit));
#endif
    }
    return sum_lanes(local, mine);
}
