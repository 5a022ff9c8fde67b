// The gradients of gamma and beta from sums that are values, and three numbers a unit for a kernel of
// the caller's that computes dx = a * dy + b * x + c.
//
// An invocation owns one unit. Reads and writes a few values.

#import element
#import walk
#import affine
#import statistics
#import gradients
#import mutual_of

@group(0) @binding(19) var<storage, read> sums: array<Channel>;
@group(0) @binding(20) var<storage, read_write> coefficients: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let unit = workgroup_number(id, grid) * LANES * COLUMNS + local;
    if unit >= params.units { return; }
    let u = used(unit);
    let of_beta = sums[unit];
    let of_gamma = sums[params.units + unit];
    leave_gradients(unit, gamma_gradient(u, of_gamma, of_beta), of_beta);
    let level = level_of(unit, of_beta);
    let slope = slope_of(unit, u, of_gamma);
    coefficients[unit] = u.scale;
    coefficients[params.units + unit] = -u.scale * slope;
    coefficients[2u * params.units + unit] = u.scale * (u.mean * slope - level);
}
