// Backward of units that fit a cache, in one dispatch:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m),
// dy first pulled through the activation.
//
// A workgroup owns whole units, an invocation one lane of them. Reads x and dy twice, the second time
// from the cache that the first has filled; writes dx, and those of dgamma and dbeta that are wanted.

#import element
#import walk
#import valid
#import reads x 1
#import dy_to_dx
#import sums
#import affine
#import statistics
#import centred
#import lens
#import pull
#import gather_sums
#import settled
#import mutual
#import gradients
#import health
#if dresidual
#import writes dresidual 16
#endif
#import apply_sums

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroup, local);
    var lens = array<Lens, SEEN>();
#unroll u SEEN
    lens[$u] = lens_of(used(unit_of(at, $uu)), unit_of(at, $uu));
#end
    let mine = gather_sums(at, lens);
    var mutual = array<Mutual, SEEN>();
#unroll u UNITS
    let sums_$u = sum_lanes(local, mine[$u]);
    mutual[$u] = settle(unit_of(at, $uu), used(unit_of(at, $uu)), sums_$u, has(at, $uu) && at.lane == 0u);
#end
#if ragged
    mutual[1] = mutual_of_next(local, mutual[0]);
#endif
    if at.inside { apply_sums(at, lens, mutual); }
}

/// Nothing: dx waits for the sums.
fn leave_on_the_way(inside: bool, address: u32, dy: Run, scale: Run) {}

#if ragged
/// Those of the next unit, from the lanes that have worked them out: workgroups own as many units as whole runs take.
fn mutual_of_next(local: u32, own: Mutual) -> Mutual {
    storageBarrier(); // in place, all of dy has been read
    workgroupBarrier();
    lane_a[local] = own.level;
    lane_b[local] = own.slope;
    workgroupBarrier();
    let next = min(local + 1u, LANES * COLUMNS - 1u);
    return Mutual(lane_a[next], lane_b[next]);
}
#endif
