/// The moments of a unit, those of all parts, and of all its copies, merged by the lanes that share it: what they say.
fn merge_records(local: u32, unit: u32, lane: u32) -> Found {
    var moments = no_moments();
    for (var part = lane; part < params.all_parts; part += LANES) {
#if copies
        for (var copy = unit; copy < all_copies(); copy += params.units) {
            moments = merge(moments, record_of(record_at(part, copy)));
        }
#else
        moments = merge(moments, record_of(record_at(part, unit)));
#endif
    }
    return fold(merge_lanes(local, moments));
}

fn record_of(at: u32) -> Moments {
    let count = as_count(scratch[at]);
    return Moments(count, scratch[at + VALUE], scratch[at + 2u * VALUE], scratch[at + 3u * VALUE]);
}
