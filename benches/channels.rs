//! What the number of channels costs where channels are the fastest axis: time by byte of counts that 4 does not
//! divide beside that of both neighbours that it divides, and of channels last beside channels first.
//!
//! Those compared are asked in turn, in one process, so that what else a machine does meets all of them; the ratio is
//! that of the fastest calls, since what else it does only ever adds.
//!
//! ```sh
//! cargo bench --features gpu --bench channels                    # all of them
//! cargo bench --features gpu --bench channels -- --rounds 40     # more of each
//! cargo bench --features gpu --bench channels -- --only 2047     # those of so many channels
//! ```

use std::time::Instant;

use wgpu_batchnorm::wgpu::{self, ComputePass};
use wgpu_batchnorm::{BatchNorm, Bindings, Bound, Error, Gpu, Layout};

/// Channels that 4 does not divide, each with the neighbours that it divides.
const CHANNELS: [[usize; 3]; 7] = [
    [63, 60, 64],
    [65, 64, 68],
    [257, 256, 260],
    [513, 512, 516],
    [1025, 1024, 1028],
    [2047, 2044, 2048],
    [65_535, 65_532, 65_536],
];

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
    let asked = |channels: usize| only.is_none_or(|only| only == channels);
    println!("Time a byte of x, by that of the others; in brackets its own ns a byte.\n");
    println!("{:<20} {:<44} {}", "one", "the others", OPS.map(|op| format!("{op:<19}")).concat().trim_end());
    let mut compared = vec![];
    for all in CHANNELS.into_iter().filter(|[odd, ..]| asked(*odd)) {
        // As many samples for all, and a number that 8 divides, as batches have it.
        let samples = (VALUES / all[0]).next_multiple_of(8);
        compared.push(all.map(|c| (vec![samples, c], Layout::ChannelsLast)).to_vec());
        let images = (VALUES / all[0] / (14 * 14)).max(1);
        compared.push(all.map(|c| (vec![images, 14, 14, c], Layout::ChannelsLast)).to_vec());
    }
    for c in [512, 1024].into_iter().filter(|c| asked(*c)) {
        // 7×7 as well, as the last stages of networks have it.
        for side in [14, 7] {
            let images = VALUES / c / (side * side);
            compared.push(vec![
                (vec![images, side, side, c], Layout::ChannelsLast),
                (vec![images, c, side, side], Layout::ChannelsFirst),
            ]);
        }
    }
    for shapes in compared {
        let cases = shapes.iter().map(|shape| Case::new(&gpu, shape)).collect::<Result<Vec<_>, _>>()?;
        let ratios = (0..OPS.len()).map(|op| {
            let fastest = fastest(&cases, op, rounds);
            let by_others = fastest[1..].iter().map(|other| format!("{:.2}", fastest[0] / other));
            format!("{:<19}", format!("{} ({:.2})", by_others.collect::<Vec<_>>().join("  "), fastest[0]))
        });
        let ratios: String = ratios.collect();
        let names = shapes.iter().map(|(shape, layout)| match layout {
            Layout::ChannelsLast => format!("{shape:?}"),
            Layout::ChannelsFirst => format!("{shape:?} first"),
        });
        let names: Vec<String> = names.collect();
        println!("{:<20} {:<44} {}", names[0], names[1..].join("  "), ratios.trim_end());
    }
    Ok(())
}

/// Nanoseconds a byte of x of an operation, for each: the fastest of calls in turn.
fn fastest(cases: &[Case<'_>], op: usize, rounds: usize) -> Vec<f64> {
    let mut fastest = vec![f64::INFINITY; cases.len()];
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
        let to = Bindings::new().x(&x).y(&y);
        let inference = layer.inference(shape, &to)?;
        let training = layer.training(shape, &to.dy(&dy).dx(&dx))?;
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
