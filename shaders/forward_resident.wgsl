// Training forward of units that fit one workgroup's registers, in one dispatch:
//   mean = sum(x) / m,  variance = sum((x - mean)^2) / m,  y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// A workgroup owns whole units, an invocation ITEMS of a unit's elements, which it loads once and
// keeps: a true two-pass variance at one read of x. Writes y, the saved and the running statistics.

#import element
#import walk
#import valid
#import x_to_y
#import pivot
#import batch
#import sums
#import affine
#import outcome
#import health
#import counter
#import finish

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

    // One read of x, as z = x - pivot; what is missing or does not count is zero in the sums.
    var cursor = cursor_at(at.unit, at.first);
#unroll k ITEMS
    let has_$k = at.first + $ku * params.step < at.end;
    let to_$k = cursor.address;
    var z_$k = V(0.0);
    if has_$k { z_$k = load_x(to_$k)[0] - spread(centre); }
    cursor = next(cursor);
#end
#if masked
#unroll k ITEMS
    var counts_$k = Truth(false);
    if has_$k { counts_$k = valid_at(at.unit, at.first + $ku * params.step); }
#end
#endif

    let of_all = 1.0 / values_of(at.unit);
    var sum = V(0.0);
#if masked
    var valid_ones = V(0.0);
#unroll k ITEMS
    sum += select(V(0.0), z_$k * of_all, counts_$k);
    valid_ones += one_if(counts_$k);
#end
    let first_sums = sum_lanes(local, Sums(sum, valid_ones));
    let count = gather(first_sums.b);
    let per_value = spread(CHANNEL_ONE / max(count, CHANNEL_ONE));
    let mean = gather(first_sums.a) * (values_of(at.unit) / max(count, CHANNEL_ONE));
#else
#unroll k ITEMS
    sum += z_$k * of_all;
#end
    let count = Channel(values_of(at.unit));
    let per_value = of_all;
    let mean = gather(sum_lanes(local, Sums(sum, V(0.0))).a);
#endif

    // Squares about the mean, and what rounding left of the mean itself, which corrects them.
    var square = V(0.0);
    var rest = V(0.0);
#unroll k ITEMS
    if has_$k {
#if masked
        let d = select(V(0.0), z_$k - spread(mean), counts_$k);
#else
        let d = z_$k - spread(mean);
#endif
        square += d * (d * per_value);
        rest += d * per_value;
    }
#end
    let sums = sum_lanes(local, Sums(square, rest));
    let drift = gather(sums.b);
    // Below zero only by rounding; abs rather than max, which would make zero of a NaN.
    let variance = abs(gather(sums.a) - drift * drift);
    let statistics = Statistics(count, centre + mean, variance);

    if !at.inside { return; }
    if at.lane == 0u {
        leave(at.unit, statistics);
    }
#if health
    var bad = 0u;
#unroll k ITEMS
#if masked
    bad += how_many_not_finite(select(V(0.0), z_$k, counts_$k));
#else
    bad += how_many_not_finite(z_$k);
#endif
#end
    note(0u, bad);
#endif
    let affine = affine_of(at.unit, statistics);
    let m = spread(mean);
    let scale = spread(affine.scale);
    let shift = spread(affine.shift);
#unroll k ITEMS
    if has_$k { store_y(to_$k, finish(Run((z_$k - m) * scale + shift), to_$k)); }
#end
}
