// The gradients of gamma and beta, where they are wanted.

#if dgamma
@group(0) @binding(12) var<storage, read_write> dgamma: array<Channel>;
#endif
#if dbeta
@group(0) @binding(13) var<storage, read_write> dbeta: array<Channel>;
#endif

fn leave_gradients(unit: u32, of_gamma: Channel, of_beta: Channel) {
#if dgamma
    dgamma[unit] = of_gamma;
#endif
#if dbeta
    dbeta[unit] = of_beta;
#endif
}
