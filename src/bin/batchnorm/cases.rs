//! `batchnorm verify --cases`: recorded calls of other implementations, run on one adapter and judged by
//! the answers and tolerances recorded with them.

pub mod exercise;
pub mod file;
pub mod judge;
mod module;
mod report;
mod sync;

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use wgpu_batchnorm::{Gpu, checkpoint};

use crate::adapters::Identity;
use crate::{Failure, json, verify};
use exercise::{Output, Ran};
use file::{Case, FileError};
use report::{Record, Report, Verdict};

/// Runs the cases on the adapter asked for, or else the best.
pub async fn run(folder: &Path, options: &crate::Verify) -> crate::Outcome {
    let cases = file::read_folder(folder)?;
    let gpu = match &options.adapter {
        Some(asked) => Gpu::named(asked).await?,
        None => Gpu::new().await?,
    };
    if let Some(out) = &options.out {
        fs::create_dir_all(out).map_err(|error| FileError::new(out, format!("cannot be made: {error}")))?;
    }
    let progress = verify::progress_bar();
    progress.set_length(cases.len() as u64);
    let mut report = Report::new(Identity::of(&gpu.info));
    for case in &cases {
        progress.set_message(case.name.clone());
        let ran = exercise::exercise(&gpu, case).await?;
        if let (Some(out), Ran::Answered(outputs)) = (&options.out, &ran) {
            write(out, case, outputs)?;
        }
        report.add(Record::new(case, verdict(case, ran)?));
        progress.inc(1);
    }
    progress.finish_and_clear();
    if options.json {
        json::print(&report)?
    } else {
        crate::say::part(format_args!("{report}"))
    }
    Ok(report.passed())
}

/// What is to be thought of what came of a case.
fn verdict(case: &Case, ran: Ran) -> Result<Verdict, FileError> {
    let must_be_refused = case.grade == "error";
    Ok(match ran {
        Ran::LeftOut(reason) => Verdict::LeftOut { reason },
        Ran::Refused { error, .. } | Ran::Misbound(error) if must_be_refused => Verdict::Refused { error },
        Ran::Answered(_) if must_be_refused => Verdict::wrong("it had to be refused, and was computed"),
        Ran::Refused { reason, .. } => Verdict::LeftOut { reason },
        Ran::Misbound(error) | Ran::Broke(error) => Verdict::wrong(error),
        Ran::Answered(outputs) => match judge::judge(case, &outputs)? {
            mismatches if mismatches.is_empty() => Verdict::Right,
            mismatches => Verdict::Wrong { because: None, mismatches },
        },
    })
}

/// Writes those of the case's answers that came back, under its names and in its shapes.
fn write(folder: &Path, case: &Case, outputs: &[Output]) -> Result<(), Failure> {
    let path = folder.join(format!("{}.safetensors", case.name));
    let failed = |problem: String| FileError::new(&path, problem);
    let mut tensors = Vec::new();
    for (name, tensor) in case.tensors("out.") {
        if let Some(output) = outputs.iter().find(|output| output.name == name) {
            let bytes = bytemuck::cast_slice(&output.values);
            let view =
                TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(|error| failed(error.to_string()))?;
            tensors.push((format!("out.{name}"), view));
        }
    }
    if tensors.is_empty() {
        return Ok(());
    }
    Ok(checkpoint::write(&path, tensors, None)?)
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::file::{Values, tests::case};
    use super::*;

    /// A case whose answer is 1 ± 0.1.
    fn graded(grade: &str) -> Case {
        let metadata = [("format", "bn-case/1"), ("op", "eval_forward"), ("grade", grade), ("nonfinite_rule", "exact")];
        case(&metadata, &[("out.y", &[1], Values::F64(vec![1.0])), ("tol.y", &[1], Values::F64(vec![0.1]))])
    }

    fn answered(value: f32) -> Ran {
        Ran::Answered(vec![Output { name: "y".to_owned(), values: vec![value] }])
    }

    fn refused() -> Ran {
        Ran::Refused { error: "the error".to_owned(), reason: "the reason".to_owned() }
    }

    #[test]
    fn a_case_must_be_answered_or_refused_by_its_grade() {
        let (core, error) = (graded("core"), graded("error"));
        assert_eq!(verdict(&core, answered(1.05)).unwrap(), Verdict::Right);
        assert!(matches!(verdict(&core, answered(1.2)).unwrap(), Verdict::Wrong { .. }));
        assert_eq!(verdict(&core, refused()).unwrap(), Verdict::LeftOut { reason: "the reason".to_owned() });
        assert!(matches!(verdict(&core, Ran::Misbound(String::new())).unwrap(), Verdict::Wrong { .. }));
        assert!(matches!(verdict(&core, Ran::Broke(String::new())).unwrap(), Verdict::Wrong { .. }));
        assert_eq!(verdict(&error, refused()).unwrap(), Verdict::Refused { error: "the error".to_owned() });
        assert!(matches!(verdict(&error, Ran::Misbound(String::new())).unwrap(), Verdict::Refused { .. }));
        assert!(matches!(verdict(&error, answered(1.0)).unwrap(), Verdict::Wrong { .. }));
        assert!(matches!(verdict(&error, Ran::Broke(String::new())).unwrap(), Verdict::Wrong { .. }));
    }
}
