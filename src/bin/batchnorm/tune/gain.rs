//! How much faster one tuning is than another, and how sure that is.

use serde::Serialize;

use crate::bench::Quartiles;

/// How long a subject takes by one tuning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lap {
    /// The tuning that was timed: an earlier one where that has the very same plan.
    pub timed: usize,
    /// Milliseconds.
    pub ms: Quartiles,
}

/// The geometric mean, over subjects, of old time / new time: as a logarithm, positive where the new is faster.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gain {
    pub log: f64,
    /// Its standard error.
    pub error: f64,
}

/// What decides, in standard errors. A thousand noisy candidates then win once, and have to win again.
const ERRORS: f64 = 3.0;

/// Smaller gains come from where code and buffers happen to lie.
const LEAST: f64 = 0.02;

impl Gain {
    pub const NONE: Self = Self { log: 0.0, error: 0.0 };

    /// Of one tuning over another; each subject's laps stand in the order of the tunings, medians of so many runs.
    ///
    /// The standard error of a median of n normal samples is √(π/2)·σ/√n, and σ is the interquartile range / 1.349.
    /// Errors of logarithms of medians that do not depend on one another add up as squares.
    pub fn of(laps: &[Vec<Lap>], [old, new]: [usize; 2], runs: usize) -> Self {
        let (mut log, mut variance) = (0.0, 0.0);
        for subject in laps {
            let (old, new) = (subject[old], subject[new]);
            if old.timed != new.timed {
                log += (old.ms.median / new.ms.median).ln();
                let spreads = old.ms.spread().powi(2) + new.ms.spread().powi(2);
                variance += spreads * std::f64::consts::FRAC_PI_2 / 1.349_f64.powi(2) / runs as f64;
            }
        }
        let subjects = laps.len().max(1) as f64;
        Self { log: log / subjects, error: variance.sqrt() / subjects }
    }

    /// Whether it is more than the noise of the measurement.
    pub fn wins(&self) -> bool {
        self.log > self.least()
    }

    /// The smallest that would have won.
    pub fn least(&self) -> f64 {
        (ERRORS * self.error).max(LEAST)
    }

    /// How many times as fast.
    pub fn factor(&self) -> f64 {
        self.log.exp()
    }
}

/// `1.073 ± 0.004`.
impl std::fmt::Display for Gain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ± {:.3}", self.factor(), self.factor() * self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::{Gain, Lap, Quartiles};

    fn lap(timed: usize, median: f64, spread: f64) -> Lap {
        let [first, third] = [-0.5, 0.5].map(|side| median * (1.0 + side * spread));
        Lap { timed, ms: Quartiles { first, median, third } }
    }

    #[test]
    fn gains_are_geometric_means() {
        // Twice as fast and half as fast are nothing; then 4 times in one of two.
        let even = [vec![lap(0, 2.0, 0.0), lap(1, 1.0, 0.0)], vec![lap(0, 3.0, 0.0), lap(1, 6.0, 0.0)]];
        assert!(Gain::of(&even, [0, 1], 9).log.abs() < 1e-12);
        let one = [vec![lap(0, 4.0, 0.0), lap(1, 1.0, 0.0)], vec![lap(0, 3.0, 0.5), lap(0, 3.0, 0.5)]];
        let gain = Gain::of(&one, [0, 1], 9);
        assert!((gain.factor() - 2.0).abs() < 1e-12 && gain.error == 0.0 && gain.wins());
        assert!(!Gain::of(&one, [1, 0], 9).wins());
    }

    #[test]
    fn what_noise_explains_does_not_win() {
        let steady = [vec![lap(0, 1.1, 0.01), lap(1, 1.0, 0.01)]];
        let noisy = [vec![lap(0, 1.1, 0.3), lap(1, 1.0, 0.3)]];
        let small = [vec![lap(0, 1.01, 0.0), lap(1, 1.0, 0.0)]];
        assert_eq!([&steady, &noisy, &small].map(|laps| Gain::of(laps, [0, 1], 9).wins()), [true, false, false]);
        // More runs make sure what fewer do not.
        assert!(Gain::of(&noisy, [0, 1], 900).wins());
    }
}
