// What the backward pass's first dispatch leaves in scratch for the next ones: sum(dy) and
// sum(dy * (x - mean)) of every part of every unit. Behind them planes of one V a unit: from
// `backward_settle`, what `backward_apply` needs; and, flag `known`, from `inference_settle`, what both dispatches before it
// need of frozen statistics (which have no level: r stands in its place until then).

const MEAN: u32 = 0u;
const SCALE: u32 = 1u;
const SHIFT: u32 = 2u;
const INVERSE: u32 = 3u;
const LEVEL: u32 = 4u;
const R: u32 = 4u;
const SLOPE: u32 = 5u;

#if copies
// Where values lie four to a V, one of a copy's.
const VALUE: u32 = 4u;  // from one sum of a part to the other
fn sums_at(part: u32, copy: u32) -> u32 { return 8u * (part * params.row_stride + copy / 4u) + copy % 4u; }

fn plane_at(plane: u32, copy: u32) -> u32 {
    return 4u * ((2u * params.all_parts + plane) * params.row_stride) + copy;
}
#else
const VALUE: u32 = 1u;
fn sums_at(part: u32, unit: u32) -> u32 { return 2u * (part * params.units + unit); }

fn plane_at(plane: u32, unit: u32) -> u32 { return (2u * params.all_parts + plane) * params.units + unit; }
#endif
