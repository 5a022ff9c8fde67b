//! Shapes, options and operations to choose from.

use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::{Activation, Gradients, Renorm};

/// Every rank in both layouts, small, with a fastest axis that 16-byte accesses can walk.
pub const RANKS: [(&str, &[usize]); 7] = [
    ("NC", &[37, 20]),
    ("NCL", &[3, 5, 28]),
    ("NCHW", &[4, 6, 8, 8]),
    ("NCDHW", &[2, 5, 4, 3, 4]),
    ("NLC", &[5, 9, 12]),
    ("NHWC", &[3, 5, 7, 16]),
    ("NDHWC", &[2, 3, 2, 5, 8]),
];

/// Shapes that kernels trip over.
pub const AWKWARD: [(&str, &[usize]); 36] = [
    // As few values as training takes, with axes of 1 everywhere.
    ("NC", &[2, 1]),
    ("NC", &[2, 5]),
    ("NCL", &[1, 1, 2]),
    ("NCHW", &[1, 1, 1, 2]),
    ("NCHW", &[2, 3, 1, 1]),
    ("NCDHW", &[2, 1, 1, 1, 1]),
    ("NLC", &[1, 2, 3]),
    ("NHWC", &[1, 2, 1, 1]),
    ("NDHWC", &[1, 1, 2, 1, 7]),
    // Primes.
    ("NC", &[127, 13]),
    ("NCL", &[7, 11, 31]),
    ("NCHW", &[3, 7, 13, 17]),
    ("NCDHW", &[2, 3, 5, 7, 11]),
    ("NLC", &[5, 31, 11]),
    ("NHWC", &[3, 13, 17, 7]),
    ("NDHWC", &[2, 5, 7, 11, 3]),
    // Planes that 4 does not divide, as in ResNet's last stage.
    ("NCHW", &[4, 64, 7, 7]),
    ("NCHW", &[2, 5, 57, 57]),
    ("NHWC", &[4, 7, 7, 66]),
    // One channel, one sample.
    ("NC", &[1009, 1]),
    ("NCHW", &[3, 1, 31, 31]),
    ("NHWC", &[3, 31, 31, 1]),
    ("NCHW", &[1, 16, 30, 30]),
    ("NHWC", &[1, 30, 30, 16]),
    // Just beside powers of two.
    ("NC", &[65, 257]),
    ("NCL", &[1, 3, 1025]),
    ("NLC", &[1, 4097, 5]),
    // Rows long and short.
    ("NC", &[20_011, 3]),
    ("NC", &[128, 512]),
    ("NCHW", &[8, 32, 28, 28]),
    // More channels than a dimension has workgroups.
    ("NC", &[3, 65_539]),
    ("NCL", &[2, 65_539, 2]),
    ("NLC", &[2, 2, 65_539]),
    // One slab of 3 million values, whole and in four.
    ("NCL", &[1, 1, 3_000_000]),
    ("NCHW", &[3, 1, 1000, 1000]),
    ("NHWC", &[1, 1000, 750, 4]),
];

/// One value a channel, where the batch has no variance.
pub const ONE_VALUE: [(&str, &[usize]); 3] = [("NC", &[1, 1]), ("NCHW", &[1, 7, 1, 1]), ("NHWC", &[1, 1, 1, 20])];

/// One of each layout that fits the registers of a workgroup and can be split too.
pub const PAIR: [(&str, &[usize]); 2] = [("NCHW", &[3, 4, 4, 8]), ("NHWC", &[3, 5, 6, 32])];

/// The same where loads do not come in pairs.
pub const UNPAIRED: [(&str, &[usize]); 2] = [("NCHW", &[3, 4, 6, 6]), ("NHWC", &[3, 5, 6, 20])];

/// Rows that begin and end within what one load moves: eight values, and in one shape four.
pub const RAGGED: [(&str, &[usize]); 9] = [
    ("NCL", &[4, 4, 10]),
    ("NCL", &[3, 8, 9]),
    ("NCL", &[2, 16, 11]),
    ("NCL", &[5, 12, 15]),
    ("NCHW", &[3, 24, 7, 7]),
    ("NCHW", &[20, 8, 7, 7]),
    ("NCHW", &[2, 4, 6, 7]),
    ("NCHW", &[1, 8, 57, 57]),
    ("NCDHW", &[2, 8, 3, 3, 3]),
];

/// Channels that 4 does not divide, of enough rows that eight, four or two are walked as one.
pub const FOLDED: [(&str, &[usize]); 4] =
    [("NLC", &[40, 512, 3]), ("NHWC", &[4, 32, 64, 6]), ("NC", &[8196, 5]), ("NC", &[8196, 2])];

/// Of enough units for several bands, in each layout and width.
pub const BANDED: [(&str, &[usize]); 4] =
    [("NCHW", &[3, 33, 6, 6]), ("NCL", &[4, 30, 11]), ("NHWC", &[5, 3, 3, 160]), ("NC", &[130, 21])];

/// One of each layout with an odd number of everything, so that 16-bit values share words across rows.
pub const ODD: [(&str, &[usize]); 2] = [("NCL", &[3, 5, 7]), ("NLC", &[3, 7, 5])];

/// More steps than have running statistics, in each layout, with channels by fours and not.
pub const STEPS: [(&str, &[usize]); 3] = [("NCL", &[5, 3, 6]), ("NLC", &[5, 6, 3]), ("NLC", &[4, 5, 8])];

pub const KEPT: usize = 4;

/// Nothing at all, behind channels and before.
pub const EMPTY: [(&str, &[usize]); 3] = [("NC", &[0, 5]), ("NCHW", &[2, 3, 0, 4]), ("NHWC", &[0, 5, 6, 8])];

pub const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::Silu,
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Clamp(-0.5, 1.0),
];

/// One of each sort of activation, as to what a residual makes a forward pass keep.
pub const BY_KEPT: [Activation; 3] = [ACTIVATIONS[0], ACTIVATIONS[1], ACTIVATIONS[3]];

/// Bounds that some channels reach and others do not.
pub const RENORM: Renorm = Renorm { r_max: 1.5, d_max: 0.25 };

pub const OPERATIONS: [Operation; 5] = [
    Operation::Inference,
    Operation::Forward,
    Operation::Backward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::ALL),
    Operation::FrozenBackward(Gradients::DX),
];

/// Those that gather sums or statistics, and so know two regimes.
pub const GATHERING: [Operation; 3] = [OPERATIONS[1], OPERATIONS[2], OPERATIONS[3]];

/// Those without.
pub const ELEMENTWISE: [Operation; 2] = [OPERATIONS[0], OPERATIONS[4]];

/// Channels last, enough of them for workgroups whose invocations have several each.
pub const BROAD: [(&str, &[usize]); 3] = [("NLC", &[3, 5, 192]), ("NC", &[70, 384]), ("NHWC", &[2, 3, 3, 72])];

/// One channel, whose samples end between values that 16-byte accesses would take together.
pub const ALONE: [(&str, &[usize]); 3] = [("NCL", &[8, 1, 3]), ("NLC", &[8, 3, 1]), ("NCHW", &[4, 1, 3, 5])];

/// Means and standard deviations that ruin a careless variance: far from zero, constant, constant zero,
/// near the smallest and near the largest numbers that a square leaves finite.
pub const DATA: [(f32, f32); 6] = [(1e6, 1.0), (-1e4, 0.01), (3.7, 0.0), (0.0, 0.0), (0.0, 1e-15), (0.0, 1e17)];

/// A training pass in steps, with statistics of as many parts as say something.
pub const PASS_IN_STEPS: [Operation; 10] = [
    Operation::Gather,
    Operation::Merge(1),
    Operation::Merge(7),
    Operation::Finalize,
    Operation::Normalize,
    Operation::GatherBackward,
    Operation::MergeBackward(1),
    Operation::MergeBackward(7),
    Operation::FinalizeBackward,
    Operation::ApplyBackward,
];
