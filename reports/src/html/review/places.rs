//! Targets by model, by site, and by both: how many had the release, and with which outcome.

use crate::answers::capitalized;
use crate::html::{labelled_cell, name_cell, table, text};
use crate::number::grouped;
use crate::review::{Counts, RolloutReview, sum};

/// Limit of rows of a table; the rest is one row.
const ROWS_MAX: usize = 200;
/// A table with more rows is folded.
const ROWS_OPEN_MAX: usize = 6;

/// The tables: by model, by site and by both; those that would have the same rows once.
pub(super) fn tables(of: &RolloutReview) -> String {
    let by_model = of.counted(|cell| cell.model.clone());
    let by_site = of.counted(|cell| cell.site.clone());
    let by_both = of.counted(|cell| format!("{} at {}", cell.model, cell.site));
    let columns = of.columns();
    let mut page = if by_both.len() == 1 {
        one_table("model and site", "By model and site", &by_both, columns, true)
    } else {
        one_table("model", "By model", &by_model, columns, true)
    };
    if by_site.len() > 1 {
        page += &one_table("site", "By site", &by_site, columns, false);
    }
    if by_model.len() > 1 && by_site.len() > 1 {
        page += &one_table("model and site", "By model and site", &by_both, columns, false);
    }
    let gone = if columns.contains(&"gone otherwise") {
        " Gone otherwise: removed, revoked, or broken by another release."
    } else {
        ""
    };
    page + &format!(
        "<p class=\"muted\">Had it: the release was installed. Confirmed and failed are what the server believes; broken in truth are those that the release bricked or killed. Silent: broken by it or still has it, and the server had missed three heartbeats when the run ended.{gone}</p>\n"
    )
}

fn one_table(heading: &str, caption: &str, rows: &[(String, Counts)], columns: &[&str], is_open: bool) -> String {
    let (shown, rest) = rows.split_at(rows.len().min(ROWS_MAX));
    let mut lines: Vec<String> = shown.iter().map(|(name, counts)| line(name, counts, columns)).collect();
    if !rest.is_empty() {
        lines.push(line(&format!("{} others", grouped(rest.len() as u64)), &sum(rest), columns));
    }
    lines.push(line("all", &sum(rows), columns).replace("<th scope=\"row\">", "<th scope=\"row\" class=\"sum\">"));
    let headings: Vec<String> = columns.iter().map(|column| format!("#{}", capitalized(column))).collect();
    let headings: Vec<&str> = std::iter::once(heading).chain(headings.iter().map(String::as_str)).collect();
    let table = table("cards places", caption, &headings, &lines);
    if is_open || rows.len() <= ROWS_OPEN_MAX {
        return format!("<h3>{}</h3>\n{table}", text(caption));
    }
    let count = grouped(rows.len() as u64);
    let printed = "<p class=\"muted printed\">Folded: its rows are on the page and, in full, in review.json.</p>\n";
    format!("<details>\n<summary>{} ({count})</summary>\n{table}</details>\n{printed}", text(caption))
}

fn line(name: &str, counts: &Counts, columns: &[&str]) -> String {
    let cells = columns.iter().zip(counts).map(|(column, count)| labelled_cell(column, &grouped(*count)));
    name_cell(name) + &cells.collect::<String>()
}
