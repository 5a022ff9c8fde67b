//! What came of all cases, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::file::Case;
use super::judge::Mismatch;
use crate::adapters::Identity;
use crate::table::Table;

/// One case and what is to be thought of it.
#[derive(Serialize)]
pub struct Record {
    name: String,
    op: String,
    grade: String,
    x: String,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What is to be thought of a case.
#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every value is within its tolerance.
    Right,
    /// It was wrong, and refused.
    Refused { error: String },
    /// It was not run, or this library does not do it.
    LeftOut { reason: String },
    /// Values are out, or it went wrong before there were any.
    Wrong {
        #[serde(skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        mismatches: Vec<Mismatch>,
    },
}

impl Verdict {
    pub fn wrong(because: impl Into<String>) -> Self {
        Self::Wrong { because: Some(because.into()), mismatches: vec![] }
    }
}

impl Record {
    pub fn new(case: &Case, verdict: Verdict) -> Self {
        let Case { name, op, grade, .. } = case;
        Self { name: name.clone(), op: op.clone(), grade: grade.clone(), x: case.describe(), verdict }
    }
}

/// How one adapter did.
#[derive(Serialize)]
pub struct Report {
    program: &'static str,
    version: &'static str,
    adapter: Identity,
    passed: bool,
    totals: Counts,
    cases: Vec<Record>,
}

/// How many cases came to which end.
#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    ran: usize,
    passed: usize,
    failed: usize,
    left_out: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::LeftOut { .. } => self.left_out += 1,
            Verdict::Right | Verdict::Refused { .. } => self.passed += 1,
            Verdict::Wrong { .. } => self.failed += 1,
        }
        self.ran = self.passed + self.failed;
    }
}

impl Report {
    pub fn new(adapter: Identity) -> Self {
        Self {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            adapter,
            passed: false,
            totals: Counts::default(),
            cases: vec![],
        }
    }

    pub fn add(&mut self, record: Record) {
        self.totals.add(&record.verdict);
        self.passed = self.totals.ran > 0 && self.totals.failed == 0;
        self.cases.push(record);
    }

    /// Whether something ran and all that ran is right.
    pub fn passed(&self) -> bool {
        self.passed
    }

    fn by_op(&self) -> Table {
        let mut groups = BTreeMap::<(&str, &str), Counts>::new();
        for Record { op, grade, verdict, .. } in &self.cases {
            groups.entry((op, grade)).or_default().add(verdict);
        }
        let mut table = Table::new(["op", "grade", "ran", "passed", "failed", "left out"]);
        let totals = [(("all", ""), self.totals)];
        for ((op, grade), Counts { ran, passed, failed, left_out }) in groups.into_iter().chain(totals) {
            let counts = [ran, passed, failed, left_out].map(|count| count.to_string());
            table.row([op.to_owned(), grade.to_owned()].into_iter().chain(counts));
        }
        table
    }

    fn by_reason(&self) -> Table {
        let mut reasons = BTreeMap::<(&str, &str), usize>::new();
        for Record { op, verdict, .. } in &self.cases {
            if let Verdict::LeftOut { reason } = verdict {
                *reasons.entry((reason, op)).or_default() += 1;
            }
        }
        let mut table = Table::new(["left out because", "op", "cases"]);
        for ((reason, op), count) in reasons {
            table.row([reason.to_owned(), op.to_owned(), count.to_string()]);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}", self.adapter, self.by_op())?;
        if self.totals.left_out > 0 {
            writeln!(f, "{}", self.by_reason())?;
        }
        for Record { name, op, grade, x, verdict } in &self.cases {
            let Verdict::Wrong { because, mismatches } = verdict else { continue };
            writeln!(f, "FAILED: {name} ({op}, {grade}, {x})")?;
            if let Some(because) = because {
                writeln!(f, "    {because}")?;
            }
            for Mismatch { tensor, index, got, expected, tolerance, values_out } in mismatches {
                writeln!(f, "    {tensor}[{index}] is {got}; expected {expected} ± {tolerance} ({values_out} out)")?;
            }
        }
        let Counts { ran, passed, left_out, .. } = self.totals;
        let verdict = if self.passed { "all right" } else { "NOT RIGHT" };
        writeln!(f, "{verdict}: {passed} of {ran} passed, {left_out} left out")
    }
}
