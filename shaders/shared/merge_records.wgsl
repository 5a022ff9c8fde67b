/// The moments of a unit: those of all parts, and of all its copies, merged by the lanes that share it.
fn merge_records(local: u32, unit: u32, lane: u32) -> Statistics {
    var moments = no_moments();
#if copies
    for (var i = lane; i < params.all_parts * copies(); i += LANES) {
        let copy = unit + i % copies() * params.units;
        let record = record_at(i / copies(), copy);
        // Each is about a pivot of its own.
        let apart = scratch[plane_at(PIVOT, copy)] - scratch[plane_at(PIVOT, unit)];
        let mean = scratch[record + VALUE] + apart;
        moments = merge(moments, Moments(as_count(scratch[record]), mean, scratch[record + 2u * VALUE]));
    }
#else
    for (var part = lane; part < params.all_parts; part += LANES) {
        let record = record_at(part, unit);
        let count = as_count(scratch[record]);
        moments = merge(moments, Moments(count, scratch[record + VALUE], scratch[record + 2u * VALUE]));
    }
#endif
    return fold(merge_lanes(local, moments));
}
