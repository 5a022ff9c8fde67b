//! A logarithmic axis between round numbers.

/// Decades with more than this many of them are ticked at powers of ten alone.
const MANY_DECADES: f64 = 4.0;

/// From the value `low` at `from` to the value `high` at `to`, in the picture's units.
pub struct Axis {
    low: Tick,
    high: Tick,
    from: f64,
    to: f64,
}

/// The round number 1, 2 or 5 times a power of ten, counted: 0 is 1, 1 is 2, 2 is 5, 3 is 10, −1 is 0.5.
type Tick = i32;

fn value(tick: Tick) -> f64 {
    let power = 10_f64.powi(tick.div_euclid(3).abs());
    let digit = [1.0, 2.0, 5.0][tick.rem_euclid(3) as usize];
    // Dividing by a power that is exact gives 0.1 where multiplying by an inexact one would not.
    if tick < 0 { digit / power } else { digit * power }
}

impl Axis {
    /// The least one between round numbers that has all these values inside; `None` of none.
    pub fn over(values: impl Iterator<Item = f64>, [from, to]: [f64; 2]) -> Option<Self> {
        let (least, greatest) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0_f64), |(least, greatest), value| (least.min(value), greatest.max(value)));
        if greatest == 0.0 {
            return None;
        }
        let mut low = 3 * least.log10().ceil() as Tick;
        while value(low) >= least {
            low -= 1;
        }
        let mut high = 3 * greatest.log10().floor() as Tick;
        while value(high) <= greatest {
            high += 1;
        }
        Some(Self { low, high, from, to })
    }

    /// Where a value is.
    pub fn at(&self, of: f64) -> f64 {
        let (low, high) = (value(self.low).ln(), value(self.high).ln());
        self.from + (self.to - self.from) * (of.ln() - low) / (high - low)
    }

    /// Round numbers, from one end to the other.
    pub fn ticks(&self) -> Vec<f64> {
        let decades = f64::from(self.high - self.low) / 3.0;
        let shown = |tick: &Tick| decades <= MANY_DECADES || tick.rem_euclid(3) == 0;
        (self.low..=self.high).filter(shown).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn greater_values_are_farther_along() {
        for [from, to] in [[0.0, 100.0], [100.0, 0.0]] {
            let axis = Axis::over([0.3, 700.0].into_iter(), [from, to]).unwrap();
            let along: Vec<f64> =
                [0.2, 0.3, 1.0, 1.1, 50.0, 700.0, 1000.0].map(|value| (axis.at(value) - from) / (to - from)).to_vec();
            assert!(along.is_sorted_by(|a, b| a < b), "{along:?}");
            assert!(along[0].abs() < 1e-9 && (along[6] - 1.0).abs() < 1e-9, "{along:?}");
        }
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        let ticks = |values: &[f64]| Axis::over(values.iter().copied(), [0.0, 1.0]).unwrap().ticks();
        assert_eq!(ticks(&[0.12, 3.0]), [0.1, 0.2, 0.5, 1.0, 2.0, 5.0]);
        assert_eq!(ticks(&[7.0]), [5.0, 10.0]);
        assert_eq!(ticks(&[10.0]), [5.0, 10.0, 20.0]);
        assert_eq!(ticks(&[3e3, 4e8]), [1e4, 1e5, 1e6, 1e7, 1e8]);
        assert!(Axis::over([0.0, f64::NAN, f64::INFINITY].into_iter(), [0.0, 1.0]).is_none());
    }
}
