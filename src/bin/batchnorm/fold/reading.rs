//! What the axes of a layer's weight can be: frameworks order them differently, and their names for the weight say
//! which framework it was, but not always what kind of convolution.

use wgpu_batchnorm::checkpoint::{Floats, Framework};
use wgpu_batchnorm::fold::{self, Affine, Axes, FoldError, Folded, Layer, Padding};

use super::map::{Kind, Mapping, Order};
use super::model::Problem;

/// A layer's tensors by their names, and in what order frameworks that call the weight so have its axes.
pub struct Names {
    pub weight: String,
    pub bias: String,
    family: Family,
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    /// Channels before the kernel.
    PyTorch,
    /// Output channels before the kernel, input channels behind it.
    Mlx,
    /// Channels behind the kernel.
    Keras,
    KerasDepthwise,
    /// The second half of a separable convolution. What is before it is before its first half.
    KerasPointwise,
}

/// Names of weights and biases, the pointwise half of a separable convolution before the depthwise one.
const NAMES: [(&str, &str, Family); 7] = [
    ("weight", "bias", Family::PyTorch),
    ("kernel", "bias", Family::Keras),
    ("pointwise_kernel", "bias", Family::KerasPointwise),
    ("depthwise_kernel", "bias", Family::KerasDepthwise),
    ("weights", "biases", Family::Keras),
    ("pointwise_weights", "biases", Family::KerasPointwise),
    ("depthwise_weights", "biases", Family::KerasDepthwise),
];

impl Names {
    /// The tensors of a layer, by the names that the file has, or by PyTorch's if none.
    pub fn find(has: impl Fn(&str) -> bool, layer: &str, mlx: bool) -> Self {
        let prefixes = ["", "params.", "params/"].map(|collection| format!("{collection}{layer}"));
        for (weight, bias, family) in NAMES {
            for prefix in &prefixes {
                for (separator, ending) in [(".", ""), ("/", ""), (".", ":0"), ("/", ":0")] {
                    let [weight, bias] = [weight, bias].map(|part| format!("{prefix}{separator}{part}{ending}"));
                    if has(&weight) {
                        let family = if mlx && family == Family::PyTorch { Family::Mlx } else { family };
                        return Self { weight, bias, family };
                    }
                }
            }
        }
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{layer}.{part}"));
        Self { weight, bias, family: Family::PyTorch }
    }

    /// Folds a batch norm into the layer. What its weight can be, as far as its shape and the mapping say, must all
    /// come to the same.
    pub fn fold(
        &self,
        affine: &Affine,
        norm: Framework,
        weight: &Floats,
        bias: Option<&Floats>,
        mapping: &Mapping,
    ) -> Result<Folded, Problem> {
        let channels = affine.scale.len();
        let linear = weight.shape.len() == 2;
        let fold = |(kind, axes, groups)| {
            let bias = bias.map(|bias| bias.values.as_slice());
            let layer = Layer { weight: &weight.values, shape: &weight.shape, axes, groups, bias };
            let folded = match mapping.order {
                Order::LayerFirst => fold::into_previous(affine, &layer),
                Order::NormFirst(_) if kind == Kind::Transposed => fold::into_next(affine, &layer, Padding::Zeros),
                Order::NormFirst(_) if linear => fold::into_next(affine, &layer, Padding::None),
                Order::NormFirst(padding) => fold::into_next(affine, &layer, padding),
            };
            (kind, folded)
        };
        let all: Vec<_> = self.readings(norm, &weight.shape, channels, mapping).into_iter().map(fold).collect();
        let fits = |folded: &Result<Folded, FoldError>| {
            !matches!(
                folded,
                Err(FoldError::Outputs { .. }
                    | FoldError::Inputs { .. }
                    | FoldError::Groups { .. }
                    | FoldError::Length { .. })
            )
        };
        let possible: Vec<_> = all.iter().filter(|(_, folded)| fits(folded)).collect();
        if let [(first, one), others @ ..] = possible.as_slice()
            && let Some((other, _)) = others.iter().find(|(_, other)| other != one)
        {
            return Err(self.ambiguous(&weight.shape, [*first, *other], mapping));
        }
        match possible.first().copied().or(all.first()) {
            Some((_, folded)) => folded.clone().map_err(|error| self.problem(error)),
            None => Err(Problem(format!(
                "{}: a weight of shape {:?} and this name is no {} convolution's",
                self.weight,
                weight.shape,
                mapping.kind.map_or("", Kind::name)
            ))),
        }
    }

    fn ambiguous(&self, shape: &[usize], kinds: [Kind; 2], mapping: &Mapping) -> Problem {
        let Mapping { norm, layer, .. } = mapping;
        let [one, other] = kinds.map(Kind::name);
        let is = format!("{}: its shape {shape:?} cannot tell", self.weight);
        Problem(match kinds {
            [a, b] if a == b => format!("{is} its input from its output channels; keep this batch norm"),
            _ => format!(
                "{is} what kind of convolution it is, and these fold differently; map it with :{one} or :{other}, as in \
                 {norm}={layer}:{one} (and :groups=N, where a transposed one has groups)"
            ),
        })
    }

    fn problem(&self, error: FoldError) -> Problem {
        let of_bias = matches!(error, FoldError::Length { .. } | FoldError::Folded { what: "bias", .. });
        let tensor = if of_bias { &self.bias } else { &self.weight };
        let hint = match error {
            FoldError::ZeroPadding { .. } => {
                "; if it is not transposed and pads nothing, or with values of its input, map it with :unpadded"
            }
            FoldError::Inputs { .. } => "; map a grouped convolution with :groups=N",
            FoldError::Outputs { .. } => "; a transposed convolution is mapped with :transposed, with groups :groups=N",
            _ => "",
        };
        Problem(format!("{tensor}: {error}{hint}"))
    }

    /// What the weight can be: kind, axes and groups. `norm` is whose names the batch norm has.
    fn readings(
        &self,
        norm: Framework,
        shape: &[usize],
        channels: usize,
        mapping: &Mapping,
    ) -> Vec<(Kind, Axes, usize)> {
        let groups = mapping.groups.unwrap_or(1);
        // A transposed convolution's groups are those that fit, unless the mapping says what it is.
        let fitting = match (mapping.kind, mapping.groups, mapping.order, shape) {
            (None, None, Order::LayerFirst, [_, part, ..]) => channels / part.max(&1),
            _ => groups,
        };
        let linear = shape.len() == 2;
        let all = match self.family {
            Family::PyTorch if linear => vec![(Kind::Convolution, Axes::OutIn, groups)],
            Family::PyTorch => vec![
                (Kind::Convolution, Axes::OutIn, groups),
                (Kind::Depthwise, Axes::OutIn, channels),
                (Kind::Transposed, Axes::InOut, fitting),
            ],
            Family::Mlx => Kind::ALL.map(|kind| (kind, Axes::OutLastIn, groups)).to_vec(),
            Family::KerasDepthwise => vec![(Kind::Depthwise, Axes::Depthwise, 1)],
            Family::KerasPointwise if mapping.order == Order::LayerFirst => {
                vec![(Kind::Convolution, Axes::LastInOut, 1)]
            }
            Family::KerasPointwise => vec![],
            Family::Keras if linear => vec![(Kind::Convolution, Axes::LastInOut, groups)],
            Family::Keras if norm == Framework::Flax => vec![
                (Kind::Convolution, Axes::LastInOut, groups),
                (Kind::Depthwise, Axes::LastInOut, channels),
                (Kind::Transposed, Axes::LastInOut, groups),
                (Kind::Transposed, Axes::LastOutIn, groups),
            ],
            Family::Keras => vec![
                (Kind::Convolution, Axes::LastInOut, groups),
                (Kind::Depthwise, Axes::Depthwise, 1),
                (Kind::Transposed, Axes::LastOutIn, groups),
            ],
        };
        let unpadded = mapping.order == Order::NormFirst(Padding::None);
        let meant = |kind| mapping.kind.map_or(!(unpadded && kind == Kind::Transposed), |told| told == kind);
        all.into_iter().filter(|(kind, ..)| meant(*kind)).collect()
    }
}
