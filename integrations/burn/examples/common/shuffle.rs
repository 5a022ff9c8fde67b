//! The order of examples in an epoch.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

/// The indices 0 to `count` in an order that is another in each epoch, and the same in each run.
pub fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch);
    let mut indices: Vec<usize> = (0..count).collect();
    indices.shuffle(&mut random);
    indices
}

#[cfg(test)]
mod tests {
    use super::shuffled;

    #[test]
    fn every_index_comes_once() {
        let mut indices = shuffled(1000, 1, 0);
        indices.sort_unstable();
        assert!(indices.into_iter().eq(0..1000));
    }

    #[test]
    fn seed_and_epoch_decide() {
        assert_eq!(shuffled(100, 1, 2), shuffled(100, 1, 2));
        assert_ne!(shuffled(100, 1, 2), shuffled(100, 1, 3));
        assert_ne!(shuffled(100, 1, 2), shuffled(100, 2, 2));
    }
}
