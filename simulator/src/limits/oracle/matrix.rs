//! The confusion matrix: what the oracle predicted against what the server did.

use std::collections::BTreeMap;

use ks_reports::run_folder::{LimitVerdicts, VerdictCounts};

use super::values::LimitName;

/// How one request's prediction and its answer compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comparison {
    /// No limit had to refuse it, and none did.
    RightlyAdmitted,
    /// A limit had to refuse it, and did, with the right wait.
    RightlyRefused,
    /// Refused, and no limit had to, or another one; or with a wait that is not the limit's.
    FalselyRefused,
    /// A limit had to refuse it, and it was let through.
    FalselyAdmitted,
    /// The oracle can't know.
    Undecidable,
}

/// Counts of requests by [`Comparison`], and by the limit that refused or should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matrix {
    all: BTreeMap<Comparison, u64>,
    by_limit: BTreeMap<(LimitName, Comparison), u64>,
    admitted: u64,
}

impl Matrix {
    pub(super) fn count(&mut self, limit: Option<LimitName>, comparison: Comparison) {
        if comparison == Comparison::RightlyAdmitted {
            self.admitted += 1; // nearly all
            return;
        }
        *self.all.entry(comparison).or_default() += 1;
        if let Some(limit) = limit {
            *self.by_limit.entry((limit, comparison)).or_default() += 1;
        }
    }

    /// One that was undecidable at first compares so.
    pub(super) fn decided(&mut self, limit: LimitName, comparison: Comparison) {
        let undecidable =
            [self.all.get_mut(&Comparison::Undecidable), self.by_limit.get_mut(&(limit, Comparison::Undecidable))];
        undecidable.into_iter().flatten().for_each(|count| *count = count.saturating_sub(1));
        self.count(Some(limit), comparison);
    }

    /// Requests that compare so.
    pub fn all(&self, comparison: Comparison) -> u64 {
        if comparison == Comparison::RightlyAdmitted {
            return self.admitted;
        }
        self.all.get(&comparison).copied().unwrap_or(0)
    }

    /// Of these, those of one limit; 0 for [`Comparison::RightlyAdmitted`], which is by all of them.
    pub fn of(&self, limit: LimitName, comparison: Comparison) -> u64 {
        self.by_limit.get(&(limit, comparison)).copied().unwrap_or(0)
    }
}

impl From<&Matrix> for LimitVerdicts {
    fn from(matrix: &Matrix) -> Self {
        let mut verdicts = Self { rightly_admitted: matrix.admitted, ..Self::default() };
        matrix.all.iter().for_each(|(comparison, count)| *place(&mut verdicts.all, *comparison) += count);
        for ((limit, comparison), count) in &matrix.by_limit {
            *place(verdicts.by_limit.entry(limit.as_str().to_owned()).or_default(), *comparison) += count;
        }
        verdicts
    }
}

/// Where a comparison is counted. One that is rightly admitted has a place of its own, and does not come here.
fn place(counts: &mut VerdictCounts, comparison: Comparison) -> &mut u64 {
    match comparison {
        Comparison::RightlyAdmitted | Comparison::RightlyRefused => &mut counts.rightly_refused,
        Comparison::FalselyRefused => &mut counts.falsely_refused,
        Comparison::FalselyAdmitted => &mut counts.falsely_admitted,
        Comparison::Undecidable => &mut counts.undecidable,
    }
}
