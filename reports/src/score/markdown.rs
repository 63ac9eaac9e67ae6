//! `score.md`: the recommendation and the table, for a CI job's summary.

#![expect(clippy::format_collect, reason = "a page is written once: clear before quick")]

use super::recommend::RULE;
use super::{PolicyScore, Score, words};
use crate::escape::markdown as text;

/// The whole file.
pub(super) fn summary(score: &Score) -> String {
    let warnings = words::invariant_violations(score).into_iter().chain(words::modelled(score));
    let warnings: String = warnings.map(|warning| format!("**{}**\n\n", text(&warning))).collect();
    let (how, notes) =
        (text(&words::how(score)), words::notes(score).map(|note| format!("> {}\n>\n", text(note))).concat());
    let (title, state) = (text(&words::title(score)), text(&words::state(score)));
    let passes = words::passes(score).map(|passes| format!("{}.\n\n", text(&passes))).unwrap_or_default();
    let resume = score.resume.as_ref().map(|resume| format!("To continue: {}\n\n", text(resume))).unwrap_or_default();
    if score.policies.is_empty() {
        return format!("## {title}\n\n{state}.\n\n{passes}{warnings}{resume}");
    }
    format!(
        "## {title}\n\n{state}.\n\n{passes}{}\n\n{warnings}{resume}{}\n{}{how}\n\n{}\n\n{notes}",
        text(&score.recommendation),
        table(score),
        compared(score),
        text(RULE)
    )
}

/// The recommended policy compared with each other one.
fn compared(score: &Score) -> String {
    let rows = words::compared(score);
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(&words::COMPARED.map(str::to_owned)) + "| --- |" + &" ---: |".repeat(5) + "\n";
    out.extend(rows.iter().map(|row| line(&row.clone().map(|words| text(&words)))));
    out + "\n"
}

fn table(score: &Score) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(&words::COLUMNS.map(str::to_owned)) + "| --- |" + &" ---: |".repeat(7) + "\n";
    for PolicyScore { policy, cells } in &score.policies {
        out.extend(cells.iter().map(|cell| line(&words::row(policy, cell).map(|words| text(&words)))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::recommend::sample::{cell, policy};

    #[test]
    fn the_short_form_has_the_recommendation_the_table_and_the_warnings() {
        let score = Score::of(crate::score::tally::sample::setup("s", "modelled"), &[]);
        let policies = vec![policy("a|b\n<b>", vec![cell(0, 0, 0), cell(50, 100, 11)])];
        let text = summary(&Score { policies, invariant_violations: 1, recommendation: "Take `a`.".into(), ..score });
        assert!(
            text.starts_with(
                "## Score of policies: s\n\n0 of 12 trials, finished.\n\nTake \\`a\\`.\n\n**The server's invariants were violated once"
            ),
            "{text}"
        );
        assert!(
            text.contains("| a\\|b &lt;b&gt; | 0.5 % | 100 | 100 of 100 | 96-100 % | 11 (19) | 1 h | - |\n"),
            "{text}"
        );
        assert!(text.contains("**Signatures are modelled"), "{text}");
    }
}
