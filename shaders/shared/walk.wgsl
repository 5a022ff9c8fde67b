// Which elements an invocation owns, and where they are in memory.
//
// x is seen as [row, unit, inner] of V. A unit's `length` elements are numbered row by row; element e
// lies at (e / inner) * row_stride + unit * inner + e % inner. Channels last is the case inner = 1.
//
// A workgroup is COLUMNS units wide and LANES deep; neighbours in `local_invocation_index` are
// neighbouring units first. It owns one part (part_length elements) of each of its units. Lane l owns
// elements first + k * step with first = begin + l * lane_stride and k < lane_length: adjacent lanes
// interleaved (lane_stride 1, step LANES) so that a GPU's loads coalesce, or each lane a block of its
// own (lane_stride = lane_length, step 1), which a CPU likes better.

struct Params {
    units: u32,
    groups: u32,        // ceil(units / COLUMNS)
    length: u32,
    inner: u32,
    row_stride: u32,
    parts: u32,
    part_length: u32,   // the last part may be shorter
    lane_stride: u32,
    lane_length: u32,
    step: u32,
    step_address: u32,  // step in memory, had the row no end
    step_column: u32,   // step % inner
    values: f32,        // m, the values of one channel
    epsilon: f32,
    momentum: f32,      // the weight of the new batch statistic in the running one
    unbias: f32,        // running variance = unbias * batch variance: m / (m - 1), or 1
}
@group(0) @binding(0) var<uniform> params: Params;

struct Place {
    unit: u32,
    part: u32,
    lane: u32,
    first: u32,     // this lane's first element
    end: u32,       // one past its last
    inside: bool,   // false beyond the last unit: computes along, stores nothing
}

/// The place of an invocation in the workgroup of this number (groups run fastest, so that
/// workgroups in flight together read memory in order).
fn place(workgroup: u32, local: u32) -> Place {
    let group = workgroup % params.groups;
    let part = workgroup / params.groups;
    let unit = group * COLUMNS + local % COLUMNS;
    let lane = local / COLUMNS;
    let begin = part * params.part_length;
    let part_end = min(begin + params.part_length, params.length);
    let first = begin + lane * params.lane_stride;
    let end = min(first + params.lane_length * params.step, part_end);
    return Place(min(unit, params.units - 1u), part, lane, first, end, unit < params.units);
}

/// The number of the workgroup; the grid has a second dimension where one is too short for it.
fn workgroup_number(id: vec3<u32>, grid: vec3<u32>) -> u32 {
    return id.y * grid.x + id.x;
}

/// How many workgroups have work; the grid may have a few more.
fn workgroups() -> u32 {
    return params.groups * params.parts;
}

/// How many elements a part has.
fn part_size(part: u32) -> u32 {
    return min(params.part_length, params.length - part * params.part_length);
}

struct Cursor {
    address: u32,
    column: u32,
}

fn cursor_at(unit: u32, element: u32) -> Cursor {
    let row = element / params.inner;
    let column = element % params.inner;
    return Cursor(row * params.row_stride + unit * params.inner + column, column);
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
