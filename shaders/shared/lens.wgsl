// What a unit's x is seen through in the backward pass: x - mean by `centre`, and what the activation
// was given as (x - mean) * scale + shift.

struct Lens {
    centre: Centre,
    scale: V,
    shift: V,
}

#if !settled
fn lens_of(u: Used, unit: u32) -> Lens {
    return Lens(centre_of(u, unit), spread(u.scale), spread(u.shift));
}
#endif
