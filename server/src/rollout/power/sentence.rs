//! The power of a gate in a sentence.

use ks_protocol::text::{counted, plural};

use super::{BUG_RATES_BP, GroupPower, PassChance, PowerRow};
use crate::rollout::{
    gate::{EXECUTED_MAX, Test, Verdict, verdict},
    policy::{Gate, WHOLE_BP},
};

/// Confidence of the proof that a raw gate is compared with, in basis points.
const PROOF_BP: u16 = 9_500;

/// The sentence is about firmware this many times as bad as the threshold, as far as the table has it.
const BAD_TIMES: u16 = 4;

/// The rate of the bug that the sentence is about, as far as the table has it.
pub(super) fn headline(gate: &Gate, rows: &[PowerRow]) -> u16 {
    let bad_bp = match gate.test {
        Test::Sprt { p1_bp, .. } => p1_bp,
        _ => gate.threshold_bp.saturating_mul(BAD_TIMES),
    };
    rows.iter().find(|row| row.bug_bp >= bad_bp).or(rows.last()).map_or(0, |row| row.bug_bp)
}

/// The power of a gate in a sentence. `sizes` are the devices of each of its groups in the first stage; `later` more groups have
/// none there.
pub(super) fn sentence(
    gate: &Gate,
    (sizes, later): (&[u32], usize),
    rows: &[PowerRow],
    groups: &[GroupPower],
    clean_needed: Option<u32>,
) -> String {
    let threshold = percent(gate.threshold_bp);
    let shown_at = |confidence_bp: u16| format!("to show < {threshold} at {}", percent(confidence_bp));
    let (name, needed, purpose) = match gate.test {
        Test::Raw => {
            let proof = Test::ClopperPearson { confidence_bp: PROOF_BP };
            let needed = super::clean_needed(proof, gate.threshold_bp, 1, EXECUTED_MAX);
            (format!("raw ≤ {threshold}"), needed, shown_at(PROOF_BP))
        }
        Test::ClopperPearson { confidence_bp } => {
            let name = format!("clopper_pearson < {threshold}");
            (name, clean_needed, shown_at(confidence_bp))
        }
        Test::Sprt { p0_bp, p1_bp, .. } => {
            let name = format!("sprt {} against {}", percent(p0_bp), percent(p1_bp));
            (name, clean_needed, "to pass".to_owned())
        }
    };
    let first_stage = |row: &PowerRow| row.stages.first().map(|through| (row.bug_bp, *through));
    let headline_bp = headline(gate, rows);
    let bad = rows.iter().find(|row| row.bug_bp == headline_bp).and_then(first_stage);
    let promoted = bad.map_or_else(String::new, |(bug_bp, PassChance { at_most_bp, .. })| {
        let (bug, promoted) = (percent(bug_bp), rounded(at_most_bp));
        let alone = alone(groups, bug_bp);
        format!("firmware that breaks {bug} of devices is promoted {promoted} of the time at most{alone}, ")
    });
    let good = rows.first().and_then(first_stage);
    let stopped = good.map_or_else(String::new, |(bug_bp, PassChance { at_least_bp, .. })| {
        format!("one that breaks {} is stopped {} at most; ", percent(bug_bp), rounded(WHOLE_BP - at_least_bp))
    });
    let needed = match needed {
        Some(needed) => {
            let are = if needed == 1 { "is" } else { "are" };
            format!("{} {are} needed {purpose}", counted(needed, "clean device"))
        }
        None => format!("no number of clean devices up to {EXECUTED_MAX} suffices {purpose}"),
    };
    let left_out = BUG_RATES_BP.get(rows.len()).map_or_else(String::new, |rate_bp| {
        format!(
            "; chances of firmware that breaks {} or more are not computed: it would take too long",
            percent(*rate_bp)
        )
    });
    let first = if one_failure_stops(gate, sizes) { "the first failure in stage 1 stops it; " } else { "" };
    format!("with {} and {name}, {promoted}{stopped}{first}{needed}{left_out}", of_devices(sizes, later))
}

/// Whether one failure in the first stage always stops the release, even if all other devices there are clean by then.
fn one_failure_stops(gate: &Gate, sizes: &[u32]) -> bool {
    let fails =
        |executed: &u32| verdict(gate.test, gate.threshold_bp, gate.min_executed, 1, *executed) == Verdict::Fail;
    !sizes.is_empty() && sizes.iter().all(fails)
}

/// How many devices a gate judges in the first stage; of how many groups, if there are several, and how many have none there.
fn of_devices(sizes: &[u32], later: usize) -> String {
    let least = sizes.iter().copied().min().unwrap_or(0);
    let most = sizes.iter().copied().max().unwrap_or(0);
    let devices = plural(most, "device");
    let groups = match sizes.len() {
        0 => "no device".to_owned(),
        1 if later == 0 => format!("{most} {devices}"),
        1 => format!("1 group of {most} {devices}"),
        groups if least == most => format!("{groups} groups of {most} {devices}"),
        groups => format!("{groups} groups of {least} to {most} {devices}"),
    };
    match later {
        0 => groups,
        1 => format!("{groups} (1 more has none in stage 1, and is not tested there)"),
        later => format!("{groups} ({later} more have none in stage 1, and are not tested there)"),
    }
}

/// The chance of a bug that only one group has, for the group that misses it most often, which comes first.
fn alone(groups: &[GroupPower], bug_bp: u16) -> String {
    let [group, _, ..] = groups else { return String::new() };
    let row = group.rows.iter().find(|row| row.bug_bp == bug_bp);
    let missed_bp = row.and_then(|row| row.stages.first()).map_or(0, |through| through.at_most_bp);
    format!(" ({} if only those of {})", rounded(missed_bp), group.of)
}

/// A chance for display: whole percents, unless rounding would make a small chance zero or a large one certain.
pub fn rounded(bp: u16) -> String {
    percent(if (100..=9_900).contains(&bp) { (bp + 50) / 100 * 100 } else { bp })
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

    #[test]
    fn percents_are_whole_unless_that_would_round_a_chance_away() {
        let shown = [3_642, 12, 0, 100, 9_996, 10_000, 150].map(rounded);
        assert_eq!(shown, ["36 %", "0.12 %", "0 %", "1 %", "99.96 %", "100 %", "2 %"]);
    }
}
