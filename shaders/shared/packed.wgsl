// 16-bit values in memory, two in a u32, the first in the lower half: f16, or, flag `bf16`, the upper
// halves of f32. By shifts and masks, so that no device needs a feature for it; rounded to the
// nearest, ties to even, on every driver alike (pack2x16float may round either way).

#if bf16
fn unpack(two: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2(two << 16u, two & 0xffff0000u));
}

fn bits_of(v: vec2<f32>) -> vec2<u32> {
    let bits = bitcast<vec2<u32>>(v);
    let rounded = (bits + 0x7fffu + ((bits >> vec2(16u)) & vec2(1u))) >> vec2(16u);
    // Rounding up would carry a NaN into the sign.
    return select(rounded, vec2(0x7fc0u), (bits & vec2(0x7fffffffu)) > vec2(0x7f800000u));
}
#else
fn unpack(two: u32) -> vec2<f32> { return unpack2x16float(two); }

fn bits_of(v: vec2<f32>) -> vec2<u32> {
    let bits = bitcast<vec2<u32>>(v);
    let size = bits & vec2(0x7fffffffu);
    // 127 - 15 binades lower, 13 bits shorter.
    let normal = (size + 0xfffu + ((size >> vec2(13u)) & vec2(1u)) - 0x38000000u) >> vec2(13u);
    // Below 2^-14 in steps of 2^-24, which are those of an f32 from 0.5 on: the sum is rounded to them.
    let subnormal = bitcast<vec2<u32>>(bitcast<vec2<f32>>(size) + 0.5) - 0x3f000000u;
    var half = select(normal, subnormal, size < vec2(0x38800000u));
    half = select(half, vec2(0x7c00u), size >= vec2(0x477ff000u)); // 65520 and above
    half = select(half, vec2(0x7e00u), size > vec2(0x7f800000u));
    return half | ((bits >> vec2(16u)) & vec2(0x8000u));
}
#endif

fn pack(v: vec2<f32>) -> u32 {
    let halves = bits_of(v);
    return halves.x | (halves.y << 16u);
}

fn unpack_four(words: vec2<u32>) -> vec4<f32> { return vec4(unpack(words.x), unpack(words.y)); }
fn pack_four(v: vec4<f32>) -> vec2<u32> { return vec2(pack(v.xy), pack(v.zw)); }

/// One of the two values of a word: that of an even or an odd index.
fn unpack_one(two: u32, index: u32) -> f32 {
    let both = unpack(two);
    return select(both.x, both.y, (index & 1u) == 1u);
}

fn pack_one(v: f32) -> u32 { return bits_of(vec2(v, 0.0)).x; }

#if twin
alias Word = vec2<u64>;

fn run_of(word: Word, address: u32) -> Run {
    return Run(unpack_four(halves_of(word.x)), unpack_four(halves_of(word.y)));
}
fn word_of(run: Run) -> Word { return Word(long_of(pack_four(run[0])), long_of(pack_four(run[1]))); }
#endif
#if wide long !twin
alias Word = u64;

fn run_of(word: Word, address: u32) -> Run { return Run(unpack_four(halves_of(word))); }
fn word_of(run: Run) -> Word { return long_of(pack_four(run[0])); }
#endif
#if wide !long
alias Word = vec2<u32>;

fn run_of(word: Word, address: u32) -> Run { return Run(unpack_four(word)); }
fn word_of(run: Run) -> Word { return pack_four(run[0]); }
#endif
#if !wide
alias Word = u32;

fn run_of(word: Word, address: u32) -> Run { return Run(unpack_one(word, address)); }
#endif
