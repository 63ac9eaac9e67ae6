//! `score.html`: the recommendation first, then the table, the pictures, and how it was computed. No script, nothing fetched.

use super::{FailedTrial, PolicyScore, Score, State, recommend::RULE, words};
use crate::{
    escape::html as text,
    html::{document_reloaded, labelled_cell, name_cell, pictures, section, table},
    plot::Figure,
};

pub(super) fn page(score: &Score, figures: &[Figure]) -> String {
    let mut sections = vec![section(verdict_class(score), &words::state(score), &verdict(score))];
    if !score.policies.is_empty() {
        sections.push(section("", "Policies by rate of bugs", &rows(score)));
    }
    sections.push(compared(score));
    sections.push(failed(score));
    if !figures.is_empty() {
        sections.push(section("plots", "Plots", &pictures(figures.iter())));
    }
    sections.push(section("", "How it was computed", &how(score)));
    sections.push(section("", "Notes", &notes(score)));
    let kicker = if score.passes.is_some() { "trials of a scenario" } else { "score of rollout policies" };
    let is_running = score.state == State::Running;
    document_reloaded(is_running, &words::title(score), kicker, &score.scenario, &sections.concat())
}

fn verdict_class(score: &Score) -> &'static str {
    if score.state.is_final() { "verdict" } else { "verdict inconclusive" }
}

/// Results in words, and how to get those that are missing.
fn verdict(score: &Score) -> String {
    let mut body = String::new();
    if let Some(drawn_at) = &score.drawn_at {
        let at: String = drawn_at.chars().take(19).collect();
        body += &format!(
            "<p class=\"muted\">Drawn at {} UTC; it reloads itself while trials run. Results so far change.</p>\n",
            text(&at.replace('T', " "))
        );
    }
    if let Some(passes) = words::passes(score) {
        body += &format!("<p><strong>{}</strong></p>\n", text(&passes));
    }
    if !score.policies.is_empty() {
        body += &format!("<p>{}</p>\n", text(&score.recommendation));
    }
    body += &warnings(score);
    if let Some(resume) = &score.resume {
        let when =
            if score.state == State::Running { "If they are interrupted, continue with:" } else { "To continue:" };
        body += &format!("<p>{when}</p>\n<pre>{}</pre>\n", text(resume));
    }
    body
}

/// The recommended policy compared with each other one.
fn compared(score: &Score) -> String {
    let rows = words::compared(score);
    if rows.is_empty() {
        return String::new();
    }
    let columns = ["Policies", "#Bug rate", "#Found only by", "#Difference, points", "#Broken devices", "Shown"];
    let row = |[name, numbers @ .., shown]: &[String; 6]| {
        let numbers = numbers.iter().zip(columns.iter().skip(1));
        let numbers: String =
            numbers.map(|(number, column)| labelled_cell(column.trim_start_matches('#'), number)).collect();
        format!("{}{numbers}<td>{}</td>", name_cell(name), text(shown))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    let about = format!("<p>{}</p>\n", text(words::about_comparisons(score)));
    section("", "Policies on the same seeds", &(about + &table("cards", "Policies on the same seeds", &columns, &rows)))
}

/// The first trials that did not pass.
fn failed(score: &Score) -> String {
    let Some(passes) = score.passes.as_ref().filter(|passes| !passes.failed.is_empty()) else { return String::new() };
    let item = |failed: &FailedTrial| {
        format!(
            "<li>seed {}: {}<pre>{}</pre></li>\n",
            failed.seed,
            text(&failed.reasons.join("; ")),
            text(&failed.replay)
        )
    };
    let items: String = passes.failed.iter().map(item).collect();
    let count = passes.trials.saturating_sub(passes.passed);
    let more = count.saturating_sub(passes.failed.len());
    let more = if more > 0 { format!("<p>and {more} more, in trials.ndjson</p>\n") } else { String::new() };
    section("", &format!("Trials that did not pass: {count}"), &format!("<ul>\n{items}</ul>\n{more}"))
}

fn warnings(score: &Score) -> String {
    let paragraph =
        |(class, warning): (&str, String)| format!("<p class=\"{class}\"><strong>{}</strong></p>\n", text(&warning));
    let modelled = words::modelled(score).map(|warning| ("inconclusive", warning));
    let broken = words::invariant_violations(score).map(|warning| ("bad", warning));
    modelled.into_iter().chain(broken).map(paragraph).collect()
}

fn rows(score: &Score) -> String {
    let columns = [
        "Policy",
        "#Bug rate",
        "#Trials",
        "#Found",
        "#95 % limits",
        "#Broken (p95)",
        "#Found after",
        "#Complete after",
    ];
    let mut rows = Vec::new();
    for PolicyScore { policy, cells } in &score.policies {
        for cell in cells {
            let [_, numbers @ ..] = words::row(policy, cell);
            let numbers = numbers.iter().zip(columns.iter().skip(1));
            let numbers: String =
                numbers.map(|(number, column)| labelled_cell(column.trim_start_matches('#'), number)).collect();
            rows.push(name_cell(policy) + &numbers);
        }
    }
    table("cards", "Policies by rate of bugs", &columns, &rows)
}

fn how(score: &Score) -> String {
    let rule = if score.policies.is_empty() { String::new() } else { format!("<p>{RULE}</p>\n") };
    format!("<p>{}</p>\n{rule}", text(&words::how(score)))
}

fn notes(score: &Score) -> String {
    let items = words::notes(score).map(|note| format!("<li>{}</li>\n", text(note)));
    format!("<ul>\n{}</ul>\n", items.concat())
}
