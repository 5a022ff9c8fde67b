//! The order of axes in which memory has x, whatever order its shape names them in.

use std::borrow::Cow;

use super::{Descriptor, Layout, Padding, Tensor, View};

impl Descriptor {
    /// The same batch norm with its channel axis where `leader` has it in memory, so that `[N, C, H, W]` whose view
    /// puts the channels of a pixel side by side is `[N, H, W, C]`. Positions keep their order, and so do masks.
    /// Tensors that are dense in that order have no view any more.
    ///
    /// Statistics of steps are saved in the order of the shape, which therefore stays.
    pub(crate) fn in_memory_order(&self, leader: Tensor) -> Cow<'_, Self> {
        if self.views.is_empty() || self.shape.contains(&0) {
            return Cow::Borrowed(self);
        }
        let Some([from, to]) = self.channel_moves(leader) else { return Cow::Borrowed(self) };
        let order = moved((0..self.shape.len()).collect(), from, to);
        let shape = moved(self.shape.clone(), from, to);
        let dense = View::dense(&self.shape);
        let views =
            Tensor::ALL.into_iter().map(|tensor| (tensor, self.view_of(tensor).unwrap_or(&dense).in_order(&order)));
        let views = views.filter(|(_, view)| !view.is_dense(&shape)).collect();
        let layout = match (from, to) {
            (from, to) if from < to => Layout::ChannelsLast,
            (from, to) if from > to => Layout::ChannelsFirst,
            _ => self.layout,
        };
        let padding = match self.padding {
            Padding::Lengths { axis } => {
                Padding::Lengths { axis: order.iter().position(|&old| old == axis).unwrap_or(axis) }
            }
            padding => padding,
        };
        Cow::Owned(Self { shape, layout, views, padding, ..self.clone() })
    }

    /// How the bits of [`Kept::Signs`](super::Kept::Signs) lie: dense, with the channel axis where x has it in memory.
    #[cfg(feature = "gpu")]
    pub(crate) fn view_of_signs(&self) -> View {
        match self.channel_moves(Tensor::X) {
            Some([from, to]) => {
                let view = View::dense(&moved(self.shape.clone(), from, to));
                View { strides: moved(view.strides, to, from), ..view }
            }
            None => View::dense(&self.shape),
        }
    }

    /// From where to where the channel axis moves, for x to be walked as it lies; `None` where steps keep it.
    fn channel_moves(&self, leader: Tensor) -> Option<[usize; 2]> {
        let from = self.channel_axis().filter(|axis| *axis < self.shape.len())?;
        let stay = Some([from, from]);
        let Some(view) = self.view_of(leader) else { return stay };
        if matches!(self.over, super::Over::Steps { .. }) {
            return None;
        }
        let stride = |axis: usize| view.strides[axis].unsigned_abs();
        let mut inner = (1..self.shape.len()).filter(|&axis| axis != from && self.shape[axis] > 1).peekable();
        if inner.peek().is_none() || self.shape[from] == 1 {
            return stay;
        }
        match self.layout {
            Layout::ChannelsFirst if inner.all(|axis| stride(axis) > stride(from)) => {
                Some([from, self.shape.len() - 1])
            }
            Layout::ChannelsLast if inner.all(|axis| stride(axis) < stride(from)) => Some([from, 1]),
            _ => stay,
        }
    }
}

/// The same axes, one of them in another place.
fn moved<T>(mut axes: Vec<T>, from: usize, to: usize) -> Vec<T> {
    let axis = axes.remove(from);
    axes.insert(to, axis);
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::{Mask, Over};

    /// `[8, 64, 7, 5]` whose pixels have their channels side by side.
    fn images() -> Descriptor {
        let view = View::of_dense(&[8, 7, 5, 64], &[]).in_order(&[0, 3, 1, 2]);
        let images = Descriptor::new([8, 64, 7, 5], Layout::ChannelsFirst);
        Tensor::ALL.into_iter().fold(images, |images, tensor| images.view(tensor, view.clone()))
    }

    #[test]
    fn channels_side_by_side_are_channels_last() {
        let lying = images().in_memory_order(Tensor::X).into_owned();
        assert_eq!(lying, Descriptor::new([8, 7, 5, 64], Layout::ChannelsLast));
    }

    #[test]
    fn what_is_not_dense_keeps_a_view() {
        let of = images().view(Tensor::Y, View::dense(&[8, 64, 7, 5]));
        let lying = of.in_memory_order(Tensor::X);
        let view = View { offset: 0, strides: vec![64 * 35, 5, 1, 35] };
        assert_eq!(*lying, Descriptor::new([8, 7, 5, 64], Layout::ChannelsLast).view(Tensor::Y, view));
    }

    #[test]
    fn planes_of_channels_are_channels_first() {
        let view = View::of_dense(&[8, 64, 7, 5], &[]).in_order(&[0, 2, 3, 1]);
        let of = Descriptor::new([8, 7, 5, 64], Layout::ChannelsLast).padding(Padding::Lengths { axis: 2 });
        let of = Tensor::ALL.into_iter().fold(of, |of, tensor| of.view(tensor, view.clone()));
        let lying = Descriptor::new([8, 64, 7, 5], Layout::ChannelsFirst).padding(Padding::Lengths { axis: 3 });
        assert_eq!(*of.in_memory_order(Tensor::X), lying);
    }

    #[test]
    fn a_dense_view_is_none() {
        let of = Descriptor::new([30, 4], Layout::ChannelsFirst).padding(Padding::Mask(Mask::Bits));
        assert_eq!(*of.clone().view(Tensor::X, View::dense(&[30, 4])).in_memory_order(Tensor::X), of);
    }

    #[test]
    fn steps_and_empty_batches_stay() {
        let view = View { offset: 0, strides: vec![12, 1, 4] };
        let steps = Descriptor::new([2, 4, 3], Layout::ChannelsFirst).over(Over::Steps { kept: 3 });
        let steps = steps.view(Tensor::X, view);
        assert_eq!(*steps.in_memory_order(Tensor::X), steps);
        let empty = images().of_shape([0, 64, 7, 5]);
        assert_eq!(*empty.in_memory_order(Tensor::X), empty);
    }
}
