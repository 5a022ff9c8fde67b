//! Tunings in a file: what `batchnorm tune` found out, by adapter and driver.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Tuning;

/// Numbers for adapters that were tuned, by [`Kernels::tuning_key`](crate::Kernels::tuning_key):
///
/// ```json
/// { "NVIDIA H100 (NVIDIA 570.1, vulkan)": { "order": "interleaved", "lanes": 256, "…": 0 } }
/// ```
///
/// `batchnorm tune --save FILE.json` writes such files, [`Kernels::tuned_from`](crate::Kernels::tuned_from) uses them.
/// Any number is safe: kernels are right by all of them, only not equally fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tunings(BTreeMap<String, Tuning>);

/// A file of tunings that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TuningsError {
    /// No tunings, or those of another version of this crate, which chose by other numbers.
    #[error(
        "these are no tunings of this version: {message}; run `batchnorm tune --save FILE.json` again, into a new file"
    )]
    Format {
        /// What is wrong, and where.
        message: String,
    },
}

impl Tunings {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`TuningsError::Format`], also where a tuning has a number too few or one that is unknown: then it comes from
    /// another version, and was the best by other rules.
    pub fn from_json(text: &str) -> Result<Self, TuningsError> {
        serde_json::from_str(text).map_err(|error| TuningsError::Format { message: error.to_string() })
    }

    /// The text of a file, adapters in the order of their keys.
    ///
    /// # Errors
    /// [`TuningsError::Format`] where JSON cannot say it, which numbers and names never cause.
    pub fn to_json(&self) -> Result<String, TuningsError> {
        serde_json::to_string_pretty(self).map_err(|error| TuningsError::Format { message: error.to_string() })
    }

    /// The tuning under this key.
    pub fn get(&self, key: &str) -> Option<Tuning> {
        self.0.get(key).copied()
    }

    /// Adds a tuning; the one that had its key before is gone.
    pub fn insert(&mut self, key: impl Into<String>, tuning: Tuning) {
        self.0.insert(key.into(), tuning);
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{Tuning, Tunings};
    use crate::descriptor::{Descriptor, Gradients, Layout};
    use crate::recipe::{Capabilities, Choice, Operation, Recipe};
    use crate::tuning::AdapterKind;

    fn two() -> Tunings {
        let mut tunings = Tunings::default();
        tunings.insert("card (driver 1, vulkan)", Tuning { lanes: 64, ..Tuning::GPU });
        tunings.insert("software", Tuning::CPU);
        tunings
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = two().to_json().unwrap();
        let again = Tunings::from_json(&text).unwrap();
        assert_eq!(again, two());
        assert_eq!(again.get("card (driver 1, vulkan)").map(|tuning| tuning.lanes), Some(64));
        assert_eq!(again.get("card (driver 2, vulkan)"), None);
        let other = text.replace("\"lanes\": 64", "\"lanes\": 32");
        assert_ne!(Tunings::from_json(&other).unwrap(), two());
    }

    #[test]
    fn what_is_inserted_again_replaces() {
        let mut tunings = two();
        tunings.insert("software", Tuning { lanes: 4, ..Tuning::CPU });
        assert_eq!(tunings.get("software").map(|tuning| tuning.lanes), Some(4));
        assert_eq!(tunings.get("card (driver 1, vulkan)"), two().get("card (driver 1, vulkan)"));
        assert_eq!(tunings.keys().count(), 2);
    }

    #[test]
    fn fields_of_other_versions_ask_to_tune_again() {
        let text = two().to_json().unwrap();
        let unknown = text.replacen("\"lanes\": 64,", "\"lanes\": 64, \"warps\": 2,", 1);
        let missing = text.replacen("\"lanes\": 64,", "", 1);
        for (text, named) in [(unknown, "warps"), (missing, "lanes"), ("[]".to_owned(), "map"), (String::new(), "EOF")]
        {
            let error = Tunings::from_json(&text).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains("batchnorm tune"), "{error}");
        }
    }

    /// Plans are made, or an error, by whatever numbers somebody writes into a file.
    #[test]
    fn any_number_is_safe() {
        let device = Capabilities::webgpu_default(AdapterKind::Gpu);
        let operations = [Operation::Inference, Operation::Forward, Operation::Backward(Gradients::ALL)];
        let text = serde_json::to_string(&Tuning::GPU).unwrap();
        let mut made = 0;
        for number in [0, 1, 3, 7, 1000, 1 << 31, u32::MAX] {
            let digits = |c: char| c.is_ascii_digit();
            let written: Vec<String> = text.split_inclusive(|c: char| !digits(c)).map(str::to_owned).collect();
            // Each run of digits in turn, and all of them.
            let numbers: Vec<usize> = (0..written.len()).filter(|i| written[*i].starts_with(digits)).collect();
            for changed in numbers.iter().map(|i| vec![*i]).chain([numbers.clone()]) {
                let mut parts = written.clone();
                changed.iter().for_each(|i| parts[*i] = format!("{number}{}", parts[*i].trim_start_matches(digits)));
                let tuning: Tuning = serde_json::from_str(&parts.concat()).unwrap();
                for (shape, layout) in [([3, 5, 300], Layout::ChannelsFirst), ([9, 200, 64], Layout::ChannelsLast)] {
                    let descriptor = Descriptor::new(shape, layout);
                    let recipe = |operation: &Operation| {
                        Recipe::new(&descriptor, *operation, &device, &tuning, &Choice::default()).is_ok()
                    };
                    made += operations.iter().filter(|operation| recipe(operation)).count();
                }
            }
        }
        assert!(made > 500, "{made}");
    }
}
