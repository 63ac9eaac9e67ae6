//! Targets by model, by site, and by both: how many had the release, and what became of them.

use std::collections::BTreeMap;

use crate::html::{labelled_cell, name_cell, table, text};
use crate::number::grouped;
use crate::review::{Cell, RolloutReview};

/// Limit of rows of a table; the rest is one row.
const ROWS_MAX: usize = 200;
/// A table with more rows is folded.
const ROWS_OPEN_MAX: usize = 6;

const COLUMNS: [&str; 6] = ["targets", "had it", "confirmed", "failed", "broken in truth", "silent"];

/// The targets of a place, by what became of them, in the order of [`COLUMNS`].
type Counts = [u64; 6];

/// The three tables.
pub(super) fn tables(of: &RolloutReview) -> String {
    let by_model = counted(&of.cells, |cell| cell.model.clone());
    let by_site = counted(&of.cells, |cell| cell.site.clone());
    let by_both = counted(&of.cells, |cell| format!("{} at {}", cell.model, cell.site));
    let note = "<p class=\"muted\">Had it: the release was installed. Confirmed and failed are what the server believes; broken in truth are those that the release bricked or killed. Silent: had it, and the server has missed three heartbeats when the run ended.</p>\n";
    [
        one_table("model", "By model", &by_model, true),
        one_table("site", "By site", &by_site, false),
        one_table("model and site", "By model and site", &by_both, false),
        note.to_owned(),
    ]
    .concat()
}

/// The counts of each place, the worst first.
fn counted(cells: &[Cell], place: impl Fn(&Cell) -> String) -> Vec<(String, Counts)> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for cell in cells {
        let is_in = [true, cell.is_installed, cell.is_confirmed(), cell.is_failed(), cell.is_broken, cell.is_silent];
        let sum = counts.entry(place(cell)).or_default();
        for (sum, is_in) in sum.iter_mut().zip(is_in) {
            *sum += if is_in { cell.devices } else { 0 };
        }
    }
    let mut rows: Vec<(String, Counts)> = counts.into_iter().collect();
    rows.sort_by_key(|(_, [.., failed, broken, silent])| std::cmp::Reverse((*broken, *failed, *silent))); // stable
    rows
}

fn add(sum: Counts, (_, more): &(String, Counts)) -> Counts {
    let mut sum = sum;
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    sum
}

fn one_table(heading: &str, caption: &str, rows: &[(String, Counts)], is_open: bool) -> String {
    let (shown, rest) = rows.split_at(rows.len().min(ROWS_MAX));
    let mut lines: Vec<String> = shown.iter().map(|(name, counts)| line(name, counts)).collect();
    if !rest.is_empty() {
        lines.push(line(&format!("{} others", grouped(rest.len() as u64)), &rest.iter().fold([0; 6], add)));
    }
    lines.push(
        line("all", &rows.iter().fold([0; 6], add)).replace("<th scope=\"row\">", "<th scope=\"row\" class=\"sum\">"),
    );
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
