// Which positions count: all, or, flag `masked`, some. A position is an index of x without its channel,
// and a unit's element e is at position e, or, where units have groups or steps, further on. What is
// said of them: a mask of bits, of bytes, or, flag `words`, of 32-bit words; or, flag `lengths`, how many
// indices of an axis count in each sample, flag `leading`: of the sample's first axis, so that what
// counts are its first positions.

#if masked
@group(0) @binding(14) var<storage, read> valid: array<u32>;

#if wide !channels_last
// Four neighbours, which are in one sample, and in one word of a mask but of words.
alias Positions = vec4<u32>;
const NEIGHBOURS = Positions(0u, 1u, 2u, 3u);
fn first_of(element: u32) -> u32 { return 4u * element; }
fn truth_of(counts: vec4<bool>) -> Truth { return counts; }
#else
alias Positions = u32;
const NEIGHBOURS: Positions = 0u;
fn first_of(element: u32) -> u32 { return element; }
fn truth_of(counts: bool) -> Truth { return Truth(counts); }
#endif

/// Which values of an element count.
fn valid_at(unit: u32, element: u32) -> Truth {
    var index = params.position_base + element * params.position_step;
#if grouped
    index += group_of(unit) * params.position_group;
#endif
    let first = first_of(index);
#if lengths
    let sample = first / params.per_sample;
    let within = first - sample * params.per_sample + NEIGHBOURS;
#if leading
    return truth_of(within < Positions(min(valid[sample], params.along) * params.after));
#else
    return truth_of(within / params.after % params.along < Positions(valid[sample]));
#endif
#else
#if words wide !channels_last
    return truth_of(vec4(valid[first], valid[first + 1u], valid[first + 2u], valid[first + 3u]) != Positions(0u));
#else
    let word = valid[first >> params.mask_shift];
    let bit = (first % (1u << params.mask_shift) + NEIGHBOURS) * params.mask_bits;
    return truth_of(((Positions(word) >> bit) & Positions(params.mask_field)) != Positions(0u));
#endif
#endif
}
#else
fn valid_at(unit: u32, element: u32) -> Truth { return Truth(true); }
#endif

/// Which values of an element count for the statistics of its unit.
fn counts_at(unit: u32, element: u32, column: u32) -> Truth {
#if ragged
    return own_at(unit, column);
#else
    return valid_at(unit, element);
#endif
}

fn one_if(truth: Truth) -> V { return select(V(0.0), V(1.0), truth); }
