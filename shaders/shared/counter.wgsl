// How many batches the running statistics have seen. One invocation of one dispatch counts.

#if counter
@group(0) @binding(8) var<storage, read_write> counter: array<u32>;

fn count_batch(workgroup: u32, local: u32) {
    if workgroup == 0u && local == 0u {
        counter[0] += params.batches;
    }
}
#else
fn count_batch(workgroup: u32, local: u32) {}
#endif
