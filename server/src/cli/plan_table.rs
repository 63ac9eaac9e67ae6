//! A rollout's plan for people.

use super::output;
use crate::{
    edge,
    failure::StartError,
    rollout::{
        devices,
        plan::{Plan, percent},
        power::{BUG_RATES_BP, Bounds, GatePower, PowerRow, Through, TogetherRow, rounded},
    },
};

/// Stages of a power table that are shown at most: the first and the last.
const STAGES_SHOWN: usize = 4;
/// Groups of a gate that are shown at most.
const GROUPS_SHOWN: usize = 4;
/// How the last column and line are named: what gets through it is everywhere.
const ALL: &str = "all stages";

/// Stages, who is left out, how long it takes, and what the gates can prove.
pub(super) fn show(plan: &Plan) -> Result<(), StartError> {
    let by = |counts: &std::collections::BTreeMap<String, u32>| {
        let mut most: Vec<_> = counts.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rest = most.len().saturating_sub(4);
        let mut told: Vec<String> = most.iter().take(4).map(|(name, count)| format!("{name} {count}")).collect();
        told.extend((rest > 0).then(|| format!("{rest} more")));
        told.join(", ")
    };
    let rows: Vec<Vec<String>> = (1..)
        .zip(&plan.stages)
        .map(|(number, stage): (u32, _)| {
            vec![
                number.to_string(),
                percent(stage.share_bp),
                stage.adds.to_string(),
                stage.devices.to_string(),
                told_s(stage.at_best_s),
                by(&stage.by_model),
                by(&stage.by_site),
            ]
        })
        .collect();
    output::table(&["stage", "share", "adds", "devices", "at best", "models", "sites"], &rows)?;
    edge::say(&format!("\n{} in {} at best", devices(plan.targets), told_s(plan.at_best_s)))?;
    for (why, count) in &plan.left_out {
        edge::say(&format!("left out: {count} {why}"))?;
    }
    show_power(plan)
}

/// What gates let through. A bug's chance stands in the column of the stage that it gets through.
fn show_power(plan: &Plan) -> Result<(), StartError> {
    edge::say(
        "\nThe chance to get through, a / b / c: gates are judged after every outcome, and within a stage failures come\n\
         a: before confirmations, as failed installations do, as far as in_flight_max allows: the least chance there is\n\
         b: strewn among them\n\
         c: last, as lost devices do, or nobody looks before the stage ends: the greatest chance there is",
    )?;
    let count = plan.stages.len();
    let shown: Vec<usize> = (0..count).filter(|stage| stage + 1 == count || stage + 1 < STAGES_SHOWN).collect();
    let names =
        shown.iter().map(|stage| if stage + 1 == count { ALL.to_owned() } else { format!("stage {}", stage + 1) });
    let heads: Vec<String> = std::iter::once("breaks of all devices".to_owned()).chain(names).collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    for gate in &plan.power {
        edge::say(&format!("\ngate {}: {}", gate.gate + 1, gate.sentence))?;
        let row = |row: &PowerRow| {
            let chances = shown.iter().filter_map(|stage| row.stages.get(*stage)).copied().map(in_each_order);
            std::iter::once(percent(row.bug_bp)).chain(chances).collect()
        };
        output::table(&heads, &gate.rows.iter().map(row).collect::<Vec<_>>())?;
        show_groups(gate)?;
    }
    if plan.power.len() == 1 {
        return Ok(());
    }
    edge::say(
        "\nall gates together, from the least to the greatest chance (bounds, because they look at the same devices)",
    )?;
    let row = |row: &TogetherRow| {
        let bounds = shown.iter().filter_map(|stage| row.stages.get(*stage));
        let chances = bounds.map(|Bounds { at_least_bp, at_most_bp }| joined(&[*at_least_bp, *at_most_bp], " to "));
        std::iter::once(percent(row.bug_bp)).chain(chances).collect()
    };
    output::table(&heads, &plan.together.iter().map(row).collect::<Vec<_>>())?;
    match BUG_RATES_BP.get(plan.together.len()) {
        Some(rate_bp) => edge::say(&format!(
            "firmware that breaks {} or more: not computed, it would take too long",
            percent(*rate_bp)
        )),
        None => Ok(()),
    }
}

/// What a gate misses of a bug that one group alone has; the weakest groups.
fn show_groups(gate: &GatePower) -> Result<(), StartError> {
    let Some(first) = gate.groups.first() else { return Ok(()) };
    edge::say(
        "a bug of one group alone, the weakest first: the chance to get through this gate at most (other gates only lower it)",
    )?;
    let rates: Vec<String> = first.rows.iter().map(|row| percent(row.bug_bp)).collect();
    let heads = ["only in", "through", "devices"].into_iter().chain(rates.iter().map(String::as_str));
    let mut rows = Vec::new();
    for group in gate.groups.iter().take(GROUPS_SHOWN) {
        let last = group.devices.len().saturating_sub(1);
        for stage in [0, last].into_iter().take(group.devices.len().min(2)) {
            let through = if stage == last { ALL } else { "stage 1" };
            let devices = group.devices.get(stage).map_or_else(String::new, u32::to_string);
            let chances = group.rows.iter().filter_map(|row| row.stages.get(stage));
            let chances = chances.map(|chance| rounded(chance.at_most_bp));
            rows.push([group.of.clone(), through.to_owned(), devices].into_iter().chain(chances).collect());
        }
    }
    output::table(&heads.collect::<Vec<_>>(), &rows)?;
    match gate.groups.len().saturating_sub(GROUPS_SHOWN) + gate.groups_left_out {
        0 => Ok(()),
        rest => edge::say(&format!("and {rest} more group{}", if rest == 1 { "" } else { "s" })),
    }
}

fn in_each_order(through: Through) -> String {
    joined(&[through.at_least_bp, through.mixed_bp, through.at_most_bp], " / ")
}

/// Chances beside each other; one alone if all are the same.
fn joined(chances_bp: &[u16], between: &str) -> String {
    let chances: Vec<String> = chances_bp.iter().map(|chance_bp| rounded(*chance_bp)).collect();
    match chances.first() {
        Some(first) if chances.iter().all(|chance| chance == first) => first.clone(),
        // The unit once, at the end.
        _ => format!(
            "{} %",
            chances.iter().map(|chance| chance.trim_end_matches(" %")).collect::<Vec<_>>().join(between)
        ),
    }
}

/// Seconds as a person says them.
fn told_s(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
