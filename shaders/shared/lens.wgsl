// What a unit's x is seen through in the backward pass: x - mean by `centre`, and what the activation
// was given as (x - mean) * scale + shift.

struct Lens {
    centre: Centre,
    scale: V,
    shift: V,
}

/// What a unit's own values and, where ragged, the next one's are seen through.
fn either_lens(own: Lens, next: Lens, is_next: Truth) -> Lens {
#if ragged
    let mean = select(own.centre.mean, next.centre.mean, is_next);
    let inverse = select(own.centre.inverse, next.centre.inverse, is_next);
    let scale = select(own.scale, next.scale, is_next);
    return Lens(Centre(mean, inverse), scale, select(own.shift, next.shift, is_next));
#else
    return own;
#endif
}

#if !settled
fn lens_of(u: Used, unit: u32) -> Lens {
    return Lens(centre_of(u, unit), spread(u.scale), spread(u.shift));
}
#endif
