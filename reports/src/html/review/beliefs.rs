//! What the server believes of the targets, beside what is true of them.

use std::collections::BTreeMap;

use crate::html::{labelled_cell, name_cell, table, text};
use crate::number::grouped;
use crate::review::{RolloutReview, TrueState};

/// A row for each belief, a column for each truth that occurs; a sum of both.
pub(super) fn table_of(of: &RolloutReview) -> String {
    let truths: Vec<TrueState> =
        TrueState::ALL.into_iter().filter(|truth| of.count(|cell| cell.true_state() == *truth) > 0).collect();
    let mut counts: BTreeMap<&str, BTreeMap<TrueState, (u64, bool)>> = BTreeMap::new();
    for cell in &of.cells {
        let row = counts.entry(&cell.believed).or_default();
        let (devices, is_wrong) = row.entry(cell.true_state()).or_default();
        *devices += cell.devices;
        *is_wrong |= cell.is_believed_wrongly();
    }
    let mut rows: Vec<String> = counts
        .iter()
        .map(|(believed, row)| {
            let cells = truths.iter().map(|truth| {
                let (devices, is_wrong) = row.get(truth).copied().unwrap_or_default();
                if is_wrong {
                    wrong_cell(truth.as_str(), devices)
                } else {
                    labelled_cell(truth.as_str(), &grouped(devices))
                }
            });
            let sum: u64 = row.values().map(|(devices, _)| devices).sum();
            name_cell(&believed.replace('_', " ")) + &cells.collect::<String>() + &labelled_cell("all", &grouped(sum))
        })
        .collect();
    let sums = truths
        .iter()
        .map(|truth| labelled_cell(truth.as_str(), &grouped(of.count(|cell| cell.true_state() == *truth))));
    rows.push(name_cell("all") + &sums.collect::<String>() + &labelled_cell("all", &grouped(of.targets())));
    let columns: Vec<String> = truths.iter().map(|truth| format!("#{}", truth.as_str())).collect();
    let columns: Vec<&str> =
        std::iter::once("Server's belief").chain(columns.iter().map(String::as_str)).chain(["#All"]).collect();
    let note = "<p class=\"muted\">Rows are what the server believes of a device's update, columns what is true of the device. Marked with ✗: the server believes the contrary of what is true.</p>\n";
    table("cards", "What the server believed and what was true", &columns, &rows) + note
}

/// A number of devices of which the server believes the contrary.
fn wrong_cell(label: &str, devices: u64) -> String {
    format!("<td class=\"n unmet\" data-label=\"{}\">✗ {}</td>", text(label), text(&grouped(devices)))
}
