//! The search: one parameter after the other, each at its best beside all others as they are by then.

use indicatif::ProgressBar;
use serde::Serialize;
use wgpu_batchnorm::tuning::Tuning;

use super::gain::Gain;
use super::parameters::Parameter;
use crate::Failure;

/// Rounds over all parameters. In the second, each is tried beside the others' new numbers.
const ROUNDS: usize = 2;

/// What candidates have to pass.
pub trait Trials {
    /// Whether a candidate may be timed against a tuning that is right.
    async fn judge(&mut self, incumbent: &Tuning, candidate: &Tuning) -> Result<Standing, Failure>;

    /// What each candidate gains over the incumbent, all timed in turns.
    async fn race(&mut self, incumbent: &Tuning, candidates: &[Tuning]) -> Result<Vec<Gain>, Failure>;
}

/// What is known of a candidate before it is timed.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// All its answers are.
    Right,
    /// All its plans are the incumbent's.
    Same,
    /// A plan is an error or an answer out of tolerance.
    Dropped(String),
}

/// One candidate, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Try {
    pub round: usize,
    pub parameter: &'static str,
    pub before: String,
    pub candidate: String,
    /// Where it was timed: the last time.
    pub gain: Option<Gain>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Taken,
    /// Faster, and another still faster.
    Surpassed,
    /// Faster beside the others, and not again on its own.
    NotAgain,
    NotFaster,
    SamePlans,
    Dropped(String),
}

/// Where a search ended.
pub struct Found {
    pub tuning: Tuning,
    pub tries: Vec<Try>,
}

/// Searches from a tuning that is right. It ends early once all parameters were tried beside the same others.
pub async fn search(
    trials: &mut impl Trials,
    parameters: &[Parameter],
    start: Tuning,
    progress: &ProgressBar,
) -> Result<Found, Failure> {
    let mut found = Found { tuning: start, tries: vec![] };
    let in_round: usize = parameters.iter().map(|parameter| (parameter.candidates)(&start).len()).sum();
    progress.set_length((ROUNDS * in_round) as u64);
    let mut settled = 0;
    for round in 1..=ROUNDS {
        for parameter in parameters {
            if settled == parameters.len() {
                return Ok(found);
            }
            progress.set_message(format!("round {round}: {}", parameter.name));
            let before = found.tuning;
            let tries = attempt(trials, parameter, &mut found.tuning, progress).await?;
            found.tries.extend(tries.into_iter().map(|attempt| Try { round, ..attempt }));
            settled = if found.tuning == before { settled + 1 } else { 1 };
        }
    }
    Ok(found)
}

/// Tries all candidates of a parameter, and moves the tuning to the best if that wins twice.
async fn attempt(
    trials: &mut impl Trials,
    parameter: &Parameter,
    tuning: &mut Tuning,
    progress: &ProgressBar,
) -> Result<Vec<Try>, Failure> {
    let incumbent = *tuning;
    let (mut racing, mut tries, mut places) = (vec![], vec![], vec![]);
    for candidate in (parameter.candidates)(&incumbent) {
        progress.inc(1);
        if candidate == incumbent {
            continue;
        }
        let verdict = match trials.judge(&incumbent, &candidate).await? {
            Standing::Same => Verdict::SamePlans,
            Standing::Dropped(because) => Verdict::Dropped(because),
            Standing::Right => {
                racing.push(candidate);
                places.push(tries.len());
                Verdict::NotFaster
            }
        };
        let [before, candidate] = [incumbent, candidate].map(|tuning| (parameter.value)(&tuning));
        tries.push(Try { round: 1, parameter: parameter.name, before, candidate, gain: None, verdict });
    }
    if racing.is_empty() {
        return Ok(tries);
    }
    let gains = trials.race(&incumbent, &racing).await?;
    for (place, gain) in places.iter().zip(&gains) {
        let verdict = if gain.wins() { Verdict::Surpassed } else { Verdict::NotFaster };
        tries[*place] = Try { gain: Some(*gain), verdict, ..tries[*place].clone() };
    }
    let winners = gains.iter().enumerate().filter(|(_, gain)| gain.wins());
    let Some((best, _)) = winners.max_by(|(_, a), (_, b)| a.log.total_cmp(&b.log)) else { return Ok(tries) };
    // The best of many is partly the luckiest.
    let again = trials.race(&incumbent, &racing[best..=best]).await?;
    let wins = again.iter().all(Gain::wins);
    let of_best = &mut tries[places[best]];
    of_best.gain = again.first().copied();
    of_best.verdict = if wins { Verdict::Taken } else { Verdict::NotAgain };
    if wins {
        *tuning = racing[best];
    }
    Ok(tries)
}

#[cfg(test)]
mod tests {
    use wgpu_batchnorm::tuning::{AdapterKind, Order};

    use super::*;

    /// A machine whose times are a formula, with noise of this standard deviation on their logarithms.
    struct Synthetic {
        time: fn(&Tuning) -> f64,
        wrong: fn(&Tuning) -> bool,
        noise: f64,
        /// What gains claim their error to be.
        claimed: f64,
        state: u64,
        raced: Vec<Tuning>,
    }

    impl Synthetic {
        fn new(time: fn(&Tuning) -> f64) -> Self {
            Self { time, wrong: |_| false, noise: 0.0, claimed: 0.0, state: 1, raced: vec![] }
        }

        /// Nearly normal: the sum of twelve uniform numbers.
        fn normal(&mut self) -> f64 {
            let mut uniform = || {
                self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.state >> 11) as f64 / (1_u64 << 53) as f64
            };
            (0..12).map(|_| uniform()).sum::<f64>() - 6.0
        }

        fn search(&mut self) -> Found {
            let parameters = Parameter::of(AdapterKind::Cpu, false);
            let progress = ProgressBar::hidden();
            let found = pollster::block_on(search(self, &parameters, Tuning::CPU, &progress));
            found.unwrap_or_else(|failure| panic!("{}", failure.message))
        }
    }

    impl Trials for Synthetic {
        async fn judge(&mut self, incumbent: &Tuning, candidate: &Tuning) -> Result<Standing, Failure> {
            Ok(match ((self.time)(candidate), (self.wrong)(candidate)) {
                (_, true) => Standing::Dropped("y[0] is 7; expected 3".to_owned()),
                (time, _) if time == (self.time)(incumbent) && self.noise == 0.0 => Standing::Same,
                _ => Standing::Right,
            })
        }

        async fn race(&mut self, incumbent: &Tuning, candidates: &[Tuning]) -> Result<Vec<Gain>, Failure> {
            self.raced.extend(candidates);
            let mut gain = |candidate| {
                let log = ((self.time)(incumbent) / (self.time)(candidate)).ln() + self.noise * self.normal();
                Gain { log, error: self.claimed }
            };
            Ok(candidates.iter().map(&mut gain).collect())
        }
    }

    /// 16 lanes are best, but only beside blocks, which are best anyway; so are 2 loads.
    fn time(tuning: &Tuning) -> f64 {
        let lanes = match (tuning.order, tuning.lanes) {
            (Order::Blocked, 16) => 0.8,
            (_, 8) => 0.9,
            _ => 1.0,
        };
        let order = if tuning.order == Order::Blocked { 0.9 } else { 1.0 };
        lanes * order * if tuning.loads == 2 { 0.7 } else { 1.0 }
    }

    const BEST: Tuning = Tuning { order: Order::Blocked, lanes: 16, loads: 2, ..Tuning::CPU };

    #[test]
    fn the_best_is_found_in_two_rounds() {
        let mut machine = Synthetic::new(time);
        let found = machine.search();
        assert_eq!(found.tuning, BEST);
        let taken: Vec<_> = found.tries.iter().filter(|attempt| attempt.verdict == Verdict::Taken).collect();
        let taken: Vec<_> =
            taken.iter().map(|it| (it.round, it.parameter, it.before.as_str(), it.candidate.as_str())).collect();
        let expected = [(1, "loads", "4", "2"), (1, "order", "interleaved", "blocked"), (2, "lanes", "8", "16")];
        assert_eq!(taken, expected);
        assert!(found.tries.iter().any(|attempt| attempt.verdict == Verdict::SamePlans));
    }

    #[test]
    fn the_best_is_found_through_noise() {
        let mut machine = Synthetic { noise: 0.01, claimed: 0.01, ..Synthetic::new(time) };
        assert_eq!(machine.search().tuning, BEST);
    }

    #[test]
    fn noise_alone_moves_nothing() {
        for state in 0..20 {
            let mut machine = Synthetic { noise: 0.05, claimed: 0.05, state, ..Synthetic::new(|_| 1.0) };
            let found = machine.search();
            assert_eq!(found.tuning, Tuning::CPU);
            // It was there to be moved by.
            let gains = found.tries.iter().filter_map(|attempt| attempt.gain);
            assert!(gains.filter(|gain| gain.log > 0.05).count() > 0);
        }
    }

    #[test]
    fn noise_that_claims_to_be_none_would() {
        let mut machine = Synthetic { noise: 0.05, ..Synthetic::new(|_| 1.0) };
        assert_ne!(machine.search().tuning, Tuning::CPU);
    }

    #[test]
    fn a_wrong_answer_is_dropped_however_fast() {
        let mut machine = Synthetic { wrong: |tuning| tuning.loads == 2, ..Synthetic::new(time) };
        let found = machine.search();
        assert_eq!(found.tuning, Tuning { loads: 4, ..BEST });
        assert!(machine.raced.iter().all(|tuning| tuning.loads != 2));
        let dropped = found.tries.iter().find(|attempt| attempt.candidate == "2" && attempt.parameter == "loads");
        assert_eq!(dropped.map(|it| &it.verdict), Some(&Verdict::Dropped("y[0] is 7; expected 3".to_owned())));
    }
}
