//! Training a classifier: epochs of batches by Adam and cross-entropy, and what it has learnt after each.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use indicatif::{ProgressBar, ProgressStyle};

use super::data::Images;
use super::plot::{self, Layer, Network, Quantiles, quantiles};

/// A batch: what the network takes, and the labels.
pub struct Batch<I> {
    pub input: I,
    pub labels: Tensor<1, Int>,
}

impl Batch<Tensor<4>> {
    /// The images of these indices, `[batch, 1, height, width]`.
    pub fn images(images: &Images, indices: &[usize], device: &Device) -> Self {
        let pixels: Vec<f32> = indices.iter().flat_map(|&index| images.image(index)).copied().collect();
        let labels: Vec<i32> = indices.iter().map(|&index| i32::from(images.labels[index])).collect();
        let shape = [indices.len(), 1, images.height, images.width];
        Self {
            input: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(&labels[..], device),
        }
    }
}

/// A network that says for each example how much it is of each class.
pub trait Classifier: Module {
    type Input: Clone;

    /// The logits, `[batch, classes]`. Each layer shows the watch its values before the activation.
    fn logits(&self, input: Self::Input, watch: &mut Watch) -> Tensor<2>;
}

/// Looks at the values of layers, or does not.
#[derive(Default)]
pub struct Watch {
    open: bool,
    layers: Vec<(String, Quantiles)>,
}

impl Watch {
    /// Notes how a layer's values are distributed.
    pub fn see<const D: usize>(&mut self, layer: &str, values: impl FnOnce() -> Tensor<D>) {
        if self.open {
            let values = values().into_data().convert::<f32>();
            self.layers.push((layer.to_owned(), quantiles(values.as_slice::<f32>().unwrap_or_default())));
        }
    }
}

/// How long to train, how fast, and from which random numbers.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub epochs: u64,
    pub learning_rate: f64,
    pub seed: u64,
}

/// What became of a network.
pub struct Trained<M> {
    pub network: M,
    /// The mean loss of each epoch's batches.
    pub losses: Vec<f64>,
    /// The share of held-back examples that were right after each epoch.
    pub accuracies: Vec<f64>,
    /// How the layers' values were distributed, before training and after each epoch.
    pub layers: Network,
}

/// Trains a network with batch norm and one without, by the same plan and from the same random numbers, says what
/// both have learnt, and draws it: their losses into `{pictures}.svg`, their layers' values into
/// `{pictures}_distributions.svg`. `network` is told whether to have batch norm; the rest is as for [`train`].
pub fn compare<M: Classifier>(
    pictures: &str,
    title: &str,
    plan: Plan,
    device: &Device,
    network: impl Fn(bool, &Device) -> M,
    batches: impl Fn(u64, &Device) -> Vec<Batch<M::Input>>,
    held_back: &[Batch<M::Input>],
) -> Result<(), Box<dyn Error>> {
    let trained = [("with batch norm", true), ("without batch norm", false)]
        .map(|(name, normalized)| train(name, plan, device, |device| network(normalized, device), &batches, held_back));
    for Trained { layers, accuracies, .. } in &trained {
        let right = accuracies.last().map_or(f64::NAN, |accuracy| 100.0 * accuracy);
        println!("{}: {right:.1} % of what is held back", layers.name);
    }
    let [losses, distributions] = ["", "_distributions"].map(|part| PathBuf::from(format!("{pictures}{part}.svg")));
    let curves = trained.each_ref().map(|trained| (trained.layers.name.as_str(), trained.losses.clone()));
    plot::curves(&losses, title, "loss", &curves)?;
    plot::distributions(&distributions, title, &trained.map(|trained| trained.layers))?;
    println!("drew {} and {}", losses.display(), distributions.display());
    Ok(())
}

/// Trains a network, and shows how far it is. `batches` makes the batches of an epoch; the first held-back batch is
/// the one whose layers are watched.
pub fn train<M: Classifier>(
    name: &str,
    plan: Plan,
    device: &Device,
    network: impl FnOnce(&Device) -> M,
    batches: impl Fn(u64, &Device) -> Vec<Batch<M::Input>>,
    held_back: &[Batch<M::Input>],
) -> Trained<M> {
    let device = device.clone().autodiff();
    device.seed(plan.seed);
    let mut network = network(&device);
    let mut optimizer = AdamConfig::new().init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    let mut layers: Vec<Layer> = Vec::new();
    watch(&network, held_back, &mut layers);
    let start = Instant::now();
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos} of {len} steps")
        .map(|style| style.progress_chars("=> "));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    for epoch in 0..plan.epochs {
        let batches = batches(epoch, &device);
        bar.set_length(plan.epochs * batches.len() as u64);
        let count = batches.len() as f64;
        // Added up where it is computed: reading each would wait for each.
        let mut total: Option<Tensor<1>> = None;
        for Batch { input, labels } in batches {
            let loss = cross_entropy.forward(network.logits(input, &mut Watch::default()), labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(plan.learning_rate, network, gradients);
            let loss = loss.detach();
            total = Some(total.map_or(loss.clone(), |total| total + loss));
            bar.inc(1);
        }
        losses.push(total.map_or(f64::NAN, |total| f64::from(total.into_scalar::<f32>()) / count));
        accuracies.push(accuracy(&network.valid(), held_back));
        watch(&network, held_back, &mut layers);
        let (loss, accuracy) = (losses[epoch as usize], 100.0 * accuracies[epoch as usize]);
        let line = format!("epoch {:2}: loss {loss:.4}, {accuracy:.1} % of what is held back", epoch + 1);
        bar.suspend(|| println!("{name}  {line}"));
    }
    bar.finish_and_clear();
    println!("{name}: {} epochs in {:.1} s", plan.epochs, start.elapsed().as_secs_f64());
    Trained { network, losses, accuracies, layers: Network { name: name.to_owned(), layers } }
}

/// The share of examples whose greatest logit is their label's.
pub fn accuracy<M: Classifier>(network: &M, batches: &[Batch<M::Input>]) -> f64 {
    let (mut right, mut all) = (0, 0);
    for Batch { input, labels } in batches {
        let guesses = network.logits(input.clone(), &mut Watch::default()).argmax(1).flatten::<1>(0, 1);
        all += labels.dims()[0];
        right += guesses.equal(labels.clone()).int().sum().into_scalar::<i32>() as usize;
    }
    right as f64 / all as f64
}

/// Adds how the layers' values are distributed now, over the first batch.
fn watch<M: Classifier>(network: &M, batches: &[Batch<M::Input>], layers: &mut Vec<Layer>) {
    let Some(batch) = batches.first() else { return };
    let mut watch = Watch { open: true, layers: Vec::new() };
    network.valid().logits(batch.input.clone(), &mut watch);
    for (place, (name, quantiles)) in watch.layers.into_iter().enumerate() {
        match layers.get_mut(place) {
            Some(layer) => layer.epochs.push(quantiles),
            None => layers.push(Layer { name, epochs: vec![quantiles] }),
        }
    }
}
