// dx of a lane's elements of each of its units. Reads x and dy once, writes dx once, and, flag `dresidual`, what is
// left of dy before the activation.

fn apply_sums(at: Place, lens: array<Lens, SEEN>, mutual: array<Mutual, SEEN>) {
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#import apply_sums_some CHUNK
    }
#if chunked
    while element < at.end {
#import apply_sums_some ONE
    }
#endif
}
