//! The section on how the fleet recovered from outages.

use super::{labelled_cell, name_cell, section, table};
use crate::number::{grouped, span};
use crate::recovery::{OutageRecovery, Recovered};
use crate::run_folder::Summary;

/// Most outages with a row of their own.
const ROWS_MAX: usize = 50;

/// A row for each outage; nothing if none ended within the run.
pub(super) fn of(summary: &Summary) -> String {
    let Some(recovery) = &summary.recovery else { return String::new() };
    let each = |outage: &OutageRecovery| row(&outage.name(), outage.recovered);
    let mut rows: Vec<String> = recovery.outages.iter().take(ROWS_MAX).map(each).collect();
    if recovery.outages.len() > 1 {
        rows.push(row(&format!("all {} outages", grouped(recovery.outages.len() as u64)), recovery.all));
    }
    let columns =
        ["Outage", "#Devices affected", "#Never served again", "#Half back after", "#99 % back after", "#All"];
    let body = table("cards", "Recovery from outages", &columns, &rows);
    section(
        "",
        "Recovery from outages",
        &format!(
            "{body}<p class=\"muted\">From the end of an outage until the device's next heartbeat was accepted. A device that the next outage hit before that counts for the next one.</p>\n"
        ),
    )
}

fn row(name: &str, of: Recovered) -> String {
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), span);
    let times = [("half", of.p50_s), ("99 %", of.p99_s), ("all", of.max_s)];
    let times = times.map(|(label, seconds)| labelled_cell(label, &time(seconds))).concat();
    let affected = labelled_cell("affected", &grouped(of.affected));
    let never = labelled_cell("never served", &grouped(of.never_served));
    format!("{}{affected}{never}{times}", name_cell(name))
}
