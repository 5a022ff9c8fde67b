//! The integration tests, by subject. Those that compute run on every adapter of the machine; without
//! one the run fails and says what to install.

mod adapters;
mod amounts;
mod answers;
mod bind_errors;
mod canary;
mod cases;
mod check;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod constructs;
mod conventions;
mod convolution;
mod distributions;
mod every;
mod expectations;
mod families;
mod first_use;
mod fold;
#[cfg(feature = "program")]
mod fold_program;
mod fuzz;
mod gpu_errors;
mod held;
mod iterations;
mod layer;
mod limits;
mod loops;
mod negative;
mod nonfinite;
mod noop;
mod numerics;
mod options;
mod permutations;
mod plain;
mod plan_errors;
mod recipes;
mod recording;
mod reference;
mod sizes;
mod stage;
mod steps;
mod strategies;
mod tint;
mod tolerances;
mod views;
mod windows;
