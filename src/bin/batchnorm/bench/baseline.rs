//! An earlier run, from the file of its `bench --json`.

use std::path::{Path, PathBuf};

use super::compare::Comparison;
use super::report::Report;

/// Quartiles of fewer runs say too little of the noise.
const FEWEST_RUNS: usize = 9;

/// The reports of an earlier run that no report of this one has been compared with yet.
#[derive(Debug)]
pub struct Baseline {
    path: PathBuf,
    reports: Vec<Report>,
}

/// How to come by such a file.
const HOW: &str = "record one with `batchnorm bench --json > FILE`";

impl Baseline {
    /// Reads a file, for a run of so many runs.
    ///
    /// # Errors
    /// What is wrong with the file, or that there are too few runs in it or to come.
    pub fn read(path: &Path, runs: usize) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}; {HOW}", path.display()))?;
        Self::parse(path, &text, runs)
    }

    /// The same from the text of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str, runs: usize) -> Result<Self, String> {
        let reports: Vec<Report> = serde_json::from_str(text)
            .map_err(|error| format!("{} is not what `bench --json` prints: {error}; {HOW}", path.display()))?;
        if let Some(Report { runs, .. }) = reports.iter().find(|report| report.runs < FEWEST_RUNS) {
            return Err(format!(
                "{} has medians of {runs} runs, which say too little of the noise; record it again with --runs \
                 {FEWEST_RUNS} or more",
                path.display()
            ));
        }
        if runs < FEWEST_RUNS {
            return Err(format!("{runs} runs say too little of the noise; compare with --runs {FEWEST_RUNS} or more"));
        }
        Ok(Self { path: path.to_owned(), reports })
    }

    /// Compares a report with the earlier one of the same adapter, driver, backend and layout; of several alike,
    /// such as two cards of one model, with the first that is left.
    ///
    /// # Errors
    /// As [`Comparison::of`].
    pub fn compare(&mut self, now: &Report) -> Result<Comparison, String> {
        let place = self.reports.iter().position(|before| identity(before) == identity(now));
        let before = place.map(|place| self.reports.remove(place));
        Comparison::of(before.as_ref(), now).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Names the earlier reports that nothing was compared with.
    ///
    /// # Errors
    /// Nothing could be compared at all.
    pub fn finish(self, comparisons: &[&Comparison]) -> Result<(), String> {
        let path = self.path.display();
        let left: Vec<String> =
            self.reports.iter().map(|report| format!("{}, {}", report.adapter, report.layout)).collect();
        if comparisons.iter().any(|comparison| !comparison.rows.is_empty()) {
            for report in left {
                eprintln!("batchnorm: only in {path}: {report}");
            }
            return Ok(());
        }
        let has = if left.is_empty() { "other shapes or operations".to_owned() } else { left.join("; ") };
        Err(format!(
            "nothing of this run is in {path}, which has: {has}. Time what it has, or record one of this adapter, \
             driver, layout and these shapes with `batchnorm bench --json > FILE`"
        ))
    }
}

/// What must be the same for times to be compared.
fn identity(report: &Report) -> [&str; 4] {
    [&report.adapter.name, &report.adapter.driver, &report.adapter.backend, &report.layout]
}

#[cfg(test)]
mod tests {
    use super::{Baseline, FEWEST_RUNS};
    use crate::bench::op::Op;
    use crate::bench::report::Report;
    use crate::bench::samples::{report, row};

    /// Reads a file with this in it.
    fn read(text: &str, runs: usize) -> Result<Baseline, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.json");
        std::fs::write(&path, text).unwrap();
        Baseline::read(&path, runs)
    }

    fn one(ms: f64) -> Report {
        report(vec![row(&[4, 8, 2, 2], Op::Infer, [ms, 0.8], 0.02)])
    }

    #[test]
    fn what_bench_prints_is_read_again() {
        let mut with_comparison = one(1.0);
        with_comparison.comparison = Some(super::Comparison::of(None, &one(1.0)).unwrap());
        let text = serde_json::to_string_pretty(&[one(1.0), with_comparison]).unwrap();
        let baseline = read(&text, FEWEST_RUNS).unwrap();
        let again = serde_json::to_string(&baseline.reports[0]).unwrap();
        assert_eq!(again, serde_json::to_string(&one(1.0)).unwrap());
        assert_eq!(baseline.reports.len(), 2);
    }

    #[test]
    fn rows_from_before_there_were_variants_are_plain() {
        let text = serde_json::to_string(&[one(1.0)]).unwrap();
        let older = text.replace(r#""variant":"plain","#, "");
        assert_ne!(older, text);
        let compared = read(&older, 15).unwrap().compare(&one(1.0)).unwrap();
        assert_eq!(compared.rows.len(), 1);
    }

    #[test]
    fn reports_alike_are_taken_in_turn_and_others_not_at_all() {
        let other = Report { layout: "another".to_owned(), ..one(9.0) };
        let mut baseline = read(&serde_json::to_string(&[other, one(1.0), one(2.0)]).unwrap(), 15).unwrap();
        let before: Vec<f64> = (0..2).map(|_| baseline.compare(&one(1.0)).unwrap().rows[0].before_ms).collect();
        assert_eq!(before, [1.0, 2.0]);
        let third = baseline.compare(&one(1.0)).unwrap();
        assert!(third.rows.is_empty());
        assert_eq!(third.only_now.len(), 1);
        let error = baseline.finish(&[&third]).unwrap_err();
        assert!(error.contains("another") && error.contains("bench --json"), "{error}");
    }

    #[test]
    fn a_file_that_is_none_says_what_to_do() {
        let missing = Baseline::read("/no/such/old.json".as_ref(), 15).unwrap_err();
        for error in [missing, read("{}", 15).unwrap_err(), read("GB/s", 15).unwrap_err()] {
            assert!(error.contains("old.json") && error.contains("batchnorm bench --json"), "{error}");
        }
        let few = serde_json::to_string(&[Report { runs: 3, ..one(1.0) }]).unwrap();
        for (error, runs) in [(read(&few, 15).unwrap_err(), "3 runs"), (read("[]", 8).unwrap_err(), "8 runs")] {
            assert!(error.contains(runs) && error.contains("--runs 9"), "{error}");
        }
    }
}
