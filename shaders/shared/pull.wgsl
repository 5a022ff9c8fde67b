// The start of a backward pass: the gradient of the normalised value from that of y, through the
// activation. What the activation did is read (flag `signs`), or computed again from z, the
// normalised, scaled and shifted x, and the residual.

#if activation
#import activation
#if signs
#import signs
@group(0) @binding(17) var<storage, read> signs: array<u32>;
#else
#if residual
#import reads residual 15
#endif
#endif
#endif

fn pull(of_y: V, z: V, address: u32) -> V {
#if activation
#if signs
    let at = address + params.signs_base;
    let bits = signs[signs_word(at)] >> signs_shift(at);
#if wide
    return pulled(of_y, (vec4(bits) & vec4(1u, 2u, 4u, 8u)) != vec4(0u));
#else
    return pulled(of_y, (bits & 1u) != 0u);
#endif
#else
#if residual
    let sum = z + load_residual(address);
#else
    let sum = z;
#endif
#if relu|leaky_relu|clamp
    return pulled(of_y, side_of(sum));
#else
#if masked
    // What lies at padding may be anything.
    return select(V(0.0), of_y * slope(sum), of_y != V(0.0));
#else
    return of_y * slope(sum);
#endif
#endif
#endif
#else
    return of_y;
#endif
}
