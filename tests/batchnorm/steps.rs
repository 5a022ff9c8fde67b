//! A pass in steps, whose statistics are values: a batch in parts gives what the whole batch gives.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Expected, Placement, Problem};
use wgpu_batchnorm::wgpu::Buffer;
use wgpu_batchnorm::{
    Activation, Bindings, Descriptor, Float, Gpu, Gradients, Layout, Mask, Momentum, Over, Padding, PlanError, Renorm,
    Running, Statistics, Types,
};

use crate::adapters::{gpus, on_every_gpu};
use crate::check::{check, failures, problem, says};

/// Samples of each part; one is empty.
const PARTS: [usize; 4] = [3, 1, 0, 4];

/// A part of a problem's batch on the device.
struct Part {
    descriptor: Descriptor,
    x: Buffer,
    y: Buffer,
    dy: Buffer,
    dx: Buffer,
    residual: Buffer,
    dresidual: Buffer,
    valid: Buffer,
    signs: Buffer,
    statistics: Buffer,
    sums: Buffer,
}

impl Part {
    fn new(gpu: &Gpu, whole: &Problem, first: usize, samples: usize) -> Self {
        let shape = whole.descriptor.shape();
        let per_sample: usize = shape[1..].iter().product();
        let positions = per_sample / whole.descriptor.channels();
        let of = |values: &[f32]| match values {
            [] => gpu.empty(4).unwrap(),
            values => gpu.upload(&values[first * per_sample..(first + samples) * per_sample]).unwrap(),
        };
        let valid: Vec<u8> =
            whole.valid.iter().skip(first * positions).take(samples * positions).map(|v| u8::from(*v)).collect();
        let empty = |values: usize| gpu.empty(4 * values.max(1) as u64).unwrap();
        let (x, channels) = (of(&whole.x), whole.descriptor.channels());
        let shape = [&[samples], &shape[1..]].concat();
        let tensor = || empty(samples * per_sample);
        Self {
            descriptor: whole.descriptor.clone().of_shape(shape),
            y: tensor(),
            dy: of(&whole.dy),
            dx: tensor(),
            residual: of(&whole.residual),
            dresidual: tensor(),
            valid: gpu.upload(&[valid, vec![0; 4]].concat()).unwrap(),
            signs: empty(samples * per_sample),
            statistics: empty(3 * channels),
            sums: empty(2 * channels),
            x,
        }
    }

    /// All that a step may want of this part.
    fn given(&self) -> Bindings<'_> {
        let to = Bindings::new().x(&self.x).y(&self.y).dy(&self.dy).statistics(&self.statistics).sums(&self.sums);
        to.valid(&self.valid).residual(&self.residual).dresidual(&self.dresidual).signs(&self.signs)
    }
}

const SHAPE: [usize; 4] = [8, 12, 5, 8];

type Make = fn() -> Descriptor;

const VARIANTS: [(&str, Make); 8] = [
    ("channels first", || Descriptor::new(SHAPE, Layout::ChannelsFirst)),
    ("channels last", || Descriptor::new(SHAPE, Layout::ChannelsLast)),
    ("narrow", || Descriptor::new([8, 7, 3, 5], Layout::ChannelsLast)),
    ("ragged", || Descriptor::new([8, 16, 7, 7], Layout::ChannelsFirst)),
    ("ragged, finished", || {
        Descriptor::new([8, 12, 5, 7], Layout::ChannelsFirst).activation(Activation::Relu).residual(true)
    }),
    ("padded", || Descriptor::new(SHAPE, Layout::ChannelsFirst).padding(Padding::Mask(Mask::Bytes))),
    ("renormalized", || Descriptor::new(SHAPE, Layout::ChannelsLast).renorm(Renorm { r_max: 1.1, d_max: 0.2 })),
    ("finished", || Descriptor::new(SHAPE, Layout::ChannelsFirst).activation(Activation::Relu).residual(true)),
];

/// Runs the steps on a batch of eight samples in parts: what a forward and a backward pass over the whole would answer.
pub fn in_parts(gpu: &Gpu, whole: &Problem) -> [Answer; 2] {
    let (kernels, descriptor) = (&gpu.kernels, &whole.descriptor);
    let channels = descriptor.channels();
    let planes = |planes: usize| gpu.empty(4 * (planes * channels) as u64).unwrap();
    let mut first = 0;
    let parts = PARTS.map(|samples| {
        first += samples;
        Part::new(gpu, whole, first - samples, samples)
    });
    let (gamma, beta) = (gpu.upload(&whole.gamma).unwrap(), gpu.upload(&whole.beta).unwrap());
    let mean = gpu.upload(&whole.running_mean).unwrap();
    let variance = gpu.upload(&whole.running_variance).unwrap();

    for part in &parts {
        let plan = kernels.gather(&part.descriptor).unwrap();
        let scratch = gpu.empty(plan.scratch_bytes()).unwrap();
        let bound = plan.bind(&part.given().scratch(&scratch).taken_by(&plan)).unwrap();
        gpu.run(|pass| bound.record(pass));
    }
    let (statistics, saved, scale_and_shift) = (planes(3), planes(whole.saved.len() / channels), planes(2));
    let many = read_all(gpu, parts.iter().map(|part| &part.statistics));
    let merge = kernels.merge(descriptor, PARTS.len() as u32).unwrap();
    let many_there = gpu.upload(&many).unwrap();
    let merge = merge.bind(&Bindings::new().many(&many_there).statistics(&statistics)).unwrap();
    let affine = Bindings::new().gamma(&gamma).beta(&beta);
    let to = affine.clone().statistics(&statistics).running_mean(&mean).running_variance(&variance).saved(&saved);
    let finalize = kernels.finalize(descriptor).unwrap().bind(&to.scale_and_shift(&scale_and_shift)).unwrap();
    gpu.run(|pass| [&merge, &finalize].into_iter().for_each(|bound| bound.record(pass)));
    assert_merged_alike(&many, &read(gpu, &statistics), channels);

    for part in &parts {
        let given = part.given().gamma(&gamma).beta(&beta).saved(&saved);
        let normalize = kernels.normalize(&part.descriptor).unwrap();
        let normalize = normalize.bind(&given.taken_by(&normalize)).unwrap();
        let plan = kernels.gather_backward(&part.descriptor).unwrap();
        let scratch = gpu.empty(plan.scratch_bytes()).unwrap();
        let gather = plan.bind(&given.scratch(&scratch).taken_by(&plan)).unwrap();
        gpu.run(|pass| [&normalize, &gather].into_iter().for_each(|bound| bound.record(pass)));
    }
    let (sums, dgamma, dbeta, coefficients) = (planes(2), planes(1), planes(1), planes(3));
    let many = gpu.upload(&read_all(gpu, parts.iter().map(|part| &part.sums))).unwrap();
    let merge = kernels.merge_backward(descriptor, PARTS.len() as u32).unwrap();
    let merge = merge.bind(&Bindings::new().many(&many).sums(&sums)).unwrap();
    let to = Bindings::new().sums(&sums).saved(&saved).gamma(&gamma).dgamma(&dgamma).dbeta(&dbeta);
    let finalize = kernels.finalize_backward(descriptor).unwrap().bind(&to.coefficients(&coefficients)).unwrap();
    gpu.run(|pass| [&merge, &finalize].into_iter().for_each(|bound| bound.record(pass)));
    for part in &parts {
        let apply = kernels.apply_backward(&part.descriptor).unwrap();
        let to = part.given().gamma(&gamma).beta(&beta).saved(&saved).sums(&sums).dx(&part.dx);
        let apply = apply.bind(&to.taken_by(&apply)).unwrap();
        gpu.run(|pass| apply.record(pass));
    }

    let of_parts = |tensor: fn(&Part) -> &Buffer| -> Vec<f32> {
        let full = parts.iter().filter(|part| part.descriptor.shape()[0] > 0);
        read_all(gpu, full.map(tensor))
    };
    let forward = vec![
        ("y", of_parts(|part| &part.y)),
        ("saved", read(gpu, &saved)),
        ("running_mean", read(gpu, &mean)),
        ("running_variance", read(gpu, &variance)),
    ];
    let backward = vec![
        ("dx", of_parts(|part| &part.dx)),
        ("dresidual", of_parts(|part| &part.dresidual)),
        ("dgamma", read(gpu, &dgamma)),
        ("dbeta", read(gpu, &dbeta)),
    ];
    [Answer(forward), Answer(backward)]
}

fn read(gpu: &Gpu, buffer: &Buffer) -> Vec<f32> {
    pollster::block_on(gpu.read(buffer)).unwrap()
}

fn read_all<'a>(gpu: &Gpu, buffers: impl Iterator<Item = &'a Buffer>) -> Vec<f32> {
    buffers.flat_map(|buffer| read(gpu, buffer)).collect()
}

/// The host merges as the device does, but for rounding at the size of what is merged.
fn assert_merged_alike(many: &[f32], merged: &[f32], channels: usize) {
    let mut all = vec![Statistics::default(); channels];
    for part in many.chunks(3 * channels) {
        all.iter_mut().zip(Statistics::from_planes(part)).for_each(|(all, part)| all.merge(part));
    }
    for (i, (host, device)) in Statistics::to_planes(&all).iter().zip(merged).enumerate() {
        let parts = many.chunks(3 * channels).map(|part| part[i].abs()).filter(|value| value.is_finite());
        let size = parts.fold(host.abs().max(1.0), f32::max);
        let alike = host.to_bits() == device.to_bits() || host.is_nan() && device.is_nan();
        let near = (host - device).abs() <= 1e-6 * size;
        assert!(alike || near, "{host} on the host, {device} on the device");
    }
}

#[test]
fn parts_make_the_whole() {
    for (gpu, (name, variant)) in gpus().iter().flat_map(|gpu| VARIANTS.map(|variant| (gpu, variant))) {
        let whole = problem(variant());
        let operations = [Operation::Forward, Operation::Backward(Gradients::ALL)];
        for (operation, answer) in operations.into_iter().zip(in_parts(gpu, &whole)) {
            for verdict in whole.judge(operation, &answer) {
                let has = answer.0.iter().any(|(name, _)| *name == verdict.name);
                assert!(!has || verdict.passed(), "{} {name}: {verdict:#?}", gpu.name());
            }
            assert!(["y", "dx"].iter().any(|name| !answer.get(name).is_empty()));
        }
    }
}

const STEPS: [Operation; 9] = [
    Operation::Gather,
    Operation::Merge(1),
    Operation::Merge(7),
    Operation::Finalize,
    Operation::Normalize,
    Operation::GatherBackward,
    Operation::MergeBackward(7),
    Operation::FinalizeBackward,
    Operation::ApplyBackward,
];

/// What parts cannot show here, but each step can.
const ALONE: [(&str, Make); 5] = [
    ("plain", || Descriptor::new(SHAPE, Layout::ChannelsFirst).affine(false, false).running(None)),
    ("folded", || Descriptor::new([8_196, 5], Layout::ChannelsLast)),
    ("of y", || {
        Descriptor::new(SHAPE, Layout::ChannelsLast).backward_from_y(true).activation(Activation::LeakyRelu(0.1))
    }),
    ("smooth", || Descriptor::new(SHAPE, Layout::ChannelsFirst).activation(Activation::Gelu).residual(true)),
    (OF_16_BITS, || {
        Descriptor::new(SHAPE, Layout::ChannelsLast).activation(Activation::Silu).types(Types::all(Float::Bf16))
    }),
];

/// Whose tolerances are wider.
const OF_16_BITS: &str = "16 bits";

/// Each step by itself, given what those before it leave; and a value that is off by a multiple of its tolerance is
/// seen, in that tensor alone.
#[test]
fn each_step_is_right_by_itself() {
    on_every_gpu(|gpu| {
        for (name, variant) in VARIANTS.into_iter().chain(ALONE) {
            let whole = problem(variant());
            for step in STEPS {
                let answer = check(gpu, &gpu.kernels, &whole, step, Placement::Separate);
                let expected = whole.expect(step);
                assert_eq!(answer.0.len(), expected.len(), "{name}: {step} has outputs that nothing is said of");
                for Expected { name: tensor, values, tolerances } in &expected {
                    let middle = values.len() / 2;
                    let mut off = answer.clone();
                    let (_, got) = off.0.iter_mut().find(|(name, _)| name == tensor).unwrap();
                    got[middle] = ((values[middle] + 4.0 * tolerances[middle]) as f32).next_up().next_up();
                    let seen: Vec<&str> = failures(&whole, step, &off).iter().map(|verdict| verdict.name).collect();
                    assert_eq!(seen, [*tensor], "{name}: {step}");
                    // Far less than what a wrong formula would be off by.
                    let size = values.iter().fold(1e-3, |size: f64, value| size.max(value.abs()));
                    let narrow = tolerances.iter().filter(|tolerance| **tolerance < 1e-4 * size).count();
                    let wide = *tensor == "signs" || name == OF_16_BITS;
                    assert!(wide || 2 * narrow >= values.len(), "{name}: {step}: {tensor} may be anything");
                }
            }
        }
    });
}

#[test]
fn what_has_no_whole_is_refused() {
    let gpu = &gpus()[0];
    let grouped = Descriptor::new(SHAPE, Layout::ChannelsFirst).over(Over::Groups { samples: 2 });
    says(&gpu.kernels.gather(&grouped).unwrap_err(), &["over", "whole batch"]);
    let average = Running { momentum: Momentum::Cumulative, ..Running::default() };
    let averaged = Descriptor::new(SHAPE, Layout::ChannelsFirst).running(average);
    says(&gpu.kernels.finalize(&averaged).unwrap_err(), &["running", "update_running"]);
    let plain = Descriptor::new(SHAPE, Layout::ChannelsFirst);
    assert!(matches!(gpu.kernels.merge(&plain, 0), Err(PlanError::Option { option: "parts", .. })));
}

/// Statistics of 9 values a channel, in three channels.
const MERGED: [f32; 9] = [9.0, 9.0, 9.0, 0.5, -2.0, 1e3, 2.0, 0.25, 1e4];
const BEFORE: [[f32; 3]; 2] = [[0.25, 1.0, -1e3], [1.0, 4.0, 1e2]];

/// What `merge`, `finalize` and `update_running`, then `merge_backward` and `finalize_backward` leave on a device whose
/// part has this shape.
fn ends(gpu: &Gpu, descriptor: &Descriptor) -> Vec<Vec<f32>> {
    let kernels = &gpu.kernels;
    let upload = |values: &[f32]| gpu.upload(values).unwrap();
    let planes = |planes: u64| gpu.empty(12 * planes).unwrap();
    let [many, many_back] = [&MERGED, &MERGED[..6]].map(upload);
    let [statistics, sums] = [3, 2].map(planes);
    let merge = kernels.merge(descriptor, 1).unwrap();
    let merge = merge.bind(&Bindings::new().many(&many).statistics(&statistics));
    let merge_back = kernels.merge_backward(descriptor, 1).unwrap();
    let merge_back = merge_back.bind(&Bindings::new().many(&many_back).sums(&sums));
    let (gamma, beta) = (upload(&[1.5, -0.5, 2.0]), upload(&[0.5, 1.0, -1.0]));
    let [mean, variance, later_mean, later_variance] = [BEFORE[0], BEFORE[1], BEFORE[0], BEFORE[1]].map(|b| upload(&b));
    let [counter, later_counter] = [3, 3].map(|count| upload(&[f32::from_bits(count)]));
    let finalize = kernels.finalize(descriptor).unwrap();
    let saved = gpu.empty(finalize.saved_bytes()).unwrap();
    let (scale_and_shift, dgamma, dbeta, coefficients) = (planes(2), planes(1), planes(1), planes(3));
    let to = Bindings::new().statistics(&statistics).gamma(&gamma).beta(&beta).counter(&counter).saved(&saved);
    let to = to.running_mean(&mean).running_variance(&variance).scale_and_shift(&scale_and_shift);
    let finalize = finalize.bind(&to);
    let to = Bindings::new().saved(&saved).running_mean(&later_mean).running_variance(&later_variance);
    let update = kernels.update_running(descriptor).unwrap().bind(&to.counter(&later_counter));
    let to = Bindings::new().sums(&sums).saved(&saved).gamma(&gamma).dgamma(&dgamma).dbeta(&dbeta);
    let back = kernels.finalize_backward(descriptor).unwrap().bind(&to.coefficients(&coefficients));
    let bound = [merge, finalize, update, merge_back, back].map(Result::unwrap);
    gpu.run(|pass| bound.iter().for_each(|bound| bound.record(pass)));
    let moved = [&mean, &variance, &counter, &later_mean, &later_variance, &later_counter];
    let left = [&saved, &scale_and_shift, &dgamma, &dbeta, &coefficients];
    moved.into_iter().chain(left).map(|buffer| read(gpu, buffer)).collect()
}

/// The steps that go over no tensor do not depend on how much of it is here.
#[test]
fn an_empty_part_ends_as_every_other() {
    let rule = Running { counts_batches: true, ..Running::default() };
    let plain = Descriptor::new([9, 3], Layout::ChannelsFirst).running(rule);
    let renormalized = plain.clone().renorm(Renorm { r_max: 1.5, d_max: 0.5 });
    for (gpu, descriptor) in gpus().iter().flat_map(|gpu| [(gpu, &plain), (gpu, &renormalized)]) {
        let expected = ends(gpu, descriptor);
        for shape in [[0, 3], [1, 3]] {
            let got = ends(gpu, &descriptor.clone().of_shape(shape));
            assert_eq!(got, expected, "{} {shape:?}", gpu.name());
            // Momentum 0.1, and the variance of 9 values unbiased.
            for (moved, before, batch, unbias) in
                [(&got[0], BEFORE[0], &MERGED[3..6], 1.0), (&got[1], BEFORE[1], &MERGED[6..], 9.0 / 8.0)]
            {
                for ((moved, before), batch) in moved.iter().zip(before).zip(batch) {
                    let plain = 0.9 * f64::from(before) + 0.1 * unbias * f64::from(*batch);
                    assert!((f64::from(*moved) - plain).abs() <= 1e-6 * plain.abs(), "{moved} for {plain}");
                }
            }
        }
    }
}

/// Two values of a variance that an f32 does not hold, beside so many others that their share is all, in f32.
#[test]
fn an_infinite_variance_outlives_any_number_of_values() {
    let (few, many) = ([2.0, 3.0, f32::INFINITY], [1e9, 0.5, 1.0]);
    let descriptor = Descriptor::new([9, 1], Layout::ChannelsFirst);
    for (gpu, parts) in gpus().iter().flat_map(|gpu| [[few, many], [many, few]].map(|parts| (gpu, parts))) {
        let (many, statistics) = (gpu.upload(&parts.concat()).unwrap(), gpu.empty(12).unwrap());
        let merge = gpu.kernels.merge(&descriptor, 2).unwrap();
        let merge = merge.bind(&Bindings::new().many(&many).statistics(&statistics)).unwrap();
        gpu.run(|pass| merge.record(pass));
        let merged = read(gpu, &statistics);
        assert_merged_alike(&parts.concat(), &merged, 1);
        assert_eq!(merged[2], f32::INFINITY, "{}", gpu.name());
    }
}
