// The activation and its slope; `low` and `high` are its numbers. A NaN stays one, in both.

/// The value of a function of z: NaN where z is, of which some drivers make a number.
fn unless_nan(value: V, z: V) -> V { return select(value, z, is_nan(z)); }

#if sigmoid|silu
fn sigmoid(z: V) -> V { return unless_nan(V(1.0) / (V(1.0) + exp(-z)), z); }
#endif

#if gelu
// The normal distribution's density, and its integral by Cody's (1969) way of splitting erfc, here as a
// polynomial times exp(-x^2): Numerical Recipes' erfcc, relative error below 1.2e-7 everywhere.
fn density(z: V) -> V { return exp(-0.5 * z * z) * 0.3989422804014327; }

fn normal(z: V) -> V {
    let a = abs(z) * 0.7071067811865476;
    let t = V(1.0) / (V(1.0) + 0.5 * a);
    var p = V(0.17087277);
    p = p * t - V(0.82215223);
    p = p * t + V(1.48851587);
    p = p * t - V(1.13520398);
    p = p * t + V(0.27886807);
    p = p * t - V(0.18628806);
    p = p * t + V(0.09678418);
    p = p * t + V(0.37409196);
    p = p * t + V(1.00002368);
    p = p * t - V(1.26551223);
    let tail = 0.5 * t * exp(p - a * a);
    return unless_nan(select(tail, V(1.0) - tail, z > V(0.0)), z);
}
#endif

fn activate(z: V) -> V {
#if relu
    return select(V(0.0), z, side_of(z));
#endif
#if leaky_relu
    return select(z, z * params.low, z < V(0.0));
#endif
#if clamp
    let below = select(z, V(params.high), z > V(params.high));
    return unless_nan(select(below, V(params.low), z < V(params.low)), z);
#endif
#if sigmoid
    return sigmoid(z);
#endif
#if silu
    return z * sigmoid(z);
#endif
#if tanh
    return bounded_tanh(z);
#endif
#if gelu
    return z * normal(z);
#endif
}

#if tanh
/// Some drivers' tanh is exp(2z) over itself, which overflows.
fn bounded_tanh(z: V) -> V { return unless_nan(tanh(clamp(z, V(-20.0), V(20.0))), z); }
#endif

#if relu|leaky_relu|clamp
/// On which side of its bend the activation is: true where its slope is 1. ReLU lets the gradient of a NaN through,
/// clamping does not, as PyTorch has it.
fn side_of(z: V) -> Truth {
#if relu
    return (z > V(0.0)) | is_nan(z);
#endif
#if clamp
    return (z >= V(params.low)) & (z <= V(params.high));
#endif
#if leaky_relu
    return z > V(0.0);
#endif
}

/// The gradient of z from that of y.
fn pulled(of_y: V, side: Truth) -> V {
#if leaky_relu
    return select(of_y * params.low, of_y, side);
#else
    return select(V(0.0), of_y, side);
#endif
}
#else
/// The gradient of z from that of y.
fn slope(z: V) -> V {
#if sigmoid
    let y = sigmoid(z);
    return y * (V(1.0) - y);
#endif
#if silu
    let s = sigmoid(z);
    return s * (V(1.0) + z * (V(1.0) - s));
#endif
#if tanh
    let y = bounded_tanh(z);
    return V(1.0) - y * y;
#endif
#if gelu
    return normal(z) + z * density(z);
#endif
}
#endif
