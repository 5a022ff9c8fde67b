#import channel_writes $name $binding $kind
#if packed_$kind
#if channels_last wide
fn load_$name(i: u32) -> Channel { return unpack_four($name[i]); }
#else
fn load_$name(i: u32) -> Channel { return unpack_one(atomicLoad(&$name[i >> 1u]), i); }
#endif
#else
fn load_$name(i: u32) -> Channel { return $name[i]; }
#endif
