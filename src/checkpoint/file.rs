//! Files that are there whole or not at all.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::View;
use tempfile::NamedTempFile;

use super::error::CheckpointError;

/// Writes a safetensors file, whole or not at all, as [`replace`] does.
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
    replace([(path, safetensors::serialize(tensors, metadata)?)])
}

/// Writes files of any kind, replacing those that are there, each whole or not at all. All are written beside their
/// paths under names that no other process has, and brought to the disk; then each in turn is renamed. Whoever opens a
/// path finds the old file or the new one, whole. A file keeps its permissions, not its owner.
///
/// A symbolic link stays, and what it leads to is replaced. What is no file, such as `/dev/stdout`, is written to as it
/// is.
///
/// A process that is killed meanwhile leaves a file `.batchnorm-….part` behind, which the next call that writes to
/// the folder removes. (While it is being written, such a file is locked.)
///
/// # Errors
/// [`CheckpointError::Write`]: unless a rename failed, all paths are as they were.
pub fn replace<P: AsRef<Path>, B: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, B)>) -> Result<(), CheckpointError> {
    let failed =
        |path: &Path, error: io::Error| CheckpointError::Write { path: path.to_owned(), message: error.to_string() };
    let mut prepared = Vec::new();
    for (path, bytes) in files {
        let path = path.as_ref().to_owned();
        let whole = Whole::prepare(&path, bytes.as_ref()).map_err(|error| failed(&path, error))?;
        prepared.push((path, whole));
    }
    for (path, whole) in prepared {
        whole.commit().map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

const PREFIX: &str = ".batchnorm-";
const SUFFIX: &str = ".part";

/// What will be a file, and is gone if dropped before.
enum Whole {
    Beside { file: NamedTempFile, target: PathBuf },
    Into { target: File, bytes: Vec<u8> },
}

impl Whole {
    fn prepare(path: &Path, bytes: &[u8]) -> io::Result<Self> {
        let before = path.metadata().ok();
        if before.as_ref().is_some_and(|before| before.is_dir()) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if before.as_ref().is_some_and(|before| !before.is_file()) {
            return Ok(Self::Into { target: OpenOptions::new().write(true).open(path)?, bytes: bytes.to_vec() });
        }
        let target = resolve(path)?;
        sweep(folder(&target));
        let mut file = temporary(folder(&target))?;
        file.write_all(bytes)?;
        if let Some(before) = before {
            file.as_file().set_permissions(before.permissions())?;
        }
        file.as_file().sync_all()?;
        Ok(Self::Beside { file, target })
    }

    fn commit(self) -> io::Result<()> {
        match self {
            Self::Beside { file, target } => {
                file.persist(&target)?;
                // The new name is there; only a loss of power could still undo it. Not every system syncs folders.
                let _ = File::open(folder(&target)).and_then(|folder| folder.sync_all());
                Ok(())
            }
            Self::Into { mut target, bytes } => target.write_all(&bytes),
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where symbolic links lead, also where nothing is yet.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    // As many as Linux follows.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if !path.symlink_metadata().is_ok_and(|it| it.is_symlink()) {
            return Ok(path);
        }
        path = folder(&path).join(path.read_link()?);
    }
    Err(io::Error::other("more than 40 symbolic links lead on from it"))
}

/// A file that is locked, so that nobody sweeps it. Where there are no locks, nobody sweeps.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    loop {
        let file = builder().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder)?;
        let _ = file.as_file().lock();
        // Before it was locked, it may have been swept.
        if file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes what killed processes have left in a folder, as far as that is possible.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if ours
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// With the permissions of any new file; by default, temporary files are for their owner alone.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [".batchnorm-killed.part", ".other.part", ".batchnorm-mine", "batchnorm-x.part"] {
            fs::write(path(name), "half").unwrap();
        }
        fs::create_dir(path(".batchnorm-folder.part")).unwrap();
        let busy = temporary(folder.path()).unwrap();
        replace([(path("a"), "whole")]).unwrap();
        let mut expected = [".batchnorm-folder.part", ".batchnorm-mine", ".other.part", "a", "batchnorm-x.part"]
            .map(str::to_owned)
            .to_vec();
        expected.push(busy.path().file_name().unwrap().to_str().unwrap().to_owned());
        expected.sort();
        assert_eq!(names(folder.path()), expected);
        // Several at once: none is there unless all could be prepared.
        let nowhere = path("nowhere").join("c");
        assert!(replace([(path("b"), "whole"), (nowhere, "whole")]).is_err());
        assert!(!path("b").exists());
    }

    #[test]
    fn writers_of_one_file_do_not_disturb_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..25 {
                        replace([(path, vec![writer; 10_000])]).unwrap();
                        let read = fs::read(path).unwrap();
                        assert!(read.len() == 10_000 && read.iter().all(|byte| *byte == read[0]));
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_and_what_they_lead_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("far")).unwrap();
        fs::write(path("far/file"), "old").unwrap();
        for (link, to) in [("one", "two"), ("two", "far/file"), ("dangling", "far/new"), ("round", "round")] {
            std::os::unix::fs::symlink(to, path(link)).unwrap();
        }
        replace([(path("one"), "new"), (path("dangling"), "made")]).unwrap();
        assert_eq!(fs::read_to_string(path("far/file")).unwrap(), "new");
        assert_eq!(fs::read_to_string(path("far/new")).unwrap(), "made");
        assert!(["one", "two", "dangling"].iter().all(|link| path(link).is_symlink()));
        assert!(replace([(path("round"), "")]).is_err());
        replace([("/dev/null", "nothing")]).unwrap();
        assert!(!Path::new("/dev/null").is_file());
    }
}
