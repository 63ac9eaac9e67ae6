//! A score's numbers formatted with units, and its table for a terminal.

use super::{
    Cell, Comparison, Goal, PolicyScore, Score, State,
    compare::{Sign, with},
    rank::ranked,
};
use crate::number::{grouped, span};

/// Notes needed to judge a score.
pub(super) fn notes(score: &Score) -> [&'static str; 3] {
    [
        "Rehearsals call the server within one process: the effects of sockets (keep-alive, header time-outs, back pressure) are not \
         included.",
        if score.until.is_none() {
            "The limits hold for each line of a table separately, and for a number of trials that was chosen in advance. Of twenty \
             lines, one is likely to have its true share outside. To end trials once they show enough, use --until."
        } else {
            "The limits hold however often they are looked at, and for all lines together: those of all shares, and those of all \
             comparisons, each with 95 % confidence (confidence sequences: Robbins' mixture with Jeffreys' prior, and \
             Bonferroni's inequality)."
        },
        "Broken devices and times are of this scenario: another fleet, or another pace, gives others.",
    ]
}

/// Headings of the table.
pub(super) const COLUMNS: [&str; 8] =
    ["policy", "bug rate", "trials", "found", "95 % limits", "broken (p95)", "found after", "complete after"];

/// The title of its page.
pub(super) fn title(score: &Score) -> String {
    let what = if score.passes.is_some() { "Trials" } else { "Score of policies" };
    format!("{what}: {}", score.scenario)
}

/// How many trials were made of how many, and whether they still run or how they ended.
pub fn state(score: &Score) -> String {
    let of = score.trials_per_cell * score.cells;
    let made = format!("{} of {} trials", grouped(score.trials_made as u64), grouped(of as u64));
    match score.state {
        State::Running => format!("{made}, running"),
        State::Interrupted => format!("{made}, interrupted"),
        State::OutOfTime => format!("{made}, ended by the budget of time"),
        State::GoalReached => format!("{made}, finished: {}", goal(score)),
        State::Finished if score.until.is_some() => format!("{made}, finished, but not {}", goal(score)),
        State::Finished => format!("{made}, finished"),
    }
}

/// What a goal is, as a fact.
fn goal(score: &Score) -> String {
    match score.until {
        Some(Goal::Distinguished) => "every policy is distinguished from every other one".to_owned(),
        Some(Goal::WidthBp(width_bp)) => {
            format!("all limits of shares are within {} points", f64::from(width_bp) / 100.0)
        }
        None => "no goal".to_owned(),
    }
}

/// How many trials passed, and how many of all would; none if the scenario's own expectations are not judged.
pub fn passes(score: &Score) -> Option<String> {
    let passes = score.passes.as_ref().filter(|passes| passes.trials > 0)?;
    Some(format!(
        "{} of {} passed: {:.1} to {:.1} % of all would, with 95 % confidence",
        passes.passed,
        trials(passes.trials),
        (passes.limits.0 * 1_000.0).floor() / 10.0, // rounded outwards: they claim no more than was shown
        (passes.limits.1 * 1_000.0).ceil() / 10.0
    ))
}

/// A warning if signatures are modelled.
pub(super) fn modelled(score: &Score) -> Option<String> {
    let is_modelled = score.signatures == "modelled";
    is_modelled.then(|| "Signatures are modelled: a keyed hash replaces Ed25519, on both sides.".to_owned())
}

/// Says that the server broke invariants, where it did.
pub(super) fn invariant_violations(score: &Score) -> Option<String> {
    let times = match score.invariant_violations {
        0 => return None,
        1 => "once".to_owned(),
        times => format!("{} times", grouped(times)),
    };
    Some(format!("The server's invariants were violated {times}: fix that first, see trials.ndjson."))
}

/// How a score was computed, except the rule of its recommendation.
pub(super) fn how(score: &Score) -> String {
    format!(
        "{made}Each trial rehearses {} devices under a virtual clock, against the real backend, with its own seed from {} on. {interleaved}\
         The bug rate is the share of {population} that the release really fails on, which the server does not know{of_fleet}. Found: the engine \
         stopped the release, permanently or until an operator decides, before it had reached every target; with no bug that is a false \
         alarm. The limits are {limits}. Broken: devices that the release really broke in the whole \
         trial; the median, and the 95th percentile in parentheses. Times count from the start of the rollout, and are medians of \
         the trials in which that happened.",
        grouped(score.devices),
        score.first_seed,
        made = made(score),
        interleaved = if score.cells > 1 {
            "Every policy and rate is tried with one seed before any is tried with the next. "
        } else {
            ""
        },
        limits = if score.until.is_none() { "Clopper-Pearson limits" } else { "a confidence sequence (see the notes)" },
        population = population(score),
        of_fleet = score.fails_only_on.as_ref().map_or_else(String::new, |only| format!(
            " (they are about {} % of the fleet, so its share of all devices is smaller by that factor)",
            percent(f64::from(only.share_of_fleet_bp) / 10_000.0)
        )),
    )
}

/// The devices that the bug rate is a share of.
pub(crate) fn population(score: &Score) -> String {
    score.fails_only_on.as_ref().map_or_else(|| "devices".to_owned(), |only| format!("devices of {}", only.which))
}

/// How many trials were made of each policy and rate, and whether these are all that were requested.
fn made(score: &Score) -> String {
    let asked = score.trials_per_cell;
    let made: Vec<usize> = score.policies.iter().flat_map(|of| &of.cells).map(|cell| cell.trials).collect();
    let least = if made.len() < score.cells { 0 } else { made.iter().copied().min().unwrap_or(0) };
    let most = made.iter().copied().max().unwrap_or(0);
    match asked {
        0 => String::new(),
        asked if least == asked => format!("{} of each policy and rate. ", trials(asked)),
        asked if least == most && score.state == State::GoalReached => {
            format!("{} of each policy and rate, of {} at most. ", trials(least), grouped(asked as u64))
        }
        asked => format!(
            "{} {} of each policy and rate, between {least} and {most} were made, {} of {} in all. ",
            if score.state == State::Running { "Not finished: of" } else { "Ended early: of" },
            trials(asked),
            grouped(made.iter().sum::<usize>() as u64),
            grouped((asked * score.cells) as u64),
        ),
    }
}

/// The table of a score, in columns, with a line for each policy and rate.
pub fn table(score: &Score) -> String {
    let of_policy = |of: &PolicyScore| of.cells.iter().map(|cell| row(&of.policy, cell)).collect::<Vec<_>>();
    in_columns(COLUMNS, score.policies.iter().flat_map(of_policy))
}

/// The recommended policy compared with each other one, in columns; empty if there is no other.
pub fn comparisons(score: &Score) -> String {
    let rows = compared(score);
    if rows.is_empty() { String::new() } else { in_columns(COMPARED, rows) }
}

/// Headings of the comparisons.
pub(super) const COMPARED: [&str; 6] = [
    "on the same seeds",
    "bug rate",
    "found only by each",
    "difference in points (limits)",
    "broken (limits)",
    "what is shown",
];

/// How to read them.
pub(super) fn about_comparisons(score: &Score) -> &'static str {
    if score.until.is_none() {
        "The recommended policy and each other one, with the same devices broken by the same bug on each seed. Difference: the share of \
         seeds on which the first finds the bug, less that of the second, with Tango's score interval (95 %). Broken devices: those of \
         the first less those of the second, mean, with the interval of the paired t test (95 %). Something is shown where an \
         interval leaves zero out."
    } else {
        "The recommended policy and each other one, with the same devices broken by the same bug on each seed. Difference: the share of \
         seeds on which the first finds the bug, less that of the second, with its confidence sequence. Broken devices: those of \
         the first less those of the second, mean, and on how many seeds the first broke fewer, and more. Something is shown where \
         the confidence sequence of such a difference of shares leaves zero out."
    }
}

/// The lines of the comparisons: the best policy first, with each other one and rate.
pub(super) fn compared(score: &Score) -> Vec<[String; 6]> {
    let ranking = ranked(&score.policies);
    let Some((best, others)) = ranking.order.split_first() else { return Vec::new() };
    let of_both = others.iter().flat_map(|other| with(best, other, &score.comparisons));
    of_both.map(|of| compared_row(&of, score.until)).collect()
}

fn compared_row(of: &Comparison, until: Option<Goal>) -> [String; 6] {
    let points = |share: f64| share * 100.0;
    let found = limited(points(of.found.share(of.seeds)), Some((points(of.found.limits.0), points(of.found.limits.1))));
    let broken = if until.is_some() {
        let (fewer, more) = (of.broke_fewer.only_policy, of.broke_fewer.only_other);
        format!("{} (fewer {fewer}, more {more})", limited(of.broken_mean, None))
    } else {
        limited(of.broken_mean, of.broken_limits)
    };
    [
        format!("{} / {}", of.policy, of.other),
        rate(of.bug_rate_bp),
        format!("{} / {} of {}", of.found.only_policy, of.found.only_other, of.seeds),
        found,
        if of.bug_rate_bp == 0 { "-".to_owned() } else { broken },
        shown(of, until),
    ]
}

/// What a comparison shows of its first policy.
fn shown(of: &Comparison, until: Option<Goal>) -> String {
    let (more, fewer) = match of.bug_rate_bp {
        0 => ("more false alarms", "fewer false alarms"),
        _ => ("finds more", "finds fewer"),
    };
    let found = of.finds_more().map(|sign| if sign == Sign::Policy { more } else { fewer });
    let broken = of.breaks_fewer(until).filter(|_| of.bug_rate_bp > 0);
    let broken = broken.map(|sign| if sign == Sign::Policy { "breaks fewer" } else { "breaks more" });
    let shown: Vec<&str> = found.into_iter().chain(broken).collect();
    if shown.is_empty() { "no difference".to_owned() } else { shown.join(", ") }
}

/// A signed number with its limits, rounded outwards to one decimal.
fn limited(value: f64, limits: Option<(f64, f64)>) -> String {
    let signed = |value: f64| if value == 0.0 { "0.0".to_owned() } else { format!("{value:+.1}") };
    let round = |value: f64, to: fn(f64) -> f64| signed(to(value * 10.0) / 10.0 + 0.0);
    let value = round(value, f64::round);
    limits.map_or_else(
        || value.clone(),
        |(low, high)| format!("{value} ({} to {})", round(low, f64::floor), round(high, f64::ceil)),
    )
}

/// Lines in columns; all but the first are aligned to the right.
fn in_columns<const N: usize>(headings: [&str; N], lines: impl IntoIterator<Item = [String; N]>) -> String {
    let mut rows = vec![headings.map(str::to_owned)];
    rows.extend(lines);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(nth, (text, width))| match nth {
            0 => format!("{text:<width$}"),
            _ => format!("{text:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A line of the table.
pub(super) fn row(policy: &str, cell: &Cell) -> [String; 8] {
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), about);
    [
        policy.to_owned(),
        rate(cell.bug_rate_bp),
        cell.trials.to_string(),
        format!("{} of {}", cell.detected, cell.trials),
        format!("{}-{} %", at_least(cell.detected_limits.0), at_most(cell.detected_limits.1)),
        format!("{} ({})", cell.broken_median, cell.broken_p95),
        time(cell.detection_median_s),
        time(cell.completion_median_s),
    ]
}

/// A rounded duration: `45 s`, `26 min`, `1 h 12 min`, `31 h`.
pub(super) fn about(seconds: f64) -> String {
    let step = match seconds {
        36_000.0.. => 3_600.0,
        120.0.. => 60.0,
        _ => 1.0,
    };
    span((seconds / step).round() * step).replace('\u{a0}', " ")
}

/// A share in per cent without its sign. Only all of it is 100, and only nothing is 0.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 | 100.0 | 0.5..99.5 => format!("{percent:.0}"),
        _ => format!("{:.1}", percent.clamp(0.1, 99.9)),
    }
}

/// A lower limit in per cent, cut rather than rounded: it claims no more than was shown. Below 1 % with a decimal.
pub(super) fn at_least(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 1.0 { tenths((percent * 10.0).floor()) } else { format!("{:.0}", percent.floor()) }
}

/// An upper limit in per cent, rounded up: it excludes no more than was shown. Above 99 % with a decimal.
pub(super) fn at_most(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 99.0 { tenths((percent * 10.0).ceil()) } else { format!("{:.0}", percent.ceil()) }
}

/// Tenths as a number with a decimal, unless it is whole.
fn tenths(tenths: f64) -> String {
    let number = tenths / 10.0;
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `1 trial`, `30 trials`.
pub(super) fn trials(count: usize) -> String {
    if count == 1 { "1 trial".to_owned() } else { format!("{count} trials") }
}

/// Basis points in words: `none`, `0.5 %`, `2 %`.
pub(crate) fn rate(bp: u32) -> String {
    match bp {
        0 => "none".to_owned(),
        bp if bp.is_multiple_of(100) => format!("{} %", bp / 100),
        bp => format!("{} %", f64::from(bp) / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::recommend::sample::{cell, policy};

    #[test]
    fn the_table_is_in_columns() {
        let score = Score::of(crate::score::tally::sample::setup("s", "real"), &[]);
        let score = Score { policies: vec![policy("a", vec![cell(0, 0, 0), cell(50, 100, 11)])], ..score };
        let table = table(&score);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2].split_whitespace().next(), Some("a"));
        assert!(
            lines[2].contains("0.5 %") && lines[2].contains("100 of 100") && lines[2].contains("11 (19)"),
            "{table}"
        );
    }

    #[test]
    fn trials_that_were_not_made_are_not_claimed() {
        use crate::score::tally::sample::{setup, trials};
        let text = how(&Score::of(setup("s", "real"), &trials()));
        let wanted = "Ended early: of 3 trials of each policy and rate, between 1 and 3 were made, 6 of 12 in all.";
        assert!(text.starts_with(wanted), "{text}");
        let of_more = crate::score::ScoreSetup { cells: 5, ..setup("s", "real") };
        assert!(
            how(&Score::of(of_more, &trials())).contains("between 0 and 3 were made"),
            "a policy without any counts too"
        );
        let whole = Score { policies: vec![policy("a", vec![cell(0, 0, 0); 4])], ..Score::of(setup("s", "real"), &[]) };
        assert!(how(&Score { trials_per_cell: 100, ..whole }).starts_with("100 trials of each policy and rate. Each"));
    }

    #[test]
    fn a_bug_of_one_model_is_no_share_of_the_fleet() {
        let only = crate::score::FailsOnlyOn { which: "model KS-200".into(), share_of_fleet_bp: 2_700 };
        let asked =
            crate::score::ScoreSetup { fails_only_on: Some(only), ..crate::score::tally::sample::setup("s", "real") };
        let text = how(&Score::of(asked, &[]));
        assert!(text.contains("the share of devices of model KS-200 that the release really fails on"), "{text}");
        assert!(text.contains("they are about 27 % of the fleet"), "{text}");
    }

    #[test]
    fn a_table_of_one_line_is_as_wide_as_its_words() {
        let score = Score::of(crate::score::tally::sample::setup("s", "real"), &[]);
        let one = Score { policies: vec![policy("a", vec![cell(100, 97, 11)])], ..score };
        let table = table(&one);
        let widths: Vec<usize> = table.lines().map(str::len).collect();
        assert_eq!((widths.len(), widths[0]), (2, widths[1]), "{table}");
    }

    #[test]
    fn what_is_not_certain_is_never_called_so() {
        for (share, text) in [
            (0.0, "0"),
            (0.000_1, "0.1"),
            (0.003_7, "0.4"),
            (0.114, "11"),
            (0.996_3, "99.6"),
            (0.999_9, "99.9"),
            (1.0, "100"),
        ] {
            assert_eq!(percent(share), text);
        }
    }

    #[test]
    fn limits_are_rounded_outwards() {
        for (share, low, high) in [
            (0.0, "0", "0"),
            (0.003_7, "0.3", "1"),
            (0.114, "11", "12"),
            (0.827_8, "82", "83"),
            (0.995_01, "99", "99.6"),
            (0.999_16, "99", "100"),
            (1.0, "100", "100"),
        ] {
            assert_eq!((at_least(share), at_most(share)), (low.to_owned(), high.to_owned()), "{share}");
        }
    }
}
