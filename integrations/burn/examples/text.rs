//! Sentiment of product reviews: an embedding of their words, three 1-D convolutions, the mean over the words, Linear;
//! trained by Adam, with batch norm and without. Reviews of a batch are padded to its longest; batch norm's statistics
//! are those of the words. Draws `text.svg`, the losses of both, and `text_distributions.svg`, their layers' values.
//!
//! ```sh
//! cargo run -p burn-wgpu-batchnorm --example text
//! ```
//!
//! 800 short reviews teach little: the network is small, and after 8 epochs it knows them nearly by heart. Batch norm
//! gets there in fewer epochs; held-back reviews it guesses no better. The one dropout comes after the last batch norm:
//! before one, it would change the variance between training and inference (X. Li and others, "Understanding the
//! Disharmony between Dropout and Batch Normalization by Variance Shift", 2019). All this, for both networks alike, was
//! chosen by a fifth of the training part; the held-back part chose nothing, and the last epoch is the one that counts.

mod common;

use std::error::Error;

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer};
use burn::nn::{Linear, LinearConfig, PaddingConfig1d};
use burn::tensor::{Device, Int, Tensor, TensorData};

use common::layer::NormRelu;
use common::learn::{Batch, Classifier, Plan, Watch, compare};
use common::reviews::{self, PADDING, Review, Reviews};
use common::shuffle::shuffled;

const BATCH: usize = 32;

/// Values of a word, in the embedding and after each convolution.
const CHANNELS: usize = 32;

/// Reviews side by side.
#[derive(Clone, Debug)]
struct Padded {
    /// `[N, L]`: a review a row, [`PADDING`] after its end.
    words: Tensor<2, Int>,
    /// `[N]`: words of each.
    lengths: Tensor<1, Int>,
}

/// Embedding, three times a convolution with BatchNorm and ReLU in one, the mean over the words, Linear.
#[derive(Module, Debug)]
struct TextNet {
    embedding: Embedding,
    convolutions: [Conv1d; 3],
    norms: [NormRelu; 3],
    dropout: Dropout,
    output: Linear,
}

impl TextNet {
    fn new(vocabulary: usize, normalized: bool, device: &Device) -> Self {
        let small = Initializer::Normal { mean: 0.0, std: 0.1 };
        let convolution = Conv1dConfig::new(CHANNELS, CHANNELS, 3).with_padding(PaddingConfig1d::Same);
        Self {
            embedding: EmbeddingConfig::new(vocabulary, CHANNELS).with_initializer(small).init(device),
            convolutions: [(); 3].map(|()| convolution.init(device)),
            norms: [(); 3].map(|()| NormRelu::new(normalized, CHANNELS, device)),
            dropout: DropoutConfig::new(0.5).init(),
            output: LinearConfig::new(CHANNELS, 2).init(device),
        }
    }
}

impl Classifier for TextNet {
    type Input = Padded;

    fn logits(&self, Padded { words, lengths }: Padded, watch: &mut Watch) -> Tensor<2> {
        // [N, 1, L]: 1 for a word and 0 for padding, which would reach the words next to it otherwise.
        let present = words.clone().not_equal_elem(PADDING).float().unsqueeze_dim::<3>(1);
        let mut x = self.embedding.forward(words).swap_dims(1, 2) * present.clone();
        let names = ["first", "second", "third"];
        for ((name, convolution), norm) in names.into_iter().zip(&self.convolutions).zip(&self.norms) {
            x = norm.padded(name, convolution.forward(x), &lengths, watch) * present.clone();
        }
        let mean = x.sum_dim(2).squeeze_dim::<2>(2) / lengths.float().unsqueeze_dim(1);
        self.output.forward(self.dropout.forward(mean))
    }
}

/// These reviews, padded to the longest one's length.
fn batch(reviews: &[&Review], device: &Device) -> Batch<Padded> {
    let reviews::Batch { ids, lengths } = reviews::batch(reviews);
    let shape = [lengths.len(), ids.len() / lengths.len()];
    let lengths: Vec<i32> = lengths.into_iter().map(|length| length as i32).collect();
    let labels: Vec<i32> = reviews.iter().map(|review| i32::from(review.label)).collect();
    Batch {
        input: Padded {
            words: Tensor::from_data(TensorData::new(ids, shape), device),
            lengths: Tensor::from_data(&lengths[..], device),
        },
        labels: Tensor::from_data(&labels[..], device),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Reviews { vocabulary, split } = Reviews::load()?;
    let device = Device::default();
    let plan = Plan { epochs: 8, learning_rate: 3e-3, seed: 1 };
    let held_back = [batch(&split.held_back.iter().collect::<Vec<_>>(), &device)];
    let batches = |epoch, device: &Device| {
        let order = shuffled(split.train.len(), plan.seed, epoch);
        let reviews: Vec<_> = order.into_iter().map(|index| &split.train[index]).collect();
        reviews.chunks(BATCH).map(|reviews| batch(reviews, device)).collect()
    };
    let network = |normalized, device: &Device| TextNet::new(vocabulary.size(), normalized, device);
    compare("text", "Sentiment of product reviews", plan, &device, network, batches, &held_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(network: &TextNet, reviews: &[&Review], device: &Device) -> Vec<f32> {
        let logits = network.logits(batch(reviews, device).input, &mut Watch::default());
        logits.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn a_review_alone_has_the_logits_it_has_in_a_batch() {
        let Reviews { vocabulary, split } = Reviews::load().unwrap();
        let reviews: Vec<_> = split.train.iter().take(BATCH).collect();
        for normalized in [true, false] {
            let device = Device::default().autodiff();
            let network = TextNet::new(vocabulary.size(), normalized, &device);
            // A step of training moves the running statistics from where they would change nothing.
            logits(&network, &reviews, &device);
            let (network, device) = (network.valid(), Device::default());
            let together = logits(&network, &reviews, &device);
            for (review, together) in reviews.iter().zip(together.chunks(2)) {
                let alone = logits(&network, &[review], &device);
                let near = alone.iter().zip(together).all(|(alone, together)| (alone - together).abs() < 1e-5);
                assert!(near, "{alone:?} alone, {together:?} in a batch, of {} words", review.words.len());
            }
        }
    }
}
