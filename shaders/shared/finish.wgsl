// The end of a forward pass: y = activation(z + residual), z the normalised, scaled and shifted x.

#if residual
#import reads residual 15
#endif
#if signs
#import signs
// Other values of a word are others' to store.
@group(0) @binding(17) var<storage, read_write> signs: array<atomic<u32>>;
#endif
#if activation
#import activation
#endif

fn finish(z: V, address: u32) -> V {
#if residual
    let sum = z + load_residual(address);
#else
    let sum = z;
#endif
#if signs
    let side = side_of(sum);
    let at = address + params.signs_base;
#if wide
    let bits = dot(select(vec4(0u), vec4(1u, 2u, 4u, 8u), side), vec4(1u)) << signs_shift(at);
    let mask = 15u << signs_shift(at);
#else
    let bits = select(0u, 1u, side) << signs_shift(at);
    let mask = 1u << signs_shift(at);
#endif
    atomicAnd(&signs[signs_word(at)], bits | ~mask);
    atomicOr(&signs[signs_word(at)], bits);
#endif
#if activation
    return activate(sum);
#else
    return sum;
#endif
}
