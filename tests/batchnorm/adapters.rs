//! The adapters of this machine, opened once for all tests.

use std::io::Write;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use wgpu_batchnorm::wgpu::Backend;
use wgpu_batchnorm::{Gpu, GpuError};

/// A GPU of every adapter found, for as long as this is held. wgpu complaining on one of them about anything is a
/// failure.
pub fn gpus() -> Gpus {
    let all = opened();
    Gpus { all, _turn: turn(all) }
}

/// All GPUs. Those that one thread at a time may use are the holder's.
pub struct Gpus {
    all: &'static [Gpu],
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Deref for Gpus {
    type Target = [Gpu];

    fn deref(&self) -> &[Gpu] {
        self.all
    }
}

/// On OpenGL all threads wait for one context, which wgpu keeps while the GPU computes, and after six seconds of
/// waiting it panics. So tests take turns, and wait for as long as it takes.
fn turn(gpus: &[Gpu]) -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::new(());
    let one_at_a_time = gpus.iter().any(|gpu| gpu.info.backend == Backend::Gl);
    one_at_a_time.then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn opened() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    let gpus = GPUS.get_or_init(|| {
        pollster::block_on(async {
            let mut gpus = Vec::new();
            for adapter in Gpu::adapters().await {
                let gpu = Gpu::open(&adapter).await.unwrap();
                gpu.device.on_uncaptured_error(Arc::new(|error| panic!("wgpu was the messenger: {error}")));
                say(&format!("adapter: {}", gpu.name()));
                gpus.push(gpu);
            }
            gpus
        })
    });
    assert!(!gpus.is_empty(), "{}", GpuError::NoAdapter);
    gpus
}

/// Does the same on every adapter, on all of them at once.
pub fn on_every_gpu(test: impl Fn(&Gpu) + Sync) {
    let test = |gpu| {
        let _turn = turn(std::slice::from_ref(gpu));
        test(gpu);
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = opened().iter().map(|gpu| scope.spawn(|| test(gpu))).collect();
        // Joined one by one, so that the first panic is passed on with its own message.
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Prints a line whether or not the test harness shows the output of passing tests.
pub fn say(line: &str) {
    // Nobody to tell if it cannot be written.
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[test]
fn tests_take_turns_on_opengl() {
    let inside = AtomicUsize::new(0);
    let enter = |gpu: &Gpu| {
        if gpu.info.backend == Backend::Gl {
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "another is there already");
            std::thread::sleep(Duration::from_millis(10));
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| on_every_gpu(enter));
            scope.spawn(|| gpus().iter().for_each(enter));
        }
    });
}
