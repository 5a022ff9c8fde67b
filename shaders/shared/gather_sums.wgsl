// The sums of dy and of dy * (x - mean) over a lane's elements, for each of its units, dy first pulled
// through the activation. Reads x and dy once; what needs no sums is left on the way (by the
// kernel's `leave_on_the_way`).
//
// Sums are taken over CHUNK runs, over BLOCK of those, then over the lane, so that rounding stays
// small.

fn gather_sums(at: Place, lens: array<Lens, SEEN>) -> array<Sums, UNITS> {
    var sums = array<Sums, UNITS>();
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element < at.end {
        var block = array<Sums, UNITS>();
        let block_end = min(element + BLOCK * CHUNK * params.step, at.end);
        while element + (CHUNK - 1u) * params.step < block_end {
#import gather_sums_some CHUNK
        }
#if chunked
        while element < block_end {
#import gather_sums_some ONE
        }
#endif
#unroll u UNITS
        sums[$u] = Sums(sums[$u].a + block[$u].a, sums[$u].b + block[$u].b);
#end
    }
    return sums;
}
