// A bit a value, in the order of x: the lowest bit of each word first. Flag `signs`: what the forward
// pass keeps of its activation, and the backward pass reads.

#if wide
const SIGNS: u32 = 4u; // of a V
fn bits_of_signs(side: Truth) -> u32 { return dot(select(vec4(0u), vec4(1u, 2u, 4u, 8u), side), vec4(1u)); }
fn signs_of_bits(bits: u32) -> Truth { return (vec4(bits) & vec4(1u, 2u, 4u, 8u)) != vec4(0u); }
#else
const SIGNS: u32 = 1u;
fn bits_of_signs(side: Truth) -> u32 { return select(0u, 1u, side); }
fn signs_of_bits(bits: u32) -> Truth { return (bits & 1u) != 0u; }
#endif

/// Where those of the V at an address are.
fn signs_word(address: u32) -> u32 { return address / (32u / SIGNS); }
fn signs_shift(address: u32) -> u32 { return address % (32u / SIGNS) * SIGNS; }
