// Statistics as values, after `forward_partial`: planes of counts, means and variances of all units, the
// parts of each merged.
//
// A workgroup owns whole units. Reads a few values a part, writes three a unit.

#import element
#import walk
#import batch
#import moments
#import records
#import merge_records

@group(0) @binding(9) var<storage, read> scratch: array<V>;
@group(0) @binding(19) var<storage, read_write> statistics: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= params.tiles { return; }
    let at = place(workgroup, local);
    let found = merge_records(local, at.unit, at.lane).statistics;
    if !at.inside || at.lane > 0u { return; }

    statistics[at.unit] = found.count;
    statistics[params.units + at.unit] = found.mean;
    statistics[2u * params.units + at.unit] = found.variance;
}
