//! What a file is, where it is no safetensors.

use safetensors::SafeTensors;

use super::error::CheckpointError;

/// The tensors of a safetensors file, from its bytes.
///
/// # Errors
/// [`CheckpointError::Other`] for a file of another kind that is known, and says how to convert it;
/// [`CheckpointError::Format`] for anything else that is no whole safetensors file.
pub fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, CheckpointError> {
    SafeTensors::deserialize(bytes).map_err(|error| match recognize(bytes) {
        Some([is, do_this]) => CheckpointError::Other { is, do_this },
        None => error.into(),
    })
}

const CONVERT: &str =
    "convert it: in Python, `safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"model.safetensors\")`";

/// How files of other kinds begin.
const KINDS: [(&[u8], &str, &str); 8] = [
    (b"version https://git-lfs", "a git-lfs pointer, which stands for the file", "fetch it with `git lfs pull`"),
    (b"\x80", "a pickle of Python, as old versions of `torch.save` write it", CONVERT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it (.h5)", KERAS),
    (b"\x93NUMPY", "a NumPy array (.npy)", NUMPY),
    (b"GGUF", "a GGUF file", "take the model in safetensors: GGUF has no batch norms to fold or load"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it with `gunzip`"),
    (b"<", "a web page or XML", "download the file itself, not the page that shows it"),
    (b"\x08", "an ONNX model or another protocol buffer", ONNX),
];

const KERAS: &str = "save its variables: in Python, \
                     `safetensors.numpy.save_file({v.path: v.numpy() for v in model.variables}, \"model.safetensors\")`";
const NUMPY: &str =
    "convert it: in Python, `safetensors.numpy.save_file(dict(numpy.load(FILE)), \"model.safetensors\")`";
const ONNX: &str = "convert its initializers: in Python, `safetensors.numpy.save_file({i.name: \
                    onnx.numpy_helper.to_array(i).copy() for i in onnx.load(FILE).graph.initializer}, \
                    \"model.safetensors\")`";

/// What the file is and what to do.
fn recognize(bytes: &[u8]) -> Option<[&'static str; 2]> {
    let text = bytes.trim_ascii_start();
    let has = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    // A header behind its length: safetensors, but not whole.
    if bytes.get(8) == Some(&b'{') {
        return None;
    }
    if bytes.is_empty() {
        return Some(["empty", "download or write it again"]);
    }
    if bytes.starts_with(b"PK\x03\x04") {
        // The names of a zip's files stand in it as they are.
        return Some(match () {
            () if has(b"data.pkl") => ["a file of `torch.save` (.pt, .pth, .bin)", CONVERT],
            () if has(b".npy") => ["a NumPy archive (.npz)", NUMPY],
            () if has(b"model.weights.h5") => ["a Keras model (.keras)", KERAS],
            () => ["a zip archive", "unpack it"],
        });
    }
    if text.starts_with(b"{") && has(b"\"weight_map\"") {
        return Some([
            "the index of a model in several files",
            "give each of the files that it names, or, to `batchnorm fold`, the index under its name *.index.json",
        ]);
    }
    if text.starts_with(b"{") || text.starts_with(b"[") {
        return Some(["JSON text", "give the file with the weights, most often named model.safetensors"]);
    }
    let kind = KINDS.iter().find(|(start, ..)| bytes.starts_with(start) || (*start == b"<" && text.starts_with(start)));
    kind.map(|(_, is, do_this)| [*is, *do_this])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_called_what_they_are() {
        for (bytes, is, do_this) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"[..],
                "git-lfs",
                "git lfs pull",
            ),
            (b"PK\x03\x04\0\0archive/data.pkl", "torch.save", "save_file"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", "pickle", "save_file"),
            (b"PK\x03\x04\0\0weight.npy", ".npz", "numpy.load"),
            (b"PK\x03\x04\0\0model.weights.h5", ".keras", "save_file"),
            (b"PK\x03\x04\0\0readme.txt", "zip", "unpack"),
            (b"\x93NUMPY\x01\0v\0{'descr'", ".npy", "numpy.load"),
            (b"\x89HDF\r\n\x1a\n\0\0\0\0", "HDF5", "save_file"),
            (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "ONNX", "initializer"),
            (b"GGUF\x03\0\0\0", "GGUF", "safetensors"),
            (b"\x1f\x8b\x08\0", "gzip", "gunzip"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "index", "index.json"),
            (b" {\"architectures\": []}", "JSON", "model.safetensors"),
            (b"\n<!DOCTYPE html><html>", "web page", "download"),
            (b"", "empty", "again"),
        ] {
            let error = open(bytes).unwrap_err();
            assert!(matches!(error, CheckpointError::Other { .. }), "{is}: {error:?}");
            let said = error.to_string();
            assert!(said.contains(is) && said.contains(do_this), "{said}");
        }
        let torn = b"\x80\0\0\0\0\0\0\0{\"weight\"";
        for bytes in [&[255; 64][..], b"junk of no kind", torn] {
            assert!(matches!(open(bytes), Err(CheckpointError::Format { .. })), "{bytes:?}");
        }
    }
}
