//! A rollout's plan as tables.

use super::output;
use crate::{
    edge,
    failure::StartError,
    rollout::{
        duration::UpdateTime,
        plan::{Plan, percent},
        power::{BUG_RATES_BP, Bounds, GatePower, PassChance, PowerRow, TogetherRow, rounded},
    },
};
use ks_protocol::text::counted;

/// Most stages that a power table shows: the first ones and the last.
const STAGES_SHOWN: usize = 4;
/// Most groups of a gate that are shown.
const GROUPS_SHOWN: usize = 4;
/// Name of the last column and row: a bug that gets through it is on every device.
const ALL: &str = "all stages";

/// Shows the stages, which devices are left out, how long it takes, and what the gates can detect.
pub(super) fn show(plan: &Plan) -> Result<(), StartError> {
    let by = |counts: &std::collections::BTreeMap<String, u32>| {
        let mut most: Vec<_> = counts.iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rest = most.len().saturating_sub(4);
        let mut shown: Vec<String> = most.iter().take(4).map(|(name, count)| format!("{name} {count}")).collect();
        shown.extend((rest > 0).then(|| format!("{rest} more")));
        shown.join(", ")
    };
    let rows: Vec<Vec<String>> = (1..)
        .zip(&plan.stages)
        .map(|(number, stage): (u32, _)| {
            vec![
                number.to_string(),
                percent(stage.share_bp),
                stage.adds.to_string(),
                stage.devices.to_string(),
                stage.min_executed.to_string(),
                duration_text(stage.at_best_s),
                duration_text(stage.expected_s),
                by(&stage.by_model),
                by(&stage.by_site),
            ]
        })
        .collect();
    output::table(
        &["stage", "share", "adds", "devices", "outcomes", "at least", "expected", "models", "sites"],
        &rows,
    )?;
    let (devices, at_least) = (counted(plan.targets, "device"), duration_text(plan.at_best_s));
    let UpdateTime { install_s, confirm_s, measured } = plan.update_time;
    let basis = if measured == 0 { "assumed".to_owned() } else { format!("the median of {measured} past updates") };
    edge::say(&format!(
        "\n{devices} in at least {at_least}; {} expected, if nothing fails and nobody is waited for. An update takes {} from the offer \
         to the new firmware ({basis}) and {} to be confirmed",
        duration_text(plan.expected_s),
        duration_text(install_s),
        duration_text(confirm_s)
    ))?;
    for (why, count) in &plan.left_out {
        edge::say(&format!("left out: {count} {why}"))?;
    }
    show_power(plan)
}

/// The chance that a bug gets through the gates, in the column of the stage that it gets through.
fn show_power(plan: &Plan) -> Result<(), StartError> {
    edge::say(
        "\nThe chance that a bug gets through, a / b / c. Gates are evaluated after every outcome; within a stage, failures come\n\
         a: before confirmations, like failed installations, as far as in_flight_max allows: the lowest chance\n\
         b: randomly among them\n\
         c: last, like lost devices, or the gate is evaluated only at the end of the stage: the highest chance",
    )?;
    let count = plan.stages.len();
    let shown: Vec<usize> = (0..count).filter(|stage| stage + 1 == count || stage + 1 < STAGES_SHOWN).collect();
    let names =
        shown.iter().map(|stage| if stage + 1 == count { ALL.to_owned() } else { format!("stage {}", stage + 1) });
    let heads: Vec<String> = std::iter::once("fails on (of all devices)".to_owned()).chain(names).collect();
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
    edge::say("\nall gates together, lowest to highest chance (bounds, because the gates see the same devices)")?;
    let row = |row: &TogetherRow| {
        let bounds = shown.iter().filter_map(|stage| row.stages.get(*stage));
        let chances = bounds.map(|Bounds { at_least_bp, at_most_bp }| joined(&[*at_least_bp, *at_most_bp], " to "));
        std::iter::once(percent(row.bug_bp)).chain(chances).collect()
    };
    output::table(&heads, &plan.together.iter().map(row).collect::<Vec<_>>())?;
    match BUG_RATES_BP.get(plan.together.len()) {
        Some(rate_bp) => edge::say(&format!(
            "firmware that fails on {} or more: not computed, it would take too long",
            percent(*rate_bp)
        )),
        None => Ok(()),
    }
}

/// The chance that a gate misses a bug in one group only; the weakest groups.
fn show_groups(gate: &GatePower) -> Result<(), StartError> {
    let Some(first) = gate.groups.first() else { return Ok(()) };
    edge::say(
        "a bug in one group only, weakest group first: the highest chance to get through this gate (other gates only lower it)",
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
        rest => edge::say(&format!("and {}", counted(rest, "more group"))),
    }
}

fn in_each_order(through: PassChance) -> String {
    joined(&[through.at_least_bp, through.mixed_bp, through.at_most_bp], " / ")
}

/// Several chances in one cell; a single one if all are the same.
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

fn duration_text(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
