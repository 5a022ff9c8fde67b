// Backward in two dispatches, the second, where dx is wanted:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m),
// dy first pulled through the activation.
//
// Every workgroup first adds up the sums of all parts of its units, in one fixed order, so that all of
// them get the same bits; the first part's writes dgamma and dbeta. Then it computes its own part of
// dx, workgroups running backwards: the first dispatch has just left the end of x and dy in the cache.
// Reads x and dy once, writes dx once. Flag `settled`: `backward_settle` has done the first half; flag
// `given`: the sums are values that the caller brings; flag `banded`: every other workgroup does for the next band
// what the first dispatch has done for this one (and none run backwards).

#import element
#import walk
#import valid
#import reads x 1
#import dy_to_dx
#import parts
#import centred
#import mutual
#import lens
#import pull
#if !settled
#import affine
#import statistics
#endif
#if banded
#import gather_sums
#import backward_first
#endif
#if !settled !given
#import sums
#import sum_parts
#import gradients
#import health
#import settled
#endif
#if dresidual
#import writes dresidual 16
#endif
#if given
#import mutual_of
@group(0) @binding(19) var<storage, read> sums: array<Channel>;
#else
#if banded
@group(0) @binding(9) var<storage, read_write> scratch: array<V>;
#else
@group(0) @binding(9) var<storage, read> scratch: array<V>;
#endif
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
#if banded
    if goes_ahead(id, grid) {
        if is_behind(workgroup) { backward_first(local, place_behind(workgroup, local)); }
        return;
    }
#endif
    let at = place_again(workgroup, local);
#if settled|given
    if !at.inside { return; }
#endif
    var lens = array<Lens, SEEN>();
    var mutual = array<Mutual, SEEN>();
#unroll u SEEN
    let known_$u = known_of(local, at, unit_of(at, $uu), has(at, $uu));
    lens[$u] = known_$u.lens;
    mutual[$u] = known_$u.mutual;
#end
    if at.inside { apply_sums(at, lens, mutual); }
}

#if banded
/// Nothing: dx waits for the sums.
fn leave_on_the_way(inside: bool, address: u32, dy: Run, scale: Run) {}
#endif

struct Known {
    lens: Lens,
    mutual: Mutual,
}

#if settled
fn known_of(local: u32, at: Place, unit: u32, is_own: bool) -> Known {
    let centre = Centre(scratch[plane_at(MEAN, unit)], scratch[plane_at(INVERSE, unit)]);
    let lens = Lens(centre, scratch[plane_at(SCALE, unit)], scratch[plane_at(SHIFT, unit)]);
    return Known(lens, Mutual(scratch[plane_at(LEVEL, unit)], scratch[plane_at(SLOPE, unit)]));
}
#endif
#if given
fn known_of(local: u32, at: Place, unit: u32, is_own: bool) -> Known {
    let u = used(unit);
    let slope = slope_of(unit, u, sums[params.units + unit]);
    return Known(lens_of(u, unit), Mutual(spread(level_of(unit, sums[unit])), spread(slope)));
}
#endif
#if !settled !given
fn known_of(local: u32, at: Place, unit: u32, is_own: bool) -> Known {
    let sums = sum_parts(local, unit, at.lane);
    let u = used(unit);
    let first = is_own && params.first_part == 0u && at.part == 0u && at.lane == 0u;
    return Known(lens_of(u, unit), settle(unit, u, sums, first));
}
#endif
