//! The section on what limits did against what they had to do.

use super::{labelled_cell, name_cell, section, table};
use crate::number::grouped;
use crate::run_folder::{LimitVerdicts, Summary, VerdictCounts};

/// The confusion matrix, with a row for each limit; nothing where no model predicted anything.
pub(super) fn of(summary: &Summary) -> String {
    let Some(verdicts) = &summary.limit_verdicts else { return String::new() };
    let LimitVerdicts { rightly_admitted, all, by_limit } = verdicts;
    let mut rows: Vec<String> = by_limit.iter().map(|(name, counts)| row(name, None, *counts)).collect();
    rows.push(row("all limits", Some(*rightly_admitted), *all));
    let columns =
        ["Limit", "#Rightly admitted", "#Rightly refused", "#Falsely refused", "#Falsely admitted", "#Undecidable"];
    let body = table("cards", "Verdicts of limits", &columns, &rows);
    section(
        "",
        "What limits did, against what they had to do",
        &format!(
            "{body}<p class=\"muted\">Each request's verdict as an independent model of the configured limits predicts it, against the server's answer. A request is admitted by all limits together.</p>\n"
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
