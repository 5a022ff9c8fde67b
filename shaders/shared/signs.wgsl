// A bit a value, in the order of x: the lowest bit of each word first. Flag `signs`: what the forward
// pass keeps of its activation, and the backward pass reads.

fn signs_shift(address: u32) -> u32 {
#if wide
    return (address & 7u) * 4u;
#else
    return address & 31u;
#endif
}

fn signs_word(address: u32) -> u32 {
#if wide
    return address >> 3u;
#else
    return address >> 5u;
#endif
}
