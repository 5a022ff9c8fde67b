//! Recorded cases as they lie on disk: safetensors whose metadata says `format` = `bn-case/1`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use wgpu_batchnorm::checkpoint::{self, CheckpointError};
use wgpu_batchnorm::{Float, Layout};

/// One recorded call.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    pub op: String,
    /// `core`, `edge` or `error`.
    pub grade: String,
    path: PathBuf,
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, Tensor>,
}

/// A tensor of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Values,
}

/// A tensor's values, where they are of a type that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// F32, and F16 and BF16, of which every value is one of f32's.
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Other(Dtype),
}

/// A folder or a file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    pub problem: String,
}

impl FileError {
    pub fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into() }
    }
}

/// All cases of a folder, by name.
pub fn read_folder(folder: &Path) -> Result<Vec<Case>, FileError> {
    let failed = |error: std::io::Error| FileError::new(folder, format!("{error}; give a folder of recorded cases"));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "safetensors") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(FileError::new(folder, "has no *.safetensors files; give a folder of recorded cases"));
    }
    paths.sort();
    paths.iter().map(|path| Case::read(path)).collect()
}

impl Case {
    fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = fs::read(path).map_err(|error| FileError::new(path, format!("cannot be read: {error}")))?;
        Self::parse(path, &bytes)
    }

    /// A case from a file's contents.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, FileError> {
        let broken = |problem: String| FileError::new(path, format!("{problem}; record it again or take it out"));
        let parts = || Ok((checkpoint::open(bytes)?, SafeTensors::read_metadata(bytes)?.1));
        let (file, header) = parts().map_err(|error: CheckpointError| broken(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("format").map(String::as_str) != Some("bn-case/1") {
            return Err(broken("is no recorded case: its metadata lacks format = bn-case/1".to_owned()));
        }
        let tensors = file.iter().map(|(name, view)| (name.to_owned(), Tensor::of(&view))).collect();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut case = Self { name, op: String::new(), grade: String::new(), path: path.to_owned(), metadata, tensors };
        case.op = case.text("op")?.to_owned();
        case.grade = case.text("grade")?.to_owned();
        Ok(case)
    }

    /// This file has something wrong.
    pub fn error(&self, problem: String) -> FileError {
        FileError::new(&self.path, format!("{problem}; record it again or take it out"))
    }

    /// Metadata that every case of this op has.
    pub fn text(&self, key: &str) -> Result<&str, FileError> {
        self.get(key).ok_or_else(|| self.error(format!("its metadata lacks {key}")))
    }

    /// Metadata, where the case has it and it is not `none`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str).filter(|value| *value != "none")
    }

    /// Metadata that is a number, where the case has it.
    pub fn number(&self, key: &str) -> Result<Option<f64>, FileError> {
        let no_number = |text| self.error(format!("its metadata has {key} = {text:?}, which is no number"));
        self.get(key).map(|text| text.parse().map_err(|_| no_number(text))).transpose()
    }

    /// A tensor that every case of this op has.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, FileError> {
        self.tensors.get(name).ok_or_else(|| self.error(format!("lacks {name}")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All tensors whose name starts so: the rest of the name, and the tensor.
    pub fn tensors<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.tensors.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
    }

    /// The values of a tensor of f32, where the case has it.
    pub fn f32(&self, name: &str) -> Result<Option<&[f32]>, FileError> {
        match self.tensors.get(name).map(|tensor| &tensor.values) {
            None => Ok(None),
            Some(Values::F32(values)) => Ok(Some(values)),
            Some(_) => Err(self.error(format!("has {name} in another type than F32, F16 and BF16"))),
        }
    }

    /// The values of a mask, where the case has it.
    pub fn bool(&self, name: &str) -> Result<Option<&[bool]>, FileError> {
        match self.tensors.get(name).map(|tensor| &tensor.values) {
            None => Ok(None),
            Some(Values::Bool(values)) => Ok(Some(values)),
            Some(_) => Err(self.error(format!("has {name} in another type than BOOL"))),
        }
    }

    /// A type of values, F32 where the case says nothing.
    pub fn float(&self, key: &str) -> Result<Float, FileError> {
        match self.get(key) {
            None | Some("f32") => Ok(Float::F32),
            Some("f16") => Ok(Float::F16),
            Some("bf16") => Ok(Float::Bf16),
            Some(other) => Err(self.error(format!("its metadata has {key} = {other:?}, which is no type here"))),
        }
    }

    /// The values of a tensor of f64, where the case has it.
    pub fn f64(&self, name: &str) -> Result<Option<&[f64]>, FileError> {
        match self.tensors.get(name).map(|tensor| &tensor.values) {
            None => Ok(None),
            Some(Values::F64(values)) => Ok(Some(values)),
            Some(_) => Err(self.error(format!("has {name} in another type than F64"))),
        }
    }

    /// Where the channel is: `NLC`, `NHWC` and the like end with it; N×C counts as channels first.
    pub fn layout(&self) -> Layout {
        let last = self.get("layout").is_some_and(|axes| axes.len() > 2 && axes.ends_with('C'));
        if last { Layout::ChannelsLast } else { Layout::ChannelsFirst }
    }

    /// As x lies in memory, for a reader: `NCHW [2, 3, 5, 7]`.
    pub fn describe(&self) -> String {
        let shape = ["in.x", "in.x.0"].iter().find_map(|name| self.tensors.get(*name)).map(|tensor| &tensor.shape);
        let axes = self.get("layout").unwrap_or_default();
        shape.map_or_else(|| axes.to_owned(), |shape| format!("{axes} {shape:?}"))
    }
}

impl Tensor {
    fn of(view: &safetensors::tensor::TensorView<'_>) -> Self {
        let values = match view.dtype() {
            Dtype::F32 => Values::F32(bytemuck::pod_collect_to_vec(view.data())),
            Dtype::F64 => Values::F64(bytemuck::pod_collect_to_vec(view.data())),
            Dtype::F16 => Values::F32(halves(view.data(), |bits| half::f16::from_bits(bits).to_f32())),
            Dtype::BF16 => Values::F32(halves(view.data(), |bits| half::bf16::from_bits(bits).to_f32())),
            Dtype::BOOL => Values::Bool(view.data().iter().map(|byte| *byte != 0).collect()),
            other => Values::Other(other),
        };
        Self { shape: view.shape().to_vec(), values }
    }
}

fn halves(data: &[u8], value: fn(u16) -> f32) -> Vec<f32> {
    bytemuck::pod_collect_to_vec::<u8, u16>(data).into_iter().map(value).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A case of these metadata and tensors.
    pub fn case(metadata: &[(&str, &str)], tensors: &[(&str, &[usize], Values)]) -> Case {
        Case::parse(Path::new("some.safetensors"), &bytes(metadata, tensors)).unwrap()
    }

    fn bytes(metadata: &[(&str, &str)], tensors: &[(&str, &[usize], Values)]) -> Vec<u8> {
        let raw: Vec<(Dtype, Vec<u8>)> = tensors
            .iter()
            .map(|(_, _, values)| match values {
                Values::F32(values) => (Dtype::F32, bytemuck::cast_slice(values).to_vec()),
                Values::F64(values) => (Dtype::F64, bytemuck::cast_slice(values).to_vec()),
                Values::Bool(values) => (Dtype::BOOL, values.iter().map(|value| u8::from(*value)).collect()),
                Values::Other(dtype) => (*dtype, vec![]),
            })
            .collect();
        let views = tensors.iter().zip(&raw).map(|((name, shape, _), (dtype, data))| {
            (*name, safetensors::tensor::TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    const WHOLE: [(&str, &str); 4] =
        [("format", "bn-case/1"), ("op", "eval_forward"), ("grade", "core"), ("layout", "NLC")];

    #[test]
    fn a_case_is_read() {
        let case = case(
            &WHOLE,
            &[("in.x", &[1, 1, 2], Values::F32(vec![1.0, 2.0])), ("out.y", &[2], Values::F64(vec![3.0, 4.0]))],
        );
        assert_eq!((case.name.as_str(), case.op.as_str(), case.grade.as_str()), ("some", "eval_forward", "core"));
        assert_eq!(case.f32("in.x").unwrap(), Some(&[1.0, 2.0][..]));
        assert_eq!(case.f64("out.y").unwrap(), Some(&[3.0, 4.0][..]));
        assert_eq!(case.f32("in.gamma").unwrap(), None);
        assert_eq!(case.layout(), Layout::ChannelsLast);
        assert_eq!(case.describe(), "NLC [1, 1, 2]");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let path = Path::new("bad.safetensors");
        let whole = bytes(&WHOLE, &[("in.x", &[2], Values::F32(vec![1.0, 2.0]))]);
        for (bytes, says) in [
            (&b"junk"[..], "not a whole safetensors file"),
            (&whole[..whole.len() - 1], "not a whole safetensors file"),
            (&bytes(&WHOLE[1..], &[]), "format = bn-case/1"),
            (&bytes(&WHOLE[..1], &[]), "lacks op"),
        ] {
            let error = Case::parse(path, bytes).unwrap_err().to_string();
            assert!(error.starts_with("bad.safetensors: ") && error.contains(says), "{error}");
        }
        let case = case(&WHOLE, &[("in.x", &[1], Values::F64(vec![1.0]))]);
        assert!(case.f32("in.x").unwrap_err().to_string().contains("another type than F32"));
        assert!(case.tensor("in.dy").unwrap_err().to_string().contains("lacks in.dy"));
        assert!(case.number("layout").unwrap_err().to_string().contains("no number"));
    }

    #[test]
    fn a_folder_without_cases_is_an_error() {
        let missing = read_folder(Path::new("no-such-folder")).unwrap_err().to_string();
        assert!(missing.contains("no-such-folder") && missing.contains("give a folder"), "{missing}");
        let empty = read_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders"))).unwrap_err().to_string();
        assert!(empty.contains("no *.safetensors"), "{empty}");
    }
}
