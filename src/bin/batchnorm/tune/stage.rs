//! Where tunings are tried on an adapter: shapes and operations, each with its right answer.

use wgpu_batchnorm::recipe::{Operation, Recipe};
use wgpu_batchnorm::tuning::{AdapterKind, Tuning};
use wgpu_batchnorm::verify::{Expected, Placement, Problem};
use wgpu_batchnorm::{Error, Gpu, Gradients, Layout, PlanError};

use super::gain::{Gain, Lap};
use super::search::{Standing, Trials};
use crate::Failure;
use crate::bench::{Clock, Layer, Op, Variant, Workload, in_turns, layer_name};

/// What programs run most: a training step and inference.
const OPS: [(Op, Operation); 3] = [
    (Op::TrainFwd, Operation::Forward),
    (Op::Bwd, Operation::Backward(Gradients::ALL)),
    (Op::Infer, Operation::Inference),
];

/// Shapes, N, C, H and W, each tried channels first and channels last.
pub fn shapes(kind: AdapterKind, quick: bool) -> &'static [[usize; 4]] {
    match (kind, quick) {
        // Few channels that are long, and many that are short: about 1 and 3 MB.
        (AdapterKind::Cpu, true) => &[[4, 16, 64, 64], [4, 512, 14, 14]],
        // The same; less than the first cache; a stem, of 13 MB; and what a linear layer gives.
        (AdapterKind::Cpu, false) => {
            &[[4, 16, 64, 64], [4, 512, 14, 14], [2, 32, 7, 7], [4, 64, 112, 112], [256, 512, 1, 1]]
        }
        // 13 MB each: what a GPU of any size has something to do with.
        (AdapterKind::Gpu, true) => &[[16, 64, 56, 56], [16, 1024, 14, 14]],
        // The same; a small one; few channels, which have to be split; more than caches hold, 51 MB; a linear layer.
        (AdapterKind::Gpu, false) => &[
            [16, 64, 56, 56],
            [16, 1024, 14, 14],
            [2, 32, 14, 14],
            [8, 8, 256, 256],
            [16, 256, 56, 56],
            [1024, 1024, 1, 1],
        ],
    }
}

/// An adapter with all that is timed on it.
pub struct Stage<'a> {
    gpu: &'a Gpu,
    clock: Clock,
    runs: usize,
    scenes: Vec<Scene>,
    /// What is not timed, and why.
    pub left_out: Vec<String>,
}

/// A shape in one layout.
pub struct Scene {
    shape: Vec<usize>,
    layout: Layout,
    problem: Problem,
    subjects: Vec<Subject>,
}

/// An operation on it, and its right answer.
struct Subject {
    op: Op,
    operation: Operation,
    expected: Vec<Expected>,
}

/// What a subject is, for people.
pub struct Name {
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub op: Op,
}

/// Whether one tuning is right for a subject.
enum Answer {
    Right,
    /// By the very plan of another tuning.
    Same,
    Wrong(String),
}

impl<'a> Stage<'a> {
    /// All shapes in both layouts, medians to be taken of so many runs. What the built-in tuning cannot do, or does
    /// wrong, is left out.
    pub async fn new(gpu: &'a Gpu, shapes: &[[usize; 4]], runs: usize, built_in: &Tuning) -> Result<Self, Failure> {
        let mut stage = Self { gpu, clock: Clock::of(gpu), runs, scenes: vec![], left_out: vec![] };
        for shape in shapes {
            for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
                let mut scene = Scene::new(shape, layout);
                for (op, operation) in OPS {
                    let subject = Subject { op, operation, expected: scene.problem.expect(operation) };
                    match scene.answer(gpu, &subject, None, built_in).await? {
                        Answer::Wrong(because) => stage.left_out.push(format!("{}: {because}", scene.name(op))),
                        _ => scene.subjects.push(subject),
                    }
                }
                stage.scenes.push(scene);
            }
        }
        if stage.subjects().next().is_none() {
            let because = stage.left_out.join("; ");
            let name = gpu.name();
            return Err(Failure::new(format!(
                "nothing can be timed on {name}; `batchnorm verify` says more: {because}"
            )));
        }
        Ok(stage)
    }

    fn subjects(&self) -> impl Iterator<Item = (&Scene, &Subject)> {
        self.scenes.iter().flat_map(|scene| scene.subjects.iter().map(move |subject| (scene, subject)))
    }

    /// Subjects, in the order of their laps.
    pub fn names(&self) -> Vec<Name> {
        self.subjects().map(|(scene, subject)| scene.name(subject.op)).collect()
    }

    /// What times are taken by.
    pub fn clock(&self) -> &'static str {
        self.clock.name()
    }

    /// Every subject's time by each tuning.
    pub async fn laps(&mut self, tunings: &[Tuning]) -> Result<Vec<Vec<Lap>>, Failure> {
        if let Some(laps) = self.laps_by(&self.clock, tunings).await? {
            return Ok(laps);
        }
        // Timestamps that do not advance.
        self.clock = Clock::Wall;
        let still = || Failure::new("the wall clock stands still: nothing can be timed");
        self.laps_by(&self.clock, tunings).await?.ok_or_else(still)
    }

    /// `None` where the clock stood still.
    async fn laps_by(&self, clock: &Clock, tunings: &[Tuning]) -> Result<Option<Vec<Vec<Lap>>>, Failure> {
        let mut laps = vec![];
        for scene in &self.scenes {
            let descriptor = &scene.problem.descriptor;
            let workload = Workload::new(self.gpu, descriptor, Variant::Plain)?;
            for subject in &scene.subjects {
                let recipes: Vec<Recipe> = tunings
                    .iter()
                    .map(|tuning| scene.recipe(self.gpu, subject, tuning))
                    .collect::<Result<_, _>>()
                    .map_err(Error::from)?;
                // The first with the same plan is timed for all.
                let timed: Vec<usize> = recipes
                    .iter()
                    .enumerate()
                    .map(|(i, recipe)| recipes.iter().position(|other| other == recipe).unwrap_or(i))
                    .collect();
                let mut works = vec![];
                for (i, tuning) in tunings.iter().enumerate().filter(|(i, _)| timed[*i] == *i) {
                    works.push((i, workload.ready_by(&self.gpu.kernels.tuned(*tuning), subject.op)?.work));
                }
                let Some(times) = in_turns(clock, self.gpu, &works, self.runs).await? else { return Ok(None) };
                let lap =
                    |timed: usize| times.iter().find(|(i, _)| *i == timed).map(|(_, time)| Lap { timed, ms: time.ms });
                laps.push(timed.into_iter().filter_map(lap).collect());
            }
        }
        Ok(Some(laps))
    }
}

impl Scene {
    fn new(shape: &[usize], layout: Layout) -> Self {
        let shape = shape.to_vec();
        let descriptor = Layer { shape: shape.clone(), count: 1 }.descriptor(layout);
        // Any seed will do.
        Self { shape, layout, problem: Problem::random(descriptor, 0.5, 1.0, 1), subjects: vec![] }
    }

    fn name(&self, op: Op) -> Name {
        Name { shape: self.shape.clone(), layout: self.layout, op }
    }

    fn recipe(&self, gpu: &Gpu, subject: &Subject, tuning: &Tuning) -> Result<Recipe, PlanError> {
        gpu.kernels.tuned(*tuning).recipe(&self.problem.descriptor, subject.operation)
    }

    /// Runs a subject, unless another tuning has the same plan.
    async fn answer(
        &self,
        gpu: &Gpu,
        subject: &Subject,
        but: Option<&Tuning>,
        tuning: &Tuning,
    ) -> Result<Answer, Failure> {
        let recipe = match self.recipe(gpu, subject, tuning) {
            Ok(recipe) => recipe,
            Err(error) => return Ok(Answer::Wrong(error.to_string())),
        };
        if but.is_some_and(|but| self.recipe(gpu, subject, but).as_ref() == Ok(&recipe)) {
            return Ok(Answer::Same);
        }
        let kernels = gpu.kernels.tuned(*tuning);
        let answer = match self.problem.run(gpu, &kernels, subject.operation, Placement::Separate).await {
            Ok(answer) => answer,
            Err(error @ (Error::Plan(_) | Error::Bind(_))) => return Ok(Answer::Wrong(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let verdicts = subject.expected.iter().map(|expected| expected.judge(&answer));
        Ok(match verdicts.into_iter().find(|verdict| !verdict.passed()) {
            None => Answer::Right,
            Some(verdict) => Answer::Wrong(format!(
                "{}[{}] is {:e}; expected {:e} ± {:e}",
                verdict.name, verdict.index, verdict.got, verdict.expected, verdict.tolerance
            )),
        })
    }
}

impl Trials for Stage<'_> {
    async fn judge(&mut self, incumbent: &Tuning, candidate: &Tuning) -> Result<Standing, Failure> {
        let mut standing = Standing::Same;
        for (scene, subject) in self.subjects() {
            match scene.answer(self.gpu, subject, Some(incumbent), candidate).await? {
                Answer::Same => {}
                Answer::Right => standing = Standing::Right,
                Answer::Wrong(because) => {
                    return Ok(Standing::Dropped(format!("{}: {because}", scene.name(subject.op))));
                }
            }
        }
        Ok(standing)
    }

    async fn race(&mut self, incumbent: &Tuning, candidates: &[Tuning]) -> Result<Vec<Gain>, Failure> {
        let tunings = [&[*incumbent], candidates].concat();
        let laps = self.laps(&tunings).await?;
        Ok((1..tunings.len()).map(|new| Gain::of(&laps, [0, new], self.runs)).collect())
    }
}

impl Name {
    /// The layout's, for tables.
    pub fn layout(&self) -> &'static str {
        match self.layout {
            Layout::ChannelsFirst => "first",
            Layout::ChannelsLast => "last",
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}, channels {}", self.op.name(), layer_name(&self.shape), self.layout())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on every adapter, with small shapes; one of them long.
    fn on_every_stage(test: impl AsyncFn(&mut Stage<'_>, Tuning)) {
        pollster::block_on(async {
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await.unwrap();
                let built_in = Tuning::of(gpu.kernels.capabilities().kind);
                let stage = Stage::new(&gpu, &[[2, 3, 4, 5], [1, 1, 250, 400]], 3, &built_in).await;
                let mut stage = stage.unwrap_or_else(|failure| panic!("{}", failure.message));
                test(&mut stage, built_in).await;
            }
        });
    }

    async fn judge(stage: &mut Stage<'_>, incumbent: &Tuning, candidate: &Tuning) -> Standing {
        stage.judge(incumbent, candidate).await.unwrap_or_else(|failure| panic!("{}", failure.message))
    }

    #[test]
    fn candidates_are_judged_by_their_answers() {
        on_every_stage(async |stage, built_in| {
            let other = Tuning { loads: 2, lanes: 4, ..built_in };
            assert_eq!(judge(stage, &built_in, &built_in).await, Standing::Same);
            assert_eq!(judge(stage, &built_in, &other).await, Standing::Right);
            // One value of what is expected, changed.
            for scene in &mut stage.scenes {
                scene.subjects.iter_mut().for_each(|subject| subject.expected[0].values[1] += 1.0);
            }
            let Standing::Dropped(because) = judge(stage, &built_in, &other).await else { panic!("not dropped") };
            assert!(because.contains("[1] is ") && because.contains(" of 2×3×4×5, channels first"), "{because}");
        });
    }

    #[test]
    fn a_plan_that_is_an_error_is_dropped() {
        on_every_stage(async |stage, built_in| {
            // More parts than one lane can merge.
            let none = Tuning { iterations: 1, lanes: 1, loads: 1, columns: [1; 2], resident: [1; 2], ..built_in };
            let Standing::Dropped(because) = judge(stage, &built_in, &none).await else { panic!("not dropped") };
            assert!(because.contains("merging the parts"), "{because}");
        });
    }

    #[test]
    fn equal_plans_are_timed_once() {
        on_every_stage(async |stage, built_in| {
            let other = Tuning { loads: 2, lanes: 4, ..built_in };
            let laps = stage.laps(&[built_in, other, built_in]).await;
            let laps = laps.unwrap_or_else(|failure| panic!("{}", failure.message));
            assert_eq!(laps.len(), stage.names().len());
            assert!(laps.iter().all(|of| of[0] == of[2] && of[0].ms.median > 0.0));
            assert!(laps.iter().any(|of| of[1].timed == 1));
        });
    }
}
