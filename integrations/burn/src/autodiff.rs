//! The operations under burn's autodiff: the forward pass keeps what the gradients' kernels need.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use wgpu_batchnorm::{Activation, Gradients};

use crate::call::Call;
use crate::ops::{BackwardInputs, BackwardOutputs, BatchNormOps, Inputs, Maybe, Outputs, Signs, Statistics, Valid};

impl<B: BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn batch_norm_training(inputs: Inputs<Self>, call: Call) -> Outputs<Self> {
        let mut outputs = None;
        let y = differentiable::<B, C>(inputs, call, |inputs, call| {
            let given = outputs.insert(B::batch_norm_training(inputs, call)).clone();
            (given.y, Statistics::Batch(given.saved), given.signs)
        });
        let Some(Outputs { running_mean, running_variance, saved, signs, .. }) = outputs else {
            unreachable!("the operation is computed once, tracked or not");
        };
        let [running_mean, running_variance, saved] = [running_mean, running_variance, saved].map(Self::from_inner);
        let signs = match signs {
            Signs::None => Signs::None,
            Signs::Some(signs) => Signs::Some(signs),
        };
        Outputs { y, running_mean, running_variance, saved, signs }
    }

    fn batch_norm_inference(inputs: Inputs<Self>, call: Call) -> FloatTensor<Self> {
        differentiable::<B, C>(inputs, call, |inputs, call| {
            let running = Statistics::Running(inputs.running_mean.clone(), inputs.running_variance.clone());
            (B::batch_norm_inference(inputs, call), running, Signs::None)
        })
    }

    fn batch_norm_gradients(_: BackwardInputs<Self>, _: Call) -> BackwardOutputs<Self> {
        unimplemented!("burn does not differentiate a backward pass again, its own operations' neither")
    }
}

/// What a forward pass keeps. Tensors that the graph has are kept there.
#[derive(Clone, Debug)]
struct Kept<B: Backend> {
    call: Call,
    x: Again<B>,
    gamma: NodeId,
    beta: NodeId,
    residual: Option<NodeId>,
    valid: Valid<B>,
    statistics: Statistics<B>,
    signs: Signs<B>,
}

/// How the backward pass comes by the input.
#[derive(Clone, Debug)]
enum Again<B: Backend> {
    /// From the graph, which under gradient checkpointing may compute it once more.
    Node(NodeId),
    /// It is kept, since what else is kept goes by how it lies in memory.
    Itself(FloatTensor<B>),
}

/// Computes y by the inner backend, and records how its gradients come about.
fn differentiable<B: BatchNormOps, C: CheckpointStrategy>(
    inputs: Inputs<Autodiff<B, C>>,
    call: Call,
    forward: impl FnOnce(Inputs<B>, Call) -> (FloatTensor<B>, Statistics<B>, Signs<B>),
) -> FloatTensor<Autodiff<B, C>> {
    let parents = [&inputs.x, &inputs.gamma, &inputs.beta].map(|tensor| tensor.node());
    match &inputs.residual {
        Maybe::None => {
            let kind = BatchNormStep.prepare::<C>(parents).compute_bound().stateful();
            finish(kind, inputs, call, forward)
        }
        Maybe::Some(residual) => {
            let [x, gamma, beta] = parents;
            let kind = BatchNormStep.prepare::<C>([x, gamma, beta, residual.node()]).compute_bound().stateful();
            finish(kind, inputs, call, forward)
        }
    }
}

fn finish<B: BatchNormOps, C: CheckpointStrategy, const N: usize>(
    kind: OpsKind<BatchNormStep, B, Kept<B>, C, N>,
    inputs: Inputs<Autodiff<B, C>>,
    call: Call,
    forward: impl FnOnce(Inputs<B>, Call) -> (FloatTensor<B>, Statistics<B>, Signs<B>),
) -> FloatTensor<Autodiff<B, C>>
where
    BatchNormStep: Backward<B, N, State = Kept<B>>,
{
    let valid = match inputs.valid {
        Valid::All => Valid::All,
        Valid::Lengths(lengths) => Valid::Lengths(lengths),
        Valid::Mask(mask) => Valid::Mask(mask),
    };
    let inner = Inputs {
        x: inputs.x.primitive().clone(),
        gamma: inputs.gamma.primitive().clone(),
        beta: inputs.beta.primitive().clone(),
        running_mean: inputs.running_mean.into_primitive(),
        running_variance: inputs.running_variance.into_primitive(),
        residual: match &inputs.residual {
            Maybe::None => Maybe::None,
            Maybe::Some(residual) => Maybe::Some(residual.primitive().clone()),
        },
        valid: valid.clone(),
    };
    let (y, statistics, signs) = forward(inner, call.clone());
    match kind {
        OpsKind::UnTracked(prep) => prep.finish(y),
        OpsKind::Tracked(mut prep) => {
            let [gamma, beta] = [&inputs.gamma, &inputs.beta].map(|tensor| prep.checkpoint(tensor));
            let x = match signs {
                Signs::None if call.steps == 0 => Again::Node(prep.checkpoint(&inputs.x)),
                _ => Again::Itself(inputs.x.into_primitive()),
            };
            // Where no signs tell what the activation did, it is computed again.
            let residual = match (&inputs.residual, &signs) {
                (Maybe::Some(residual), Signs::None) if call.activation != Activation::Identity => {
                    Some(prep.checkpoint(residual))
                }
                _ => None,
            };
            prep.finish(Kept { call, x, gamma, beta, residual, valid, statistics, signs }, y)
        }
    }
}

/// The step of the backward pass, of three parents or, with a residual, four.
#[derive(Debug)]
struct BatchNormStep;

impl<B: BatchNormOps> Backward<B, 3> for BatchNormStep {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 3>, grads: &mut grads::Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [x, gamma, beta] = ops.parents.map(|parent| parent.map(|node| node.id));
        step(ops.state, dy, [x, gamma, beta, None], grads, checkpointer);
    }
}

impl<B: BatchNormOps> Backward<B, 4> for BatchNormStep {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 4>, grads: &mut grads::Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let parents = ops.parents.map(|parent| parent.map(|node| node.id));
        step(ops.state, dy, parents, grads, checkpointer);
    }
}

/// Computes the gradients that are wanted, of x, γ, β and the residual.
fn step<B: BatchNormOps>(
    kept: Kept<B>,
    dy: FloatTensor<B>,
    [x, gamma, beta, residual]: [Option<NodeId>; 4],
    grads: &mut grads::Gradients,
    checkpointer: &mut Checkpointer,
) {
    let mut of_graph = |id: NodeId| checkpointer.retrieve_node_output::<FloatTensor<B>>(id);
    let Kept { mut call, valid, statistics, signs, .. } = kept;
    let through = call.gives_dresidual();
    if !through && let Some(residual) = residual {
        grads.register::<B>(residual, dy.clone());
    }
    if x.is_none() && gamma.is_none() && beta.is_none() && !through {
        return;
    }
    call.wanted = Gradients { dx: x.is_some(), dgamma: gamma.is_some(), dbeta: beta.is_some() };
    // The residual's alone comes along with that of x.
    call.wanted.dx |= !call.wanted.dgamma && !call.wanted.dbeta;
    let inputs = BackwardInputs {
        x: match kept.x {
            Again::Node(x) => of_graph(x),
            Again::Itself(x) => x,
        },
        gamma: of_graph(kept.gamma),
        beta: of_graph(kept.beta),
        residual: kept.residual.map_or(Maybe::None, |residual| Maybe::Some(of_graph(residual))),
        dy,
        statistics,
        valid,
        signs,
    };
    let BackwardOutputs { dx, dgamma, dbeta, dresidual } = B::batch_norm_gradients(inputs, call);
    for (parent, gradient) in [(x, dx), (gamma, dgamma), (beta, dbeta), (residual, dresidual)] {
        if let (Some(parent), Maybe::Some(gradient)) = (parent, gradient) {
            grads.register::<B>(parent, gradient);
        }
    }
}
