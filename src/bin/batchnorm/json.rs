//! JSON on standard output.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::Failure;
use crate::say::say;

/// Prints a document.
pub fn print(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new(format!("the report cannot be written as JSON: {error}")))?;
    say!("{text}");
    Ok(())
}

/// A number where JSON has it, else its name: `"NaN"`, `"inf"`, `"-inf"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f64(self.0) } else { serializer.collect_str(&self.0) }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn numbers_that_json_lacks_keep_their_names() {
        let json = serde_json::to_string(&[1.5, f64::NAN, f64::INFINITY, -f64::INFINITY].map(Number)).unwrap();
        assert_eq!(json, r#"[1.5,"NaN","inf","-inf"]"#);
    }
}
