//! Fetches packages of Debian 12 with apt, which keeps lists and archives of its own here: the system's
//! state, sources and packages stay as they are. Any user may do it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::prints;

/// The file beside an unpacked driver that says which packages it is made of, one a line.
pub const PACKAGES: &str = "packages";

/// The release that the drivers are packages of.
const RELEASE: &str = "bookworm";

/// An apt that knows the release and its backports, in a folder that goes with it.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Asks the mirrors for what they have.
    pub fn new(cache: &Path) -> Result<Self, String> {
        let apt = Self { folder: cache.join(format!(".apt-{}", std::process::id())) };
        let uris = prints("apt-get", "update --print-uris").ok_or("there is no apt-get to fetch packages with")?;
        let write = || {
            for folder in ["lists/partial", "cache/archives/partial"] {
                fs::create_dir_all(apt.folder.join(folder))?;
            }
            fs::write(apt.folder.join("sources.list"), sources(&uris))?;
            fs::write(apt.config(), configuration(&apt.folder))
        };
        write().map_err(|error| format!("cannot write to {}: {error}", apt.folder.display()))?;
        if sources(&uris).is_empty() {
            return Err(format!("the drivers are packages of Debian 12, and apt has no source of {RELEASE} here"));
        }
        apt.get(&["update"])?;
        Ok(apt)
    }

    /// Unpacks packages, with those that they need and the system lacks, into a folder that is to be moved
    /// before the next are.
    pub fn unpack(&self, packages: &[&str]) -> Result<PathBuf, String> {
        let options = ["--download-only", "--reinstall", "--allow-downgrades", "--allow-change-held-packages"];
        self.get(&[&["install", "--yes", "--no-install-recommends"], &options[..], packages].concat())?;
        let root = self.folder.join("root");
        let failed = |error: io::Error| format!("cannot unpack into {}: {error}", root.display());
        fs::create_dir_all(&root).map_err(failed)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder.join("cache/archives")).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension() == Some(OsStr::new("deb")) {
                succeed(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(&root))?;
                fs::remove_file(&path).map_err(failed)?;
                names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        names.sort();
        fs::write(root.join(PACKAGES), names.join("\n") + "\n").map_err(failed)?;
        Ok(root)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("apt.conf")
    }

    fn get(&self, arguments: &[&str]) -> Result<(), String> {
        succeed(Command::new("apt-get").arg("--config-file").arg(self.config()).arg("-qq").args(arguments))
    }
}

impl Drop for Apt {
    fn drop(&mut self) {
        // What is left behind is in the way of nothing.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Of what apt would ask the system's mirrors for, the sources of the release, in the format of
/// sources.list; the backports are taken to be where the release is.
fn sources(uris: &str) -> String {
    let mut sources = String::new();
    for uri in uris.lines().filter_map(|line| line.strip_prefix('\'')?.split('\'').next()) {
        let Some((mirror, suite)) = uri.strip_suffix("/InRelease").and_then(|uri| uri.split_once("/dists/")) else {
            continue;
        };
        if suite == RELEASE {
            sources += &format!("deb {mirror} {RELEASE}-backports main\n");
        }
        if suite == RELEASE || ["updates", "security"].iter().any(|part| suite == format!("{RELEASE}-{part}")) {
            sources += &format!("deb {mirror} {suite} main\n");
        }
    }
    sources
}

/// What keeps apt to a folder, after what the system's configuration says of proxies and the like.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Cache::archives "archives";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Default-Release "";
// The system's locks are not needed, and are not everybody's.
Debug::NoLocking "true";
// What fetches for root is another user, who may not see root's folders.
APT::Sandbox::User "";
// Of the system, what these would do is not ours to do.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// A mirror that is out of reach is an error, and soon.
APT::Update::Error-Mode "any";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"#
    )
}

/// Runs a program, its output among our messages.
fn succeed(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    match command.stdin(Stdio::null()).stdout(io::stderr()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}; what it said is above")),
        Err(error) => Err(format!("cannot start {program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_the_release_are_kept_and_backports_added() {
        let uris = "\
'http://mirror/debian/dists/bookworm/InRelease' mirror_debian_dists_bookworm_InRelease 0
'http://mirror/debian/dists/bookworm-updates/InRelease' mirror_debian_dists_bookworm-updates_InRelease 0
'http://other/security/dists/bookworm-security/InRelease' other_security_dists_bookworm-security_InRelease 0
'https://vendor/dists/tool-bookworm/InRelease' vendor_dists_tool-bookworm_InRelease 0
'http://mirror/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror_debian_Packages 0
";
        let expected = "\
deb http://mirror/debian bookworm-backports main
deb http://mirror/debian bookworm main
deb http://mirror/debian bookworm-updates main
deb http://other/security bookworm-security main
";
        assert_eq!(sources(uris), expected);
        assert_eq!(sources(&uris.replace("bookworm", "noble")), "");
    }
}
