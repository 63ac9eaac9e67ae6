//! What a gate is worth before it is used: the chance that it lets bad firmware pass, and how many clean devices it takes.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    gate::{EXECUTED_MAX, PPM_PER_BP, Test, Verdict, verdict},
    scaled::Seen,
};

/// Bug rates that a power table shows, in basis points.
pub const BUG_RATES_BP: [u16; 6] = [10, 50, 100, 200, 500, 1_000];

/// All, in basis points.
const WHOLE_BP: u16 = 10_000;
/// Devices that are followed one by one at most, to keep a power table quick; more if the gate's minimum is above it.
const FOLLOWED_MAX: u32 = 20_000;
/// The same, whatever the gate's minimum.
const FOLLOWED_LIMIT: u32 = 100_000;
/// Certainty, where chances are followed: small enough that 10,000 times as much fits a u64.
const CERTAIN: u64 = 1 << 50;
/// Confidence of the proof that a raw gate is compared to, in basis points.
const PROOF_BP: u16 = 9_500;
/// The sentence speaks of firmware this many times as bad as the threshold, as far as the table has it.
const BAD_TIMES: u16 = 4;

/// The chance that a gate lets firmware pass that breaks a share of the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PowerRow {
    /// Share of devices that the firmware breaks, in basis points.
    pub bug_bp: u16,
    /// Chance that it passes, in basis points.
    pub promoted_bp: u16,
}

/// What a gate can prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Power {
    /// Devices that it is judged with.
    pub executed: u32,
    /// By rate of the bug.
    pub rows: Vec<PowerRow>,
    /// Devices without a failure that it takes until the gate passes; none if no number suffices.
    pub clean_needed: Option<u32>,
    /// The same in a sentence.
    pub sentence: String,
}

/// Chance, in basis points rounded to nearest, that a gate lets firmware pass which breaks `bug_bp` of devices: judged once
/// with `executed` devices (raw and clopper_pearson), or device by device up to that many (sprt; up to 20,000 or, if that is
/// more, to `min_executed`, and to 100,000 at most).
pub fn promoted_bp(test: Test, threshold_bp: u16, min_executed: u32, executed: u32, bug_bp: u16) -> u16 {
    let bug_bp = bug_bp.min(WHOLE_BP);
    if matches!(test, Test::Sprt { .. }) {
        let followed = executed.min(min_executed.clamp(FOLLOWED_MAX, FOLLOWED_LIMIT));
        return promoted_one_by_one_bp(test, min_executed, followed, bug_bp);
    }
    let executed = executed.min(EXECUTED_MAX);
    let passes = |failed: u32| verdict(test, threshold_bp, min_executed, failed, executed) == Verdict::Pass;
    // More failures never pass where fewer don't, and none pass above the threshold.
    let most = u64::from(executed) * u64::from(threshold_bp) / u64::from(WHOLE_BP);
    let not_passing = first(u32::try_from(most).unwrap_or(executed).min(executed), |failed| !passes(failed));
    not_passing
        .checked_sub(1)
        .map_or(0, |failed| Seen::new(failed, executed).at_most(u32::from(bug_bp) * PPM_PER_BP).to_bp())
}

/// The same for a sequential test, which does not look at the threshold: the chances of each count of failures are followed
/// from device to device; those at a bound leave.
fn promoted_one_by_one_bp(test: Test, min_executed: u32, executed: u32, bug_bp: u16) -> u16 {
    let bug = u64::from(bug_bp);
    let (well, whole) = (u64::from(WHOLE_BP) - bug, u64::from(WHOLE_BP));
    // `open` are the chances of `fewest`, `fewest + 1`... failures while nothing is decided.
    let (mut open, mut fewest) = (VecDeque::from([CERTAIN]), 0_u32);
    // Counts below `passing` pass, `failing` and above fail; with more devices both only grow.
    let (mut passing, mut failing, mut promoted) = (0, 0, 0);
    for devices in 1..=executed {
        let mut moved = 0;
        for chance in &mut open {
            // Both are cut off, or chances too small to matter would be carried along for good.
            let stays = *chance * well / whole + moved;
            moved = *chance * bug / whole;
            *chance = stays;
        }
        open.extend((moved > 0).then_some(moved));
        let of = |failed: u32| verdict(test, 0, 0, failed, devices);
        while passing <= devices && of(passing) == Verdict::Pass {
            passing += 1;
        }
        while failing <= devices && of(failing) != Verdict::Fail {
            failing += 1;
        }
        open.truncate(usize::try_from(failing.saturating_sub(fewest)).unwrap_or(usize::MAX));
        while let Some(chance) = open.front().copied() {
            let passes = fewest < passing && devices >= min_executed;
            if !passes && chance > 0 {
                break;
            }
            promoted += chance;
            open.pop_front();
            fewest += 1;
        }
        if open.is_empty() {
            break;
        }
    }
    u16::try_from((promoted * whole + CERTAIN / 2) / CERTAIN).unwrap_or(WHOLE_BP)
}

/// Devices without a failure that it takes until the gate passes; none if `most` do not suffice.
pub fn clean_needed(test: Test, threshold_bp: u16, min_executed: u32, most: u32) -> Option<u32> {
    let most = most.min(EXECUTED_MAX);
    let needed = first(most, |clean| verdict(test, threshold_bp, min_executed, 0, clean) == Verdict::Pass);
    (needed <= most).then_some(needed)
}

/// The power of a gate that is judged with `executed` devices.
pub fn power(test: Test, threshold_bp: u16, min_executed: u32, executed: u32) -> Power {
    let row =
        |bug_bp| PowerRow { bug_bp, promoted_bp: promoted_bp(test, threshold_bp, min_executed, executed, bug_bp) };
    let rows: Vec<PowerRow> = BUG_RATES_BP.into_iter().map(row).collect();
    let clean_needed = clean_needed(test, threshold_bp, min_executed, EXECUTED_MAX);
    let sentence = sentence(test, threshold_bp, executed, &rows, clean_needed);
    Power { executed, rows, clean_needed, sentence }
}

fn sentence(test: Test, threshold_bp: u16, executed: u32, rows: &[PowerRow], clean_needed: Option<u32>) -> String {
    let (threshold, bad_bp) = (percent(threshold_bp), threshold_bp.saturating_mul(BAD_TIMES));
    let shown_at = |confidence_bp: u16| format!("to show < {threshold} at {}", percent(confidence_bp));
    let (name, spoken_of_bp, needed, purpose) = match test {
        Test::Raw => {
            let proof = Test::ClopperPearson { confidence_bp: PROOF_BP };
            let needed = self::clean_needed(proof, threshold_bp, 1, EXECUTED_MAX);
            (format!("raw ≤ {threshold}"), bad_bp, needed, shown_at(PROOF_BP))
        }
        Test::ClopperPearson { confidence_bp } => {
            let name = format!("clopper_pearson < {threshold}");
            (name, bad_bp, clean_needed, shown_at(confidence_bp))
        }
        Test::Sprt { p0_bp, p1_bp, .. } => {
            let name = format!("sprt {} against {}", percent(p0_bp), percent(p1_bp));
            (name, p1_bp, clean_needed, "to pass".to_owned())
        }
    };
    let bad = rows.iter().find(|row| row.bug_bp >= spoken_of_bp).or(rows.last());
    let promoted = bad.map_or_else(String::new, |row| {
        let (bug, promoted) = (percent(row.bug_bp), percent(rounded_bp(row.promoted_bp)));
        format!("firmware that breaks {bug} of devices is promoted {promoted} of the time; ")
    });
    let needed = match needed {
        Some(1) => format!("1 clean device is needed {purpose}"),
        Some(needed) => format!("{needed} clean devices are needed {purpose}"),
        None => format!("no number of clean devices up to {EXECUTED_MAX} suffices {purpose}"),
    };
    format!("with {executed} device{} and {name}, {promoted}{needed}", if executed == 1 { "" } else { "s" })
}

/// The first number from 0 to `most` of which it is true, given that it stays true from there on; else one more than `most`.
fn first(most: u32, is_true: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, most + 1);
    while low < high {
        let middle = low.midpoint(high);
        if is_true(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// Whole percents, unless they would make a small chance none, or a large one certainty.
fn rounded_bp(bp: u16) -> u16 {
    if (100..=9_900).contains(&bp) { (bp + 50) / 100 * 100 } else { bp }
}

fn percent(bp: u16) -> String {
    match (bp / 100, bp % 100) {
        (whole, 0) => format!("{whole} %"),
        (whole, part) if part % 10 == 0 => format!("{whole}.{} %", part / 10),
        (whole, part) => format!("{whole}.{part:02} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROOF: Test = Test::ClopperPearson { confidence_bp: 9_500 };
    const WALD: Test = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 };

    #[test]
    fn fifty_canaries_promote_a_bug_of_two_percent_36_times_of_100() {
        assert_eq!(promoted_bp(Test::Raw, 50, 1, 50, 200), 3_642); // 0.98^50
        let power = power(Test::Raw, 50, 50, 50);
        assert_eq!(power.clean_needed, Some(50));
        assert_eq!(power.rows.iter().map(|row| row.bug_bp).collect::<Vec<_>>(), BUG_RATES_BP);
        assert_eq!(
            power.sentence,
            "with 50 devices and raw ≤ 0.5 %, firmware that breaks 2 % of devices is promoted 36 % of the time; \
             598 clean devices are needed to show < 0.5 % at 95 %"
        );
    }

    #[test]
    fn a_proof_lets_firmware_at_the_threshold_pass_as_often_as_alpha_says() {
        assert_eq!(promoted_bp(PROOF, 50, 1, 598, 50), 499); // 0.995^598
        assert_eq!(promoted_bp(PROOF, 50, 1, 597, 50), 0);
        assert_eq!(
            power(PROOF, 50, 1, 598).sentence,
            "with 598 devices and clopper_pearson < 0.5 %, firmware that breaks 2 % of devices is promoted 0 % of the time; \
             598 clean devices are needed to show < 0.5 % at 95 %"
        );
    }

    #[test]
    fn the_sequential_test_promotes_as_often_as_by_exact_enumeration() {
        // Computed with Python's Decimal over all counts of failures.
        for (bug_bp, from_1, from_300) in [(10, 9_997, 9_997), (50, 8_848, 8_781), (100, 4_487, 4_250), (200, 463, 334)]
        {
            let of = |min_executed| promoted_bp(WALD, 0, min_executed, 600, bug_bp);
            assert_eq!((of(1), of(300)), (from_1, from_300), "{bug_bp}");
        }
        assert_eq!(promoted_bp(WALD, 0, 25_000, 30_000, 10), 9_999);
        assert!(power(WALD, 0, 1, 600).sentence.ends_with("5 % of the time; 194 clean devices are needed to pass"));
    }

    #[test]
    fn clean_devices_are_counted_up_to_the_most() {
        assert_eq!(clean_needed(PROOF, 50, 1, 1_000), Some(598));
        assert_eq!((clean_needed(PROOF, 50, 1, 598), clean_needed(PROOF, 50, 1, 597)), (Some(598), None));
        assert_eq!((clean_needed(PROOF, 50, 700, 1_000), clean_needed(WALD, 0, 1, 1_000)), (Some(700), Some(194)));
        assert_eq!((clean_needed(Test::Raw, 0, 0, 9), clean_needed(PROOF, 0, 1, 1_000_000)), (Some(1), None));
        assert!(power(Test::Raw, 0, 5, 5).sentence.contains("no number of clean devices"));
    }

    #[test]
    fn nothing_passes_without_enough_devices() {
        for test in [Test::Raw, PROOF, WALD] {
            assert_eq!([promoted_bp(test, 50, 0, 0, 0), promoted_bp(test, 50, 5_000, 4_999, 0)], [0, 0], "{test:?}");
            assert_eq!(promoted_bp(test, 50, 5_000, 5_000, 0), 10_000, "{test:?}");
            assert_eq!(promoted_bp(test, 50, 1, 5_000, u16::MAX), 0, "{test:?}");
        }
    }

    #[test]
    fn percents_are_whole_unless_that_would_round_a_chance_away() {
        let said = [3_642, 12, 0, 100, 9_996, 10_000, 150].map(|bp| percent(rounded_bp(bp)));
        assert_eq!(said, ["36 %", "0.12 %", "0 %", "1 %", "99.96 %", "100 %", "2 %"]);
    }

    proptest! {
        #[test]
        fn a_worse_bug_is_never_promoted_more_often(
            raw in any::<bool>(), threshold_bp in 0_u16..2_000, executed in 1_u32..2_000, bug_bp in 0_u16..9_000,
        ) {
            let test = if raw { Test::Raw } else { PROOF };
            let of = |bug_bp| promoted_bp(test, threshold_bp, 1, executed, bug_bp);
            prop_assert!(of(bug_bp) >= of(bug_bp + 1_000));
        }
    }
}
