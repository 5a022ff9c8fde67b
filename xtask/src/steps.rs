//! `cargo xtask test`: the checks in order, the tests last, so that their results close the output.

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

/// A command of cargo, as the line that repeats it in a shell.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub name: &'a str,
    pub line: &'a str,
}

impl Step<'_> {
    /// Runs it with these variables in its environment, and says how long it took.
    pub fn run(&self, environment: &[(&str, OsString)]) -> Result<Duration, String> {
        let Self { name, line } = self;
        let mut shown = String::new();
        for (variable, value) in environment {
            shown += &format!("{variable}={} ", value.display());
        }
        println!("\n== {name}: {shown}{line}");
        let start = Instant::now();
        let mut command = command(line);
        command.envs(environment.iter().map(|(variable, value)| (variable, value)));
        let status = command.status().map_err(|error| format!("cannot start `{line}`: {error}"))?;
        let time = start.elapsed();
        if !status.success() {
            let time = seconds(time);
            return Err(format!("the step \"{name}\" failed after {time}; repeat it with: {shown}{line}"));
        }
        println!("== {name}: passed in {}", seconds(time));
        Ok(time)
    }
}

/// The integrations are built apart, so that no dependency of theirs changes what the library is built with.
fn steps(dirty: bool) -> [Step<'static>; 13] {
    let package = if dirty {
        "cargo package -p wgpu-batchnorm --all-features --allow-dirty"
    } else {
        "cargo package -p wgpu-batchnorm --all-features"
    };
    [
        ("format", "cargo fmt --all --check"),
        ("lints", "cargo clippy -p wgpu-batchnorm -p xtask --all-targets --all-features -- -D warnings"),
        ("lints of the library alone", "cargo clippy -p wgpu-batchnorm --lib -- -D warnings"),
        ("documentation", "RUSTDOCFLAGS=-Dwarnings cargo doc -p wgpu-batchnorm -p xtask --no-deps --all-features"),
        ("rust-version", "cargo xtask rust-version"),
        ("package", package),
        ("cases", "cargo run -q -p wgpu-batchnorm --all-features -- verify --cases tests/cases"),
        ("fuzz", "cargo xtask fuzz --minutes 1 --seed 1"),
        ("lints for the browser", "cargo clippy -p browser-wgpu-batchnorm -- -D warnings"),
        ("lints for burn", "cargo clippy -p burn-wgpu-batchnorm --all-targets -- -D warnings"),
        ("documentation for burn", "RUSTDOCFLAGS=-Dwarnings cargo doc -p burn-wgpu-batchnorm --no-deps"),
        ("tests for burn", "cargo test -p burn-wgpu-batchnorm"),
        ("tests", "cargo test -p wgpu-batchnorm -p xtask --all-features"),
    ]
    .map(|(name, line)| Step { name, line })
}

/// Runs the steps up to the first that fails.
pub fn run() -> Result<(), String> {
    let start = Instant::now();
    let steps = steps(tree_is_dirty());
    for step in steps {
        step.run(&[])?;
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

pub fn seconds(time: Duration) -> String {
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
            for Step { line, .. } in steps {
                assert!(command(line).get_args().len() > 0, "{line}");
            }
            assert_eq!(steps.last().map(|step| step.name), Some("tests"));
            let allowed = steps.iter().any(|step| step.line.ends_with("--allow-dirty"));
            assert_eq!(allowed, dirty);
        }
    }
}
