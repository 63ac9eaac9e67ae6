//! The sections on what each limit of the server decided, and on what limits did against what they had to do.

use super::{labelled_cell, name_cell, section, table};
use crate::escape::html as text;
use crate::number::grouped;
use crate::run_folder::{LimitCount, LimitVerdicts, Summary, VerdictCounts};

/// A row for each limit that has fired, and the names of those that never did; nothing if the limits were not read.
pub(super) fn decided(summary: &Summary) -> String {
    if summary.limits.is_empty() {
        return String::new();
    }
    let has_fired = |of: &&LimitCount| of.refused + of.would_refuse > 0;
    let rows: Vec<String> = summary.limits.iter().filter(has_fired).map(decided_row).collect();
    let silent: Vec<String> =
        summary.limits.iter().filter(|of| !has_fired(of) && of.mode != "off").map(|of| text(&of.name)).collect();
    let columns = ["Limit", "#Mode", "#Requests checked", "#Refused", "#Would have been refused", "#Most of"];
    let fired = if rows.is_empty() { String::new() } else { table("cards", "Decisions of limits", &columns, &rows) };
    let silent = if silent.is_empty() { "none".to_owned() } else { silent.join(", ") };
    section("", "Limits of the server", &format!("{fired}<p class=\"muted\">Limits that never fired: {silent}.</p>\n"))
}

fn decided_row(of: &LimitCount) -> String {
    let cells = [
        ("mode", of.mode.clone()),
        ("checked", grouped(of.checked)),
        ("refused", grouped(of.refused)),
        ("would have been refused", grouped(of.would_refuse)),
        ("most of", text(&of.most_in_words())),
    ];
    let cells: Vec<String> = cells.iter().map(|(label, value)| labelled_cell(label, value)).collect();
    format!("{}{}", name_cell(&of.name), cells.concat())
}

/// The confusion matrix, with a row for each limit; nothing where no model predicted anything.
pub(super) fn of(summary: &Summary) -> String {
    let Some(verdicts) = &summary.limit_verdicts else { return String::new() };
    let LimitVerdicts { rightly_admitted, all, by_limit } = verdicts;
    let mut rows: Vec<String> = by_limit.iter().map(|(name, counts)| row(name, None, *counts)).collect();
    rows.push(row("all limits", Some(*rightly_admitted), *all));
    let columns =
        ["Limit", "#Rightly admitted", "#Rightly refused", "#Falsely refused", "#Falsely admitted", "#Undecidable"];
    let body = table("cards", "Verdicts of limits", &columns, &rows);
    let undecided =
        verdicts.undecided().map(|what| format!("<p class=\"bad\">{}</p>\n", text(&what))).unwrap_or_default();
    section(
        "",
        "What limits did, against what they had to do",
        &format!(
            "{undecided}{body}<p class=\"muted\">Each request's verdict as an independent model of the configured limits predicts it, against the server's answer. A request is admitted by all limits together.</p>\n"
        ),
    )
}

fn row(name: &str, rightly_admitted: Option<u64>, counts: VerdictCounts) -> String {
    let cells = [
        ("rightly admitted", rightly_admitted.map_or_else(|| "–".to_owned(), grouped)),
        ("rightly refused", grouped(counts.rightly_refused)),
        ("falsely refused", grouped(counts.falsely_refused)),
        ("falsely admitted", grouped(counts.falsely_admitted)),
        ("undecidable", grouped(counts.undecidable)),
    ];
    let cells: Vec<String> = cells.iter().map(|(label, value)| labelled_cell(label, value)).collect();
    format!("{}{}", name_cell(name), cells.concat())
}
