//! Judges what came back by what a case says should.

use serde::Serialize;
use wgpu_batchnorm::{Descriptor, reference};

use super::exercise::Output;
use super::file::{Case, FileError};
use crate::json::Number;

/// What is wrong with one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    pub tensor: String,
    /// Where it is farthest out, in the case's memory order.
    pub index: usize,
    pub got: Number,
    pub expected: Number,
    pub tolerance: Number,
    /// How many of its values are out.
    pub values_out: usize,
}

/// The ONNX backend tests' own tolerance.
const OFFICIAL_RELATIVE: f64 = 1e-3;
const OFFICIAL_ABSOLUTE: f64 = 1e-7;

/// Every tensor that is out; none where all is right.
pub fn judge(case: &Case, outputs: &[Output]) -> Result<Vec<Mismatch>, FileError> {
    let mut mismatches = Vec::new();
    for (name, tensor) in case.tensors("out.") {
        let values: usize = tensor.shape.iter().product();
        let missing = Mismatch::missing(name, values);
        match outputs.iter().find(|output| output.name == name) {
            Some(output) if output.values.len() == values => {
                mismatches.extend(judge_tensor(case, output, &tensor.shape)?)
            }
            _ => mismatches.push(missing),
        }
    }
    Ok(mismatches)
}

impl Mismatch {
    fn missing(name: &str, values: usize) -> Self {
        let nothing = Number(f64::NAN);
        Self {
            tensor: format!("{name} (not returned)"),
            index: 0,
            got: nothing,
            expected: nothing,
            tolerance: nothing,
            values_out: values,
        }
    }
}

fn judge_tensor(case: &Case, output: &Output, shape: &[usize]) -> Result<Vec<Mismatch>, FileError> {
    let Output { name, values: got } = output;
    let required = |prefix: &str| case.f64(prefix)?.ok_or_else(|| case.error(format!("lacks {prefix}")));
    let (expected, tolerances) = (required(&format!("out.{name}"))?, required(&tolerance_of(case, name))?);
    // What PyTorch returns in f32 is as good an answer where f32 has an edge.
    let alternative = case.f32(&format!("t32.{name}"))?.filter(|values| values.len() == got.len());
    let exact = case.text("nonfinite_rule")? == "exact";
    let channels: Vec<usize> = match shape.len() {
        1 => (0..got.len()).collect(),
        _ => reference::channels_of(&Descriptor::new(shape, case.layout())).collect(),
    };
    let tolerance = |index: usize| {
        let channel = channels.get(index).and_then(|channel| tolerances.get(*channel));
        channel.copied().ok_or_else(|| case.error(format!("has too few values in tol.{name}")))
    };
    let mut worst = Worst::new(name);
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let tolerance = tolerance(index)?;
        let also = alternative.map(|values| f64::from(values[index]));
        let right = [Some(*expected), also].into_iter().flatten().any(|wanted| accepts(*got, wanted, tolerance, exact));
        worst.see(index, *got, *expected, tolerance, right);
    }
    let mut official = Worst::new(&format!("{name} (as shipped)"));
    for (index, (got, expected)) in
        got.iter().zip(case.f32(&format!("official.{name}"))?.unwrap_or_default()).enumerate()
    {
        let expected = f64::from(*expected);
        let tolerance = OFFICIAL_ABSOLUTE + OFFICIAL_RELATIVE * expected.abs();
        official.see(index, *got, expected, tolerance, accepts(*got, expected, tolerance, true));
    }
    Ok([worst.mismatch, official.mismatch].into_iter().filter(|mismatch| mismatch.values_out > 0).collect())
}

/// Where the tolerances of a tensor are: of `y.2` and `dgamma_local.0`, those of `y` and `dgamma` where it has
/// none of its own.
fn tolerance_of(case: &Case, name: &str) -> String {
    let own = format!("tol.{name}");
    let stem = name.split('.').next().unwrap_or(name);
    if case.has(&own) { own } else { format!("tol.{}", stem.strip_suffix("_local").unwrap_or(stem)) }
}

/// Whether a value is right. Where f32 has no such number, its infinity is; where the answer is NaN or
/// infinite, the same is, or by the laxer rule anything that is not finite.
fn accepts(got: f32, expected: f64, tolerance: f64, exact: bool) -> bool {
    let narrowed = expected as f32;
    if expected.is_finite() {
        return (f64::from(got) - expected).abs() <= tolerance || narrowed.is_infinite() && got == narrowed;
    }
    if exact { got.is_nan() && expected.is_nan() || f64::from(got) == expected } else { !got.is_finite() }
}

/// The value of a tensor that is farthest out.
struct Worst {
    mismatch: Mismatch,
    error: f64,
}

impl Worst {
    fn new(name: &str) -> Self {
        Self { mismatch: Mismatch { tensor: name.to_owned(), ..Mismatch::missing(name, 0) }, error: -1.0 }
    }

    fn see(&mut self, index: usize, got: f32, expected: f64, tolerance: f64, right: bool) {
        if right {
            return;
        }
        let error = (f64::from(got) - expected).abs() / tolerance;
        let error = if error.is_nan() { f64::INFINITY } else { error };
        self.mismatch.values_out += 1;
        if error > self.error {
            self.error = error;
            let [got, expected, tolerance] = [got.into(), expected, tolerance].map(Number);
            self.mismatch = Mismatch { index, got, expected, tolerance, ..self.mismatch.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::{Values, tests::case};
    use super::*;

    const METADATA: [(&str, &str); 5] = [
        ("format", "bn-case/1"),
        ("op", "eval_forward"),
        ("grade", "core"),
        ("layout", "NC"),
        ("nonfinite_rule", "exact"),
    ];

    fn judged(got: &[f32], tensors: &[(&str, &[usize], Values)]) -> Vec<Mismatch> {
        judge(&case(&METADATA, tensors), &[Output { name: "y".to_owned(), values: got.to_vec() }]).unwrap()
    }

    fn y(values: &[f64], tolerances: &[f64]) -> Vec<(&'static str, &'static [usize], Values)> {
        vec![("out.y", &[2, 2], Values::F64(values.to_vec())), ("tol.y", &[2], Values::F64(tolerances.to_vec()))]
    }

    #[test]
    fn each_channel_has_its_tolerance() {
        let answer = y(&[1.0, 2.0, 3.0, 4.0], &[0.5, 0.01]);
        assert_eq!(judged(&[1.4, 2.0, 2.6, 4.0], &answer), []);
        let found = judged(&[1.4, 2.0, 3.0, 4.4], &answer);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].tensor.as_str(), found[0].index, found[0].values_out), ("y", 3, 1));
        assert_eq!(
            (found[0].got, found[0].expected, found[0].tolerance),
            (Number(f64::from(4.4_f32)), Number(4.0), Number(0.01))
        );
    }

    #[test]
    fn a_corrupted_answer_fails() {
        let answer = y(&[1.0, 2.0, 3.0, 4.0], &[1e-6, 1e-6]);
        for (index, bad) in [(0, 1.1), (1, f32::NAN), (2, f32::INFINITY), (3, -4.0)] {
            let mut got = [1.0, 2.0, 3.0, 4.0];
            got[index] = bad;
            assert_eq!(judged(&got, &answer).iter().map(|m| m.index).collect::<Vec<_>>(), [index]);
        }
        assert_eq!(judged(&[1.0, 2.0, 3.0], &answer)[0].tensor, "y (not returned)");
    }

    #[test]
    fn what_is_not_finite_has_two_rules() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (got, expected, exact, any) in [
            (f32::NAN, nan, true, true),
            (f32::INFINITY, inf, true, true),
            (f32::NEG_INFINITY, inf, false, true),
            (f32::INFINITY, nan, false, true),
            (f32::NAN, -inf, false, true),
            (1.0, nan, false, false),
            (f32::MAX, inf, false, false),
            (f32::NAN, 1.0, false, false),
            // Beyond f32: the infinity of that sign, and no other.
            (f32::INFINITY, 1e39, true, true),
            (f32::NEG_INFINITY, 1e39, false, false),
        ] {
            assert_eq!(accepts(got, expected, 1.0, true), exact, "{got} for {expected}, exact");
            assert_eq!(accepts(got, expected, 1.0, false), any, "{got} for {expected}, any");
        }
    }

    #[test]
    fn torchs_own_f32_is_accepted_too() {
        let mut tensors = y(&[1.0, f64::NAN, 3.0, 4.0], &[1e-6, 1e-6]);
        assert_eq!(judged(&[1.0, 2.0, 3.0, 4.0], &tensors).len(), 1);
        tensors.push(("t32.y", &[2, 2], Values::F32(vec![1.0, 2.0, 3.0, f32::NAN])));
        assert_eq!(judged(&[1.0, 2.0, 3.0, 4.0], &tensors), []);
        assert_eq!(judged(&[1.0, f32::NAN, 3.0, f32::NAN], &tensors), []);
        assert_eq!(judged(&[1.0, 2.1, 3.0, 4.0], &tensors).len(), 1);
    }

    #[test]
    fn official_outputs_are_judged_besides() {
        let mut tensors = y(&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0]);
        tensors.push(("official.y", &[2, 2], Values::F32(vec![1.0, 2.0, 3.0, 4.0])));
        assert_eq!(judged(&[1.0, 2.0, 3.002, 4.0], &tensors), []);
        assert_eq!(judged(&[1.0, 2.0, 3.004, 4.0], &tensors)[0].tensor, "y (as shipped)");
    }

    #[test]
    fn a_case_without_a_tolerance_is_a_bad_file() {
        let mut tensors = y(&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0]);
        let output = [Output { name: "y".to_owned(), values: vec![1.0; 4] }];
        tensors[1] = ("tol.y", &[1], Values::F64(vec![1.0]));
        assert!(
            judge(&case(&METADATA, &tensors), &output).unwrap_err().to_string().contains("too few values in tol.y")
        );
        tensors.pop();
        assert!(judge(&case(&METADATA, &tensors), &output).unwrap_err().to_string().contains("lacks tol.y"));
    }
}
