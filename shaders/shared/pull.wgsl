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

fn pull(of_y: Run, z: Run, address: u32) -> Run {
    var of_z = of_y;
#if activation
#if signs
    let at = address + params.signs_base;
    let bits = signs[signs_word(at)] >> signs_shift(at);
#unroll s SIDE
    of_z[$s] = pulled(of_y[$s], signs_of_bits(bits >> ($su * SIGNS)));
#end
#else
    var sum = z;
#if residual
    let residual = load_residual(address);
#unroll s SIDE
    sum[$s] += residual[$s];
#end
#endif
#unroll s SIDE
    of_z[$s] = pull_through(of_y[$s], sum[$s]);
#end
#endif
#endif
    return of_z;
}

#if activation !signs
fn pull_through(of_y: V, z: V) -> V {
#if relu|leaky_relu|clamp
    return pulled(of_y, side_of(z));
#else
#if masked
    // What lies at padding may be anything.
    return select(V(0.0), of_y * slope(z), is_not_zero(of_y));
#else
    return of_y * slope(z);
#endif
#endif
}
#endif
