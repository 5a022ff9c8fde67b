//! What changed between two runs: slower, faster, or no more than noise.

use serde::Serialize;

use super::layers;
use super::op::Op;
use super::report::{Report, Row, percent, three};
use super::variant::Variant;
use crate::say::say;
use crate::table::Table;

/// Smaller differences come from where code and buffers happen to lie, however steady each run is.
const LEAST_NOISE: f64 = 0.05;

/// One run beside an earlier one of the same adapter and layout.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub rows: Vec<Change>,
    /// What the earlier run has and this one lacks.
    pub only_before: Vec<Subject>,
    /// What this run has and the earlier one lacks.
    pub only_now: Vec<Subject>,
}

/// What a row is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subject {
    pub shape: Vec<usize>,
    pub op: Op,
    pub variant: Variant,
}

/// One operation on one shape, then and now.
///
/// What is compared is r = t/c, its median time in units of the copy that its own run timed beside it: a machine
/// that is slower today is so for both. All four medians wander, each by about its interquartile range, and
/// errors of factors that do not depend on one another add up as squares:
/// noise = √Σ((third − first)/median)² over t and c of both runs, and at least 5 %. It is slower where
/// ln(r now / r before) > noise, and faster where it is < −noise. For times that are normally distributed this is
/// 4 standard errors at 15 runs and 3 at 9, so that chance alone puts no false alarm into a long table. What the
/// quartiles of one run cannot show, such as another clock rate for the whole of the next, can: a finding is one
/// where it comes again.
///
/// An operation that stayed as it was while the copy got faster is slower by this rule: it has fallen back behind
/// the limit.
#[derive(Debug, Serialize)]
pub struct Change {
    #[serde(flatten)]
    pub subject: Subject,
    pub before_ms: f64,
    pub now_ms: f64,
    pub before_of_copy: f64,
    pub now_of_copy: f64,
    /// r now / r before: 1.25 takes a quarter longer beside a copy.
    pub factor: f64,
    /// exp(noise): factors from its inverse up to it say nothing.
    pub noise: f64,
    pub verdict: Verdict,
}

/// What a factor means beside the noise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Slower,
    Faster,
    WithinNoise,
}

impl Subject {
    fn of(row: &Row) -> Self {
        Self { shape: row.shape.clone(), op: row.op, variant: row.variant }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", layers::name(&self.shape), self.op.name(), self.variant.name())
    }
}

impl Change {
    fn of(before: &Row, now: &Row) -> Self {
        let beside_copy = |row: &Row| row.time.ms.median / row.copy_time.ms.median;
        let factor = beside_copy(now) / beside_copy(before);
        let spreads = [before.time, before.copy_time, now.time, now.copy_time].map(|time| time.ms.spread());
        let noise = spreads.iter().map(|spread| spread * spread).sum::<f64>().sqrt().max(LEAST_NOISE);
        let verdict = match factor.ln() {
            log if log > noise => Verdict::Slower,
            log if log < -noise => Verdict::Faster,
            _ => Verdict::WithinNoise,
        };
        Self {
            subject: Subject::of(now),
            before_ms: before.time.ms.median,
            now_ms: now.time.ms.median,
            before_of_copy: before.traffic.fraction_of_copy,
            now_of_copy: now.traffic.fraction_of_copy,
            factor,
            noise: noise.exp(),
            verdict,
        }
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Slower => "SLOWER",
            Self::Faster => "faster",
            Self::WithinNoise => "within the noise",
        }
    }
}

impl Comparison {
    /// The rows of one run beside those of an earlier one, or of none.
    ///
    /// # Errors
    /// Times by different clocks.
    pub fn of(before: Option<&Report>, now: &Report) -> Result<Self, String> {
        if let Some(before) = before.filter(|before| before.clock != now.clock) {
            return Err(format!(
                "{} was timed by {} then, by {} now, and these do not compare; record the earlier version again",
                now.adapter.name, before.clock, now.clock
            ));
        }
        let before = before.map_or(&[][..], |before| &before.rows);
        let find = |rows: &'_ [Row], row: &Row| rows.iter().position(|other| Subject::of(other) == Subject::of(row));
        let pairs = now.rows.iter().map(|row| (find(before, row), row));
        let rows = pairs.clone().filter_map(|(place, row)| Some(Change::of(&before[place?], row))).collect();
        let only_now = pairs.filter(|(place, _)| place.is_none()).map(|(_, row)| Subject::of(row)).collect();
        let gone = before.iter().filter(|row| find(&now.rows, row).is_none());
        Ok(Self { rows, only_before: gone.map(Subject::of).collect(), only_now })
    }

    /// Whether some row is so.
    pub fn has(&self, verdict: Verdict) -> bool {
        self.count(verdict) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|change| change.verdict == verdict).count()
    }

    /// Prints every row, what has no partner, and how many are how.
    pub fn print(&self) {
        let headers =
            ["shape", "op", "variant", "ms before", "ms now", "of copy before", "now", "factor", "noise", "verdict"];
        let mut table = Table::new(headers);
        for Change { subject, before_ms, now_ms, before_of_copy, now_of_copy, factor, noise, verdict } in &self.rows {
            table.row([
                layers::name(&subject.shape),
                subject.op.name().to_owned(),
                subject.variant.name().to_owned(),
                three(*before_ms),
                three(*now_ms),
                percent(*before_of_copy),
                percent(*now_of_copy),
                format!("{factor:.2}"),
                format!("{noise:.2}"),
                verdict.name().to_owned(),
            ]);
        }
        table.print();
        for subject in &self.only_before {
            say!("only before: {subject}");
        }
        for subject in &self.only_now {
            say!("only now: {subject}");
        }
        let [slower, faster, same] =
            [Verdict::Slower, Verdict::Faster, Verdict::WithinNoise].map(|verdict| self.count(verdict));
        say!("\n{slower} slower, {faster} faster, {same} within the noise");
    }
}

/// What the columns mean.
pub fn print_legend() {
    say!(
        "factor: the time in units of the copy's, now by before, so that a machine that is slower today is no\n\
         finding. noise: up to this factor, and down to its inverse, the quartiles of both runs explain it."
    );
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Verdict};
    use crate::bench::op::Op;
    use crate::bench::report::{Report, Row};
    use crate::bench::samples::{report, row};
    use crate::bench::variant::Variant;

    fn compared(before: &Report, now: &Report) -> Comparison {
        Comparison::of(Some(before), now).unwrap()
    }

    fn verdict(before: [f64; 3], now: [f64; 3]) -> Verdict {
        let of = |[op, copy, spread]: [f64; 3]| report(vec![row(&[4, 8, 2, 2], Op::Infer, [op, copy], spread)]);
        compared(&of(before), &of(now)).rows[0].verdict
    }

    #[test]
    fn a_real_slowdown_is_found_and_a_real_gain_too() {
        assert_eq!(verdict([1.0, 0.8, 0.02], [1.2, 0.8, 0.02]), Verdict::Slower);
        assert_eq!(verdict([1.2, 0.8, 0.02], [1.0, 0.8, 0.02]), Verdict::Faster);
    }

    #[test]
    fn noise_is_neither() {
        // The same slowdown, of times that wander by a tenth each.
        assert_eq!(verdict([1.0, 0.8, 0.1], [1.2, 0.8, 0.1]), Verdict::WithinNoise);
        // One noisy run is enough to say nothing.
        assert_eq!(verdict([1.0, 0.8, 0.02], [1.2, 0.8, 0.2]), Verdict::WithinNoise);
        // However steady, 4 % are no finding; 6 % are.
        assert_eq!(verdict([1.0, 0.8, 0.0], [1.04, 0.8, 0.0]), Verdict::WithinNoise);
        assert_eq!(verdict([1.0, 0.8, 0.0], [1.06, 0.8, 0.0]), Verdict::Slower);
    }

    #[test]
    fn a_slower_machine_is_no_slowdown() {
        assert_eq!(verdict([1.0, 0.8, 0.02], [3.0, 2.4, 0.02]), Verdict::WithinNoise);
        // And a faster one hides none.
        assert_eq!(verdict([1.0, 0.8, 0.02], [1.0, 0.6, 0.02]), Verdict::Slower);
    }

    #[test]
    fn rows_on_one_side_are_named() {
        let [infer, bwd] = [Op::Infer, Op::Bwd].map(|op| row(&[4, 8, 2, 2], op, [1.0, 0.8], 0.02));
        let other = row(&[4, 9, 2, 2], Op::Infer, [1.0, 0.8], 0.02);
        let half = Row { variant: Variant::F16, ..infer.clone() };
        let comparison = compared(&report(vec![infer.clone(), bwd, half]), &report(vec![other, infer]));
        let named = |subjects: &[super::Subject]| subjects.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(comparison.rows.len(), 1);
        assert_eq!(named(&comparison.only_before), ["4×8×2×2 bwd plain", "4×8×2×2 infer f16"]);
        assert_eq!(named(&comparison.only_now), ["4×9×2×2 infer plain"]);
    }

    #[test]
    fn other_clocks_do_not_compare() {
        let now = report(vec![]);
        let before = Report { clock: "sundial".to_owned(), ..report(vec![]) };
        let error = Comparison::of(Some(&before), &now).err().unwrap();
        assert!(error.contains("sundial") && error.contains("record"), "{error}");
    }
}
