// Backward in two dispatches, the second:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat)  with xhat = (x - mean) * r,  r = 1 / sqrt(variance + epsilon),
//   dx = gamma * r * (dy - dbeta / m - xhat * dgamma / m).
//
// Every workgroup first adds up the sums of all parts of its units, in one fixed order, so that all of
// them get the same bits; the first part's writes dgamma and dbeta. Then, flag `dx`, it computes its
// own part of dx, workgroups running backwards: the first dispatch has just left the end of x and dy
// in the cache. Reads x and dy once, writes dx once. Without the flag one workgroup a group suffices.

#import element
#import walk
#import sums
#import affine
#import statistics
#import gradients

@group(0) @binding(9) var<storage, read> scratch: array<V>;
#if dx
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(10) var<storage, read> dy: array<V>;
@group(0) @binding(11) var<storage, read_write> dx: array<V>;
#endif

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
#if dx
    if workgroup >= workgroups() { return; }
    let at = place(workgroups() - 1u - workgroup, local);
#else
    if workgroup >= params.groups { return; }
    let at = place(workgroup, local);
#endif

    var mine = Sums(V(0.0), V(0.0));
    for (var part = at.lane; part < params.parts; part += LANES) {
        let source = 2u * (part * params.units + at.unit);
        mine = Sums(mine.a + scratch[source], mine.b + scratch[source + 1u]);
    }
    let sums = sum_lanes(local, mine);
    if !at.inside { return; }

    let r = inverse_deviation_of(at.unit);
    let of_beta = gather(sums.a);
    let of_gamma = gather(sums.b) * r;
    if at.part == 0u && at.lane == 0u {
        leave_gradients(at.unit, of_gamma, of_beta);
    }
#if dx
    let mean = spread(mean_of(at.unit));
    let scale = spread(scale_of(at.unit) * r);
    let shared_by_all = spread(of_beta / params.values);
    let along_x = spread(r * (of_gamma / params.values));
    var element = at.first;
    var cursor = cursor_at(at.unit, element);
    while element + (CHUNK - 1u) * params.step < at.end {
#unroll k CHUNK
        let to_$k = cursor.address;
        let z_$k = x[to_$k] - mean;
        let dy_$k = dy[to_$k];
        cursor = next(cursor);
#end
#unroll k CHUNK
        dx[to_$k] = scale * (dy_$k - shared_by_all - z_$k * along_x);
#end
        element += CHUNK * params.step;
    }
    while element < at.end {
        let z = x[cursor.address] - mean;
        dx[cursor.address] = scale * (dy[cursor.address] - shared_by_all - z * along_x);
        cursor = next(cursor);
        element += params.step;
    }
#endif
}
