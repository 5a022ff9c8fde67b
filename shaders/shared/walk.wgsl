// Which elements an invocation owns, and where they are in memory.
//
// x is seen as [row, unit, inner] of V. A unit's `length` elements are numbered row by row; element e
// lies at (e / inner) * row_stride + unit * unit_stride + e % inner. Channels last is the case inner = 1.
// A tensor too large for one binding is cut into windows, each with dispatches of its own: a window
// has the units from first_unit to end_unit, its elements from `base` on, and its parts after those of
// earlier windows of the same units.
//
// Flag `banded`: the units are gone over in bands that a cache holds from one pass to the next, and a workgroup
// either goes over its band the second time, or over the next band, of as many units at the most, the first time.
//
// Flag `grouped`: a unit is not a channel but a channel within one group, or one step, that has
// statistics of its own.
//
// A workgroup is COLUMNS units wide and LANES deep; neighbours in `local_invocation_index` are
// neighbouring units first. It owns one part (part_length elements) of each of its units. Lane l owns
// elements first + k * step with first = begin + l * lane_stride and k < lane_length: adjacent lanes
// interleaved (lane_stride 1, step LANES) so that loads of one moment are neighbours, or each lane a
// block of its own (lane_stride = lane_length, step 1).
//
// Where a Run is several V, channels first they are as many ELEMENTS of one unit, and lanes take so many at
// a time; channels last they are the same element of as many units BESIDE each other.
//
// An invocation goes ACROSS runs, COLUMNS apart, and takes the same elements of each: channels last it
// so walks along whole rows of memory, which drivers without much parallelism need. Its UNITS are those
// BESIDE each other in all of the runs. Flag `uneven`: some invocations have fewer, since the units do not
// divide evenly.

// Flag `ragged`: rows that runs do not divide, channels first. A unit's elements are then all those of the
// runs that its rows touch, and the first and the last of a row may hold values of the units before and
// behind. What is summed up are a unit's own values; what is stored are the runs that start in one of
// its rows, by its own map and, for the rest of the last run, by that of the next unit.

// Flag `folded`: rows of channels that 4 does not divide, channels last. So many rows as make whole runs are
// walked as one row of as many times the channels, and each channel has copies. Flag `copies`: a kernel
// that goes over no tensor, and merges what was found of the copies of each channel.

struct Params {
    units: u32,             // of the whole tensor: the length of a plane of per-channel values
    first_unit: u32,
    end_unit: u32,
    tiles: u32,             // ceil((end_unit - first_unit) / (COLUMNS * UNITS))
    length: u32,
    last_length: u32,       // that of the last group
    inner: u32,
    row_stride: u32,
    unit_stride: u32,       // in values, where ragged
    group_stride: u32,
    base: u32,              // wraps where first_unit > 0
    parts: u32,
    part_length: u32,       // the last part may be shorter
    first_part: u32,        // parts of earlier windows
    all_parts: u32,         // parts of all windows
    lane_stride: u32,
    lane_length: u32,
    step: u32,
    step_address: u32,      // step in memory, had the row no end
    step_column: u32,       // step % inner
    channel_divisor: u32,   // channel = unit / channel_divisor % channel_modulus
    channel_modulus: u32,
    group_divisor: u32,     // group (or step) = unit / group_divisor % group_modulus
    group_modulus: u32,
    kept_steps: u32,        // steps that have running statistics
    batches: u32,           // how many a call counts
    position_base: u32,     // a position is an index of x without the channel, for masks
    position_step: u32,
    position_group: u32,
    mask_shift: u32,        // log2 of the positions in a u32
    mask_bits: u32,         // bits of one position
    mask_field: u32,        // and so many ones
    along: u32,             // length of the padded axis
    after: u32,             // positions behind one index of it
    per_sample: u32,        // positions of one sample
    signs_base: u32,        // of the V at address 0, counted through all of x; wraps where base does
    unbiased: u32,          // the running variance takes m / (m - 1) of the batch's
    moves_by_none: u32,     // it moves by mean 0 and variance 0 where no value counts
    values: f32,            // m, the values of one channel
    epsilon: f32,
    keep: f32,              // the weight of the running statistic as it was
    momentum: f32,          // and of the batch's
    low: f32,               // of the activation: its slope, or its lower bound
    high: f32,              // its upper bound
    r_max: f32,             // of batch renormalization
    d_max: f32,
    offsets: array<vec4<u32>, 2>,   // of the views: where each tensor starts
    dims: array<vec4<u32>, 12>,     // two a dimension, the last first: its size, and a stride a tensor
}
@group(0) @binding(0) var<uniform> params: Params;

// The tensors' order in offsets and strides.
const VIEW_x: u32 = 0u;
const VIEW_y: u32 = 1u;
const VIEW_dy: u32 = 2u;
const VIEW_dx: u32 = 3u;
const VIEW_residual: u32 = 4u;
const VIEW_dresidual: u32 = 5u;

struct Place {
    unit: u32,      // the first, where there are several
    part: u32,
    lane: u32,
    first: u32,     // this lane's first element
    end: u32,       // one past its last
    end_unit: u32,  // one past the last unit of all
    inside: bool,   // false beyond the last unit: computes along, stores nothing
}

/// The place of an invocation in the workgroup of this number (tiles run fastest, so that
/// workgroups in flight together read memory in order).
fn place(workgroup: u32, local: u32) -> Place {
    return place_in(params.first_unit, params.end_unit, workgroup, local);
}

fn place_in(first_unit: u32, end_unit: u32, workgroup: u32, local: u32) -> Place {
    let part = workgroup / params.tiles;
    let unit = first_unit + workgroup % params.tiles * (COLUMNS * UNITS) + local % COLUMNS * BESIDE;
    let inside = unit < end_unit;
    let clamped = min(unit, end_unit - BESIDE);
    let lane = local / COLUMNS;
    let begin = part * params.part_length;
    let part_end = min(begin + params.part_length, length_of(clamped));
    let first = begin + lane * params.lane_stride;
    let end = min(first + params.lane_length * params.step, part_end);
    return Place(clamped, part, lane, first, end, end_unit, inside);
}

/// The same in a second pass: backwards, since the first has just left the end of x in the cache; but of bands
/// forwards, so that as much is read and written between both passes wherever that is.
fn place_again(workgroup: u32, local: u32) -> Place {
#if banded
    return place(workgroup, local);
#else
    return place(workgroups() - 1u - workgroup, local);
#endif
}

#if banded
/// Where the next band ends.
fn end_behind() -> u32 { return min(2u * params.end_unit - params.first_unit, params.units); }

/// Whether a workgroup has units in the next band, which may have fewer.
fn is_behind(workgroup: u32) -> bool {
    return params.end_unit + workgroup % params.tiles * (COLUMNS * UNITS) < end_behind();
}

/// The same in the next band.
fn place_behind(workgroup: u32, local: u32) -> Place {
    return place_in(params.end_unit, end_behind(), workgroup, local);
}
#endif

/// An invocation's units; the second where ragged is the next one.
fn unit_of(at: Place, which: u32) -> u32 {
#if ragged
    return min(at.unit + which, params.end_unit - 1u);
#else
    let first = at.unit + which / BESIDE * (COLUMNS * BESIDE);
#if uneven
    // One of its own instead of one that there is not.
    return select(at.unit, first, first < at.end_unit) + which % BESIDE;
#else
    return first + which % BESIDE;
#endif
#endif
}

/// Whether an invocation has a run that many across.
fn runs(at: Place, across: u32) -> bool {
#if uneven
    return at.unit + across * (COLUMNS * BESIDE) < at.end_unit;
#else
    return true;
#endif
}

/// Whether one of its units is its to store.
fn has(at: Place, which: u32) -> bool { return at.inside && runs(at, which / BESIDE); }

/// From an element of its first run to the same of another, in memory.
fn beside(across: u32) -> u32 { return across * (COLUMNS * BESIDE) * params.unit_stride; }

/// The number of the workgroup; the grid has a second dimension where one is too short for it.
#if banded
fn workgroup_number(id: vec3<u32>, grid: vec3<u32>) -> u32 { return (id.y * grid.x + id.x) / 2u; }

/// Whether it is the one of two of that number that goes over the next band: both are in flight together.
fn goes_ahead(id: vec3<u32>, grid: vec3<u32>) -> bool { return (id.y * grid.x + id.x) % 2u == 1u; }
#else
fn workgroup_number(id: vec3<u32>, grid: vec3<u32>) -> u32 { return id.y * grid.x + id.x; }
#endif

/// How many workgroups have work; the grid may have a few more.
fn workgroups() -> u32 {
    return params.tiles * params.parts;
}

#if grouped
fn channel_of(unit: u32) -> u32 { return unit / params.channel_divisor % params.channel_modulus; }
fn group_of(unit: u32) -> u32 { return unit / params.group_divisor % params.group_modulus; }
fn length_of(unit: u32) -> u32 {
    return select(params.length, params.last_length, group_of(unit) + 1u == params.group_modulus);
}
fn values_of(unit: u32) -> f32 { return f32(length_of(unit)) * GATHERED; }
fn unit_address(unit: u32) -> u32 {
    return params.base + group_of(unit) * params.group_stride + channel_of(unit) * params.unit_stride;
}
#else
fn channel_of(unit: u32) -> u32 { return unit; }
fn length_of(unit: u32) -> u32 { return params.length; }
fn values_of(unit: u32) -> f32 { return params.values; }
#if ragged
fn unit_address(unit: u32) -> u32 { return unit * params.unit_stride / (4u * SIDE) * SIDE; }
#else
fn unit_address(unit: u32) -> u32 { return params.base + unit * params.unit_stride; }
#endif
#endif

#if folded
/// The channels of the values of a V.
fn channels_at(unit: u32) -> vec4<u32> {
    // Divided once: software drivers do it lane by lane.
    let channels = 4u * unit % params.channel_modulus + vec4(0u, 1u, 2u, 3u);
    return channels - select(vec4(0u), vec4(params.channel_modulus), channels >= vec4(params.channel_modulus));
}
#endif

#if copies
/// How many channels all copies are: those of a row.
fn all_copies() -> u32 { return 4u * params.row_stride; }
#endif

/// Where the running statistics of a unit are.
fn running_of(unit: u32) -> u32 {
#if stepped
    return min(group_of(unit), params.kept_steps - 1u) * params.channel_modulus + channel_of(unit);
#else
    return channel_of(unit);
#endif
}

struct Cursor {
    address: u32,
    column: u32,
}

fn cursor_at(unit: u32, element: u32) -> Cursor {
    let row = element / params.inner;
    let column = element % params.inner;
    return Cursor(unit_address(unit) + row * params.row_stride + column, column);
}

/// One step on: a lane's next element, found without a division.
fn next(at: Cursor) -> Cursor {
    let column = at.column + params.step_column;
    let wraps = column >= params.inner;
    return Cursor(
        at.address + params.step_address + select(0u, params.row_stride - params.inner, wraps),
        column - select(0u, params.inner, wraps),
    );
}

/// Where the cursor's run is; of a ragged row that touches fewer runs than others, there is none behind the last.
fn address_of(at: Cursor) -> u32 {
#if ragged
    return min(at.address, params.length / params.inner * params.row_stride - SIDE);
#else
    return at.address;
#endif
}

#if ragged
/// The numbers, in a unit's row, of the values of a V in that column; below zero they wrap.
fn values_at(unit: u32, column: u32) -> vec4<u32> {
    let before = unit * params.unit_stride % (4u * SIDE);
    return vec4(4u * column - before) + vec4(0u, 1u, 2u, 3u);
}

/// Which values of a V are a unit's own, which those of the next one, and whether the run is a unit's to store.
fn own_at(unit: u32, column: u32) -> Truth { return values_at(unit, column) < vec4(params.unit_stride); }
fn next_at(unit: u32, column: u32) -> Truth {
    return vec4<i32>(values_at(unit, column)) >= vec4(i32(params.unit_stride));
}
fn starts_at(unit: u32, column: u32) -> bool { return values_at(unit, column).x < params.unit_stride; }
#else
fn own_at(unit: u32, column: u32) -> Truth { return Truth(true); }
fn next_at(unit: u32, column: u32) -> Truth { return Truth(false); }
fn starts_at(unit: u32, column: u32) -> bool { return true; }
#endif
