//! What was tried on an adapter, and what it gained.

use std::fmt;

use serde::Serialize;
use wgpu_batchnorm::tuning::Tuning;

use super::gain::{Gain, Lap};
use super::search::{Try, Verdict};
use super::stage::Name;
use crate::adapters::Identity;
use crate::bench::{Op, Quartiles, layer_name};
use crate::table::Table;

/// One adapter's search.
#[derive(Serialize)]
pub struct Report {
    pub adapter: Identity,
    /// Its key in a file of tunings, where it has a name.
    pub key: Option<String>,
    pub clock: &'static str,
    /// Runs of which times are medians.
    pub runs: usize,
    pub seconds: f64,
    /// What could not be timed.
    pub left_out: Vec<String>,
    pub tries: Vec<Try>,
    /// Of the whole search, timed anew.
    pub gain: Gain,
    pub rows: Vec<Row>,
    /// The numbers that are best; the built-in ones where nothing was gained.
    pub tuning: Tuning,
    /// Names of the numbers that moved, from and to.
    pub moved: Vec<[String; 3]>,
}

/// A subject by the built-in numbers and by those that the search ended at.
#[derive(Serialize)]
pub struct Row {
    pub shape: Vec<usize>,
    pub layout: &'static str,
    pub op: Op,
    pub built_in_ms: f64,
    pub tuned_ms: f64,
}

impl Row {
    /// Of a subject's laps, by the built-in tuning and by the other.
    pub fn new(name: Name, [built_in, tuned]: [Lap; 2]) -> Self {
        let (layout, Name { shape, op, .. }) = (name.layout(), name);
        Self { shape, layout, op, built_in_ms: built_in.ms.median, tuned_ms: tuned.ms.median }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("TAKEN"),
            Self::Surpassed => f.write_str("faster, but another more so"),
            Self::NotAgain => f.write_str("faster once, not again"),
            Self::NotFaster => f.write_str("not faster"),
            Self::SamePlans => f.write_str("the same plans"),
            Self::Dropped(because) => write!(f, "DROPPED: {because}"),
        }
    }
}

impl Report {
    /// The median, over what was timed, of the gain that noise would have hidden.
    fn hidden(&self) -> f64 {
        let least: Vec<f64> = self.tries.iter().filter_map(|attempt| attempt.gain).map(|gain| gain.least()).collect();
        Quartiles::of(&least).map_or(0.0, |least| least.median)
    }
}

/// Gains that a search should not miss.
const NOISY: f64 = 0.1;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adapter, clock, runs, seconds, left_out, tries, gain, rows, moved, .. } = self;
        writeln!(f, "{adapter}\nmedians of {runs} runs by {clock}\n")?;
        for subject in left_out {
            writeln!(f, "left out: {subject}")?;
        }
        let mut table = Table::new(["parameter", "is", "tried", "times as fast", "verdict"]);
        for Try { parameter, before, candidate, gain, verdict, .. } in tries {
            let gain = gain.map_or_else(String::new, |gain| gain.to_string());
            table.row([parameter.to_string(), before.clone(), candidate.clone(), gain, verdict.to_string()]);
        }
        writeln!(f, "{table}")?;
        let noise = self.hidden();
        if noise > NOISY {
            let percent = 100.0 * noise;
            writeln!(
                f,
                "(A busy machine: half of these could hide gains of {percent:.0} % and more in their noise.)\n"
            )?;
        }
        let mut table = Table::new(["shape", "channels", "op", "built in ms", "tuned ms", "times as fast"]);
        for Row { shape, layout, op, built_in_ms, tuned_ms } in rows {
            let [built_in, tuned] = [built_in_ms, tuned_ms].map(|ms| format!("{ms:.4}"));
            let factor = format!("{:.2}", built_in_ms / tuned_ms);
            table.row([layer_name(shape), layout.to_string(), op.name().to_owned(), built_in, tuned, factor]);
        }
        if !rows.is_empty() {
            writeln!(f, "{table}")?;
        }
        if moved.is_empty() {
            return writeln!(f, "nothing gained: the built-in numbers stay. ({seconds:.0} s)\n");
        }
        let moved: Vec<String> = moved.iter().map(|[name, from, to]| format!("{name} {from} → {to}")).collect();
        writeln!(f, "{gain} times as fast by the geometric mean, with {}. ({seconds:.0} s)\n", moved.join(", "))
    }
}
