//! The elements that a plot takes, as text.

use std::fmt::Write;

use super::labels::Place;
use super::marks::mark;
use crate::bench::op::Op;

/// A document being written.
pub struct Svg(String);

impl Svg {
    /// A white page of this size.
    pub fn new([width, height]: [f64; 2]) -> Self {
        let mut svg = Self(String::new());
        svg.open(&format!(
            r##"svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="13" fill="#222""##
        ));
        svg.element(&format!(r##"rect width="{width}" height="{height}" fill="#fff""##));
        svg
    }

    /// Starts an element that holds others.
    pub fn open(&mut self, tag: &str) {
        self.push(format_args!("<{tag}>"));
    }

    /// Ends it.
    pub fn close(&mut self, name: &str) {
        self.push(format_args!("</{name}>"));
    }

    /// The whole document.
    pub fn finish(mut self) -> String {
        self.close("svg");
        self.0
    }

    /// A thick line through these points.
    pub fn line(&mut self, points: &[Place]) {
        self.polyline(points, r##"stroke="#222" stroke-width="2" stroke-linejoin="round""##);
    }

    /// A faint one, between marks that belong together.
    pub fn thread(&mut self, points: &[Place]) {
        self.polyline(points, r##"stroke="#bbb" stroke-width="0.8""##);
    }

    fn polyline(&mut self, points: &[Place], stroke: &str) {
        let points: Vec<String> = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.element(&format!(r#"polyline points="{points}" fill="none" {stroke}"#));
    }

    /// A thin one, to measure by.
    pub fn rule(&mut self, [[x0, y0], [x1, y1]]: [Place; 2]) {
        self.element(&format!(r##"path d="M{x0:.1},{y0:.1}L{x1:.1},{y1:.1}" stroke="#ddd""##));
    }

    /// The mark of an operation, with what it says under the pointer.
    pub fn mark(&mut self, op: Op, [x, y]: Place, tooltip: &str) {
        let (colour, path) = mark(op);
        let tooltip = escape(tooltip);
        self.push(format_args!(
            r##"<path d="{path}" transform="translate({x:.1},{y:.1})" fill="{colour}" stroke="#fff" stroke-width="0.8"><title>{tooltip}</title></path>"##
        ));
    }

    /// Text that starts, ends or has its middle at a place.
    pub fn text(&mut self, [x, y]: Place, anchor: &str, text: &str) {
        self.styled(&format!(r#"x="{x:.1}" y="{y:.1}" text-anchor="{anchor}""#), text);
    }

    /// The same, as a remark.
    pub fn small_text(&mut self, [x, y]: Place, anchor: &str, text: &str) {
        self.styled(&format!(r##"x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="11" fill="#444""##), text);
    }

    /// Text from the left, as a heading.
    pub fn title(&mut self, [x, y]: Place, text: &str) {
        self.styled(&format!(r#"x="{x:.1}" y="{y:.1}" font-size="17" font-weight="bold""#), text);
    }

    /// Text around a place, from below to above.
    pub fn upright_text(&mut self, [x, y]: Place, text: &str) {
        self.styled(&format!(r#"transform="translate({x:.1},{y:.1}) rotate(-90)" text-anchor="middle""#), text);
    }

    fn styled(&mut self, attributes: &str, text: &str) {
        let text = escape(text);
        self.push(format_args!("<text {attributes}>{text}</text>"));
    }

    fn element(&mut self, tag: &str) {
        self.push(format_args!("<{tag}/>"));
    }

    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Text as XML has it. Control characters have no place there at all.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c if c.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
pub mod check {
    /// Whether tags nest, attributes are quoted, and no character stands for itself that may not.
    pub fn well_formed(document: &str) -> Result<(), String> {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = document;
        while let Some((text, after)) = rest.split_once('<') {
            if text.contains('>') {
                return Err(format!("text {text:?}"));
            }
            let (tag, after) = after.split_once('>').ok_or("a tag that does not end")?;
            let quotes: Vec<&str> = tag.split('"').collect();
            let outside: String = quotes.iter().step_by(2).copied().collect();
            if quotes.len().is_multiple_of(2) || outside.contains(['&', '\'']) {
                return Err(format!("tag <{tag}>"));
            }
            match tag.strip_prefix('/') {
                Some(name) if open.pop() == Some(name) => {}
                Some(_) => return Err(format!("<{tag}> ends what did not begin")),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split(' ').next().unwrap_or(tag)),
            }
            rest = after;
        }
        let entities = document.match_indices('&').all(|(at, _)| {
            ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;"].iter().any(|entity| document[at..].starts_with(entity))
        });
        let legal = !document.contains(|c: char| c.is_control() && c != '\n');
        if open.is_empty() && entities && legal { Ok(()) } else { Err(format!("open: {open:?}")) }
    }

    #[test]
    fn what_is_not_well_formed_is_seen() {
        assert_eq!(well_formed(r#"<a><b c="1"/>&lt;</a>"#), Ok(()));
        for wrong in ["<a>", "<a></b>", "<a>&</a>", "<a b='1'/>", r#"<a b="1/>"#, "<a>></a>", "<a>\u{1}</a>", "<a"] {
            assert!(well_formed(wrong).is_err(), "{wrong}");
        }
    }
}
