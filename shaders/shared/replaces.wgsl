// In place: what is read as one tensor is written as another.
#import writes $name $binding

fn load_$kind(address: u32) -> Run {
    let at = lies_$name(address);
#if packed !wide
    return Run(unpack_one(atomicLoad(&$name[at >> 1u]), at));
#else
    return run_of($name[word_at(at)], at);
#endif
}
