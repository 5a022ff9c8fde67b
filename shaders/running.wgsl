// The running statistics moved by what a forward pass saved, on their own, and the batch counted. Flag
// `cumulative`: by the average over all batches so far, which `count` has counted, these included.
// Flag `grouped`: by one group after the other, each as a batch of its own, or, flag `stepped`, each
// step's by its own.
//
// An invocation owns one unit of the running statistics. Reads and writes a few values a channel.

#import element
#import walk
#import moved
#import counter
#if cumulative
@group(0) @binding(8) var<storage, read> counter: array<u32>;
#endif

@group(0) @binding(7) var<storage, read> saved: array<Channel>;

@compute @workgroup_size(LANES * COLUMNS)
fn main(
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let workgroup = workgroup_number(id, grid);
    let mine = workgroup * LANES * COLUMNS + local;
    count_batch(workgroup, local);
#if stepped
    let steps = min(params.kept_steps, params.group_modulus);
    if mine >= steps * params.channel_modulus { return; }
    let step = mine / params.channel_modulus;
    let channel = mine % params.channel_modulus;
    move_by(channel * params.channel_divisor + step * params.group_divisor, mine, 0u);
#else
#if grouped
    if mine >= params.channel_modulus { return; }
    for (var group = 0u; group < params.group_modulus; group++) {
        move_by(mine + group * params.channel_modulus, mine, group);
    }
#else
    if mine >= params.units { return; }
    move_by(mine, mine, 0u);
#endif
#endif
}

/// Moves the running statistics `to` by what is saved of a unit, the `batch`-th of this call.
fn move_by(unit: u32, to: u32, batch: u32) {
#if cumulative
    let before = counter[0] - params.batches + batch;
    let all = f32(before + 1u);
    let keep = f32(before) / all;
    let momentum = 1.0 / all;
#else
    let keep = params.keep;
    let momentum = params.momentum;
#endif
    let count = saved[3u * params.units + unit];
    move_running(to, count, saved[unit], saved[2u * params.units + unit], keep, momentum);
}
