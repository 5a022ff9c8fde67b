//! MNIST: 60,000 handwritten digits to train with and 10,000 held back, 28 × 28 pixels, from its own four files.
//!
//! The files are in the format IDX (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"):
//! two zero bytes, the type of the values (8: bytes), the number of dimensions, each dimension's size as a
//! big-endian `u32`, and the values. Other sets in the same files, such as Fashion-MNIST, load as well.

use std::path::{Path, PathBuf};

use super::data::{DataError, Images, Split, read};

/// Where torchvision downloads the files from, too.
const SOURCE: &str = "https://ossci-datasets.s3.amazonaws.com/mnist/";

/// MNIST from a folder that holds its four files, as they are downloaded (`.gz`) or unpacked.
pub fn load(folder: &Path) -> Result<Split<Images>, DataError> {
    Ok(Split { train: load_part(folder, "train")?, held_back: load_part(folder, "t10k")? })
}

fn load_part(folder: &Path, part: &str) -> Result<Images, DataError> {
    let images = find(folder, &format!("{part}-images-idx3-ubyte"))?;
    let ([count, height, width], pixels) = values(&images, &read(&images)?)?;
    let path = find(folder, &format!("{part}-labels-idx1-ubyte"))?;
    let ([labelled], labels) = values(&path, &read(&path)?)?;
    if labelled != count {
        let what = format!("{labelled} labels, but {} has {count} images: take both from one source", images.display());
        return Err(DataError::new(path, what));
    }
    let pixels = pixels.into_iter().map(|grey| f32::from(grey) / 255.0).collect();
    Ok(Images { width, height, pixels, labels })
}

fn find(folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    [name.to_owned(), format!("{name}.gz")].iter().map(|name| folder.join(name)).find(|path| path.exists()).ok_or_else(
        || DataError::new(folder, format!("has no {name} and no {name}.gz: download {SOURCE}{name}.gz into it")),
    )
}

/// The sizes and values of an IDX file with this number of dimensions.
pub fn values<const DIMENSIONS: usize>(path: &Path, file: &[u8]) -> Result<([usize; DIMENSIONS], Vec<u8>), DataError> {
    let magic = [0, 0, 8, DIMENSIONS as u8];
    if !file.starts_with(&magic) {
        let what = format!("does not begin with {magic:?} as this file of MNIST does: download it from {SOURCE}");
        return Err(DataError::new(path, what));
    }
    let cut_off = |what| DataError::new(path, format!("{what}: download it again from {SOURCE}"));
    let (header, values) =
        file.split_at_checked(4 + 4 * DIMENSIONS).ok_or_else(|| cut_off("ends within its header".to_owned()))?;
    let (sizes, _) = header[4..].as_chunks();
    let sizes: [u32; DIMENSIONS] = std::array::from_fn(|dimension| u32::from_be_bytes(sizes[dimension]));
    let expected: u128 = sizes.iter().map(|&size| u128::from(size)).product();
    if values.len() as u128 != expected {
        return Err(cut_off(format!("has {} values where {sizes:?} need {expected}", values.len())));
    }
    Ok((sizes.map(|size| size as usize), values.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let sizes_as_bytes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes_as_bytes).chain(values.iter().copied()).collect()
    }

    /// Two images of 2 × 3 pixels to train with, one to hold back.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, file: Vec<u8>| fs::write(folder.path().join(name), file).unwrap();
        write("train-images-idx3-ubyte", idx(&[2, 2, 3], &[0, 51, 102, 153, 204, 255, 0, 0, 0, 0, 0, 255]));
        write("train-labels-idx1-ubyte", idx(&[2], &[7, 3]));
        write("t10k-labels-idx1-ubyte", idx(&[1], &[9]));
        let images = File::create(folder.path().join("t10k-images-idx3-ubyte.gz")).unwrap();
        let mut images = GzEncoder::new(images, Compression::fast());
        images.write_all(&idx(&[1, 2, 3], &[255; 6])).unwrap();
        images.finish().unwrap();
        folder
    }

    /// What loading says once this file holds these bytes.
    fn error_with(name: &str, file: &[u8]) -> String {
        let folder = folder();
        fs::write(folder.path().join(name), file).unwrap();
        load(folder.path()).unwrap_err().to_string()
    }

    #[test]
    fn images_and_labels_come_back() {
        let Split { train, held_back } = load(folder().path()).unwrap();
        assert_eq!((train.width, train.height), (3, 2));
        assert_eq!(train.image(0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(train.labels, [7, 3]);
        assert_eq!((held_back.pixels, held_back.labels), (vec![1.0; 6], vec![9]));
    }

    #[test]
    fn errors_say_what_to_do() {
        let folder = folder();
        fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte")).unwrap();
        let missing = load(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("download https://ossci"), "{missing}");

        let wrong = error_with("train-images-idx3-ubyte", b"<html>");
        assert!(wrong.contains("does not begin with [0, 0, 8, 3]"), "{wrong}");
        let header = error_with("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0]);
        assert!(header.contains("ends within its header"), "{header}");
        let short = error_with("train-labels-idx1-ubyte", &idx(&[2], &[7]));
        assert!(short.contains("has 1 values where [2] need 2"), "{short}");
        let other = error_with("train-labels-idx1-ubyte", &idx(&[1], &[7]));
        assert!(other.contains("1 labels, but"), "{other}");
    }
}
