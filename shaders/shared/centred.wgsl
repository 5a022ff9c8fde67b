#import centred_by

#if from_y
/// What the activation was given to make this y of it.
fn undo(y: V) -> V {
#if leaky_relu
    return select(y, y / params.low, y < V(0.0));
#else
    return y;
#endif
}

fn centred(y: V, c: Centre) -> V { return (undo(y) - c.mean) * c.inverse; }

/// Not by way of x: rounded, it could end up on the other side of the bend.
fn given(y: V, z: V, scale: V, shift: V) -> V { return undo(y); }
#else
#if frozen
/// By an infinite variance 0, of a finite x: sums of dy * x may overflow.
fn centred(x: V, c: Centre) -> V { return x * c.inverse - c.mean; }
#else
fn centred(x: V, c: Centre) -> V { return x - c.mean; }
#endif

/// What the activation was given of an x that is z when centred.
fn given(x: V, z: V, scale: V, shift: V) -> V { return z * scale + shift; }
#endif
