//! A model in memory: which tensors change, which go, and all the others as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wgpu_batchnorm::checkpoint::safetensors::{Dtype, SafeTensors};
use wgpu_batchnorm::checkpoint::{self, CheckpointError, Floats, Names, Tensor};
use wgpu_batchnorm::fold::{Affine, FoldError, Normalization};

use super::files::{Contents, Files};
use super::map::Mapping;
use super::{about, reading};
use crate::Failure;

pub struct Model<'a> {
    /// Each file's tensors and metadata.
    files: Vec<(SafeTensors<'a>, Option<HashMap<String, String>>)>,
    /// The file of each tensor; of one that is new, that of the weight it goes with.
    places: BTreeMap<String, usize>,
    /// That of each batch norm's framework, unless it is said.
    epsilon: Option<f64>,
    /// Batch norms may lack γ and β.
    no_affine: bool,
    /// All batch norms, by the names that --map has for them.
    norms: BTreeMap<String, Names>,
    /// Weights and biases with batch norms in them, not rounded before all are.
    changed: BTreeMap<String, Changed>,
    /// Batch norms that are in a layer now.
    folded: BTreeSet<String>,
}

struct Changed {
    floats: Floats,
    part: Part,
    /// The batch norms in it.
    norms: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Weight,
    Bias,
}

/// Which of the changed tensors are written in F32, whatever they were in.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum InF32 {
    /// Biases, which are few, and grow where the batch norm's mean is large beside its deviation.
    Biases,
    /// Weights and biases.
    All,
}

/// What became of a layer.
pub struct Folded {
    pub channels: usize,
    pub epsilon: f64,
    pub bias_is_new: bool,
}

/// Why a batch norm is not folded, with the tensor's name in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

impl<'a> Model<'a> {
    pub fn open(source: &'a Files, epsilon: Option<f64>, no_affine: bool) -> Result<Self, Failure> {
        let (mut files, mut places) = (Vec::new(), BTreeMap::new());
        for (number, (_, bytes)) in source.files.iter().enumerate() {
            let open = || Ok((checkpoint::open(bytes)?, SafeTensors::read_metadata(bytes)?.1.metadata().clone()));
            let opened = open().map_err(|error: CheckpointError| about(&source.path(number), &error.to_string()))?;
            source.check(number, &opened.0.names().into_iter().collect())?;
            places.extend(opened.0.names().into_iter().map(|name| (name.to_owned(), number)));
            files.push(opened);
        }
        let has = |name: &str| places.contains_key(name);
        let named = |prefix: String| (prefix.trim_end_matches(['.', '/']).to_owned(), Names::find(has, &prefix));
        let norms = Names::prefixes(places.keys().map(String::as_str)).into_iter().map(named).collect();
        let (changed, folded) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { files, places, epsilon, no_affine, norms, changed, folded })
    }

    /// The batch norms that are not in a layer, by name.
    pub fn norms(&self) -> Vec<String> {
        self.norms.keys().filter(|norm| !self.folded.contains(*norm)).cloned().collect()
    }

    /// Folds one batch norm into one layer.
    pub fn fold(&mut self, mapping: &Mapping) -> Result<Folded, Problem> {
        let names = self.names(&mapping.norm);
        let epsilon = self.epsilon.unwrap_or(names.framework.epsilon());
        let affine = self.affine(&names, epsilon)?;
        let format = |(_, metadata): &(_, Option<HashMap<String, String>>)| metadata.as_ref()?.get("format").cloned();
        let mlx = self.files.iter().filter_map(format).any(|format| format == "mlx");
        let layer = reading::Names::find(|name| self.has(name), &mapping.layer, mlx);
        let weight = self.floats(&layer.weight)?;
        let bias = if self.has(&layer.bias) { Some(self.floats(&layer.bias)?) } else { None };
        let folded = layer.fold(&affine, names.framework, &weight, bias.as_ref(), mapping)?;
        let bias_is_new = bias.is_none();
        let file = self.places[&layer.weight];
        self.places.entry(layer.bias.clone()).or_insert(file);
        let bias = bias.unwrap_or(Floats { dtype: weight.dtype, shape: vec![folded.bias.len()], values: vec![] });
        self.change(layer.weight, Part::Weight, Floats { values: folded.weight, ..weight }, &mapping.norm);
        self.change(layer.bias, Part::Bias, Floats { values: folded.bias, ..bias }, &mapping.norm);
        self.folded.insert(mapping.norm.clone());
        Ok(Folded { channels: affine.scale.len(), epsilon, bias_is_new })
    }

    fn change(&mut self, tensor: String, part: Part, floats: Floats, norm: &str) {
        let mut norms = self.changed.remove(&tensor).map_or_else(Vec::new, |before| before.norms);
        norms.push(norm.to_owned());
        self.changed.insert(tensor, Changed { floats, part, norms });
    }

    /// The model as it is now: the metadata and the tensors that did not change byte for byte.
    pub fn contents(&self, in_f32: Option<InF32>) -> Result<Contents<'_>, Problem> {
        let mut contents: Contents<'_> = self
            .files
            .iter()
            .map(|(file, metadata)| {
                (file.iter().map(|(name, view)| (name.to_owned(), view.into())).collect(), metadata.clone())
            })
            .collect();
        for name in self.folded.iter().flat_map(|norm| self.names(norm).all().map(str::to_owned).collect::<Vec<_>>()) {
            if let Some(file) = self.places.get(&name) {
                contents[*file].0.remove(&name);
            }
        }
        for (name, changed) in &self.changed {
            contents[self.places[name]].0.insert(name.clone(), changed.rounded(name, in_f32)?);
        }
        Ok(contents)
    }

    fn affine(&self, names: &Names, epsilon: f64) -> Result<Affine, Problem> {
        let mean = self.file(&names.mean)?.tensor(&names.mean);
        let channels = mean.map_or(0, |mean| mean.shape().iter().product());
        let read = |name: &str| Floats::read_shaped(self.file(name)?, name, &[channels]);
        let parameter = |name| match (self.has(name), self.no_affine) {
            (false, true) => Ok(None),
            (false, false) => Err(Problem(format!("{name} is missing; if that is meant to be, say --no-affine"))),
            (true, _) => Ok(Some(read(name)?)),
        };
        let (mean, variance) = (read(&names.mean)?, read(&names.variance)?);
        let (gamma, beta) = (parameter(&names.gamma)?, parameter(&names.beta)?);
        let normalization = Normalization {
            gamma: gamma.as_ref().map(|floats| floats.values.as_slice()),
            beta: beta.as_ref().map(|floats| floats.values.as_slice()),
            mean: &mean.values,
            variance: &variance.values,
            epsilon,
        };
        normalization.affine().map_err(|error| {
            let about = match error {
                FoldError::Epsilon { .. } => "--epsilon",
                FoldError::NotFinite { what: "gamma", .. } => &names.gamma,
                FoldError::NotFinite { what: "beta", .. } => &names.beta,
                FoldError::NotFinite { .. } => &names.mean,
                _ => &names.variance,
            };
            Problem(format!("{about}: {error}"))
        })
    }

    /// The tensors of a batch norm, which may not be there.
    fn names(&self, norm: &str) -> Names {
        let find = || Names::find(|name| self.has(name), &format!("{norm}."));
        self.norms.get(norm).cloned().unwrap_or_else(find)
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The file that has a tensor.
    fn file(&self, tensor: &str) -> Result<&SafeTensors<'a>, CheckpointError> {
        let missing = || CheckpointError::Missing {
            tensor: tensor.to_owned(),
            found: Names::prefixes(self.places.keys().map(String::as_str)),
        };
        self.places.get(tensor).map(|file| &self.files[*file].0).ok_or_else(missing)
    }

    /// A tensor as it is by now.
    fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        let read = || Floats::read(self.file(name)?, name);
        self.changed.get(name).map_or_else(read, |changed| Ok(changed.floats.clone()))
    }
}

impl Changed {
    /// The tensor as it is written.
    fn rounded(&self, name: &str, in_f32: Option<InF32>) -> Result<Tensor<'static>, Problem> {
        let widens = in_f32 == Some(InF32::All) || (in_f32 == Some(InF32::Biases) && self.part == Part::Bias);
        let dtype = if widens && self.floats.dtype != Dtype::F64 { Dtype::F32 } else { self.floats.dtype };
        let floats = Floats { dtype, ..self.floats.clone() };
        floats.tensor(name).map_err(|error| {
            let way_out = match (dtype, self.part) {
                (Dtype::F32 | Dtype::F64, _) => "keep this batch norm",
                (_, Part::Bias) => "say --f32 biases, or keep this batch norm",
                (_, Part::Weight) => "say --f32 all, or keep this batch norm",
            };
            Problem(format!("{error}, with {} folded into it; {way_out}", self.norms.join(" and ")))
        })
    }
}

impl From<CheckpointError> for Problem {
    fn from(error: CheckpointError) -> Self {
        Self(error.to_string())
    }
}
