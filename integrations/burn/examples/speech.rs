//! Spoken digits of any length, told apart by convolutions and by a recurrent network, each with and without batch
//! norm.
//!
//! ```sh
//! cargo run -p burn-wgpu-batchnorm --example speech          # takes 0 to 4 held back, of speakers that it knows
//! cargo run -p burn-wgpu-batchnorm --example speech -- theo  # one speaker held back, whom it never hears
//! ```
//!
//! Recordings of a batch differ in length, and the statistics are those of the frames that are there:
//! - The convolutional network has batch norm and ReLU after each of three convolutions, over samples and frames.
//! - The recurrent network is h(t) = tanh(BN(W x(t)) + U h(t−1)), where each step t has statistics of its own (T.
//!   Cooijmans and others, "Recurrent Batch Normalization", 2016, without their second batch norm, that of U h).
//!
//! All else is the same with batch norm and without: the features' scale, the random numbers, the sizes, the learning
//! rate and the epochs. These were set in a few trials by training loss and time, about a minute a training on a
//! software renderer; the trials showed the held-back accuracy too, so it compares networks and is no benchmark. The
//! last epoch's counts. With batch norm the convolutions learn faster and are right more often; the recurrent network
//! starts faster and ends level on known speakers.
//!
//! `speech.svg` and `speech_recurrent.svg` show the loss, `speech_distributions.svg` and
//! `speech_recurrent_distributions.svg` the layers' values.

mod common;

use std::error::Error;

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig1d};
use burn::tensor::{Device, Int, Tensor, TensorData};

use common::layer::{NormRelu, StepNorm};
use common::learn::{Batch, Classifier, Plan, Watch, compare};
use common::mel::BANDS;
use common::shuffle::shuffled;
use common::spoken::{self, Recording, SPEAKERS};

/// Ten steps an epoch on 300 recordings.
const BATCH: usize = 30;

/// Channels of a convolution.
const CHANNELS: usize = 32;

/// Values of the recurrent state.
const STATE: usize = 64;

/// About the mean and the standard deviation of all features: a fixed scale, with batch norm and without.
const SCALE: (f32, f32) = (-5.4, 4.0);

/// Frames that the recurrent network takes at a step, so that the longest recording has 43 steps.
const FRAMES: usize = 3;

/// Steps with statistics of their own: three quarters of all recordings are longer, so that a batch has enough.
const STEPS: usize = 10;

/// Sequences side by side.
#[derive(Clone, Debug)]
struct Sequences {
    /// `[N, C, L]`: zeros after a sequence's end.
    values: Tensor<3>,
    /// `[N]`.
    lengths: Tensor<1, Int>,
}

impl Sequences {
    /// Puts zeros after each end.
    fn new(values: Tensor<3>, lengths: Tensor<1, Int>) -> Self {
        let shape = values.dims();
        let positions = Tensor::<1, Int>::arange(0..shape[2] as i64, &values.device()).reshape([1, 1, -1]);
        let ended = positions.expand(shape).greater_equal(lengths.clone().reshape([-1, 1, 1]).expand(shape));
        Self { values: values.mask_fill(ended, 0.0), lengths }
    }

    /// The mean of each sequence, `[N, C]`.
    fn mean(self) -> Tensor<2> {
        self.values.sum_dim(2).squeeze_dim::<2>(2) / self.lengths.float().unsqueeze_dim(1)
    }
}

/// Three times a convolution that halves the length, batch norm and ReLU; then the mean, and Linear(channels, 10).
#[derive(Module, Debug)]
struct Convolutional {
    convolutions: Vec<Conv1d>,
    norms: Vec<NormRelu>,
    output: Linear,
}

impl Convolutional {
    fn new(normalized: bool, device: &Device) -> Self {
        let convolution = |channels| {
            let padding = PaddingConfig1d::Explicit(2, 2);
            Conv1dConfig::new(channels, CHANNELS, 5).with_stride(2).with_padding(padding).init(device)
        };
        Self {
            convolutions: [BANDS, CHANNELS, CHANNELS].map(convolution).into(),
            norms: (0..3).map(|_| NormRelu::new(normalized, CHANNELS, device)).collect(),
            output: LinearConfig::new(CHANNELS, 10).init(device),
        }
    }
}

impl Classifier for Convolutional {
    type Input = Sequences;

    fn logits(&self, recordings: Sequences, watch: &mut Watch) -> Tensor<2> {
        let names = ["first", "second", "third"];
        let layers = self.convolutions.iter().zip(&self.norms).zip(names);
        let x = layers.fold(recordings, |x, ((convolution, norm), name)| {
            let lengths = (x.lengths + 1) / 2;
            let y = norm.padded(name, convolution.forward(x.values), &lengths, watch);
            Sequences::new(y, lengths)
        });
        self.output.forward(x.mean())
    }
}

/// h(t) = tanh(BN(W x(t)) + U h(t−1)), the mean of h, and Linear(state, 10).
#[derive(Module, Debug)]
struct Recurrent {
    /// W, for [`FRAMES`] frames a step.
    input: Conv1d,
    norm: StepNorm,
    /// U.
    state: Linear,
    output: Linear,
}

impl Recurrent {
    fn new(normalized: bool, device: &Device) -> Self {
        let padding = PaddingConfig1d::Explicit(0, FRAMES - 1);
        Self {
            input: Conv1dConfig::new(BANDS, STATE, FRAMES).with_stride(FRAMES).with_padding(padding).init(device),
            norm: StepNorm::new(normalized, STATE, STEPS, device),
            state: LinearConfig::new(STATE, STATE).with_bias(false).init(device),
            output: LinearConfig::new(STATE, 10).init(device),
        }
    }
}

impl Classifier for Recurrent {
    type Input = Sequences;

    fn logits(&self, recordings: Sequences, watch: &mut Watch) -> Tensor<2> {
        let lengths = (recordings.lengths + (FRAMES as i32 - 1)) / FRAMES as i32;
        let x = self.norm.padded("input", self.input.forward(recordings.values), &lengths, watch);
        let mut state = Tensor::<2>::zeros([x.dims()[0], STATE], &x.device());
        let step = |x: Tensor<3>| {
            state = (x.squeeze_dim(2) + self.state.forward(state.clone())).tanh();
            state.clone()
        };
        let states = x.iter_dim(2).map(step).collect();
        self.output.forward(Sequences::new(Tensor::stack(states, 2), lengths).mean())
    }
}

fn batch(recordings: &[&Recording], device: &Device) -> Batch<Sequences> {
    let spoken::Batch { features, lengths } = spoken::batch(recordings);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let lengths: Vec<i32> = lengths.into_iter().map(|length| length as i32).collect();
    let labels: Vec<i32> = recordings.iter().map(|recording| i32::from(recording.label)).collect();
    let features = TensorData::new(features, [recordings.len(), BANDS, longest]);
    let features = (Tensor::from_data(features, device) - SCALE.0) / SCALE.1;
    Batch {
        input: Sequences::new(features, Tensor::from_data(&lengths[..], device)),
        labels: Tensor::from_data(&labels[..], device),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let recordings = spoken::load()?;
    let split = match std::env::args().nth(1) {
        None => spoken::by_take(recordings),
        Some(name) => match SPEAKERS.iter().position(|speaker| *speaker == name) {
            Some(speaker) => spoken::by_speaker(recordings, speaker as u8),
            None => return Err(format!("{name} is none of the speakers: {}", SPEAKERS.join(", ")).into()),
        },
    };
    let device = Device::default();
    let plan = Plan { epochs: 15, learning_rate: 3e-3, seed: 1 };
    let held_back: Vec<&Recording> = split.held_back.iter().collect();
    let held_back: Vec<_> = held_back.chunks(100).map(|recordings| batch(recordings, &device)).collect();
    let batches = |epoch, device: &Device| {
        let order = shuffled(split.train.len(), plan.seed, epoch);
        let order: Vec<&Recording> = order.into_iter().map(|index| &split.train[index]).collect();
        order.chunks(BATCH).map(|recordings| batch(recordings, device)).collect()
    };
    println!("Convolutions");
    let title = "Spoken digits by convolutions";
    compare("speech", title, plan, &device, Convolutional::new, batches, &held_back)?;
    println!("Recurrent");
    let title = "Spoken digits by a recurrent network";
    compare("speech_recurrent", title, plan, &device, Recurrent::new, batches, &held_back)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a batch of training, the logits of the shortest recording: alone, and beside the longest.
    fn alone_and_beside<M: Classifier<Input = Sequences>>(network: impl Fn(&Device) -> M) -> [Vec<f32>; 2] {
        let device = Device::default();
        let training = device.clone().autodiff();
        let recordings = spoken::load().unwrap();
        let shortest = recordings.iter().min_by_key(|recording| recording.frames).unwrap();
        let longest = recordings.iter().max_by_key(|recording| recording.frames).unwrap();
        let network = network(&training);
        let some: Vec<&Recording> = recordings.iter().step_by(20).collect();
        network.logits(batch(&some, &training).input, &mut Watch::default());
        let network = network.valid();
        [vec![shortest], vec![shortest, longest]].map(|recordings| {
            let logits = network.logits(batch(&recordings, &device).input, &mut Watch::default());
            logits.narrow(0, 0, 1).into_data().try_to_vec().unwrap()
        })
    }

    fn assert_same([alone, beside]: [Vec<f32>; 2]) {
        assert_eq!(alone.len(), 10);
        for (alone, beside) in alone.iter().zip(&beside) {
            assert!((alone - beside).abs() < 1e-5, "{alone} alone, {beside} beside another");
        }
    }

    #[test]
    fn logits_do_not_depend_on_the_rest_of_the_batch() {
        for normalized in [true, false] {
            assert_same(alone_and_beside(|device| Convolutional::new(normalized, device)));
            assert_same(alone_and_beside(|device| Recurrent::new(normalized, device)));
        }
    }
}
