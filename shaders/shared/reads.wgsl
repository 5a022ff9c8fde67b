@group(0) @binding($binding) var<storage, read> $name: array<Word>;
#import lies $name

fn load_$name(address: u32) -> Run {
    let at = lies_$name(address);
    return run_of($name[word_at(at)], at);
}
