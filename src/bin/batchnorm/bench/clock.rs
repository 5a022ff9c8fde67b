//! How long recorded work takes: by the GPU's own clock where it has one that runs, else by the wall's.

use std::time::Instant;

use wgpu::{BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, ComputePassTimestampWrites, Features};
use wgpu_batchnorm::{Gpu, wgpu};

use crate::Failure;

/// Something to time. It can be recorded again and again.
pub enum Work {
    /// Dispatches, in a compute pass.
    Pass(Box<dyn Fn(&mut ComputePass<'_>)>),
    /// A transfer, which no pass takes.
    Transfer(Box<dyn Fn(&mut CommandEncoder)>),
}

/// What times are taken by, the same for all work of a run.
pub enum Clock {
    /// Timestamps that the GPU writes before and after the work.
    Timestamps(Timestamps),
    /// From the submission to when the device says that all is done.
    Wall,
}

/// Two queries and where they are resolved to.
pub struct Timestamps {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// Nanoseconds a tick.
    period: f64,
}

impl Clock {
    /// The GPU's clock, or the wall's where it has none, or one that claims to tick in no time.
    pub fn of(gpu: &Gpu) -> Self {
        let period = f64::from(gpu.queue.get_timestamp_period());
        let ticks = period > 0.0 && period.is_finite();
        if !(ticks && gpu.device.features().contains(Features::TIMESTAMP_QUERY)) {
            return Self::Wall;
        }
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("bench timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("bench timestamps"),
            size: 2 * u64::from(wgpu::QUERY_SIZE),
            usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Self::Timestamps(Timestamps { queries, resolved, period })
    }

    /// What it is, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Timestamps(_) => "timestamp queries of the GPU",
            Self::Wall => "wall clock from submission to completion",
        }
    }

    /// Whether this sort of work can be timed. Dispatches always can.
    pub fn times_transfers(&self, gpu: &Gpu) -> bool {
        matches!(self, Self::Wall) || gpu.device.features().contains(Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    }

    /// Seconds that the work takes, this many times in a row; `None` where the clock stood still.
    pub async fn seconds(&self, gpu: &Gpu, work: &Work, calls: u32) -> Result<Option<f64>, Failure> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let stamps = match self {
            Self::Timestamps(stamps) => Some(stamps),
            Self::Wall => None,
        };
        match work {
            Work::Pass(record) => {
                let timestamp_writes = stamps.map(|stamps| ComputePassTimestampWrites {
                    query_set: &stamps.queries,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                });
                let mut pass =
                    encoder.begin_compute_pass(&ComputePassDescriptor { label: Some("bench"), timestamp_writes });
                (0..calls).for_each(|_| record(&mut pass));
            }
            Work::Transfer(record) => {
                stamps.inspect(|stamps| encoder.write_timestamp(&stamps.queries, 0));
                (0..calls).for_each(|_| record(&mut encoder));
                stamps.inspect(|stamps| encoder.write_timestamp(&stamps.queries, 1));
            }
        }
        let Some(Timestamps { queries, resolved, period }) = stamps else {
            let commands = encoder.finish();
            let start = Instant::now();
            gpu.queue.submit([commands]);
            wait(gpu)?;
            return Ok(Some(start.elapsed().as_secs_f64()));
        };
        encoder.resolve_query_set(queries, 0..2, resolved, 0);
        gpu.queue.submit([encoder.finish()]);
        let ticks: Vec<u64> = gpu.read(resolved).await?;
        Ok(between(&ticks, *period))
    }
}

/// Seconds from the first tick to the second; `None` where none passed, or the clock ran backwards.
fn between(ticks: &[u64], period: f64) -> Option<f64> {
    let &[before, after] = ticks else { return None };
    let passed = after.checked_sub(before).filter(|passed| *passed > 0)?;
    Some(passed as f64 * period / 1e9)
}

fn wait(gpu: &Gpu) -> Result<(), Failure> {
    let failed = |error: wgpu::PollError| Failure::new(format!("{} was not done: {error}", gpu.name()));
    gpu.device.poll(wgpu::PollType::wait_indefinitely()).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn a_clock_that_stands_still_gives_no_time() {
        assert_eq!(between(&[5, 1005], 2.0), Some(2e-6));
        assert_eq!(between(&[5, 5], 2.0), None);
        assert_eq!(between(&[6, 5], 2.0), None);
    }
}
