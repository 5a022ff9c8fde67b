//! Handwritten digits: `data/digits.csv.gz` of the repository, 1,797 images of 8 × 8 pixels.

use super::data::{DataError, Images, Split, every_fifth_of_each_label, read_text, repository_file};

const SIDE: usize = 8;

/// The largest grey value of the file.
const WHITE: f32 = 16.0;

/// The digits: 1,442 to train with and 355 held back, every fifth of each label.
pub fn load() -> Result<Split<Images>, DataError> {
    let path = repository_file("../../data/digits.csv.gz");
    let text = read_text(&path)?;
    let empty = Images { width: SIDE, height: SIDE, ..Images::default() };
    let mut digits = Split { train: empty.clone(), held_back: empty };
    let mut held_back = every_fifth_of_each_label();
    for (number, line) in (1..).zip(text.lines()) {
        let values: Option<Vec<u8>> = line.split(',').map(|value| value.parse().ok()).collect();
        match values.as_deref().and_then(<[u8]>::split_last) {
            Some((&label, grey)) if grey.len() == SIDE * SIDE => {
                let part = digits.part(held_back(label));
                part.pixels.extend(grey.iter().map(|&grey| f32::from(grey) / WHITE));
                part.labels.push(label);
            }
            _ => return Err(DataError::new(path, format!("line {number} is not 64 grey values and a label"))),
        }
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_there() {
        let digits = load().unwrap();
        assert_eq!((digits.train.labels.len(), digits.held_back.labels.len()), (1442, 355));
        for part in [&digits.train, &digits.held_back] {
            assert_eq!(part.pixels.len(), part.labels.len() * 64);
            assert!(part.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        }
    }

    #[test]
    fn the_first_digit_is_a_zero() {
        let digits = load().unwrap().train;
        assert_eq!(digits.image(0)[..8], [0.0, 0.0, 5.0, 13.0, 9.0, 1.0, 0.0, 0.0].map(|grey| grey / 16.0));
        assert_eq!(digits.labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn each_digit_is_a_tenth_of_what_is_held_back() {
        let labels = load().unwrap().held_back.labels;
        for digit in 0..10 {
            let count = labels.iter().filter(|label| **label == digit).count();
            assert!((34..=37).contains(&count), "{count} of {digit}");
        }
    }
}
