// What the forward pass's first dispatch leaves in scratch for the next ones: the moments of every part of every
// unit. Behind them planes of one V a unit: from `forward_settle`, what `forward_apply` needs.

const CENTRE: u32 = 0u;
const REST: u32 = 1u;
const SCALE: u32 = 2u;
const SHIFT: u32 = 3u;

#if copies
// Where values lie four to a V, one of a copy's.
const VALUE: u32 = 4u;  // from one value of a record to the next
fn record_at(part: u32, copy: u32) -> u32 { return 16u * (part * params.row_stride + copy / 4u) + copy % 4u; }

fn plane_at(plane: u32, copy: u32) -> u32 {
    return 4u * ((4u * params.all_parts + plane) * params.row_stride) + copy;
}
#else
const VALUE: u32 = 1u;
fn record_at(part: u32, unit: u32) -> u32 { return 4u * (part * params.units + unit); }

fn plane_at(plane: u32, unit: u32) -> u32 { return (4u * params.all_parts + plane) * params.units + unit; }
#endif
