#import centred_by

fn centred(address: u32, c: Centre) -> V {
#if from_y
    let y = load_x(address);
#if leaky_relu
    let z = select(y, y / params.low, y < V(0.0));
#else
    let z = y;
#endif
    return (z - c.mean) * c.inverse;
#else
    return load_x(address) - c.mean;
#endif
}
