//! The handwritten digits that the program carries; `data/README.md` says where they are from.

use std::io::Read;

use flate2::read::GzDecoder;

const FILE: &[u8] = include_bytes!("../../../../data/digits.csv.gz");

/// Pixels of an image, and of a side of it.
pub const PIXELS: usize = 64;
pub const SIDE: usize = 8;

/// The largest grey value.
pub const WHITE: f32 = 16.0;

/// Images of digits.
pub struct Digits {
    /// Grey values, `PIXELS` an image, row by row.
    pub pixels: Vec<f32>,
    /// Which digit each image shows.
    pub labels: Vec<u8>,
}

impl Digits {
    /// Unpacks the file.
    ///
    /// # Errors
    /// What is wrong with it, if the program was built with another.
    pub fn load() -> Result<Self, String> {
        let mut text = String::new();
        GzDecoder::new(FILE).read_to_string(&mut text).map_err(|error| format!("data/digits.csv.gz: {error}"))?;
        let mut digits = Self { pixels: vec![], labels: vec![] };
        for (number, line) in (1..).zip(text.lines()) {
            let values: Option<Vec<u8>> = line.split(',').map(|value| value.trim().parse().ok()).collect();
            match values.as_deref().and_then(<[u8]>::split_last) {
                Some((label, pixels)) if pixels.len() == PIXELS => {
                    digits.pixels.extend(pixels.iter().map(|&grey| f32::from(grey)));
                    digits.labels.push(*label);
                }
                _ => return Err(format!("data/digits.csv.gz: line {number} is not {PIXELS} grey values and a label")),
            }
        }
        Ok(digits)
    }

    /// The first image of this digit.
    pub fn first(&self, digit: u8) -> Option<usize> {
        self.labels.iter().position(|label| *label == digit)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digits, PIXELS, WHITE};

    #[test]
    fn all_digits_are_there() {
        let digits = Digits::load().unwrap();
        assert_eq!(digits.labels.len(), 1797);
        assert_eq!(digits.pixels.len(), 1797 * PIXELS);
        assert!(digits.pixels.iter().all(|grey| (0.0..=WHITE).contains(grey)));
        assert!((0..10).all(|digit| digits.first(digit).is_some()));
    }
}
