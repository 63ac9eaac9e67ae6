//! `report.html` of a search: the answer and its evidence first, then the pictures, every step, and how it was measured. No script,
//! nothing fetched.

use super::{LoadLimit, Reading, SearchState, Step, words};
use crate::{
    escape::html as text,
    html::{document_reloaded, labelled_cell, name_cell, pictures, section, table},
    number::compact,
    plot::Figure,
    run_folder::Verdict,
};

pub(super) fn verdict_word(of: &LoadLimit) -> &'static str {
    match (of.state, of.verdict) {
        (SearchState::Running, _) => "RUNNING",
        (_, Verdict::Pass) => "FOUND",
        (_, Verdict::Fail) => "FAIL",
        (_, Verdict::Inconclusive) => "INCONCLUSIVE",
    }
}

pub(super) fn page(of: &LoadLimit, figures: &[Figure]) -> String {
    let (class, sign) = match of.verdict {
        Verdict::Pass => ("verdict pass", "✓"),
        Verdict::Fail => ("verdict fail", "✗"),
        Verdict::Inconclusive => ("verdict inconclusive", "?"),
    };
    let heading = format!("{sign} {}: {}", verdict_word(of), words::counted(of));
    let mut sections = vec![format!("<p>{}</p>\n", text(&of.goal)), section(class, &heading, &verdict(of))];
    sections.push(evidence(of));
    if !figures.is_empty() {
        sections.push(section("plots", "Plots", &pictures(figures.iter())));
    }
    sections.push(section("", "Steps", &steps(of)));
    let how = paragraphs("p", &words::how(of));
    sections.push(section("", "How it was measured", &how));
    sections.push(section("", "Repeat", &repeat(of)));
    let is_running = of.state == SearchState::Running;
    let title = format!("Load limit: {}", of.scenario);
    document_reloaded(is_running, &title, "search for the load limit", &of.scenario, &sections.concat())
}

/// Each text in an element of its own.
fn paragraphs(element: &str, texts: &[String]) -> String {
    texts.iter().map(|of| format!("<{element}>{}</{element}>", text(of))).collect::<Vec<_>>().join("\n")
}

/// The answer, and why it is not a pass.
fn verdict(of: &LoadLimit) -> String {
    let answer = words::answer(of);
    let (first, rest): (&str, &[String]) = match answer.as_slice() {
        [first, rest @ ..] => (first, rest),
        [] => ("", &[]),
    };
    let first = format!("<p><strong>{}</strong></p>\n", text(first));
    let reasons = paragraphs("li", &of.reasons);
    let reasons = if reasons.is_empty() { String::new() } else { format!("<ul>\n{reasons}</ul>\n") };
    let asked = format!(
        "<p>Asked: {}. Target: {}. Machine: {} cores{}.</p>\n",
        text(&of.setup.expectations.join(", ")),
        text(&of.target),
        of.setup.cores,
        if of.setup.is_one_machine {
            ", which the server and the load generator share"
        } else {
            " for the load generator"
        },
    );
    first + &paragraphs("p", rest) + &reasons + &asked
}

/// The readings of the step that names who gave out first.
fn evidence(of: &LoadLimit) -> String {
    let Some(step) = of.evidence() else { return String::new() };
    let number = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), compact);
    let row = |reading: &Reading| {
        let reached = match reading.reached {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        let named = if of.bottleneck == Some(reading.of) && reading.reached == Some(true) { " ◂" } else { "" };
        let metric = if reading.note.is_empty() {
            reading.metric.clone()
        } else {
            format!("{} ({})", reading.metric, reading.note)
        };
        name_cell(&format!("{}{named}", reading.of.words()))
            + &format!("<td>{}</td>", text(&metric))
            + &labelled_cell("Measured", &number(reading.measured))
            + &labelled_cell("Threshold", &number(reading.threshold))
            + &format!("<td>{reached}</td>")
    };
    let rows: Vec<String> = step.readings.iter().map(row).collect();
    let columns = ["Who", "Evidence", "#Measured", "#Threshold", "Reached"];
    let heading = format!("Who gave out first: the evidence of step {}", step.number);
    section("", &heading, &table("cards", "Evidence", &columns, &rows))
}

fn steps(of: &LoadLimit) -> String {
    let mut steps: Vec<&Step> = of.steps.iter().collect();
    steps.sort_by(|one, other| one.planned_per_min.total_cmp(&other.planned_per_min));
    let [first, second, numbers @ ..] = words::COLUMNS;
    let numbered = numbers.map(|name| format!("#{name}"));
    let columns: Vec<&str> = [first, second].into_iter().chain(numbered.iter().map(String::as_str)).collect();
    let row = |step: &&Step| {
        let [name, result, cells @ ..] = words::row(step);
        let cells = numbers.iter().zip(&cells).map(|(label, cell)| labelled_cell(label, cell));
        name_cell(&name) + &format!("<td>{}</td>", text(&result)) + &cells.collect::<String>()
    };
    let rows: Vec<String> = steps.iter().map(row).collect();
    let why = paragraphs("li", &words::reasons(of));
    let why = if why.is_empty() { String::new() } else { format!("<ul>\n{why}</ul>\n") };
    table("cards", "Steps by offered rate", &columns, &rows) + &why
}

/// The commands that repeat the search, and the step whose evidence counts.
fn repeat(of: &LoadLimit) -> String {
    let step = of.evidence().map_or_else(String::new, |step| {
        format!("<p>Step {} alone, as a run:</p>\n<pre>{}</pre>\n", step.number, text(&step.replay))
    });
    format!("<pre>{}</pre>\n{step}", text(&of.replay))
}
