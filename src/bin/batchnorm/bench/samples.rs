//! Reports for tests, made up.

use super::layers::Layer;
use super::op::Op;
use super::quartiles::Quartiles;
use super::report::{Medians, Report, Row, Timed, Traffic};
use super::variant::Variant;
use crate::adapters::Identity;

/// A report of one adapter with these rows.
pub fn report(rows: Vec<Row>) -> Report {
    let [name, backend, driver, kind] = ["Card", "vulkan", "driver 1", "discrete GPU"].map(str::to_owned);
    Report {
        adapter: Identity { name, backend, driver, kind },
        layout: "channels first (NCHW)".to_owned(),
        clock: "timestamp queries of the GPU".to_owned(),
        remarks: vec![],
        runs: 15,
        rows,
        skipped: vec![],
        totals: vec![],
        comparison: None,
    }
}

/// A row whose operation and copy take these milliseconds, with interquartile ranges of this fraction of them.
pub fn row(shape: &[usize], op: Op, [time, copy]: [f64; 2], spread: f64) -> Row {
    let timed = |ms: f64| {
        let [first, third] = [-0.5, 0.5].map(|side| ms * (1.0 + side * spread));
        Timed { calls: 1, ms: Quartiles { first, median: ms, third } }
    };
    let variant = Variant::Plain;
    let bytes = op.streamed_bytes(variant, &Layer { shape: shape.to_vec(), count: 1 });
    Row {
        shape: shape.to_vec(),
        layers: 1,
        op,
        variant,
        time: timed(time),
        copy_kernel: "vec4, 64 lanes".to_owned(),
        copy_time: timed(copy),
        transfer_time: None,
        traffic: Traffic::new(bytes, bytes, Medians { op: time, copy, transfer: None }),
    }
}
