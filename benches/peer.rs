//! This crate as one more system of a side-by-side comparison: a request a line on standard input, the times of
//! the calls that it asks for on standard output.
//!
//! As an embedder would do it: one device, a layer, a plan and its binding made once, then a submission a call, with
//! every buffer warm. A time is that of the wall's clock, from before the recording to after the device says that it
//! is done.
//!
//! ```sh
//! cargo bench --features gpu --bench peer -- --serve             # "SYSTEM OP N C H W WARMUP RUNS" a line
//! cargo bench --features gpu --bench peer -- --shapes FILE       # one N,C,H,W a line: medians of all of them
//! ```

use std::io::{BufRead, Write};
use std::time::Instant;

use wgpu_batchnorm::wgpu::{self, ComputePass};
use wgpu_batchnorm::{BatchNorm, Bindings, Bound, Error, Gpu, Layout};

/// The systems, and the layout of each.
const SYSTEMS: [(&str, Layout); 2] =
    [("wgpu-batchnorm-nchw", Layout::ChannelsFirst), ("wgpu-batchnorm-nhwc", Layout::ChannelsLast)];

const OPS: [&str; 4] = ["train_fwd", "bwd", "train_fwd_bwd", "infer_fwd"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let gpu = pollster::block_on(Gpu::new())?;
    if arguments.iter().any(|argument| argument == "--serve") {
        return serve(&gpu);
    }
    let Some(file) = value_of("--shapes") else {
        println!("usage: peer --serve | --shapes FILE [--runs N]");
        return Ok(());
    };
    let runs = value_of("--runs").map_or(Ok(15), |runs| runs.parse())?;
    println!("{}", gpu.name());
    for line in std::fs::read_to_string(file)?.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let sizes: Vec<usize> = line.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>()?;
        let shape: [usize; 4] = sizes.try_into().map_err(|_| format!("{line:?} is not N,C,H,W"))?;
        for (system, layout) in SYSTEMS {
            let layer = Case::new(&gpu, shape, layout)?;
            for op in OPS {
                let mut times = layer.times(op, 3, runs).ok_or("no such operation")?;
                times.sort_by(f64::total_cmp);
                println!("{system} {op} {shape:?} {:.4} ms", times[times.len() / 2]);
            }
        }
    }
    Ok(())
}

/// Answers requests until there are no more.
fn serve(gpu: &Gpu) -> Result<(), Box<dyn std::error::Error>> {
    let list = |names: &[&str]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
    let (systems, ops, name) = (list(&SYSTEMS.map(|(name, _)| name)), list(&OPS), gpu.name());
    println!("{{\"ready\":true,\"systems\":[{systems}],\"ops\":[{ops}],\"info\":{{\"adapter\":{name:?}}}}}");
    std::io::stdout().flush()?;
    // The last layer, since requests for one come in a row.
    let mut known: Known<'_> = None;
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(gpu, &mut known, &line?).unwrap_or_else(|error| format!("{{\"error\":{error:?}}}")));
        std::io::stdout().flush()?;
    }
    Ok(())
}

type Known<'a> = Option<([usize; 4], [Option<Case<'a>>; 2])>;

fn answer<'a>(gpu: &'a Gpu, known: &mut Known<'a>, line: &str) -> Result<String, String> {
    let usage = || "want: SYSTEM OP N C H W WARMUP RUNS".to_owned();
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[system, op, ref numbers @ ..] = &words[..] else { return Err(usage()) };
    let numbers: Vec<usize> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>().map_err(|_| usage())?;
    let [n, c, h, w, warmup, runs] = numbers.try_into().map_err(|_| usage())?;
    let index = SYSTEMS.iter().position(|(name, _)| *name == system).ok_or_else(usage)?;
    let shape = [n, c, h, w];
    if known.as_ref().is_none_or(|(other, _)| *other != shape) {
        *known = None;
    }
    let (_, cases) = known.get_or_insert_with(|| (shape, [None, None]));
    let case = match &mut cases[index] {
        Some(case) => case,
        none => none.insert(Case::new(gpu, shape, SYSTEMS[index].1).map_err(|error| error.to_string())?),
    };
    let times = case.times(op, warmup, runs).ok_or_else(usage)?;
    Ok(format!("{{\"system\":{system:?},\"op\":{op:?},\"shape\":{shape:?},\"times_ms\":{times:?}}}"))
}

/// A layer on x of one shape, its operations bound.
struct Case<'a> {
    gpu: &'a Gpu,
    forward: Bound,
    backward: Bound,
    inference: Bound,
}

impl<'a> Case<'a> {
    fn new(gpu: &'a Gpu, [n, c, h, w]: [usize; 4], layout: Layout) -> Result<Self, Error> {
        let shape = match layout {
            Layout::ChannelsFirst => [n, c, h, w],
            Layout::ChannelsLast => [n, h, w, c],
        };
        // Where the spatial sizes are 1 this is N×C, whichever the layout.
        let shape: &[usize] = if h * w == 1 { &[n, c] } else { &shape };
        let values = noise(n * c * h * w);
        let (x, dy) = (gpu.upload(&values)?, gpu.upload(&values)?);
        let (y, dx) = (gpu.empty(x.size())?, gpu.empty(x.size())?);
        let layer = BatchNorm::new(&gpu.kernels, c)?.layout(layout);
        let to = Bindings::new().x(&x).y(&y);
        let inference = layer.inference(shape, &to)?;
        let training = layer.training(shape, &to.dy(&dy).dx(&dx))?;
        Ok(Self { gpu, forward: training.forward, backward: training.backward, inference })
    }

    /// Milliseconds of each of so many calls; `None` of an operation that there is not.
    fn times(&self, op: &str, warmup: usize, runs: usize) -> Option<Vec<f64>> {
        let recorded: &[&Bound] = match op {
            "train_fwd" => &[&self.forward],
            "bwd" => &[&self.backward],
            "train_fwd_bwd" => &[&self.forward, &self.backward],
            "infer_fwd" => &[&self.inference],
            _ => return None,
        };
        let call = || {
            let start = Instant::now();
            self.gpu.run(|pass: &mut ComputePass<'_>| recorded.iter().for_each(|bound| bound.record(pass)));
            self.gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is done");
            1e3 * start.elapsed().as_secs_f64()
        };
        // The backward pass takes the statistics that a forward pass has saved.
        self.gpu.run(|pass| self.forward.record(pass));
        (0..warmup.max(1)).for_each(|_| _ = call());
        Some((0..runs).map(|_| call()).collect())
    }
}

/// Values about a mean of 0.5, like a network's: sums of four uniform numbers, the same every time.
fn noise(values: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut uniform = || {
        // Marsaglia's xorshift (2003).
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..values).map(|_| (0..4).map(|_| uniform()).sum::<f32>() - 1.5).collect()
}
