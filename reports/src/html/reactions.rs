//! The sections on how devices reacted to refusals, and on honest devices beside adversaries.

use super::{labelled_cell, name_cell, section, table};
use crate::number::{grouped, measured, share, span};
use crate::reactions::{Cohort, HonestGroup, Reactions};
use crate::run_folder::Summary;

/// Most sites with a row of their own: those with the most refusals.
const SITES_MAX: usize = 50;

/// A row for each cohort, if any was refused or the fleet has several; and one for each site beside an adversary.
pub(super) fn of(summary: &Summary) -> String {
    summary.reactions.as_ref().map(|reactions| cohorts(reactions) + &beside(reactions)).unwrap_or_default()
}

fn cohorts(reactions: &Reactions) -> String {
    if reactions.cohorts.len() < 2 && reactions.cohorts.iter().all(|cohort| cohort.refused == 0) {
        return String::new();
    }
    let row = |cohort: &Cohort| {
        let amplification = cohort.amplification().map_or_else(|| "–".to_owned(), measured);
        let honest =
            if cohort.asked_again == 0 { "–".to_owned() } else { share(cohort.admitted, cohort.asked_again) };
        let back = cohort.recovered.p99_s.map_or_else(|| "–".to_owned(), span);
        let cells = [
            ("retry", cohort.retry.clone()),
            ("devices", grouped(cohort.devices)),
            ("wanted", grouped(cohort.wanted)),
            ("sent", grouped(cohort.sent)),
            ("sent for each wanted", amplification),
            ("refused", grouped(cohort.refused)),
            ("admitted after the wait", honest),
            ("refused again", grouped(cohort.refused_again)),
            ("second peak, requests/s", grouped(cohort.second_peak_per_s)),
            ("99 % back after", back),
        ];
        let cells: Vec<String> = cells.iter().map(|(label, value)| labelled_cell(label, value)).collect();
        format!("{}{}", name_cell(&cohort.name), cells.concat())
    };
    let rows: Vec<String> = reactions.cohorts.iter().map(row).collect();
    let columns = [
        "Cohort",
        "#Tries again",
        "#Devices",
        "#Heartbeats wanted",
        "#Sent",
        "#Sent for each wanted",
        "#Requests refused",
        "#Admitted after the wait",
        "#Refused again",
        "#Second peak, requests/s",
        "#99 % back after an outage",
    ];
    let body = table("cards", "How devices reacted to refusals", &columns, &rows);
    section(
        "",
        "How devices reacted to refusals",
        &format!(
            "{body}<p class=\"muted\">Refused: RATE_LIMITED and OVERLOADED. Admitted after the wait: of the refused requests whose device asked again no sooner than retry_after_s, those that were not refused again. Refused again: requests refused although the last one of the same kind by the same device had been too. Second peak: requests sent after such a refusal, in the busiest second.</p>\n"
        ),
    )
}

fn beside(reactions: &Reactions) -> String {
    let mut shown: Vec<&HonestGroup> = reactions.sites.iter().collect();
    shown.sort_by_key(|of| std::cmp::Reverse((of.shares_address, of.refused)));
    shown.truncate(SITES_MAX);
    shown.extend(&reactions.named);
    if shown.is_empty() {
        return String::new();
    }
    let row = |of: &&HonestGroup| {
        let cells = [
            ("shares an address", if of.shares_address { "yes" } else { "no" }.to_owned()),
            ("requests", grouped(of.requests)),
            ("refused", grouped(of.refused)),
            ("share", share(of.refused, of.requests)),
        ];
        let cells: Vec<String> = cells.iter().map(|(label, value)| labelled_cell(label, value)).collect();
        format!("{}{}", name_cell(&of.name), cells.concat())
    };
    let rows: Vec<String> = shown.iter().map(row).collect();
    let columns =
        ["Honest devices", "#Adversary at their address", "#Requests", "#Refused by limits", "#Share refused"];
    section("", "Honest devices beside adversaries", &table("cards", "Fairness", &columns, &rows))
}
