//! Work on all cores.

/// What `each` makes of all of these, in their order. The calling thread takes part, and does all of it where no
/// other can be started.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn on_all_cores<T: Sync, R: Send + Sync>(all: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let done: Vec<OnceLock<R>> = all.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        let i = next.fetch_add(1, Ordering::Relaxed);
        all.get(i).zip(done.get(i))
    };
    let work = || {
        while let Some((one, place)) = take() {
            place.get_or_init(|| each(one));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(all.len()) {
            if std::thread::Builder::new().name("batchnorm".to_owned()).spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    // Every place was taken once, and a thread that panicked has passed that on.
    done.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// A browser's wgpu stays on one thread.
#[cfg(target_arch = "wasm32")]
pub(crate) fn on_all_cores<T, R>(all: &[T], each: impl Fn(&T) -> R) -> Vec<R> {
    all.iter().map(each).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Barrier, Mutex};

    use super::on_all_cores;

    #[test]
    fn all_are_done_once_and_in_order() {
        for many in [0, 1, 2, 1_000] {
            let all: Vec<usize> = (0..many).collect();
            let count = Mutex::new(0);
            let squares = on_all_cores(&all, |i| {
                *count.lock().unwrap() += 1;
                i * i
            });
            assert_eq!(squares, all.iter().map(|i| i * i).collect::<Vec<_>>());
            assert_eq!(*count.lock().unwrap(), many);
        }
    }

    /// Each waits for another one: one thread alone would wait for ever.
    #[test]
    fn two_are_done_at_once() {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return;
        }
        let meet = Barrier::new(2);
        let threads = on_all_cores(&[0, 1], |_| {
            meet.wait();
            std::thread::current().id()
        });
        assert_eq!(threads.into_iter().collect::<HashSet<_>>().len(), 2);
    }
}
