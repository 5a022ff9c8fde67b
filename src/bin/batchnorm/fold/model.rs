//! A model file in memory: which tensors change, which go, and all the others as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use wgpu_batchnorm::checkpoint::safetensors::SafeTensors;
use wgpu_batchnorm::checkpoint::{self, CheckpointError, Floats, Tensor};
use wgpu_batchnorm::fold::{self, Affine, FoldError, Layer, Normalization, Padding};

use super::map::{Mapping, Order};

pub struct Model<'a> {
    file: SafeTensors<'a>,
    metadata: Option<HashMap<String, String>>,
    epsilon: f64,
    /// Batch norms may lack `weight` and `bias`.
    no_affine: bool,
    /// Weights and biases with batch norms in them, not rounded before all are.
    changed: BTreeMap<String, Floats>,
    /// Batch norms that are in a layer now.
    folded: BTreeSet<String>,
}

/// What became of a layer.
pub struct Folded {
    pub channels: usize,
    pub bias_is_new: bool,
}

/// Why a batch norm is not folded, with the tensor's name in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl<'a> Model<'a> {
    pub fn open(bytes: &'a [u8], epsilon: f64, no_affine: bool) -> Result<Self, CheckpointError> {
        let metadata = SafeTensors::read_metadata(bytes)?.1.metadata().clone();
        let file = SafeTensors::deserialize(bytes)?;
        Ok(Self { file, metadata, epsilon, no_affine, changed: BTreeMap::new(), folded: BTreeSet::new() })
    }

    /// The batch norms that are not in a layer, by name.
    pub fn norms(&self) -> Vec<String> {
        let norms = self.file.names().into_iter().filter_map(|name| name.strip_suffix(".running_mean"));
        let mut norms: Vec<String> = norms.filter(|norm| !self.folded.contains(*norm)).map(str::to_owned).collect();
        norms.sort();
        norms
    }

    /// Folds one batch norm into one layer.
    pub fn fold(&mut self, mapping: &Mapping) -> Result<Folded, Problem> {
        let affine = self.affine(&mapping.norm)?;
        let [weight_name, bias_name] = ["weight", "bias"].map(|part| format!("{}.{part}", mapping.layer));
        let weight = self.floats(&weight_name)?;
        let bias = if self.has(&bias_name) { Some(self.floats(&bias_name)?) } else { None };
        let layer = Layer { weight: &weight.values, shape: &weight.shape, bias: values(&bias) };
        let linear = weight.shape.len() == 2;
        let folded = match mapping.order {
            Order::LayerFirst => fold::into_previous(&affine, &layer),
            Order::NormFirst { groups, padding } => {
                fold::into_next(&affine, &layer, groups, if linear { Padding::None } else { padding })
            }
        };
        let folded = folded.map_err(|error| Problem::of_layer(&weight_name, &bias_name, error))?;
        let bias_is_new = bias.is_none();
        let bias = bias.unwrap_or(Floats { dtype: weight.dtype, shape: vec![folded.bias.len()], values: vec![] });
        self.changed.insert(weight_name, Floats { values: folded.weight, ..weight });
        self.changed.insert(bias_name, Floats { values: folded.bias, ..bias });
        self.folded.insert(mapping.norm.clone());
        Ok(Folded { channels: affine.scale.len(), bias_is_new })
    }

    /// Writes the model as it is now: the metadata and the tensors that did not change byte for byte.
    pub fn write(self, path: &Path) -> Result<(), CheckpointError> {
        let mut tensors: BTreeMap<String, Tensor<'_>> =
            self.file.iter().map(|(name, view)| (name.to_owned(), view.into())).collect();
        for name in self.folded.iter().flat_map(|norm| PARTS.map(|part| format!("{norm}.{part}"))) {
            tensors.remove(&name);
        }
        for (name, floats) in &self.changed {
            tensors.insert(name.clone(), floats.tensor(name)?);
        }
        checkpoint::write(path, tensors, self.metadata)
    }

    fn affine(&self, norm: &str) -> Result<Affine, Problem> {
        let names = PARTS.map(|part| format!("{norm}.{part}"));
        let [gamma_name, beta_name, mean_name, variance_name, _] = &names;
        let channels = self.file.tensor(mean_name).map_or(0, |mean| mean.shape().iter().product());
        let read = |name: &str| Floats::read_shaped(&self.file, name, &[channels]);
        let parameter = |name| match (self.has(name), self.no_affine) {
            (false, true) => Ok(None),
            (false, false) => Err(Problem(format!("{name} is missing; if that is meant to be, say --no-affine"))),
            (true, _) => Ok(Some(read(name)?)),
        };
        let (mean, variance) = (read(mean_name)?, read(variance_name)?);
        let (gamma, beta) = (parameter(gamma_name)?, parameter(beta_name)?);
        let normalization = Normalization {
            gamma: values(&gamma),
            beta: values(&beta),
            mean: &mean.values,
            variance: &variance.values,
            epsilon: self.epsilon,
        };
        normalization.affine().map_err(|error| match error {
            FoldError::Epsilon { .. } => Problem(format!("--epsilon: {error}")),
            FoldError::NotFinite { what: "gamma", .. } => Problem(format!("{gamma_name}: {error}")),
            FoldError::NotFinite { what: "beta", .. } => Problem(format!("{beta_name}: {error}")),
            FoldError::NotFinite { .. } => Problem(format!("{mean_name}: {error}")),
            error => Problem(format!("{variance_name}: {error}")),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.changed.contains_key(name) || self.file.tensor(name).is_ok()
    }

    /// A tensor as it is by now.
    fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        self.changed.get(name).map_or_else(|| Floats::read(&self.file, name), |floats| Ok(floats.clone()))
    }
}

/// What a batch norm has in a file.
const PARTS: [&str; 5] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];

fn values(floats: &Option<Floats>) -> Option<&[f64]> {
    floats.as_ref().map(|floats| floats.values.as_slice())
}

impl Problem {
    fn of_layer(weight: &str, bias: &str, error: FoldError) -> Self {
        let of_bias = matches!(error, FoldError::Length { .. } | FoldError::Folded { what: "bias", .. });
        let tensor = if of_bias { bias } else { weight };
        let hint = match error {
            FoldError::ZeroPadding { .. } => "; if it pads nothing, or with values of its input, map it with :unpadded",
            FoldError::Inputs { .. } => "; map a grouped convolution with :groups=N",
            _ => "",
        };
        Self(format!("{tensor}: {error}{hint}"))
    }
}

impl From<CheckpointError> for Problem {
    fn from(error: CheckpointError) -> Self {
        Self(error.to_string())
    }
}
