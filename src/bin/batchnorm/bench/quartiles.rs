//! What is said of many times: the median and the quartiles, which one slow run does not move.

use serde::{Deserialize, Serialize};

/// A quarter, half and three quarters of the samples are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quartiles {
    pub first: f64,
    pub median: f64,
    pub third: f64,
}

impl Quartiles {
    /// Of these samples, in any order: the sample at that fraction of the way from the least to the
    /// greatest, between two of them by linear interpolation. `None` of none.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |fraction: f64| {
            let place = fraction * last as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { first: at(0.25), median: at(0.5), third: at(0.75) })
    }

    /// The interquartile range in units of the median.
    pub fn spread(&self) -> f64 {
        (self.third - self.first) / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::Quartiles;

    #[test]
    fn quartiles_lie_between_samples() {
        let known: [(&[f64], [f64; 3]); 4] = [
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[4.0, 2.0], [2.5, 3.0, 3.5]),
            (&[3.0, 1.0, 2.0], [1.5, 2.0, 2.5]),
            (&[9.0, 1.0, 4.0, 2.0, 100.0, 3.0], [2.25, 3.5, 7.75]),
        ];
        for (samples, [first, median, third]) in known {
            assert_eq!(Quartiles::of(samples), Some(Quartiles { first, median, third }), "{samples:?}");
        }
        assert_eq!(Quartiles::of(&[]), None);
    }
}
