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

fn finish(z: Run, address: u32) -> Run {
    var y = z;
#if residual
    let residual = load_residual(address);
#unroll s SIDE
    y[$s] += residual[$s];
#end
#endif
#if signs
    let at = address + params.signs_base;
    var bits = 0u;
#unroll s SIDE
    bits |= bits_of_signs(side_of(y[$s])) << ($su * SIGNS);
#end
    let mask = (1u << (SIDE * SIGNS)) - 1u;
    atomicAnd(&signs[signs_word(at)], (bits << signs_shift(at)) | ~(mask << signs_shift(at)));
    atomicOr(&signs[signs_word(at)], bits << signs_shift(at));
#endif
#if activation
#unroll s SIDE
    y[$s] = activate(y[$s]);
#end
#endif
    return y;
}
