//! What was measured on one adapter, as numbers, and as a table.

use serde::{Deserialize, Serialize};
use wgpu_batchnorm::Layout;

use super::compare::Comparison;
use super::layers;
use super::op::Op;
use super::quartiles::Quartiles;
use super::variant::Variant;
use crate::adapters::Identity;
use crate::say::say;
use crate::table::Table;

/// One adapter's part of `bench`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub adapter: Identity,
    pub layout: String,
    /// What all times of this report are taken by, those of the copies too.
    pub clock: String,
    /// What there is to say about the clock, if anything.
    pub remarks: Vec<String>,
    pub runs: usize,
    pub rows: Vec<Row>,
    pub skipped: Vec<Skipped>,
    /// Of the whole network, where the shapes are one's: every layer once.
    pub totals: Vec<Total>,
    /// What changed since an earlier run, where there is one to compare with.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// One operation on one shape.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// N, C and the spatial sizes, whatever the layout.
    pub shape: Vec<usize>,
    /// How many layers have this shape.
    pub layers: usize,
    pub op: Op,
    #[serde(default)]
    pub variant: Variant,
    pub time: Timed,
    /// The kernel that copied as many bytes in the least time.
    pub copy_kernel: String,
    pub copy_time: Timed,
    /// `copy_buffer_to_buffer` of as many bytes, where the clock can time it.
    pub transfer_time: Option<Timed>,
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// How long one call takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timed {
    /// Calls in a row that one run times together.
    pub calls: u32,
    /// Milliseconds a call.
    pub ms: Quartiles,
}

/// What an operation moves, and how fast.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes that it reads and writes where nothing stays on the chip; see `Op::passes`.
    pub streamed_bytes: u64,
    /// Bytes that its plan reads and writes.
    pub plan_bytes: u64,
    /// The least bytes, by the median time.
    pub gb_per_second: f64,
    /// The same bytes, by the median time of the best copy kernel.
    pub copy_gb_per_second: f64,
    /// The one by the other: 1 is as fast as a copy.
    pub fraction_of_copy: f64,
    /// The same for `copy_buffer_to_buffer`.
    pub fraction_of_transfer: Option<f64>,
}

/// Medians in milliseconds.
pub struct Medians {
    pub op: f64,
    pub copy: f64,
    pub transfer: Option<f64>,
}

impl Traffic {
    pub fn new(streamed_bytes: u64, plan_bytes: u64, ms: Medians) -> Self {
        let speed = |ms: f64| streamed_bytes as f64 / ms / 1e6;
        Self {
            streamed_bytes,
            plan_bytes,
            gb_per_second: speed(ms.op),
            copy_gb_per_second: speed(ms.copy),
            fraction_of_copy: ms.copy / ms.op,
            fraction_of_transfer: ms.transfer.map(|transfer| transfer / ms.op),
        }
    }

    const HEADERS: [&str; 6] = ["MB", "plan MB", "GB/s", "copy GB/s", "of copy", "of transfer"];

    fn cells(&self) -> [String; 6] {
        [
            three(self.streamed_bytes as f64 / 1e6),
            three(self.plan_bytes as f64 / 1e6),
            three(self.gb_per_second),
            three(self.copy_gb_per_second),
            percent(self.fraction_of_copy),
            self.fraction_of_transfer.map_or("–".to_owned(), percent),
        ]
    }
}

/// What could not be timed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skipped {
    pub shape: Vec<usize>,
    /// None for all.
    pub op: Option<Op>,
    #[serde(default)]
    pub variant: Variant,
    pub reason: String,
}

/// One operation on every layer of a network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Total {
    pub op: Op,
    #[serde(default)]
    pub variant: Variant,
    pub layers: usize,
    /// The sum of the medians.
    pub ms: f64,
    #[serde(flatten)]
    pub traffic: Traffic,
}

impl Total {
    /// Of these rows, `None` where there is none of this operation and variant.
    pub fn of(op: Op, variant: Variant, rows: &[Row]) -> Option<Self> {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.op == op && row.variant == variant).collect();
        let sum = |of: fn(&Row) -> Option<Timed>| -> Option<f64> {
            rows.iter().map(|row| Some(row.layers as f64 * of(row)?.ms.median)).sum()
        };
        let bytes = |of: fn(&Traffic) -> u64| rows.iter().map(|row| row.layers as u64 * of(&row.traffic)).sum();
        let layers = rows.iter().map(|row| row.layers).sum();
        let ms = sum(|row| Some(row.time)).filter(|_| layers > 0)?;
        let medians = Medians { op: ms, copy: sum(|row| Some(row.copy_time))?, transfer: sum(|row| row.transfer_time) };
        let traffic = Traffic::new(bytes(|t| t.streamed_bytes), bytes(|t| t.plan_bytes), medians);
        Some(Self { op, variant, layers, ms, traffic })
    }
}

impl Report {
    /// Prints what adapter and clock it was.
    pub fn print_head(&self) {
        let Self { adapter, clock, layout, runs, .. } = self;
        say!("{adapter}\n{layout}; medians of {runs} runs by {clock}, operations and copies alike");
        for remark in &self.remarks {
            say!("{remark}");
        }
    }

    /// Prints the tables.
    pub fn print(&self) {
        let mut table = Table::new(
            ["shape", "op", "variant", "ms", "quartiles"].into_iter().chain(Traffic::HEADERS).chain(["best copy"]),
        );
        for Row { shape, op, variant, time, copy_kernel, traffic, .. } in &self.rows {
            let Quartiles { first, median, third } = time.ms;
            let quartiles = format!("{} to {}", three(first), three(third));
            let [op, variant] = [op.name(), variant.name()].map(str::to_owned);
            let cells = [layers::name(shape), op, variant, three(median), quartiles];
            table.row(cells.into_iter().chain(traffic.cells()).chain([copy_kernel.clone()]));
        }
        table.print();
        for Skipped { shape, op, variant, reason } in &self.skipped {
            let op = op.map_or("all", Op::name);
            say!("skipped: {} {op} {}: {reason}", layers::name(shape), variant.name());
        }
    }

    /// Prints the sums over a network.
    pub fn print_totals(&self, network: &str) {
        let mut table = Table::new([network, "variant", "layers", "ms"].into_iter().chain(Traffic::HEADERS));
        for Total { op, variant, layers, ms, traffic } in &self.totals {
            let cells = [op.name().to_owned(), variant.name().to_owned(), layers.to_string(), three(*ms)];
            table.row(cells.into_iter().chain(traffic.cells()));
        }
        table.print();
    }
}

/// What the columns mean.
pub fn print_legend() {
    let multiples =
        |variant: Variant| -> String { Op::ALL.map(|op| format!("{} {}N", op.name(), op.passes(variant))).join(", ") };
    say!(
        "MB: what an operation moves where it streams, N being the bytes of x:\n\
         {};\n\
         of add-relu {}, and its signs, a bit a value. A mask is a byte a position.\n\
         plan MB: what its plan reads and writes; less than MB where values stay on the chip, and then\n\
         the fractions may exceed 100 %.\n\
         GB/s: MB by the median. copy GB/s: the fastest of several kernels that copy, for as many bytes\n\
         (half read, half written). of copy: the one by the other. of transfer: the same for\n\
         copy_buffer_to_buffer, for which drivers have means that no kernel has.",
        multiples(Variant::Plain),
        multiples(Variant::AddRelu)
    );
}

/// Three or more digits that count: 0.00123, 0.123, 12.3, 1234.
pub fn three(number: f64) -> String {
    let decimals = match number.abs() {
        0.0 => 0,
        size => (2 - size.log10().floor() as i32).clamp(0, 6) as usize,
    };
    format!("{number:.decimals$}")
}

/// A fraction as `78 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.0} %", 100.0 * fraction)
}

/// A layout's name in the field.
pub fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::ChannelsFirst => "channels first (NCHW)",
        Layout::ChannelsLast => "channels last (NHWC)",
    }
}

#[cfg(test)]
mod tests {
    use super::three;

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 0.001234, 0.5, 12.34, 999.9, 12345.6].map(three);
        assert_eq!(shown, ["0", "0.00123", "0.500", "12.3", "1000", "12346"]);
    }
}
