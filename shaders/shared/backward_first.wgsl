/// The first pass over a part of each of an invocation's units: its sums of dy and of dy * (x - mean).
fn backward_first(local: u32, at: Place) {
    var lens = array<Lens, SEEN>();
#unroll u SEEN
    lens[$u] = lens_of(used(unit_of(at, $uu)), unit_of(at, $uu));
#end

    let mine = gather_sums(at, lens);
#unroll u UNITS
    let sums_$u = sum_lanes(local, mine[$u]);
    if has(at, $uu) && at.lane == 0u {
        let unit = unit_of(at, $uu);
        let to = sums_at(params.first_part + at.part, unit);
        scratch[to] = sums_$u.a;
        scratch[to + 1u] = sums_$u.b;
    }
#end
}
