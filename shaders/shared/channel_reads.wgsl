#if packed_$kind
#if channels_last wide
@group(0) @binding($binding) var<storage, read> $name: array<vec2<u32>>;
fn load_$name(i: u32) -> Channel { return unpack_four($name[i]); }
#else
@group(0) @binding($binding) var<storage, read> $name: array<u32>;
fn load_$name(i: u32) -> Channel { return unpack_one($name[i >> 1u], i); }
#endif
#else
@group(0) @binding($binding) var<storage, read> $name: array<Channel>;
fn load_$name(i: u32) -> Channel { return $name[i]; }
#endif
