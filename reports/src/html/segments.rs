//! The section on the segments that a run was merged from, or on the one that it is.

use super::{labelled_cell, name_cell, section, table};
use crate::number::{grouped, measured, megabytes, millis};
use crate::run_folder::{Segment, Summary};

/// Most segments with a row of their own.
const ROWS_MAX: usize = 64;

/// A row for each segment; nothing of a run that one process made.
pub(super) fn of(summary: &Summary) -> String {
    let segments: Vec<&Segment> = summary.segment.iter().chain(&summary.segments).collect();
    if segments.is_empty() {
        return String::new();
    }
    let rows: Vec<String> = segments.iter().take(ROWS_MAX).map(|segment| row(segment)).collect();
    let columns = ["Segment", "#Devices", "#Started", "#Its clock", "#CPU", "#Memory", "#Late sends", "#Send lag p99"];
    let more = segments.len().saturating_sub(ROWS_MAX);
    let more = if more == 0 { String::new() } else { format!("<p>And {more} more: see summary.json.</p>\n") };
    let body = table("cards", "Segments", &columns, &rows);
    section(
        "",
        "Segments of the fleet",
        &format!(
            "{body}{more}<p class=\"muted\">Each segment is a part of the fleet in a process of its own. Its start is by its own clock, which is compared with the target's.</p>\n"
        ),
    )
}

fn row(of: &Segment) -> String {
    let cells = [
        ("devices", grouped(of.devices)),
        ("started", of.started_at.clone()),
        ("its clock", of.clock.to_string()),
        ("CPU", format!("{} s", measured(of.cpu_s))),
        ("memory", megabytes(of.rss_bytes)),
        ("late sends", grouped(of.late_sends)),
        ("send lag p99", millis(of.send_lag_p99_ms)),
    ];
    let cells: Vec<String> = cells.iter().map(|(label, value)| labelled_cell(label, value)).collect();
    let name = format!("{} of {}", of.number, of.of);
    format!("{}{}", name_cell(&name), cells.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn each_segment_has_a_row() {
        let mut summary = sample::summary();
        assert_eq!(of(&summary), "");
        let segment = |number| Segment { number, of: 2, devices: 500, ..Segment::default() };
        summary.segments = vec![segment(1), segment(2)];
        let page = of(&summary);
        assert!(
            page.contains("1 of 2") && page.contains("2 of 2") && page.contains("0 ms ahead of the target"),
            "{page}"
        );
    }
}
