//! What other thresholds of each gate would have done.

use crate::answers::{evidence_end, test_in_words};
use crate::html::{labelled_cell, name_cell, table, text};
use crate::moments::Moments;
use crate::number::{grouped, span};
use crate::review::{GateThresholds, GateTrip, RolloutReview, ThresholdOutcome};

/// A table for each gate.
pub(super) fn tables(of: &RolloutReview, moments: Moments) -> String {
    let intro = "<p>From the evidence that the server had, judged by its own gates. Up to the moment at which a rollout is stopped, a stricter threshold would have had the same evidence; a looser one would have let more devices have the release, and about those nothing is known. A gate that trips after the rollout was completed rolls devices back if that is its action, and otherwise alerts people.</p>\n";
    let gates: String = of.thresholds.iter().map(|gate| of_gate(of, gate, moments)).collect();
    intro.to_owned() + &gates
}

fn of_gate(of: &RolloutReview, gate: &GateThresholds, moments: Moments) -> String {
    let heading = format!("Gate {}: {}, {}", gate.gate + 1, gate.judges, test_in_words(&gate.test));
    if gate.rows.is_empty() {
        let why = if gate.test == "sprt" {
            "This test does not use the threshold."
        } else {
            "The server's decision does not follow from what could be recovered of its evidence, so nothing is said about other thresholds. That happens if the server was down, if its clock was changed, or if the gate failed while the rollout was paused already."
        };
        return format!("<h3>{}</h3>\n<p>{why}</p>\n", text(&heading));
    }
    let rows: Vec<String> = gate.rows.iter().map(|row| line(of, gate, row, moments)).collect();
    let columns = ["Threshold", "Would have tripped", "#Installed by then", "#Broken by then", "#Break in the end"];
    let uncertain = if gate.rows.iter().any(|row| row.is_uncertain) {
        "<p class=\"muted\">A threshold also decides when a stage is promoted: its gates must pass even if every silent device is lost. Rows marked ? hold only if each stage before had been promoted at the same time, which with this threshold is not certain.</p>\n"
    } else {
        ""
    };
    format!("<h3>{}</h3>\n{}{uncertain}", text(&heading), table("cards thresholds", &heading, &columns, &rows))
}

fn line(of: &RolloutReview, gate: &GateThresholds, row: &ThresholdOutcome, moments: Moments) -> String {
    let (own, doubt) = (if row.is_actual { " (the gate's)" } else { "" }, if row.is_uncertain { " ?" } else { "" });
    let name = name_cell(&format!("{}{own}{doubt}", percent(row.threshold_bp)));
    let Some(trip) = &row.trip else {
        return format!("{name}<td colspan=\"4\">{}</td>", text(&evidence_end(of, gate, moments)));
    };
    let GateTrip { at_s, of: group, failed, executed, installed, broken, breaks } = trip;
    let date = moments.date(*at_s).map_or_else(String::new, |date| format!(" ({date})"));
    let group = if group == "all" { String::new() } else { format!(" of {group}") };
    let when = format!(
        "{} after the start{date}: {} of {}{group} failed",
        span(at_s - of.started_at_s),
        grouped(*failed),
        grouped(*executed)
    );
    format!(
        "{name}<td class=\"when\">{}</td>{}{}{}",
        text(&when),
        labelled_cell("installed by then", &grouped(*installed)),
        labelled_cell("broken by then", &grouped(*broken)),
        labelled_cell("break in the end", &grouped(*breaks)),
    )
}

/// Basis points as per cent: `0.50 %`.
fn percent(bp: u16) -> String {
    format!("{}.{:02}\u{a0}%", bp / 100, bp % 100)
}
