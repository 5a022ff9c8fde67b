//! Which pipelines are held: no more than so many, and those that were not used for the longest time go first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kernels::Pipeline;
use crate::shader::Permutation;

/// How many kernels are held where nothing else was said. A network needs some 10 to 50. A software driver has up to a
/// megabyte in each (`batchnorm verify` of all kernels at once: 5,000 in 3 to 6 GB on Mesa's), a GPU's far less.
pub(crate) const MOST: usize = 256;

/// What has become of the kernels that were needed, by [`Kernels::compiled`](crate::Kernels::compiled).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compiled {
    /// Held now, or just being compiled.
    pub held: usize,
    /// How many are held at most.
    pub most: usize,
    /// Compiled since the beginning. Where this grows with every step, the bound is too low for the work.
    pub compiled: u64,
    /// Let go since, to make room for others.
    pub evicted: u64,
}

/// Where a pipeline is, once it is compiled.
pub(crate) type Cell = Arc<Mutex<Option<Arc<Pipeline>>>>;

/// A lock. A thread that panicked while it held one left things whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pipelines that are held. What was let go lives on with the plans that have it.
pub(crate) struct Held(Mutex<Inner>);

struct Inner {
    /// Each with the time of its last use.
    cells: HashMap<Permutation, (Cell, u64)>,
    /// Counts uses.
    now: u64,
    most: usize,
    compiled: u64,
    evicted: u64,
}

impl Default for Held {
    fn default() -> Self {
        Self(Mutex::new(Inner { cells: HashMap::new(), now: 0, most: MOST, compiled: 0, evicted: 0 }))
    }
}

impl Held {
    /// Where the pipeline of a permutation is, or will be.
    pub fn cell(&self, permutation: Permutation) -> Cell {
        let mut inner = lock(&self.0);
        inner.now += 1;
        let now = inner.now;
        let (cell, used) = inner.cells.entry(permutation).or_default();
        *used = now;
        let cell = cell.clone();
        let old = inner.shrink();
        // The device is told of what is gone after others may go on.
        drop(inner);
        drop(old);
        cell
    }

    /// One was compiled.
    pub fn count(&self) {
        lock(&self.0).compiled += 1;
    }

    /// Holds no more than so many from now on.
    pub fn limit(&self, most: usize) {
        let mut inner = lock(&self.0);
        inner.most = most;
        let old = inner.shrink();
        drop(inner);
        drop(old);
    }

    /// Lets all go.
    pub fn clear(&self) {
        let all = std::mem::take(&mut lock(&self.0).cells);
        drop(all);
    }

    pub fn numbers(&self) -> Compiled {
        let Inner { cells, most, compiled, evicted, .. } = &*lock(&self.0);
        Compiled { held: cells.len(), most: *most, compiled: *compiled, evicted: *evicted }
    }
}

impl Inner {
    /// Requirement out what is too many.
    fn shrink(&mut self) -> Vec<(Cell, u64)> {
        let mut old = Vec::new();
        while self.cells.len() > self.most {
            let oldest = self.cells.iter().min_by_key(|(_, (_, used))| *used).map(|(permutation, _)| *permutation);
            old.extend(oldest.and_then(|permutation| self.cells.remove(&permutation)));
        }
        // What is being compiled just now was never held.
        let was_held = |cell: &Cell| cell.try_lock().is_ok_and(|cell| cell.is_some());
        self.evicted += old.iter().filter(|(cell, _)| was_held(cell)).count() as u64;
        old
    }
}
