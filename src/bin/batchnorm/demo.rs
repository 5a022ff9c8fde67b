//! `batchnorm` without a command: everything once, in a minute.

mod art;
mod digits;

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Placement, Problem, Verdict};
use wgpu_batchnorm::{Descriptor, Error, Gpu, Layout, PlanError};

use crate::adapters::Identity;
use crate::bench::{self, Layer, Op, Variant};
use crate::say::say;
use crate::verify::{self, progress_bar};
use crate::{Failure, Outcome, open_adapters};
use art::Picture;
use digits::{Digits, PIXELS, WHITE};

/// Shown before and after.
const SHOWN: [u8; 4] = [0, 3, 5, 8];

/// PyTorch's default.
const EPSILON: f32 = 1e-5;

/// One each of: images, channels alone, few values a channel.
const SHAPES: [[usize; 4]; 3] = [[8, 64, 56, 56], [256, 1024, 1, 1], [4, 512, 7, 7]];

const RUNS: usize = 7;

pub async fn run() -> Outcome {
    let gpus = open_adapters(None, None).await?;
    say!("{} {}: batch normalization on any GPU", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));

    title("The adapters of this machine");
    for (number, gpu) in gpus.iter().enumerate() {
        say!("  {number}  {}", Identity::of(&gpu.info));
    }

    title("Every kernel family against the CPU reference, in f64");
    let mut right = true;
    for (number, gpu) in gpus.iter().enumerate() {
        right &= check(number, gpu)?;
    }

    title("Handwritten digits, normalised");
    right &= normalise(&gpus).await?;

    title("How fast, beside a copy of as many bytes");
    for (number, gpu) in gpus.iter().enumerate() {
        if let Err(failure) = time(number, gpu).await {
            say!("{number}  not timed: {}\n", failure.message);
            right = false;
        }
    }
    bench::print_legend();

    title("Next");
    say!("  batchnorm verify   every check, on every adapter      (in a checkout: cargo batchnorm verify)");
    say!("  batchnorm bench    the 53 batch norms of ResNet-50");
    say!("  batchnorm --help");
    Ok(right)
}

fn title(text: &str) {
    say!("\n{text}\n{}", "─".repeat(text.chars().count()));
}

/// The quick part of `verify` on one adapter, in one line if all is right.
fn check(number: usize, gpu: &Gpu) -> Outcome {
    let progress = progress_bar();
    let report = verify::check(gpu, true, &progress)?;
    progress.finish_and_clear();
    let verdict = if report.passed() { "all right" } else { "NOT RIGHT" };
    let (ran, failed, seconds) = (report.ran, report.failed, report.seconds);
    say!("  {number}  {verdict}: {ran} checks, {failed} out of tolerance, in {seconds:.1} s");
    if !report.passed() {
        say!("{report}");
    }
    Ok(report.passed())
}

/// Normalises the digits on every adapter, checks each, and shows what the first one made of them.
async fn normalise(gpus: &[Gpu]) -> Outcome {
    let digits = Digits::load().map_err(Failure::new)?;
    let images = digits.labels.len();
    say!("  {images} images of 8×8 are one batch [{images}, {PIXELS}]: every pixel is a channel.\n");
    let (zeros, ones) = (vec![0.0; PIXELS], vec![1.0; PIXELS]);
    let problem = Problem {
        descriptor: Descriptor::new([images, PIXELS], Layout::ChannelsFirst).epsilon(EPSILON),
        x: digits.pixels.clone(),
        gamma: ones.clone(),
        beta: zeros.clone(),
        running_mean: zeros,
        running_variance: ones,
        residual: vec![],
        valid: vec![],
        // Only the backward pass takes these.
        dy: vec![],
        saved: vec![],
        batches: 0,
    };
    let (mut right, mut shown) = (true, false);
    let mut lines = Vec::new();
    for (number, gpu) in gpus.iter().enumerate() {
        let answer = match problem.run(gpu, &gpu.kernels, Operation::Forward, Placement::Separate).await {
            Ok(answer) => answer,
            Err(error) => {
                // A device whose limits are too low is no fault; anything else is.
                right &= matches!(error, Error::Plan(PlanError::Limit { .. }));
                lines.push(format!("  {number}  not run: {error}"));
                continue;
            }
        };
        if !shown {
            show(&digits, &answer);
            shown = true;
        }
        let verdicts = problem.judge(Operation::Forward, &answer);
        let passed = verdicts.iter().all(Verdict::passed);
        right &= passed;
        let names: Vec<&str> = verdicts.iter().map(|verdict| verdict.name).collect();
        let worst = 100.0 * verdicts.iter().fold(0.0, |worst: f64, verdict| worst.max(verdict.ratio));
        let word = if passed { "right" } else { "NOT RIGHT" };
        lines.push(format!("  {number}  {word}: {}; worst error {worst:.0} % of its tolerance", names.join(", ")));
        for Verdict { name, index, got, expected, tolerance, .. } in verdicts.iter().filter(|verdict| !verdict.passed())
        {
            lines.push(format!("     {name}[{index}] is {got}, should be {expected} to within {tolerance:.1e}"));
        }
    }
    say!("{}", lines.join("\n"));
    Ok(right)
}

/// Draws the statistics of every pixel, and some digits. What was before is what the GPU saved, what is
/// after is computed from its output.
fn show(digits: &Digits, answer: &Answer) {
    // Means, inverse standard deviations, variances, counts.
    let saved: Vec<&[f32]> = answer.get("saved").chunks(PIXELS).collect();
    let [mean, _, variance, _] = saved[..] else { return };
    let deviation: Vec<f32> = variance.iter().map(|variance| variance.sqrt()).collect();
    let y = answer.get("y");
    let (mean_after, deviation_after) = statistics(y);
    let (top_mean, top_deviation) = (largest(mean), largest(&deviation));
    art::print(&[
        Picture::new("mean before", mean, [0.0, top_mean]),
        Picture::new("deviation before", &deviation, [0.0, top_deviation]),
        Picture::new("mean after", &mean_after, [0.0, 1.0]),
        Picture::new("deviation after", &deviation_after, [0.0, 1.0]),
    ]);
    let constant = deviation_after.iter().filter(|deviation| **deviation == 0.0).count();
    let least = deviation_after.iter().filter(|deviation| **deviation > 0.0).fold(f32::INFINITY, |a, b| a.min(*b));
    say!("  Before: means up to {top_mean:.1}, deviations up to {top_deviation:.1}, of greys from 0 to {WHITE}.");
    say!(
        "  After: no mean is farther from 0 than {:.0e}; deviations are {least:.3} to {:.3}, but for {constant} pixels\n  \
         that are the same in every image: their variance is 0, and what divides them is √ε alone, so that\n  \
         they come out as 0 and not as NaN.\n",
        largest(&mean_after),
        largest(&deviation_after),
    );
    let starts = SHOWN.iter().filter_map(|digit| Some((digit, digits.first(*digit)? * PIXELS)));
    let pictures = starts.map(|(digit, start)| {
        let (x, y) = (&digits.pixels[start..start + PIXELS], &y[start..start + PIXELS]);
        (Picture::new(&format!("{digit} before"), x, [0.0, WHITE]), Picture::new("after", y, [-2.0, 2.0]))
    });
    let (before, after): (Vec<_>, Vec<_>) = pictures.unzip();
    art::print(&before);
    art::print(&after);
    say!("  After, the grey between is each pixel's mean over all digits, and light and dark are two");
    say!("  deviations from it.\n");
}

/// The largest size of these.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Mean and deviation of every pixel.
fn statistics(pixels: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let images = (pixels.len() / PIXELS) as f64;
    let average = |of: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        let mut sums = vec![0.0; PIXELS];
        for image in pixels.chunks(PIXELS) {
            for (pixel, value) in image.iter().enumerate() {
                sums[pixel] += of(pixel, f64::from(*value)) / images;
            }
        }
        sums
    };
    let mean = average(&|_, value| value);
    let variance = average(&|pixel, value| (value - mean[pixel]).powi(2));
    let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (narrow(mean), narrow(variance.into_iter().map(f64::sqrt).collect()))
}

/// A few shapes.
async fn time(number: usize, gpu: &Gpu) -> Result<(), Failure> {
    let plan = bench::Plan {
        layers: SHAPES.map(|shape| Layer { shape: shape.to_vec(), count: 1 }).to_vec(),
        network: false,
        ops: vec![Op::Infer, Op::TrainFwd, Op::Bwd],
        variants: vec![Variant::Plain],
        layout: Layout::ChannelsFirst,
        runs: RUNS,
    };
    let report = bench::measure(gpu, &plan).await?;
    crate::say::part(format_args!("{number}  "));
    report.print_head();
    say!("");
    report.print();
    say!("");
    Ok(())
}
