//! What the targets of `fuzz/` call: everything that is read ends in a value or in an error.

use std::collections::BTreeSet;
use std::path::Path;
use std::str;

use wgpu_batchnorm::checkpoint::safetensors::{self, Dtype};
use wgpu_batchnorm::checkpoint::{self, Floats, MayLack, Names, State};
use wgpu_batchnorm::recipe::{Capabilities, Choice, Operation, Recipe};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning, Tunings};
use wgpu_batchnorm::{Descriptor, Gradients, Layout};

use crate::bench::baseline::Baseline;
use crate::bench::layers;
use crate::bench::report::Report;
use crate::cases::exercise::{self, Output};
use crate::cases::file::{Case, Values};
use crate::cases::judge;
use crate::fold::Mapping;
use crate::fold::files::{Files, Index};
use crate::fold::model::{InF32, Model};

/// Any bytes as a safetensors file: its batch norms as states, and folded into what may be layers.
pub fn safetensors(data: &[u8]) {
    let Ok(file) = checkpoint::open(data) else { return };
    let prefixes = Names::prefixes(file.names());
    let lacking = MayLack { affine: true, running: true, batches: true };
    for prefix in &prefixes {
        let names = Names::find(|name| file.tensor(name).is_ok(), prefix);
        let channels = file.tensor(&names.mean).map_or(0, |mean| mean.shape().iter().product());
        for may_lack in [MayLack::default(), lacking] {
            let Ok(state) = State::from_safetensors_lacking(&file, prefix, channels, may_lack) else { continue };
            assert_eq!([state.gamma.len(), state.running_variance.len()], [channels; 2]);
            let written = safetensors::serialize(state.tensors(prefix), None).expect("a state is written");
            let read = checkpoint::open(&written).and_then(|file| State::from_safetensors(&file, prefix, channels));
            assert_eq!(read.map(|state| state.batches), Ok(state.batches));
        }
    }
    let layers = file.names().into_iter().filter_map(|name| Some(name.rsplit_once(['.', '/'])?.0));
    let layers: BTreeSet<&str> = layers.take(16).collect();
    // One of them a run: all would make it slow.
    let options = ["", ":conv", ":transposed", ":bn-first", ":bn-first:unpadded"];
    let option = options[data.len() % options.len()];
    for norm in prefixes.iter().take(4).map(|prefix| prefix.trim_end_matches(['.', '/'])) {
        for layer in &layers {
            folds(data.to_vec(), &format!("{norm}={layer}{option}"), None);
        }
    }
}

/// A model and a map made of the bytes.
pub fn fold(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut next = || bytes.next().unwrap_or_default();
    let frameworks = [
        ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"],
        ["bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"],
        ["params.bn.scale", "params.bn.bias", "batch_stats.bn.mean", "batch_stats.bn.var"],
    ];
    let norm = frameworks[usize::from(next()) % 3];
    let weight = ["a.weight", "a/kernel", "params.a.kernel", "a/depthwise_kernel", "a/pointwise_kernel"];
    let weight = weight[usize::from(next()) % 5];
    let bias = if weight.starts_with("params") { "params.a.bias" } else { "a.bias" };
    let options = ["", ":conv", ":depthwise", ":transposed", ":groups=2", ":groups=3", ":bn-first", ":unpadded"];
    let map = (0..next() % 4).map(|_| options[usize::from(next()) % 8]).collect::<String>();
    let mut tensors = Vec::new();
    let epsilon = [0.0, 1e-5, 1e-3, 1e300][usize::from(next()) % 4];
    let ranks = [1, 1, 1, 1, next() % 5, 1].map(usize::from);
    let channels = usize::from(next() % 5);
    for (name, rank) in norm.into_iter().chain([weight, bias]).zip(ranks) {
        let mut shape: Vec<usize> = (0..rank).map(|_| usize::from(next() % 5)).collect();
        if rank == 1 && next() % 16 != 0 {
            shape = vec![channels];
        }
        let dtype = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16][usize::from(next()) % 4];
        let value = |byte: u8| match byte {
            255 => f64::NAN,
            254 => f64::INFINITY,
            253 => 65504.0,
            252 => f64::from(f32::MAX),
            251 => f64::MAX,
            250 => 1e-310,
            byte => f64::from(byte) / 16.0 - 1.0,
        };
        let values = (0..shape.iter().product()).map(|_| value(next())).collect();
        if let Ok(tensor) = (Floats { dtype, shape, values }).tensor(name)
            && next() % 32 != 0
        {
            tensors.push((name, tensor));
        }
    }
    let Ok(model) = safetensors::serialize(tensors, None) else { return };
    let norm = norm[3].rsplit_once(['.', '/']).map_or("", |(norm, _)| norm).trim_start_matches("batch_stats.");
    folds(model, &format!("{norm}=a{map}"), Some(epsilon));
}

/// Folds, and what comes out is finite and is read again.
fn folds(bytes: Vec<u8>, map: &str, epsilon: Option<f64>) {
    let Ok(mapping) = map.parse::<Mapping>() else { return };
    let files = Files::one(Path::new("model.safetensors"), bytes);
    let Ok(mut model) = Model::open(&files, epsilon, true) else { return };
    if model.fold(&mapping).is_err() {
        return;
    }
    let Ok(contents) = model.contents(Some(InF32::All)).or_else(|_| model.contents(None)) else { return };
    for (tensors, metadata) in contents {
        let written = safetensors::serialize(tensors, metadata).expect("a folded model is written");
        let file = checkpoint::open(&written).expect("a folded model is read");
        let before = checkpoint::open(&files.files[0].1).expect("it was read before");
        for (name, tensor) in file.iter().filter(|(name, tensor)| before.tensor(name).ok().as_ref() != Some(tensor)) {
            let floats = Floats::read(&file, name).expect("what is changed is of floats");
            assert!(floats.values.iter().all(|value| value.is_finite()), "{name} of {map}: {:?}", tensor.shape());
        }
    }
}

/// The index of a model in several files.
pub fn index(data: &[u8]) {
    if let Ok(index) = Index::parse(data) {
        let here = |name: &String| Path::new("folder/index").with_file_name(name).parent() == Some(Path::new("folder"));
        assert!(index.weight_map.values().all(here));
    }
}

/// Tunings, and plans by whatever is in them: any text, or the built-in one with other numbers.
pub fn tuning(data: &[u8]) {
    let text = match data.first() {
        Some(b'{' | b'[') => String::from_utf8_lossy(data).into_owned(),
        _ => with_numbers(data),
    };
    let Ok(tunings) = Tunings::from_json(&text) else { return };
    let text = tunings.to_json().expect("tunings are written");
    assert_eq!(Tunings::from_json(&text).as_ref(), Ok(&tunings));
    for tuning in tunings.keys().take(4).filter_map(|key| tunings.get(key)) {
        for (shape, layout) in [([3, 5, 300], Layout::ChannelsFirst), ([9, 200, 64], Layout::ChannelsLast)] {
            recipes(&Descriptor::new(shape, layout), &tuning);
        }
    }
}

/// The built-in numbers, each that the bytes choose replaced by four of them.
fn with_numbers(data: &[u8]) -> String {
    let mut tunings = Tunings::default();
    tunings.insert("built-in", Tuning::GPU);
    let text = tunings.to_json().expect("tunings are written");
    let is_digit = |c: char| c.is_ascii_digit();
    let mut parts: Vec<String> = text.split_inclusive(|c: char| !is_digit(c)).map(str::to_owned).collect();
    let numbers: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].starts_with(is_digit)).collect();
    for [place, number @ ..] in data.as_chunks::<5>().0 {
        let place = numbers[usize::from(*place) % numbers.len()];
        let rest = parts[place].trim_start_matches(is_digit).to_owned();
        parts[place] = format!("{}{rest}", u32::from_le_bytes(*number));
    }
    parts.concat()
}

fn recipes(descriptor: &Descriptor, tuning: &Tuning) {
    let capabilities = Capabilities::webgpu_default(AdapterKind::Gpu);
    for operation in [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)] {
        let _ = Recipe::new(descriptor, operation, &capabilities, tuning, &Choice::default());
    }
}

/// An earlier run, compared with itself.
pub fn compare(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(mut baseline) = Baseline::parse(Path::new("old.json"), text, 15) else { return };
    let reports: Vec<Report> = serde_json::from_str(text).expect("what is a baseline is reports");
    for report in &reports {
        let _ = baseline.compare(report);
    }
    let _ = baseline.finish(&[]);
}

/// A file of shapes, and a recipe of each.
pub fn shapes(data: &[u8]) {
    let Ok(layers) = str::from_utf8(data).map_err(|_| String::new()).and_then(layers::parse) else { return };
    for layer in layers.iter().take(8) {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            recipes(&layer.descriptor(layout), &Tuning::of(AdapterKind::Gpu));
        }
        let _ = (layer.values(), layers::name(&layer.shape));
    }
}

/// A recorded case, up to the device, and judged by its own answers.
pub fn cases(data: &[u8]) {
    let Ok(case) = Case::parse(Path::new("case.safetensors"), data) else { return };
    let _ = (case.describe(), case.layout());
    let running = exercise::convention(&case).unwrap_or_default();
    if let Ok(problem) = exercise::problem(&case, "in.x", running) {
        recipes(&problem.descriptor, &Tuning::of(AdapterKind::Gpu));
    }
    let outputs: Vec<Output> = case
        .tensors("out.")
        .filter_map(|(name, tensor)| match &tensor.values {
            Values::F64(values) => {
                let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                Some(exercise::output(name, &values))
            }
            _ => None,
        })
        .collect();
    let _ = judge::judge(&case, &outputs);
}
