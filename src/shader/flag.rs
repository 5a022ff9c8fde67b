//! What kernel files ask with `#if`.

use std::fmt;

/// What a kernel file asks with `#if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Values move four at a time.
    Wide,
    /// Those four are two words of 64 bits in memory, or one where they are packed.
    Long,
    /// Twice as many move at a time.
    Twin,
    /// Rows begin and end within what one load moves.
    Ragged,
    /// Some invocations walk fewer runs along together than others.
    Uneven,
    /// Several rows of channels are walked as one, so that 4 divides it.
    Folded,
    /// What was found of the same channel in each of those rows is merged.
    Copies,
    /// Lanes load more than one run at a time, and the rest one by one.
    Chunked,
    /// The channel is the fastest axis.
    ChannelsLast,
    /// x and what has its shape is in 16 bits: f16, or bf16 with the next flag.
    Packed,
    /// 16 bits are the upper half of an f32.
    Bf16,
    /// γ and β, and their gradients where this kernel writes the last ones, are in 16 bits.
    PackedParameters,
    /// dγ and dβ that a backward kernel writes are in 16 bits.
    PackedGradients,
    /// The running statistics are in 16 bits.
    PackedRunning,
    /// Tensors lie in views.
    Strided,
    /// There is a γ.
    Gamma,
    /// There is a β.
    Beta,
    /// Running statistics are updated.
    Running,
    /// Batches are counted.
    Counter,
    /// The running statistics are the average over all batches.
    Cumulative,
    /// Inference as the gradient of x through frozen statistics.
    Gradient,
    /// The running statistics are used, not those of a batch.
    Frozen,
    /// dx is written.
    Dx,
    /// dγ is written.
    Dgamma,
    /// dβ is written.
    Dbeta,
    /// Not every position counts.
    Masked,
    /// Which do is said by a length a sample, not by a mask.
    Lengths,
    /// They are those of a sample's first axis.
    Leading,
    /// The mask has a word a position.
    Words,
    /// How many do is in the saved statistics.
    Counted,
    /// Groups of samples, or steps, have statistics of their own.
    Grouped,
    /// They are steps.
    Stepped,
    /// Batch renormalization.
    Renorm,
    /// A residual is added, or read again.
    Residual,
    /// Its gradient is written.
    Dresidual,
    /// A bit a value says what the activation did.
    Signs,
    /// There is an activation: one of those that follow.
    Activation,
    /// max(z, 0).
    Relu,
    /// Leaky ReLU.
    LeakyRelu,
    /// z·sigmoid(z).
    Silu,
    /// z·Φ(z).
    Gelu,
    /// 1/(1 + exp(−z)).
    Sigmoid,
    /// tanh(z).
    Tanh,
    /// Bounded from both sides.
    Clamp,
    /// The backward pass finds x again from y.
    FromY,
    /// What is unhealthy is counted.
    Health,
    /// An earlier dispatch has merged the parts.
    Settled,
    /// The second pass over a band of units, and the first over the next one.
    Banded,
    /// An earlier dispatch has left the running statistics, γ and β in scratch.
    Known,
    /// The caller brings the sums.
    Given,
    /// y is written over x, dx over dy.
    InPlace,
    /// One buffer is both read and written: every binding is `read_write`, since a buffer has one usage
    /// a dispatch in WebGPU.
    OneBuffer,
}

impl Flag {
    pub(super) const ALL: [(Self, &'static str); 52] = [
        (Self::Wide, "wide"),
        (Self::Long, "long"),
        (Self::Twin, "twin"),
        (Self::Ragged, "ragged"),
        (Self::Uneven, "uneven"),
        (Self::Folded, "folded"),
        (Self::Copies, "copies"),
        (Self::Chunked, "chunked"),
        (Self::ChannelsLast, "channels_last"),
        (Self::Packed, "packed"),
        (Self::Bf16, "bf16"),
        (Self::PackedParameters, "packed_parameters"),
        (Self::PackedGradients, "packed_gradients"),
        (Self::PackedRunning, "packed_running"),
        (Self::Strided, "strided"),
        (Self::Gamma, "gamma"),
        (Self::Beta, "beta"),
        (Self::Running, "running"),
        (Self::Counter, "counter"),
        (Self::Cumulative, "cumulative"),
        (Self::Gradient, "gradient"),
        (Self::Frozen, "frozen"),
        (Self::Dx, "dx"),
        (Self::Dgamma, "dgamma"),
        (Self::Dbeta, "dbeta"),
        (Self::Masked, "masked"),
        (Self::Lengths, "lengths"),
        (Self::Leading, "leading"),
        (Self::Words, "words"),
        (Self::Counted, "counted"),
        (Self::Grouped, "grouped"),
        (Self::Stepped, "stepped"),
        (Self::Renorm, "renorm"),
        (Self::Residual, "residual"),
        (Self::Dresidual, "dresidual"),
        (Self::Signs, "signs"),
        (Self::Activation, "activation"),
        (Self::Relu, "relu"),
        (Self::LeakyRelu, "leaky_relu"),
        (Self::Silu, "silu"),
        (Self::Gelu, "gelu"),
        (Self::Sigmoid, "sigmoid"),
        (Self::Tanh, "tanh"),
        (Self::Clamp, "clamp"),
        (Self::FromY, "from_y"),
        (Self::Health, "health"),
        (Self::Settled, "settled"),
        (Self::Banded, "banded"),
        (Self::Known, "known"),
        (Self::Given, "given"),
        (Self::InPlace, "in_place"),
        (Self::OneBuffer, "one_buffer"),
    ];

    /// The flag of this name, in kernel files.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(flag, _)| *flag)
    }
}

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub(super) u64);

impl Flags {
    /// The flags of this list whose condition holds.
    pub fn of(list: &[(Flag, bool)]) -> Self {
        list.iter().fold(Self::default(), |set, &(flag, on)| if on { set.with(flag) } else { set })
    }

    /// All of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set and one more.
    pub const fn with(self, flag: Flag) -> Self {
        Self(self.0 | 1 << flag as u64)
    }

    /// This set and one less.
    pub const fn without(self, flag: Flag) -> Self {
        Self(self.0 & !(1 << flag as u64))
    }

    /// Whether the flag is in the set.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u64) != 0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Flag::ALL.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| name)).finish()
    }
}
