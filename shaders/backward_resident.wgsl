// Backward of units that fit one workgroup's registers, in one dispatch:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m),  or through frozen statistics gamma * r * dy,
// dy first pulled through the activation.
//
// A workgroup owns whole units, an invocation ITEMS of a unit's elements of x and dy, which it loads
// once and keeps. Writes those of dx, dgamma and dbeta that are wanted.

#import element
#import walk
#if dx
#import valid
#endif
#import reads x 1
#import dy_to_dx
#import sums
#import affine
#import statistics
#import centred
#import settled
#import mutual
#import pull
#import gradients
#import health
#if dresidual
#import writes dresidual 16
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    if workgroup >= workgroups() { return; }
    let at = place(workgroup, local);
    let u = used(at.unit);
    let centre = centre_of(u, at.unit);
    let scale = spread(u.scale);
    let shift = spread(u.shift);

    // One read of x and dy; missing elements are zero.
    var cursor = cursor_at(at.unit, at.first);
#unroll k ITEMS
    let has_$k = at.first + $ku * params.step < at.end;
    let to_$k = cursor.address;
    var z_$k = V(0.0);
    var dy_$k = V(0.0);
    if has_$k {
        let x = load_x(to_$k)[0];
        z_$k = centred(x, centre);
        dy_$k = pull(load_dy(to_$k), Run(given(x, z_$k, scale, shift)), to_$k)[0];
    }
    cursor = next(cursor);
#end

    var mine = Sums(V(0.0), V(0.0));
#unroll k ITEMS
    mine.a += dy_$k;
    mine.b += along(dy_$k, z_$k);
#end
    let sums = sum_lanes(local, mine);
    if !at.inside { return; }

    let mutual = settle(at.unit, u, sums, at.lane == 0u);
#unroll k ITEMS
    if has_$k {
#if dresidual
        store_dresidual(to_$k, Run(dy_$k));
#endif
#if dx
        store_dx(to_$k, Run(scale * less(at.unit, at.first + $ku * params.step, dy_$k, z_$k, mutual)));
#endif
    }
#end
}
