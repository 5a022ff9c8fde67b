//! `batchnorm bench`: how long operations take, and how near that is to what a copy takes.

pub mod baseline;
mod clock;
mod compare;
mod copy;
pub mod layers;
mod op;
mod plot;
mod quartiles;
pub mod report;
#[cfg(test)]
mod samples;
mod variant;
mod workload;

use std::collections::BTreeSet;

use wgpu_batchnorm::{Error, Gpu, Layout};

use crate::adapters::Identity;
use crate::say::say;
use crate::verify::progress_bar;
use crate::{Failure, Outcome, json, open_adapters};
use baseline::Baseline;
pub use clock::{Clock, Work};
use compare::{Comparison, Verdict};
use copy::CopyKernels;
pub use layers::{Layer, name as layer_name};
pub use op::{LayoutName, Op};
pub use quartiles::Quartiles;
pub use report::print_legend;
use report::{Medians, Report, Row, Skipped, Timed, Total, Traffic};
pub use variant::Variant;
pub use workload::Workload;

/// What to time.
pub struct Plan {
    pub layers: Vec<Layer>,
    /// Whether the layers are those of one network, of which totals make sense.
    pub network: bool,
    pub ops: Vec<Op>,
    pub variants: Vec<Variant>,
    pub layout: Layout,
    pub runs: usize,
}

/// A run is so many calls in a row that it takes this long, so that short calls are not lost in the
/// clock's grain and the cost of a submission.
const RUN_SECONDS: f64 = 1e-3;

/// No more calls a run than this, however short they are.
const MOST_CALLS: f64 = 100.0;

pub async fn run(options: &crate::Bench) -> Outcome {
    let plan = Plan {
        layers: match &options.shapes {
            None => layers::resnet50(options.batch.get()),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| layers::parse(&text))
                .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?,
        },
        network: options.shapes.is_none(),
        ops: if options.op.is_empty() { Op::ALL.to_vec() } else { options.op.clone() },
        variants: options.variant.clone(),
        layout: options.layout.into(),
        runs: options.runs.get(),
    };
    // Before the long part: a file that is none is told at once.
    let compare = options.compare.as_deref();
    let mut baseline = compare.map(|path| Baseline::read(path, plan.runs)).transpose().map_err(Failure::new)?;
    let mut reports: Vec<Report> = Vec::new();
    for gpu in open_adapters(options.adapter.as_deref(), options.tuning.as_deref()).await? {
        let mut report = measure(&gpu, &plan).await?;
        let comparison = baseline.as_mut().map(|baseline| baseline.compare(&report)).transpose();
        if !options.json {
            report.print_head();
            say!("");
            report.print();
            if plan.network {
                say!("");
                report.print_totals("ResNet-50");
            }
            say!("");
        }
        report.comparison = comparison.map_err(Failure::new)?;
        if let Some(comparison) = report.comparison.as_ref().filter(|_| !options.json) {
            comparison.print();
            say!("");
        }
        reports.push(report);
    }
    if options.json {
        json::print(&reports)?;
    } else {
        print_legend();
        if baseline.is_some() {
            compare::print_legend();
        }
    }
    if let Some(path) = &options.plot {
        plot::write(path, &reports).map_err(Failure::new)?;
    }
    let comparisons: Vec<&Comparison> = reports.iter().filter_map(|report| report.comparison.as_ref()).collect();
    if let Some(baseline) = baseline {
        baseline.finish(&comparisons).map_err(Failure::new)?;
    }
    // Shapes that an adapter cannot do are skipped and said so; nothing at all to show is no success.
    let timed = reports.iter().any(|report| !report.rows.is_empty());
    Ok(timed && !comparisons.iter().any(|comparison| comparison.has(Verdict::Slower)))
}

/// Times everything on one adapter.
pub async fn measure(gpu: &Gpu, plan: &Plan) -> Result<Report, Failure> {
    let mut bench = Bench::new(gpu, plan, Clock::of(gpu));
    let mut remarks = Vec::new();
    if bench.all().await?.is_none() {
        remarks.push("the GPU's own clock did not advance: its times are dropped".to_owned());
        bench = Bench::new(gpu, plan, Clock::Wall);
        bench.all().await?.ok_or_else(|| Failure::new("the wall clock stands still: nothing can be timed"))?;
    }
    let Bench { clock, rows, skipped, .. } = bench;
    if !clock.times_transfers(gpu) {
        remarks.push("no copy_buffer_to_buffer: this adapter has no timestamps outside of passes".to_owned());
    }
    let kinds = plan.variants.iter().flat_map(|variant| plan.ops.iter().map(|op| (*op, *variant)));
    let totals = kinds.filter(|_| plan.network).filter_map(|(op, variant)| Total::of(op, variant, &rows)).collect();
    Ok(Report {
        adapter: Identity::of(&gpu.info),
        layout: report::layout_name(plan.layout).to_owned(),
        clock: clock.name().to_owned(),
        remarks,
        runs: plan.runs,
        rows,
        skipped,
        totals,
        comparison: None,
    })
}

/// One adapter being timed.
struct Bench<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    clock: Clock,
    copies: CopyKernels,
    rows: Vec<Row>,
    skipped: Vec<Skipped>,
}

impl<'a> Bench<'a> {
    fn new(gpu: &'a Gpu, plan: &'a Plan, clock: Clock) -> Self {
        Self { gpu, plan, clock, copies: CopyKernels::new(gpu), rows: vec![], skipped: vec![] }
    }

    /// Times all layers, with a progress bar; `None` where the clock stood still.
    async fn all(&mut self) -> Result<Option<()>, Failure> {
        let progress = progress_bar();
        progress.set_length((self.plan.layers.len() * self.plan.variants.len()) as u64);
        for layer in &self.plan.layers {
            progress.set_message(format!("{}: {}", self.gpu.info.name, layers::name(&layer.shape)));
            for variant in &self.plan.variants {
                if self.layer(layer, *variant).await?.is_none() {
                    progress.finish_and_clear();
                    return Ok(None);
                }
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        Ok(Some(()))
    }

    /// Adds the rows of one layer in one variant, or why there are none. (Variants are timed one after the other,
    /// not in turns, so that the buffers of one at a time have to fit; each has its own copies beside it.)
    async fn layer(&mut self, layer: &Layer, variant: Variant) -> Result<Option<()>, Failure> {
        let Self { gpu, plan, clock, copies, rows, skipped } = self;
        let descriptor = variant.of(layer.descriptor(plan.layout));
        let mut skip = |op: Option<Op>, reason: String| {
            skipped.push(Skipped { shape: layer.shape.clone(), op, variant, reason });
        };
        // Before any buffer: can the device do this shape at all?
        if let Err(error) = gpu.kernels.inference(&descriptor) {
            skip(None, error.to_string());
            return Ok(Some(()));
        }
        let traffic = |op: Op| op.streamed_bytes(variant, layer);
        let most = plan.ops.iter().map(|op| traffic(*op)).max().unwrap_or(0);
        let made =
            Workload::new(gpu, &descriptor, variant).and_then(|workload| Ok((workload, copies.buffers(gpu, most)?)));
        let (workload, buffers) = match made {
            Ok(made) => made,
            Err(error) => {
                skip(None, error.to_string());
                return Ok(Some(()));
            }
        };
        let mut subjects = Vec::new();
        for &op in &plan.ops {
            match workload.ready(op) {
                Ok(ready) => subjects.push((Subject::Op(op, ready.plan_bytes), ready.work)),
                // Buffers of ours that do not fit are a fault of ours, not of the shape.
                Err(error @ Error::Bind(_)) => return Err(error.into()),
                Err(error) => skip(Some(op), error.to_string()),
            }
        }
        let sizes: BTreeSet<u64> = plan.ops.iter().map(|op| traffic(*op)).collect();
        for bytes in sizes {
            let kernels = copies.works(gpu, &buffers, bytes).into_iter();
            subjects.extend(kernels.map(|(name, work)| (Subject::Copy(bytes, name), work)));
            if clock.times_transfers(gpu) {
                subjects.push((Subject::Transfer(bytes), copies.transfer(&buffers, bytes)));
            }
        }
        let Some(times) = in_turns(clock, gpu, &subjects, plan.runs).await? else { return Ok(None) };
        for (subject, time) in &times {
            if let Subject::Op(op, plan_bytes) = *subject {
                rows.extend(row(layer, op, variant, *time, [traffic(op), plan_bytes], &times));
            }
        }
        Ok(Some(()))
    }
}

/// An operation beside the copies of as many bytes as it streams.
fn row(
    layer: &Layer,
    op: Op,
    variant: Variant,
    time: Timed,
    [streamed_bytes, plan_bytes]: [u64; 2],
    times: &[(Subject, Timed)],
) -> Option<Row> {
    let copies = times.iter().filter_map(|(subject, time)| match subject {
        Subject::Copy(bytes, name) if *bytes == streamed_bytes => Some((*name, *time)),
        _ => None,
    });
    let (copy_kernel, copy_time) = copies.min_by(|(_, a), (_, b)| a.ms.median.total_cmp(&b.ms.median))?;
    let transfer = times.iter().find(|(subject, _)| *subject == Subject::Transfer(streamed_bytes));
    let transfer_time = transfer.map(|(_, time)| *time);
    let medians =
        Medians { op: time.ms.median, copy: copy_time.ms.median, transfer: transfer_time.map(|time| time.ms.median) };
    let traffic = Traffic::new(streamed_bytes, plan_bytes, medians);
    let (shape, layers, copy_kernel) = (layer.shape.clone(), layer.count, copy_kernel.to_owned());
    Some(Row { shape, layers, op, variant, time, copy_kernel, copy_time, transfer_time, traffic })
}

/// What is timed side by side: an operation with its plan's bytes, and copies of so many bytes.
#[derive(Clone, Copy, PartialEq)]
enum Subject {
    Op(Op, u64),
    Copy(u64, &'static str),
    Transfer(u64),
}

/// Times all, one run of each in turn, so that what disturbs the machine disturbs all alike. `None`
/// where the clock stood still.
pub async fn in_turns<S: Copy>(
    clock: &Clock,
    gpu: &Gpu,
    subjects: &[(S, Work)],
    runs: usize,
) -> Result<Option<Vec<(S, Timed)>>, Failure> {
    let mut calls = Vec::new();
    for (_, work) in subjects {
        // The first call may still clear and page in; the second tells how many make a run.
        clock.seconds(gpu, work, 1).await?;
        let Some(seconds) = clock.seconds(gpu, work, 1).await? else { return Ok(None) };
        calls.push((RUN_SECONDS / seconds).ceil().clamp(1.0, MOST_CALLS) as u32);
    }
    let mut samples = vec![Vec::with_capacity(runs); subjects.len()];
    // The first round warms up.
    for round in 0..=runs {
        for (i, (_, work)) in subjects.iter().enumerate() {
            let Some(seconds) = clock.seconds(gpu, work, calls[i]).await? else { return Ok(None) };
            if round > 0 {
                samples[i].push(1e3 * seconds / f64::from(calls[i]));
            }
        }
    }
    let timed = |(i, (subject, _)): (usize, &(S, Work))| {
        Some((*subject, Timed { calls: calls[i], ms: Quartiles::of(&samples[i])? }))
    };
    Ok(subjects.iter().enumerate().map(timed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_no_device_has_room_for_are_skipped() {
        let shapes: [&[usize]; 4] = [&[1 << 31, 4], &[4, 1 << 31], &[1 << 32, 1 << 32, 1 << 32], &[1 << 18, 1 << 18]];
        let plan = Plan {
            layers: shapes.map(|shape| Layer { shape: shape.to_vec(), count: 1 }).to_vec(),
            network: false,
            ops: Op::ALL.to_vec(),
            variants: Variant::ALL.to_vec(),
            layout: Layout::ChannelsFirst,
            runs: 1,
        };
        pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await.unwrap();
                let Ok(report) = measure(&gpu, &plan).await else { panic!("nothing is measured: all is skipped") };
                assert!(report.rows.is_empty());
                assert_eq!(report.skipped.len(), plan.layers.len() * plan.variants.len());
                assert!(report.skipped.iter().all(|skipped| !skipped.reason.is_empty()));
            }
        });
    }
}
