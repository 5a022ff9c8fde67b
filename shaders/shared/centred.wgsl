#import centred_by

fn centred(x: V, c: Centre) -> V {
#if from_y
#if leaky_relu
    let z = select(x, x / params.low, x < V(0.0));
#else
    let z = x;
#endif
    return (z - c.mean) * c.inverse;
#else
    return x - c.mean;
#endif
}
