//! Random small batch norms with any options, on every adapter: what comes back is within the tolerance of the
//! reference, and the reference is what plain arithmetic says.

use proptest::prelude::*;
use wgpu_batchnorm::recipe::{Operation, Recipe, Regime};
use wgpu_batchnorm::verify::{Placement, Problem};
use wgpu_batchnorm::{Choice, Error, Float, Gradients, Padding, PlanError, RunningVariance, Tensor};

use crate::adapters::gpus;
use crate::cases::{self, Case, cases, kept, small_shapes};
use crate::check::failures;
use crate::fuzz::{Times, fuzz};
use crate::nonfinite::{self, difference};
use crate::plain::Plain;

/// A value that is no number, in one of a problem's tensors.
type Poison = (usize, u64, f32);

#[derive(Clone, Debug)]
struct Run {
    case: Case,
    operation: Operation,
    mean: f32,
    deviation: f32,
    seed: u64,
    poisons: Vec<Poison>,
    regime: Option<Regime>,
    placement: Placement,
}

fn runs() -> impl Strategy<Value = Run> {
    let poison = (0..7usize, any::<u64>(), prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..]));
    let poisons = prop_oneof![1 => Just(vec![]), 1 => prop::collection::vec(poison, 1..4)];
    let operations = cases::operations()
        .prop_filter("a whole pass", |operation| !operation.is_a_step() && *operation != Operation::UpdateRunning);
    let data = (
        prop::sample::select(&[0.0_f32, 0.5, 30.0][..]),
        prop::sample::select(&[1.0_f32, 0.1][..]),
        any::<u64>(),
        poisons,
    );
    let regimes = prop::option::of(prop::sample::select(&[Regime::Resident, Regime::Cached, Regime::Split][..]));
    let placements = prop::sample::select(&[Placement::Separate, Placement::OneBuffer][..]);
    (cases(small_shapes(2_000), kept(6)), operations, data, regimes, placements).prop_map(
        |(case, operation, (mean, deviation, seed, poisons), regime, placement)| Run {
            case,
            operation,
            mean,
            deviation,
            seed,
            poisons,
            regime,
            placement,
        },
    )
}

impl Run {
    /// Whether any device could run it.
    fn makes_sense(&self) -> bool {
        let descriptor = self.case.descriptor();
        let (device, tuning, choice) =
            (crate::strategies::HUGE, wgpu_batchnorm::tuning::Tuning::GPU, Choice::default());
        let planned = |operation| Recipe::new(&descriptor, operation, &device, &tuning, &choice).is_ok();
        // What the forward pass saves is computed in any case.
        planned(self.operation) && planned(Operation::Forward)
    }

    fn problem(&self) -> Problem {
        let mut problem = Problem::random(self.case.descriptor(), self.mean, self.deviation, self.seed);
        // Where a view has one place for several values, they stay alike.
        let lies = |tensor| self.case.views.iter().any(|(known, _)| *known == tensor);
        let Problem { x, dy, residual, gamma, beta, running_mean, running_variance, .. } = &mut problem;
        for (tensor, at, poison) in &self.poisons {
            let tensor = match tensor {
                0 if !lies(Tensor::X) => &mut *x,
                1 if !lies(Tensor::Dy) => &mut *dy,
                2 if !lies(Tensor::Residual) => &mut *residual,
                // Renormalization takes gamma r and gamma d apart.
                3 if poison.is_infinite() && self.case.renorm.is_some() => continue,
                3 => &mut *gamma,
                4 => &mut *beta,
                5 => &mut *running_mean,
                6 => &mut *running_variance,
                _ => continue,
            };
            let at = (*at as usize).checked_rem(tensor.len());
            at.into_iter().for_each(|at| tensor[at] = *poison);
        }
        problem.with_saved()
    }

    /// The same for the second computation, which knows most options.
    fn plain(&self) -> Option<Plain> {
        let Case { shape, layout, gamma, beta, running, padding, over, renorm, activation, residual, from_y, .. } =
            &self.case;
        let knows = !shape.contains(&0) && (!from_y || self.case.types.x == Float::F32);
        knows.then(|| Plain {
            gamma: *gamma,
            beta: *beta,
            activation: *activation,
            residual: *residual,
            from_y: *from_y,
            padded: *padding != Padding::None,
            over: *over,
            renorm: *renorm,
            unbiased: running.is_some_and(|running| running.variance == RunningVariance::Unbiased),
            ..Plain::new(shape, *layout)
        })
    }

    fn assert_right(&self) -> Result<bool, TestCaseError> {
        if !self.makes_sense() {
            return Ok(false);
        }
        let problem = self.problem();
        if let Some(plain) = self.plain() {
            let it = nonfinite::Case { plain, problem: problem.clone() };
            let all = match self.operation {
                Operation::Backward(_) => Operation::Backward(Gradients::ALL),
                Operation::FrozenBackward(_) => Operation::FrozenBackward(Gradients::ALL),
                operation => operation,
            };
            // (The second computation has one momentum.)
            let both = it.by_reference(all).into_iter().zip(it.expected(all));
            for ((name, by_reference), (_, expected)) in both.filter(|((name, _), _)| !name.starts_with("running")) {
                let difference = difference(&by_reference, &expected, 1e-8, 1e-8);
                prop_assert!(difference.is_none(), "the reference's {name}{}", difference.unwrap_or_default());
            }
        }
        let mut ran = false;
        for gpu in gpus().iter() {
            let kernels = gpu.kernels.choosing(Choice { regime: self.regime, ..Choice::default() });
            match pollster::block_on(problem.run(gpu, &kernels, self.operation, self.placement)) {
                Ok(answer) => {
                    let failures = failures(&problem, self.operation, &answer);
                    prop_assert!(failures.is_empty(), "{}: {failures:#?}", gpu.name());
                    ran = true;
                }
                Err(Error::Plan(PlanError::Choice { .. } | PlanError::Limit { .. })) => {}
                Err(error) => return Err(TestCaseError::fail(format!("{}: {error}", gpu.name()))),
            }
        }
        Ok(ran)
    }
}

#[test]
fn any_answer_is_right() {
    let ran = fuzz("answers", Times { cases: 30, of_batch: 5 }, &runs(), |run| run.assert_right());
    assert!(ran > 4, "{ran} ran");
}
