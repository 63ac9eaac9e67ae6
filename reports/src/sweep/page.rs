//! `sweep.html`: the recommendation and the lines to paste first, then the pictures, the table, and how it was computed. No script,
//! nothing fetched.

use super::{Sweep, recommend::RULE, words};
use crate::{
    escape::html as text,
    html::{document_reloaded, labelled_cell, name_cell, pictures, section, table},
    plot::Figure,
    score::State,
};

pub(super) fn page(of: &Sweep, figures: &[Figure]) -> String {
    let class = match (of.setup.state.is_final(), &of.recommended) {
        (false, _) => "verdict inconclusive",
        (true, None) if of.is_inconclusive() => "verdict inconclusive",
        (true, None) => "verdict fail",
        (true, Some(_)) => "verdict",
    };
    let mut sections = vec![section(class, &words::made(of), &verdict(of))];
    if !figures.is_empty() {
        sections.push(section("plots", "Plots", &pictures(figures.iter())));
    }
    sections.push(section("", "Configurations", &rows(of)));
    sections.push(refused(of));
    sections.push(section("", "How it was computed", &format!("<p>{}</p>\n<p>{RULE}</p>\n", text(&words::how(of)))));
    let is_running = of.setup.state == State::Running;
    let title = format!("Limits: {}", of.setup.scenario);
    document_reloaded(is_running, &title, "sweep of rate limits", &of.setup.scenario, &sections.concat())
}

/// A text whose names of settings may be broken on a phone.
fn breakable(of: &str) -> String {
    text(of).replace('_', "_<wbr>")
}

/// The recommendation, the lines to paste, and what to doubt.
fn verdict(of: &Sweep) -> String {
    let (first, rest) = of.recommendation.split_once(". ").unwrap_or((of.recommendation.as_str(), ""));
    let mut body = format!("<p><strong>{}.</strong> {}</p>\n", breakable(first.trim_end_matches('.')), breakable(rest));
    if !of.environment.is_empty() {
        let lines = of.lines_to_paste().join("\n");
        body += &format!("<p>For the server's environment:</p>\n<pre>{}</pre>\n", text(&lines));
    }
    if let Some(confirmed) = &of.confirmed {
        body += &format!("<p>{}</p>\n", text(confirmed));
    }
    if of.setup.signatures == "modelled" {
        body +=
            "<p class=\"inconclusive\">Signatures are modelled: a keyed hash replaces Ed25519, on both sides.</p>\n";
    }
    if of.invariant_violations > 0 {
        body += &format!(
            "<p class=\"bad\"><strong>The server's invariants were violated {} times: fix that first.</strong></p>\n",
            of.invariant_violations
        );
    }
    if let Some(resume) = &of.setup.resume {
        body += &format!("<p>To continue:</p>\n<pre>{}</pre>\n", text(resume));
    }
    body
}

fn rows(of: &Sweep) -> String {
    let shown = words::columns(of);
    let named = |nth: &usize| words::COLUMNS.get(nth + 1).copied();
    let numbered: Vec<String> = shown.iter().filter_map(named).map(|name| format!("#{name}")).collect();
    let columns: Vec<&str> = ["Configuration"].into_iter().chain(numbered.iter().map(String::as_str)).collect();
    let row = |tried: &super::TriedConfiguration| {
        let is_it = of.recommended.as_ref() == Some(&tried.configuration.name);
        let name = format!("{}{}", tried.configuration.name, if is_it { " (recommended)" } else { "" });
        let cells = words::row(tried);
        let numbers =
            shown.iter().filter_map(|nth| Some(labelled_cell(words::COLUMNS.get(nth + 1)?, cells.get(*nth)?)));
        name_cell(&name) + &numbers.collect::<String>()
    };
    let rows: Vec<String> = of.tried.iter().map(row).collect();
    table("cards", "Configurations", &columns, &rows)
}

/// Configurations that the server refuses or warns of, with its reason.
fn refused(of: &Sweep) -> String {
    let mut items = String::new();
    for own in of.tried.iter().map(|tried| &tried.configuration) {
        if let Some(why) = &own.refused {
            items +=
                &format!("<li>{}: not tried, the server refuses it: {}</li>\n", breakable(&own.name), breakable(why));
        }
        for warning in &own.warnings {
            items += &format!("<li>{}: the server warns: {}</li>\n", breakable(&own.name), breakable(warning));
        }
    }
    if items.is_empty() {
        return String::new();
    }
    section("", "What the server says of them", &format!("<ul>\n{items}</ul>\n"))
}
