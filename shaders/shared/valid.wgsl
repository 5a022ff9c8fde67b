// Which positions count: all, or, flag `masked`, some. A position is an index of x without its channel,
// and a unit's element e is at position e, or, where units have groups or steps, further on.

#if masked
@group(0) @binding(14) var<storage, read> valid: array<u32>;

fn counts(position: u32) -> bool {
#if lengths
    return position / params.after % params.along < valid[position / params.per_sample];
#else
    let first_bit = position % (1u << params.mask_shift) * params.mask_bits;
    return extractBits(valid[position >> params.mask_shift], first_bit, params.mask_bits) != 0u;
#endif
}

/// Which values of an element count.
fn valid_at(unit: u32, element: u32) -> Truth {
    var position = params.position_base + element * params.position_step;
#if grouped
    position += group_of(unit) * params.position_group;
#endif
#if wide
#if channels_last
    return Truth(counts(position));
#else
    let p = 4u * position;
    return Truth(counts(p), counts(p + 1u), counts(p + 2u), counts(p + 3u));
#endif
#else
    return counts(position);
#endif
}

#else
fn valid_at(unit: u32, element: u32) -> Truth { return Truth(true); }
#endif

fn one_if(truth: Truth) -> V { return select(V(0.0), V(1.0), truth); }
