//! What is normalised: shapes with options, and which data they get.

use wgpu_batchnorm::verify::Problem;
use wgpu_batchnorm::{
    Activation, Convention, Descriptor, Float, Layout, Mask, Momentum, Over, Padding, Running, Tensor, Types, View,
};

use super::data::{DISTRIBUTIONS, Data, ENDS_CUT, NORMAL, NOT_FINITE, NOTHING_VALID, ONE_VALID};
use super::shapes::{KEPT, PAIR, RENORM, STEPS, UNPAIRED};

/// A batch norm and the data that it gets.
#[derive(Clone)]
pub struct Subject {
    pub axes: &'static str,
    pub descriptor: Descriptor,
    /// Of the normally distributed values that the data is made of.
    pub mean: f32,
    pub deviation: f32,
    pub data: Data,
}

impl Subject {
    /// Of all random values. Any will do.
    pub const SEED: u64 = 1;

    /// Axes as in `NCHW` or `NHWC`; data around 0.5 with a standard deviation of 1.
    pub fn new(axes: &'static str, shape: &[usize]) -> Self {
        let layout = if axes.starts_with("NC") { Layout::ChannelsFirst } else { Layout::ChannelsLast };
        Self { axes, descriptor: Descriptor::new(shape, layout), mean: 0.5, deviation: 1.0, data: NORMAL }
    }

    pub fn with(&self, change: impl FnOnce(Descriptor) -> Descriptor) -> Self {
        Self { descriptor: change(self.descriptor.clone()), ..self.clone() }
    }

    /// The problem, with the same data on every run.
    pub fn problem(&self) -> Problem {
        (self.data.of)(Problem::random(self.descriptor.clone(), self.mean, self.deviation, Self::SEED))
    }
}

/// Each with each change.
pub fn each(subjects: &[Subject], changes: &[fn(Descriptor) -> Descriptor]) -> Vec<Subject> {
    subjects.iter().flat_map(|one| changes.iter().map(|change| one.with(change))).collect()
}

pub fn in_types(shapes: &[(&'static str, &[usize])], types: &[Types]) -> Vec<Subject> {
    subjects(shapes).iter().flat_map(|one| types.iter().map(|types| one.with(|it| it.types(*types)))).collect()
}

/// Under every mask, by lengths along every axis, and with nothing valid, by PyTorch's rule and by Keras'.
pub fn padded(one: &Subject) -> Vec<Subject> {
    let rank = one.descriptor.shape().len();
    let channel = if one.descriptor.layout() == Layout::ChannelsFirst { 1 } else { rank - 1 };
    let lengths = (1..rank).filter(|axis| *axis != channel).map(|axis| Padding::Lengths { axis });
    let all = [Mask::Bits, Mask::Bytes, Mask::Words].map(Padding::Mask).into_iter().chain(lengths);
    let some = all.map(|padding| one.with(|it| it.padding(padding)));
    let none = one.with(|it| it.padding(Padding::Mask(Mask::Bits)));
    let keras = none.with(|it| it.running(Convention::Keras.running()));
    some.chain([none, keras].map(|one| Subject { data: NOTHING_VALID, ..one })).collect()
}

/// Data that is not normally distributed, and around 10⁶ of which the first, the middle and the last values are padding.
pub fn distributed(one: &Subject) -> Vec<Subject> {
    let masked = one.with(|it| it.padding(Padding::Mask(Mask::Bits)));
    let padded = [1e3, 1e6].map(|mean| Subject { mean, data: ENDS_CUT, ..masked.clone() });
    DISTRIBUTIONS.into_iter().map(|data| Subject { data, ..one.clone() }).chain(padded).collect()
}

/// What health counts: values that are not finite (at padding they are no harm), and units of one value.
pub fn unhealthy(one: &Subject) -> Vec<Subject> {
    let dense = one.with(|it| it.health(true));
    let masked = dense.with(|it| it.padding(Padding::Mask(Mask::Words)));
    vec![
        dense.clone(),
        Subject { data: NOT_FINITE, ..dense },
        Subject { data: NOT_FINITE, ..masked.clone() },
        Subject { data: ONE_VALID, ..masked },
    ]
}

/// A few of everything, as far as it goes together.
pub fn all_together() -> Vec<Subject> {
    let pair = [subjects(&PAIR), subjects(&UNPAIRED)].concat();
    let viewed = sliced(&pair).into_iter().map(|one| {
        one.with(|it| it.types(Types::mixed(Float::F16)).activation(Activation::Relu).residual(true).health(true))
    });
    let grouped = each(
        &pair,
        &[|it| {
            let it = it.over(Over::Groups { samples: 2 }).padding(Padding::Mask(Mask::Bits)).renorm(RENORM);
            it.types(Types::all(Float::Bf16)).activation(Activation::Gelu).residual(true).running(averaged())
        }],
    );
    let stepped = each(
        &subjects(&STEPS),
        &[|it| {
            let it = it.over(Over::Steps { kept: KEPT }).padding(Padding::Lengths { axis: 1 });
            it.types(Types::mixed(Float::Bf16)).activation(Activation::Clamp(-0.5, 1.0)).residual(true).health(true)
        }],
    );
    // (In channels first the steps are the third axis.)
    let stepped = stepped.into_iter().map(|one| match one.descriptor.layout() {
        Layout::ChannelsFirst => one.with(|it| it.padding(Padding::Lengths { axis: 2 })),
        Layout::ChannelsLast => one,
    });
    viewed.chain(grouped).chain(stepped).collect()
}

/// PyTorch's average over all batches.
pub fn averaged() -> Running {
    Running { momentum: Momentum::Cumulative, ..Convention::PyTorch.running() }
}

/// All tensors are the middle third of the channels of larger ones.
pub fn sliced(subjects: &[Subject]) -> Vec<Subject> {
    subjects.iter().map(|one| with_views(one, |_| slice(one.descriptor.shape(), channel_axis(one)))).collect()
}

/// All tensors lying in each way, then each in a way of its own; with a residual, so that all there are take part.
pub fn viewed(one: &Subject) -> Vec<Subject> {
    let one = one.with(|it| it.residual(true).activation(Activation::Silu));
    let shape = one.descriptor.shape();
    let axis = channel_axis(&one);
    let views = [slice(shape, axis), crop(shape), permuted(shape, axis), flip(shape)];
    let alike = views.each_ref().map(|view| with_views(&one, |_| view.clone()));
    let own = with_views(&one, |i| views[i % views.len()].clone());
    let signs = own.with(|it| it.activation(Activation::LeakyRelu(0.1)));
    // One row of values for all, and one value a row.
    let last = shape.len() - 1;
    let spread = [0, last].map(|axis| {
        let mut view = View::of_dense(shape, &[]);
        view.strides[axis] = 0;
        one.with(|it| it.view(Tensor::Residual, view))
    });
    alike.into_iter().chain([own, signs]).chain(spread).collect()
}

pub fn with_views(one: &Subject, view: impl Fn(usize) -> View) -> Subject {
    one.with(|it| Tensor::ALL.into_iter().enumerate().fold(it, |it, (i, tensor)| it.view(tensor, view(i))))
}

pub fn channel_axis(one: &Subject) -> usize {
    if one.descriptor.layout() == Layout::ChannelsFirst { 1 } else { one.descriptor.shape().len() - 1 }
}

/// The middle third of an axis of a larger tensor.
pub fn slice(shape: &[usize], axis: usize) -> View {
    let (mut whole, mut start) = (shape.to_vec(), vec![0; shape.len()]);
    (whole[axis], start[axis]) = (3 * shape[axis], shape[axis]);
    View::of_dense(&whole, &start)
}

/// Without the margin of a tensor that is larger along every axis.
pub fn crop(shape: &[usize]) -> View {
    View::of_dense(&shape.iter().map(|size| size + 3).collect::<Vec<_>>(), &vec![1; shape.len()])
}

/// In memory with the channels at the other end.
pub fn permuted(shape: &[usize], axis: usize) -> View {
    let mut order: Vec<usize> = (0..shape.len()).filter(|i| *i != axis).collect();
    order.insert(if axis == 1 { shape.len() - 1 } else { 1 }, axis);
    let dense = View::of_dense(&order.iter().map(|axis| shape[*axis]).collect::<Vec<_>>(), &[]);
    let back: Vec<usize> = (0..shape.len()).map(|axis| order.iter().position(|i| *i == axis).unwrap_or(axis)).collect();
    dense.permuted(&back).expect("each axis once")
}

/// The last two axes backwards.
pub fn flip(shape: &[usize]) -> View {
    let View { mut offset, mut strides } = View::of_dense(shape, &[]);
    for axis in shape.len() - 2..shape.len() {
        offset += (shape[axis] - 1) * strides[axis].unsigned_abs();
        strides[axis] = -strides[axis];
    }
    View { offset, strides }
}

pub fn subjects(shapes: &[(&'static str, &[usize])]) -> Vec<Subject> {
    shapes.iter().map(|(axes, shape)| Subject::new(axes, shape)).collect()
}

/// Units that meet within a load, or have copies, with what bears on that.
pub fn joined_with_options(shapes: &[(&'static str, &[usize])]) -> Vec<Subject> {
    each(
        &subjects(shapes),
        &[
            |it| it.types(Types::mixed(Float::F16)).activation(Activation::Relu).residual(true),
            |it| it.types(Types::all(Float::Bf16)).activation(Activation::Silu).residual(true),
            |it| it.activation(Activation::Relu).residual(true).health(true),
            |it| it.backward_from_y(true).activation(Activation::LeakyRelu(0.1)).health(true),
            |it| it.affine(false, false).renorm(RENORM).running(averaged()),
        ],
    )
}

/// None; PyTorch's with its counter and as an average over all batches; those of the frameworks.
pub fn conventions() -> Vec<Option<Running>> {
    let pytorch = Convention::PyTorch.running();
    let own = [
        None,
        Some(Running { counts_batches: true, ..pytorch }),
        Some(Running { momentum: Momentum::Cumulative, ..pytorch }),
    ];
    own.into_iter().chain(Convention::ALL.map(|convention| Some(convention.running()))).collect()
}
