// Backward in two dispatches, the second, where dx is wanted:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m),
// dy first pulled through the activation.
//
// Every workgroup first adds up the sums of all parts of its units, in one fixed order, so that all of
// them get the same bits; the first part's writes dgamma and dbeta. Then it computes its own part of
// dx, workgroups running backwards: the first dispatch has just left the end of x and dy in the cache.
// Reads x and dy once, writes dx once. Flag `settled`: `backward_settle` has done the first half; flag
// `given`: the sums are values that the caller brings.

#import element
#import walk
#import valid
#import reads x 1
#import dy_to_dx
#import parts
#import centred
#import mutual
#import pull
#if !settled
#import affine
#import statistics
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
@group(0) @binding(9) var<storage, read> scratch: array<V>;
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroups() - 1u - workgroup, local);
#if settled
    if !at.inside { return; }

    let centre = Centre(scratch[plane_at(MEAN, at.unit)], scratch[plane_at(INVERSE, at.unit)]);
    let mutual = Mutual(scratch[plane_at(LEVEL, at.unit)], scratch[plane_at(SLOPE, at.unit)]);
    let scale = scratch[plane_at(SCALE, at.unit)];
    let shift = scratch[plane_at(SHIFT, at.unit)];
#else
#if given
    if !at.inside { return; }

    let u = used(at.unit);
    let slope = slope_of(at.unit, u, sums[params.units + at.unit]);
    let mutual = Mutual(spread(level_of(at.unit, sums[at.unit])), spread(slope));
#else
    let sums = sum_parts(local, at.unit, at.lane);
    if !at.inside { return; }

    let u = used(at.unit);
    let mutual = settle(at.unit, u, sums, params.first_part == 0u && at.part == 0u && at.lane == 0u);
#endif
    let centre = centre_of(u, at.unit);
    let scale = spread(u.scale);
    let shift = spread(u.shift);
#endif

    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#unroll k CHUNK
        let to_$k = cursor.address;
        let z_$k = centred(to_$k, centre);
        let of_y_$k = load_dy(to_$k);
        cursor = next(cursor);
#end
#unroll k CHUNK
        let dy_$k = pull(of_y_$k, z_$k * scale + shift, to_$k);
        leave_dx(at.unit, element + $ku * params.step, to_$k, dy_$k, z_$k, scale, mutual);
#end
        element += CHUNK * params.step;
    }
    while element < at.end {
        let z = centred(cursor.address, centre);
        let dy = pull(load_dy(cursor.address), z * scale + shift, cursor.address);
        leave_dx(at.unit, element, cursor.address, dy, z, scale, mutual);
        cursor = next(cursor);
        element += params.step;
    }
}

fn leave_dx(unit: u32, element: u32, to: u32, dy: V, z: V, scale: V, mutual: Mutual) {
    store_dx(to, scale * less(unit, element, dy, z, mutual));
#if dresidual
    store_dresidual(to, dy);
#endif
}
