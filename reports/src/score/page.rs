//! `score.html`: the recommendation first, then the table, the pictures, and how it was computed. No script, nothing fetched.

use super::{PolicyScore, Score, recommend::RULE, words};
use crate::{
    escape::html as text,
    html::{document, labelled_cell, name_cell, pictures, section, table},
    plot::Figure,
};

pub(super) fn page(score: &Score, figures: &[Figure]) -> String {
    let body = [
        section("verdict", "Recommendation", &format!("<p>{}</p>\n{}", text(&score.recommendation), warnings(score))),
        section("", "Policies by rate of bugs", &rows(score)),
        section("plots", "Plots", &pictures(figures.iter())),
        section("", "How it was computed", &how(score)),
        section("", "Notes", &notes()),
    ]
    .concat();
    document(&format!("Score of policies: {}", score.scenario), "score of rollout policies", &score.scenario, &body)
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
    format!("<p>{}</p>\n<p>{RULE}</p>\n", text(&words::how(score)))
}

fn notes() -> String {
    let items = words::NOTES.map(|note| format!("<li>{}</li>\n", text(note)));
    format!("<ul>\n{}</ul>\n", items.concat())
}
