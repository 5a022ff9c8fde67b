//! The drivers and browsers to test on beside the machine's own: `cargo xtask test --drivers`, `cargo xtask drivers`.
//! They are fetched into the user's cache and used from there; nothing of the system's changes.

mod apt;
mod browser;
mod run;
mod wasm;

use std::env::consts;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use browser::Browser;
pub use run::run;

/// A driver, and how a program is made to see it and no other.
#[derive(Debug)]
pub struct Driver {
    pub name: &'static str,
    about: &'static str,
    api: Api,
    /// Of Debian 12, as apt-get names packages. `{arch}` is the machine's in this and what follows.
    packages: &'static [&'static str],
    /// A word of the adapter's name, backend or driver that no other driver's has.
    adapter: &'static str,
}

#[derive(Debug)]
enum Api {
    /// With the driver's manifest, a path in its packages.
    Vulkan(&'static str),
    Gl,
    /// WebGPU in a browser, which shows the page of `integrations/browser`.
    Web(Browser),
    /// wgpu's own device that validates everything and computes nothing: for the tests that bring it along.
    Noop,
}

/// SwiftShader's manifest, in Chromium's packages.
const SWIFTSHADER: &str = "usr/lib/chromium/vk_swiftshader_icd.json";

pub const DRIVERS: [Driver; 7] = [
    Driver {
        name: "lavapipe-22",
        about: "Mesa 22.3's software Vulkan, Debian 12's own",
        api: Api::Vulkan("usr/share/vulkan/icd.d/lvp_icd.{arch}.json"),
        packages: &["libvulkan1", "mesa-vulkan-drivers/bookworm"],
        adapter: "22.3",
    },
    Driver {
        name: "lavapipe-25",
        about: "Mesa 25.0's software Vulkan, from Debian 12's backports",
        api: Api::Vulkan("usr/share/vulkan/icd.d/lvp_icd.json"),
        packages: &["libvulkan1", "mesa-vulkan-drivers/bookworm-backports"],
        adapter: "25.0",
    },
    Driver {
        name: "swiftshader",
        about: "Google's software Vulkan, as Debian's Chromium brings it",
        api: Api::Vulkan(SWIFTSHADER),
        packages: &["libvulkan1", "chromium-common"],
        adapter: "SwiftShader",
    },
    Driver {
        name: "llvmpipe-gl",
        about: "Mesa 22.3's software OpenGL, Debian 12's own",
        api: Api::Gl,
        packages: &["libegl1/bookworm", "libegl-mesa0/bookworm", "libgl1-mesa-dri/bookworm"],
        adapter: "22.3",
    },
    Driver {
        name: "chromium",
        about: "WebGPU in Debian's Chromium, by its own compiler of WGSL, on SwiftShader",
        api: Api::Web(Browser::Chromium),
        packages: &["chromium", "chromium-common"],
        adapter: "",
    },
    Driver {
        name: "firefox",
        about: "WebGPU in Debian's Firefox ESR, by the wgpu of its year, on SwiftShader",
        api: Api::Web(Browser::Firefox),
        packages: &["firefox-esr", "libvulkan1", "chromium-common"],
        adapter: "",
    },
    Driver {
        name: "noop",
        about: "wgpu's device that validates everything and computes nothing",
        api: Api::Noop,
        packages: &[],
        adapter: "",
    },
];

/// Those that take the least time on a machine that is new to them: Mesa's compile every kernel with LLVM, which
/// takes most of their time until they find the kernels in their cache. And browsers, which have compilers of their own.
const QUICK: [&str; 4] = ["swiftshader", "chromium", "firefox", "noop"];

/// Which drivers were asked for, and whether by name: what is asked for by name has to be had.
pub struct Asked {
    drivers: Vec<&'static Driver>,
    by_name: bool,
}

impl Asked {
    /// Reads `all`, `quick`, or names with commas between.
    pub fn read(text: &str) -> Result<Self, String> {
        let known = |name: &str| DRIVERS.iter().find(|driver| driver.name == name);
        let (names, by_name): (Vec<&str>, _) = match text {
            "all" => (DRIVERS.iter().map(|driver| driver.name).collect(), false),
            "quick" => (QUICK.to_vec(), false),
            names => (names.split(',').collect(), true),
        };
        let drivers = names.iter().map(|name| {
            known(name).ok_or_else(|| {
                let names: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
                format!("no such driver: {name}; there are all, quick, {}", names.join(", "))
            })
        });
        Ok(Self { drivers: drivers.collect::<Result<_, _>>()?, by_name })
    }
}

/// Prints which drivers there are, and what has been fetched of them.
pub fn list() -> Result<(), String> {
    let cache = cache()?;
    for driver in &DRIVERS {
        let state = match driver.api {
            Api::Noop => "in this build".to_owned(),
            _ => match fs::read_to_string(cache.join(driver.name).join(apt::PACKAGES)) {
                Ok(packages) => format!("fetched: {}", packages.trim_end().replace('\n', ", ")),
                Err(_) => format!("not fetched yet: {}", driver.packages.join(", ")),
            },
        };
        println!("{}\n    {}\n    {state}", driver.name, driver.about);
    }
    println!("\nin {}; delete a folder there to have its driver fetched again", cache.display());
    Ok(())
}

/// Where the drivers are, each in a folder of its name.
fn cache() -> Result<PathBuf, String> {
    let home = || Some(Path::new(&crate::variable("HOME")?).join(".cache"));
    let cache = crate::variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let cache = cache.ok_or("there is no cache to keep drivers in: set HOME or XDG_CACHE_HOME")?;
    Ok(cache.join("wgpu-batchnorm/drivers"))
}

impl Driver {
    /// What the environment of a program has to be for it to see this driver, whose packages are unpacked in
    /// `root`, and no other.
    fn environment(&self, root: &Path) -> Vec<(&'static str, OsString)> {
        let folder = root.join(here("usr/lib/{arch}-linux-gnu"));
        let folders = [folder.as_os_str(), root.join(here("lib/{arch}-linux-gnu")).as_os_str()].join(OsStr::new(":"));
        match self.api {
            Api::Vulkan(manifest) => {
                let manifest = root.join(here(manifest));
                vec![
                    ("WGPU_BACKEND", "vulkan".into()),
                    ("VK_DRIVER_FILES", manifest.clone().into()),
                    // Its name before version 1.3.207 of the loader.
                    ("VK_ICD_FILENAMES", manifest.into()),
                    ("LD_LIBRARY_PATH", folders),
                ]
            }
            // Chromium finds it by itself.
            Api::Web(_) => {
                vec![("VK_DRIVER_FILES", root.join(SWIFTSHADER).into()), ("LD_LIBRARY_PATH", folders)]
            }
            Api::Gl => vec![
                ("WGPU_BACKEND", "gl".into()),
                ("__EGL_VENDOR_LIBRARY_FILENAMES", root.join("usr/share/glvnd/egl_vendor.d/50_mesa.json").into()),
                ("LIBGL_DRIVERS_PATH", folder.join("dri").into()),
                ("LIBGL_ALWAYS_SOFTWARE", "true".into()),
                ("LD_LIBRARY_PATH", folders),
            ],
            Api::Noop => vec![("WGPU_BACKEND", "noop".into())],
        }
    }
}

/// A text of the table on this machine. Debian's folders and Mesa's manifests call the architectures `x86_64`
/// and `aarch64` what Rust calls them.
fn here(text: &str) -> String {
    text.replace("{arch}", consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &str) -> Vec<&'static str> {
        Asked::read(asked).unwrap().drivers.iter().map(|driver| driver.name).collect()
    }

    #[test]
    fn drivers_are_asked_for_by_name_or_together() {
        assert_eq!(names("all").len(), DRIVERS.len());
        assert_eq!(names("quick"), QUICK);
        assert_eq!(names("noop,lavapipe-25"), ["noop", "lavapipe-25"]);
        assert!(!Asked::read("quick").unwrap().by_name && Asked::read("noop").unwrap().by_name);
        for wrong in ["", "noop,", "nvidia"] {
            let message = Asked::read(wrong).err().unwrap();
            assert!(message.contains("lavapipe-22, lavapipe-25"), "{message}");
        }
    }

    #[test]
    fn a_driver_is_seen_alone() {
        let root = Path::new("/root of/it");
        for driver in &DRIVERS {
            let environment = driver.environment(root);
            let value = |name: &str| {
                let found = environment.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_str().unwrap().to_owned())
            };
            let backend = value("WGPU_BACKEND");
            assert_eq!(backend.is_none(), matches!(driver.api, Api::Web(_)));
            assert!(backend.is_none_or(|backend| !backend.contains(',')));
            let chosen = value("VK_DRIVER_FILES").or(value("__EGL_VENDOR_LIBRARY_FILENAMES"));
            assert_eq!(chosen.is_some(), !driver.packages.is_empty());
            assert!(chosen.is_none_or(|path| path.starts_with("/root of/it/usr/") && !path.contains('{')));
        }
    }
}
