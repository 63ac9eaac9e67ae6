//! Targets by model, by site, and by both: how many had the release, and with which outcome.

use crate::html::{labelled_cell, name_cell, table, text};
use crate::number::grouped;
use crate::review::{Counts, RolloutReview, sum};

/// Limit of rows of a table; the rest is one row.
const ROWS_MAX: usize = 200;
/// A table with more rows is folded.
const ROWS_OPEN_MAX: usize = 6;

/// Columns, in the order of [`Counts`].
const COLUMNS: [&str; 6] = ["targets", "had it", "confirmed", "failed", "broken in truth", "silent"];

/// The three tables.
pub(super) fn tables(of: &RolloutReview) -> String {
    let by_model = of.counted(|cell| cell.model.clone());
    let by_site = of.counted(|cell| cell.site.clone());
    let by_both = of.counted(|cell| format!("{} at {}", cell.model, cell.site));
    let note = "<p class=\"muted\">Had it: the release was installed. Confirmed and failed are what the server believes; broken in truth are those that the release bricked or killed. Silent: had it, and the server has missed three heartbeats when the run ended.</p>\n";
    [
        one_table("model", "By model", &by_model, true),
        one_table("site", "By site", &by_site, false),
        one_table("model and site", "By model and site", &by_both, false),
        note.to_owned(),
    ]
    .concat()
}

fn one_table(heading: &str, caption: &str, rows: &[(String, Counts)], is_open: bool) -> String {
    let (shown, rest) = rows.split_at(rows.len().min(ROWS_MAX));
    let mut lines: Vec<String> = shown.iter().map(|(name, counts)| line(name, counts)).collect();
    if !rest.is_empty() {
        lines.push(line(&format!("{} others", grouped(rest.len() as u64)), &sum(rest)));
    }
    lines.push(line("all", &sum(rows)).replace("<th scope=\"row\">", "<th scope=\"row\" class=\"sum\">"));
    let columns: Vec<String> = COLUMNS.iter().map(|column| format!("#{}", capitalized(column))).collect();
    let columns: Vec<&str> = std::iter::once(heading).chain(columns.iter().map(String::as_str)).collect();
    let table = table("cards", caption, &columns, &lines);
    if is_open || rows.len() <= ROWS_OPEN_MAX {
        return format!("<h3>{}</h3>\n{table}", text(caption));
    }
    format!("<details>\n<summary>{} ({})</summary>\n{table}</details>\n", text(caption), grouped(rows.len() as u64))
}

fn line(name: &str, counts: &Counts) -> String {
    let cells = COLUMNS.iter().zip(counts).map(|(column, count)| labelled_cell(column, &grouped(*count)));
    name_cell(name) + &cells.collect::<String>()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
