//! What all data sets have in common: files, errors, and a part that is held back from training.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

/// A file of data that is not there, or is not what it should be.
#[derive(thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct DataError {
    path: PathBuf,
    what: String,
}

/// What a `main` that ends with an error prints.
impl fmt::Debug for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DataError {
    pub fn new(path: impl Into<PathBuf>, what: impl ToString) -> Self {
        Self { path: path.into(), what: what.to_string() }
    }
}

/// Examples to learn from, and examples to measure what was learnt.
#[derive(Clone, Debug, Default)]
pub struct Split<T> {
    pub train: T,
    pub held_back: T,
}

impl<T> Split<T> {
    /// One of both parts.
    pub fn part(&mut self, held_back: bool) -> &mut T {
        if held_back { &mut self.held_back } else { &mut self.train }
    }
}

/// A rule that says of one label after another whether to hold its example back: every fifth example of each
/// label is. The split is the same in each run, and each label has the same share in both parts.
pub fn every_fifth_of_each_label() -> impl FnMut(u8) -> bool {
    let mut seen = [0_usize; 256];
    move |label| {
        let count = &mut seen[usize::from(label)];
        *count += 1;
        count.is_multiple_of(5)
    }
}

/// Grey images of one size, each with what it shows.
#[derive(Clone, Debug, Default)]
pub struct Images {
    pub width: usize,
    pub height: usize,
    /// `[N, height, width]`, each from 0 to 1.
    pub pixels: Vec<f32>,
    /// `[N]`.
    pub labels: Vec<u8>,
}

impl Images {
    /// The pixels of one image, `[height, width]`.
    pub fn image(&self, index: usize) -> &[f32] {
        let size = self.width * self.height;
        &self.pixels[index * size..][..size]
    }
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let bytes = fs::read(path).map_err(|error| DataError::new(path, error))?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    unpack(&bytes, MOST_UNPACKED).map_err(|what| DataError::new(path, what))
}

/// Bytes that a packed file may come to: 20 times the largest of MNIST's. (A file of a megabyte can hold a gigabyte of
/// zeros.)
const MOST_UNPACKED: u64 = 1 << 30;

/// Unpacks a gzip file of at most so many bytes.
pub fn unpack(file: &[u8], most: u64) -> Result<Vec<u8>, String> {
    let mut unpacked = vec![];
    GzDecoder::new(file).take(most + 1).read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
    if unpacked.len() as u64 > most {
        return Err(format!("unpacks to more than {most} bytes, so it is none of these data sets: unpack it by hand"));
    }
    Ok(unpacked)
}

/// The text of a file, unpacked if its name ends in `.gz`.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    String::from_utf8(read(path)?).map_err(|error| DataError::new(path, error))
}

/// A file of the repository that the examples belong to, by its path from this crate's folder.
pub fn repository_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_of_each_label_is_held_back() {
        let mut held_back = every_fifth_of_each_label();
        let ones = (0..10).map(|_| (held_back(7), held_back(1)).1).collect::<Vec<_>>();
        assert_eq!(ones, [false, false, false, false, true, false, false, false, false, true]);
    }

    #[test]
    fn unpacking_ends_somewhere() {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::best());
        std::io::Write::write_all(&mut packed, &[0; 1000]).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(unpack(&packed, 1000).unwrap(), [0; 1000]);
        assert!(unpack(&packed, 999).unwrap_err().contains("more than 999 bytes"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("nowhere/digits.csv.gz")).unwrap_err();
        assert!(error.to_string().starts_with("nowhere/digits.csv.gz: "), "{error}");
    }
}
