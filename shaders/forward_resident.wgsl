// Training forward of units that fit one workgroup's registers, in one dispatch:
//   mean = sum(x) / m,  variance = sum((x - mean)^2) / m,  y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// A workgroup owns whole units, an invocation ITEMS of a unit's elements, which it loads once and
// keeps: a true two-pass variance at one read of x. Writes y, the saved and the running statistics.

#import element
#import walk
#import pivot
#import sums
#import affine
#import outcome
#import counter

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> y: array<V>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    count_batch(workgroup, local);
    let at = place(workgroup, local);
    let centre = pivot(at.unit);
    let per_value = 1.0 / params.values;

    // One read of x, as z = x - pivot; missing elements are zero.
    var cursor = cursor_at(at.unit, at.first);
#unroll k ITEMS
    let has_$k = at.first + $ku * params.step < at.end;
    let to_$k = cursor.address;
    var z_$k = V(0.0);
    if has_$k { z_$k = x[to_$k] - spread(centre); }
    cursor = next(cursor);
#end

    var sum = V(0.0);
#unroll k ITEMS
    sum += z_$k * per_value;
#end
    let mean = gather(sum_lanes(local, Sums(sum, V(0.0))).a);

    // Squares about the mean, and what rounding left of the mean itself, which corrects them.
    var square = V(0.0);
    var rest = V(0.0);
#unroll k ITEMS
    if has_$k {
        let d = z_$k - spread(mean);
        square += d * (d * per_value);
        rest += d * per_value;
    }
#end
    let sums = sum_lanes(local, Sums(square, rest));
    let drift = gather(sums.b);
    // Below zero only by rounding; abs rather than max, which would make zero of a NaN.
    let variance = abs(gather(sums.a) - drift * drift);

    if !at.inside { return; }
    if at.lane == 0u {
        leave(at.unit, centre + mean, variance);
    }
    let m = spread(mean);
    let scale = spread(scale_of(at.unit) * inverse_deviation(variance));
    let shift = spread(shift_of(at.unit));
#unroll k ITEMS
    if has_$k { y[to_$k] = (z_$k - m) * scale + shift; }
#end
}
