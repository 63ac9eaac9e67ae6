//! `score.html`: the recommendation first, then the table, the pictures, and how it was computed. No script, nothing fetched.

#![expect(clippy::format_push_string, reason = "a page is written once: clear before quick")]

use super::{PolicyScore, Score, words};
use crate::{
    escape::html as text,
    html::{STYLE, labelled_cell, name_cell, pictures, section, table},
    number::grouped,
    plot::Figure,
};

/// The whole page.
pub(super) fn page(score: &Score, figures: &[Figure]) -> String {
    let scenario = text(&score.scenario);
    let body = [
        section("verdict", "Recommendation", &format!("<p>{}</p>\n{}", text(&score.recommendation), warnings(score))),
        section("", "Policies by rate of bugs", &rows(score)),
        section("plots", "Plots", &pictures(figures.iter())),
        section("", "How it was computed", &how(score)),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Score of policies: {scenario} · KS Attendance</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"kicker\">KS Attendance · score of rollout policies</p>\n<h1>{scenario}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn warnings(score: &Score) -> String {
    let mut out = String::new();
    if score.signatures == "modelled" {
        out +=
            "<p><strong>Signatures are modelled:</strong> a keyed hash in the place of Ed25519, on both sides.</p>\n";
    }
    if score.broken_promises > 0 {
        out += &format!(
            "<p class=\"bad\">Promises of the server were broken {} times: mend that first, see trials.ndjson.</p>\n",
            grouped(score.broken_promises)
        );
    }
    out
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
    format!(
        "<p>Each trial rehearses {} devices under a virtual clock, against the real backend, with a seed of its own from {} \
         on. The bug rate is the share of devices that the release really breaks, which the server is not told. Found: the \
         engine stopped the release, for good or for a person to look at, before it had reached everybody; with no bug that is a \
         false alarm. The limits are those of Clopper and Pearson. Broken are devices that the release has really broken in the \
         whole trial: the median, and the 95th percentile in parentheses. Times count from the start of the rollout, and are \
         medians of the trials in which it came to that.</p>\n\
         <p>The rule of the recommendation: whoever stops good releases comes last; of the others the one that finds at least \
         90 % of the smallest bug, then breaks the fewest devices, then is the quickest with a good release.</p>\n",
        grouped(score.devices),
        score.first_seed
    )
}
