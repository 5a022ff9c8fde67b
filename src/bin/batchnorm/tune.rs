//! `batchnorm tune`: better numbers to choose kernels by, looked for on the adapter at hand.

mod gain;
mod parameters;
mod report;
mod search;
mod stage;

use std::path::Path;
use std::time::Instant;

use wgpu_batchnorm::tuning::{Tuning, Tunings};
use wgpu_batchnorm::{Gpu, checkpoint};

use crate::adapters::Identity;
use crate::say::say;
use crate::verify::progress_bar;
use crate::{Failure, Outcome, json, open_adapters};
use gain::Gain;
use parameters::Parameter;
use report::{Report, Row};
use search::{Found, search};
use stage::Stage;

/// What is searched.
struct Scope {
    shapes: Vec<[usize; 4]>,
    parameters: Vec<Parameter>,
    /// Runs of which times are medians.
    runs: usize,
}

impl Scope {
    fn of(gpu: &Gpu, quick: bool) -> Self {
        let kind = gpu.kernels.capabilities().kind;
        let shapes = stage::shapes(kind, quick).to_vec();
        Self { shapes, parameters: Parameter::of(kind, quick), runs: if quick { 7 } else { 11 } }
    }
}

pub async fn run(options: &crate::Tune) -> Outcome {
    // Before the long part: a file that is none is told at once.
    options.save.as_deref().map(read_if_there).transpose()?;
    let mut reports = vec![];
    for gpu in open_adapters(options.adapter.as_deref(), None).await? {
        let report = tune(&gpu, &Scope::of(&gpu, options.quick)).await?;
        if !options.json {
            crate::say::part(format_args!("{report}"));
        }
        if let Some(path) = &options.save {
            match &report.key {
                Some(key) => save(path, key, report.tuning)?,
                None => eprintln!("batchnorm: an adapter without a name cannot be saved in {}", path.display()),
            }
            if !options.json && report.key.is_some() {
                say!("saved in {}\n", path.display());
            }
        }
        reports.push(report);
    }
    if options.json {
        json::print(&reports)?;
    }
    Ok(true)
}

/// Searches on one adapter, from the built-in numbers.
async fn tune(gpu: &Gpu, scope: &Scope) -> Result<Report, Failure> {
    let start = Instant::now();
    let progress = progress_bar();
    progress.set_message(format!("{}: right answers", gpu.info.name));
    let built_in = Tuning::of(gpu.kernels.capabilities().kind);
    let mut stage = Stage::new(gpu, &scope.shapes, scope.runs, &built_in).await?;
    let Found { mut tuning, tries } = search(&mut stage, &scope.parameters, built_in, &progress).await?;
    // Steps that each won may still lose together.
    let mut rows = vec![];
    let mut gain = Gain::NONE;
    if tuning != built_in {
        progress.set_message("all of it again");
        let laps = stage.laps(&[built_in, tuning]).await?;
        gain = Gain::of(&laps, [0, 1], scope.runs);
        rows = stage.names().into_iter().zip(&laps).map(|(name, laps)| Row::new(name, [laps[0], laps[1]])).collect();
    }
    if !gain.wins() {
        tuning = built_in;
    }
    progress.finish_and_clear();
    let moved = scope.parameters.iter().filter_map(|parameter| {
        let [from, to] = [built_in, tuning].map(|tuning| (parameter.value)(&tuning));
        (from != to).then(|| [parameter.name.to_owned(), from, to])
    });
    Ok(Report {
        adapter: Identity::of(&gpu.info),
        key: gpu.kernels.tuning_key().map(str::to_owned),
        clock: stage.clock(),
        runs: scope.runs,
        seconds: start.elapsed().as_secs_f64(),
        moved: moved.collect(),
        left_out: stage.left_out,
        tries,
        gain,
        rows,
        tuning,
    })
}

/// The tunings in a file.
pub fn read(path: &Path) -> Result<Tunings, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(&format!("{error}; make one with `batchnorm tune --save FILE.json`")))?;
    Tunings::from_json(&text).map_err(|error| failed(&error))
}

/// Has an adapter choose by what a file says of it, or, said so, by the built-in numbers.
pub fn apply(tunings: &Tunings, path: &Path, gpu: &mut Gpu) {
    match gpu.kernels.tuned_from(tunings) {
        Some(kernels) => gpu.kernels = kernels,
        None => {
            let key = gpu.kernels.tuning_key().unwrap_or("an adapter without a name");
            eprintln!("batchnorm: {} has nothing for {key}: the built-in numbers are used", path.display());
        }
    }
}

/// Those of a file that may yet have to be made.
fn read_if_there(path: &Path) -> Result<Tunings, Failure> {
    if path.exists() { read(path) } else { Ok(Tunings::default()) }
}

/// Adds a tuning to a file, which is there as it was or as it should be, whichever step fails.
fn save(path: &Path, key: &str, tuning: Tuning) -> Result<(), Failure> {
    let mut tunings = read_if_there(path)?;
    tunings.insert(key, tuning);
    let text = tunings.to_json().map_err(wgpu_batchnorm::Error::from)?;
    Ok(checkpoint::replace([(path, text + "\n")])?)
}

#[cfg(test)]
mod tests {
    use wgpu_batchnorm::recipe::Operation;
    use wgpu_batchnorm::verify::{Placement, Problem};
    use wgpu_batchnorm::{Descriptor, Layout};

    use super::*;

    fn ok<T>(result: Result<T, Failure>) -> T {
        result.unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    #[test]
    fn what_is_saved_joins_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        ok(save(&path, "one", Tuning::CPU));
        ok(save(&path, "other", Tuning::GPU));
        ok(save(&path, "one", Tuning { lanes: 16, ..Tuning::CPU }));
        let tunings = ok(read(&path));
        assert_eq!(tunings.keys().collect::<Vec<_>>(), ["one", "other"]);
        assert_eq!(tunings.get("one").map(|tuning| tuning.lanes), Some(16));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_none_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        let missing = read(&path).err().map(|failure| failure.message).unwrap_or_default();
        std::fs::write(&path, "{\"one\": {\"warps\": 2}}").unwrap();
        let wrong = save(&path, "one", Tuning::CPU).err().map(|failure| failure.message).unwrap_or_default();
        for message in [missing, wrong] {
            assert!(message.contains("tuned.json") && message.contains("batchnorm tune"), "{message}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"one\": {\"warps\": 2}}");
    }

    /// From the search to kernels that compute by what it saved.
    #[test]
    fn what_is_saved_computes_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        pollster::block_on(async {
            for mut gpu in ok(open_adapters(None, None).await) {
                let kind = gpu.kernels.capabilities().kind;
                let mut parameters = Parameter::of(kind, true);
                parameters.truncate(1);
                let scope = Scope { shapes: vec![[2, 8, 12, 12]], parameters, runs: 3 };
                let report = ok(tune(&gpu, &scope).await);
                assert!(!report.tries.is_empty());
                // Whatever it found, other numbers than the built-in ones.
                let other = Tuning { lanes: 4, loads: 2, ..report.tuning };
                ok(save(&path, report.key.as_deref().unwrap(), other));
                let before = gpu.kernels.clone();
                apply(&ok(read(&path)), &path, &mut gpu);
                let problem = Problem::random(Descriptor::new([2, 3, 90, 90], Layout::ChannelsFirst), 0.5, 1.0, 1);
                let recipes = [&before, &gpu.kernels]
                    .map(|kernels| kernels.recipe(&problem.descriptor, Operation::Forward).unwrap());
                assert_ne!(recipes[0], recipes[1], "{}", gpu.name());
                let answer = problem.run(&gpu, &gpu.kernels, Operation::Forward, Placement::Separate).await.unwrap();
                let verdicts = problem.judge(Operation::Forward, &answer);
                assert!(verdicts.iter().all(|verdict| verdict.passed()), "{verdicts:?}");
            }
        });
    }
}
