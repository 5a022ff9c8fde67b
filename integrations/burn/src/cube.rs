//! The operations on burn's cubecl backend: a recipe for the tensors as they lie in memory, launched in the stream of
//! burn's own kernels.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DType, TensorMetadata};
use burn_cubecl::cubecl::client::Client;
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::cubecl::zspace::metadata::Metadata;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{CubeBackend, CubeDevice};
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::shader::MOST_DIMS;
use wgpu_batchnorm::{Argument, Descriptor, Layout, Tensor, View};

use crate::call::{Call, order};
use crate::capabilities;
use crate::launch::launch;
use crate::ops::{BackwardInputs, BackwardOutputs, BatchNormOps, Inputs, Maybe, Outputs, Signs, Statistics, Valid};

impl BatchNormOps for CubeBackend {
    fn batch_norm_training(inputs: Inputs<Self>, call: Call) -> Outputs<Self> {
        let Inputs { x, gamma, beta, running_mean, running_variance, residual, valid } = inputs;
        // The kernels move running statistics where they are, and tensors of burn never change.
        let [running_mean, running_variance] =
            [running_mean, running_variance].map(|running| into_contiguous(running.copy()));
        let mut work = Work::new(&x, &call);
        work.tensor(Tensor::X, x);
        work.residual(residual);
        work.values(Argument::Gamma, gamma);
        work.values(Argument::Beta, beta);
        work.valid(valid);
        work.bind(Argument::RunningMean, &running_mean);
        work.bind(Argument::RunningVariance, &running_variance);
        let y = work.like_x(Argument::Y);
        let saved = work.empty(Argument::Saved, call.saved, DType::F32);
        let signs = match call.signs {
            0 => Signs::None,
            words => Signs::Some(work.empty(Argument::Signs, words, DType::U32)),
        };
        work.launch(Operation::Forward);
        Outputs { y, running_mean, running_variance, saved, signs }
    }

    fn batch_norm_inference(inputs: Inputs<Self>, call: Call) -> FloatTensor<Self> {
        let Inputs { x, gamma, beta, running_mean, running_variance, residual, valid: _ } = inputs;
        let mut work = Work::new(&x, &call);
        work.tensor(Tensor::X, x);
        work.residual(residual);
        work.values(Argument::Gamma, gamma);
        work.values(Argument::Beta, beta);
        work.values(Argument::RunningMean, running_mean);
        work.values(Argument::RunningVariance, running_variance);
        let y = work.like_x(Argument::Y);
        work.launch(Operation::Inference);
        y
    }

    fn batch_norm_gradients(inputs: BackwardInputs<Self>, call: Call) -> BackwardOutputs<Self> {
        let BackwardInputs { x, dy, gamma, beta, statistics, residual, valid, signs } = inputs;
        let ([channels], parameters) = (gamma.shape().dims(), gamma.dtype);
        let mut work = Work::new(&x, &call);
        work.tensor(Tensor::X, x);
        work.tensor(Tensor::Dy, dy);
        work.residual(residual);
        work.values(Argument::Gamma, gamma);
        work.values(Argument::Beta, beta);
        work.valid(valid);
        if let Signs::Some(signs) = signs {
            work.bind(Argument::Signs, &signs);
        }
        let operation = match statistics {
            Statistics::Batch(saved) => {
                work.bind(Argument::Saved, &saved);
                Operation::Backward(call.wanted)
            }
            Statistics::Running(mean, variance) => {
                work.values(Argument::RunningMean, mean);
                work.values(Argument::RunningVariance, variance);
                Operation::FrozenBackward(call.wanted)
            }
        };
        let maybe = |wanted: bool, tensor: &mut dyn FnMut() -> CubeTensor| match wanted {
            true => Maybe::Some(tensor()),
            false => Maybe::None,
        };
        let outputs = BackwardOutputs {
            dx: maybe(call.wanted.dx, &mut || work.like_x(Argument::Dx)),
            dgamma: maybe(call.wanted.dgamma, &mut || work.empty(Argument::Dgamma, channels, parameters)),
            dbeta: maybe(call.wanted.dbeta, &mut || work.empty(Argument::Dbeta, channels, parameters)),
            dresidual: maybe(call.gives_dresidual(), &mut || work.like_x(Argument::Dresidual)),
        };
        work.launch(operation);
        outputs
    }
}

/// An operation being put together: the normalisation as x lies in memory, and what its kernels' arguments are.
struct Work {
    client: Client,
    device: CubeDevice,
    /// Shape and type of x, in burn's order of axes.
    shape: Vec<usize>,
    dtype: DType,
    layout: Layout,
    descriptor: Descriptor,
    arguments: Vec<(Argument, Handle)>,
}

impl Work {
    /// Where x lies channels last, as what burn's convolutions give does, so does the work.
    fn new(x: &CubeTensor, call: &Call) -> Self {
        let (shape, strides) = (x.shape().to_vec(), x.meta.strides());
        let first = lies(&shape, strides, Layout::ChannelsFirst);
        let last = !first && shape.len() <= MOST_DIMS && lies(&shape, strides, Layout::ChannelsLast);
        let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        Self {
            client: x.client.clone(),
            device: x.device.clone(),
            descriptor: call.descriptor(&shape, layout),
            shape,
            dtype: x.dtype,
            layout,
            arguments: Vec::new(),
        }
    }

    fn bind(&mut self, argument: Argument, tensor: &CubeTensor) {
        self.arguments.push((argument, tensor.handle.clone()));
    }

    /// Binds a tensor of x's shape where it lies, dense or not.
    fn tensor(&mut self, which: Tensor, mut tensor: CubeTensor) {
        // Views have so many dimensions at the most.
        if self.shape.len() > MOST_DIMS {
            tensor = into_contiguous(tensor);
        }
        let strides = tensor.meta.strides();
        if !lies(&self.shape, strides, self.layout) {
            let strides = order(self.layout, strides.len()).into_iter().map(|axis| strides[axis] as isize).collect();
            let descriptor = self.descriptor.clone().view(which, View { offset: 0, strides });
            self.descriptor = descriptor;
        }
        self.bind(which.into(), &tensor);
    }

    fn residual(&mut self, residual: Maybe<CubeBackend>) {
        if let Maybe::Some(residual) = residual {
            self.tensor(Tensor::Residual, residual);
        }
    }

    /// Binds values that have to lie side by side.
    fn values(&mut self, argument: Argument, tensor: CubeTensor) {
        self.bind(argument, &into_contiguous(tensor));
    }

    fn valid(&mut self, valid: Valid<CubeBackend>) {
        match valid {
            Valid::All => {}
            Valid::Lengths(lengths) => self.values(Argument::Valid, lengths),
            Valid::Mask(mask) => self.values(Argument::Valid, mask),
        }
    }

    /// A new tensor that lies as x does.
    fn like_x(&mut self, argument: Argument) -> CubeTensor {
        let strides = dense(&self.shape, self.layout);
        let mut tensor = self.empty(argument, self.shape.iter().product(), self.dtype);
        tensor.meta = Box::new(Metadata::new(self.shape.clone(), strides));
        tensor
    }

    /// A new tensor of so many values.
    fn empty(&mut self, argument: Argument, values: usize, dtype: DType) -> CubeTensor {
        let handle = self.client.empty(values * dtype.size());
        let tensor =
            CubeTensor::new_contiguous(self.client.clone(), self.device.clone(), [values].into(), handle, dtype);
        self.bind(argument, &tensor);
        tensor
    }

    fn launch(mut self, operation: Operation) {
        // Checked before the call for dense tensors.
        let recipe = capabilities::plan(&self.descriptor, operation, &capabilities::of_client(&self.client))
            .unwrap_or_else(|error| panic!("{error}"));
        if recipe.scratch_bytes > 0 {
            self.empty(Argument::Scratch, recipe.scratch_bytes as usize / 4, DType::U32);
        }
        launch(&self.client, &recipe, &self.arguments);
    }
}

/// The strides of a tensor of shape `[N, C, ...]` that is dense in a layout's order.
fn dense(shape: &[usize], layout: Layout) -> Vec<usize> {
    let mut strides = vec![0; shape.len()];
    let mut next = 1;
    for axis in order(layout, shape.len()).into_iter().rev() {
        strides[axis] = next;
        next *= shape[axis];
    }
    strides
}

/// Whether a tensor with these strides is that, but for axes that have no second index.
fn lies(shape: &[usize], strides: &[usize], layout: Layout) -> bool {
    let dense = dense(shape, layout);
    (0..shape.len()).all(|axis| shape[axis] == 1 || strides[axis] == dense[axis])
}
