// Two sums over the lanes of a column, in a fixed order; every lane gets the result.

struct Sums {
    a: V,
    b: V,
}

var<workgroup> lane_a: array<V, LANES * COLUMNS>;
var<workgroup> lane_b: array<V, LANES * COLUMNS>;

/// Some lanes first add up FOLD lanes each, as often as more than FOLD are left; then every lane adds up
/// the LAST that remain.
fn sum_lanes(local: u32, mine: Sums) -> Sums {
    if LANES == 1u { return mine; }
    lane_a[local] = mine.a;
    lane_b[local] = mine.b;
    for (var many = LANES / FOLD; many >= LAST; many /= FOLD) {
        workgroupBarrier();
        if local < many * COLUMNS {
            for (var k = 1u; k < FOLD; k++) {
                lane_a[local] += lane_a[local + k * many * COLUMNS];
                lane_b[local] += lane_b[local + k * many * COLUMNS];
            }
        }
    }
    workgroupBarrier();
    let column = local % COLUMNS;
    var all = Sums(V(0.0), V(0.0));
#unroll k LAST
    all = Sums(all.a + lane_a[$ku * COLUMNS + column], all.b + lane_b[$ku * COLUMNS + column]);
#end
    workgroupBarrier(); // before the arrays are used again
    return all;
}

/// A term of the sum along x. Under a mask, what lies at padding does not matter where dy is 0.
fn along(of_y: V, z: V) -> V {
#if masked
    return select(V(0.0), of_y * z, is_not_zero(of_y));
#else
    return of_y * z;
#endif
}
