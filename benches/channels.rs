//! What the number of channels costs where channels are the fastest axis: time by byte of counts that 4 does not
//! divide beside that of a neighbour that it divides, and of channels last beside channels first.
//!
//! Both of a pair are asked in turn, in one process, so that what else a machine does meets both; the ratio is that
//! of the fastest calls, since what else it does only ever adds.
//!
//! ```sh
//! cargo bench --features gpu --bench channels                    # all pairs
//! cargo bench --features gpu --bench channels -- --rounds 40     # more of each
//! cargo bench --features gpu --bench channels -- --only 2047     # pairs of so many channels
//! ```

use std::time::Instant;

use wgpu_batchnorm::wgpu::{self, ComputePass};
use wgpu_batchnorm::{BatchNorm, Bound, Error, Gpu, Layout};

/// Channels that 4 does not divide, and the neighbour of each.
const CHANNELS: [[usize; 2]; 7] =
    [[63, 64], [65, 64], [257, 256], [513, 512], [1025, 1024], [2047, 2048], [65_535, 65_536]];

/// Values of a tensor: 8 MiB, more than the caches of a core hold.
const VALUES: usize = 1 << 21;

const OPS: [&str; 3] = ["inference", "forward", "backward"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let value_of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let rounds: usize = value_of("--rounds").map_or(Ok(15), |rounds| rounds.parse())?;
    let only: Option<usize> = value_of("--only").map(|only| only.parse()).transpose()?;
    let gpu = pollster::block_on(Gpu::new())?;
    println!("{}\n", gpu.name());
    println!(
        "{:<24} {:<24} {:>11} {:>11} {:>9}   one by the other, a byte",
        "one", "the other", OPS[0], OPS[1], OPS[2]
    );
    let mut pairs = vec![];
    for [odd, even] in CHANNELS.into_iter().filter(|[odd, _]| only.is_none_or(|only| only == *odd)) {
        // As many samples for both, and a number that 8 divides, as batches have it.
        let samples = (VALUES / even).next_multiple_of(8);
        pairs.push([odd, even].map(|c| (vec![samples, c], Layout::ChannelsLast)));
        let images = (VALUES / even / (14 * 14)).max(1);
        pairs.push([odd, even].map(|c| (vec![images, 14, 14, c], Layout::ChannelsLast)));
    }
    for c in [512, 1024].into_iter().filter(|c| only.is_none_or(|only| only == *c)) {
        let images = VALUES / c / (14 * 14);
        pairs.push([(vec![images, 14, 14, c], Layout::ChannelsLast), (vec![images, c, 14, 14], Layout::ChannelsFirst)]);
        // 7×7 rows, as the last stages of networks have them.
        let images = VALUES / c / (7 * 7);
        pairs.push([(vec![images, 7, 7, c], Layout::ChannelsLast), (vec![images, c, 7, 7], Layout::ChannelsFirst)]);
    }
    for pair in pairs {
        let [one, other] = &pair;
        let cases = [Case::new(&gpu, one)?, Case::new(&gpu, other)?];
        let ratios = (0..OPS.len()).map(|op| {
            let [one, other] = fastest(&cases, op, rounds);
            format!("{:>4.2} ({one:.2})", one / other)
        });
        let [one, other] = [one, other].map(|(shape, layout)| match layout {
            Layout::ChannelsLast => format!("{shape:?}"),
            Layout::ChannelsFirst => format!("{shape:?} first"),
        });
        println!("{one:<24} {other:<24} {}", ratios.collect::<Vec<_>>().join("  "));
    }
    Ok(())
}

/// Nanoseconds a byte of x of an operation, for both: the fastest of calls in turn.
fn fastest(cases: &[Case<'_>; 2], op: usize, rounds: usize) -> [f64; 2] {
    let mut fastest = [f64::INFINITY; 2];
    // The first calls, which may compile, are not the fastest.
    for _ in 0..rounds + 2 {
        for (case, fastest) in cases.iter().zip(&mut fastest) {
            *fastest = fastest.min(case.time(op));
        }
    }
    fastest
}

/// A layer on x of one shape, its operations bound.
struct Case<'a> {
    gpu: &'a Gpu,
    bytes: f64,
    ops: [Bound; 3],
}

impl<'a> Case<'a> {
    fn new(gpu: &'a Gpu, (shape, layout): &(Vec<usize>, Layout)) -> Result<Self, Error> {
        let last = shape.len() - 1;
        let channels = shape[if *layout == Layout::ChannelsLast { last } else { 1 }];
        let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i * 37 % 101) as f32 / 50.0).collect();
        let (x, dy) = (gpu.upload(&values)?, gpu.upload(&values)?);
        let (y, dx) = (gpu.empty(x.size())?, gpu.empty(x.size())?);
        let layer = BatchNorm::new(&gpu.kernels, channels)?.layout(*layout);
        let all = wgpu::Buffer::as_entire_buffer_binding;
        let training = layer.training(shape, all(&x), all(&y), all(&dy), all(&dx))?;
        let inference = layer.inference(shape, all(&x), all(&y))?;
        // The backward pass takes the statistics that a forward pass has saved.
        gpu.run(|pass| training.forward.record(pass));
        Ok(Self { gpu, bytes: x.size() as f64, ops: [inference, training.forward, training.backward] })
    }

    fn time(&self, op: usize) -> f64 {
        let start = Instant::now();
        self.gpu.run(|pass: &mut ComputePass<'_>| self.ops[op].record(pass));
        self.gpu.device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is done");
        1e9 * start.elapsed().as_secs_f64() / self.bytes
    }
}
