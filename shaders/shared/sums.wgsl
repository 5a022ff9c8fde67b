// Two sums over the lanes of a column, in a tree of fixed shape; every lane gets the result.

struct Sums {
    a: V,
    b: V,
}

var<workgroup> lane_a: array<V, LANES * COLUMNS>;
var<workgroup> lane_b: array<V, LANES * COLUMNS>;

fn sum_lanes(local: u32, mine: Sums) -> Sums {
    if LANES == 1u { return mine; }
    lane_a[local] = mine.a;
    lane_b[local] = mine.b;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half * COLUMNS {
            lane_a[local] += lane_a[local + half * COLUMNS];
            lane_b[local] += lane_b[local + half * COLUMNS];
        }
    }
    workgroupBarrier();
    let column = local % COLUMNS;
    let result = Sums(lane_a[column], lane_b[column]);
    workgroupBarrier(); // before the arrays are used again
    return result;
}

/// A term of the sum along x. Under a mask, what lies at padding does not matter where dy is 0.
fn along(of_y: V, z: V) -> V {
#if masked
    return select(V(0.0), of_y * z, of_y != V(0.0));
#else
    return of_y * z;
#endif
}
