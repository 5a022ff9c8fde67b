//! Images of 8×8 values as characters.

use super::digits::SIDE;
use crate::say::say;

/// From the least value to the greatest.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// Two characters a pixel, as tall as they are wide together.
const PIXEL_WIDTH: usize = 2;

/// Eight rows of characters under a caption, with room around for the next picture.
pub struct Picture {
    lines: Vec<String>,
}

impl Picture {
    /// Values from `low` (dark) to `high` (light); what lies outside is shown as the nearer of the two.
    pub fn new(caption: &str, values: &[f32], [low, high]: [f32; 2]) -> Self {
        let shade = |value: &f32| {
            let place = (value - low) / (high - low) * SHADES.len() as f32;
            SHADES[(place.max(0.0) as usize).min(SHADES.len() - 1)].to_string().repeat(PIXEL_WIDTH)
        };
        let rule = "─".repeat(SIDE * PIXEL_WIDTH);
        let mut lines = vec![caption.to_owned(), format!("┌{rule}┐")];
        lines.extend(values.chunks(SIDE).map(|row| format!("│{}│", row.iter().map(shade).collect::<String>())));
        lines.push(format!("└{rule}┘"));
        Self { lines }
    }
}

/// Prints pictures side by side.
pub fn print(pictures: &[Picture]) {
    let height = pictures.iter().map(|picture| picture.lines.len()).max().unwrap_or(0);
    for line in 0..height {
        let parts = pictures.iter().map(|picture| picture.lines.get(line).map_or("", String::as_str));
        let row: String = parts.map(|part| format!("{part:<width$}  ", width = SIDE * PIXEL_WIDTH + 2)).collect();
        say!("  {}", row.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::Picture;

    #[test]
    fn shades_go_from_low_to_high() {
        let row = [-1.0, 0.0, 0.3, 0.5, 0.7, 0.9, 1.0, 2.0];
        let picture = Picture::new("row", &row, [0.0, 1.0]);
        assert_eq!(picture.lines[2], "│    ░░▒▒▓▓██████│");
    }

    #[test]
    fn what_is_no_number_is_dark() {
        let picture = Picture::new("row", &[f32::NAN; 8], [0.0, 1.0]);
        assert_eq!(picture.lines[2], format!("│{}│", " ".repeat(16)));
    }
}
