//! The files of a model: one, or several and an index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use wgpu_batchnorm::checkpoint::{self, Tensor, safetensors};

use super::about;
use crate::Failure;

/// What the name of an index ends with.
const INDEX: &str = ".index.json";

/// Each file's tensors and metadata.
pub type Contents<'a> = Vec<(BTreeMap<String, Tensor<'a>>, Option<HashMap<String, String>>)>;

pub struct Files {
    /// The file or the index, as it was given.
    path: PathBuf,
    index: Option<Index>,
    /// Names in the folder of the path, and what is in them.
    pub files: Vec<(String, Vec<u8>)>,
}

/// An index as Hugging Face's libraries write it.
pub struct Index {
    /// All of it; more than `weight_map` and `metadata.total_size` is kept as it is.
    document: Map<String, Value>,
    /// The file of each tensor.
    pub weight_map: BTreeMap<String, String>,
}

impl Files {
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let read = |path: &Path| fs::read(path).map_err(|error| about(path, &format!("cannot be read: {error}")));
        let bytes = read(path)?;
        if !is_index(path) {
            return Ok(Self::one(path, bytes));
        }
        let index = Index::parse(&bytes).map_err(|problem| about(path, &problem))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        let files = names.into_iter().map(|name| Ok((name.clone(), read(&path.with_file_name(name))?)));
        Ok(Self { path: path.to_owned(), files: files.collect::<Result<_, Failure>>()?, index: Some(index) })
    }

    /// A model of one file, by its contents.
    pub fn one(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), index: None, files: vec![(String::new(), bytes)] }
    }

    /// For errors: a file's path.
    pub fn path(&self, file: usize) -> PathBuf {
        match &self.index {
            Some(_) => self.path.with_file_name(&self.files[file].0),
            None => self.path.clone(),
        }
    }

    /// Checks that a tensor is where the index says, and that the index has it.
    pub fn check(&self, file: usize, tensors: &BTreeSet<&str>) -> Result<(), Failure> {
        let Some(index) = &self.index else { return Ok(()) };
        let name = &self.files[file].0;
        let said = index.weight_map.iter().filter(|(_, file)| *file == name).map(|(tensor, _)| tensor.as_str());
        match said.collect::<BTreeSet<_>>().symmetric_difference(tensors).next() {
            None => Ok(()),
            Some(tensor) => Err(about(
                &self.path,
                &format!("{tensor} is in only one of {name} and what this index says of it; download both again"),
            )),
        }
    }

    /// Where the result goes if nothing is said: beside the model.
    pub fn default_target(&self) -> PathBuf {
        match &self.index {
            Some(_) => self.path.with_file_name(format!("{}.folded.safetensors{INDEX}", stem(&self.path))),
            None => self.path.with_extension("folded.safetensors"),
        }
    }

    /// Whether a path is the model's, or one of its files'.
    pub fn has(&self, path: &Path) -> bool {
        let same = |one: &Path| matches!((one.canonicalize(), path.canonicalize()), (Ok(a), Ok(b)) if a == b);
        same(&self.path) || (0..self.files.len()).any(|file| same(&self.path(file)))
    }

    /// Writes a model of the same files, or, where the target is not called an index, of one. Those of an index get
    /// names that nothing has yet and the index comes last, so that it never names old and new ones at once; then those
    /// that the index named before go.
    pub fn write(&self, contents: Contents<'_>, target: &Path, in_place: bool) -> Result<(), Failure> {
        if !is_index(target) {
            let metadata = contents.first().and_then(|(_, metadata)| metadata.clone());
            let tensors: BTreeMap<_, _> = contents.into_iter().flat_map(|(tensors, _)| tensors).collect();
            return Ok(checkpoint::write(target, tensors, metadata)?);
        }
        let Some(index) = &self.index else {
            return Err(about(target, "is an index, but the model is one file; end the name with .safetensors"));
        };
        let before = fs::read(target).ok().and_then(|bytes| Index::parse(&bytes).ok());
        let names = new_names(target, contents.len());
        let mut weight_map = BTreeMap::new();
        let (mut files, mut total) = (Vec::new(), 0);
        for ((tensors, metadata), name) in contents.into_iter().zip(&names) {
            for (tensor, data) in &tensors {
                weight_map.insert(tensor.clone(), name.clone());
                total += safetensors::View::data_len(data);
            }
            let bytes = safetensors::serialize(tensors, metadata).map_err(checkpoint::CheckpointError::from)?;
            files.push((target.with_file_name(name), bytes));
        }
        let mut document = index.document.clone();
        if let Some(size) = document.get_mut("metadata").and_then(|metadata| metadata.get_mut("total_size")) {
            *size = json!(total);
        }
        document.insert("weight_map".to_owned(), json!(weight_map));
        files.push((target.to_owned(), format!("{:#}\n", Value::Object(document)).into_bytes()));
        checkpoint::replace(files)?;
        for name in before.iter().flat_map(|before| before.weight_map.values()).collect::<BTreeSet<_>>() {
            let path = target.with_file_name(name);
            if !names.contains(name) && (in_place || !self.has(&path)) {
                // A file that nothing names does no harm.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

impl Index {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = |what: String| format!("{what}; it must be an index of safetensors files, with a weight_map");
        let document: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        let weight_map = document.get("weight_map").cloned().unwrap_or_default();
        let weight_map: BTreeMap<String, String> =
            serde_json::from_value(weight_map).map_err(|error| wrong(format!("weight_map: {error}")))?;
        // Only files of the same folder are read, replaced and removed.
        let elsewhere = |name: &&String| {
            Path::new(name).file_name().is_none_or(|file| file != name.as_str()) || !name.ends_with(".safetensors")
        };
        if let Some(name) = weight_map.values().find(elsewhere) {
            return Err(wrong(format!("{name:?} is no name of a safetensors file in the same folder")));
        }
        if weight_map.is_empty() {
            return Err(wrong("it names no tensors".to_owned()));
        }
        Ok(Self { document, weight_map })
    }
}

fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX))
}

/// The name of an index without its endings.
fn stem(index: &Path) -> String {
    let name = index.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(INDEX).unwrap_or(&name);
    stem.strip_suffix(".safetensors").unwrap_or(stem).to_owned()
}

/// Names beside an index that no file has.
fn new_names(index: &Path, count: usize) -> Vec<String> {
    let stem = stem(index);
    let mut names = Vec::new();
    for version in 1.. {
        let version = if version == 1 { String::new() } else { format!(".{version}") };
        names = (1..=count).map(|i| format!("{stem}{version}-{i:05}-of-{count:05}.safetensors")).collect();
        if !names.iter().any(|name| index.with_file_name(name).symlink_metadata().is_ok()) {
            break;
        }
    }
    names
}
