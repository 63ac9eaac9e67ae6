//! A sweep in words: the table, the recommendation, and how it was computed.

use std::collections::BTreeMap;

use super::{
    Configuration, Figures, Spread, Sweep, SweepSetup, SweepTrial, TriedConfiguration, reacting_cohort, reaction,
};
use crate::{
    number::{compact, grouped, share, span},
    score::State,
};

/// Most names in a list.
const NAMED_MAX: usize = 8;
/// Columns of the table, the first for the name.
pub(super) const COLUMNS: [&str; 14] = [
    "Configuration",
    "Trials met",
    "Honest refused",
    "Devices late",
    "Attacks let through",
    "Peak, requests/s",
    "Refused again",
    "Second peak, requests/s",
    "Sent per wanted",
    "Sent per served",
    "99 % back after",
    "Writes at a time",
    "Limiter memory",
    "Front",
];

/// A share in per cent; only zero is 0 %.
pub(crate) fn per_cent(of: f64) -> String {
    match of * 100.0 {
        of if of <= 0.0 => "0\u{a0}%".to_owned(),
        of if of < 0.01 => "<\u{a0}0.01\u{a0}%".to_owned(),
        of if of < 10.0 => format!("{of:.2}\u{a0}%"),
        of => format!("{of:.1}\u{a0}%"),
    }
}

/// The values of the settings that are varied, in short, else the name.
pub(crate) fn short(setup: &SweepSetup, of: &Configuration) -> String {
    let values: Vec<&str> = setup.varied.iter().filter_map(|own| Some(of.settings.get(&own.name)?.as_str())).collect();
    if values.is_empty() { of.name.clone() } else { values.join(" / ") }
}

/// The settings that are varied: `A / B`.
pub(crate) fn varied_names(setup: &SweepSetup) -> String {
    setup.varied.iter().map(|of| of.name.as_str()).collect::<Vec<_>>().join(" / ")
}

/// A mean without a fraction that says nothing.
fn mean(of: Spread) -> String {
    compact(of.mean)
}

/// Cells of a row after the name.
const CELLS: usize = COLUMNS.len() - 1;

/// The cells of a configuration's row after its name.
pub(super) fn row(of: &TriedConfiguration) -> [String; CELLS] {
    let none = || "–".to_owned();
    let Some(figures) = &of.figures else {
        let why = if of.configuration.refused.is_some() { "refused by the server" } else { "not tried yet" };
        return std::array::from_fn(|nth| match nth {
            0 => why.to_owned(),
            nth if nth + 1 == CELLS => String::new(),
            _ => none(),
        });
    };
    let attacks = if figures.attacks.mean > 0.0 {
        format!("{} of {}", mean(figures.attacks_let_through), mean(figures.attacks))
    } else {
        none()
    };
    [
        format!("{} of {}", figures.passed, figures.trials),
        per_cent(figures.refused_share.mean),
        figures.late_devices.map_or_else(none, mean),
        attacks,
        mean(figures.let_through_per_s_max),
        figures.refused_again.map_or_else(none, mean),
        figures.second_peak_per_s.map_or_else(none, mean),
        figures.sent_per_wanted.map_or_else(none, |of| format!("{:.2}", of.mean)),
        figures.sent_per_served.map_or_else(none, |of| format!("{:.2}", of.mean)),
        match (figures.never_served, figures.recovery_p99_s) {
            (0, recovered) => recovered.map_or_else(none, |of| span(of.mean)),
            (never, _) => format!("never: {}", grouped(never)),
        },
        figures.writes_in_progress_max.map_or_else(none, mean),
        figures.limit_memory_bytes.map_or_else(none, |bytes| format!("{} KB", compact(bytes.mean / 1_000.0))),
        if of.is_on_front { "yes".to_owned() } else { String::new() },
    ]
}

/// Columns that say something: not those that no configuration has.
pub(super) fn columns(of: &Sweep) -> Vec<usize> {
    let rows: Vec<[String; CELLS]> = of.tried.iter().map(row).collect();
    let says = |nth: &usize| rows.iter().any(|row| row.get(*nth).is_some_and(|cell| cell != "–" && !cell.is_empty()));
    (0..CELLS).filter(says).collect()
}

/// The table for a terminal.
pub fn table(of: &Sweep) -> String {
    let columns = columns(of);
    let pick = |cells: &[String]| columns.iter().filter_map(|nth| cells.get(*nth).cloned()).collect::<Vec<_>>();
    let heading: Vec<String> = COLUMNS.iter().skip(1).map(|name| (*name).to_owned()).collect();
    let mut lines = vec![("  Configuration".to_owned(), pick(&heading))];
    for tried in &of.tried {
        let is_it = of.recommended.as_ref() == Some(&tried.configuration.name);
        let name = format!("{}{}", if is_it { "> " } else { "  " }, short(&of.setup, &tried.configuration));
        lines.push((name, pick(&row(tried))));
    }
    let width = |text: &str| text.chars().count();
    let first = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let widest =
        |nth: usize| lines.iter().filter_map(|(_, cells)| cells.get(nth)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    let line = |(name, cells): &(String, Vec<String>)| {
        let padded = |(cell, wide): (&String, usize)| format!("  {cell:>wide$}");
        let cells: String = cells.iter().zip(widths.iter().copied()).map(padded).collect();
        format!("{name:<first$}{cells}").trim_end().replace('\u{a0}', " ")
    };
    let varied = varied_names(&of.setup);
    let above = if varied.is_empty() { None } else { Some(format!("Configurations: {varied}")) };
    above.into_iter().chain(lines.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// How many trials were made of how many, and how they ended.
pub fn made(of: &Sweep) -> String {
    let tried = of.setup.configurations.iter().filter(|of| of.refused.is_none()).count() as u64;
    let all = tried * u64::from(of.setup.trials);
    let made = format!("{} of {} trials of {} configurations", grouped(of.trials_made), grouped(all), grouped(tried));
    match of.setup.state {
        State::Running => format!("{made}, running"),
        State::Interrupted => format!("{made}, interrupted"),
        State::OutOfTime => format!("{made}, ended by the budget of time"),
        State::GoalReached | State::Finished => format!("{made}, finished"),
    }
}

/// The figures that decide, in a sentence.
fn figures(setup: &SweepSetup, of: &Figures) -> String {
    let late = of.late_devices.map_or_else(String::new, |late| {
        let deadline = of.deadline_s.map_or_else(String::new, |deadline| format!(" of {}", span(deadline)));
        format!(", {} of {} devices miss their deadline{deadline}", mean(late), grouped(setup.devices))
    });
    let refused = if of.refused_share.max <= 0.0 {
        "no honest request is refused".to_owned()
    } else {
        format!("{} of honest requests are refused", per_cent(of.refused_share.mean))
    };
    let (sent, through) = (of.attacks.mean.max(0.0).round(), of.attacks_let_through.mean.max(0.0).round());
    let attacks = if setup.has_attackers {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a mean of counts; a cast saturates"
        )]
        let part = share(through as u64, sent as u64);
        format!(", and {} of {} attackers' requests get through ({part})", compact(through), compact(sent))
    } else {
        format!(", and the server has to answer {} requests a second at the peak", mean(of.let_through_per_s_max))
    };
    format!("{refused}{late}{attacks}{}", second_wave(setup, of))
}

/// What comes back after a refusal, where reactions are varied.
fn second_wave(setup: &SweepSetup, of: &Figures) -> String {
    if setup.varied.iter().all(|of| reacting_cohort(&of.name).is_none()) {
        return String::new();
    }
    let Some((again, peak)) = of.refused_again.zip(of.second_peak_per_s) else {
        return ". Nobody was refused, so there was no second wave".to_owned();
    };
    let back = match (of.never_served, of.recovery_p99_s) {
        (0, Some(recovered)) => format!(", and 99\u{a0}% of the devices are back after {}", span(recovered.mean)),
        (0, None) => String::new(),
        (never, _) => format!(", and {} devices never came back", grouped(never)),
    };
    let again = if again.max <= 0.0 {
        "None of the refused requests is refused again".to_owned()
    } else {
        format!("{} requests are refused again", mean(again))
    };
    format!(". {again}, at most {} a second are sent again after a refusal{back}", mean(peak))
}

/// That none is recommended, and which comes nearest; `trials` by configuration.
pub(super) fn none_recommended(
    setup: &SweepSetup,
    tried: &[TriedConfiguration],
    nearest: &TriedConfiguration,
    trials: &BTreeMap<&str, Vec<&SweepTrial>>,
) -> String {
    let Some(own) = &nearest.figures else { return String::new() };
    let name = nearest.configuration.name.as_str();
    let why = reaction::why_not(trials.get(name).map(Vec::as_slice).unwrap_or_default());
    let mut sentences = vec![
        nothing(tried),
        format!("{name} comes nearest, and met them in {} of {}{why}.", own.passed, own.trials),
        format!("Under it {}.", figures(setup, own)),
    ];
    sentences.extend(reaction::in_words(setup, tried, &nearest.configuration, trials));
    sentences.extend(too_tight(setup, tried));
    sentences.push(fired(own));
    sentences.retain(|sentence| !sentence.is_empty());
    sentences.join(" ")
}

/// Why nothing is recommended.
fn nothing(tried: &[TriedConfiguration]) -> String {
    let all = tried.iter().filter(|of| of.figures.is_some()).count();
    let unproven: Vec<&str> = unproven(tried).map(|of| of.configuration.name.as_str()).collect();
    match unproven.as_slice() {
        [] => "Nothing is recommended: no configuration met the scenario's expectations in each trial.".to_owned(),
        all_of_them if all_of_them.len() == all => {
            "Nothing is recommended: the trials of each configuration showed too little.".to_owned()
        }
        [only] => format!(
            "Nothing is recommended: the trials of {only} showed too little, and no other met the scenario's expectations in each trial."
        ),
        [first, rest @ ..] => format!(
            "Nothing is recommended: the trials of {first} and {} more showed too little, and no other met the scenario's expectations in each trial.",
            rest.len()
        ),
    }
}

/// The configurations that neither met the scenario's expectations in each trial nor missed them in one.
pub(super) fn unproven(tried: &[TriedConfiguration]) -> impl Iterator<Item = &TriedConfiguration> {
    tried.iter().filter(|of| of.figures.as_ref().is_some_and(|own| !own.meets() && !own.has_failed()))
}

/// That all configurations refuse honest requests.
fn too_tight(setup: &SweepSetup, tried: &[TriedConfiguration]) -> Option<String> {
    let refuse = tried.iter().filter_map(|of| of.figures.as_ref()).all(|of| of.refused_share.max > 0.0);
    (!setup.varies_reactions_only() && refuse)
        .then(|| "Every configuration that was tried refuses honest requests: try more generous ones.".to_owned())
}

/// The recommendation; `trials` by configuration.
pub(super) fn recommendation(
    setup: &SweepSetup,
    tried: &[TriedConfiguration],
    of: &TriedConfiguration,
    trials: &BTreeMap<&str, Vec<&SweepTrial>>,
) -> String {
    let Some(own) = &of.figures else { return String::new() };
    let is_reaction = setup.varies_reactions_only();
    let of_reactions = reaction::in_words(setup, tried, &of.configuration, trials);
    let under_it = format!("Under it {}.", figures(setup, own));
    let mut sentences = vec![format!("Recommended: {}.", of.configuration.name)];
    // What was asked for comes first.
    sentences.extend(if is_reaction {
        [of_reactions, vec![under_it]].concat()
    } else {
        [vec![under_it], of_reactions].concat()
    });
    sentences.extend(too_tight(setup, tried));
    let worse = |tried: &TriedConfiguration| tried.figures.as_ref().is_some_and(|figures| figures.cost() > own.cost());
    let costly = tried.iter().filter(|of| worse(of)).count();
    if costly > 0 {
        sentences.push(format!("{costly} of {} configurations cost honest devices more.", tried.len()));
    }
    sentences.push(apart(tried, own.trials));
    sentences.push(fired(own));
    sentences.push(warned(tried, of));
    if !of.configuration.warnings.is_empty() {
        sentences.push(format!("The server would warn: {}.", of.configuration.warnings.join("; ")));
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences.join(" ")
}

/// The configurations that met what was expected and come last, because the server warns of them: without it, one with better figures in
/// the table looks overlooked.
fn warned(tried: &[TriedConfiguration], best: &TriedConfiguration) -> String {
    let of_best = best.configuration.warnings.len();
    let is_last = |of: &&TriedConfiguration| {
        of.configuration.warnings.len() > of_best && of.figures.as_ref().is_some_and(Figures::meets)
    };
    let names: Vec<&str> = tried.iter().filter(is_last).map(|of| of.configuration.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("The server would warn of {}: what it warns of comes last.", listed(&names))
}

/// The first names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let first = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Which limits fired under it; nothing if the server does not count that.
fn fired(of: &Figures) -> String {
    let fired: Vec<String> = of
        .fired
        .iter()
        .filter(|(_, mean)| **mean > 0.0)
        .map(|(name, mean)| format!("{name} ({})", compact(*mean)))
        .collect();
    match (of.fired.is_empty(), fired.is_empty()) {
        (true, _) => String::new(),
        (false, true) => "No limit fired under it.".to_owned(),
        (false, false) => {
            format!("Limits that fired under it, with the requests that they refused: {}.", fired.join(", "))
        }
    }
}

/// What the trials do not tell apart from the recommended configuration.
fn apart(tried: &[TriedConfiguration], trials: usize) -> String {
    if tried.iter().filter(|of| of.figures.is_some()).count() < 2 {
        return String::new();
    }
    if trials < 2 {
        return "With one trial of each, what differs by little may be chance: use --trials 3 or more.".to_owned();
    }
    let same: Vec<&str> =
        tried.iter().filter(|of| of.is_distinguished == Some(false)).map(|of| of.configuration.name.as_str()).collect();
    if same.is_empty() {
        return format!("{trials} trials of each tell it apart from every other one.");
    }
    format!("{trials} trials of each do not tell it apart from {}.", listed(&same))
}

/// How the figures were computed.
pub(super) fn how(of: &Sweep) -> String {
    format!(
        "Each trial rehearses the scenario for {} on a virtual clock, against the real backend with the settings of one configuration; \
         every configuration gets the same seeds from {} on, so the same devices do the same until a limit refuses one of them. Refused: honest \
         requests answered RATE_LIMITED or OVERLOADED, of all that honest devices sent. Late: honest devices whose stored heartbeats were \
         further apart than the deadline of presence (two intervals), for whatever reason, from the end of the ramp to the end. \
         Let through: attackers' requests that no limit refused, so that the server had to judge them. Peak: the same of all requests, \
         a second, in the busiest tick. Refused again: honest requests that a limit refused although it had refused the last request of the same kind by the same device. \
         Second peak: requests in the busiest second that honest devices sent after such a refusal. \
         Sent per wanted: heartbeats that honest devices sent, repeated ones included, for each that was due by schedule. \
         Sent per served: requests that honest devices sent for each one that was answered OK. Back: the time from the end of \
         an outage until 99 % of the devices that it affected were served again; never: how many were not, in all trials. Numbers are means \
         over the trials. Two configurations are distinguished if the 95 % limits of the mean difference on the same seeds (paired t \
         test) leave zero out for any of refused, refused again, late, let through, peak and back; of a hundred comparisons, a few say so by chance.",
        span(of.setup.simulated_s),
        of.setup.first_seed,
    )
}
