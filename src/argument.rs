//! The buffers that operations take.

use std::fmt;

use wgpu::{Buffer, BufferBinding};

use crate::descriptor::{Float, Tensor, Types};
use crate::plan::Plan;

/// The one list of them: what each is, how Rust and how kernels and messages call it.
macro_rules! arguments {
    ($($(#[$doc:meta])* $variant:ident: $name:ident,)*) => {
        /// A buffer that operations take: a setter of [`Bindings`], and a `var` of the kernels.
        ///
        /// C is the number of channels. Values are in the type that [`Types`] has for them, or f32.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Argument {
            $($(#[$doc])* $variant,)*
        }

        impl Argument {
            /// All of them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),*];
            const COUNT: usize = [$(stringify!($name)),*].len();

            /// Its name in kernels and messages, and that of its setter.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)*
                }
            }
        }

        impl<'a> Bindings<'a> {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, buffer: impl IntoBinding<'a>) -> Self {
                    self.with(Argument::$variant, buffer)
                }
            )*
        }
    };
}

arguments! {
    /// The input, of the descriptor's shape. A backward pass from y
    /// ([`Descriptor::backward_from_y`](crate::Descriptor::backward_from_y)) takes y for it.
    X: x,
    /// The output, of the same shape. It may be x itself, which it then replaces.
    Y: y,
    /// The gradient of y.
    Dy: dy,
    /// The gradient of x, where it is wanted. It may be dy itself, which it then replaces.
    Dx: dx,
    /// The residual of the [`Epilogue`](crate::Epilogue), of x's shape; for a backward pass where
    /// [`Kept::Residual`](crate::Kept::Residual) says so.
    Residual: residual,
    /// The gradient of the residual, in a backward pass with an activation. (Without one it is dy.)
    Dresidual: dresidual,
    /// γ, C values, if the descriptor has one. A backward pass may do without.
    Gamma: gamma,
    /// β, C values, if the descriptor has one. A backward pass takes it where it computes an activation again, or finds x
    /// again from y.
    Beta: beta,
    /// The gradient of γ, C values, where it is wanted.
    Dgamma: dgamma,
    /// The gradient of β, C values, where it is wanted.
    Dbeta: dbeta,
    /// The running mean: C values, or C a step kept ([`Over::Steps`](crate::Over::Steps)).
    RunningMean: running_mean,
    /// The running variance: as many.
    RunningVariance: running_variance,
    /// The batch counter, one u32, if the descriptor's running statistics have it.
    Counter: counter,
    /// The statistics that a forward pass leaves to the backward pass: [`Plan::saved_bytes`].
    Saved: saved,
    /// Statistics as values, 3 C f32: counts, means and variances.
    Statistics: statistics,
    /// The sums of a backward pass as values, 2 C f32: Σdy and Σdy·x̂.
    Sums: sums,
    /// What is merged: the statistics, or the sums, of all parts, one after the other.
    Many: many,
    /// Scale and shift, C values f32 each, for a kernel that computes y = x · scale + shift.
    ScaleAndShift: scale_and_shift,
    /// a, b and c, C values f32 each, for a kernel that computes dx = a · dy + b · x + c.
    Coefficients: coefficients,
    /// The mask or the lengths of [`Padding`](crate::Padding), for a forward pass and, where dx is wanted, a backward
    /// pass.
    Valid: valid,
    /// One bit a value where [`Kept::Signs`](crate::Kept::Signs) says so, written by the forward pass and read by the
    /// backward pass: [`Plan::signs_bytes`].
    Signs: signs,
    /// A [`Health`](crate::Health), where the descriptor asks for it: for a forward pass, and a backward pass from y.
    Health: health,
    /// [`Plan::scratch_bytes`] of anything. A plan that needs none takes it all the same.
    Scratch: scratch,
}

impl Argument {
    /// The argument of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|argument| argument.name() == name)
    }

    /// The tensor that it is, if it has x's shape.
    pub fn tensor(self) -> Option<Tensor> {
        Tensor::ALL.into_iter().find(|tensor| Self::from(*tensor) == self)
    }

    /// The type of its values.
    pub(crate) fn float(self, types: Types) -> Float {
        match self {
            Self::Gamma | Self::Beta | Self::Dgamma | Self::Dbeta => types.parameters,
            Self::RunningMean | Self::RunningVariance => types.running,
            argument if argument.tensor().is_some() => types.x,
            _ => Float::F32,
        }
    }
}

impl From<Tensor> for Argument {
    fn from(tensor: Tensor) -> Self {
        match tensor {
            Tensor::X => Self::X,
            Tensor::Y => Self::Y,
            Tensor::Dy => Self::Dy,
            Tensor::Dx => Self::Dx,
            Tensor::Residual => Self::Residual,
            Tensor::Dresidual => Self::Dresidual,
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The buffers that a plan is bound to, each given by its name; a name given twice has the buffer given last.
///
/// Which of them a plan needs, and how many bytes of each, [`Plan::arguments`] says.
///
/// ```no_run
/// # use wgpu_batchnorm::{Bindings, Error, Plan, wgpu::Buffer};
/// # fn bind(plan: &Plan, [x, y, gamma, beta, saved]: [&Buffer; 5]) -> Result<(), Error> {
/// let bound = plan.bind(&Bindings::new().x(x).y(y).gamma(gamma).beta(beta).saved(saved))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Bindings<'a> {
    buffers: [Option<BufferBinding<'a>>; Argument::COUNT],
}

impl<'a> Bindings<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a function has of each argument.
    pub fn from_fn(of: impl FnMut(Argument) -> Option<BufferBinding<'a>>) -> Self {
        Self { buffers: Argument::ALL.map(of) }
    }

    /// The same with a buffer more, or, for `None`, with one less.
    #[must_use]
    pub fn with(mut self, argument: Argument, buffer: impl IntoBinding<'a>) -> Self {
        self.buffers[argument as usize] = buffer.into_binding();
        self
    }

    /// Those of them that a plan takes: for a forward and a backward pass, say, one list of buffers will do.
    #[must_use]
    pub fn taken_by(&self, plan: &Plan) -> Self {
        let takes = |argument| plan.arguments().iter().any(|needed| needed.argument == argument);
        Self::from_fn(|argument| self.get(argument).filter(|_| takes(argument)).cloned())
    }

    /// The arguments that something is bound to.
    pub fn arguments(&self) -> impl Iterator<Item = Argument> + '_ {
        Argument::ALL.into_iter().filter(|argument| self.get(*argument).is_some())
    }

    /// What is bound to an argument.
    pub fn get(&self, argument: Argument) -> Option<&BufferBinding<'a>> {
        self.buffers[argument as usize].as_ref()
    }
}

/// What can be bound: a whole buffer, a part of one, or, where a buffer may be missing, an option of either.
pub trait IntoBinding<'a> {
    /// The binding, if there is one.
    fn into_binding(self) -> Option<BufferBinding<'a>>;
}

impl<'a> IntoBinding<'a> for BufferBinding<'a> {
    fn into_binding(self) -> Option<BufferBinding<'a>> {
        Some(self)
    }
}

impl<'a> IntoBinding<'a> for &'a Buffer {
    fn into_binding(self) -> Option<BufferBinding<'a>> {
        Some(self.as_entire_buffer_binding())
    }
}

impl<'a, B: IntoBinding<'a>> IntoBinding<'a> for Option<B> {
    fn into_binding(self) -> Option<BufferBinding<'a>> {
        self.and_then(B::into_binding)
    }
}
