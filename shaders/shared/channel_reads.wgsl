#if packed_$kind
#if channels_last wide !folded
@group(0) @binding($binding) var<storage, read> $name: array<vec2<u32>>;
fn load_$name(i: u32) -> Channel { return unpack_four($name[i]); }
#else
@group(0) @binding($binding) var<storage, read> $name: array<u32>;
fn one_of_$name(i: u32) -> f32 { return unpack_one($name[i >> 1u], i); }
#if !folded
fn load_$name(i: u32) -> Channel { return one_of_$name(i); }
#endif
#endif
#endif
#if !packed_$kind folded
@group(0) @binding($binding) var<storage, read> $name: array<f32>;
fn one_of_$name(i: u32) -> f32 { return $name[i]; }
#endif
#if !packed_$kind !folded
@group(0) @binding($binding) var<storage, read> $name: array<Channel>;
fn load_$name(i: u32) -> Channel { return $name[i]; }
#endif
#if folded
fn load_$name(i: u32) -> Channel {
    let at = channels_at(i);
    return Channel(one_of_$name(at.x), one_of_$name(at.y), one_of_$name(at.z), one_of_$name(at.w));
}
#endif
