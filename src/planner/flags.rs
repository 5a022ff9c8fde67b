//! What a descriptor and an operation ask of each kernel, as the flags of its text.

use super::assembly::without_counter;
use super::{Form, Geometry, Planner};
use crate::descriptor::{Activation, Descriptor, Float, Gradients, Kept, Mask, Momentum, Padding};
use crate::recipe::Operation;
use crate::shader::{Flag, Flags, Kernel, Permutation};

impl Planner<'_> {
    /// A kernel with these flags, and those that say how tensors lie.
    pub(super) fn permutation(&self, geometry: Geometry, form: Form, kernel: Kernel, flags: Flags) -> Permutation {
        let types = self.descriptor.types;
        let packs = |float: Float| float != Float::F32;
        let strided = self.is_strided();
        let folded = geometry.folded.is_some();
        let geometry = if kernel.streams() { geometry } else { geometry.of_channels() };
        let layout = Flags::of(&[
            (Flag::Uneven, form.uneven && kernel.streams()),
            (Flag::Folded, folded && kernel.streams()),
            (Flag::Copies, folded && !kernel.streams()),
            (Flag::Wide, geometry.wide),
            (Flag::Long, self.is_long(geometry)),
            (Flag::ChannelsLast, geometry.channels_last),
            (Flag::Packed, packs(types.x)),
            (Flag::Bf16, types.x == Float::Bf16),
            (Flag::PackedParameters, packs(types.parameters)),
            (Flag::PackedGradients, packs(types.parameters) && geometry.groups.is_none()),
            (Flag::PackedRunning, packs(types.running)),
            (Flag::Strided, strided),
            (Flag::Ragged, geometry.ragged.is_some()),
            (Flag::Grouped, geometry.groups.is_some()),
            (Flag::Stepped, geometry.groups.is_some_and(|groups| groups.stepped)),
        ]);
        let form = if kernel.streams() { form } else { form.of_units() };
        let Form { tile, items, elements, beside, chunk, across, .. } = form;
        let items = if kernel.is_resident() { items } else { 0 };
        let layout = layout.and(Flags::of(&[(Flag::Chunked, chunk > 1), (Flag::Twin, elements * beside > 1)]));
        let dims = if strided { self.dims(&(0..self.samples())).map_or(0, |dims| dims.len().max(1) as u32) } else { 0 };
        Permutation { kernel, flags: layout.and(flags), tile, items, chunk, across, dims }
    }

    pub(super) fn activation_flags(&self) -> Flags {
        let activation = match self.descriptor.epilogue.activation {
            Activation::Identity => return Flags::default(),
            Activation::Relu => Flag::Relu,
            Activation::LeakyRelu(_) => Flag::LeakyRelu,
            Activation::Silu => Flag::Silu,
            Activation::Gelu => Flag::Gelu,
            Activation::Sigmoid => Flag::Sigmoid,
            Activation::Tanh => Flag::Tanh,
            Activation::Clamp(..) => Flag::Clamp,
        };
        Flags::default().with(Flag::Activation).with(activation)
    }

    pub(super) fn padding_flags(&self) -> Flags {
        let first_axis = if self.descriptor.channels_are_last() { 1 } else { 2 };
        match self.descriptor.padding {
            Padding::None => Flags::default(),
            Padding::Mask(mask) => Flags::of(&[(Flag::Masked, true), (Flag::Words, mask == Mask::Words)]),
            Padding::Lengths { axis } => {
                Flags::of(&[(Flag::Masked, true), (Flag::Lengths, true), (Flag::Leading, axis == first_axis)])
            }
        }
    }

    /// The end of a forward pass or of inference.
    pub(super) fn finish_flags(&self) -> Flags {
        let epilogue = self.descriptor.epilogue;
        let signs = self.keeps_signs() && epilogue.kept() == Kept::Signs;
        self.activation_flags().and(Flags::of(&[(Flag::Residual, epilogue.residual), (Flag::Signs, signs)]))
    }

    /// What is kept from the forward pass; after inference the residual, where a training forward would have
    /// kept signs.
    pub(super) fn kept(&self) -> Kept {
        match (self.operation, self.descriptor.epilogue.kept()) {
            (Operation::Inference | Operation::UpdateRunning, _) => Kept::Nothing,
            (Operation::FrozenBackward(_), Kept::Signs) => Kept::Residual,
            (_, kept) => kept,
        }
    }

    /// Whether it is a forward pass that a backward pass may follow.
    pub(super) fn keeps_signs(&self) -> bool {
        matches!(self.operation, Operation::Forward | Operation::Normalize)
    }

    pub(super) fn affine_flags(&self) -> Flags {
        Flags::of(&[(Flag::Gamma, self.descriptor.gamma), (Flag::Beta, self.descriptor.beta)])
    }

    /// What a forward kernel does to x and y.
    pub(super) fn forward_flags(&self) -> Flags {
        self.finish_flags().and(self.padding_flags())
    }

    /// What a forward kernel that has the statistics does with them.
    pub(super) fn outcome_flags(&self, moves: bool) -> Flags {
        let counts = self.descriptor.running.is_some_and(|running| running.has_counter());
        let Descriptor { renorm, health, .. } = self.descriptor;
        self.affine_flags().and(Flags::of(&[
            (Flag::Renorm, renorm.is_some()),
            (Flag::Health, *health),
            (Flag::Running, moves),
            (Flag::Counter, moves && counts),
        ]))
    }

    /// What the first dispatch over a window does; the first of all counts.
    pub(super) fn forward_first(&self, counts: bool, window: usize) -> Flags {
        self.padding_flags()
            .and(Flags::of(&[(Flag::Health, self.descriptor.health), (Flag::Counter, counts && window == 0)]))
    }

    /// What the dispatch does that merges the parts of a forward pass and normalises.
    pub(super) fn forward_second(&self, moves: bool) -> Flags {
        self.finish_flags().and(self.padding_flags()).and(without_counter(self.outcome_flags(moves)))
    }

    /// What the dispatch does that adds up the parts of a backward pass and computes dx.
    pub(super) fn backward_second(&self, dresidual: bool) -> Flags {
        let all = self.backward_flags(true);
        let later = [Flag::Dgamma, Flag::Dbeta, Flag::Health].map(|flag| (flag, all.has(flag)));
        let dx = Flags::of(&[(Flag::Dx, true), (Flag::Dresidual, dresidual)]);
        self.backward_flags(false).and(Flags::of(&later)).and(dx)
    }

    /// Whether the kernel that has the statistics may move the running ones itself. The cumulative average has
    /// to know the count first, groups come one after the other, and batch renormalization looks at the running
    /// statistics while others would move them.
    pub(super) fn moves_at_once(&self, geometry: Geometry) -> bool {
        let Descriptor { running, renorm, .. } = self.descriptor;
        running.is_some_and(|running| running.momentum != Momentum::Cumulative)
            && renorm.is_none()
            && geometry.groups.is_none()
    }

    /// What a backward kernel that has everything does.
    pub(super) fn backward_flags(&self, all: bool) -> Flags {
        let (wanted, frozen) = match self.operation {
            Operation::Backward(wanted) => (wanted, false),
            Operation::FrozenBackward(wanted) => (wanted, true),
            Operation::ApplyBackward => (Gradients::DX, false),
            _ => (Gradients { dx: false, dgamma: false, dbeta: false }, false),
        };
        let Descriptor { epilogue, from_y, health, renorm, padding, .. } = self.descriptor;
        let kept = self.kept();
        let activation = epilogue.activation != Activation::Identity;
        let again = activation && kept != Kept::Signs;
        let masked = if frozen { Flags::default() } else { self.padding_flags() };
        self.activation_flags().and(masked).and(Flags::of(&[
            (Flag::Frozen, frozen),
            (Flag::Gamma, self.descriptor.gamma && (wanted.dx || again || *from_y)),
            (Flag::Beta, self.descriptor.beta && (again || *from_y)),
            (Flag::Dx, wanted.dx && all),
            (Flag::Dgamma, wanted.dgamma && all),
            (Flag::Dbeta, wanted.dbeta && all),
            (Flag::Signs, kept == Kept::Signs),
            (Flag::Residual, kept == Kept::Residual),
            (Flag::Dresidual, all && epilogue.residual && activation),
            (Flag::Renorm, renorm.is_some() && !frozen),
            (Flag::Counted, (*padding != Padding::None || self.operation.is_a_step()) && !frozen),
            (Flag::FromY, *from_y),
            (Flag::Health, *health && *from_y && all),
        ]))
    }
}
