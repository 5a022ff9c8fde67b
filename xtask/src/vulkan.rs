//! Whether Vulkan can be had, by the files that it goes by: its loader, and the manifests of drivers.

use crate::prints;
use std::env::{self, consts};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

const LOADER: &str = "libvulkan.so.1";

/// Whether the loader lies where a program would load it from.
pub fn has_loader(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let library_path = variable("LD_LIBRARY_PATH");
    let mut folders: Vec<PathBuf> = library_path.iter().flat_map(env::split_paths).collect();
    folders.extend(["/usr/local/lib", "/usr/lib64", "/usr/lib"].map(PathBuf::from));
    folders.push(format!("/usr/lib/{}-linux-gnu", consts::ARCH).into());
    // A user's PATH need not have /sbin.
    folders.iter().any(|folder| folder.join(LOADER).exists())
        || ["ldconfig", "/sbin/ldconfig"]
            .iter()
            .filter_map(|program| prints(program, "-p"))
            .any(|libraries| libraries.contains(LOADER))
}

/// Whether the environment chooses a driver, or one lies where the loader looks.
pub fn has_driver(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
    chosen.iter().any(|name| variable(name).is_some())
        || driver_folders(variable).iter().any(|folder| describes_driver(folder))
}

/// Where Vulkan's loader looks for the manifests of drivers, as its "Driver Discovery on Linux" has it.
fn driver_folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let home = |name: &str, below: &str| {
        let default = || variable("HOME").map(|home| Path::new(&home).join(below));
        variable(name).map(PathBuf::from).or_else(default)
    };
    let system = |name: &str, default: &[&str]| -> Vec<PathBuf> {
        let default = || default.iter().map(PathBuf::from).collect();
        variable(name).map_or_else(default, |folders| env::split_paths(&folders).collect())
    };
    let mut roots = Vec::new();
    roots.extend(home("XDG_CONFIG_HOME", ".config"));
    roots.extend(system("XDG_CONFIG_DIRS", &["/etc/xdg"]));
    roots.extend(["/usr/local/etc", "/etc"].map(PathBuf::from));
    roots.extend(home("XDG_DATA_HOME", ".local/share"));
    roots.extend(system("XDG_DATA_DIRS", &["/usr/local/share", "/usr/share"]));
    roots.iter().map(|root| root.join("vulkan/icd.d")).collect()
}

/// Whether a folder holds the manifest of a driver.
fn describes_driver(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.any(|path| path.extension().is_some_and(|extension| extension == "json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_looked_for_where_the_loader_looks() {
        let below = |roots: &[&str]| -> Vec<PathBuf> {
            roots.iter().map(|root| Path::new(root).join("vulkan/icd.d")).collect()
        };
        assert_eq!(
            driver_folders(lookup(&[("HOME", "/me")])),
            below(&[
                "/me/.config",
                "/etc/xdg",
                "/usr/local/etc",
                "/etc",
                "/me/.local/share",
                "/usr/local/share",
                "/usr/share",
            ])
        );
        let folders = env::join_paths(["/a", "/b"]).unwrap();
        let variables = [("XDG_DATA_HOME", "/data"), ("XDG_DATA_DIRS", folders.to_str().unwrap())];
        let moved = driver_folders(lookup(&variables));
        assert_eq!(moved[moved.len() - 3..], below(&["/data", "/a", "/b"]));
    }

    #[test]
    fn a_manifest_in_a_folder_is_a_driver() {
        let root = env::temp_dir().join(format!("xtask-driver-{}", std::process::id()));
        let folder = root.join("vulkan/icd.d");
        assert!(!describes_driver(&folder), "no such folder");
        fs::create_dir_all(&folder).unwrap();
        assert!(!describes_driver(&folder), "an empty folder");
        fs::write(folder.join("README"), "").unwrap();
        assert!(!describes_driver(&folder), "no manifest");
        fs::write(folder.join("lvp_icd.x86_64.json"), "{}").unwrap();
        assert!(describes_driver(&folder));
        assert!(has_driver(lookup(&[("XDG_DATA_DIRS", root.to_str().unwrap())])));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_driver_that_the_environment_names_is_a_driver() {
        for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
            assert!(has_driver(lookup(&[(name, "/some/driver.json")])));
        }
    }

    /// An environment of these variables alone.
    fn lookup<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        }
    }
}
