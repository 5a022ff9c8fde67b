//! `batchnorm`: which adapters there are, whether they compute batch normalization right, and how fast.

mod adapters;
mod bench;
mod cases;
mod demo;
mod json;
mod say;
mod table;
mod verify;

use std::num::NonZeroUsize;
use std::path::PathBuf;
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
    /// Channels first (NCHW) or last (NHWC).
    #[arg(long, value_enum, default_value = "first")]
    layout: bench::LayoutName,
    /// Images a batch, for the built-in list of layers.
    #[arg(long, default_value = "4")]
    batch: NonZeroUsize,
    /// Timed calls of each.
    #[arg(long, default_value = "15")]
    runs: NonZeroUsize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
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
struct Failure {
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

/// The adapter asked for, or all of them.
async fn open_adapters(asked: Option<&str>) -> Result<Vec<Gpu>, Failure> {
    if let Some(asked) = asked {
        return Ok(vec![Gpu::named(asked).await?]);
    }
    let mut gpus = Vec::new();
    let mut failure = GpuError::NoAdapter;
    for adapter in Gpu::adapters().await {
        match Gpu::open(&adapter).await {
            Ok(gpu) => gpus.push(gpu),
            Err(error) => {
                eprintln!("batchnorm: {error}; going on without it");
                failure = error;
            }
        }
    }
    if gpus.is_empty() { Err(failure.into()) } else { Ok(gpus) }
}
