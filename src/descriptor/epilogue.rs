//! What is fused behind the normalisation, and what the backward pass needs to know of it.

/// What becomes of the normalised value z (the residual added, if there is one). A NaN stays NaN; there the gradient
/// passes through ReLU and not through clamping, as in PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// z.
    #[default]
    Identity,
    /// max(z, 0).
    Relu,
    /// z, or slope·z where z is negative.
    LeakyRelu(f32),
    /// z·sigmoid(z), also called swish.
    Silu,
    /// z·Φ(z) with the normal distribution Φ, PyTorch's `gelu` without approximation.
    Gelu,
    /// 1/(1 + exp(−z)).
    Sigmoid,
    /// tanh(z).
    Tanh,
    /// min(max(z, low), high), such as ReLU6 with 0 and 6. Its gradient is 1 from low to high, both included.
    Clamp(f32, f32),
}

/// What follows the normalisation in the same kernels: y = activation(BN(x) + residual).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// What is done last.
    pub activation: Activation,
    /// Whether a tensor of x's shape is added before it.
    pub residual: bool,
}

/// What a training forward with an [`Epilogue`] has to leave to the backward pass besides the saved statistics.
/// (Inference leaves nothing: a frozen backward pass through an activation of a sum takes the residual.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Nothing: what the activation did is computed again from x.
    Nothing,
    /// A bit a value, which the forward pass writes: on which side of its bend the activation was. In the order of
    /// the shape, or with the channel axis where x has it in memory, if a view of x says so.
    Signs,
    /// The residual itself, to compute again what the activation did.
    Residual,
}

impl Epilogue {
    /// What the backward pass needs of the forward pass.
    pub const fn kept(&self) -> Kept {
        use Activation::*;
        match (self.residual, self.activation) {
            (false, _) | (_, Identity) => Kept::Nothing,
            (true, Relu | LeakyRelu(_) | Clamp(..)) => Kept::Signs,
            (true, Silu | Gelu | Sigmoid | Tanh) => Kept::Residual,
        }
    }
}
