//! `summary.md`: the answer, the evidence and the steps, for a CI job's summary.

use super::{LoadLimit, words};
use crate::escape::markdown as text;

pub(super) fn summary(of: &LoadLimit) -> String {
    let plain = |of: &str| text(of).replace('\u{a0}', " ");
    let mut lines =
        vec![format!("## {}: load limit of {}", super::page::verdict_word(of), text(&of.scenario)), String::new()];
    lines.extend(words::answer(of).iter().map(|sentence| plain(sentence) + "\n"));
    lines.extend(of.reasons.iter().map(|reason| format!("- {}", plain(reason))));
    lines.push(String::new());
    lines.push("| offered/min | answered/min | p50 | p99 | result |".to_owned());
    lines.push("| ---: | ---: | ---: | ---: | --- |".to_owned());
    let mut steps: Vec<_> = of.steps.iter().collect();
    steps.sort_by(|one, other| one.planned_per_min.total_cmp(&other.planned_per_min));
    for step in steps {
        let [_, _, offered, answered, _, p50, p99, ..] = words::row(step);
        let cells = [offered, answered, p50, p99, words::result(step)].map(|cell| plain(&cell));
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    lines.push(String::new());
    lines.push(format!("Repeat: `{}`", of.replay.replace('`', "'")));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_limit::sample;

    #[test]
    fn every_step_is_a_row_and_names_are_escaped() {
        let text = summary(&sample::found());
        assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 2 + 7, "{text}");
        assert!(
            text.contains("The limit is 480 000") && !text.contains("<script>") && !text.contains(" <90>"),
            "{text}"
        );
    }
}
