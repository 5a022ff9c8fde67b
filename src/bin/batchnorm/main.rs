//! `batchnorm`: which adapters there are, whether they compute batch normalization right, and how fast.

mod adapters;
mod bench;
mod cases;
mod demo;
mod fold;
#[cfg(fuzzing)]
pub mod fuzzing;
mod json;
mod say;
mod table;
mod tune;
mod verify;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wgpu_batchnorm::{Gpu, GpuError};

/// Batch normalization on every GPU of this machine: checked against a CPU reference, timed against
/// the memory limit. Without a command: a demonstration of all that.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// List every adapter with backend, driver, type, and the limits and features that matter here.
    Adapters,
    /// Check every kernel family, layout and operation against the CPU reference.
    Verify(Verify),
    /// Time operations and compare them with what a copy of the same bytes takes.
    Bench(Bench),
    /// Look for numbers to choose kernels by that are faster on an adapter than the built-in ones, for some minutes.
    #[command(long_about = TUNE)]
    Tune(Tune),
    /// Fold batch norms of a model file into the convolutions and linear layers beside them.
    #[command(long_about = FOLD, after_long_help = FOLD_EXAMPLES)]
    Fold(Fold),
}

/// Options of `verify`.
#[derive(clap::Args)]
struct Verify {
    /// Only this adapter: its number in `batchnorm adapters`, or text from its name, driver or backend.
    #[arg(long)]
    adapter: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Run the recorded cases (`bn-case/1` safetensors) of this folder instead, on one adapter: the best,
    /// unless --adapter names another.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// With --cases: write what the GPU returned, one file a case.
    #[arg(long, value_name = "DIR", requires = "cases")]
    out: Option<PathBuf>,
    /// A few small shapes only.
    #[arg(long, conflicts_with = "cases")]
    quick: bool,
    /// Choose kernels by what `tune` has saved in this file.
    #[arg(long, value_name = "FILE.json", conflicts_with = "cases")]
    tuning: Option<PathBuf>,
}

/// Options of `bench`.
#[derive(clap::Args)]
struct Bench {
    /// Only this adapter: its number in `batchnorm adapters`, or text from its name, driver or backend.
    #[arg(long)]
    adapter: Option<String>,
    /// A file of shapes, one `N,C,H,W` a line (H = W = 1 for N×C), # for comments; default: ResNet-50's
    /// 53 layers.
    #[arg(long, value_name = "FILE")]
    shapes: Option<PathBuf>,
    /// Only these operations, between commas; default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    op: Vec<bench::Op>,
    /// These variants of every layer, between commas: in half precision, with padding, with what is fused.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "plain")]
    variant: Vec<bench::Variant>,
    /// Channels first (NCHW) or last (NHWC).
    #[arg(long, value_enum, default_value = "first")]
    layout: bench::LayoutName,
    /// Images a batch, for the built-in list of layers.
    #[arg(long, default_value = "4")]
    batch: NonZeroUsize,
    /// Timed calls of each.
    #[arg(long, default_value = "15")]
    runs: NonZeroUsize,
    /// Say what got slower or faster since an earlier run, of which this file is the --json. Exit code 1 where
    /// something got slower than both runs' noise explains.
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// Draw bytes and speed of every row, below the line of the best copy kernel.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Choose kernels by what `tune` has saved in this file.
    #[arg(long, value_name = "FILE.json")]
    tuning: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const TUNE: &str = "\
Look for numbers to choose kernels by that are faster on an adapter than the built-in ones.

One number after the other is tried with a few others in its place, in two rounds, on shapes large and small in both
layouts: training forward, training backward, inference. A candidate's answers are checked against the reference before
its time counts; it has to be faster by more than the noise, and to be so twice. Use the machine for nothing else
meanwhile: this takes some minutes an adapter.";

/// Options of `tune`.
#[derive(clap::Args)]
struct Tune {
    /// Only this adapter: its number in `batchnorm adapters`, or text from its name, driver or backend.
    #[arg(long)]
    adapter: Option<String>,
    /// Fewer shapes and candidates.
    #[arg(long)]
    quick: bool,
    /// Write what was found into this file, beside what it has of other adapters: for `verify` and `bench` with
    /// --tuning, and for a program's own `Tunings::from_json`.
    #[arg(long, value_name = "FILE.json")]
    save: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const FOLD: &str = "\
Fold batch norms of a model file into the convolutions and linear layers beside them.

For inference only, and only where nothing stands between the two (no activation) and nothing else reads
what passes between them. The result has the layers' weights and biases in their types, all other
tensors and the metadata as they were, and the folded batch norms no longer. A layer without a bias gets one.

Names are PyTorch's, Keras', TensorFlow's or Flax' (gamma or scale, moving_mean or mean, kernel, ..), with dots or slashes.
The weight of a transposed convolution often looks like another's: what its shape leaves open, a map has to say.";

const FOLD_EXAMPLES: &str = "\
Examples:
  batchnorm fold model.safetensors --map bn1=conv1
  batchnorm fold resnet50.safetensors \\
    --map '*bn1=*conv1:conv,*bn2=*conv2:conv,*bn3=*conv3:conv,*downsample.1=*downsample.0:conv'
  batchnorm fold generator.safetensors --map up.bn=up.deconv:transposed
  batchnorm fold model.safetensors --map norm=fc:bn-first,bn2=conv2:bn-first:unpadded:groups=32 --out small.safetensors";

/// Options of `fold`.
#[derive(clap::Args)]
struct Fold {
    /// A safetensors file, or, of a model in several, their `model.safetensors.index.json`.
    model: PathBuf,
    /// Fold the batch norm BN into LAYER, both as the file names them without `.weight`. A `*` in both stands
    /// for the same text. LAYER runs right before BN, unless options say otherwise: `:bn-first`, it runs right
    /// after; then, for a convolution, `:unpadded`, it pads with no zeros, and `:groups=N`. `:conv`, `:depthwise` or
    /// `:transposed` (with `:groups=N`) is for convolutions whose weight's shape does not tell which of them it is.
    #[arg(long, required = true, value_delimiter = ',', value_name = "BN=LAYER[:OPTION…]")]
    map: Vec<fold::Mapping>,
    /// ε of the batch norms, which files do not hold. Default: that of the framework whose names the file has, 1e-5
    /// of PyTorch and Flax, 1e-3 of Keras and TensorFlow.
    #[arg(long)]
    epsilon: Option<f64>,
    /// Batch norms may lack `weight` (then 1) and `bias` (then 0).
    #[arg(long)]
    no_affine: bool,
    /// Write these of the changed tensors in F32, where their own type is narrower.
    #[arg(long, value_name = "WHICH")]
    f32: Option<fold::InF32>,
    /// Where the result goes. Default: beside the model, as MODEL.folded.safetensors, or with an index of as many
    /// files. A model in several is written as one if this is no *.index.json.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the model.
    #[arg(long, conflicts_with = "out")]
    in_place: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = pollster::block_on(async {
        match &arguments.command {
            None => demo::run().await,
            Some(Command::Adapters) => adapters::run().await,
            Some(Command::Verify(options)) => match &options.cases {
                Some(folder) => cases::run(folder, options).await,
                None => verify::run(options).await,
            },
            Some(Command::Bench(options)) => bench::run(options).await,
            Some(Command::Tune(options)) => tune::run(options).await,
            Some(Command::Fold(options)) => fold::run(options),
        }
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("batchnorm: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Whether all was well, or why nothing could be said.
type Outcome = Result<bool, Failure>;

/// What ends the program: 1 where something is wrong, 2 where there is no adapter to try.
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        let code = if matches!(error, GpuError::NoAdapter | GpuError::NoSuchAdapter { .. }) { 2 } else { 1 };
        Self { message: error.to_string(), code }
    }
}

impl From<wgpu_batchnorm::Error> for Failure {
    fn from(error: wgpu_batchnorm::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The adapter asked for, or all of them, choosing by a file of tunings or by the built-in numbers.
async fn open_adapters(asked: Option<&str>, tuning: Option<&Path>) -> Result<Vec<Gpu>, Failure> {
    let mut gpus = Vec::new();
    let mut failure = GpuError::NoAdapter;
    match asked {
        Some(asked) => gpus.push(Gpu::named(asked).await?),
        None => {
            for adapter in Gpu::adapters().await {
                match Gpu::open(&adapter).await {
                    Ok(gpu) => gpus.push(gpu),
                    Err(error) => {
                        eprintln!("batchnorm: {error}; going on without it");
                        failure = error;
                    }
                }
            }
        }
    }
    if let Some(path) = tuning {
        let tunings = tune::read(path)?;
        gpus.iter_mut().for_each(|gpu| tune::apply(&tunings, path, gpu));
    }
    if gpus.is_empty() { Err(failure.into()) } else { Ok(gpus) }
}
