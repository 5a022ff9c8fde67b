//! Where an adapter is not expected to pass, and why, in one table. Two things are kept apart in it. What
//! an adapter *lacks* is skipped. A known *fault* of a driver must show, and in the way that is known: a
//! driver that was repaired, or that fails in another way, fails the test.
//!
//! A test asks the table with [`hold`]; what the table does not name has to pass.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wgpu_batchnorm::Gpu;

use crate::adapters::say;

/// What a test is about, as far as the table speaks of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    /// An invocation's loops go round as often as they say.
    LongLoops,
}

/// What is expected in place of passing.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// The adapter lacks it: skipped.
    Lacks,
    /// The driver has a fault: fails, with this in the message.
    Fails(&'static str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Expectation {
    subject: Subject,
    /// Texts that [`Gpu::name`] has all of.
    adapter: &'static [&'static str],
    expected: Expected,
    reason: &'static str,
}

const TABLE: &[Expectation] = &[Expectation {
    subject: Subject::LongLoops,
    adapter: &["llvmpipe", "Mesa 22.3"],
    expected: Expected::Fails("65534 iterations of 100000"),
    reason: "one count of 65,535 iterations is shared by all loops of a shader, and silently ends them: \
             LP_MAX_TGSI_LOOP_ITERATIONS in Mesa's lp_bld_limits.h; Mesa 25.0 has no such end",
}];

/// Runs a test, which panics where it fails, on an adapter, and panics where that does not go as expected.
pub fn hold(subject: Subject, gpu: &Gpu, test: impl FnOnce()) {
    let name = gpu.name();
    let named = |row: &&Expectation| row.subject == subject && row.adapter.iter().all(|text| name.contains(text));
    match TABLE.iter().find(named) {
        None => test(),
        Some(row) => match row.meet(test) {
            Ok(met) => say(&format!("{subject:?} on {name}: {met}: {}", row.reason)),
            Err(unmet) => panic!("{subject:?} on {name}: {unmet}. The table expected: {row:?}"),
        },
    }
}

impl Expectation {
    /// How the expectation was met, or what came instead.
    fn meet(&self, test: impl FnOnce()) -> Result<&'static str, String> {
        let expected = match self.expected {
            Expected::Lacks => return Ok("skipped"),
            Expected::Fails(message) => message,
        };
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(()) => Err("it passes: if the driver was repaired, take the row out of the table".to_owned()),
            Err(panic) => match message(&*panic) {
                message if message.contains(expected) => Ok("failed as expected"),
                message => Err(format!("it fails in another way: {message}")),
            },
        }
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

#[test]
fn are_met_in_one_way_only() {
    let row = |expected| Expectation { expected, ..TABLE[0] };
    assert_eq!(row(Expected::Lacks).meet(|| panic!("run all the same")), Ok("skipped"));
    let fails = row(Expected::Fails("3 of 4"));
    assert_eq!(fails.meet(|| panic!("only {} of 4", 3)), Ok("failed as expected"));
    assert_eq!(fails.meet(|| panic!("only 3 of 4")), Ok("failed as expected"));
    assert!(fails.meet(|| ()).unwrap_err().contains("it passes"));
    assert!(fails.meet(|| panic!("2 of 4")).unwrap_err().contains("another way: 2 of 4"));
}
