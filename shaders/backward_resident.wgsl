// Backward of units that fit one workgroup's registers, in one dispatch:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m),  or through frozen statistics gamma * r * dy.
//
// A workgroup owns whole units, an invocation ITEMS of a unit's elements of x and dy, which it loads
// once and keeps. Writes those of dx, dgamma and dbeta that are wanted.

#import element
#import walk
#import sums
#import affine
#import statistics
#import gradients

@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(10) var<storage, read> dy: array<V>;
#if dx
@group(0) @binding(11) var<storage, read_write> dx: array<V>;
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
    let mean = spread(mean_of(at.unit));
    let r = inverse_deviation_of(at.unit);

    // One read of x and dy; missing elements are zero.
    var cursor = cursor_at(at.unit, at.first);
#unroll k ITEMS
    let has_$k = at.first + $ku * params.step < at.end;
    let to_$k = cursor.address;
    var z_$k = V(0.0);
    var dy_$k = V(0.0);
    if has_$k {
        z_$k = x[to_$k] - mean;
        dy_$k = dy[to_$k];
    }
    cursor = next(cursor);
#end

    var mine = Sums(V(0.0), V(0.0));
#unroll k ITEMS
    mine.a += dy_$k;
    mine.b += dy_$k * z_$k;
#end
    let sums = sum_lanes(local, mine);
    let of_beta = gather(sums.a);
    let of_gamma = gather(sums.b) * r;

    if !at.inside { return; }
    if at.lane == 0u {
        leave_gradients(at.unit, of_gamma, of_beta);
    }
#if dx
    let scale = spread(scale_of(at.unit) * r);
#if frozen
#unroll k ITEMS
    if has_$k { dx[to_$k] = scale * dy_$k; }
#end
#else
    let shared_by_all = spread(of_beta / params.values);
    let along_x = spread(r * (of_gamma / params.values));
#unroll k ITEMS
    if has_$k { dx[to_$k] = scale * (dy_$k - shared_by_all - z_$k * along_x); }
#end
#endif
#endif
}
