//! The network that began it all: Linear, BatchNorm, ReLU, Linear, trained by Adam, with and without its batch norm.
//! Draws `simple_net.svg`, the losses of both, and `simple_net_distributions.svg`, their hidden values.
//!
//! ```sh
//! cargo run -p burn-wgpu-batchnorm --example simple_net            # on the handwritten digits that come with it
//! cargo run -p burn-wgpu-batchnorm --example simple_net -- FOLDER  # on MNIST, its four IDX files in a folder
//! ```

mod common;

use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use common::data::Images;
use common::layer::NormRelu;
use common::learn::{Batch, Classifier, Plan, Watch, compare};
use common::shuffle::shuffled;
use common::{digits, mnist};

const BATCH: usize = 64;

/// Linear(pixels, hidden), BatchNorm and ReLU in one, Linear(hidden, 10).
#[derive(Module, Debug)]
struct SimpleNet {
    hidden: Linear,
    norm: NormRelu,
    output: Linear,
}

impl SimpleNet {
    fn new(images: &Images, normalized: bool, device: &Device) -> Self {
        let pixels = images.width * images.height;
        // 784 and 256 for MNIST's images, as many again for smaller ones.
        let hidden = 256;
        Self {
            hidden: LinearConfig::new(pixels, hidden).init(device),
            norm: NormRelu::new(normalized, hidden, device),
            output: LinearConfig::new(hidden, 10).init(device),
        }
    }
}

impl Classifier for SimpleNet {
    type Input = Tensor<4>;

    fn logits(&self, images: Tensor<4>, watch: &mut Watch) -> Tensor<2> {
        let x = self.hidden.forward(images.flatten(1, 3));
        self.output.forward(self.norm.forward("hidden", x, watch))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1);
    let images = match &folder {
        Some(folder) => mnist::load(Path::new(folder))?,
        None => digits::load()?,
    };
    let device = Device::default();
    let plan = Plan { epochs: if folder.is_some() { 5 } else { 20 }, learning_rate: 1e-3, seed: 1 };
    let every: Vec<usize> = (0..images.held_back.labels.len()).collect();
    let held_back: Vec<_> =
        every.chunks(500).map(|indices| Batch::images(&images.held_back, indices, &device)).collect();
    let batches = |epoch, device: &Device| {
        let order = shuffled(images.train.labels.len(), plan.seed, epoch);
        order.chunks(BATCH).map(|indices| Batch::images(&images.train, indices, device)).collect()
    };
    let network = |normalized, device: &Device| SimpleNet::new(&images.train, normalized, device);
    compare("simple_net", "SimpleNet on handwritten digits", plan, &device, network, batches, &held_back)
}
