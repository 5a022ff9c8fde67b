//! `cargo xtask test`: the checks in order, the tests last, so that their results close the output.

use std::process::Command;
use std::time::{Duration, Instant};

/// Each step is a name and the line that repeats it in a shell.
fn steps(dirty: bool) -> [(&'static str, &'static str); 7] {
    [
        ("format", "cargo fmt --all --check"),
        ("lints", "cargo clippy --workspace --all-targets --all-features -- -D warnings"),
        ("lints of the library alone", "cargo clippy -p wgpu-batchnorm --lib -- -D warnings"),
        ("documentation", "RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features"),
        ("rust-version", "cargo xtask rust-version"),
        (
            "package",
            if dirty {
                "cargo package -p wgpu-batchnorm --all-features --allow-dirty"
            } else {
                "cargo package -p wgpu-batchnorm --all-features"
            },
        ),
        ("tests", "cargo test --workspace --all-features"),
    ]
}

/// Runs the steps up to the first that fails.
pub fn run() -> Result<(), String> {
    let start = Instant::now();
    let steps = steps(tree_is_dirty());
    for (name, line) in steps {
        println!("\n== {name}: {line}");
        let start = Instant::now();
        let status = command(line).status().map_err(|error| format!("cannot start `{line}`: {error}"))?;
        let time = seconds(start.elapsed());
        if !status.success() {
            return Err(format!("the step \"{name}\" failed after {time}; repeat it with: {line}"));
        }
        println!("== {name}: passed in {time}");
    }
    let time = seconds(start.elapsed());
    println!("\nxtask: all {} steps passed in {time}", steps.len());
    Ok(())
}

/// Reads a line as a shell would: variables, `cargo`, arguments, with spaces between.
fn command(line: &str) -> Command {
    let mut command = crate::cargo();
    let mut words = line.split_whitespace();
    for assignment in words.by_ref().take_while(|&word| word != "cargo") {
        let (name, value) = assignment.split_once('=').expect("NAME=value");
        command.env(name, value);
    }
    command.args(words);
    command
}

/// Whether git sees changes that are not committed. Without git, cargo judges alone.
fn tree_is_dirty() -> bool {
    Command::new("git").args(["status", "--porcelain"]).output().is_ok_and(|output| !output.stdout.is_empty())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn a_line_is_read_as_a_shell_reads_it() {
        let command = command("RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps");
        let variables: Vec<_> = command.get_envs().collect();
        let value = Some(OsStr::new("-Dwarnings"));
        assert_eq!(variables, [(OsStr::new("RUSTDOCFLAGS"), value)]);
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["doc", "--no-deps"]);
    }

    #[test]
    fn every_step_can_be_read_and_the_tests_come_last() {
        for dirty in [false, true] {
            let steps = steps(dirty);
            for (_, line) in steps {
                assert!(command(line).get_args().len() > 0, "{line}");
            }
            assert_eq!(steps.last().map(|(name, _)| *name), Some("tests"));
            let allowed = steps.iter().any(|(_, line)| line.ends_with("--allow-dirty"));
            assert_eq!(allowed, dirty);
        }
    }
}
