//! The layer that the examples are about, with its batch norm and without.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, activation::relu};
use burn_wgpu_batchnorm::{Activation, BatchNorm, BatchNormConfig};

use super::learn::Watch;

/// Batch norm and ReLU in one, or ReLU alone.
#[derive(Module, Debug)]
pub struct NormRelu {
    norm: Option<BatchNorm>,
}

impl NormRelu {
    pub fn new(normalized: bool, channels: usize, device: &Device) -> Self {
        let norm = || BatchNormConfig::new(channels).init(device).with_activation(Activation::Relu);
        Self { norm: normalized.then(norm) }
    }

    /// relu(BN(x)).
    pub fn forward<const D: usize>(&self, name: &str, x: Tensor<D>, watch: &mut Watch) -> Tensor<D> {
        self.with(name, x, None, None, watch)
    }

    /// relu(BN(x) + residual).
    pub fn add<const D: usize>(&self, name: &str, x: Tensor<D>, residual: Tensor<D>, watch: &mut Watch) -> Tensor<D> {
        self.with(name, x, Some(residual), None, watch)
    }

    /// relu(BN(x)) of sequences of these lengths, `[N, C, L]`, by the statistics of what is no padding.
    pub fn padded(&self, name: &str, x: Tensor<3>, lengths: &Tensor<1, Int>, watch: &mut Watch) -> Tensor<3> {
        self.with(name, x, None, Some(lengths), watch)
    }

    fn with<const D: usize>(
        &self,
        name: &str,
        x: Tensor<D>,
        residual: Option<Tensor<D>>,
        lengths: Option<&Tensor<1, Int>>,
        watch: &mut Watch,
    ) -> Tensor<D> {
        let counted = |values: Tensor<D>| match lengths {
            Some(lengths) => counted(values, lengths),
            None => values.flatten(0, D - 1),
        };
        let Some(norm) = &self.norm else {
            let sum = match residual {
                Some(residual) => x + residual,
                None => x,
            };
            watch.see(name, || counted(sum.clone()));
            return relu(sum);
        };
        let run = |norm: &BatchNorm| {
            let mut call = norm.apply(x.clone());
            if let Some(residual) = &residual {
                call = call.residual(residual.clone());
            }
            if let Some(lengths) = lengths {
                call = call.lengths(lengths.clone());
            }
            call.run().unwrap_or_else(|error| panic!("{error}"))
        };
        watch.see(name, || counted(run(&norm.clone().with_activation(Activation::Identity))));
        run(norm)
    }
}

/// Batch norm of sequences in which each of the first steps has running statistics of its own (T. Cooijmans and
/// others, "Recurrent Batch Normalization", 2016), or nothing.
#[derive(Module, Debug)]
pub struct StepNorm {
    norm: Option<BatchNorm>,
}

impl StepNorm {
    pub fn new(normalized: bool, channels: usize, steps: usize, device: &Device) -> Self {
        Self { norm: normalized.then(|| BatchNormConfig::new(channels).init_steps(steps, device)) }
    }

    /// BN(x) of sequences of these lengths, `[N, C, L]`, by the statistics of what is no padding.
    pub fn padded(&self, name: &str, x: Tensor<3>, lengths: &Tensor<1, Int>, watch: &mut Watch) -> Tensor<3> {
        let y = match &self.norm {
            Some(norm) => norm.apply(x).lengths(lengths.clone()).run().unwrap_or_else(|error| panic!("{error}")),
            None => x,
        };
        watch.see(name, || counted(y.clone(), lengths));
        y
    }
}

/// The values of what is no padding, of sequences `[N, ..., L]` of these lengths.
fn counted<const D: usize>(values: Tensor<D>, lengths: &Tensor<1, Int>) -> Tensor<1> {
    let shape = values.dims();
    let (mut by_sequence, mut by_step) = ([1; D], [1; D]);
    (by_sequence[0], by_step[D - 1]) = (shape[0], shape[D - 1]);
    let lengths = lengths.clone().reshape(by_sequence).expand(shape);
    let steps = Tensor::arange(0..shape[D - 1] as i64, &values.device()).reshape(by_step).expand(shape);
    values.mask_select(steps.lower(lengths))
}
