/// The moments of a unit: those of all parts, merged by the lanes that share it.
fn merge_records(local: u32, unit: u32, lane: u32) -> Statistics {
    var moments = no_moments();
    for (var part = lane; part < params.all_parts; part += LANES) {
        let source = record_at(part, unit);
        moments = merge(moments, Moments(as_count(scratch[source]), scratch[source + 1u], scratch[source + 2u]));
    }
    return fold(merge_lanes(local, moments));
}
