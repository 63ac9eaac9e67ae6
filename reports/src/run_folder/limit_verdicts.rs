//! What limits did against what an independent model of them predicted, and whether that shows anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::number::grouped;

/// What an independent model of the limits predicted for each request, against what the server did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitVerdicts {
    /// Requests of which the model had to say that no limit refuses them, and none did.
    pub rightly_admitted: u64,
    /// All others.
    pub all: VerdictCounts,
    /// The same by the limit that refused or should have, by its name; only limits that did or should have.
    pub by_limit: BTreeMap<String, VerdictCounts>,
}

/// The fewest undecidable verdicts that say anything about the model.
const UNDECIDABLE_MIN: u64 = 20;

impl LimitVerdicts {
    /// Requests that were judged, the undecidable ones among them.
    pub fn judged(&self) -> u64 {
        self.rightly_admitted + self.all.judged()
    }

    /// Whether the model could decide less than half of all: what limits did is not shown then. A few undecidable ones don't count.
    pub fn is_mostly_undecidable(&self) -> bool {
        is_most(self.all.undecidable, self.judged())
    }

    /// What the model could mostly not decide, in a sentence: all of it, or what hung on some limits; none if there is no such thing.
    pub fn undecided(&self) -> Option<String> {
        let [undecidable, judged] = [self.all.undecidable, self.judged()].map(grouped);
        if self.is_mostly_undecidable() {
            return Some(format!(
                "{undecidable} of {judged} verdicts of limits could not be judged: what limits did is not shown."
            ));
        }
        let undecided = self.by_limit.iter().filter(|(_, of)| is_most(of.undecidable, of.judged()));
        let undecided =
            undecided.map(|(name, of)| format!("{name} ({} of {})", grouped(of.undecidable), grouped(of.judged())));
        let undecided: Vec<String> = undecided.collect();
        let all = undecided.join(", ");
        (!undecided.is_empty()).then(|| format!("Most verdicts that hung on these limits could not be judged: {all}."))
    }
}

fn is_most(undecidable: u64, judged: u64) -> bool {
    undecidable >= UNDECIDABLE_MIN && undecidable > judged / 2
}

impl VerdictCounts {
    fn judged(self) -> u64 {
        self.rightly_refused + self.falsely_refused + self.falsely_admitted + self.undecidable
    }
}

/// Requests by whether a limit refused them, and should have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictCounts {
    pub rightly_refused: u64,
    /// Refused, and no limit had to, or another one; or with a wrong time to wait.
    pub falsely_refused: u64,
    pub falsely_admitted: u64,
    /// The model can't know.
    pub undecidable: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(rightly_admitted: u64, rightly_refused: u64, undecidable: u64) -> LimitVerdicts {
        let all = VerdictCounts { rightly_refused, undecidable, ..VerdictCounts::default() };
        LimitVerdicts { rightly_admitted, all, by_limit: [("a".to_owned(), all)].into() }
    }

    /// Goal: half of the verdicts is the bound, and a few of a short run are nothing to speak of.
    #[test]
    fn more_than_half_of_twenty_or_more_is_most() {
        for (admitted, refused, undecidable, is_most) in [
            (1_029, 0, 2_854, true),
            (1_000, 427, 1_427, false),
            (1_000, 427, 1_428, true),
            (0, 0, 19, false),
            (0, 0, 20, true),
            (0, 0, 0, false),
        ] {
            let verdicts = verdicts(admitted, refused, undecidable);
            assert_eq!(verdicts.is_mostly_undecidable(), is_most, "{verdicts:?}");
        }
        let said = verdicts(1_029, 0, 2_854).undecided().unwrap();
        assert_eq!(
            said,
            "2\u{a0}854 of 3\u{a0}883 verdicts of limits could not be judged: what limits did is not shown."
        );
        let said = verdicts(9_000, 40, 60).undecided().unwrap();
        assert_eq!(said, "Most verdicts that hung on these limits could not be judged: a (60 of 100).");
        assert_eq!(verdicts(9_000, 60, 60).undecided(), None);
    }
}
