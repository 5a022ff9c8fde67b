//! Batch normalization on any GPU that wgpu reaches, as WGSL compute kernels: inference, training
//! forward and backward, checked against a CPU [`reference`](mod@reference).
//!
//! # The way of a call
//!
//! | step | what | costs |
//! |---|---|---|
//! | [`Descriptor`] | shape, layout, ε, affine or not, running statistics | plain data |
//! | [`Recipe`](recipe::Recipe) | which kernels in how many workgroups, from the descriptor and the device's limits | plain data |
//! | [`Plan`] | a recipe with its pipelines, from the [`Kernels`] of a device; says what it reads, writes and needs | compiles what is new to the device |
//! | [`Bound`] | a plan with buffers, all of them checked | bind groups; the kernels once more where one buffer is both read and written and [`Kernels::sharing`] has not said so |
//! | [`Bound::record`] | into the caller's compute pass, as often as wanted | its dispatches, most often one to three |
//!
//! Recording takes `&self`: it sets a pipeline, sets bind group 0 and dispatches, once to three times in most plans. It never
//! allocates, compiles or copies. Submitting, polling and mapping are the caller's business at every
//! step; only `Gpu` does them, for programs that have no device. A plan's numbers are written once,
//! when it is made, so that any number of recordings before one submit cannot disturb each other.
//!
#![cfg_attr(feature = "gpu", doc = "```")]
#![cfg_attr(not(feature = "gpu"), doc = "```ignore")]
//! use wgpu_batchnorm::wgpu::{self, BufferBinding, BufferUsages};
//! use wgpu_batchnorm::{Bindings, Descriptor, Error, Kernels, Layout};
//!
//! # fn main() -> Result<(), Error> {
//! # let (device, queue) = wgpu::Device::noop(&wgpu::DeviceDescriptor::default());
//! # let buffer = |bytes: u64| device.create_buffer(&wgpu::BufferDescriptor {
//! #     label: None, size: bytes.max(4), usage: BufferUsages::STORAGE, mapped_at_creation: false,
//! # });
//! let kernels = Kernels::new(&device); // once a device
//! let plan = kernels.forward(&Descriptor::new([32, 64, 56, 56], Layout::ChannelsFirst))?;
//! println!("{plan}"); // regime, dispatches, bytes read and written, scratch
//!
//! // The caller's buffers, here one each; ranges of one big buffer do as well.
//! let [x, y] = [(); 2].map(|()| buffer(4 * 32 * 64 * 56 * 56));
//! let [gamma, beta, mean, variance] = [(); 4].map(|()| buffer(4 * 64));
//! let (saved, scratch) = (buffer(plan.saved_bytes()), buffer(plan.scratch_bytes()));
//! // What the plan takes, by name; `plan.arguments()` lists it.
//! let statistics = BufferBinding { buffer: &mean, offset: 0, size: None };
//! let to = Bindings::new().x(&x).y(&y).gamma(&gamma).beta(&beta).running_mean(statistics).running_variance(&variance);
//! let bound = plan.bind(&to.saved(&saved).scratch(&scratch))?;
//!
//! let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
//! let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
//! bound.record(&mut pass);
//! drop(pass);
//! queue.submit([encoder.finish()]);
//! # Ok(())
//! # }
//! ```
//!
//! # Operations
//!
//! | plan | computes | takes | gives |
//! |---|---|---|---|
//! | [`Kernels::inference`] | y from the running statistics | x, γ, β, running statistics | y |
//! | [`Kernels::forward`] | y from the batch's statistics, which are saved and move the running ones | x, γ, β | y, saved; moves running statistics and counter |
//! | [`Kernels::backward`] | gradients through the saved statistics | x, dy, γ, saved | dx, dγ, dβ, those wanted |
//! | [`Kernels::frozen_backward`] | gradients through the running statistics, as constants | x, dy, γ, running statistics | dx, dγ, dβ, those wanted |
//! | [`Kernels::update_running`] | the running statistics, moved by what a forward pass saved | saved | moves running statistics and counter |
//!
//! Each is a [`Plan`], which is bound to [`Bindings`]: to the buffers that [`Plan::arguments`] lists.
//!
//! x is of any rank from 2, with the channel axis second or last ([`Layout`]), dense or as a [`View`] says, in f32,
//! f16 or bf16 ([`Types`]). γ and β are there or not, each on its own. What else there is are options of the
//! [`Descriptor`], each with its formula: [`Padding`], [`Over`], [`Renorm`], [`Epilogue`], [`Health`]; some have a buffer of
//! their own ([`Argument`]).
//!
//! [`BatchNorm`] is a layer on top of these that owns γ, β, the running statistics and the batch counter.
//! With the feature `checkpoint` it loads and saves safetensors under PyTorch's names. [`fold`] merges a
//! batch norm into the convolution or linear layer beside it.
//!
//! # Statistics as values
//!
//! A training pass also comes in steps, for several devices, for micro-batches, and for kernels that gather or
//! normalise themselves (`examples/own_kernels.rs`):
//!
//! | step | takes | gives |
//! |---|---|---|
//! | [`Kernels::gather`] | x | statistics |
//! | [`Kernels::merge`] | statistics of several parts | statistics |
//! | [`Kernels::finalize`] | statistics, γ, β | saved, running statistics moved, scale and shift |
//! | [`Kernels::normalize`] | x, saved | y |
//! | [`Kernels::gather_backward`] | x, dy, saved | sums |
//! | [`Kernels::merge_backward`] | sums of several parts | sums |
//! | [`Kernels::finalize_backward`] | sums, saved, γ | dγ, dβ, coefficients of dx |
//! | [`Kernels::apply_backward`] | x, dy, saved, sums | dx |
//!
//! Statistics are three planes of C f32: counts, means, (biased) variances. The variance, and not the sum of squares
//! M2 = count · variance, since that overflows where values of 1e18 do not. Sums are two planes of C f32: Σdy, Σdy·x̂.
//!
//! Several devices each gather, exchange their statistics (12 bytes a channel), and merge what came in one order, so
//! that all get the same bits. Micro-batches gather one after the other. To recalibrate running statistics over a
//! data set, merge those of all its batches, on the host with [`Statistics`] if you like: their means and variances
//! are the running statistics.
//!
//! # Errors and threads
//!
//! [`PlanError`] and [`BindError`] name the argument, what it was and what it had to be. Everything is
//! checked before wgpu could complain, and neither planning, binding nor recording panics. (wgpu may, of buffers and passes
//! of another [`wgpu::Instance`]; what else only wgpu can see is said at [`Bound::record`]. In a browser
//! wgpu answers later: there a kernel that the driver refuses is reported to the device's own error
//! handler, unless [`Kernels::ready`] has waited for it; so is a lack of memory.)
//!
//! [`Kernels`], plans and [`Bound`] are `Send` and `Sync` where wgpu's types are, that is everywhere but
//! in a browser. Clones of `Kernels` share what is compiled; threads that need the same kernel at once
//! compile it once. Several new kernels are compiled on all cores, of one plan or, with [`Kernels::warm`], of many;
//! [`Kernels::cache_data`] keeps the driver's work for the next run. No more are held than [`Kernels::hold_at_most`] says.
//!
//! # Features
//!
//! None is on by default, and then no wgpu backend is: a program that embeds this turns on its own
//! (`wgpu = { version = "30", features = [...] }`). The crate's `wgpu` is re-exported as [`wgpu`].
//!
//! | feature | adds |
//! |---|---|
//! | `gpu` | `Gpu`, a device for programs and tests that have none, every native backend, and `verify`, the check against the reference |
//! | `web` | `gpu`, and WebGPU as a browser has it |
//! | `checkpoint` | `checkpoint`, a layer's state in safetensors files under PyTorch's names |
//! | `serde` | [`tuning::Tuning`] is (de)serialisable, and `tuning::Tunings`, what `batchnorm tune` found out, from a file |
//! | `program` | all of these and the program `batchnorm`; no library needs it |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

mod argument;
mod bind;
mod buffer;
mod cache;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod descriptor;
mod error;
pub mod fold;
#[cfg(feature = "gpu")]
pub mod gpu;
mod held;
mod kernels;
mod layer;
mod parallel;
mod plan;
mod planner;
pub mod recipe;
pub mod reference;
pub mod shader;
mod sizes;
mod statistics;
pub mod tuning;
#[cfg(feature = "gpu")]
pub mod verify;
pub mod walk;

pub use argument::{Argument, Bindings, IntoBinding};
pub use bind::Requirement;
pub use cache::CacheError;
pub use descriptor::{
    Activation, Convention, Descriptor, Epilogue, Float, Gradients, Health, Kept, Layout, Mask, Momentum, NoValue,
    OneValue, Over, Padding, Renorm, Running, RunningVariance, Tensor, Types, View,
};
#[cfg(feature = "gpu")]
pub use error::GpuError;
pub use error::{BindError, Error, PlanError};
#[cfg(feature = "gpu")]
pub use gpu::Gpu;
pub use held::Compiled;
pub use kernels::{Kernels, Sharing};
pub use layer::{BatchNorm, Training};
pub use plan::{Bound, Plan};
pub use recipe::Choice;
pub use statistics::Statistics;
pub use wgpu;

/// The README's examples are tests.
#[cfg(all(doctest, feature = "gpu", feature = "checkpoint", feature = "serde"))]
#[doc = include_str!("../README.md")]
struct Readme;
