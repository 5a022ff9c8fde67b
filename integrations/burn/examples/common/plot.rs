//! Pictures of training, in SVG. The same numbers give the same bytes.

use std::error::Error;
use std::fs;
use std::iter::{once, repeat};
use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::{RangedCoordf64, RangedCoordusize};
use plotters::prelude::*;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordusize, RangedCoordf64>>;
type Drawn<T = ()> = Result<T, Box<dyn Error>>;

/// A color a series: of M. Okabe and K. Ito's set, which color-blind people tell apart as well.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const INK: RGBColor = RGBColor(64, 64, 64);
const GRID: RGBColor = RGBColor(225, 225, 225);

// Sizes in pixels. plotters rounds to whole ones, so a picture is drawn at about twice the size that it is shown at.
const WIDTH: u32 = 1280;
const HEADING: u32 = 120;
const ROW: u32 = 400;
const TITLE: u32 = 38;
const TEXT: u32 = 28;
const Y_LABELS: u32 = 96;
const X_LABELS: u32 = 72;
const MARGIN: u32 = 16;
const SAMPLE: u32 = 48;
const LINE: u32 = 4;

/// The bands of a panel: what lies in it, the places of its bounds in [`Quantiles`], and how dark it is.
const BANDS: [(&str, usize, usize, f64); 2] = [("5 to 95 %", 0, 4, 0.2), ("25 to 75 %", 1, 3, 0.4)];

/// The shares of values below each of a layer's [`Quantiles`].
pub const SHARES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// A distribution in five numbers: [`SHARES`] of the values are below them.
pub type Quantiles = [f64; 5];

/// The distributions of a network's layers, in [`distributions`] a row of panels.
pub struct Network {
    pub name: String,
    pub layers: Vec<Layer>,
}

/// The distributions of a layer's values by epoch, the first before training. Numbers that are not finite are left
/// out.
pub struct Layer {
    pub name: String,
    pub epochs: Vec<Quantiles>,
}

/// The quantiles of values, of which there is at least one; between two values they are interpolated.
pub fn quantiles(values: &[f32]) -> Quantiles {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    SHARES.map(|share| {
        let place = share * (sorted.len() - 1) as f64;
        let (below, above) = (f64::from(sorted[place.floor() as usize]), f64::from(sorted[place.ceil() as usize]));
        below + (above - below) * place.fract()
    })
}

/// Draws curves by epoch into a file. A curve's first value is epoch 1; values that are not finite are left out.
pub fn curves(path: &Path, title: &str, y_label: &str, curves: &[(&str, Vec<f64>)]) -> Drawn {
    Ok(fs::write(path, curves_svg(title, y_label, curves)?)?)
}

fn curves_svg(title: &str, y_label: &str, curves: &[(&str, Vec<f64>)]) -> Drawn<String> {
    let colored = || curves.iter().zip(COLORS.iter().cycle());
    svg(720, |root| {
        let keys: Vec<_> = colored().map(|((name, _), color)| (*name, color.mix(1.0), LINE)).collect();
        let area = heading(root, title, &keys)?;
        let last = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let values = range(curves.iter().flat_map(|(_, values)| values));
        let mut chart = axes(&area, 1..last.max(2), values, Y_LABELS + TEXT, y_label)?;
        for ((_, values), color) in colored() {
            let points = (1..).zip(values.iter().copied()).filter(|(_, value)| value.is_finite());
            chart.draw_series(LineSeries::new(points, color.stroke_width(LINE)))?;
        }
        Ok(())
    })
}

/// Draws how the distributions of layers' values move in training into a file: a row of panels a network, a panel a
/// layer, as figure 1 of S. Ioffe and C. Szegedy, "Batch Normalization", 2015, does. The panels of a row share one
/// axis.
pub fn distributions(path: &Path, title: &str, networks: &[Network]) -> Drawn {
    Ok(fs::write(path, distributions_svg(title, networks)?)?)
}

fn distributions_svg(title: &str, networks: &[Network]) -> Drawn<String> {
    svg(HEADING + ROW * networks.len() as u32, |root| {
        let band = |(name, _, _, alpha): (_, _, _, f64)| (name, INK.mix(alpha), TEXT);
        let keys: Vec<_> = [("median", INK.mix(1.0), LINE)].into_iter().chain(BANDS.map(band)).collect();
        let rows = heading(root, title, &keys)?.split_evenly((networks.len(), 1));
        for ((network, row), color) in networks.iter().zip(&rows).zip(COLORS.iter().cycle()) {
            network_row(row, network, *color)?;
        }
        Ok(())
    })
}

fn network_row(area: &Area, network: &Network, color: RGBColor) -> Drawn {
    let (name, area) = area.split_vertically(TEXT + MARGIN);
    label(&name, &network.name, MARGIN, TEXT, color)?;
    let values = range(network.layers.iter().flat_map(|layer| layer.epochs.iter().flatten()));
    // The first panel is wider by the labels of the axis, which it bears for all.
    let width = (WIDTH - Y_LABELS) / network.layers.len().max(1) as u32;
    let bounds: Vec<_> = (1..network.layers.len() as u32).map(|panel| Y_LABELS + panel * width).collect();
    let panels = area.split_by_breakpoints(&bounds, &[] as &[u32]);
    let labels = once(Y_LABELS).chain(repeat(0));
    for ((layer, panel), labels) in network.layers.iter().zip(&panels).zip(labels) {
        let (name, panel) = panel.split_vertically(TEXT);
        label(&name, &layer.name, labels + MARGIN, TEXT, INK)?;
        layer_panel(axes(&panel, 0..layer.epochs.len().max(2) - 1, values.clone(), labels, "")?, layer, color)?;
    }
    Ok(())
}

fn layer_panel(mut chart: Chart, layer: &Layer, color: RGBColor) -> Drawn {
    let line = |share: usize| {
        let values = layer.epochs.iter().map(move |quantiles| quantiles[share]);
        values.enumerate().filter(|(_, value)| value.is_finite())
    };
    for (_, lower, upper, alpha) in BANDS {
        let outline: Vec<_> = line(lower).chain(line(upper).rev()).collect();
        chart.draw_series([Polygon::new(outline, color.mix(alpha))])?;
    }
    chart.draw_series(LineSeries::new(line(2), color.stroke_width(LINE)))?;
    Ok(())
}

/// A picture of this height, as text. Its fonts are the viewer's: plotters only guesses how wide a text will be.
fn svg(height: u32, draw: impl FnOnce(&Area) -> Drawn) -> Drawn<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    draw(&root)?;
    root.present()?;
    drop(root);
    Ok(svg)
}

/// Writes the title and, below it, what each color means: a name, its color, and the height of its sample. Returns
/// the area that is left.
fn heading<'a>(area: &Area<'a>, title: &str, keys: &[(&str, RGBAColor, u32)]) -> Drawn<Area<'a>> {
    let (heading, below) = area.split_vertically(HEADING);
    let (upper, lower) = heading.split_vertically(TITLE + MARGIN);
    label(&upper, title, MARGIN, TITLE, INK)?;
    let mut left = MARGIN;
    for &(name, color, height) in keys {
        let (top, right) = (((MARGIN * 2 + TEXT - height) / 2) as i32, (left + SAMPLE) as i32);
        lower.draw(&Rectangle::new([(left as i32, top), (right, top + height as i32)], color.filled()))?;
        left += SAMPLE + MARGIN;
        label(&lower, name, left, TEXT, INK)?;
        left += lower.estimate_text_size(name, &style(TEXT, INK))?.0 + 2 * MARGIN;
    }
    Ok(below)
}

/// Writes a text near the top of an area.
fn label(area: &Area, text: &str, left: u32, size: u32, color: RGBColor) -> Drawn {
    Ok(area.draw_text(text, &style(size, color), (left as i32, MARGIN as i32))?)
}

fn style(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Axes of epochs and values over a grid.
fn axes<'a>(
    area: &Area<'a>,
    epochs: Range<usize>,
    values: Range<f64>,
    y_labels: u32,
    y_label: &str,
) -> Drawn<Chart<'a>> {
    let mut chart = ChartBuilder::on(area)
        .margin(MARGIN)
        .margin_right(2 * MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, y_labels)
        .set_label_area_size(LabelAreaPosition::Bottom, X_LABELS)
        .build_cartesian_2d(epochs, values)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(style(TEXT, INK))
        .x_labels(6)
        .y_labels(6)
        .x_desc("epoch")
        .y_desc(y_label)
        .draw()?;
    Ok(chart)
}

/// The range of the finite ones of these values, with a twentieth of it free on both sides.
fn range<'a>(values: impl Iterator<Item = &'a f64>) -> Range<f64> {
    let finite = values.copied().filter(|value| value.is_finite());
    let (least, most) = finite.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    if least > most {
        return 0.0..1.0;
    }
    let free = if least < most { (most - least) / 20.0 } else { 1.0 };
    least - free..most + free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learning() -> [(&'static str, Vec<f64>); 2] {
        let curve = |speed: f64| (0..20).map(|epoch| (-speed * f64::from(epoch)).exp() * 2.3 + 0.05).collect();
        [("with batch norm", curve(0.5)), ("without batch norm", curve(0.2))]
    }

    fn networks() -> [Network; 2] {
        let layer = |number: usize, drift: f64| {
            let at =
                |epoch: usize| SHARES.map(|share| (share - 0.5) * 3.0 + (drift * epoch as f64).sin() * number as f64);
            Layer { name: format!("layer {number}"), epochs: (0..=20).map(at).collect() }
        };
        let network =
            |name: &str, drift| Network { name: name.into(), layers: (1..=3).map(|n| layer(n, drift)).collect() };
        [network("with batch norm", 0.02), network("without batch norm", 0.3)]
    }

    /// Whether each element that begins also ends, and no coordinate is NaN.
    fn is_well_formed(svg: &str) -> bool {
        let begun = svg.matches('<').count() - svg.matches("</").count();
        let ended = svg.matches("/>").count() + svg.matches("</").count();
        svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && begun == ended && !svg.contains("NaN")
    }

    #[test]
    fn pictures_are_well_formed_and_small() {
        for svg in [curves_svg("Loss", "loss", &learning()), distributions_svg("Layers", &networks())] {
            let svg = svg.unwrap();
            assert!(is_well_formed(&svg), "{svg}");
            assert!(svg.len() < 32_000, "{} bytes", svg.len());
            assert!(svg.contains("without batch norm"));
        }
    }

    #[test]
    fn the_same_numbers_give_the_same_bytes() {
        let draw = || (curves_svg("", "", &learning()).unwrap(), distributions_svg("", &networks()).unwrap());
        assert_eq!(draw(), draw());
    }

    #[test]
    fn nothing_and_infinity_can_be_drawn() {
        assert!(is_well_formed(&curves_svg("Loss", "loss", &[]).unwrap()));
        assert!(is_well_formed(&curves_svg("Loss", "loss", &[("a", vec![f64::NAN, 1.0, f64::INFINITY])]).unwrap()));
        let layer = |epochs| Layer { name: String::new(), epochs };
        let layers = vec![layer(vec![]), layer(vec![[f64::NAN; 5], SHARES])];
        let networks = [Network { name: String::new(), layers }, Network { name: String::new(), layers: vec![] }];
        assert!(is_well_formed(&distributions_svg("Layers", &networks).unwrap()));
        assert!(is_well_formed(&distributions_svg("Layers", &[]).unwrap()));
    }

    #[test]
    fn quantiles_of_a_ramp_are_its_shares() {
        let ramp: Vec<f32> = (0..=100).rev().map(|value| value as f32).collect();
        assert_eq!(quantiles(&ramp).map(f64::round), [5.0, 25.0, 50.0, 75.0, 95.0]);
        assert_eq!(quantiles(&[0.0, 1.0])[2], 0.5);
    }
}
