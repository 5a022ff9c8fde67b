//! Runs a recorded case: its data as a [`Problem`], its op as the library's operations.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Placement, Problem};
use wgpu_batchnorm::{
    Descriptor, Error, Gpu, Gradients, Mask, Momentum, NoValue, OneValue, Padding, PlanError, Running, RunningVariance,
    Types,
};

use super::file::{Case, FileError, Tensor, Values};
use super::module::Module;
use super::sync;

/// A tensor that came back, named as the case names its answer (`y`, `running_mean.2`).
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub name: String,
    pub values: Vec<f32>,
}

/// What came of a case.
#[derive(Debug)]
pub enum Ran {
    Answered(Vec<Output>),
    /// This program has no such thing, or not yet.
    LeftOut(String),
    /// The library does not do such a thing. The reason is the error apart from what is this case's own, so
    /// that cases left out for one reason count as one.
    Refused {
        error: String,
        reason: String,
    },
    /// The library found that the buffers do not fit.
    Misbound(String),
    /// Something else went wrong.
    Broke(String),
}

impl From<Error> for Ran {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let reason = match error {
            Error::Plan(PlanError::OneValue { .. }) => {
                "one value a channel in training is an error here, as in PyTorch"
            }
            Error::Plan(PlanError::ZeroSize { .. }) => "a channel axis of size 0 is an error here",
            Error::Plan(PlanError::Rank { .. }) => "fewer than two axes are an error here",
            Error::Plan(PlanError::Epsilon { .. }) => "an ε below 0, or of 0 in training, is an error here",
            Error::Plan(PlanError::Limit { .. }) => return Self::LeftOut(text),
            Error::Plan(PlanError::Pipeline { .. }) | Error::Gpu(_) => return Self::Broke(text),
            Error::Bind(_) => return Self::Misbound(text),
            _ => &text,
        };
        Self::Refused { reason: reason.to_owned(), error: text }
    }
}

/// Runs a case on a device.
pub async fn exercise(gpu: &Gpu, case: &Case) -> Result<Ran, FileError> {
    if let Some(reason) = left_out(case) {
        return Ok(Ran::LeftOut(reason));
    }
    let ran = match case.op.as_str() {
        "train_forward" => train_forward(gpu, case).await,
        "train_backward" => train_backward(gpu, case).await,
        "eval_forward" if uses_batch(case) => train_forward(gpu, case).await,
        "eval_forward" => eval_forward(gpu, case).await,
        "eval_backward" if uses_batch(case) => train_backward(gpu, case).await,
        "eval_backward" => eval_backward(gpu, case).await,
        "steps" => steps(gpu, case).await,
        "sync" => sync::sync(gpu, case).await,
        "error" => error(gpu, case).await,
        other => Err(Stop::Ran(Ran::LeftOut(format!("op {other} is not in this version")))),
    };
    match ran {
        Ok(outputs) => Ok(Ran::Answered(outputs)),
        Err(Stop::Ran(ran)) => Ok(ran),
        Err(Stop::File(error)) => Err(error),
    }
}

/// Why a case ends without an answer.
pub enum Stop {
    Ran(Ran),
    File(FileError),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Ran(error.into().into())
    }
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

pub type Outputs = Result<Vec<Output>, Stop>;

/// What of a case this program does not take, whatever the op.
fn left_out(case: &Case) -> Option<String> {
    let strange = |(name, tensor): (&str, &Tensor)| match &tensor.values {
        Values::F32(_) | Values::Bool(_) => None,
        Values::F64(_) => Some(format!("in.{name} of type F64 (there are f32, f16 and bf16)")),
        Values::Other(dtype) => Some(format!("in.{name} of type {dtype} (there are f32, f16 and bf16)")),
    };
    match case.op.as_str() {
        "simplenet" => Some("a network is a program's business, not the library's".to_owned()),
        _ => case.tensors("in.").find_map(strange),
    }
}

/// In evaluation without running statistics, the batch's own stand in.
fn uses_batch(case: &Case) -> bool {
    case.get("stats_source") == Some("batch")
}

async fn train_forward(gpu: &Gpu, case: &Case) -> Outputs {
    let problem = problem(case, "in.x", convention(case)?)?;
    Ok(forward_outputs(&run(gpu, &problem, Operation::Forward).await?))
}

async fn eval_forward(gpu: &Gpu, case: &Case) -> Outputs {
    let problem = problem(case, "in.x", None)?;
    let answer = run(gpu, &problem, Operation::Inference).await?;
    Ok(vec![output("y", answer.get("y"))])
}

/// The backward pass takes the statistics that this library's own forward pass saves.
async fn train_backward(gpu: &Gpu, case: &Case) -> Outputs {
    let mut problem = problem(case, "in.x", None)?;
    problem.saved = run(gpu, &problem, Operation::Forward).await?.get("saved").to_vec();
    backward(gpu, case, &problem, Operation::Backward).await
}

async fn eval_backward(gpu: &Gpu, case: &Case) -> Outputs {
    let problem = problem(case, "in.x", None)?;
    backward(gpu, case, &problem, Operation::FrozenBackward).await
}

async fn backward(gpu: &Gpu, case: &Case, problem: &Problem, operation: fn(Gradients) -> Operation) -> Outputs {
    let [dx, dgamma, dbeta] = ["out.dx", "out.dgamma", "out.dbeta"].map(|name| case.has(name));
    let answer = run(gpu, problem, operation(Gradients { dx, dgamma, dbeta })).await?;
    Ok(answer.0.iter().map(|(name, values)| output(name, values)).collect())
}

/// Calls of one layer, one after the other: each finds the running statistics as the last one left them.
async fn steps(gpu: &Gpu, case: &Case) -> Outputs {
    let modes: Vec<String> = serde_json::from_str(case.text("modes")?)
        .map_err(|error| case.error(format!("its metadata has modes that are no list of names ({error})")))?;
    let rule = convention(case)?;
    let mut outputs = Vec::new();
    let mut before: Option<Problem> = None;
    for (step, mode) in modes.iter().enumerate() {
        let mut problem = problem(case, &format!("in.x.{step}"), rule)?;
        if let Some(before) = before {
            (problem.running_mean, problem.running_variance) = (before.running_mean, before.running_variance);
            problem.batches = before.batches;
        }
        let trains = mode == "train";
        // Without running statistics, evaluation uses the batch's too.
        let operation = if trains || rule.is_none() { Operation::Forward } else { Operation::Inference };
        let answer = run(gpu, &problem, operation).await?;
        if trains && rule.is_some() {
            problem.running_mean = answer.get("running_mean").to_vec();
            problem.running_variance = answer.get("running_variance").to_vec();
            problem.batches += 1;
        }
        for (name, values) in [
            ("y", answer.get("y")),
            ("running_mean", &problem.running_mean),
            ("running_var", &problem.running_variance),
        ] {
            outputs.push(output(&format!("{name}.{step}"), values));
        }
        before = Some(problem);
    }
    Ok(outputs)
}

/// A call that is wrong in some way: everything that the case gives goes into it, and nothing is put right.
async fn error(gpu: &Gpu, case: &Case) -> Outputs {
    let left_out = |reason: String| Stop::Ran(Ran::LeftOut(reason));
    let config: serde_json::Value = serde_json::from_str(case.get("config").unwrap_or("{}"))
        .map_err(|error| left_out(format!("its config is no JSON ({error})")))?;
    let module = match config.get("module").and_then(|module| module.as_str()) {
        Some(text) => Some(Module::parse(text).ok_or_else(|| left_out(format!("unknown module {text}")))?),
        None => None,
    };
    let rank = case.tensor("in.x")?.shape.len();
    if let Some(module) = module.as_ref().filter(|module| !module.ranks.contains(&rank)) {
        let error = format!("{} takes x of rank {}, not {rank}", module.name, module.ranks());
        return Err(Stop::Ran(Ran::Refused { reason: error.clone(), error }));
    }
    let number = |key: &str| config.get(key).and_then(serde_json::Value::as_f64);
    let of_module = |pick: fn(&Module) -> Option<f64>| module.as_ref().and_then(pick);
    let training = config.get("training").and_then(serde_json::Value::as_bool).unwrap_or(module.is_some());
    let momentum = number("momentum").or(of_module(|module| module.momentum)).unwrap_or(0.1);
    let mut problem = problem(case, "in.x", None)?;
    if let Some(module) = module.as_ref() {
        module.fill(case, &mut problem);
    }
    // With one of them given, both have to be.
    let tracks = !(problem.running_mean.is_empty() && problem.running_variance.is_empty());
    let rule = Running { momentum: Momentum::New(momentum), ..Running::default() };
    problem.descriptor = problem.descriptor.running(tracks.then_some(rule));
    if let Some(epsilon) = number("eps").or(of_module(|module| module.epsilon)) {
        problem.descriptor = problem.descriptor.epsilon(epsilon as f32);
    }
    let operation = if training || module.is_some() && !tracks { Operation::Forward } else { Operation::Inference };
    let answer = run(gpu, &problem, operation).await?;
    if problem.dy.is_empty() {
        return Ok(forward_outputs(&answer));
    }
    let backward = match operation {
        Operation::Forward => Operation::Backward(Gradients::ALL),
        _ => Operation::FrozenBackward(Gradients::ALL),
    };
    problem.saved = answer.get("saved").to_vec();
    let answer = run(gpu, &problem, backward).await?;
    Ok(answer.0.iter().map(|(name, values)| output(name, values)).collect())
}

/// More than any layer has, and little enough for memory.
const MOST_CHANNELS: usize = 1 << 24;

/// The case's tensors, as they are. What is not given stays empty, and so is not bound.
pub fn problem(case: &Case, x: &str, running: Option<Running>) -> Result<Problem, FileError> {
    let owned = |name: &str| Ok(case.f32(name)?.unwrap_or_default().to_vec());
    let descriptor = Descriptor::new(case.tensor(x)?.shape.clone(), case.layout())
        .affine(case.has("in.gamma"), case.has("in.beta"))
        .types(Types {
            x: case.float("dtype")?,
            parameters: case.float("param_dtype")?,
            running: case.float("stat_dtype")?,
        })
        .padding(if case.has("in.mask") { Padding::Mask(Mask::Bytes) } else { Padding::None })
        .running(running);
    // Where an answer was recorded, the framework had one for one value a channel too.
    let descriptor = match case.op.as_str() {
        "error" => descriptor,
        _ => descriptor.one_value(OneValue::HasNoVariance),
    };
    let descriptor = match case.number("eps")? {
        Some(epsilon) => descriptor.epsilon(epsilon as f32),
        None => descriptor,
    };
    // A tensor of no values may claim any shape.
    if descriptor.channels() > MOST_CHANNELS {
        return Err(case.error(format!("has {} channels, more than {MOST_CHANNELS}", descriptor.channels())));
    }
    // Without a γ its length still says how long the outputs of a channel are.
    let ones = vec![1.0; descriptor.channels()];
    Ok(Problem {
        x: owned(x)?,
        dy: owned("in.dy")?,
        residual: vec![],
        valid: case.bool("in.mask")?.unwrap_or_default().to_vec(),
        gamma: case.f32("in.gamma")?.map_or(ones, <[f32]>::to_vec),
        beta: owned("in.beta")?,
        running_mean: owned("in.running_mean")?,
        running_variance: owned("in.running_var")?,
        saved: vec![],
        batches: case.get("num_batches_tracked_before").and_then(|batches| batches.parse().ok()).unwrap_or(0),
        descriptor,
    })
}

/// How the case moves running statistics, if it does.
pub fn convention(case: &Case) -> Result<Option<Running>, Stop> {
    let variance = match case.get("running_var") {
        None => return Ok(None),
        Some("unbiased") => RunningVariance::Unbiased,
        Some("population") => RunningVariance::Biased,
        Some(other) => return Err(case.error(format!("its metadata has an unknown running_var = {other}")).into()),
    };
    let momentum = match (case.text("momentum_convention")?, case.number("momentum")?) {
        (_, None) => Momentum::Cumulative,
        ("torch", Some(weight)) => Momentum::New(weight),
        ("decay", Some(decay)) => Momentum::Old(decay),
        (other, _) => {
            return Err(case.error(format!("its metadata has an unknown momentum_convention = {other}")).into());
        }
    };
    let keras = case.get("source").is_some_and(|source| source.starts_with("keras"));
    let no_value = if keras { NoValue::CountsAsZero } else { NoValue::Skipped };
    Ok(Some(Running { momentum, variance, counts_batches: false, no_value }))
}

async fn run(gpu: &Gpu, problem: &Problem, operation: Operation) -> Result<Answer, Error> {
    problem.run(gpu, &gpu.kernels, operation, Placement::Separate).await
}

pub fn output(name: &str, values: &[f32]) -> Output {
    Output { name: name.to_owned(), values: values.to_vec() }
}

/// The answer of a training forward by the names of the cases.
fn forward_outputs(answer: &Answer) -> Vec<Output> {
    let saved = answer.get("saved");
    let mut planes = saved.chunks((saved.len() / 4).max(1));
    let mut plane = || planes.next().unwrap_or_default();
    let all = [
        output("y", answer.get("y")),
        output("save_mean", plane()),
        output("save_invstd", plane()),
        output("save_var", plane()),
        output("running_mean", answer.get("running_mean")),
        output("running_var", answer.get("running_variance")),
    ];
    // Of an empty batch y is empty, and all there is.
    all.into_iter().filter(|output| output.name == "y" || !output.values.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::file::tests::case;

    /// A tensor without values takes no room in a file, whatever its other axes claim.
    #[test]
    fn claims_of_more_channels_than_there_are_values_are_refused() {
        let of = |channels| {
            case(
                &[("format", "bn-case/1"), ("op", "eval_forward"), ("grade", "edge"), ("layout", "NC")],
                &[("in.x", &[0, channels], Values::F32(vec![]))],
            )
        };
        assert_eq!(problem(&of(3), "in.x", None).unwrap().gamma, [1.0; 3]);
        for channels in [1 << 31, 1 << 40] {
            let error = problem(&of(channels), "in.x", None).unwrap_err().to_string();
            assert!(error.contains(&format!("{channels} channels")), "{error}");
        }
    }
}
