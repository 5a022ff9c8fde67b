/// The sums of a unit: those of all parts, and of all its copies, added up by the lanes that share it.
fn sum_parts(local: u32, unit: u32, lane: u32) -> Sums {
    var mine = Sums(V(0.0), V(0.0));
#if copies
    for (var i = lane; i < params.all_parts * copies(); i += LANES) {
        let source = sums_at(i / copies(), unit + i % copies() * params.units);
        mine = Sums(mine.a + scratch[source], mine.b + scratch[source + VALUE]);
    }
#else
    for (var part = lane; part < params.all_parts; part += LANES) {
        let source = sums_at(part, unit);
        mine = Sums(mine.a + scratch[source], mine.b + scratch[source + VALUE]);
    }
#endif
    return sum_lanes(local, mine);
}
