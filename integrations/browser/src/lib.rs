//! A page's check of the kernels in the browser that shows it: the quick suite of `batchnorm verify`, lanes that are
//! long, and the errors that a browser would tell late or not at all.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasm_bindgen::prelude::wasm_bindgen;
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::Problem;
use wgpu_batchnorm::{BatchNorm, Descriptor, Error, Gpu, GpuError, Gradients, Layout, PlanError};

use verify::suite::{Block, Subject, Way, blocks};

#[path = "../../../src/bin/batchnorm/verify"]
mod verify {
    pub mod suite;
}

#[wasm_bindgen]
extern "C" {
    /// Tells the page.
    fn say(text: &str);
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Whether all is right. Says what is not.
#[wasm_bindgen]
pub async fn check() -> bool {
    std::panic::set_hook(Box::new(|panic| say(&panic.to_string())));
    match check_all().await {
        Ok(right) => right,
        Err(error) => {
            say(&error.to_string());
            false
        }
    }
}

async fn check_all() -> Result<bool, Error> {
    let start = now();
    let gpu = Gpu::new().await?;
    say(&gpu.name());
    let complaints = Arc::new(AtomicUsize::new(0));
    let heard = complaints.clone();
    gpu.device.on_uncaptured_error(Arc::new(move |error| {
        heard.fetch_add(1, Ordering::Relaxed);
        say(&format!("the browser complains: {error}"));
    }));
    let early = errors_come_early(&gpu).await?;
    let mut count = Count::default();
    for block in blocks(true).iter().chain([&long_lanes()]) {
        say(block.shows);
        run(&gpu, block, &mut count).await;
    }
    let Count { ran, out, skipped } = count;
    let right = early && ran > 0 && out == 0 && complaints.load(Ordering::Relaxed) == 0;
    let verdict = if right { "all right" } else { "NOT RIGHT" };
    let seconds = (now() - start) / 1e3;
    say(&format!("{verdict}: {ran} ran twice, {out} out, {skipped} skipped, in {seconds:.1} s"));
    Ok(right)
}

/// Sums of many blocks a lane.
fn long_lanes() -> Block {
    Block {
        shows: "long lanes",
        subjects: vec![Subject::new("NCL", &[1, 1, 400_000]), Subject::new("NC", &[20_011, 3])],
        operations: vec![Operation::Forward, Operation::Backward(Gradients::ALL)],
        ways: vec![Way::BY_RULE],
    }
}

/// How many checks came to which end.
#[derive(Default)]
struct Count {
    ran: usize,
    out: usize,
    skipped: usize,
}

async fn run(gpu: &Gpu, block: &Block, count: &mut Count) {
    for subject in &block.subjects {
        let problem = subject.problem();
        for &operation in &block.operations {
            for way in &block.ways {
                let wrong = match faults(gpu, &problem, operation, way).await {
                    Ok(faults) => faults,
                    Err(Error::Plan(PlanError::Choice { .. } | PlanError::Limit { .. })) => {
                        count.skipped += 1;
                        continue;
                    }
                    Err(error) => vec![error.to_string()],
                };
                count.ran += 1;
                count.out += usize::from(!wrong.is_empty());
                let (axes, shape, data) = (subject.axes, subject.descriptor.shape(), subject.data.name);
                for fault in wrong {
                    say(&format!("OUT: {operation}, {axes} {shape:?}, data: {data}, {:?}: {fault}", way.choice));
                }
            }
        }
    }
}

/// What is wrong with the answers of two runs.
async fn faults(gpu: &Gpu, problem: &Problem, operation: Operation, way: &Way) -> Result<Vec<String>, Error> {
    let kernels = way.kernels(&gpu.kernels);
    let first = problem.run(gpu, &kernels, operation, way.placement).await?;
    let second = problem.run(gpu, &kernels, operation, way.placement).await?;
    let verdicts = problem.judge(operation, &first);
    let mut faults: Vec<String> =
        verdicts.iter().filter(|verdict| !verdict.passed()).map(|it| format!("{it:?}")).collect();
    if !first.same_bits(&second) {
        faults.push("two runs differ in their bits".to_owned());
    }
    Ok(faults)
}

/// Whether what wgpu leaves to the browser, which answers late, is an error of the call.
async fn errors_come_early(gpu: &Gpu) -> Result<bool, Error> {
    let mut right = true;
    let mut expect = |what: &dyn Display, is: bool| {
        right &= is;
        if !is {
            say(&format!("OUT: {what}"));
        }
    };
    expect(&"no adapter is told in words for a browser", GpuError::NoAdapter.to_string().contains("WebGPU"));
    expect(&"a name, or no key of it", gpu.info.name.is_empty() == gpu.kernels.tuning_key().is_none());
    let most = gpu.device.limits().max_buffer_size;
    for bytes in [most + 1, 1 << 40, u64::MAX] {
        expect(&format!("no buffer of {bytes} bytes, {most} at the most"), gpu.empty(bytes).is_err());
    }
    let layer = Descriptor::new([2, 3, 8, 8], Layout::ChannelsFirst);
    gpu.kernels.ready([(&layer, Operation::Forward), (&layer, Operation::Inference)]).await?;

    let lost = Gpu::new().await?;
    lost.device.destroy();
    // The browser says so when it comes to it.
    for _ in 0..200 {
        if BatchNorm::new(&lost.kernels, 3).is_err() {
            break;
        }
        gpu.read::<f32>(&gpu.upload(&[1.0_f32])?).await?;
    }
    expect(&"no layer on a device that is lost", BatchNorm::new(&lost.kernels, 3).is_err());
    expect(&"no buffer of a device that is lost", lost.empty(4).is_err());
    expect(&"no plan on a device that is lost", lost.kernels.forward(&layer).is_err());
    Ok(right)
}
