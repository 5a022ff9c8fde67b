// The gradients of gamma and beta, where they are wanted.

#if dgamma
#import channel_writes dgamma 12 gradients
#endif
#if dbeta
#import channel_writes dbeta 13 gradients
#endif

fn leave_gradients(unit: u32, of_gamma: Channel, of_beta: Channel) {
#if dgamma
    store_dgamma(unit, of_gamma);
#endif
#if dbeta
    store_dbeta(unit, of_beta);
#endif
}
