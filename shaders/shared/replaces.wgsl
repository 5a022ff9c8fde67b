// In place: what is read as one tensor is written as another.
#import writes $name $binding

fn load_$kind(address: u32) -> V {
    let at = lies_$name(address);
#if packed !wide
    return unpack_one(atomicLoad(&$name[at >> 1u]), at);
#else
    return value_of($name[at], at);
#endif
}
