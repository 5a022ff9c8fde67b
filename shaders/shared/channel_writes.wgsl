#if packed_$kind
#if channels_last wide
@group(0) @binding($binding) var<storage, read_write> $name: array<vec2<u32>>;
fn store_$name(i: u32, c: Channel) { $name[i] = pack_four(c); }
#else
// Two channels share a word, and whoever stores the other may do so now.
@group(0) @binding($binding) var<storage, read_write> $name: array<atomic<u32>>;
fn store_$name(i: u32, c: Channel) {
    let shift = 16u * (i & 1u);
    atomicAnd(&$name[i >> 1u], ~(0xffffu << shift));
    atomicOr(&$name[i >> 1u], pack_one(c) << shift);
}
#endif
#else
@group(0) @binding($binding) var<storage, read_write> $name: array<Channel>;
fn store_$name(i: u32, c: Channel) { $name[i] = c; }
#endif
