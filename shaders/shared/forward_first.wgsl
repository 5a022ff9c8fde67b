/// The first pass over a part of each of an invocation's units: count, mean and variance of x - pivot.
fn forward_first(local: u32, at: Place) {
    var centre = array<V, UNITS>();
#unroll u UNITS
#if pivoted
    centre[$u] = spread(lead(scratch[plane_at(PIVOT, unit_of(at, $uu))]));
#else
    centre[$u] = spread(pivot(unit_of(at, $uu)));
    if at.inside && at.part == 0u && at.lane == 0u {
        scratch[plane_at(PIVOT, unit_of(at, $uu))] = centre[$u];
    }
#endif
#end

    let mine = gather_moments(at, centre);
#unroll u UNITS
    let moments_$u = merge_lanes(local, mine[$u]);
    if at.inside && at.lane == 0u {
        let to = record_at(params.first_part + at.part, unit_of(at, $uu));
        scratch[to] = V(moments_$u.count);
        scratch[to + 1u] = moments_$u.mean;
        scratch[to + 2u] = moments_$u.variance;
    }
#end
}
