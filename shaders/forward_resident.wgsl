// Training forward of units that fit one workgroup's registers, in one dispatch:
//   mean = sum(x) / m,  variance = sum((x - mean)^2) / m,  y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.
//
// A workgroup owns whole units, an invocation ITEMS of a unit's elements, which it loads once and keeps: the
// moments of each lane are about its own mean, at one read of x. Writes y, the saved and the running statistics.

#import element
#import walk
#import valid
#import x_to_y
#import batch
#import moments
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

    var cursor = cursor_at(at.unit, at.first);
#unroll k ITEMS
    let has_$k = at.first + $ku * params.step < at.end;
    let to_$k = cursor.address;
    var x_$k = V(0.0);
    if has_$k { x_$k = load_x(to_$k)[0]; }
    cursor = next(cursor);
#end

    // The first value that counts, of each of a V, and how many do.
    var first = V(0.0);
    var count = Count(0.0);
#unroll k ITEMS
#if masked
    var counts_$k = Truth(false);
    if has_$k { counts_$k = valid_at(at.unit, at.first + $ku * params.step); }
    first = select(first, x_$k, counts_$k & (count == V(0.0)));
    count += one_if(counts_$k);
#else
    let counts_$k = has_$k;
    count += select(0.0, 1.0, has_$k);
#endif
#end
#if !masked
    first = x_0;
#endif

    // Sums about the first value find the mean, and those about that the moments; shrunk if squares were too large.
    let per_value = V(1.0) / max(V(count), V(1.0));
    var shrink = V(1.0);
    var mine = no_moments();
    var again = 2u;
    while again > 0u {
        again -= 1u;
        var centre = finite_or_zero(first * shrink);
        var sum = V(0.0);
#unroll k ITEMS
        sum += select(V(0.0), x_$k * shrink - centre, counts_$k);
#end
        centre = finite_or_zero(centre + sum * per_value);
        sum = V(0.0);
        var squares = V(0.0);
#unroll k ITEMS
        let d_$k = select(V(0.0), x_$k * shrink - centre, counts_$k);
        sum += d_$k;
        squares += d_$k * d_$k;
#end
        mine = recentred(Moments(count, centre, sum, squares));
        let huge = (squares >= V(LARGE)) & (shrink == V(1.0));
        if tally(huge) == 0u { again = 0u; }
        shrink = select(shrink, V(SHRINK), huge);
    }
    let found = fold(merge_lanes(local, marked(mine, shrink < V(1.0))));

    if !at.inside { return; }
    if at.lane == 0u {
        leave(at.unit, found.statistics);
    }
#if health
    var bad = 0u;
#unroll k ITEMS
#if masked
    bad += how_many_not_finite(select(V(0.0), x_$k, counts_$k));
#else
    bad += how_many_not_finite(x_$k);
#endif
#end
    note(0u, bad);
#endif
    let affine = affine_of(at.unit, found.statistics);
    let centre = spread(found.centre);
    let rest = spread(found.rest);
    let scale = spread(affine.scale);
    let shift = spread(affine.shift);
#unroll k ITEMS
    if has_$k { store_y(to_$k, finish(Run(((x_$k - centre) - rest) * scale + shift), to_$k)); }
#end
}
