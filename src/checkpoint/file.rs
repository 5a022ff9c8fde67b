//! Files that are there whole or not at all.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::View;

use super::error::CheckpointError;

/// Writes a safetensors file, replacing one that is there. It is written beside the path under another
/// name, brought to the disk, and renamed: whoever opens the path finds the old file or the new one, whole.
/// A symbolic link is replaced, not followed.
///
/// # Errors
/// [`CheckpointError::Write`] and [`CheckpointError::Format`]; then the path is as it was.
pub fn write<S, V>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (S, V)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<(), CheckpointError>
where
    S: AsRef<str> + Ord + std::fmt::Display,
    V: View,
{
    let path = path.as_ref();
    let bytes = safetensors::serialize(tensors, metadata)?;
    replace(path, &bytes).map_err(|error| CheckpointError::Write { path: path.to_owned(), message: error.to_string() })
}

/// The temporary file is gone whichever step fails.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = builder().prefix(".").suffix(".part").tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(before) = path.metadata() {
        file.as_file().set_permissions(before.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// With the permissions of any new file; by default, temporary files are for their owner alone.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}
