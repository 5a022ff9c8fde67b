//! `batchnorm fold`, from file to file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wgpu_batchnorm::checkpoint::safetensors::tensor::TensorView;
use wgpu_batchnorm::checkpoint::safetensors::{Dtype, SafeTensors, View};
use wgpu_batchnorm::checkpoint::{self, Floats, State, Tensor};
use wgpu_batchnorm::fold::{Axes, Layer};

use crate::checkpoint::{ANSWERS, NETWORK};
use crate::convolution::{Images, Walk};

/// All of the network's batch norms; see tests/pytorch/make.py.
const MAPS: &str = "bn1=conv1,bn2=conv2:bn-first:unpadded:groups=2,bn3=fc3,bn4=fc4:bn-first";

type Tensors = BTreeMap<String, Tensor<'static>>;

/// A folder with a model in it, gone when dropped.
struct Folder {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Folder {
    fn with(tensors: &Tensors) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.safetensors");
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned()), ("note".to_owned(), "kept".to_owned())]);
        checkpoint::write(&model, tensors.clone(), Some(metadata)).unwrap();
        Self { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fold(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_batchnorm")).arg("fold").arg(&self.model).args(arguments).output().unwrap()
    }

    /// Folds what must go well; what the program says.
    fn folds(&self, arguments: &[&str]) -> String {
        let output = self.fold(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Folds what must be refused with these words, and leave the folder as it was.
    fn refuses(&self, code: i32, arguments: &[&str], words: &[&str]) {
        let before = self.contents();
        let output = self.fold(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said:?} does not say {word:?}");
        }
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(self.contents() == before, "{arguments:?} changed the folder");
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect()
    }
}

/// PyTorch's network, its values in another type.
fn network(dtype: Dtype) -> Tensors {
    let file = SafeTensors::deserialize(NETWORK).unwrap();
    let names = file.names().into_iter();
    let tensor = |name: &str| match Floats::read(&file, name) {
        Ok(floats) => Floats { dtype, ..floats }.tensor(name).unwrap(),
        Err(_) => owned(file.tensor(name).unwrap()),
    };
    names.map(|name| (name.to_owned(), tensor(name))).collect()
}

fn tensor(dtype: Dtype, shape: &[usize], data: Vec<u8>) -> Tensor<'static> {
    TensorView::new(dtype, shape.to_vec(), data.leak()).unwrap().into()
}

fn owned(view: impl View) -> Tensor<'static> {
    tensor(view.dtype(), view.shape(), view.data().into_owned())
}

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), owned(view))).collect()
}

/// What PyTorch computes with the network, and what its layers compute without batch norm.
fn answers(folded: &Path) -> [Images; 2] {
    let answers = SafeTensors::deserialize(ANSWERS).unwrap();
    let images = |name: &str, shape| Images { shape, values: Floats::read(&answers, name).unwrap().values };
    let bytes = fs::read(folded).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let layer = |x: &Images, name: &str, walk: Walk| {
        let [weight, bias] = ["weight", "bias"].map(|part| Floats::read(&file, &format!("{name}.{part}")).unwrap());
        let Floats { values, shape, .. } = &weight;
        let (axes, groups) = (Axes::OutIn, walk.groups);
        x.convolve(&Layer { weight: values, shape, axes, groups, bias: Some(&bias.values) }, walk)
    };
    let relu = |x: Images| Images { values: x.values.iter().map(|x| x.max(0.0)).collect(), ..x };
    let x = images("network.x", [2, 3, 9, 9]);
    let x = relu(layer(&x, "conv1", Walk { stride: 2, zeros: 1, groups: 1 }));
    let x = relu(layer(&x, "conv2", Walk { groups: 2, ..Walk::PLAIN }));
    let [n, c, h, w] = x.shape;
    let means = x.values.chunks(h * w).map(|image| image.iter().sum::<f64>() / (h * w) as f64);
    let x = Images { shape: [n, c, 1, 1], values: means.collect() };
    let x = relu(layer(&x, "fc3", Walk::PLAIN));
    [images("network.y", [2, 3, 1, 1]), layer(&x, "fc4", Walk::PLAIN)]
}

#[test]
fn a_folded_network_computes_what_pytorch_does_with_batch_norm() {
    let folder = Folder::with(&network(Dtype::F64));
    let said = folder.folds(&["--map", MAPS]);
    let path = folder.path("model.folded.safetensors");
    assert!(said.contains(&path.display().to_string()), "{said}");
    let [pytorch, ours] = answers(&path);
    // Some hundred roundings of 2^-53, and none of what is computed wrongly.
    let distance = pytorch.distance(&ours);
    assert!(distance < 1e-13, "{distance:e}");

    // The negative control: another ε.
    folder.folds(&["--map", MAPS, "--epsilon", "1e-3"]);
    let [pytorch, ours] = answers(&path);
    let distance = pytorch.distance(&ours);
    assert!(distance > 1e-6, "{distance:e}");
}

/// The same numbers in every type, rounded once.
#[test]
fn weights_keep_their_type() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let narrow = network(dtype);
        // The same model widened, so that what it folds to is not rounded.
        let bytes = checkpoint::safetensors::serialize(narrow.clone(), None).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let widened = |(name, tensor): (&String, &Tensor<'static>)| {
            let wide = Floats::read(&file, name).map(|it| Floats { dtype: Dtype::F64, ..it }.tensor(name).unwrap());
            (name.clone(), wide.unwrap_or(tensor.clone()))
        };
        let wide = Folder::with(&narrow.iter().map(widened).collect());
        wide.folds(&["--map", MAPS]);
        let narrow = Folder::with(&narrow);
        narrow.folds(&["--map", MAPS]);
        let [wide, narrow] = [wide, narrow].map(|folder| fs::read(folder.path("model.folded.safetensors")).unwrap());
        let [wide, narrow] = [&wide, &narrow].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
        assert_eq!(narrow.len(), 8);
        for (name, view) in narrow.iter() {
            let exact = Floats::read(&wide, name).unwrap();
            assert_eq!(exact.dtype, Dtype::F64);
            assert_eq!(Floats { dtype, ..exact }.tensor(name).unwrap(), Tensor::from(view), "{name}");
        }
    }
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let mut model = network(Dtype::F32);
    let others = [
        ("step", Dtype::I64, vec![], vec![1; 8]),
        ("mask", Dtype::BOOL, vec![3], vec![1, 0, 1]),
        ("table.weight", Dtype::F8_E4M3, vec![2, 2], vec![1, 2, 3, 4]),
        ("nothing", Dtype::F32, vec![0], vec![]),
        ("not.a.number", Dtype::F32, vec![1], vec![1, 2, 0xc0, 0x7f]),
        ("bn10.weight", Dtype::F32, vec![1], vec![0; 4]),
    ];
    model.extend(others.map(|(name, dtype, shape, data)| (name.to_owned(), tensor(dtype, &shape, data))));
    let folder = Folder::with(&model);
    let said = folder.folds(&["--map", "bn1=conv1,bn3=fc3", "--out", folder.path("out.safetensors").to_str().unwrap()]);
    assert!(said.contains("bn2, bn4"), "{said}");
    let folded = read(&folder.path("out.safetensors"));
    for (name, tensor) in &model {
        match name.split('.').next().unwrap() {
            "bn1" | "bn3" => assert!(!folded.contains_key(name), "{name}"),
            "conv1" | "fc3" => assert_ne!(&folded[name], tensor, "{name}"),
            _ => assert_eq!(&folded[name], tensor, "{name}"),
        }
    }
    assert_eq!(folded.len(), model.len() - 10 + 1, "two batch norms gone, one bias new");
    assert_eq!(folded["conv1.bias"].shape(), [4]);
    let bytes = fs::read(folder.path("out.safetensors")).unwrap();
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!(metadata, HashMap::from([("format".into(), "pt".into()), ("note".into(), "kept".into())]));
    assert_eq!(read(&folder.model), model, "the model itself changed");
}

#[test]
fn in_place_replaces_the_model_and_writes_nothing_else() {
    let folder = Folder::with(&network(Dtype::F64));
    folder.folds(&["--map", MAPS, "--in-place"]);
    assert_eq!(folder.contents().len(), 1);
    let [pytorch, ours] = answers(&folder.model);
    assert!(pytorch.distance(&ours) < 1e-13);
}

/// A model in three files: a batch norm apart from its layer, and a layer that gets a bias.
#[test]
fn a_model_in_several_files_is_folded_as_in_one() {
    let whole = network(Dtype::F64);
    let single = Folder::with(&whole);
    single.folds(&["--map", MAPS]);
    let expected = read(&single.path("model.folded.safetensors"));

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let index = path("model.safetensors.index.json");
    let shard = |name: &str| format!("model-0000{}-of-00003.safetensors", 1 + name.len() % 3);
    let write = || {
        let mut shards: BTreeMap<String, Tensors> = BTreeMap::new();
        for (name, tensor) in &whole {
            shards.entry(shard(name)).or_default().insert(name.clone(), tensor.clone());
        }
        assert_eq!(shards.len(), 3);
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        shards.iter().for_each(|(name, tensors)| {
            checkpoint::write(path(name), tensors.clone(), Some(metadata.clone())).unwrap();
        });
        let map: BTreeMap<&String, String> = whole.keys().map(|name| (name, shard(name))).collect();
        let size: usize = whole.values().map(View::data_len).sum();
        let document = format!("{{\"metadata\": {{\"total_size\": {size}, \"note\": 1}}, \"weight_map\": {map:?}}}");
        fs::write(&index, document).unwrap();
    };
    let fold = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_batchnorm");
        Command::new(program).arg("fold").arg(&index).args(["--map", MAPS]).args(arguments).output().unwrap()
    };
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    // What an index names, all together.
    let folded = |index: &Path| {
        let document: serde_json::Value = serde_json::from_slice(&fs::read(index).unwrap()).unwrap();
        let map: BTreeMap<String, String> = serde_json::from_value(document["weight_map"].clone()).unwrap();
        let files: BTreeSet<String> = map.values().cloned().collect();
        let tensors: Tensors = map.iter().map(|(name, file)| (name.clone(), read(&path(file))[name].clone())).collect();
        let all: usize = files.iter().map(|file| read(&path(file)).len()).sum();
        assert_eq!(all, map.len(), "each tensor is in one file, and in the index");
        assert_eq!(document["metadata"]["total_size"], tensors.values().map(View::data_len).sum::<usize>());
        assert_eq!(document["metadata"]["note"], 1);
        (tensors, files)
    };
    write();
    let before = names();
    let output = fold(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (tensors, files) = folded(&path("model.folded.safetensors.index.json"));
    assert_eq!((tensors, files.len()), (expected.clone(), 3));
    assert_eq!(names().len(), before.len() + 4);
    // Again: the new files have other names until the index is there, and the old ones go.
    assert!(fold(&[]).status.success());
    let (tensors, again) = folded(&path("model.folded.safetensors.index.json"));
    assert_eq!(tensors, expected);
    assert!(again.is_disjoint(&files) && names().len() == before.len() + 4);
    // As one file.
    assert!(fold(&["--out", path("one.safetensors").to_str().unwrap()]).status.success());
    assert_eq!(read(&path("one.safetensors")), expected);
    // In place: as many files as before.
    let before = names();
    assert!(fold(&["--in-place"]).status.success());
    assert_eq!(folded(&index).0, expected);
    assert_eq!(names().len(), before.len());

    // What does not fit together is refused, and nothing is written.
    let refuses = |arguments: &[&str], words: &[&str]| {
        let before = names();
        let output = fold(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert_eq!(names(), before);
    };
    write();
    let shard = path("model-00001-of-00003.safetensors");
    refuses(&["--out", shard.to_str().unwrap()], &["is the model itself"]);
    let text = fs::read_to_string(&index).unwrap();
    for (from, to, words) in [
        ("model-00001", "../model-00001", ["../model-00001", "same folder"]),
        ("model-00001", "model-00007", ["model-00007-of-00003.safetensors", "cannot be read"]),
        ("\"bn1.bias\"", "\"bn1.other\"", ["bn1.", "download both again"]),
        ("weight_map", "weights", ["weight_map", "index"]),
    ] {
        fs::write(&index, text.replace(from, to)).unwrap();
        refuses(&[], &words);
    }
}

#[cfg(unix)]
#[test]
fn in_place_through_a_link_replaces_what_it_leads_to() {
    let folder = Folder::with(&network(Dtype::F64));
    let real = folder.path("real.safetensors");
    fs::rename(&folder.model, &real).unwrap();
    std::os::unix::fs::symlink("real.safetensors", &folder.model).unwrap();
    fs::write(folder.path(".batchnorm-killed.part"), "half").unwrap();
    folder.folds(&["--map", MAPS, "--in-place"]);
    assert!(folder.model.is_symlink() && !real.is_symlink());
    assert_eq!(folder.contents().len(), 2);
    let [pytorch, ours] = answers(&real);
    assert!(pytorch.distance(&ours) < 1e-13);
}

#[test]
fn a_star_maps_every_block_and_several_maps_add_up() {
    let block = |i: usize| {
        let norm = State { gamma: vec![i as f32 + 2.0; 2], ..State::new(2) };
        let weight = Floats { dtype: Dtype::F32, shape: vec![2, 2], values: vec![1.0; 4] };
        let name = format!("blocks.{i}.conv.weight");
        let mut tensors = norm.tensors(&format!("blocks.{i}.bn."));
        tensors.push((name.clone(), weight.tensor(&name).unwrap()));
        tensors
    };
    let folder = Folder::with(&(0..3).flat_map(block).collect());
    folder.folds(&["--map", "blocks.*.bn=blocks.*.conv", "--epsilon", "0"]);
    let folded = read(&folder.path("model.folded.safetensors"));
    assert_eq!(folded.len(), 6);
    for i in 0..3 {
        let weight = Floats { dtype: Dtype::F32, shape: vec![2, 2], values: vec![i as f64 + 2.0; 4] };
        assert_eq!(folded[&format!("blocks.{i}.conv.weight")], weight.tensor("").unwrap());
    }
    // One batch norm before a layer and one after it, with spaces; and one before two layers.
    folder.folds(&["--map", "blocks.0.bn=blocks.0.conv, blocks.1.bn = blocks.0.conv :bn-first", "--epsilon", "0"]);
    let folded = read(&folder.path("model.folded.safetensors"));
    let weight = Floats { dtype: Dtype::F32, shape: vec![2, 2], values: vec![6.0; 4] };
    assert_eq!(folded["blocks.0.conv.weight"], weight.tensor("").unwrap());
    folder.folds(&["--map", "blocks.0.bn=blocks.0.conv:bn-first,blocks.0.bn=blocks.1.conv:bn-first", "--epsilon", "0"]);
    let folded = read(&folder.path("model.folded.safetensors"));
    assert_eq!(folded["blocks.0.conv.weight"], folded["blocks.1.conv.weight"]);
    assert!(!folded.contains_key("blocks.0.bn.weight") && folded.contains_key("blocks.1.bn.weight"));
}

#[test]
fn what_cannot_be_folded_is_named_and_nothing_is_written() {
    let folder = Folder::with(&network(Dtype::F32));
    let model = folder.model.display().to_string();
    // Said before the file is looked at.
    folder.refuses(2, &[], &["--map"]);
    folder.refuses(2, &["--map", "bn1"], &["bn1", "BN=LAYER"]);
    folder.refuses(2, &["--map", "bn1=conv1:sideways"], &["sideways", "bn-first"]);
    folder.refuses(2, &["--map", MAPS, "--in-place", "--out", "x"], &["--in-place", "--out"]);
    folder.refuses(2, &["--map", MAPS, "--epsilon", "small"], &["small", "--epsilon"]);
    // One bad map spoils the good ones before it.
    let refused: [(&str, &[&str]); 11] = [
        ("bn9=conv2", &["bn9.running_mean", "missing", "\"bn1.\", \"bn2.\""]),
        ("bn2=conv9", &["bn2 into conv9", "conv9.weight", "missing"]),
        ("bn9*=conv9*", &["bn9*", "bn1, bn2, bn3, bn4"]),
        ("bn1=conv1", &["bn1 is mapped into conv1 twice"]),
        ("bn*=conv*", &["bn1 is mapped into conv1 twice"]),
        ("bn2=conv2", &["conv2.weight", "[6, 2, 3, 2]", "6 channels", "has 4"]),
        ("bn2=conv2:bn-first:unpadded", &["conv2.weight", "2 channels", "has 4", ":groups=N"]),
        ("bn2=conv2:bn-first:groups=2", &["conv2.weight", "zeros", "channel 0", ":unpadded"]),
        ("bn2=conv2:bn-first:groups=4:unpadded", &["conv2.weight", "groups is 4", "6 output"]),
        ("bn3=fc4", &["fc4.weight", "[3, 5]", "3 channels", "has 5"]),
        ("bn3=bn4", &["bn4.weight", "[5]", "[out, in]"]),
    ];
    for (map, words) in refused {
        folder.refuses(1, &["--map", &format!("bn1=conv1,{map}")], words);
    }
    folder.refuses(1, &["--map", MAPS, "--out", &model], &[&model, "--in-place"]);
    folder.refuses(1, &["--map", MAPS, "--epsilon=-10"], &["--epsilon", "-10", "not below 0"]);
    folder.refuses(1, &["--map", MAPS, "--epsilon", "inf"], &["--epsilon", "inf", "finite"]);
    folder.refuses(1, &["--map", MAPS, "--epsilon", "nan"], &["--epsilon", "NaN", "finite"]);
}

/// Only one of them can be right behind it, or right before it; the other would be folded into what it is not beside.
#[test]
fn two_batch_norms_never_go_into_one_side_of_a_layer() {
    let linear = |name: &str| {
        let name = format!("{name}.weight");
        let weight = Floats { dtype: Dtype::F32, shape: vec![2, 2], values: vec![1.0; 4] };
        (name.clone(), weight.tensor(&name).unwrap())
    };
    let norms = ["bn1", "bn2"].map(|name| State::new(2).tensors(&format!("{name}.")));
    let folder = Folder::with(&norms.concat().into_iter().chain([linear("a"), linear("b")]).collect());
    let refused: [(&str, &[&str]); 5] = [
        ("bn1=a,bn2=a", &["bn1 and bn2", "into a", "right after it"]),
        ("bn*=a,bn1=a:bn-first", &["once in each"]),
        ("bn1=a:bn-first,bn2=a:bn-first", &["bn1 and bn2", "into a", "right before it"]),
        ("bn1=a,bn1=b", &["bn1", "into a and into b", ":bn-first"]),
        ("bn1=a,bn1=b:bn-first", &["bn1", "into a and into b", ":bn-first"]),
    ];
    for (map, words) in refused {
        let code = if map.contains('*') { 2 } else { 1 };
        folder.refuses(code, &["--map", map], words);
    }
    folder.folds(&["--map", "bn1=a:bn-first,bn1=b:bn-first,bn2=a"]);
}

/// A model of these tensors of F64, each value its index in its tensor, from 1.
fn counting(tensors: &[(&str, &[usize])]) -> Tensors {
    let tensor = |(name, shape): &(&str, &[usize])| {
        let values = (1..=shape.iter().product()).map(|i: usize| i as f64).collect();
        let floats = Floats { dtype: Dtype::F64, shape: shape.to_vec(), values };
        ((*name).to_owned(), floats.tensor(name).unwrap())
    };
    tensors.iter().map(tensor).collect()
}

/// The values of a tensor.
fn values(path: &Path, name: &str) -> Vec<f64> {
    let bytes = fs::read(path).unwrap();
    Floats::read(&SafeTensors::deserialize(&bytes).unwrap(), name).unwrap().values
}

/// γ of 10, 100, .. and statistics that leave it alone: the weight of output channel o times 10^(o + 1).
fn with_norm(names: [&str; 4], channels: usize, mut model: Tensors) -> Tensors {
    let decades: Vec<f64> = (1..=channels).map(|o| 10f64.powi(o as i32)).collect();
    let parts = [decades, vec![0.0; channels], vec![0.0; channels], vec![1.0; channels]];
    for (name, values) in names.into_iter().zip(parts) {
        let floats = Floats { dtype: Dtype::F64, shape: vec![channels], values };
        model.insert(name.to_owned(), floats.tensor(name).unwrap());
    }
    model
}

const PYTORCH: [&str; 4] = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"];

/// What each weight was multiplied by, as the power of ten.
fn powers(model: &Folder, map: &str, weight: &str) -> Vec<usize> {
    model.folds(&["--map", map, "--epsilon", "0"]);
    let [before, after] =
        [model.model.clone(), model.path("model.folded.safetensors")].map(|path| values(&path, weight));
    before.iter().zip(after).map(|(before, after)| (after / before).log10().round() as usize).collect()
}

#[test]
fn a_weight_of_two_readings_is_folded_by_the_one_that_is_said() {
    let model =
        |shape: &[usize], channels| Folder::with(&with_norm(PYTORCH, channels, counting(&[("up.weight", shape)])));
    // [in, out / groups, k], all square: nobody can tell.
    let square = model(&[2, 2, 2], 2);
    square.refuses(1, &["--map", "bn=up"], &["up.weight", "[2, 2, 2]", ":conv", ":transposed", "bn=up:conv"]);
    square.refuses(1, &["--map", "bn=up:bn-first"], &["up.weight", ":conv", ":transposed"]);
    assert_eq!(powers(&square, "bn=up:transposed", "up.weight"), [1, 1, 2, 2, 1, 1, 2, 2]);
    assert_eq!(powers(&square, "bn=up:conv", "up.weight"), [1, 1, 1, 1, 2, 2, 2, 2]);
    // Two groups: input channels 0 and 1 give outputs 0 and 1, 2 and 3 give 2 and 3.
    let grouped = model(&[4, 2, 1], 4);
    grouped.refuses(1, &["--map", "bn=up"], &["up.weight", ":transposed", "groups"]);
    grouped.refuses(1, &["--map", "bn=up:transposed"], &["up.weight", "puts out 2", "has 4", ":groups=N"]);
    assert_eq!(powers(&grouped, "bn=up:transposed:groups=2", "up.weight"), [1, 2, 1, 2, 3, 4, 3, 4]);
    // Only one of the two puts out as many channels; and depthwise ones are folded alike.
    assert_eq!(powers(&model(&[3, 2, 1], 2), "bn=up", "up.weight"), [1, 2, 1, 2, 1, 2]);
    assert_eq!(powers(&model(&[2, 3, 1], 2), "bn=up", "up.weight"), [1, 1, 1, 2, 2, 2]);
    assert_eq!(powers(&model(&[3, 1, 2], 3), "bn=up", "up.weight"), [1, 1, 2, 2, 3, 3]);
    // What is behind a batch norm that shifts, too.
    let mut shifts = with_norm(PYTORCH, 2, counting(&[("up.weight", &[2, 3, 2])]));
    shifts.insert("bn.bias".to_owned(), counting(&[("", &[2])])[""].clone());
    Folder::with(&shifts).refuses(
        1,
        &["--map", "bn=up:bn-first:transposed"],
        &["up.weight", "transposed", "channel 0"],
    );
}

#[test]
fn models_of_keras_tensorflow_and_flax_are_folded_along_their_axes() {
    let keras = ["m/bn/gamma", "m/bn/beta", "m/bn/moving_mean", "m/bn/moving_variance"];
    let tensorflow = ["bn/gamma:0", "bn/beta:0", "bn/moving_mean:0", "bn/moving_variance:0"];
    let flax = ["params.bn.scale", "params.bn.bias", "batch_stats.bn.mean", "batch_stats.bn.var"];
    for (norm, weight, shape, channels, map, expected) in [
        (keras, "m/conv/kernel", &[1, 2, 3, 2][..], 2, "m/bn=m/conv", &[1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2][..]),
        (keras, "m/up/kernel", &[1, 2, 3], 2, "m/bn=m/up", &[1, 1, 1, 2, 2, 2]),
        (keras, "m/up/kernel", &[1, 2, 2], 2, "m/bn=m/up:transposed", &[1, 1, 2, 2]),
        (keras, "m/up/kernel", &[1, 2, 2], 2, "m/bn=m/up:conv", &[1, 2, 1, 2]),
        (keras, "m/dense/kernel", &[2, 2], 2, "m/bn=m/dense", &[1, 2, 1, 2]),
        (keras, "m/depth/kernel", &[2, 2, 2], 4, "m/bn=m/depth", &[1, 2, 3, 4, 1, 2, 3, 4]),
        (tensorflow, "conv/kernel:0", &[2, 3], 3, "bn=conv", &[1, 2, 3, 1, 2, 3]),
        (tensorflow, "conv/depthwise_kernel:0", &[1, 1, 2, 1], 2, "bn=conv", &[1, 2]),
        (flax, "params.conv.kernel", &[1, 1, 3, 2], 2, "bn=conv", &[1, 2, 1, 2, 1, 2]),
        (flax, "params.fc.kernel", &[2, 2], 2, "bn=fc", &[1, 2, 1, 2]),
    ] {
        let folder = Folder::with(&with_norm(norm, channels, counting(&[(weight, shape)])));
        assert_eq!(powers(&folder, map, weight), expected, "{map} {shape:?}");
        // The batch norm is gone, and there is a bias beside the weight.
        let folded = read(&folder.path("model.folded.safetensors"));
        let bias = weight.replace("depthwise_kernel", "kernel").replace("kernel", "bias");
        assert_eq!(folded.keys().map(String::as_str).collect::<Vec<_>>(), [bias.as_str(), weight], "{map}");
    }
    // ε is the framework's, unless it is said.
    for (names, weight, map, epsilon) in [
        (keras, "m/fc/kernel", "m/bn=m/fc", 1e-3),
        (flax, "params.fc.kernel", "bn=fc", 1e-5),
        (PYTORCH, "fc.weight", "bn=fc", 1e-5),
    ] {
        let folder = Folder::with(&with_norm(names, 1, counting(&[(weight, &[1, 1])])));
        let said = folder.folds(&["--map", map]);
        assert!(said.contains(&format!("{epsilon:e}")), "{said}");
        let folded = values(&folder.path("model.folded.safetensors"), weight)[0];
        assert!((folded - 10.0 / f64::sqrt(1.0 + epsilon)).abs() < 1e-12, "{map}: {folded}");
    }
    let square = Folder::with(&with_norm(keras, 2, counting(&[("m/up/kernel", &[1, 2, 2])])));
    square.refuses(1, &["--map", "m/bn=m/up"], &["m/up/kernel", ":conv", ":transposed"]);
    // Flax' transposed convolutions have either order.
    let square = Folder::with(&with_norm(flax, 2, counting(&[("params.up.kernel", &[1, 2, 2])])));
    square.refuses(1, &["--map", "bn=up:transposed"], &["params.up.kernel", "keep this batch norm"]);
    // What is before a separable convolution is not before its second half.
    let separable = counting(&[("m/sep/depthwise_kernel", &[1, 2, 1]), ("m/sep/pointwise_kernel", &[1, 2, 2])]);
    let separable = Folder::with(&with_norm(keras, 2, separable));
    assert_eq!(powers(&separable, "m/bn=m/sep", "m/sep/pointwise_kernel"), [1, 2, 1, 2]);
    separable.refuses(1, &["--map", "m/bn=m/sep:bn-first:unpadded"], &["m/sep/pointwise_kernel", "is no"]);
}

#[test]
fn what_a_narrow_type_does_not_hold_names_the_way_out() {
    let narrow = |name: &str, values: &[f64]| {
        let floats = Floats {
            dtype: Dtype::F16,
            shape: vec![2; if values.len() == 4 { 2 } else { 1 }],
            values: values.to_vec(),
        };
        (name.to_owned(), floats.tensor(name).unwrap())
    };
    let model = |gamma: f64, mean: f64| {
        let norm = PYTORCH.into_iter().zip([[1.0, gamma], [0.0; 2], [0.0, mean], [1.0, 1e-6]]);
        let norm = norm.map(|(name, values)| narrow(name, &values));
        Folder::with(&norm.chain([narrow("fc.weight", &[1.0; 4])]).collect())
    };
    let map = ["--map", "bn=fc"];
    let biased = model(1.0, 1000.0);
    biased.refuses(1, &map, &["model.safetensors", "fc.bias", "F16", "bn folded", "--f32 biases"]);
    biased.folds(&[&map[..], &["--f32", "biases"]].concat());
    let folded = read(&biased.path("model.folded.safetensors"));
    assert_eq!([folded["fc.bias"].dtype(), folded["fc.weight"].dtype()], [Dtype::F32, Dtype::F16]);
    let weighty = model(1000.0, 0.0);
    weighty.refuses(1, &[&map[..], &["--f32", "biases"]].concat(), &["fc.weight", "bn folded", "--f32 all"]);
    weighty.folds(&[&map[..], &["--f32", "all"]].concat());
    let folded = read(&weighty.path("model.folded.safetensors"));
    assert!(folded.values().all(|tensor| tensor.dtype() == Dtype::F32));
}

#[test]
fn other_files_are_called_what_they_are() {
    let folder = Folder::with(&network(Dtype::F32));
    for (bytes, words) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"[..],
            ["git-lfs", "git lfs pull"],
        ),
        (b"PK\x03\x04\0\0archive/data.pkl", ["torch.save", "save_file"]),
        (b"<!DOCTYPE html>", ["web page", "download"]),
    ] {
        fs::write(&folder.model, bytes).unwrap();
        folder.refuses(1, &["--map", MAPS], &["model.safetensors: this is", words[0], words[1]]);
    }
}

/// Numbers that inference would not give finite answers with, or that no training leaves.
#[test]
fn statistics_and_results_that_are_not_finite_are_named_and_nothing_is_written() {
    let with = |name: &str, index: usize, value: f64| {
        let mut model = network(Dtype::F64);
        let bytes = checkpoint::safetensors::serialize(model.clone(), None).unwrap();
        let mut floats = Floats::read(&SafeTensors::deserialize(&bytes).unwrap(), name).unwrap();
        floats.values[index] = value;
        model.insert(name.to_owned(), floats.tensor(name).unwrap());
        Folder::with(&model)
    };
    for (part, value, shown) in [
        ("running_var", -1e-5, "-0.00001"),
        ("running_var", f64::NAN, "NaN"),
        ("running_var", f64::INFINITY, "inf"),
        ("running_mean", f64::NAN, "NaN"),
        ("running_mean", f64::NEG_INFINITY, "-inf"),
        ("weight", f64::NAN, "NaN"),
        ("bias", f64::INFINITY, "inf"),
    ] {
        let name = format!("bn3.{part}");
        let folder = with(&name, 2, value);
        folder.refuses(1, &["--map", MAPS], &["bn3 into fc3", &name, "channel 2", shown, "finite"]);
        folder.folds(&["--map", "bn1=conv1"]);
    }
    for (name, index, value, channel) in [
        ("fc3.weight", 6, f64::NAN, "output channel 1"),
        ("fc3.bias", 4, f64::INFINITY, "output channel 4"),
        ("fc4.weight", 14, f64::NAN, "output channel 2"),
    ] {
        with(name, index, value).refuses(1, &["--map", MAPS], &[name, channel, "finite"]);
    }
    // γ/σ beyond f64.
    let mut model = network(Dtype::F64);
    for (name, value) in [("bn3.running_var", 1e-300), ("bn3.weight", 1e300)] {
        let all = Floats { dtype: Dtype::F64, shape: vec![5], values: vec![value; 5] };
        model.insert(name.to_owned(), all.tensor(name).unwrap());
    }
    let words = ["bn3 into fc3", "fc3.weight", "output channel 0", "finite"];
    Folder::with(&model).refuses(1, &["--map", "bn3=fc3", "--epsilon", "0"], &words);
}

#[test]
fn files_that_are_broken_are_named_and_nothing_is_written() {
    let change = |change: fn(&mut Tensors)| {
        let mut model = network(Dtype::F16);
        change(&mut model);
        Folder::with(&model)
    };
    let set = |model: &mut Tensors, name: &str, dtype, shape: &[usize], value: f64| {
        let values = vec![value; shape.iter().product()];
        let tensor = Floats { dtype, shape: shape.to_vec(), values }.tensor(name).unwrap();
        model.insert(name.to_owned(), tensor);
    };
    let lacking = change(|model| drop(model.remove("bn1.weight")));
    lacking.refuses(1, &["--map", MAPS], &["bn1.weight", "missing", "--no-affine"]);
    lacking.folds(&["--map", MAPS, "--no-affine"]);
    let mut model = network(Dtype::F16);
    set(&mut model, "bn1.running_var", Dtype::F16, &[4], 0.0);
    set(&mut model, "bn3.bias", Dtype::F16, &[4], 0.0);
    set(&mut model, "fc4.weight", Dtype::F16, &[3, 5], 60_000.0);
    set(&mut model, "bn4.weight", Dtype::F16, &[5], 60_000.0);
    set(&mut model, "conv2.bias", Dtype::F16, &[5], 0.0);
    model.insert("fc3.weight".to_owned(), tensor(Dtype::I8, &[5, 6], vec![1; 30]));
    let folder = Folder::with(&model);
    folder.refuses(1, &["--map", "bn1=conv1", "--epsilon", "0"], &["bn1.running_var", "channel 0 is 0"]);
    folder.refuses(1, &["--map", "bn2=conv2:bn-first:unpadded:groups=2"], &["conv2.bias", "5", "6"]);
    folder.refuses(1, &["--map", "bn3=fc3"], &["bn3.bias", "[4]", "[5]"]);
    folder.refuses(1, &["--map", "bn2=fc3"], &["fc3.weight", "I8", "F16"]);
    folder.refuses(1, &["--map", "bn4=fc4:bn-first"], &["fc4.", "index 0", "F16"]);
    let torn = Folder::with(&network(Dtype::F32));
    let bytes = fs::read(&torn.model).unwrap();
    fs::write(&torn.model, &bytes[..bytes.len() - 1]).unwrap();
    torn.refuses(1, &["--map", MAPS], &["model.safetensors", "not a whole safetensors file"]);
    fs::remove_file(&torn.model).unwrap();
    torn.refuses(1, &["--map", MAPS], &["model.safetensors", "cannot be read"]);
}

#[test]
fn where_nothing_can_be_written_nothing_is() {
    let folder = Folder::with(&network(Dtype::F32));
    let nowhere = folder.path("missing").join("out.safetensors");
    folder.refuses(1, &["--map", MAPS, "--out", nowhere.to_str().unwrap()], &["missing", "cannot be written"]);
    let here = folder.folder.path().to_str().unwrap();
    folder.refuses(1, &["--map", MAPS, "--out", here], &[here, "cannot be written"]);
    // Whoever runs as root may write to any folder but this one.
    #[cfg(target_os = "linux")]
    folder.refuses(1, &["--map", MAPS, "--out", "/proc/out.safetensors"], &["/proc/out", "cannot be written"]);
}

/// For users who are not root, to whom no folder is read-only.
#[cfg(unix)]
#[test]
fn a_read_only_folder_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::with(&network(Dtype::F32));
    let mode = |mode| fs::set_permissions(folder.folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    if fs::write(folder.path("probe"), "").is_ok() {
        crate::adapters::say("skipped: the user may write to a read-only folder");
    } else {
        for place in [&[][..], &["--in-place"]] {
            folder.refuses(1, &[&["--map", MAPS], place].concat(), &["cannot be written"]);
        }
    }
    mode(0o755);
}
