//! Checkpoints: what PyTorch wrote and what we write, on every adapter; and everything that is refused.

use std::fs;

use wgpu_batchnorm::checkpoint::safetensors::tensor::TensorView;
use wgpu_batchnorm::checkpoint::safetensors::{self, Dtype, SafeTensors, View};
use wgpu_batchnorm::checkpoint::{self, CheckpointError, Floats, MayLack, State, Tensor};
use wgpu_batchnorm::fold::{Axes, Layer, into_previous};
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::verify::{Answer, Problem};
use wgpu_batchnorm::{BatchNorm, Bindings, Gpu};

use crate::adapters::on_every_gpu;
use crate::check::{judge, says};

/// Made by PyTorch; see tests/pytorch/make.py.
pub const LAYERS: &[u8] = include_bytes!("../pytorch/layers.safetensors");
pub const NETWORK: &[u8] = include_bytes!("../pytorch/network.safetensors");
pub const ANSWERS: &[u8] = include_bytes!("../pytorch/answers.safetensors");

const PARTS: [&str; 5] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];

fn pytorch(name: &str) -> Vec<f32> {
    let answers = SafeTensors::deserialize(ANSWERS).unwrap();
    Floats::read(&answers, name).unwrap().to_f32(name).unwrap()
}

fn state(gpu: &Gpu, layer: &BatchNorm) -> State {
    pollster::block_on(layer.state(gpu)).unwrap()
}

/// A state whose every value is another.
fn some_state(channels: usize) -> State {
    let values = |start: f32| (0..channels).map(|i| start + i as f32 / 3.0).collect();
    State {
        gamma: values(1.0),
        beta: values(100.0),
        running_mean: values(-100.0),
        running_variance: values(10_000.0),
        batches: u32::MAX,
    }
}

/// γ and the statistics of the layer that PyTorch saved in f32.
fn pytorch_problem(layer: &BatchNorm, state: &State) -> Problem {
    let problem = Problem::random(layer.descriptor(&[4, 5, 3]), 0.0, 1.0, 1);
    let State { gamma, beta, running_mean, running_variance, batches } = state.clone();
    Problem { x: pytorch("x"), gamma, beta, running_mean, running_variance, batches, ..problem }.with_saved()
}

/// Inference and a training step after loading PyTorch's file: PyTorch's answers and the GPU's are both
/// inside the tolerances around the reference.
#[test]
fn a_checkpoint_of_pytorch_gives_pytorchs_numbers() {
    on_every_gpu(|gpu| {
        let layer = BatchNorm::new(&gpu.kernels, 5).unwrap();
        let file = SafeTensors::deserialize(LAYERS).unwrap();
        layer.load(&gpu.queue, &file, "f32.").unwrap();
        let before = state(gpu, &layer);
        assert_eq!(before.batches, 3);
        let problem = pytorch_problem(&layer, &before);
        let x = gpu.upload(&problem.x).unwrap();
        let buffers = [0; 3].map(|_| gpu.empty(x.size()).unwrap());
        let [y, dy, dx] = &buffers;
        let read = |buffer| pollster::block_on(gpu.read::<f32>(buffer)).unwrap();
        let to = Bindings::new().x(&x).y(y);

        let inference = layer.inference(&[4, 5, 3], &to).unwrap();
        gpu.run(|pass| inference.record(pass));
        for (who, y) in [(gpu.name(), read(y)), ("PyTorch".to_owned(), pytorch("eval.y"))] {
            judge(&who, &problem, Operation::Inference, &Answer(vec![("y", y)]));
        }

        let training = layer.training(&[4, 5, 3], &to.dy(dy).dx(dx)).unwrap();
        gpu.run(|pass| training.forward.record(pass));
        let answers = SafeTensors::deserialize(ANSWERS).unwrap();
        let theirs = State::from_safetensors(&answers, "train.", 5).unwrap();
        let ours = state(gpu, &layer);
        // PyTorch keeps what it saves for the backward pass to itself.
        let forwards = [
            (gpu.name(), &ours, read(y), read(&training.saved)),
            ("PyTorch".to_owned(), &theirs, pytorch("train.y"), problem.saved.clone()),
        ];
        for (who, after, y, saved) in forwards {
            let answer = Answer(vec![
                ("y", y),
                ("saved", saved),
                ("running_mean", after.running_mean.clone()),
                ("running_variance", after.running_variance.clone()),
                ("counter", vec![f32::from_bits(after.batches)]),
            ]);
            judge(&who, &problem, Operation::Forward, &answer);
            assert_eq!(after.batches, 4, "{who}");
            assert_eq!((&after.gamma, &after.beta), (&before.gamma, &before.beta), "{who}");
        }
    });
}

#[test]
fn what_is_saved_loads_again() {
    on_every_gpu(|gpu| {
        for channels in [1, 3, 64, 1000] {
            let layers = [0; 3].map(|_| BatchNorm::new(&gpu.kernels, channels).unwrap());
            let [first, second, untouched] = &layers;
            assert_eq!(state(gpu, first), State::new(channels));
            first.set_state(&gpu.queue, &some_state(channels)).unwrap();
            let saved = state(gpu, first);
            assert_eq!(saved, some_state(channels));

            // Two layers in one file, in the reader's hands the one asked for.
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("two.safetensors");
            let tensors = [saved.tensors("layer1.0.bn1."), State::new(channels).tensors("layer1.0.bn2.")].concat();
            checkpoint::write(&path, tensors, None).unwrap();
            let bytes = fs::read(&path).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.len(), 10);
            second.load(&gpu.queue, &file, "layer1.0.bn1.").unwrap();
            assert_eq!(state(gpu, second), saved);
            assert_eq!(state(gpu, untouched), State::new(channels));
        }
    });
}

/// Names, types and shapes are those of PyTorch's own file.
#[test]
fn what_is_saved_is_what_pytorch_would_save() {
    let pytorch = SafeTensors::deserialize(LAYERS).unwrap();
    let state = State::from_safetensors(&pytorch, "f32.", 5).unwrap();
    let bytes = safetensors::serialize(state.tensors("f32."), None).unwrap();
    let ours = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(ours.len(), PARTS.len());
    for part in PARTS {
        let name = format!("f32.{part}");
        assert_eq!(ours.tensor(&name).unwrap(), pytorch.tensor(&name).unwrap());
    }
    let plain = safetensors::serialize(state.tensors(""), None).unwrap();
    assert_eq!(State::from_safetensors(&SafeTensors::deserialize(&plain).unwrap(), "", 5).unwrap(), state);
}

#[test]
fn other_types_load_as_pytorch_converts_them() {
    let file = SafeTensors::deserialize(LAYERS).unwrap();
    let answers = SafeTensors::deserialize(ANSWERS).unwrap();
    for (name, dtype) in [("f32", Dtype::F32), ("f16", Dtype::F16), ("bf16", Dtype::BF16), ("f64", Dtype::F64)] {
        assert_eq!(file.tensor(&format!("{name}.weight")).unwrap().dtype(), dtype);
        let state = State::from_safetensors(&file, &format!("{name}."), 5).unwrap();
        assert_eq!(state, State::from_safetensors(&answers, &format!("layers.{name}."), 5).unwrap());
        assert_eq!(state.batches, 3);
        assert_ne!(state.gamma, State::new(5).gamma);
    }
}

/// PyTorch's own fusion, in f64.
#[test]
fn folding_gives_pytorchs_weights() {
    let file = SafeTensors::deserialize(NETWORK).unwrap();
    let answers = SafeTensors::deserialize(ANSWERS).unwrap();
    let norm = State::from_safetensors(&file, "bn1.", 4).unwrap();
    let conv = Floats::read(&file, "conv1.weight").unwrap();
    let layer = Layer { weight: &conv.values, shape: &conv.shape, axes: Axes::OutIn, groups: 1, bias: None };
    let folded = into_previous(&norm.normalization(1e-5).affine().unwrap(), &layer).unwrap();
    for (name, ours) in [("fused.weight", folded.weight), ("fused.bias", folded.bias)] {
        let theirs = Floats::read(&answers, name).unwrap().values;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // A handful of roundings each, in another order.
            approx::assert_relative_eq!(ours, theirs, max_relative = 1e-14, epsilon = 1e-15);
        }
    }
}

#[test]
fn parts_may_be_lacking_only_where_that_is_said() {
    let file = SafeTensors::deserialize(LAYERS).unwrap();
    let nothing = MayLack::default();
    let (affine, running) = (MayLack { affine: true, ..nothing }, MayLack { running: true, ..nothing });
    let no_running = MayLack { batches: true, ..running };
    let read = |prefix: &str, may_lack| State::from_safetensors_lacking(&file, prefix, 5, may_lack);
    let missing = |prefix: &str, may_lack: MayLack| match read(prefix, may_lack) {
        Err(CheckpointError::Missing { tensor, .. }) => tensor,
        other => panic!("{prefix} {may_lack:?}: {other:?}"),
    };
    assert_eq!(missing("no_affine.", nothing), "no_affine.weight");
    assert_eq!(missing("no_affine.", no_running), "no_affine.weight");
    assert_eq!(missing("no_bias.", nothing), "no_bias.bias");
    assert_eq!(missing("no_running.", affine), "no_running.running_mean");
    assert_eq!(missing("no_running.", running), "no_running.num_batches_tracked");

    let state = read("no_affine.", affine).unwrap();
    assert_eq!((&state.gamma, &state.beta), (&vec![1.0; 5], &vec![0.0; 5]));
    assert_eq!((&state.running_mean, state.batches), (&pytorch("layers.no_affine.running_mean"), 3));
    let state = read("no_bias.", affine).unwrap();
    assert_eq!((&state.gamma, &state.beta), (&pytorch("layers.no_bias.weight"), &vec![0.0; 5]));
    let state = read("no_running.", no_running).unwrap();
    let constructed = State::new(5);
    assert_eq!(state, State { gamma: state.gamma.clone(), beta: state.beta.clone(), ..constructed });
    // What is there is read, whatever may be lacking.
    let everything = MayLack { affine: true, running: true, batches: true };
    assert_eq!(read("f32.", everything), read("f32.", nothing));
    // One of the two running statistics is no layer without them.
    let bytes = file_with(|tensors| tensors.retain(|(name, _)| name != "bn.running_mean"));
    let torn = SafeTensors::deserialize(&bytes).unwrap();
    let error = State::from_safetensors_lacking(&torn, "bn.", 3, everything).unwrap_err();
    assert!(matches!(&error, CheckpointError::Missing { tensor, .. } if tensor == "bn.running_mean"), "{error:?}");
}

/// A file with the state of a layer of 3 channels after `bn.`, changed.
fn file_with(change: impl FnOnce(&mut Vec<(String, Tensor<'static>)>)) -> Vec<u8> {
    let mut tensors = some_state(3).tensors("bn.");
    change(&mut tensors);
    safetensors::serialize(tensors, None).unwrap()
}

/// A file whose tensor of this name is another.
fn file_with_tensor(name: &str, dtype: Dtype, shape: &[usize], data: &'static [u8]) -> Vec<u8> {
    let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    file_with(|tensors| {
        tensors.iter_mut().filter(|(known, _)| known == name).for_each(|(_, it)| *it = view.clone().into())
    })
}

fn refusal(bytes: &[u8]) -> CheckpointError {
    State::from_safetensors(&SafeTensors::deserialize(bytes).unwrap(), "bn.", 3).unwrap_err()
}

#[test]
fn missing_tensors_are_named_with_the_prefixes_there_are() {
    for part in PARTS {
        let name = format!("bn.{part}");
        let error = refusal(&file_with(|tensors| tensors.retain(|(known, _)| *known != name)));
        let found = if part == "running_mean" { vec![] } else { vec!["bn.".to_owned()] };
        says(&error, &[&name, "missing", if found.is_empty() { "running_mean" } else { "\"bn.\"" }]);
        assert_eq!(error, CheckpointError::Missing { tensor: name, found });
    }
    // The dot forgotten.
    let file = SafeTensors::deserialize(LAYERS).unwrap();
    let error = State::from_safetensors(&file, "f32", 5).unwrap_err();
    says(&error, &["f32weight", "\"bf16.\", \"f16.\", \"f32.\""]);
    let many: Vec<_> = (0..9).flat_map(|i| State::new(1).tensors(&format!("{i}."))).collect();
    let bytes = safetensors::serialize(many, None).unwrap();
    says(&refusal(&bytes), &["\"5.\" and 3 more"]);
}

#[test]
fn misshapen_tensors_are_named_with_both_shapes() {
    let shapes: [(&[usize], &[u8]); 4] = [(&[2], &[0; 8]), (&[1, 3], &[0; 12]), (&[], &[0; 4]), (&[0], &[])];
    for part in &PARTS[..4] {
        let name = format!("bn.{part}");
        for (shape, data) in shapes {
            let error = refusal(&file_with_tensor(&name, Dtype::F32, shape, data));
            says(&error, &[&name, &format!("{shape:?}"), "[3]"]);
            assert_eq!(error, CheckpointError::Shape { tensor: name.clone(), has: shape.to_vec(), needs: vec![3] });
        }
    }
    let error = refusal(&file_with_tensor("bn.num_batches_tracked", Dtype::I64, &[2], &[0; 16]));
    says(&error, &["bn.num_batches_tracked", "[2]", "[]"]);
}

/// Files of Keras, TensorFlow and Flax, which have no counter.
#[test]
fn names_of_other_frameworks_load() {
    let expected = State { batches: 0, ..some_state(3) };
    let parts = [&expected.gamma, &expected.beta, &expected.running_mean, &expected.running_variance];
    for (names, prefix) in [
        (["bn/gamma", "bn/beta", "bn/moving_mean", "bn/moving_variance"], "bn/"),
        (["bn/gamma:0", "bn/beta:0", "bn/moving_mean:0", "bn/moving_variance:0"], "bn/"),
        (["bn.scale", "bn.bias", "bn.mean", "bn.var"], "bn."),
        (["params.bn.scale", "params.bn.bias", "batch_stats.bn.mean", "batch_stats.bn.var"], "bn."),
        (["params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var"], "params/bn/"),
    ] {
        let tensor = |values: &Vec<f32>| {
            let values = values.iter().map(|value| f64::from(*value)).collect();
            Floats { dtype: Dtype::F32, shape: vec![3], values }.tensor("").unwrap()
        };
        let tensors: Vec<_> = names.into_iter().zip(parts.map(tensor)).collect();
        let bytes = safetensors::serialize(tensors.clone(), None).unwrap();
        let file = checkpoint::open(&bytes).unwrap();
        assert_eq!(State::from_safetensors(&file, prefix, 3).unwrap(), expected, "{names:?}");
        // Without β: its own name is the one that is missing.
        let bytes = safetensors::serialize(tensors.into_iter().filter(|(name, _)| *name != names[1]), None).unwrap();
        let file = checkpoint::open(&bytes).unwrap();
        says(&State::from_safetensors(&file, prefix, 3).unwrap_err(), &[names[1], "missing"]);
        let lacking = MayLack { affine: true, ..MayLack::default() };
        let state = State::from_safetensors_lacking(&file, prefix, 3, lacking).unwrap();
        assert_eq!(state, State { beta: vec![0.0; 3], ..expected.clone() });
    }
}

#[test]
fn tensors_of_other_types_are_named_with_theirs() {
    let error = refusal(&file_with_tensor("bn.running_var", Dtype::I32, &[3], &[0; 12]));
    says(&error, &["bn.running_var", "I32", "F16, BF16, F32 or F64"]);
    let error = refusal(&file_with_tensor("bn.weight", Dtype::F8_E4M3, &[3], &[0; 3]));
    says(&error, &["bn.weight", "F8_E4M3"]);
    let error = refusal(&file_with_tensor("bn.num_batches_tracked", Dtype::BOOL, &[], &[1]));
    says(&error, &["bn.num_batches_tracked", "BOOL", "integer"]);
}

#[test]
fn values_that_f32_does_not_hold_are_named() {
    let huge = [1.0, f64::INFINITY, 1e39].map(f64::to_le_bytes).concat().leak();
    let error = refusal(&file_with_tensor("bn.running_var", Dtype::F64, &[3], huge));
    let tensor = "bn.running_var".to_owned();
    assert_eq!(error, CheckpointError::Overflow { tensor, index: 2, value: 1e39, into: Dtype::F32 });
    says(&error, &["bn.running_var", "index 2", "F32"]);
}

#[test]
fn counters_of_every_kind_that_fit_are_read() {
    let read = |dtype, shape: &[usize], data: &'static [u8]| {
        let bytes = file_with_tensor("bn.num_batches_tracked", dtype, shape, data);
        State::from_safetensors(&SafeTensors::deserialize(&bytes).unwrap(), "bn.", 3).map(|state| state.batches)
    };
    let fits: [(Dtype, &[u8]); 11] = [
        (Dtype::I64, &[200, 0, 0, 0, 0, 0, 0, 0]),
        (Dtype::U64, &[200, 0, 0, 0, 0, 0, 0, 0]),
        (Dtype::I32, &[200, 0, 0, 0]),
        (Dtype::U32, &[200, 0, 0, 0]),
        (Dtype::I16, &[200, 0]),
        (Dtype::U16, &[200, 0]),
        (Dtype::U8, &[200]),
        (Dtype::F32, &[0, 0, 0x48, 0x43]),
        (Dtype::F64, &[0, 0, 0, 0, 0, 0, 0x69, 0x40]),
        (Dtype::F16, &[0x40, 0x5a]),
        (Dtype::BF16, &[0x48, 0x43]),
    ];
    for (dtype, data) in fits {
        assert_eq!(read(dtype, &[], data), Ok(200), "{dtype}");
        assert_eq!(read(dtype, &[1], data), Ok(200), "{dtype}");
    }
    assert_eq!(read(Dtype::I8, &[], &[100]), Ok(100));
    assert_eq!(read(Dtype::I64, &[], &[255, 255, 255, 255, 0, 0, 0, 0]), Ok(u32::MAX));
    let does_not_fit: [(Dtype, &[u8], &str); 4] = [
        (Dtype::I64, &[0, 0, 0, 0, 1, 0, 0, 0], "4294967296"),
        (Dtype::I64, &[255; 8], "-1"),
        (Dtype::F32, &[0, 0, 0, 0x3f], "0.5"),
        (Dtype::F16, &[0xff, 0x7f], "NaN"),
    ];
    for (dtype, data, shown) in does_not_fit {
        let error = read(dtype, &[], data).unwrap_err();
        assert!(matches!(error, CheckpointError::Counter { .. }), "{error:?}");
        says(&error, &["bn.num_batches_tracked", shown, "0 to 4294967295"]);
    }
}

#[test]
fn a_layer_is_loaded_whole_or_not_at_all() {
    on_every_gpu(|gpu| {
        let layer = BatchNorm::new(&gpu.kernels, 3).unwrap();
        let before = State { batches: 7, ..some_state(3) };
        layer.set_state(&gpu.queue, &before).unwrap();
        // The counter comes last; all before it is right and new.
        let mut broken = State::new(3).tensors("bn.");
        broken.retain(|(name, _)| name != "bn.num_batches_tracked");
        let bytes = safetensors::serialize(broken, None).unwrap();
        let error = layer.load(&gpu.queue, &SafeTensors::deserialize(&bytes).unwrap(), "bn.").unwrap_err();
        says(&error, &["bn.num_batches_tracked", "MayLack { batches: true"]);
        assert_eq!(state(gpu, &layer), before);
        let lacking = MayLack { batches: true, ..MayLack::default() };
        layer.load_lacking(&gpu.queue, &SafeTensors::deserialize(&bytes).unwrap(), "bn.", lacking).unwrap();
        assert_eq!(state(gpu, &layer), State::new(3));
        layer.set_state(&gpu.queue, &before).unwrap();
        // For another layer.
        let bytes = safetensors::serialize(State::new(4).tensors("bn."), None).unwrap();
        let error = layer.load(&gpu.queue, &SafeTensors::deserialize(&bytes).unwrap(), "bn.").unwrap_err();
        says(&error, &["bn.weight", "[4]", "[3]"]);
        assert_eq!(state(gpu, &layer), before);
        // By hand, the last of the four wrong.
        let uneven = State { running_variance: vec![1.0; 4], ..State::new(3) };
        let error = layer.set_state(&gpu.queue, &uneven).unwrap_err();
        assert_eq!(error, CheckpointError::Channels { part: "running_variance", has: 4, needs: 3 });
        says(&error, &["running_variance", "4 values", "3 channels"]);
        assert_eq!(state(gpu, &layer), before);
    });
}

#[test]
fn bytes_that_are_no_safetensors_are_an_error_of_ours() {
    let read = |bytes: &[u8]| -> Result<usize, CheckpointError> { Ok(SafeTensors::deserialize(bytes)?.len()) };
    for bytes in [&[][..], &LAYERS[..LAYERS.len() - 1], &[255; 64]] {
        let error = read(bytes).unwrap_err();
        says(&error, &["safetensors"]);
        assert!(matches!(error, CheckpointError::Format { .. }), "{error:?}");
    }
}

#[test]
fn rounding_back_to_a_type_is_to_the_nearest() {
    // 1 + 2^-11 is half way between two F16, and goes to the even one; a little more goes up.
    let half_way = 1.0 + 0.5f64.powi(11);
    let floats = |dtype, values: &[f64]| Floats { dtype, shape: vec![values.len()], values: values.to_vec() };
    let bits = |dtype, values: &[f64]| floats(dtype, values).tensor("w").unwrap().data().to_vec();
    assert_eq!(bits(Dtype::F16, &[1.0, half_way, half_way + 1e-6]), [0, 0x3c, 0, 0x3c, 1, 0x3c]);
    assert_eq!(bits(Dtype::BF16, &[1.0, 1.0 + 0.5f64.powi(8), -1.01]), [0x80, 0x3f, 0x80, 0x3f, 0x81, 0xbf]);
    let error = floats(Dtype::F16, &[65519.0, -65520.0]).tensor("w").unwrap_err();
    let tensor = "w".to_owned();
    assert_eq!(error, CheckpointError::Overflow { tensor, index: 1, value: -65520.0, into: Dtype::F16 });
    let infinite = floats(Dtype::F16, &[f64::INFINITY, f64::NAN]).tensor("w").unwrap();
    assert_eq!(infinite.data()[..2], [0, 0x7c]);
    let error = floats(Dtype::I64, &[1.0]).tensor("w").unwrap_err();
    says(&error, &["w", "I64", "F32"]);
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let path = folder.path().join("bn.safetensors");
    checkpoint::write(&path, State::new(1).tensors(""), None).unwrap();
    let first = fs::read(&path).unwrap();
    checkpoint::write(&path, State::new(2).tensors(""), None).unwrap();
    assert_ne!(fs::read(&path).unwrap(), first);
    assert_eq!(names(), ["bn.safetensors"]);

    // A folder in the way, which no file can replace: the last step fails.
    let occupied = folder.path().join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("file"), "").unwrap();
    let nowhere = folder.path().join("missing").join("bn.safetensors");
    for path in [&occupied, &nowhere] {
        let error = checkpoint::write(path, State::new(1).tensors(""), None).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error:?}");
        says(&error, &[&path.display().to_string(), "cannot be written"]);
        assert_eq!(names().len(), 2, "{:?}", names());
    }
}

/// A file that is replaced keeps its permissions; a new one has those of any new file.
#[cfg(unix)]
#[test]
fn a_file_has_the_permissions_it_should() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    let write = |name: &str| checkpoint::write(folder.path().join(name), State::new(1).tensors(""), None).unwrap();
    fs::write(folder.path().join("any"), "").unwrap();
    write("new");
    assert_eq!(mode("new"), mode("any"));
    fs::set_permissions(folder.path().join("new"), fs::Permissions::from_mode(0o640)).unwrap();
    write("new");
    assert_eq!(mode("new"), 0o640);
}
