//! `batchnorm verify`: the kernels of every adapter against the CPU reference.

mod suite;

use std::fmt;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::iter::{ParallelBridge, ParallelIterator};
use serde::Serialize;
use wgpu_batchnorm::recipe::{Operation, Regime};
use wgpu_batchnorm::verify::{Answer, Expected, Problem, Verdict};
use wgpu_batchnorm::{Error, Gpu, Kernels, Layout, PlanError};

use crate::adapters::Identity;
use crate::json::{self, Number};
use crate::table::Table;
use suite::{Block, Subject, Way};

/// Checks every adapter, or the one asked for.
pub async fn run(options: &crate::Verify) -> crate::Outcome {
    let mut reports = Vec::new();
    for gpu in crate::open_adapters(options.adapter.as_deref(), options.tuning.as_deref()).await? {
        let progress = progress_bar();
        let report = check(&gpu, options.quick, &progress)?;
        progress.finish_and_clear();
        if !options.json {
            crate::say::part(format_args!("{report}"));
        }
        reports.push(report);
    }
    if options.json {
        json::print(&Document::new(&reports))?;
    }
    Ok(reports.iter().all(Report::passed))
}

/// A bar on standard error; hidden where that is no terminal.
pub fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Runs the suite, or its quick part, on one adapter. Each check runs twice, and both runs must agree in
/// every bit.
pub fn check(gpu: &Gpu, quick: bool, progress: &ProgressBar) -> Result<Report, crate::Failure> {
    let start = Instant::now();
    let mut report = Report::new(Identity::of(&gpu.info));
    // No more than are in use.
    gpu.kernels.hold_at_most(HELD);
    let blocks = suite::blocks(quick);
    let subjects: Vec<_> = blocks.iter().flat_map(|block| block.subjects.iter().map(move |one| (block, one))).collect();
    let checks = |(block, _): &(&Block, &Subject)| block.operations.len() * block.ways.len();
    progress.set_length(subjects.iter().map(checks).sum::<usize>() as u64);
    // In order, since neighbours share kernels.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads(gpu)).build();
    let pool = pool.map_err(|error| crate::Failure::new(format!("the threads that check do not start: {error}")))?;
    let found = subjects.iter().enumerate().par_bridge().map(|(number, (block, subject))| {
        progress.set_message(format!("{}: {}", gpu.info.name, block.shows));
        (number, pollster::block_on(outcomes(gpu, block, subject, progress)))
    });
    let mut found: Vec<_> = pool.install(|| found.collect());
    found.sort_by_key(|(number, _)| *number);
    for (check, outcome) in found.into_iter().flat_map(|(_, outcomes)| outcomes) {
        report.add(&check, outcome);
    }
    report.groups.sort_by_key(Group::place);
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// Compiled kernels that are held. A subject's checks use up to 75. With 256 the whole suite compiles as many within 3 %,
/// with 64 a tenth more.
const HELD: usize = 128;

/// Subjects that are checked at once: while one thread waits for the adapter, another compiles or computes what should
/// come back. More than a few would take the memory of as many large tensors. OpenGL's context is for one at a time.
fn threads(gpu: &Gpu) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if gpu.info.backend == wgpu_batchnorm::wgpu::Backend::Gl { 1 } else { cores.min(4) }
}

/// All checks of a subject.
async fn outcomes<'a>(
    gpu: &Gpu,
    block: &'a Block,
    subject: &'a Subject,
    progress: &ProgressBar,
) -> Vec<(Check<'a>, Outcome)> {
    let problem = subject.problem();
    let mut found = Vec::new();
    for &operation in &block.operations {
        let expected = problem.expect(operation);
        for way in &block.ways {
            let check = Check { subject, operation, way };
            let outcome = check.run(gpu, &problem, &expected).await;
            found.push((check, outcome));
            progress.inc(1);
        }
    }
    found
}

/// One thing to run.
struct Check<'a> {
    subject: &'a Subject,
    operation: Operation,
    way: &'a Way,
}

/// What came of it.
enum Outcome {
    /// This recipe ran: every tensor's verdict, and whether a second run gave the same bits.
    Ran { regime: Regime, verdicts: Vec<Verdict>, same_bits: bool },
    /// The shape or the device does not allow it.
    Skipped(PlanError),
    /// It should have run.
    Broke(Error),
}

impl Check<'_> {
    async fn run(&self, gpu: &Gpu, problem: &Problem, expected: &[Expected]) -> Outcome {
        let kernels = self.way.kernels(&gpu.kernels);
        let regime = match kernels.recipe(&problem.descriptor, self.operation) {
            Ok(recipe) => recipe.regime,
            Err(error @ (PlanError::Choice { .. } | PlanError::Limit { .. })) => return Outcome::Skipped(error),
            Err(error) => return Outcome::Broke(error.into()),
        };
        match self.answers(gpu, &kernels, problem).await {
            Ok([first, second]) => Outcome::Ran {
                regime,
                verdicts: expected.iter().map(|expected| expected.judge(&first)).collect(),
                same_bits: first.same_bits(&second),
            },
            Err(error) => Outcome::Broke(error),
        }
    }

    async fn answers(&self, gpu: &Gpu, kernels: &Kernels, problem: &Problem) -> Result<[Answer; 2], Error> {
        let (operation, placement) = (self.operation, self.way.placement);
        let first = problem.run(gpu, kernels, operation, placement).await?;
        Ok([first, problem.run(gpu, kernels, operation, placement).await?])
    }
}

/// How one adapter did.
#[derive(Serialize)]
pub struct Report {
    pub adapter: Identity,
    pub seconds: f64,
    /// Checks that ran, to the right or the wrong end.
    pub ran: usize,
    pub failed: usize,
    pub skipped: usize,
    groups: Vec<Group>,
    failures: Vec<Failure>,
    skips: Vec<Skip>,
}

impl Report {
    fn new(adapter: Identity) -> Self {
        Self { adapter, seconds: 0.0, ran: 0, failed: 0, skipped: 0, groups: vec![], failures: vec![], skips: vec![] }
    }

    /// Whether something ran and all that ran is right.
    pub fn passed(&self) -> bool {
        self.ran > 0 && self.failed == 0
    }

    fn add(&mut self, check: &Check<'_>, outcome: Outcome) {
        let found = self.failures.len();
        match outcome {
            Outcome::Skipped(error) => {
                self.skipped += 1;
                return self.skip(&error);
            }
            Outcome::Broke(error) => self.failures.push(Failure::new(check, error.to_string(), None)),
            Outcome::Ran { regime, verdicts, same_bits } => {
                for verdict in verdicts.iter().filter(|verdict| !verdict.passed()) {
                    let problem = format!("{} is out of tolerance", verdict.name);
                    self.failures.push(Failure::new(check, problem, Some(verdict)));
                }
                if !same_bits {
                    let problem = "two runs differ in their bits".to_owned();
                    self.failures.push(Failure::new(check, problem, None));
                }
                let failed = self.failures.len() > found;
                self.group(check, regime).add(check, &verdicts, failed, same_bits);
            }
        }
        self.ran += 1;
        self.failed += usize::from(self.failures.len() > found);
    }

    fn group(&mut self, check: &Check<'_>, regime: Regime) -> &mut Group {
        let operation = name(check.operation);
        let family = regime.to_string();
        let layout = match check.subject.descriptor.layout() {
            Layout::ChannelsFirst => "channels first",
            Layout::ChannelsLast => "channels last",
        };
        let known = self.groups.iter().position(|group| {
            (group.operation, group.family.as_str(), group.layout) == (operation, family.as_str(), layout)
        });
        let index = known.unwrap_or_else(|| {
            self.groups.push(Group { operation, family, layout, ran: 0, failed: 0, same_bits: 0, worst: None });
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }

    /// Skips are told apart by what stood in the way, not by the numbers in it.
    fn skip(&mut self, error: &PlanError) {
        let because = match error {
            PlanError::Choice { choice, .. } => format!("the choice of {choice} cannot be followed"),
            PlanError::Limit { limit, has, .. } => format!("the device's {limit} is {has}"),
            other => other.to_string(),
        };
        match self.skips.iter_mut().find(|skip| skip.because == because) {
            Some(skip) => skip.checks += 1,
            None => self.skips.push(Skip { because, checks: 1, example: error.to_string() }),
        }
    }
}

/// Operations, apart from the gradients that are wanted of them, in the order of the table.
const OPERATIONS: [&str; 13] = [
    "inference",
    "training forward",
    "training backward",
    "frozen backward",
    "running update",
    "gather",
    "merge",
    "finalize",
    "normalize",
    "gather backward",
    "merge backward",
    "finalize backward",
    "apply backward",
];

fn name(operation: Operation) -> &'static str {
    let place = match operation {
        Operation::Inference => 0,
        Operation::Forward => 1,
        Operation::Backward(_) => 2,
        Operation::FrozenBackward(_) => 3,
        Operation::UpdateRunning => 4,
        Operation::Gather => 5,
        Operation::Merge(_) => 6,
        Operation::Finalize => 7,
        Operation::Normalize => 8,
        Operation::GatherBackward => 9,
        Operation::MergeBackward(_) => 10,
        Operation::FinalizeBackward => 11,
        Operation::ApplyBackward => 12,
    };
    OPERATIONS[place]
}

/// One line of the table.
#[derive(Serialize)]
struct Group {
    operation: &'static str,
    family: String,
    layout: &'static str,
    ran: usize,
    failed: usize,
    same_bits: usize,
    worst: Option<Worst>,
}

impl Group {
    /// Where it stands in the table.
    fn place(&self) -> (Option<usize>, &'static str, String) {
        (OPERATIONS.iter().position(|name| *name == self.operation), self.layout, self.family.clone())
    }

    fn add(&mut self, check: &Check<'_>, verdicts: &[Verdict], failed: bool, same_bits: bool) {
        self.ran += 1;
        self.failed += usize::from(failed);
        self.same_bits += usize::from(same_bits);
        // Of an empty tensor, or one with no number that should come back, there is no error.
        let measured =
            |verdict: &&Verdict| !verdict.passed() || (f64::from(verdict.got) - verdict.expected).is_finite();
        for verdict in verdicts.iter().filter(measured) {
            if self.worst.as_ref().is_none_or(|worst| worst.ratio.0 < verdict.ratio) {
                self.worst = Some(Worst::new(check, verdict));
            }
        }
    }
}

/// The value that came nearest to its tolerance, or went farthest beyond.
#[derive(Serialize)]
struct Worst {
    tensor: &'static str,
    shape: String,
    error: Number,
    tolerance: Number,
    ratio: Number,
}

impl Worst {
    fn new(check: &Check<'_>, verdict: &Verdict) -> Self {
        Self {
            tensor: verdict.name,
            shape: check.shape(),
            error: Number((f64::from(verdict.got) - verdict.expected).abs()),
            tolerance: Number(verdict.tolerance),
            ratio: Number(verdict.ratio),
        }
    }
}

impl Check<'_> {
    fn shape(&self) -> String {
        let sizes: Vec<String> = self.subject.descriptor.shape().iter().map(usize::to_string).collect();
        format!("{} {}", self.subject.axes, sizes.join("×"))
    }
}

/// One thing that is wrong, in full.
#[derive(Serialize)]
struct Failure {
    problem: String,
    operation: String,
    layout: &'static str,
    shape: Vec<usize>,
    descriptor: String,
    data: Data,
    /// Where it is not the adapter's own.
    tuning: Option<String>,
    choice: String,
    placement: String,
    #[serde(flatten)]
    value: Option<Value>,
}

#[derive(Serialize)]
struct Data {
    /// As `suite::data` has it, made of normally distributed values of these:
    kind: &'static str,
    mean: f32,
    standard_deviation: f32,
    seed: u64,
}

/// A value out of tolerance.
#[derive(Serialize)]
struct Value {
    tensor: &'static str,
    index: usize,
    got: Number,
    expected: Number,
    tolerance: Number,
}

impl Failure {
    fn new(check: &Check<'_>, problem: String, verdict: Option<&Verdict>) -> Self {
        let Check { subject, operation, way } = check;
        Self {
            problem,
            operation: operation.to_string(),
            layout: subject.axes,
            shape: subject.descriptor.shape().to_vec(),
            descriptor: format!("{:?}", subject.descriptor),
            data: Data {
                kind: subject.data.name,
                mean: subject.mean,
                standard_deviation: subject.deviation,
                seed: Subject::SEED,
            },
            tuning: way.tuning.map(|tuning| format!("{tuning:?}")),
            choice: format!("{:?}", way.choice),
            placement: format!("{:?}", way.placement),
            value: verdict.map(|verdict| Value {
                tensor: verdict.name,
                index: verdict.index,
                got: Number(verdict.got.into()),
                expected: Number(verdict.expected),
                tolerance: Number(verdict.tolerance),
            }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, operation, layout, shape, data, tuning, choice, placement, value, descriptor } = self;
        write!(f, "{operation}, {layout} {shape:?}: {problem}")?;
        if let Some(Value { tensor, index, got, expected, tolerance }) = value {
            write!(f, "\n    {tensor}[{index}] is {got}; expected {expected} ± {tolerance}")?;
        }
        let Data { kind, mean, standard_deviation, seed } = data;
        write!(f, "\n    data: {kind}, of mean {mean}, standard deviation {standard_deviation}, seed {seed}")?;
        write!(f, "\n    {placement}; {choice}")?;
        if let Some(tuning) = tuning {
            write!(f, "; {tuning}")?;
        }
        write!(f, "\n    {descriptor}")
    }
}

/// Checks that could not run, for one reason.
#[derive(Serialize)]
struct Skip {
    because: String,
    checks: usize,
    example: String,
}

/// Failures that the text report shows of one adapter; JSON has all.
const SHOWN: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adapter, seconds, ran, failed, skipped, groups, failures, skips } = self;
        writeln!(f, "{adapter}\n")?;
        let mut table = Table::new([
            "operation",
            "family",
            "layout",
            "ran",
            "same bits",
            "worst error",
            "tolerance",
            "of",
            "at",
            "verdict",
        ]);
        for group in groups {
            let Group { operation, family, layout, ran, failed, same_bits, worst } = group;
            let mut row =
                vec![operation.to_string(), family.clone(), layout.to_string(), ran.to_string(), same_bits.to_string()];
            match worst {
                Some(Worst { tensor, shape, error, tolerance, .. }) => {
                    row.extend([
                        format!("{:.1e}", error.0),
                        format!("{:.1e}", tolerance.0),
                        tensor.to_string(),
                        shape.clone(),
                    ]);
                }
                None => row.extend(["-", "-", "-", "-"].map(String::from)),
            }
            row.push(if *failed == 0 { "ok".to_owned() } else { format!("{failed} OUT") });
            table.row(row);
        }
        write!(f, "{table}")?;
        for Skip { because, checks, example } in skips {
            writeln!(f, "skipped {checks}: {because} (for one: {example})")?;
        }
        for failure in failures.iter().take(SHOWN) {
            writeln!(f, "OUT: {failure}")?;
        }
        if failures.len() > SHOWN {
            writeln!(f, "... and {} more; --json lists them all", failures.len() - SHOWN)?;
        }
        let verdict = if self.passed() { "all right" } else { "NOT RIGHT" };
        writeln!(f, "\n{verdict}: {ran} ran twice, {failed} out, {skipped} skipped, in {seconds:.1} s\n")
    }
}

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    program: &'static str,
    version: &'static str,
    passed: bool,
    ran: usize,
    failed: usize,
    skipped: usize,
    adapters: &'a [Report],
}

impl<'a> Document<'a> {
    fn new(adapters: &'a [Report]) -> Self {
        Self {
            program: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            passed: adapters.iter().all(Report::passed),
            ran: adapters.iter().map(|report| report.ran).sum(),
            failed: adapters.iter().map(|report| report.failed).sum(),
            skipped: adapters.iter().map(|report| report.skipped).sum(),
            adapters,
        }
    }
}

#[cfg(test)]
mod tests {
    use wgpu_batchnorm::wgpu;

    use super::*;

    fn report_of(ratio: f64, same_bits: bool) -> Report {
        report_on(Verdict { name: "y", index: 7, got: f32::NAN, expected: 1.0, tolerance: 0.5, ratio }, same_bits)
    }

    fn report_on(verdict: Verdict, same_bits: bool) -> Report {
        let adapter = wgpu::AdapterInfo::new(wgpu::DeviceType::Cpu, wgpu::Backend::Noop);
        let mut report = Report::new(Identity::of(&adapter));
        let block = &suite::blocks(true)[0];
        let check = Check { subject: &block.subjects[0], operation: block.operations[0], way: &block.ways[0] };
        report.add(&check, Outcome::Ran { regime: Regime::Split, verdicts: vec![verdict], same_bits });
        report
    }

    #[test]
    fn what_is_within_its_tolerance_passes() {
        let report = report_of(1.0, true);
        assert!(report.passed() && report.failures.is_empty());
        assert!(report.to_string().contains("all right: 1 ran twice, 0 out"), "{report}");
    }

    #[test]
    fn what_is_out_fails_and_is_reported_in_full() {
        let report = report_of(1.5, true);
        assert!(!report.passed());
        assert!(report.to_string().contains("y[7] is NaN; expected 1e0 ± 5e-1"), "{report}");
        let json = serde_json::to_value(Document::new(&[report])).unwrap();
        assert_eq!((&json["passed"], &json["failed"]), (&false.into(), &1.into()));
        let failure = &json["adapters"][0]["failures"][0];
        for (key, value) in [("tensor", "y"), ("got", "NaN"), ("layout", "NC"), ("operation", "training forward")] {
            assert_eq!(failure[key], value, "{failure}");
        }
        assert_eq!((&failure["index"], &failure["tolerance"]), (&7.into(), &0.5.into()));
    }

    /// Whoever reads of a failure can make its data again.
    #[test]
    fn a_failure_names_its_data() {
        let blocks = suite::blocks(false);
        let told = |shows: &str| -> Vec<(String, String)> {
            let block = blocks.iter().find(|block| block.shows == shows).expect("a block of this name");
            let told = |subject| {
                let check = Check { subject, operation: block.operations[0], way: &block.ways[0] };
                let failure = Failure::new(&check, "y is out of tolerance".to_owned(), None);
                let json = serde_json::to_value(&failure).unwrap();
                (failure.to_string(), json["data"]["kind"].as_str().unwrap().to_owned())
            };
            block.subjects.iter().map(told).collect()
        };
        let cases = [
            ("data of other distributions", "a step of 1e3 at a tenth", "of mean 0.5, standard deviation 1, seed 1"),
            ("data of other distributions", "first, middle and last position padding", "of mean 1000000, "),
            ("padding", "nothing valid", "of mean 0.5, "),
            ("health", "NaN, inf and -inf at 1, 40 and 100", "of mean 0.5, "),
            ("hard data", "normal", "of mean -10000, standard deviation 0.01, "),
        ];
        for (shows, kind, numbers) in cases {
            let (told, line) = (told(shows), format!("\n    data: {kind}, {numbers}"));
            let found = told.iter().any(|(text, json)| text.contains(&line) && json == kind);
            assert!(found, "{shows}: no failure has {line:?}: {told:?}");
        }
        // No two are told alike.
        let told = told("data of other distributions");
        let different: std::collections::HashSet<_> = told.iter().collect();
        assert_eq!(different.len(), told.len());
    }

    /// An empty tensor has no value, and so no error; nor have NaN and infinity where they should be.
    #[test]
    fn what_cannot_be_measured_is_a_dash() {
        let measured = Verdict { name: "y", index: 0, got: 1.25, expected: 1.0, tolerance: 0.5, ratio: 0.5 };
        assert!(report_on(measured, true).to_string().contains("2.5e-1"));
        for value in [f32::NAN, f32::INFINITY] {
            let report = report_on(Verdict { got: value, expected: value.into(), ratio: 0.0, ..measured }, true);
            let text = report.to_string();
            assert!(report.passed() && !text.contains("NaN") && text.contains("  -  "), "{text}");
            let json = serde_json::to_value(Document::new(&[report])).unwrap();
            assert!(json["adapters"][0]["groups"][0]["worst"].is_null(), "{json}");
        }
    }

    #[test]
    fn different_bits_fail() {
        let report = report_of(0.0, false);
        assert!(!report.passed() && report.failed == 1);
    }

    #[test]
    fn what_is_skipped_has_not_passed() {
        let mut report = report_of(0.0, true);
        (report.ran, report.groups) = (0, vec![]);
        let error = PlanError::Choice { choice: "tile", because: "of 3".to_owned() };
        let block = &suite::blocks(true)[0];
        let check = Check { subject: &block.subjects[0], operation: block.operations[0], way: &block.ways[0] };
        report.add(&check, Outcome::Skipped(error));
        assert_eq!((report.ran, report.failed, report.skipped, report.passed()), (0, 0, 1, false));
        assert!(report.to_string().contains("skipped 1: the choice of tile cannot be followed"), "{report}");
    }
}
