//! Every shader permutation through tint, the WGSL compiler of Chrome, where it is installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use wgpu_batchnorm::shader::{Flag, Permutation};

use crate::adapters::say;
use crate::every::checked;
use crate::permutations::{fullest, on_all_cores, report, ways};

/// Tint parses, validates and writes the text again; one that is not WGSL ends with a message.
fn accepts(file: &Path) -> Result<(), String> {
    let output = Command::new("tint").args(["--format", "wgsl"]).arg(file).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn accepts_all() {
    if Command::new("tint").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        say("tint is not on PATH: permutations not checked with it");
        return;
    }
    let folder = std::env::temp_dir().join(format!("batchnorm-tint-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // Which has no 64-bit words.
    let in_ways = fullest().into_iter().flat_map(ways).filter(|permutation| !permutation.flags.has(Flag::Long));
    let all: Vec<(usize, Permutation)> = checked().into_iter().chain(in_ways).enumerate().collect();
    let refused = Mutex::new(Vec::new());
    on_all_cores(&all, |(number, permutation)| {
        let file = folder.join(format!("{number}.wgsl"));
        std::fs::write(&file, permutation.wgsl()).unwrap();
        if let Err(message) = accepts(&file) {
            refused.lock().unwrap().push((*permutation, message));
        }
    });
    report(refused.into_inner().unwrap());
    let broken = folder.join("broken.wgsl");
    std::fs::write(&broken, all[0].1.wgsl().replacen("fn main", "fn main main", 1)).unwrap();
    assert!(accepts(&broken).is_err(), "tint accepts anything");
    std::fs::remove_dir_all(&folder).unwrap();
    say(&format!("{} permutations through tint", all.len()));
}
