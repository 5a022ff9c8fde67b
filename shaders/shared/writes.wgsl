#if packed !wide
// Two values share a word, and whoever stores the other may do so now.
@group(0) @binding($binding) var<storage, read_write> $name: array<atomic<u32>>;
#import lies $name

fn store_$name(address: u32, run: Run) {
    let at = lies_$name(address);
    let shift = 16u * (at & 1u);
    atomicAnd(&$name[at >> 1u], ~(0xffffu << shift));
    atomicOr(&$name[at >> 1u], pack_one(run[0]) << shift);
}
#else
@group(0) @binding($binding) var<storage, read_write> $name: array<Word>;
#import lies $name

fn store_$name(address: u32, run: Run) { $name[word_at(lies_$name(address))] = word_of(run); }
#endif
