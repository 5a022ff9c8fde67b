//! A ResNet (K. He et al., "Deep Residual Learning for Image Recognition", 2016) on the handwritten digits, with batch
//! norm and without. Batch norm, the sum with the shortcut, and ReLU are one call: `NormRelu::add`.
//!
//! ```sh
//! cargo run -p burn-wgpu-batchnorm --example images
//! ```
//!
//! Draws `images.svg`, the losses of both, and `images_distributions.svg`: what the first layer and each block give to
//! their ReLU. A block adds to what it is given. With batch norm, γ says how much, whatever the size of the weights;
//! without, training makes the sums grow from block to block.
//!
//! The network is the paper's for CIFAR-10 with two blocks for each of two sizes, as 8 × 8 pixels can be halved once,
//! and begins as it does there, from He's weights. Projections have no batch norm. Both networks train for 15 epochs by
//! Adam at its usual rate of 10⁻³: the loss falls faster with batch norm, and at the end both know the digits, a few
//! of the 355 held-back ones aside.

mod common;

use std::error::Error;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use common::digits;
use common::layer::NormRelu;
use common::learn::{Batch, Classifier, Plan, Watch, compare};
use common::shuffle::shuffled;

const BATCH: usize = 64;

/// Channels of the images of 8 × 8 and of those of 4 × 4.
const WIDTHS: [usize; 2] = [16, 32];

/// A convolution by filters of `size` × `size` that keeps its images' size, or halves it by a stride of 2. It has a
/// bias where no batch norm has one.
fn convolution(channels: [usize; 2], size: usize, stride: usize, normalized: bool, device: &Device) -> Conv2d {
    let edge = size / 2;
    Conv2dConfig::new(channels, [size, size])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(edge, edge, edge, edge))
        .with_bias(!normalized)
        .with_initializer(Initializer::KaimingNormal { gain: f64::sqrt(2.0), fan_out_only: false })
        .init(device)
}

/// relu(BN(conv(relu(BN(conv(x))))) + x), where x is projected by 1 × 1 filters if the channels change.
#[derive(Module, Debug)]
struct Block {
    first: Conv2d,
    first_norm: NormRelu,
    second: Conv2d,
    second_norm: NormRelu,
    projection: Option<Conv2d>,
}

impl Block {
    /// A block that halves its images if it has more channels to give than it is given.
    fn new([from, to]: [usize; 2], normalized: bool, device: &Device) -> Self {
        let stride = if from == to { 1 } else { 2 };
        let projection = || convolution([from, to], 1, stride, normalized, device);
        Self {
            first: convolution([from, to], 3, stride, normalized, device),
            first_norm: NormRelu::new(normalized, to, device),
            second: convolution([to, to], 3, 1, normalized, device),
            second_norm: NormRelu::new(normalized, to, device),
            projection: (from != to).then(projection),
        }
    }

    /// Shows the watch the sum.
    fn forward(&self, name: &str, x: Tensor<4>, watch: &mut Watch) -> Tensor<4> {
        let inner = self.first_norm.forward("", self.first.forward(x.clone()), &mut Watch::default());
        let shortcut = match &self.projection {
            Some(projection) => projection.forward(x),
            None => x,
        };
        self.second_norm.add(name, self.second.forward(inner), shortcut, watch)
    }
}

/// A convolution, four blocks, the mean of each channel, Linear(channels, 10).
#[derive(Module, Debug)]
struct ResNet {
    first: Conv2d,
    norm: NormRelu,
    blocks: Vec<Block>,
    output: Linear,
}

impl ResNet {
    fn new(normalized: bool, device: &Device) -> Self {
        let [narrow, wide] = WIDTHS;
        let blocks = [[narrow, narrow], [narrow, narrow], [narrow, wide], [wide, wide]];
        Self {
            first: convolution([1, narrow], 3, 1, normalized, device),
            norm: NormRelu::new(normalized, narrow, device),
            blocks: blocks.map(|channels| Block::new(channels, normalized, device)).into(),
            output: LinearConfig::new(wide, 10).init(device),
        }
    }
}

impl Classifier for ResNet {
    type Input = Tensor<4>;

    fn logits(&self, images: Tensor<4>, watch: &mut Watch) -> Tensor<2> {
        let mut x = self.norm.forward("first", self.first.forward(images), watch);
        for (number, block) in (1..).zip(&self.blocks) {
            x = block.forward(&format!("block {number}"), x, watch);
        }
        self.output.forward(x.mean_dims(&[2, 3]).flatten(1, 3))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let images = digits::load()?;
    let device = Device::default();
    let plan = Plan { epochs: 15, learning_rate: 1e-3, seed: 1 };
    let every: Vec<usize> = (0..images.held_back.labels.len()).collect();
    let held_back = [Batch::images(&images.held_back, &every, &device)];
    let batches = |epoch, device: &Device| {
        let order = shuffled(images.train.labels.len(), plan.seed, epoch);
        order.chunks(BATCH).map(|indices| Batch::images(&images.train, indices, device)).collect()
    };
    compare("images", "A ResNet on handwritten digits", plan, &device, ResNet::new, batches, &held_back)
}
