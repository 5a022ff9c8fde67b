/// The sums of a unit: those of all parts, added up by the lanes that share it.
fn sum_parts(local: u32, unit: u32, lane: u32) -> Sums {
    var mine = Sums(V(0.0), V(0.0));
    for (var part = lane; part < params.all_parts; part += LANES) {
        let source = sums_at(part, unit);
        mine = Sums(mine.a + scratch[source], mine.b + scratch[source + 1u]);
    }
    return sum_lanes(local, mine);
}
