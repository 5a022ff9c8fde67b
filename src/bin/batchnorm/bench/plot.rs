//! `bench --plot`: bytes and speed of every row, below the line that copies draw, as SVG.

mod axis;
mod labels;
mod marks;
mod svg;

use std::path::Path;

use wgpu_batchnorm::checkpoint;

use super::layers;
use super::op::Op;
use super::report::{Report, Row, percent, three};
use super::variant::Variant;
use axis::Axis;
use labels::{Labels, Place};
use svg::Svg;

/// A panel is one adapter's with one variant; they stand below each other, with the same axes, so that they compare by eye.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 24.0;
const TOP: f64 = 92.0;
const BOTTOM: f64 = HEIGHT - 56.0;

/// Draws reports to a file.
///
/// # Errors
/// There is nothing to draw, or the file cannot be written.
pub fn write(path: &Path, reports: &[Report]) -> Result<(), String> {
    let svg = draw(reports)
        .ok_or_else(|| format!("{} is not written: nothing was timed, so there is nothing to draw", path.display()))?;
    checkpoint::replace([(path, svg)]).map_err(|error| error.to_string())
}

/// The document; `None` without a row.
fn draw(reports: &[Report]) -> Option<String> {
    let panels: Vec<Panel<'_>> = reports.iter().flat_map(Panel::of).collect();
    let rows = || panels.iter().flat_map(|panel| panel.rows.iter().copied());
    let x = Axis::over(rows().map(bytes), [LEFT, RIGHT])?;
    let y =
        Axis::over(rows().flat_map(|row| [row.traffic.gb_per_second, row.traffic.copy_gb_per_second]), [BOTTOM, TOP])?;
    let mut svg = Svg::new([WIDTH, HEIGHT * panels.len() as f64]);
    for (number, panel) in panels.iter().enumerate() {
        svg.open(&format!(r#"g transform="translate(0,{})""#, HEIGHT * number as f64));
        panel.draw(&mut svg, [&x, &y]);
        svg.close("g");
    }
    Some(svg.finish())
}

/// What one adapter does with one variant.
struct Panel<'a> {
    report: &'a Report,
    variant: Variant,
    rows: Vec<&'a Row>,
}

impl<'a> Panel<'a> {
    /// Those of a report, in the order of its rows.
    fn of(report: &'a Report) -> Vec<Self> {
        let mut panels: Vec<Self> = Vec::new();
        for row in &report.rows {
            match panels.iter_mut().find(|panel| panel.variant == row.variant) {
                Some(panel) => panel.rows.push(row),
                None => panels.push(Self { report, variant: row.variant, rows: vec![row] }),
            }
        }
        panels
    }

    fn draw(&self, svg: &mut Svg, axes: [&Axis; 2]) {
        self.head(svg);
        grid(svg, axes);
        let mut labels = Labels::within([LEFT, TOP, RIGHT, BOTTOM]);
        let limit: Vec<Place> = limit(&self.rows).into_iter().map(|(bytes, speed)| at(axes, bytes, speed)).collect();
        svg.line(&limit);
        labels.keep_off_line(&limit);
        let place = |row: &Row| at(axes, bytes(row), row.traffic.gb_per_second);
        let shapes = self.rows.chunk_by(|a, b| a.shape == b.shape);
        for rows in shapes.clone() {
            let mut places: Vec<Place> = rows.iter().map(|row| place(row)).collect();
            places.sort_by(|a, b| a[0].total_cmp(&b[0]));
            svg.thread(&places);
        }
        for row in &self.rows {
            labels.keep_off_mark(place(row));
            svg.mark(row.op, place(row), &tooltip(row));
        }
        for rows in shapes {
            let name = layers::name(&rows[0].shape);
            // Beside the first of its marks that has room.
            if let Some((anchor, place)) = rows.iter().find_map(|row| labels.beside(place(row), &name)) {
                svg.small_text(place, anchor, &name);
            }
        }
    }

    /// What and where it was, and what the marks mean.
    fn head(&self, svg: &mut Svg) {
        let Report { adapter, layout, clock, runs, .. } = self.report;
        svg.title([LEFT, 28.0], &format!("{}: {}", adapter.name, self.variant.name()));
        let measured = format!("{}, {}; {layout}; medians of {runs} runs by {clock}", adapter.backend, adapter.driver);
        svg.text([LEFT, 48.0], "start", &measured);
        let middle = 70.0;
        let mut x = LEFT;
        svg.line(&[[x, middle], [x + 28.0, middle]]);
        svg.text([x + 34.0, middle + 4.0], "start", "best copy kernel: the limit");
        x += 240.0;
        for op in Op::ALL.into_iter().filter(|op| self.rows.iter().any(|row| row.op == *op)) {
            svg.mark(op, [x, middle], op.name());
            svg.text([x + 11.0, middle + 4.0], "start", op.name());
            x += 36.0 + 7.5 * op.name().len() as f64;
        }
    }
}

fn grid(svg: &mut Svg, [x, y]: [&Axis; 2]) {
    for value in x.ticks() {
        svg.rule([[x.at(value), TOP], [x.at(value), BOTTOM]]);
        svg.text([x.at(value), BOTTOM + 18.0], "middle", &size(value));
    }
    for value in y.ticks() {
        svg.rule([[LEFT, y.at(value)], [RIGHT, y.at(value)]]);
        svg.text([LEFT - 8.0, y.at(value) + 4.0], "end", &value.to_string());
    }
    let middle = |from: f64, to: f64| (from + to) / 2.0;
    svg.text([middle(LEFT, RIGHT), BOTTOM + 42.0], "middle", "bytes moved");
    svg.upright_text([20.0, middle(TOP, BOTTOM)], "GB/s");
}

/// The speed of the best copy by bytes. Where several shapes move as much, each was timed beside a copy of its
/// own: the fastest is the limit.
fn limit(rows: &[&Row]) -> Vec<(f64, f64)> {
    let mut copies: Vec<(f64, f64)> = rows.iter().map(|row| (bytes(row), row.traffic.copy_gb_per_second)).collect();
    copies.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    copies.dedup_by_key(|(bytes, _)| *bytes);
    copies
}

fn at([x, y]: [&Axis; 2], bytes: f64, speed: f64) -> Place {
    [x.at(bytes), y.at(speed)]
}

fn bytes(row: &Row) -> f64 {
    row.traffic.streamed_bytes as f64
}

fn tooltip(row: &Row) -> String {
    let (name, ms) = (layers::name(&row.shape), three(row.time.ms.median));
    format!("{name} {}: {ms} ms, {} of the copy", row.op.name(), percent(row.traffic.fraction_of_copy))
}

/// A round number of bytes in decimal units, as GB/s are.
fn size(bytes: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes >= *unit).unwrap_or((1.0, "B"));
    format!("{} {name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::{draw, limit, size};
    use crate::bench::op::Op;
    use crate::bench::plot::svg::check::well_formed;
    use crate::bench::report::{Report, Row};
    use crate::bench::samples::{report, row};
    use crate::bench::variant::Variant;

    fn sample() -> Report {
        let shapes = [[4, 64, 56, 56], [4, 512, 7, 7], [64, 48, 1, 1]];
        let of_shape = |shape: [usize; 4]| Op::ALL.map(|op| row(&shape, op, [0.3, 0.2], 0.02));
        report(shapes.into_iter().flat_map(of_shape).collect())
    }

    #[test]
    fn every_row_is_there_with_what_it_is() {
        let report = sample();
        let svg = draw(&[sample(), sample()]).unwrap();
        for row in &report.rows {
            let name = crate::bench::layers::name(&row.shape);
            let said = format!("<title>{name} {}: 0.300 ms, 67 % of the copy</title>", row.op.name());
            assert_eq!(svg.matches(&said).count(), 2, "{said}");
        }
        // Besides, the marks of two legends.
        assert_eq!(svg.matches("<title>").count(), 2 * (report.rows.len() + Op::ALL.len()));
    }

    #[test]
    fn shapes_are_named_once_a_panel() {
        let svg = draw(&[sample()]).unwrap();
        for name in ["4×64×56×56", "4×512×7×7", "64×48×1×1"] {
            assert_eq!(svg.matches(&format!(">{name}</text>")).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_variant_has_a_panel() {
        let mut both = sample();
        let halves = sample().rows.into_iter().map(|row| Row { variant: Variant::F16, ..row });
        both.rows.extend(halves);
        let svg = draw(&[both]).unwrap();
        assert_eq!(["Card: plain", "Card: f16"].map(|title| svg.matches(title).count()), [1, 1]);
        assert_eq!(svg.matches(">4×512×7×7</text>").count(), 2);
    }

    #[test]
    fn any_name_gives_a_document() {
        let mut report = sample();
        report.adapter.name = "A&B <\"GPU\"> '1'\u{1}".to_owned();
        let svg = draw(&[report]).unwrap();
        assert_eq!(well_formed(&svg), Ok(()));
        assert!(svg.contains("A&amp;B &lt;&quot;GPU&quot;&gt; &apos;1&apos;\u{fffd}"));
    }

    #[test]
    fn nothing_timed_is_nothing_drawn() {
        assert_eq!(draw(&[report(vec![])]), None);
    }

    #[test]
    fn the_limit_is_the_fastest_copy_of_as_many_bytes() {
        let rows = [0.4, 0.2, 0.3].map(|copy| row(&[4, 8, 2, 2], Op::Infer, [1.0, copy], 0.0));
        let best = rows[1].traffic.copy_gb_per_second;
        assert_eq!(limit(&rows.each_ref()), [(1024.0, best)]);
    }

    #[test]
    fn sizes_are_round() {
        assert_eq!([500.0, 2e4, 5e8, 1e12].map(size), ["500 B", "20 kB", "500 MB", "1 TB"]);
    }
}
