//! Builds the page of `integrations/browser` with Debian's Rust for WebAssembly, so that the toolchain of whoever runs
//! this need not have that target.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::here;
use crate::steps::Step;

/// What it is built with, as apt-get names packages.
pub const PACKAGES: &[&str] = &["rustc-web", "rust-web-src", "libstd-rust-web-dev", "libllvm22", "lld-22"];

const BUILD: &str = "cargo build -p browser-wgpu-batchnorm --release --target wasm32-unknown-unknown \
                     -Zbuild-std=std,panic_abort";

/// Builds the page with what is unpacked in `root`, and returns its folder. `cache` is where tools are kept.
pub fn page(root: &Path, cache: &Path) -> Result<PathBuf, String> {
    let target = target().ok_or("cannot tell where cargo builds")?;
    let libraries = root.join(here("usr/lib/{arch}-linux-gnu"));
    let build = [
        ("RUSTC", root.join("usr/bin/rustc").into_os_string()),
        ("LD_LIBRARY_PATH", libraries.into()),
        // For `-Zbuild-std`: the packages have the standard library's source alone.
        ("RUSTC_BOOTSTRAP", "1".into()),
        ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", root.join("usr/lib/llvm-22/bin/wasm-ld").into()),
        ("CARGO_TARGET_DIR", target.clone().into()),
    ];
    Step { name: "wasm", line: BUILD }.run(&build)?;
    let wasm = target.join("wasm32-unknown-unknown/release/browser_wgpu_batchnorm.wasm");

    let folder = target.join("page");
    let bindgen = bindgen(cache)?;
    let made = std::process::Command::new(&bindgen)
        .args(["--target", "web", "--no-typescript", "--out-name", "check", "--out-dir"])
        .args([&folder, &wasm])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("{} makes no page of {}", bindgen.display(), wasm.display()));
    }
    let index = workspace().join("integrations/browser/index.html");
    fs::copy(&index, folder.join("index.html")).map_err(|error| format!("cannot copy {}: {error}", index.display()))?;
    Ok(folder)
}

/// The program that joins wasm and JavaScript, of the release that the lock file has, as it has to be.
fn bindgen(cache: &Path) -> Result<PathBuf, String> {
    let lock = workspace().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).map_err(|error| format!("cannot read {}: {error}", lock.display()))?;
    let version = locked(&lock, "wasm-bindgen").ok_or("Cargo.lock has no wasm-bindgen")?;
    let root = cache.join(format!("wasm-bindgen-{version}"));
    let program = root.join("bin/wasm-bindgen");
    if !program.exists() {
        let line = format!("cargo install wasm-bindgen-cli --version {version} --no-track --quiet");
        let build = target().map_or_else(OsString::new, |target| target.join("bindgen").into());
        let environment = [("CARGO_INSTALL_ROOT", root.into_os_string()), ("CARGO_TARGET_DIR", build.clone())];
        Step { name: "wasm-bindgen", line: &line }.run(&environment)?;
        // It is not built again.
        let _ = fs::remove_dir_all(build);
    }
    Ok(program)
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let start = format!("name = \"{package}\"\nversion = \"");
    lock.split_once(&start)?.1.split('"').next()
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A folder for these builds beside those that this program comes from: another compiler's.
fn target() -> Option<PathBuf> {
    Some(env::current_exe().ok()?.ancestors().nth(2)?.join("web"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bindings_come_from_the_locked_release() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"registry\"\n";
        assert_eq!(locked(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked(lock, "wasm"), None);
        assert!(locked(include_str!("../../../Cargo.lock"), "wasm-bindgen").is_some());
    }
}
