// What the forward pass's first dispatch leaves in scratch for the next ones: count, mean and variance of
// x - pivot of every part of every unit. Behind them planes of one V a unit: the pivots and, from
// `forward_settle`, what `forward_apply` needs.

const PIVOT: u32 = 0u;
const MEAN: u32 = 1u;   // of x - pivot
const SCALE: u32 = 2u;
const SHIFT: u32 = 3u;

fn record_at(part: u32, unit: u32) -> u32 { return 3u * (part * params.units + unit); }

fn plane_at(plane: u32, unit: u32) -> u32 { return (3u * params.all_parts + plane) * params.units + unit; }
