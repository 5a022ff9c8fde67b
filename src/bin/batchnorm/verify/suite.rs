//! What `verify` runs, as data: blocks, each the product of its subjects, operations and ways.

mod data;
mod shapes;
mod subjects;
mod ways;

use shapes::{
    ACTIVATIONS, ALONE, AWKWARD, BANDED, BROAD, BY_KEPT, DATA, ELEMENTWISE, EMPTY, FOLDED, GATHERING, KEPT, ODD,
    ONE_VALUE, OPERATIONS, PAIR, PASS_IN_STEPS, RAGGED, RANKS, RENORM, STEPS,
};
pub use subjects::Subject;
use subjects::{
    all_together, averaged, conventions, distributed, each, in_types, joined_with_options, padded, sliced, subjects,
    unhealthy, viewed,
};
pub use ways::Way;
use ways::{accesses, in_bands, joined, merged, placed, regimes};
use wgpu_batchnorm::recipe::Operation;
use wgpu_batchnorm::tuning::Tuning;
use wgpu_batchnorm::verify::Placement;
use wgpu_batchnorm::{Activation, Float, Gradients, Mask, OneValue, Over, Padding, Types};

/// Every subject with every operation in every way.
pub struct Block {
    /// What the block is to show.
    pub shows: &'static str,
    pub subjects: Vec<Subject>,
    pub operations: Vec<Operation>,
    pub ways: Vec<Way>,
}

/// All blocks, or the few that show in seconds whether an adapter works at all.
pub fn blocks(quick: bool) -> Vec<Block> {
    let ranks = subjects(&RANKS);
    let pair = subjects(&PAIR);
    let families = Block {
        shows: "every family in every layout",
        subjects: ranks.clone(),
        operations: GATHERING.to_vec(),
        ways: regimes().into_iter().flat_map(|regime| accesses().map(|way| merged(regime, way))).collect(),
    };
    let elementwise = Block {
        shows: "the elementwise family in every layout",
        subjects: ranks,
        operations: ELEMENTWISE.to_vec(),
        ways: accesses().map(Way::choosing).to_vec(),
    };
    if quick {
        let by_regime = regimes().map(Way::choosing).to_vec();
        return vec![Block { ways: by_regime, ..families }, Block { ways: vec![Way::BY_RULE], ..elementwise }];
    }
    vec![
        families,
        elementwise,
        Block {
            shows: "awkward shapes, by the rules for GPUs and for software drivers",
            subjects: subjects(&AWKWARD),
            operations: OPERATIONS.to_vec(),
            ways: [Tuning::GPU, Tuning::CPU].map(Way::tuned).to_vec(),
        },
        Block {
            shows: "units that an invocation walks along together",
            subjects: each(
                &subjects(&BROAD),
                &[
                    |it| it,
                    |it| it.types(Types::mixed(Float::F16)),
                    |it| it.padding(Padding::Mask(Mask::Bits)).activation(Activation::Relu).residual(true),
                ],
            ),
            operations: OPERATIONS.to_vec(),
            ways: [2, 3, 4].map(|across| Way::tuned(Tuning { across, near: 0, ..Tuning::CPU })).to_vec(),
        },
        Block {
            shows: "rows that no load divides",
            subjects: subjects(&RAGGED),
            operations: OPERATIONS.to_vec(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "rows that no load divides, with options",
            subjects: joined_with_options(&RAGGED[3..5]),
            operations: [&OPERATIONS[..], &[Operation::Backward(Gradients::DX)]].concat(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "in bands that a cache holds",
            subjects: [
                subjects(&BANDED),
                joined_with_options(&BANDED),
                each(
                    &subjects(&BANDED[..3]),
                    &[
                        |it| it.padding(Padding::Mask(Mask::Bits)).activation(Activation::Relu),
                        |it| it.over(Over::Groups { samples: 2 }).activation(Activation::Gelu),
                        |it| it.running(averaged()).health(true),
                    ],
                ),
            ]
            .concat(),
            operations: some_training(),
            ways: in_bands().to_vec(),
        },
        Block {
            shows: "several rows of channels as one",
            subjects: [subjects(&FOLDED), joined_with_options(&FOLDED[..2])].concat(),
            operations: OPERATIONS.to_vec(),
            ways: joined().to_vec(),
        },
        Block {
            shows: "awkward shapes in every family that they fit",
            subjects: subjects(&AWKWARD),
            operations: GATHERING.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "one value a channel",
            subjects: subjects(&ONE_VALUE)
                .iter()
                .map(|one| one.with(|it| it.one_value(OneValue::HasNoVariance)))
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "hard data",
            subjects: pair
                .iter()
                .flat_map(|one| DATA.map(|(mean, deviation)| Subject { mean, deviation, ..one.clone() }))
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "data of other distributions",
            subjects: pair.iter().flat_map(distributed).collect(),
            operations: vec![Operation::Forward],
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "gradients wanted or not",
            subjects: pair.clone(),
            operations: some_gradients()
                .flat_map(|some| [Operation::Backward(some), Operation::FrozenBackward(some)])
                .collect(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "without γ, β or both",
            subjects: pair
                .iter()
                .flat_map(|one| {
                    [(true, false), (false, true), (false, false)]
                        .map(|(gamma, beta)| one.with(|it| it.affine(gamma, beta)))
                })
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "conventions of running statistics",
            subjects: pair
                .iter()
                .flat_map(|one| conventions().into_iter().map(|rule| one.with(|it| it.running(rule))))
                .collect(),
            operations: vec![Operation::Forward],
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "running statistics moved on their own",
            subjects: subjects(&RANKS)
                .iter()
                .chain(&pair)
                .flat_map(|one| {
                    let rules = conventions().into_iter().flatten();
                    rules.map(|rule| one.with(|it| it.running(rule))).collect::<Vec<_>>()
                })
                .collect(),
            operations: vec![Operation::UpdateRunning],
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "the steps of a pass whose statistics are values",
            subjects: [
                subjects(&RANKS),
                subjects(&RAGGED[..3]),
                subjects(&FOLDED[..2]),
                each(
                    &pair,
                    &[
                        |it| it.affine(false, false).running(None),
                        |it| it.padding(Padding::Mask(Mask::Bytes)).renorm(RENORM),
                        |it| it.activation(Activation::Relu).residual(true),
                        |it| it.activation(Activation::Gelu).residual(true).types(Types::all(Float::Bf16)),
                        |it| it.backward_from_y(true).activation(Activation::LeakyRelu(0.1)),
                    ],
                ),
                sliced(&pair),
            ]
            .concat(),
            operations: PASS_IN_STEPS.to_vec(),
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "the steps of a pass in one buffer",
            subjects: pair.clone(),
            operations: PASS_IN_STEPS.to_vec(),
            ways: placed(Placement::OneBuffer),
        },
        Block {
            shows: "all tensors in one buffer",
            subjects: [&pair[..], &all_together()].concat(),
            operations: OPERATIONS.to_vec(),
            ways: placed(Placement::OneBuffer),
        },
        Block {
            shows: "y over x and dx over dy",
            subjects: [&pair[..], &in_types(&ODD, &[Types::mixed(Float::F16)]), &sliced(&pair)].concat(),
            operations: OPERATIONS.to_vec(),
            ways: placed(Placement::InPlace),
        },
        Block {
            shows: "16-bit types",
            subjects: {
                let types = [Float::F16, Float::Bf16].map(|float| [Types::mixed(float), Types::all(float)]).concat();
                [in_types(&PAIR, &types), in_types(&ODD, &types)].concat()
            },
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "padding",
            subjects: [&pair[..], &subjects(&ODD), &subjects(&ALONE)].concat().iter().flat_map(padded).collect(),
            operations: some_training(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "groups, the last one smaller",
            subjects: each(
                &pair,
                &[
                    |it| it.over(Over::Groups { samples: 2 }),
                    |it| it.over(Over::Groups { samples: 2 }).running(averaged()),
                    |it| it.over(Over::Groups { samples: 2 }).padding(Padding::Mask(Mask::Bytes)).renorm(RENORM),
                    |it| it.over(Over::Groups { samples: 2 }).types(Types::all(Float::Bf16)),
                ],
            ),
            operations: [&OPERATIONS[..3], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "steps, more than have running statistics",
            subjects: each(
                &subjects(&STEPS),
                &[
                    |it| it.over(Over::Steps { kept: KEPT }),
                    |it| it.over(Over::Steps { kept: KEPT }).running(averaged()),
                    |it| it.over(Over::Steps { kept: KEPT }).padding(Padding::Mask(Mask::Bits)).renorm(RENORM),
                    |it| it.over(Over::Steps { kept: KEPT }).types(Types::all(Float::F16)),
                ],
            ),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "batch renormalization",
            subjects: each(
                &pair,
                &[
                    |it| it.renorm(RENORM),
                    |it| it.renorm(RENORM).running(averaged()),
                    |it| it.renorm(RENORM).activation(Activation::Silu).types(Types::all(Float::F16)),
                ],
            ),
            operations: some_training(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "activations, with a residual and without",
            subjects: pair
                .iter()
                .zip([true, false])
                .flat_map(|(one, residual)| {
                    let first = ACTIVATIONS.map(|it| one.with(|one| one.activation(it).residual(residual)));
                    let second = BY_KEPT.map(|it| one.with(|one| one.activation(it).residual(!residual)));
                    first.into_iter().chain(second)
                })
                .collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "backward passes from y",
            subjects: each(
                &pair,
                &[
                    |it| it.backward_from_y(true).health(true),
                    |it| it.backward_from_y(true).activation(Activation::LeakyRelu(0.1)),
                    |it| it.backward_from_y(true).over(Over::Groups { samples: 2 }).health(true),
                    |it| it.backward_from_y(true).types(Types::mixed(Float::Bf16)),
                ],
            ),
            operations: OPERATIONS[2..].to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "views: slices, crops, permuted axes, flips, and each tensor its own",
            subjects: pair.iter().flat_map(viewed).collect(),
            operations: OPERATIONS.to_vec(),
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "health",
            subjects: pair.iter().flat_map(unhealthy).collect(),
            operations: vec![Operation::Forward],
            ways: regimes().map(Way::choosing).to_vec(),
        },
        Block {
            shows: "empty batches",
            subjects: each(
                &subjects(&EMPTY),
                &[|it| it, |it| it.running(averaged()), |it| it.over(Over::Groups { samples: 2 })],
            ),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: vec![Way::BY_RULE],
        },
        Block {
            shows: "options together, by the rules for GPUs and for software drivers",
            subjects: all_together(),
            operations: [&OPERATIONS[..], &[Operation::UpdateRunning]].concat(),
            ways: [Tuning::GPU, Tuning::CPU].map(Way::tuned).to_vec(),
        },
    ]
}

/// The training passes, and dx alone.
fn some_training() -> Vec<Operation> {
    vec![OPERATIONS[1], OPERATIONS[2], Operation::Backward(Gradients::DX)]
}

/// All gradients but none and all.
fn some_gradients() -> impl Iterator<Item = Gradients> {
    (1..7).map(|bits| Gradients { dx: bits & 1 > 0, dgamma: bits & 2 > 0, dbeta: bits & 4 > 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use wgpu_batchnorm::recipe::{Capabilities, Recipe, Regime};
    use wgpu_batchnorm::tuning::AdapterKind;

    use super::*;

    /// Both suites reach every family of every operation in both layouts, with and without 16-byte accesses,
    /// on a device that has what WebGPU promises and no more.
    #[test]
    fn every_family_is_reached() {
        for (quick, kind) in
            [true, false].into_iter().flat_map(|q| [AdapterKind::Gpu, AdapterKind::Cpu].map(|k| (q, k)))
        {
            let capabilities = Capabilities::webgpu_default(kind);
            let mut reached = HashSet::new();
            let mut banded = 0;
            for Block { subjects, operations, ways, .. } in blocks(quick) {
                for (subject, operation) in subjects.iter().flat_map(|s| operations.iter().map(move |o| (s, *o))) {
                    for way in &ways {
                        let tuning = way.tuning.unwrap_or(Tuning::of(kind));
                        let Subject { descriptor, .. } = subject;
                        if let Ok(recipe) = Recipe::new(descriptor, operation, &capabilities, &tuning, &way.choice) {
                            reached.insert((operation, recipe.regime, recipe.wide, subject.axes));
                            banded += usize::from(recipe.bands > 1);
                        }
                    }
                }
            }
            assert!(quick || banded > 150, "{banded} in bands");
            for axes in RANKS.map(|(axes, _)| axes) {
                for wide in if quick { &[true][..] } else { &[true, false] } {
                    for operation in GATHERING {
                        assert!(
                            reached.contains(&(operation, Regime::Resident, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                        assert!(
                            reached.contains(&(operation, Regime::Split, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                    }
                    for operation in ELEMENTWISE {
                        assert!(
                            reached.contains(&(operation, Regime::Elementwise, *wide, axes)),
                            "{operation} {axes} {wide}"
                        );
                    }
                }
            }
        }
    }
}
