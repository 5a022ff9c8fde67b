//! Runs the tests, `batchnorm verify` and the recorded cases on one driver after another.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::apt::Apt;
use super::browser::{self, Browser};
use super::{Api, Asked, Driver, cache, here, wasm};
use crate::steps::{Step, seconds};

/// So that no driver's times have the compiler's in them.
const BUILD: Step = Step { name: "build", line: "cargo build -p wgpu-batchnorm --all-features --bins --tests" };

/// What is run where there is a driver. The first step also makes sure that it is the right one: an adapter
/// without the word `{adapter}` is none.
const STEPS: [Step; 3] = [
    Step { name: "verify", line: "cargo run -q -p wgpu-batchnorm --all-features -- verify --adapter {adapter}" },
    Step {
        name: "cases",
        line: "cargo run -q -p wgpu-batchnorm --all-features -- verify --adapter {adapter} --cases tests/cases",
    },
    // Without those that no driver has a part in.
    Step {
        name: "tests",
        line: "cargo test -p wgpu-batchnorm --all-features --test batchnorm -- --skip permutations:: --skip tint:: \
               --skip every:: --skip recipes:: --skip reference:: --skip fold_program::",
    },
];

/// What is run where nothing is computed: the tests that bring the noop device along, named by their start.
const VALIDATION: Step = Step {
    name: "tests",
    line: "cargo test -p wgpu-batchnorm --all-features --test batchnorm -- amounts:: bind_errors:: \
           first_use::kernels_that fuzz:: held:: limits::low_limits_give_other noop:: options:: plan_errors:: \
           --skip on_real_devices",
};

/// How it went on a driver.
enum Outcome {
    /// With how long each step took.
    Passed(String),
    Failed(String),
    /// It could not be fetched.
    Missing(String),
}

/// Runs everything on every driver, whatever becomes of the others, and says at the end how it went.
pub fn run(asked: &Asked) -> Result<(), String> {
    let start = Instant::now();
    if asked.drivers.iter().any(|driver| !matches!(driver.api, Api::Web(_))) {
        BUILD.run(&[])?;
    }
    let mut fetcher = Fetcher::new()?;
    let outcomes: Vec<(&Driver, Outcome)> =
        asked.drivers.iter().map(|driver| (*driver, test(driver, &mut fetcher))).collect();

    println!();
    for (driver, outcome) in &outcomes {
        let text = match outcome {
            Outcome::Passed(times) => format!("passed: {times}"),
            Outcome::Failed(message) => format!("FAILED: {message}"),
            Outcome::Missing(message) => format!("not tested, cannot be fetched: {message}"),
        };
        println!("{:12} {text}", driver.name);
    }
    let count = |is: fn(&Outcome) -> bool| outcomes.iter().filter(|(_, outcome)| is(outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed(_)));
    let missing = count(|outcome| matches!(outcome, Outcome::Missing(_)));
    let summary = format!("{passed} of {} drivers passed in {}", outcomes.len(), seconds(start.elapsed()));
    let forgiven = if asked.by_name { 0 } else { missing };
    if passed == 0 || passed + forgiven < outcomes.len() {
        return Err(summary);
    }
    println!("\nxtask: {summary}");
    Ok(())
}

/// Runs the steps on one driver, up to the first that fails.
fn test(driver: &Driver, fetcher: &mut Fetcher) -> Outcome {
    println!("\n=== {}: {}", driver.name, driver.about);
    let (root, steps) = match driver.api {
        Api::Noop => (PathBuf::new(), &[VALIDATION][..]),
        Api::Vulkan(_) | Api::Gl => match fetcher.fetch_driver(driver) {
            Ok(root) => (root, &STEPS[..]),
            Err(message) => return Outcome::Missing(message),
        },
        Api::Web(browser) => return show(driver, browser, fetcher),
    };
    let environment = driver.environment(&root);
    let mut times = Vec::new();
    for step in steps {
        let step = Step { line: &step.line.replace("{adapter}", driver.adapter), ..*step };
        match step.run(&environment) {
            Ok(time) => times.push(format!("{} {}", step.name, seconds(time))),
            Err(message) => return Outcome::Failed(message),
        }
    }
    Outcome::Passed(times.join(", "))
}

/// Has a browser show the page, which is built first.
fn show(driver: &Driver, browser: Browser, fetcher: &mut Fetcher) -> Outcome {
    let fetched = fetcher.fetch_driver(driver).and_then(|root| Ok((root, fetcher.fetch("rust-web", wasm::PACKAGES)?)));
    let (root, rust) = match fetched {
        Ok(roots) => roots,
        Err(message) => return Outcome::Missing(message),
    };
    let shown = wasm::page(&rust, &fetcher.cache)
        .and_then(|folder| browser::show(browser, &root, &driver.environment(&root), &folder));
    match shown {
        Ok(time) => Outcome::Passed(format!("page {}", seconds(time))),
        Err(message) => Outcome::Failed(message),
    }
}

/// Has drivers fetched, with one apt for all.
struct Fetcher {
    cache: PathBuf,
    apt: Option<Result<Apt, String>>,
}

impl Fetcher {
    fn new() -> Result<Self, String> {
        Ok(Self { cache: cache()?, apt: None })
    }

    /// Where the driver is, fetched if it has not been before.
    fn fetch_driver(&mut self, driver: &Driver) -> Result<PathBuf, String> {
        let root = self.fetch(driver.name, driver.packages)?;
        if let Api::Vulkan(manifest) = driver.api {
            stay_inside(&root, &here(manifest)).map_err(|error| format!("{manifest} cannot be used: {error}"))?;
        }
        Ok(root)
    }

    /// Where these packages are, fetched into a folder of this name if they have not been before.
    fn fetch(&mut self, name: &str, packages: &[&str]) -> Result<PathBuf, String> {
        let root = self.cache.join(name);
        if root.exists() {
            return Ok(root);
        }
        eprintln!("xtask: fetching {} into {}", packages.join(" "), root.display());
        let apt = self.apt.get_or_insert_with(|| Apt::new(&self.cache)).as_ref()?;
        let unpacked = apt.unpack(packages)?;
        fs::rename(&unpacked, &root).map_err(|error| format!("cannot keep it as {}: {error}", root.display()))?;
        Ok(root)
    }
}

/// Has a manifest that names the system's library by its path name the unpacked one instead, relative to
/// itself. The loader looks for a mere name in `LD_LIBRARY_PATH` first.
fn stay_inside(root: &Path, manifest: &str) -> io::Result<()> {
    let path = root.join(manifest);
    let mut contents: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let library = &mut contents["ICD"]["library_path"];
    if let Some(absolute) = library.as_str().filter(|library| library.starts_with('/')) {
        *library = format!("{}{}", "../".repeat(manifest.matches('/').count()), &absolute[1..]).into();
        fs::write(&path, contents.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_manifest_stays_inside() {
        let root = std::env::temp_dir().join(format!("xtask-manifest-{}", std::process::id()));
        let manifest = "usr/share/vulkan/icd.d/lvp.json";
        fs::create_dir_all(root.join(manifest).parent().unwrap()).unwrap();
        for (library, expected) in [
            ("/usr/lib/libvulkan_lvp.so", "../../../../usr/lib/libvulkan_lvp.so"),
            ("libvulkan_lvp.so", "libvulkan_lvp.so"),
            ("./libvk_swiftshader.so", "./libvk_swiftshader.so"),
        ] {
            fs::write(root.join(manifest), json!({ "ICD": { "library_path": library } }).to_string()).unwrap();
            stay_inside(&root, manifest).unwrap();
            let changed = fs::read_to_string(root.join(manifest)).unwrap();
            assert!(changed.contains(&format!("\"{expected}\"")), "{changed}");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_tests_with_a_noop_device_are_all_named() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/batchnorm");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_string_lossy();
            if fs::read_to_string(&path).is_ok_and(|source| source.contains("Noop::")) {
                assert!(VALIDATION.line.contains(&format!(" {module}::")), "{module} is missing");
            }
        }
    }
}
