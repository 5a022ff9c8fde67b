//! Standard output. Whoever reads it may stop early, as `head` does: then the program ends, quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// As `println!`.
macro_rules! say {
    ($($argument:tt)*) => { crate::say::line(format_args!($($argument)*)) };
}

pub(crate) use say;

/// Writes text and ends the line.
pub fn line(text: Arguments<'_>) {
    part(format_args!("{text}\n"));
}

/// Writes text.
pub fn part(text: Arguments<'_>) {
    match std::io::stdout().write_fmt(text) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("batchnorm: standard output cannot be written: {error}");
            std::process::exit(1);
        }
    }
}
