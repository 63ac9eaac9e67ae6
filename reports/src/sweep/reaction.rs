//! How a cohort's devices react to a refusal, as a varied value: `cohort.NAME.retry`, and which is the smallest that will do.

use std::collections::BTreeMap;

use super::{Configuration, SweepSetup, SweepTrial, TriedConfiguration};
use crate::{number::grouped, run_folder::Verdict};

/// How the name of a varied reaction begins and ends, around the cohort's name.
const START: &str = "cohort.";
const END: &str = ".retry";
/// Lengths that differ by no more than that, in seconds, have none between them: a little more than a tenth, the least step, because of
/// rounding.
const LEAST_STEP_S: f64 = 0.11;
/// Most values that are named in a list.
const NAMED_MAX: usize = 8;

/// The name under which a cohort's reaction is varied.
pub fn reaction_of(cohort: &str) -> String {
    format!("{START}{cohort}{END}")
}

/// The cohort whose reaction is varied under this name; none if it is a setting of the server.
pub fn reacting_cohort(name: &str) -> Option<&str> {
    name.strip_prefix(START)?.strip_suffix(END)
}

/// The number that a value stands for: itself, or the seconds of a reaction.
pub(crate) fn number(value: &str) -> Option<f64> {
    value.parse().ok().or_else(|| Some(length(value)?.1))
}

/// The kind of a reaction and its length in seconds. To obey is a jitter of nothing.
fn length(value: &str) -> Option<(&str, f64)> {
    if value == "obey" {
        return Some(("jitter", 0.0));
    }
    let (kind, length) = value.split_once(':')?;
    let (mut seconds, mut rest) = (0.0, length);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest.bytes().skip(digits).take_while(u8::is_ascii_lowercase).count();
        let count: f64 = rest.get(..digits)?.parse().ok()?;
        let unit_s = match rest.get(digits..digits + letters)? {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        seconds += count * unit_s;
        rest = rest.get(digits + letters..)?;
    }
    Some((kind, seconds))
}

/// The reaction that is varied, if nothing else is, and all its values are lengths of one kind.
pub(super) fn only_varied(setup: &SweepSetup) -> Option<&str> {
    let [varied] = setup.varied.as_slice() else { return None };
    reacting_cohort(&varied.name)?;
    let kinds: Option<Vec<&str>> = varied.values.iter().map(|value| Some(length(value)?.0)).collect();
    let kinds = kinds?;
    (kinds.len() > 1 && kinds.iter().all(|kind| Some(kind) == kinds.first())).then_some(varied.name.as_str())
}

/// One value of a reaction: its length, its configuration's number among those tried, and in how many trials it met what was expected.
struct Value<'a> {
    seconds: f64,
    text: &'a str,
    kind: &'a str,
    nth: usize,
    passed: usize,
    trials: usize,
}

impl Value<'_> {
    fn meets(&self) -> bool {
        self.trials > 0 && self.passed == self.trials
    }
}

/// The values of a reaction, from the smallest, of the same kind and with all else as in `plane`.
fn series<'a>(name: &str, tried: &'a [TriedConfiguration], plane: &Configuration) -> Vec<Value<'a>> {
    let others = |of: &Configuration| {
        let mut settings = of.settings.clone();
        settings.remove(name);
        settings
    };
    let own_kind = plane.settings.get(name).and_then(|value| Some(length(value)?.0));
    let wanted = others(plane);
    let value = |(nth, of): (usize, &'a TriedConfiguration)| {
        let text = of.configuration.settings.get(name)?;
        let ((kind, seconds), figures) = (length(text)?, of.figures.as_ref()?);
        let is_in = Some(kind) == own_kind && others(&of.configuration) == wanted && figures.attacks_accepted == 0;
        is_in.then_some(Value { seconds, text, kind, nth, passed: figures.passed, trials: figures.trials })
    };
    let mut values: Vec<Value<'_>> = tried.iter().enumerate().filter_map(value).collect();
    values.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    values
}

/// Where the longest row of neighbors begins and ends that all meet what was expected, the first of several; none if none does.
fn longest_row(values: &[Value<'_>]) -> Option<(usize, usize)> {
    let (mut best, mut begin) = (None, 0);
    for (place, value) in values.iter().enumerate() {
        if !value.meets() {
            begin = place + 1;
        } else if best.is_none_or(|(from, to)| place - begin > to - from) {
            best = Some((begin, place));
        }
    }
    best
}

/// The configuration with the smallest value that will do, if a reaction is all that is varied.
///
/// A single value that meets what was expected by chance, among smaller and larger ones that do not, is not it.
pub(super) fn smallest(setup: &SweepSetup, tried: &[TriedConfiguration]) -> Option<usize> {
    let name = only_varied(setup)?;
    let plane = &tried.iter().find(|of| of.figures.is_some())?.configuration;
    let values = series(name, tried, plane);
    let (from, _) = longest_row(&values)?;
    values.get(from).map(|value| value.nth)
}

/// For each reaction that is varied, which is the smallest that will do, with all else as recommended, and what limits it.
pub(super) fn in_words(
    setup: &SweepSetup,
    tried: &[TriedConfiguration],
    plane: &Configuration,
    trials: &BTreeMap<&str, Vec<&SweepTrial>>,
) -> Vec<String> {
    let mut sentences = Vec::new();
    for varied in &setup.varied {
        let Some(cohort) = reacting_cohort(&varied.name) else { continue };
        let values = series(&varied.name, tried, plane);
        let Some(kind) = values.first().filter(|_| values.len() > 1).map(|value| value.kind) else { continue };
        let what = if kind == "jitter" { "jitter" } else { "pause" };
        if is_without_effect(&values, tried) {
            sentences.push(format!(
                "Every trial ended the same with each {what} of the cohort `{cohort}`: none of its devices was refused, or it has none, so \
                 this says nothing about it."
            ));
            continue;
        }
        let met = |value: &Value<'_>| {
            let name = tried.get(value.nth).map_or("", |of| of.configuration.name.as_str());
            let why = why_not(trials.get(name).map(Vec::as_slice).unwrap_or_default());
            format!("{} met them in {} of {}{why}", value.text, value.passed, value.trials)
        };
        let Some((from, to)) = longest_row(&values) else {
            let each: Vec<String> = values.iter().take(NAMED_MAX).map(met).collect();
            let more = values.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!("; and {more} larger ones") } else { String::new() };
            sentences.push(format!(
                "No {what} of the cohort `{cohort}` that was tried met the scenario's expectations in each trial: {}{more}.",
                each.join("; ")
            ));
            continue;
        };
        sentences.extend(of_row(&values, (from, to), (what, cohort, varied.name.as_str()), met));
    }
    sentences
}

/// Whether the value changes nothing at all.
fn is_without_effect(values: &[Value<'_>], tried: &[TriedConfiguration]) -> bool {
    let mut figures = values.iter().filter_map(|value| tried.get(value.nth)?.figures.as_ref());
    figures.next().is_none_or(|first| figures.all(|of| of == first))
}

/// The smallest value that will do, its neighbors, and what chance leaves open.
fn of_row(
    values: &[Value<'_>],
    (from, to): (usize, usize),
    (what, cohort, name): (&str, &str, &str),
    met: impl Fn(&Value<'_>) -> String,
) -> Vec<String> {
    let (Some(least), Some(most)) = (values.get(from), values.get(to)) else { return Vec::new() };
    let larger =
        if to > from { format!("; they were met with the larger ones up to {} too", most.text) } else { String::new() };
    let mut sentences = vec![format!(
        "The smallest {what} of the cohort `{cohort}` with which the scenario's expectations were met in each trial is {}{larger}.",
        least.text
    )];
    match from.checked_sub(1).and_then(|below| values.get(below)) {
        Some(below) if least.seconds - below.seconds <= LEAST_STEP_S => {
            sentences.push(format!("{}; nothing between the two can be tried.", met(below)));
        }
        Some(below) => sentences.push(format!(
            "{}; what is between the two was not tried: --vary '{name}={}..{}' tries it.",
            met(below),
            if below.seconds > 0.0 { below.text.to_owned() } else { "jitter:100ms".to_owned() },
            least.text.split_once(':').map_or(least.text, |(_, length)| length)
        )),
        None => sentences.push("It is the smallest that was tried: a smaller one may do as well.".to_owned()),
    }
    if let Some(above) = values.get(to + 1) {
        sentences.push(format!("More is worse: {}.", met(above)));
    }
    let elsewhere = values.iter().enumerate().filter(|(place, value)| value.meets() && !(from..=to).contains(place));
    let elsewhere: Vec<&str> = elsewhere.map(|(_, value)| value.text).collect();
    if !elsewhere.is_empty() {
        sentences.push(format!(
            "{} met them too, but not what is next to it: chance decides there, and more --trials show it.",
            elsewhere.join(", ")
        ));
    }
    sentences.push(left_open(least.trials));
    sentences
}

/// Why the first trial that did not meet the expectations did not.
pub(super) fn why_not(trials: &[&SweepTrial]) -> String {
    let failed = trials.iter().find(|trial| trial.verdict != Verdict::Pass);
    failed.and_then(|trial| trial.reasons.first()).map_or_else(String::new, |why| format!(" ({why})"))
}

/// How many of a hundred seeds may fail although so many trials did not: the upper limit of Clopper and Pearson with none failed.
fn left_open(trials: usize) -> String {
    let share = 1.0 - 0.05_f64.powf(1.0 / trials.max(1) as f64);
    let trials = grouped(u64::try_from(trials).unwrap_or(u64::MAX));
    format!(
        "That none of its trials failed, of {trials}, leaves open that up to {:.0}\u{a0}% of all seeds do (one-sided 95\u{a0}% limit); 59 trials would leave 5\u{a0}%.",
        share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::{Sweep, VariedSetting, sample};

    const NAME: &str = "cohort.field.retry";

    /// A sweep of these values, each met in so many of three trials.
    fn sweep(values: &[(&str, u64)]) -> Sweep {
        let mut trials = Vec::new();
        for (nth, (value, passed)) in (0..).zip(values) {
            for seed in 1..=3 {
                // The last one refuses the fewest: by its cost alone it would be recommended.
                let mut trial = sample::trial(&format!("{NAME}={value}"), seed, 500 - 50 * nth, 100);
                if seed > *passed {
                    trial.verdict = Verdict::Fail;
                    trial.reasons = vec!["`fleet.refused_again = 0` was not met: 44".to_owned()];
                }
                trials.push(trial);
            }
        }
        let configuration = |value: &str| Configuration {
            name: format!("{NAME}={value}"),
            settings: [(NAME.to_owned(), value.to_owned())].into(),
            refused: None,
            warnings: Vec::new(),
        };
        let names: Vec<String> = values.iter().map(|(value, _)| (*value).to_owned()).collect();
        let setup = SweepSetup {
            varied: vec![VariedSetting { name: NAME.to_owned(), values: names }],
            configurations: values.iter().map(|(value, _)| configuration(value)).collect(),
            ..sample::setup()
        };
        Sweep::of(setup, &trials)
    }

    #[test]
    fn a_value_stands_for_its_seconds() {
        let of = ["obey", "jitter:100ms", "fixed:5s", "jitter:1m30s", "7", "jitter", "ignore", "jitter:5x"];
        let seconds = [Some(0.0), Some(0.1), Some(5.0), Some(90.0), Some(7.0), None, None, None];
        assert_eq!(of.map(number), seconds);
        assert_eq!([reacting_cohort("cohort.a.b.retry"), reacting_cohort("RATE_LIMIT_X")], [Some("a.b"), None]);
    }

    #[test]
    fn the_smallest_that_meets_what_was_expected_is_recommended_with_what_is_below_and_above() {
        let sweep = sweep(&[
            ("jitter:20s", 3),
            ("obey", 0),
            ("jitter:5s", 1),
            ("jitter:10s", 3),
            ("jitter:40s", 3),
            ("jitter:2m", 2),
        ]);
        assert_eq!(sweep.recommended.as_deref(), Some("cohort.field.retry=jitter:10s"));
        assert!(sweep.environment.is_empty(), "a reaction is no setting of the server: {:?}", sweep.environment);
        for said in [
            "The smallest jitter of the cohort `field` with which the scenario's expectations were met in each trial is jitter:10s; they \
             were met with the larger ones up to jitter:40s too.",
            "jitter:5s met them in 1 of 3 (`fleet.refused_again = 0` was not met: 44); what is between the two was not tried: --vary \
             'cohort.field.retry=jitter:5s..10s' tries it.",
            "More is worse: jitter:2m met them in 2 of 3",
            // 1 - 0.05^(1/3) = 0.632
            "leaves open that up to 63\u{a0}% of all seeds do",
        ] {
            assert!(sweep.recommendation.contains(said), "{}", sweep.recommendation);
        }
    }

    /// Goal: a cohort that nobody refuses, or that has no devices, is not said to do with the least.
    #[test]
    fn a_value_that_changes_nothing_is_said_to_prove_nothing() {
        let mut same = sweep(&[("obey", 3), ("jitter:10s", 3)]);
        let trial = |value: &str, seed| sample::trial(&format!("{NAME}={value}"), seed, 0, 100);
        let trials = [trial("obey", 1), trial("obey", 2), trial("jitter:10s", 1), trial("jitter:10s", 2)];
        same = Sweep::of(same.setup, &trials);
        assert!(
            same.recommendation.contains("none of its devices was refused, or it has none"),
            "{}",
            same.recommendation
        );
        assert!(!same.recommendation.contains("The smallest jitter"), "{}", same.recommendation);
    }

    #[test]
    fn one_that_meets_it_by_chance_is_not_the_smallest() {
        let sweep = sweep(&[("jitter:1s", 3), ("jitter:2s", 0), ("jitter:10s", 3), ("jitter:20s", 3)]);
        assert_eq!(sweep.recommended.as_deref(), Some("cohort.field.retry=jitter:10s"));
        assert!(sweep.recommendation.contains("jitter:1s met them too, but not what is next to it"));
    }

    #[test]
    fn none_that_meets_it_and_the_smallest_that_was_tried_are_said() {
        let none = sweep(&[("jitter:1s", 0), ("jitter:2s", 2)]);
        let said = "No jitter of the cohort `field` that was tried met the scenario's expectations in each trial: jitter:1s met them in 0 of 3 (`fleet.refused_again = 0` was not met: 44); jitter:2s met them in 2 of 3";
        assert!(none.recommendation.contains(said), "{}", none.recommendation);
        assert_eq!(
            (none.recommended.as_deref(), none.nearest.as_deref()),
            (None, Some("cohort.field.retry=jitter:2s"))
        );
        assert!(none.recommendation.starts_with("Nothing is recommended: "), "{}", none.recommendation);
        let all = sweep(&[("fixed:1s", 3), ("fixed:2s", 3)]);
        let said = "The smallest pause of the cohort `field`";
        assert!(all.recommendation.contains(said) && all.recommendation.contains("a smaller one may do as well"));
        assert_eq!(all.recommended.as_deref(), Some("cohort.field.retry=fixed:1s"));
    }
    /// Goal: the command that is said to try what is between two values tries something.
    #[test]
    fn between_two_values_a_tenth_of_a_second_apart_there_is_nothing_to_try() {
        let apart = sweep(&[("jitter:12s", 0), ("jitter:13s", 3), ("jitter:14s", 3)]);
        let said = "--vary 'cohort.field.retry=jitter:12s..13s' tries it.";
        assert!(apart.recommendation.contains(said), "{}", apart.recommendation);
        let near = sweep(&[("jitter:12s", 0), ("jitter:12s100ms", 3), ("jitter:14s", 3)]);
        assert!(near.recommendation.contains("nothing between the two can be tried"), "{}", near.recommendation);
        assert!(!near.recommendation.contains("--vary"), "{}", near.recommendation);
    }

    /// Goal: settings that are right only for devices that react as tried are not pasted without that.
    #[test]
    fn the_lines_to_paste_name_the_reaction_that_they_depend_on() {
        let settings = [("A", "8"), (NAME, "jitter:24s")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let name = format!("A=8 {NAME}=jitter:24s");
        let configuration =
            Configuration { name: name.clone(), settings: settings.into(), refused: None, warnings: Vec::new() };
        let setup = SweepSetup { configurations: vec![configuration], varied: Vec::new(), ..sample::setup() };
        let sweep = Sweep::of(setup, &[sample::trial(&name, 1, 0, 100)]);
        assert_eq!(
            (sweep.environment.join(" "), sweep.depends_on.join(" ")),
            ("A=8".into(), format!("{NAME}=jitter:24s"))
        );
        let comment = format!("# Tried with devices that react to refusals so: {NAME}=jitter:24s");
        assert_eq!(sweep.lines_to_paste(), [comment, "A=8".to_owned()]);
    }
}
