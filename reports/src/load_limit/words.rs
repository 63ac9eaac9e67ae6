//! The answer in words, the steps as rows, and how they were measured.

use super::{Bottleneck, LoadLimit, Reading, SearchState, Step, StepVerdict};
use crate::number::{devices, grouped, millis, span, whole};

/// Columns of the table of steps.
pub(super) const COLUMNS: [&str; 11] = [
    "Step",
    "Result",
    "Offered/min",
    "Answered/min",
    "Samples",
    "p50",
    "p99",
    "p99.9",
    "Send lag p99",
    "Cores: server, generator",
    "CPU µs a heartbeat: server, generator",
];

/// A rate in heartbeats a minute.
pub(super) fn rate(per_min: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative")]
    let rounded = per_min.round() as u64;
    grouped(rounded)
}

/// The answer, a sentence each, the most important first.
pub fn answer(of: &LoadLimit) -> Vec<String> {
    let mut sentences = Vec::new();
    match of.state {
        SearchState::Running => sentences.push("The search goes on.".to_owned()),
        SearchState::OutOfTime => sentences.push(format!(
            "The budget of {} ended before the answer was confirmed: give a longer --budget.",
            span(of.setup.budget_s)
        )),
        SearchState::Interrupted => sentences.push("Interrupted: this is what was known by then.".to_owned()),
        SearchState::Broken => {
            sentences.push(format!("PARTIAL: {}. This is what was known by then.", of.broken.trim_end_matches('.')));
        }
        SearchState::Finished => {}
    }
    sentences.push(bounds(of));
    sentences.extend(gave_out_first(of));
    sentences
}

/// The limit, with the runs behind each end.
fn bounds(of: &LoadLimit) -> String {
    let interval = of.interval;
    let Some(held) = interval.held_per_min else {
        let Some(lowest) =
            of.steps.iter().filter(|step| step.verdict != StepVerdict::Broken).min_by_key(|step| step.devices)
        else {
            return "No step was completed.".to_owned();
        };
        let why = lowest.reasons.first().map_or_else(String::new, |why| format!(": {why}"));
        return format!(
            "No offered rate met the expectations, not even the lowest that was tried, {} heartbeats a minute{why}.",
            rate(lowest.planned_per_min)
        );
    };
    let fleet = fleet(of, held);
    let runs = |runs: u32| if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    let held_in = if interval.held_runs == 1 {
        "the one run".to_owned()
    } else {
        format!("each of {}", runs(interval.held_runs))
    };
    let held_there = format!("the expectations held in {held_in} there");
    let above = interval.above_per_min.map(|above| {
        format!("at {} a minute not in {} of {}", rate(above), interval.above_failed, runs(interval.above_runs))
    });
    let rate = rate(held);
    match (of.is_lower_bound, of.is_confirmed, above) {
        (true, _, Some(above)) => format!("At least {rate} heartbeats a minute ({fleet}): {held_there}, and {above}."),
        (true, _, None) => {
            format!("At least {rate} heartbeats a minute ({fleet}), the highest rate that was offered: {held_there}.")
        }
        (false, true, Some(above)) => {
            format!("The limit is {rate} heartbeats a minute ({fleet}): {held_there}, and {above}.")
        }
        (false, _, Some(above)) => format!(
            "The limit is from {rate} heartbeats a minute on ({fleet}), not confirmed: {held_there}, and {above}."
        ),
        (false, _, None) => format!(
            "At least {rate} heartbeats a minute ({fleet}), not confirmed: {held_there}, and no higher rate failed yet."
        ),
    }
}

/// The fleet that offers a rate.
fn fleet(of: &LoadLimit, per_min: f64) -> String {
    let step = of.steps.iter().find(|step| (step.planned_per_min - per_min).abs() < 0.5);
    let count =
        step.map_or_else(|| "devices".to_owned(), |step| crate::number::group_in_sentence(&devices(step.devices)));
    format!("{count}, a heartbeat every {} each", span(of.setup.interval_s))
}

/// Who gave out first, with the evidence.
fn gave_out_first(of: &LoadLimit) -> Vec<String> {
    let Some(first) = of.bottleneck else { return Vec::new() };
    let is_nothing = of.interval.held_per_min.is_none();
    if first == Bottleneck::Unknown && is_nothing {
        return vec!["Nothing that was watched was used up there: a lower load would not meet them either.".to_owned()];
    }
    if first == Bottleneck::Unknown {
        let unknown = "What gave out first is unknown: nothing that was watched reached its threshold.".to_owned();
        let hidden = of.evidence().is_some_and(|step| step.server_cores.is_none());
        let cpu = "The server's CPU could not be read: its process is not this search's own, and its /metrics has no process_cpu_seconds_total.";
        return std::iter::once(unknown).chain(hidden.then(|| cpu.to_owned())).collect();
    }
    let step = of.evidence_step.map_or_else(String::new, |step| format!(" (step {step})"));
    let reading = of
        .evidence()
        .and_then(|step| step.readings.iter().find(|reading| reading.of == first && reading.reached == Some(true)));
    let evidence = reading.map_or_else(String::new, |reading| format!(": {}{step}", evidence(reading)));
    let at = if is_nothing { "There" } else { "Above it" };
    let mut sentences = vec![format!("{at} {} gave out first{evidence}.", first.words())];
    if first.hides_the_server() {
        sentences.push(
            "So this is not the server's limit: use another machine, or more of them, to generate the load.".to_owned(),
        );
    }
    sentences
}

/// `share of the time in commits was 0.97, and counts from 0.9 on`.
pub(super) fn evidence(of: &Reading) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), crate::number::compact);
    let note = if of.note.is_empty() { String::new() } else { format!(" ({})", of.note) };
    let from =
        of.threshold.map_or_else(String::new, |from| format!(", and counts from {} on", crate::number::compact(from)));
    format!("{} was {}{note}{from}", of.metric, number(of.measured))
}

/// The result of a step, in a word or two.
fn word(of: &Step) -> &'static str {
    match of.verdict {
        StepVerdict::Held => "held",
        StepVerdict::Failed => "failed",
        StepVerdict::Unmeasured => "not measured",
        StepVerdict::Broken => "broken off",
    }
}

/// The same with the first of its reasons.
pub(super) fn result(of: &Step) -> String {
    let first = of.reasons.first().map_or_else(String::new, |first| format!(": {first}"));
    let more = of.reasons.len().saturating_sub(1);
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    format!("{}{first}{more}", word(of))
}

/// Why steps did not hold, a sentence each.
pub(super) fn reasons(of: &LoadLimit) -> Vec<String> {
    let not_held = of.steps.iter().filter(|step| !step.reasons.is_empty());
    not_held.map(|step| format!("Step {} {}: {}.", step.number, word(step), step.reasons.join("; "))).collect()
}

/// The cells of a step.
pub fn row(of: &Step) -> [String; 11] {
    let none = || "–".to_owned();
    let ms = |value: Option<f64>| value.map_or_else(none, millis);
    let cores = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |cores| format!("{cores:.2}"));
    let us = |value: Option<f64>| of.cpu_us_per_heartbeat(value).map_or_else(none, whole);
    [
        format!("{} ({})", of.number, of.purpose),
        word(of).to_owned(),
        offered(of),
        rate(of.acked_per_min),
        of.latency_ms.map_or_else(none, |of| grouped(of.count)),
        ms(of.latency_ms.map(|of| of.p50)),
        ms(of.latency_ms.map(|of| of.p99)),
        ms(of.latency_ms.map(|of| of.p999)),
        ms(of.send_lag_ms.map(|of| of.p99)),
        format!("{}, {}", cores(of.server_cores), cores(Some(of.generator_cores))),
        format!("{}, {}", us(of.server_cores), us(Some(of.generator_cores))),
    ]
}

/// What the fleet of a step offers, and what was really due where that was less: of devices that were not registered, or waited.
fn offered(of: &Step) -> String {
    let planned = rate(of.planned_per_min);
    let is_less = of.offered_per_min < of.planned_per_min * 0.99;
    if is_less { format!("{planned} ({} due)", rate(of.offered_per_min)) } else { planned }
}

/// A step in a line, for a terminal.
pub fn step_line(of: &Step) -> String {
    let p99 = of.latency_ms.map_or_else(|| "-".to_owned(), |latency| millis(latency.p99));
    let purpose = &of.purpose;
    let line = format!(
        "step {}: {} offered, {} answered a minute | p99 {p99} | {purpose} | {}",
        of.number,
        offered(of),
        rate(of.acked_per_min),
        result(of)
    );
    line.replace('\u{a0}', " ")
}

/// All steps by load, for a terminal.
pub fn table(of: &LoadLimit) -> String {
    let mut steps: Vec<&Step> = of.steps.iter().collect();
    steps.sort_by(|one, other| one.planned_per_min.total_cmp(&other.planned_per_min));
    steps.iter().map(|step| step_line(step)).collect::<Vec<_>>().join("\n")
}

/// How it was measured.
pub(super) fn how(of: &LoadLimit) -> Vec<String> {
    let setup = &of.setup;
    let chance = 0.05_f64.powf(1.0 / f64::from(setup.repeats.max(1))) * 100.0;
    let named = |list: &[String]| list.iter().map(|of| format!("`{of}`")).collect::<Vec<_>>().join(", ");
    let mut sentences = vec![
        format!(
            "Each step is a load run of its own, with a new fleet whose number of devices gives the offered rate; they send on their own schedule, answered or not (open loop), and latency counts from the moment a heartbeat was due. Registration and warm-up are not measured. Expectations: {}; and of what is offered 99 % must be answered OK.",
            named(&setup.expectations)
        ),
        samples(of),
        format!(
            "The search doubles or halves the load until one holds and one does not, halves the interval (geometrically) until its ends are {} % apart, and runs both ends {} times in all. If an expectation held with a chance of less than {chance:.0} % at a load, it would hold in {} of {} runs with a chance of less than 5 %.",
            setup.resolution_per_cent, setup.repeats, setup.repeats, setup.repeats
        ),
        format!(
            "Who gave out first is judged at the lowest load that failed, in the order of the evidence; the first that reached its threshold is named. The knee is the highest load whose 99th percentile is at most {} times the lowest one.",
            super::knee::KNEE_FACTOR
        ),
    ];
    if !setup.left_out.is_empty() {
        sentences.push(format!("Left out, because they are about the size of the scenario's own fleet or about something else than load: {}.", named(&setup.left_out)));
    }
    if setup.verify_percent < 100 {
        sentences.push(format!(
            "The generator verified the signatures of {} % of the answers, drawn at random, and of all refusals.",
            setup.verify_percent
        ));
    }
    if !setup.without.is_empty() {
        sentences.push(format!("Steps run without the scenario's {}.", setup.without.join(", ")));
    }
    sentences
}

/// How many samples a step has, and why.
fn samples(of: &LoadLimit) -> String {
    let setup = &of.setup;
    let part = 1.0 - setup.quantile;
    let percentile = crate::number::compact(setup.quantile * 100.0);
    let beyond = |samples: u64| crate::number::compact(samples as f64 * part);
    let (wanted, fewest) = (setup.samples_wanted, setup.samples_min);
    let [wanted_words, fewest_words] = [wanted, fewest].map(grouped);
    let length = format!(
        "A step is long enough for {wanted_words} heartbeats where the budget allows it, never for fewer than {fewest_words}"
    );
    let known = format!("{} of {wanted_words} are known to ±{} %", beyond(wanted), uncertain(wanted, part));
    let fewer = if setup.has_percentile {
        format!(", {} of {fewest_words} to ±{} %", beyond(fewest), uncertain(fewest, part))
    } else {
        ". No expectation is about a percentile; if none of 100 answers failed, fewer than 3 % do (95 %)".to_owned()
    };
    format!(
        "{length}: percentile {percentile} is decided by the {} slowest of them, and how many of n samples are beyond a bound varies \
         by 1.96 times the root of their number: {known}{fewer}. One stall delays many heartbeats together, so samples of one run are \
         not independent: what decides are repeated runs.",
        share_of(part)
    )
}

/// `1 %`.
fn share_of(part: f64) -> String {
    format!("{}\u{a0}%", crate::number::compact(part * 100.0))
}

/// How far the number beyond a percentile is uncertain, in per cent: 1.96 standard deviations of a Poisson number.
fn uncertain(samples: u64, part: f64) -> String {
    let beyond = (samples as f64 * part).max(1.0);
    format!("{:.0}", 196.0 / beyond.sqrt())
}

/// Steps that held, of all that count.
pub(super) fn counted(of: &LoadLimit) -> String {
    let count = |is: fn(&Step) -> bool| u64::try_from(of.steps.iter().filter(|step| is(step)).count()).unwrap_or(0);
    let held = count(|step| step.verdict == StepVerdict::Held);
    let all = count(|_| true);
    format!("{} steps, {} held", grouped(all), grouped(held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_limit::sample;

    fn plain(of: &LoadLimit) -> String {
        answer(of).join(" ").replace('\u{a0}', " ")
    }

    #[test]
    fn a_confirmed_limit_names_both_ends_and_who_gave_out_first_with_its_evidence() {
        let text = plain(&sample::found());
        assert!(text.starts_with("The limit is 480 000 heartbeats a minute (8 000 devices, a heartbeat every 1 s each): the expectations held in each of 3 runs there, and at 504 540 a minute not in 3 of 3 runs."), "{text}");
        assert!(text.contains("Above it the server's commit queue gave out first: share of the time in commits was 0.97, and counts from 0.9 on (step 4)."), "{text}");
        assert!(!text.contains("not the server's limit"));
    }

    #[test]
    fn where_the_generator_gave_out_it_is_never_called_the_limit() {
        for first in
            [Bottleneck::GeneratorSockets, Bottleneck::GeneratorCpu, Bottleneck::GeneratorLag, Bottleneck::Machine]
        {
            let text = plain(&LoadLimit { bottleneck: Some(first), is_lower_bound: true, ..sample::found() });
            assert!(text.starts_with("At least 480 000") && text.contains("not the server's limit"), "{text}");
            assert!(!text.contains("The limit is"), "{text}");
        }
    }

    #[test]
    fn nothing_that_holds_names_the_lowest_rate_and_why() {
        let mut found = sample::found();
        found.interval.held_per_min = None;
        found.steps.truncate(2);
        found.steps[0] = sample::step(1, 78, 2.0, StepVerdict::Failed);
        let text = plain(&found);
        assert!(
            text.contains(
                "not even the lowest that was tried, 4 680 heartbeats a minute: `heartbeat.p99_ms <= 50` was not met"
            ),
            "{text}"
        );
        assert!(text.contains("There the server's commit queue gave out first"), "{text}");
        let idle = plain(&LoadLimit { bottleneck: Some(Bottleneck::Unknown), ..found.clone() });
        assert!(idle.contains("Nothing that was watched was used up there"), "{idle}");
        found.steps.clear();
        assert!(plain(&found).contains("No step was completed."));
    }

    #[test]
    fn what_ended_early_says_so_first() {
        let unconfirmed = LoadLimit { state: SearchState::OutOfTime, is_confirmed: false, ..sample::found() };
        assert!(plain(&unconfirmed).starts_with("The budget of 10 min ended"), "{}", plain(&unconfirmed));
        assert!(plain(&unconfirmed).contains("not confirmed"));
        let broken = LoadLimit { state: SearchState::Broken, broken: "the target died".to_owned(), ..unconfirmed };
        assert!(plain(&broken).starts_with("PARTIAL: the target died."));
    }

    /// By hand: 100 beyond are known to 1.96 / 10 = 20 %, 10 to 1.96 / 3.16 = 62 %; three runs of three: 0.05^(1/3) = 0.368.
    #[test]
    fn how_many_samples_a_percentile_needs_is_explained_with_numbers() {
        let text = how(&sample::found()).join(" ").replace('\u{a0}', " ");
        assert!(
            text.contains("10 000 heartbeats")
                && text.contains("100 of 10 000 are known to ±20 %, 10 of 1 000 to ±62 %"),
            "{text}"
        );
        assert!(text.contains("less than 37 %") && text.contains("the 1 % slowest"), "{text}");
    }
}
