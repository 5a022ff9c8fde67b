//! Checkpoints: a layer's state in safetensors, under PyTorch's names.
//!
//! | tensor | holds | written as |
//! |---|---|---|
//! | `weight` | γ: C values | F32 `[C]` |
//! | `bias` | β: C values | F32 `[C]` |
//! | `running_mean` | running mean: C values | F32 `[C]` |
//! | `running_var` | running variance: C values | F32 `[C]` |
//! | `num_batches_tracked` | batches that the running statistics have seen | I64 `[]` |
//!
//! Each name stands after a prefix of the caller's, such as `layer1.0.bn1.` with its last dot. Files with the names of
//! Keras, TensorFlow and Flax are read as well ([`Names`]). Values are
//! read from F16, BF16, F32 and F64, the counter from any integer type as well, as `[]` or `[1]`. ε and
//! momentum are not in a checkpoint: they are the layer's.
//!
//! ```
//! use wgpu_batchnorm::checkpoint::{self, CheckpointError, State, safetensors};
//!
//! # fn main() -> Result<(), CheckpointError> {
//! let state = State { running_mean: vec![0.5, 1.5], batches: 7, ..State::new(2) };
//! let bytes = safetensors::serialize(state.tensors("layer1.0.bn1."), None)?;
//!
//! let file = checkpoint::open(&bytes)?;
//! assert_eq!(State::from_safetensors(&file, "layer1.0.bn1.", 2)?, state);
//! # Ok(())
//! # }
//! ```
//!
//! Between files and a layer on the device stand [`BatchNorm::load`], [`BatchNorm::set_state`] and, with the
//! feature `gpu`, `BatchNorm::state`. A program that reads back by itself copies the layer's buffers, which
//! are public, and fills a [`State`].

mod error;
mod file;
mod floats;
mod kind;
mod names;

use wgpu::Queue;

use crate::fold::Normalization;
use crate::layer::BatchNorm;

pub use error::CheckpointError;
pub use file::{replace, write};
pub use floats::{Floats, Tensor};
pub use kind::open;
pub use names::{Framework, Names};
pub use safetensors;

use safetensors::{Dtype, SafeTensors};

/// What a layer knows, as values: C parameters and C running statistics each, and the batch counter.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// γ, PyTorch's `weight`.
    pub gamma: Vec<f32>,
    /// β, PyTorch's `bias`.
    pub beta: Vec<f32>,
    /// The running mean, `running_mean`.
    pub running_mean: Vec<f32>,
    /// The running variance, `running_var`.
    pub running_variance: Vec<f32>,
    /// Batches that the running statistics have seen, `num_batches_tracked`.
    pub batches: u32,
}

/// Which tensors a checkpoint may lack. What is lacking has its value after construction: γ = 1, β = 0,
/// running mean 0, running variance 1, no batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MayLack {
    /// `weight`, `bias` or both, as layers made with `affine=False` or `bias=False` do.
    pub affine: bool,
    /// `running_mean` and `running_var`, both or neither, as layers made with `track_running_stats=False` do.
    pub running: bool,
    /// `num_batches_tracked`, as files from before PyTorch 0.4.1 do. PyTorch reads them as 0, too. Files with names of
    /// Keras, TensorFlow and Flax never have one: with them, this is as if it were set.
    pub batches: bool,
}

impl State {
    /// A layer's state after construction: γ = 1, β = 0, running mean 0, running variance 1, no batches.
    pub fn new(channels: usize) -> Self {
        let all = |value| vec![value; channels];
        Self { gamma: all(1.0), beta: all(0.0), running_mean: all(0.0), running_variance: all(1.0), batches: 0 }
    }

    /// Reads all tensors of a layer of this many channels: five, or four where the framework has no counter.
    ///
    /// # Errors
    /// [`CheckpointError`] names the first tensor that is missing or of a wrong shape, type or value.
    pub fn from_safetensors(file: &SafeTensors<'_>, prefix: &str, channels: usize) -> Result<Self, CheckpointError> {
        Self::from_safetensors_lacking(file, prefix, channels, MayLack::default())
    }

    /// Reads the tensors of a layer, of which some may be lacking.
    ///
    /// # Errors
    /// As [`from_safetensors`](Self::from_safetensors) for those that are there or must be.
    pub fn from_safetensors_lacking(
        file: &SafeTensors<'_>,
        prefix: &str,
        channels: usize,
        may_lack: MayLack,
    ) -> Result<Self, CheckpointError> {
        let has = |name: &str| file.tensor(name).is_ok();
        let names = Names::find(has, prefix);
        let values = |name: &str, may_lack: bool, default: f32| {
            if may_lack && !has(name) {
                return Ok(vec![default; channels]);
            }
            Floats::read_shaped(file, name, &[channels])?.to_f32(name)
        };
        let no_running = may_lack.running && !has(&names.mean) && !has(&names.variance);
        let counter = names.counter.as_ref().filter(|counter| has(counter) || !may_lack.batches);
        Ok(Self {
            gamma: values(&names.gamma, may_lack.affine, 1.0)?,
            beta: values(&names.beta, may_lack.affine, 0.0)?,
            running_mean: values(&names.mean, no_running, 0.0)?,
            running_variance: values(&names.variance, no_running, 1.0)?,
            batches: counter.map_or(Ok(0), |counter| floats::read_counter(file, counter))?,
        })
    }

    /// The five tensors under their names after this prefix, for a file of their own ([`write()`]) or beside
    /// those of other layers (`safetensors::serialize`).
    pub fn tensors(&self, prefix: &str) -> Vec<(String, Tensor<'static>)> {
        let values = [
            ("weight", &self.gamma),
            ("bias", &self.beta),
            ("running_mean", &self.running_mean),
            ("running_var", &self.running_variance),
        ];
        let tensor = |values: &[f32]| {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor { dtype: Dtype::F32, shape: vec![values.len()], data: data.into() }
        };
        let batches = i64::from(self.batches).to_le_bytes().to_vec();
        let counter = Tensor { dtype: Dtype::I64, shape: vec![], data: batches.into() };
        let values = values.into_iter().map(|(name, values)| (name, tensor(values)));
        values
            .chain([("num_batches_tracked", counter)])
            .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
            .collect()
    }

    /// Inference with this state and the layer's ε, to be [folded](crate::fold).
    pub fn normalization(&self, epsilon: f64) -> Normalization<'_> {
        let Self { gamma, beta, running_mean, running_variance, .. } = self;
        Normalization { gamma: Some(gamma), beta: Some(beta), mean: running_mean, variance: running_variance, epsilon }
    }
}

/// Checkpoints of a layer (feature `checkpoint`).
impl BatchNorm {
    /// Loads the layer from the tensors of a file ([`open`]) after this prefix, such as `layer1.0.bn1.`. All is
    /// read and checked first; then the device gets it with the queue's next submit.
    ///
    /// # Errors
    /// As [`State::from_safetensors`]; then the layer is as it was.
    pub fn load(&self, queue: &Queue, file: &SafeTensors<'_>, prefix: &str) -> Result<(), CheckpointError> {
        self.load_lacking(queue, file, prefix, MayLack::default())
    }

    /// As [`load`](Self::load), of a file that may lack some of the tensors.
    ///
    /// # Errors
    /// As [`State::from_safetensors_lacking`]; then the layer is as it was.
    pub fn load_lacking(
        &self,
        queue: &Queue,
        file: &SafeTensors<'_>,
        prefix: &str,
        may_lack: MayLack,
    ) -> Result<(), CheckpointError> {
        self.set_state(queue, &State::from_safetensors_lacking(file, prefix, self.channels, may_lack)?)
    }

    /// Writes a state to the layer's buffers, with the queue's next submit.
    ///
    /// # Errors
    /// [`CheckpointError::Channels`] where the state is of another number of channels; then the layer is as
    /// it was.
    pub fn set_state(&self, queue: &Queue, state: &State) -> Result<(), CheckpointError> {
        let parts = [
            ("gamma", &self.gamma, &state.gamma),
            ("beta", &self.beta, &state.beta),
            ("running_mean", &self.running_mean, &state.running_mean),
            ("running_variance", &self.running_variance, &state.running_variance),
        ];
        let needs = self.channels;
        for (part, _, values) in parts {
            if values.len() != needs {
                return Err(CheckpointError::Channels { part, has: values.len(), needs });
            }
        }
        for (_, buffer, values) in parts {
            queue.write_buffer(buffer, 0, bytemuck::cast_slice(values));
        }
        queue.write_buffer(&self.batches, 0, bytemuck::bytes_of(&state.batches));
        Ok(())
    }

    /// Reads the layer's state back, once all that was submitted before has run.
    ///
    /// # Errors
    /// [`GpuError::ReadBack`](crate::GpuError::ReadBack).
    #[cfg(feature = "gpu")]
    pub async fn state(&self, gpu: &crate::Gpu) -> Result<State, crate::GpuError> {
        let buffers = [&self.gamma, &self.beta, &self.running_mean, &self.running_variance];
        let ranges = buffers.map(wgpu::Buffer::as_entire_buffer_binding);
        let mut values = gpu.read_ranges(&ranges).await?.into_iter();
        let mut next = || values.next().unwrap_or_default();
        let (gamma, beta, running_mean, running_variance) = (next(), next(), next(), next());
        let batches = gpu.read(&self.batches).await?.first().copied().unwrap_or_default();
        Ok(State { gamma, beta, running_mean, running_variance, batches })
    }
}
