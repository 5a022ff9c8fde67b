/// The first pass over a part of each of an invocation's units: its moments.
fn forward_first(local: u32, at: Place) {
    let mine = gather_moments(at);
#unroll u UNITS
    let moments_$u = merge_lanes(local, mine[$u]);
    if has(at, $uu) && at.lane == 0u {
        let to = record_at(params.first_part + at.part, unit_of(at, $uu));
        scratch[to] = V(moments_$u.count);
        scratch[to + 1u] = moments_$u.centre;
        scratch[to + 2u] = moments_$u.sum;
        scratch[to + 3u] = moments_$u.squares;
    }
#end
}
