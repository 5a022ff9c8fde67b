//! Random batch norms with any options, large and odd ones too; and how large each of their arguments is, worked out
//! apart from the library.

use proptest::prelude::*;
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::{
    Activation, Descriptor, Float, Layout, Mask, Momentum, NoValue, OneValue, Over, Padding, Renorm, Running,
    RunningVariance, Tensor, Types, View,
};

/// A descriptor before it is one.
#[derive(Clone, Debug)]
pub struct Case {
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub types: Types,
    pub gamma: bool,
    pub beta: bool,
    pub running: Option<Running>,
    pub padding: Padding,
    pub over: Over,
    pub renorm: Option<Renorm>,
    pub activation: Activation,
    pub residual: bool,
    pub from_y: bool,
    pub health: bool,
    pub views: Vec<(Tensor, View)>,
}

impl Case {
    pub fn descriptor(&self) -> Descriptor {
        let of = Descriptor::new(self.shape.clone(), self.layout)
            .one_value(OneValue::HasNoVariance)
            .types(self.types)
            .affine(self.gamma, self.beta)
            .running(self.running)
            .padding(self.padding)
            .over(self.over)
            .renorm(self.renorm)
            .activation(self.activation)
            .residual(self.residual)
            .backward_from_y(self.from_y)
            .health(self.health);
        self.views.iter().fold(of, |of, (tensor, view)| of.view(*tensor, view.clone()))
    }

    pub fn channels(&self) -> u128 {
        let axis = if self.layout == Layout::ChannelsFirst { 1 } else { self.shape.len() - 1 };
        self.shape[axis] as u128
    }

    /// Values of one tensor of x's shape.
    pub fn values(&self) -> u128 {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().map(|axis| *axis as u128).product() }
    }

    /// Sets of statistics that the batch gives.
    fn sets(&self) -> u128 {
        match self.over {
            Over::Batch => 1,
            Over::Groups { samples } => self.shape[0].div_ceil(samples).max(1) as u128,
            Over::Steps { .. } => self.shape[if self.layout == Layout::ChannelsFirst { 2 } else { 1 }].max(1) as u128,
        }
    }

    /// Bytes of an argument of an operation, in whole words.
    pub fn bytes(&self, operation: Operation, argument: &str) -> u128 {
        let channels = self.channels();
        let of = |float: Float| if float == Float::F32 { 4 } else { 2 };
        let tensor = |tensor: Tensor| {
            let view = self.views.iter().find(|(known, _)| *known == tensor);
            let places = match view {
                Some((_, view)) if self.values() > 0 => {
                    let ahead = |(size, stride): (&usize, &isize)| (*size as u128 - 1) * (*stride).max(0) as u128;
                    view.offset as u128 + self.shape.iter().zip(&view.strides).map(ahead).sum::<u128>() + 1
                }
                _ => self.values(),
            };
            places * of(self.types.x)
        };
        let back = matches!(
            operation,
            Operation::Backward(_)
                | Operation::FrozenBackward(_)
                | Operation::GatherBackward
                | Operation::ApplyBackward
        );
        let kept = if let Over::Steps { kept } = self.over { kept as u128 } else { 1 };
        let bytes = match argument {
            "x" if back && self.from_y => tensor(Tensor::Y),
            "gamma" | "beta" | "dgamma" | "dbeta" => channels * of(self.types.parameters),
            "running_mean" | "running_variance" => channels * kept * of(self.types.running),
            "counter" => 4,
            "health" => 16,
            "saved" => 4 * channels * self.sets() * if self.renorm.is_some() { 6 } else { 4 },
            "statistics" | "coefficients" => 12 * channels,
            "sums" | "scale_and_shift" => 8 * channels,
            "many" => match operation {
                Operation::Merge(parts) => 12 * channels * u128::from(parts),
                Operation::MergeBackward(parts) => 8 * channels * u128::from(parts),
                _ => 0,
            },
            "signs" => self.values().div_ceil(32) * 4,
            "valid" => match self.padding {
                Padding::None => 0,
                Padding::Lengths { .. } => 4 * self.shape[0] as u128,
                Padding::Mask(Mask::Bits) => (self.values() / channels).div_ceil(8),
                Padding::Mask(Mask::Bytes) => self.values() / channels,
                Padding::Mask(Mask::Words) => self.values() / channels * 4,
            },
            name => match Tensor::ALL.into_iter().find(|tensor| tensor.name() == name) {
                Some(of_shape) => tensor(of_shape),
                None => panic!("no argument is called {name}"),
            },
        };
        bytes.next_multiple_of(4)
    }
}

/// All arguments but scratch.
pub const ARGUMENTS: [&str; 22] = [
    "x",
    "y",
    "dy",
    "dx",
    "residual",
    "dresidual",
    "gamma",
    "beta",
    "dgamma",
    "dbeta",
    "running_mean",
    "running_variance",
    "counter",
    "saved",
    "statistics",
    "sums",
    "scale_and_shift",
    "coefficients",
    "many",
    "valid",
    "signs",
    "health",
];

/// Whether an operation may write an argument.
pub fn writes(operation: Operation, argument: &str) -> bool {
    use Operation::*;
    match argument {
        "y" | "dx" | "dresidual" | "dgamma" | "dbeta" | "scale_and_shift" | "coefficients" | "health" => true,
        "saved" => matches!(operation, Forward | Finalize),
        "running_mean" | "running_variance" | "counter" => matches!(operation, Forward | Finalize | UpdateRunning),
        "statistics" => matches!(operation, Gather | Merge(_)),
        "sums" => matches!(operation, GatherBackward | MergeBackward(_)),
        "signs" => matches!(operation, Forward | Normalize),
        _ => false,
    }
}

fn floats() -> impl Strategy<Value = Types> {
    let float = || prop::sample::select(&[Float::F32, Float::F16, Float::Bf16][..]);
    (float(), any::<bool>(), any::<bool>()).prop_map(|(x, parameters, running)| Types {
        x,
        parameters: if parameters { x } else { Float::F32 },
        running: if running { x } else { Float::F32 },
    })
}

fn runnings() -> impl Strategy<Value = Option<Running>> {
    use Momentum::{Cumulative, New, Old};
    let momenta = &[New(0.0), New(0.1), New(1.0), Old(0.0), Old(0.99), Old(1.0), Cumulative];
    let no_values = prop::sample::select(&[NoValue::Skipped, NoValue::CountsAsZero][..]);
    let running = (prop::sample::select(&momenta[..]), no_values, any::<bool>(), any::<bool>()).prop_map(
        |(momentum, no_value, unbiased, counts_batches)| Running {
            momentum,
            no_value,
            variance: if unbiased { RunningVariance::Unbiased } else { RunningVariance::Biased },
            counts_batches,
        },
    );
    prop_oneof![1 => Just(None), 3 => running.prop_map(Some)]
}

fn activations() -> impl Strategy<Value = Activation> {
    use Activation::*;
    prop_oneof![
        3 => Just(Identity),
        3 => prop::sample::select(&[Relu, Silu, Gelu, Sigmoid, Tanh][..]),
        1 => (-0.5..0.5_f32).prop_map(LeakyRelu),
        1 => (-2.0..0.0_f32, 0.0..2.0_f32).prop_map(|(low, high)| Clamp(low, high)),
    ]
}

fn paddings() -> impl Strategy<Value = Padding> {
    prop_oneof![
        3 => Just(Padding::None),
        2 => prop::sample::select(&[Mask::Bits, Mask::Bytes, Mask::Words][..]).prop_map(Padding::Mask),
        1 => (1..4usize).prop_map(|axis| Padding::Lengths { axis }),
    ]
}

/// One and a few, as many as there may be, and those whose bytes 32 or 64 bits do not hold.
fn odd() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1..9usize,
        1 => 1..70_000usize,
        1 => (0..64u32, 0..3usize).prop_map(|(power, less)| (1_usize << power).saturating_sub(less).max(1)),
    ]
}

fn overs(kept: impl Strategy<Value = usize>) -> impl Strategy<Value = Over> {
    prop_oneof![
        3 => Just(Over::Batch),
        1 => odd().prop_map(|samples| Over::Groups { samples }),
        1 => kept.prop_map(|kept| Over::Steps { kept }),
    ]
}

fn renorms() -> impl Strategy<Value = Option<Renorm>> {
    prop_oneof![
        3 => Just(None),
        1 => (1.0..3.0_f32, 0.0..5.0_f32).prop_map(|(r_max, d_max)| Some(Renorm { r_max, d_max })),
    ]
}

/// Strides of axes in any order, with room between them, forwards and backwards; where the tensor is only read, now
/// and then one place for all of an axis.
fn views(shape: Vec<usize>, read: bool) -> impl Strategy<Value = View> {
    let axes = shape.len();
    let order = Just((0..axes).collect::<Vec<usize>>()).prop_shuffle();
    let axis = (prop_oneof![3 => Just(0), 1 => 0..5usize], any::<bool>(), prop::bool::weighted(0.1));
    (order, prop::collection::vec(axis, axes), prop_oneof![Just(0), 0..70usize]).prop_map(
        move |(order, gaps, mut offset)| {
            let (mut strides, mut step) = (vec![0; axes], 1_usize);
            for axis in order {
                let (gap, flipped, still) = gaps[axis];
                if still && read {
                    continue;
                }
                step = step.saturating_add(gap).min(1 << 41);
                strides[axis] = if flipped { -(step as isize) } else { step as isize };
                let along = step.saturating_mul(shape[axis].saturating_sub(1));
                offset = offset.saturating_add(if flipped { along } else { 0 });
                step = step.saturating_mul(shape[axis].max(1));
            }
            View { offset, strides }
        },
    )
}

fn all_views(shape: Vec<usize>) -> impl Strategy<Value = Vec<(Tensor, View)>> {
    let of = move |tensor: Tensor| {
        let read = matches!(tensor, Tensor::X | Tensor::Dy | Tensor::Residual);
        views(shape.clone(), read).prop_map(move |view| (tensor, view))
    };
    let some = prop::sample::subsequence(&Tensor::ALL[..], 1..=6)
        .prop_flat_map(move |tensors| tensors.into_iter().map(&of).collect::<Vec<_>>());
    prop_oneof![3 => Just(vec![]), 1 => some]
}

/// Any options for these shapes, together sensible or not; and so many steps kept.
pub fn cases(
    shapes: impl Strategy<Value = Vec<usize>>,
    kept: impl Strategy<Value = usize> + Clone,
) -> impl Strategy<Value = Case> {
    let shaped = shapes.prop_flat_map(|shape| (Just(shape.clone()), all_views(shape)));
    let kept = kept.clone();
    let options = (floats(), runnings(), paddings(), overs(kept), renorms(), activations());
    let rarely = || prop::bool::weighted(0.2);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), rarely(), rarely(), rarely());
    (shaped, options, switches).prop_map(|((shape, views), options, switches)| {
        let (types, running, padding, over, renorm, activation) = options;
        let (last, gamma, beta, residual, from_y, health) = switches;
        let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        Case {
            shape,
            layout,
            types,
            gamma,
            beta,
            running,
            padding,
            over,
            renorm,
            activation,
            residual,
            from_y,
            health,
            views,
        }
    })
}

/// Shapes of up to so many values, empty ones among them.
pub fn small_shapes(values: usize) -> impl Strategy<Value = Vec<usize>> {
    let axis = prop_oneof![6 => 1..9usize, 3 => 1..40usize, 1 => Just(64), 1 => 1..700usize, 1 => Just(0)];
    prop::collection::vec(axis, 2..5)
        .prop_filter("small", move |shape| shape.iter().product::<usize>() <= values && shape[1] > 0)
        .prop_filter("channels", |shape| shape.last() != Some(&0))
}

/// Any at all.
pub fn any_shapes() -> impl Strategy<Value = Vec<usize>> {
    let axis = prop_oneof![8 => odd(), 1 => Just(0)];
    prop_oneof![1 => small_shapes(60_000), 3 => prop::collection::vec(axis, 2..6)]
}

/// Up to so many.
pub fn kept(most: usize) -> impl Strategy<Value = usize> + Clone {
    prop_oneof![1..5usize, 1..=most]
}

/// As many as one likes.
pub fn any_kept() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![1..5usize, (0..64u32).prop_map(|power| 1_usize << power), Just(usize::MAX)]
}

/// Steps of a pass too.
pub fn operations() -> impl Strategy<Value = Operation> {
    let step = prop::sample::select(
        &[
            Operation::UpdateRunning,
            Operation::Gather,
            Operation::Finalize,
            Operation::Normalize,
            Operation::GatherBackward,
            Operation::FinalizeBackward,
            Operation::ApplyBackward,
        ][..],
    );
    let parts = || prop_oneof![1..5u32, any::<u32>()];
    prop_oneof![
        4 => crate::strategies::operations(),
        2 => step,
        1 => parts().prop_map(Operation::Merge),
        1 => parts().prop_map(Operation::MergeBackward),
    ]
}
