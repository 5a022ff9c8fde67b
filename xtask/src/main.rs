//! The commands of this repository. They ask for nothing but Rust on the machine.

mod drivers;
mod fuzz;
mod rust_version;
mod setup;
mod steps;
mod vulkan;

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "\
Usage: cargo xtask <command>

Commands:
  demo [arguments]  Run the program `batchnorm`: the demo, unless arguments say otherwise
  test              Run every check and every test
  test --drivers D  Run tests, `batchnorm verify` and the recorded cases on other drivers, and a page with the quick
                    part of `verify` in browsers: D is names with commas between, or `all`, or `quick`, which do
                    without what cannot be fetched
  drivers           List these drivers. They are fetched into the user's cache, and not installed
  fuzz [--minutes N] [--seed S]
                    Try random batch norms on every adapter, for a minute unless N says otherwise; what fails is
                    printed as small as it can be made, with the seed that repeats it
  rust-version      Check that no dependency asks for a newer Rust than Cargo.toml promises

`demo` and `test` first look for a Vulkan driver where the system needs one. If there is none,
they install Mesa's software driver on Debian and Ubuntu (as root, or with a password-less sudo),
and elsewhere say what to install.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let outcome = match words[..] {
        [] | ["help" | "-h" | "--help", ..] => {
            println!("{USAGE}");
            Ok(())
        }
        ["demo", ..] => demo(&arguments[1..]),
        ["test"] => {
            setup::ensure_adapter();
            steps::run()
        }
        ["test", "--drivers", names] => match drivers::Asked::read(names) {
            Ok(asked) => drivers::run(&asked),
            Err(message) => return misused(&message),
        },
        ["drivers"] => drivers::list(),
        ["fuzz", ref options @ ..] => match fuzz::Asked::read(options) {
            Ok(asked) => {
                setup::ensure_adapter();
                asked.run()
            }
            Err(message) => return misused(&message),
        },
        ["rust-version"] => rust_version::check(),
        _ => return misused(&format!("no such command: {}\n\n{USAGE}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Ends where there is nothing to run.
fn misused(message: &str) -> ExitCode {
    eprintln!("xtask: {message}");
    ExitCode::from(2)
}

/// How the program ends where there is no adapter.
const NO_ADAPTER: i32 = 2;

/// Runs the program, and ends as it ends.
fn demo(arguments: &[OsString]) -> Result<(), String> {
    setup::ensure_adapter();
    let program = || {
        let status = cargo().arg("batchnorm").args(arguments).status();
        status.map_err(|error| format!("cannot start cargo: {error}")).map(|status| status.code().unwrap_or(1))
    };
    let code = match program()? {
        NO_ADAPTER if arguments.is_empty() && setup::adapter_was_not_found() => program()?,
        code => code,
    };
    std::process::exit(code)
}

/// The cargo that runs this program.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What a program prints, if it is there and ends well.
fn prints(program: &str, arguments: &str) -> Option<String> {
    let output = Command::new(program).args(arguments.split(' ')).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.into_owned())
}

/// A variable of the environment; one that is empty counts as unset.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
