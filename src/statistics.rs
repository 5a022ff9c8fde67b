//! A batch's statistics as values on the host: what [`Gather`](crate::Gather) leaves on the device, read back,
//! merged with that of other devices or batches, and given to [`Finalize`](crate::Finalize) or used as it is.

/// Count, mean and biased variance of one channel. Merging is exact but for rounding in f64, in any number of
/// parts and any order of them.
///
/// ```
/// use wgpu_batchnorm::Statistics;
/// let [mut left, right] = [[1.0, 2.0, 6.0], [4.0, 4.0, 7.0]].map(Statistics::of);
/// left.merge(right);
/// assert_eq!(left, Statistics::of([1.0, 2.0, 6.0, 4.0, 4.0, 7.0]));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// How many values.
    pub count: f64,
    /// Their mean; 0 where there are none.
    pub mean: f64,
    /// Their variance, Σ(x−μ)²/count; 0 where there are none.
    pub variance: f64,
}

impl Statistics {
    /// Those of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let one = |value| Self { count: 1.0, mean: value, variance: 0.0 };
        values.into_iter().fold(Self::default(), |all, value| all.merged(one(value)))
    }

    /// Σ(x−μ)², often called M2.
    pub fn squares(&self) -> f64 {
        self.variance * self.count
    }

    /// Requirement in those of other values (Chan, Golub and LeVeque 1979): n = n₁+n₂, δ = μ₂−μ₁, μ = μ₁ + δ·n₂/n,
    /// σ² = (n₁σ₁² + n₂σ₂²)/n + δ²·n₁n₂/n².
    pub fn merge(&mut self, other: Self) {
        *self = self.merged(other);
    }

    fn merged(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return Self::default();
        }
        let (weight, delta) = (other.count / count, other.mean - self.mean);
        let apart = delta * (1.0 - weight) * (delta * weight);
        let variance = self.variance * (1.0 - weight) + other.variance * weight + apart;
        // A small step, so that only the sum rounds at the size of the mean; but not from or to infinity.
        let mean = match delta.is_infinite() {
            true => self.mean * (1.0 - weight) + other.mean * weight,
            false => self.mean + delta * weight,
        };
        Self { count, mean, variance }
    }

    /// Those of every channel, from what a device left: planes of counts, means and variances.
    pub fn from_planes(planes: &[f32]) -> Vec<Self> {
        let channels = planes.len() / 3;
        let at = |plane: usize, channel: usize| f64::from(planes[plane * channels + channel]);
        (0..channels).map(|c| Self { count: at(0, c), mean: at(1, c), variance: at(2, c) }).collect()
    }

    /// As a device takes them: planes of counts, means and variances.
    pub fn to_planes(channels: &[Self]) -> Vec<f32> {
        let plane = |value: fn(&Self) -> f64| channels.iter().map(move |one| value(one) as f32);
        plane(|one| one.count).chain(plane(|one| one.mean)).chain(plane(|one| one.variance)).collect()
    }
}
