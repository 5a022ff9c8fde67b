//! The adapters of this machine, opened once for all tests.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use wgpu_batchnorm::{Gpu, GpuError};

/// A GPU of every adapter found. wgpu complaining on one of them about anything is a failure.
pub fn gpus() -> &'static [Gpu] {
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
    std::thread::scope(|scope| {
        let threads: Vec<_> = gpus().iter().map(|gpu| scope.spawn(|| test(gpu))).collect();
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
