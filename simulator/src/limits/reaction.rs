//! Reactions of cohorts that a sweep varies: `cohort.NAME.retry=jitter:1s..120s`, or a list such as `obey,jitter:10s,fixed:5s`.

use std::time::Duration;

use ks_protocol::duration;
use ks_reports::sweep::{Configuration, VariedSetting, reacting_cohort, reaction_of};

use super::settings::{VALUES_MAX, between};
use crate::{
    failure::Failure,
    scenario::{Plan, Retry, problem::closest},
};

/// The length of a range within which tenths of seconds are tried.
const FINE: Duration = Duration::from_secs(10);

/// How it is written, for errors.
const SPELLED: &str = "cohort.NAME.retry=jitter:1s..120s, or a list such as obey,jitter:10s,fixed:5s";

/// Whether a name is that of a reaction, even if misspelled; settings of the server have no dots.
pub(super) fn is_meant(name: &str) -> bool {
    name.contains('.') || name.starts_with("cohort")
}

/// Reads the values of a reaction: words, and ranges of lengths in `steps` values that grow by the same factor.
///
/// # Errors
/// A sentence with a remedy.
pub(super) fn varied(name: &str, text: &str, steps: usize) -> Result<VariedSetting, String> {
    cohort_of(name)?;
    let mut values: Vec<String> = Vec::new();
    for word in text.split(',').map(str::trim) {
        match word.split_once("..") {
            Some((from, to)) => values.extend(range(name, from.trim(), to.trim(), steps)?),
            None => values.push(read(name, word)?.to_string()),
        }
    }
    if let Some(twice) = values.iter().enumerate().find_map(|(nth, own)| values.iter().take(nth).find(|of| *of == own))
    {
        return Err(format!("{name}={text} has {twice} twice; give each value once"));
    }
    if values.len() > VALUES_MAX {
        return Err(format!("{name} has {} values, and at most {VALUES_MAX} are tried", values.len()));
    }
    Ok(VariedSetting { name: name.to_owned(), values })
}

/// Refuses a name or a value that is no reaction.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    cohort_of(name)?;
    read(name, value).map(drop)
}

/// The cohort that a name means.
fn cohort_of(name: &str) -> Result<&str, String> {
    let cohort = reacting_cohort(name).filter(|cohort| !cohort.is_empty());
    cohort.ok_or_else(|| format!("`{name}`: only the `retry` of a cohort can be varied; write {SPELLED}"))
}

fn read(name: &str, word: &str) -> Result<Retry, String> {
    Retry::parse(word).ok_or_else(|| format!("{name}: `{word}` is not {}; write {SPELLED}", Retry::EXPECTED))
}

/// Lengths from one to another, rounded to tenths of seconds below 10 s, and where the ends are less than 10 s apart, else to whole seconds; both
/// ends exactly.
fn range(name: &str, from: &str, to: &str, steps: usize) -> Result<Vec<String>, String> {
    let Some((kind, low)) = from.split_once(':') else {
        return Err(format!("{name}={from}..{to}: a range has a kind and lengths; write {SPELLED}"));
    };
    // The kind may be repeated, but not changed.
    let high = to.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':')).unwrap_or(to);
    let length = |text: &str| match read(name, &format!("{kind}:{text}"))? {
        Retry::Jitter(Some(length)) | Retry::Fixed(length) => Ok(length),
        _ => Err(format!("{name}={from}..{to}: `{kind}` has no length; write {SPELLED}")),
    };
    let (low, high) = (length(low)?, length(high)?);
    if low >= high {
        let one = format!("{name}={from}");
        return Err(format!(
            "{name}={from}..{to} is an empty range; write the shorter length first, or {one} for one value"
        ));
    }
    let ms = |length: Duration| u32::try_from(length.as_millis()).unwrap_or(u32::MAX); // at most a day
    let rounded = |ms: u32| {
        let unit = if ms < 10_000 || high.saturating_sub(low) < FINE { 100 } else { 1_000 };
        Duration::from_millis(u64::from((ms + unit / 2) / unit * unit)).clamp(low, high)
    };
    let mut lengths: Vec<Duration> = between(ms(low), ms(high), steps).into_iter().map(rounded).collect();
    if let [first, .., last] = lengths.as_mut_slice() {
        (*first, *last) = (low, high);
    }
    lengths.dedup();
    Ok(lengths.into_iter().map(|length| format!("{kind}:{}", duration::format(length))).collect())
}

/// Changes the reaction of a cohort in a plan; says whether the name was that of one.
pub(super) fn change(plan: &mut Plan, name: &str, value: &str) -> bool {
    let Some(cohort) = reacting_cohort(name) else { return false };
    if let (Some(cohort), Some(retry)) =
        (plan.fleet.cohorts.iter_mut().find(|own| own.name == cohort), Retry::parse(value))
    {
        cohort.retry = retry;
    }
    true
}

/// Changes the reaction of a cohort in the text of a scenario; says whether the name was that of one.
pub fn in_scenario(scenario: &mut toml::Table, name: &str, value: &str) -> bool {
    let Some(cohort) = reacting_cohort(name) else { return false };
    let cohorts =
        scenario.get_mut("fleet").and_then(|fleet| fleet.get_mut("cohort")).and_then(toml::Value::as_array_mut);
    let is_it = |own: &&mut toml::Table| own.get("name").and_then(toml::Value::as_str) == Some(cohort);
    let cohort = cohorts.and_then(|all| all.iter_mut().filter_map(toml::Value::as_table_mut).find(is_it));
    if let Some(cohort) = cohort {
        cohort.insert("retry".to_owned(), value.into());
    }
    true
}

/// Refuses configurations that name a cohort that the scenario does not have.
///
/// # Errors
/// A sentence with the nearest name.
pub fn known_cohorts(plan: &Plan, configurations: &[Configuration]) -> Result<(), Failure> {
    let names: Vec<&str> = plan.fleet.cohorts.iter().map(|cohort| cohort.name.as_str()).collect();
    for name in configurations.iter().flat_map(|of| of.settings.keys()) {
        let Some(cohort) = reacting_cohort(name).filter(|cohort| !names.contains(cohort)) else { continue };
        let meant = match (closest(cohort, names.iter().copied()), names.as_slice()) {
            (_, []) => format!(
                "it has no cohorts: add [[fleet.cohort]] with name = \"{cohort}\" and a retry, and all devices belong to it"
            ),
            (Some(near), _) => format!("did you mean {}?", reaction_of(near)),
            (None, _) => format!("it has {}", names.join(", ")),
        };
        return Err(Failure::BadRequest(format!(
            "{name}: the scenario {} has no cohort `{cohort}`; {meant}",
            plan.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits, scenario, scenario_settings::ScenarioSettings};

    fn values(text: &str, steps: usize) -> Vec<String> {
        let (name, values) = text.split_once('=').unwrap();
        varied(name, values, steps).unwrap().values
    }

    #[test]
    fn a_range_of_lengths_grows_by_a_factor_and_has_both_its_ends() {
        // 1 * 120^(n/4): 1, 3.31, 10.95, 36.2, 120.
        let expected = ["jitter:1s", "jitter:3s300ms", "jitter:11s", "jitter:36s", "jitter:2m"];
        assert_eq!(values("cohort.a.retry=jitter:1s..120s", 5), expected);
        assert_eq!(values("cohort.a.retry=jitter:1s..jitter:2m", 5), expected);
        assert_eq!(values("cohort.a.retry=obey, fixed:100ms..150ms", 9), ["obey", "fixed:100ms", "fixed:150ms"]);
        // Between two whole seconds there is something to try: 12 * (13/12)^(n/4).
        let fine = ["jitter:12s", "jitter:12s200ms", "jitter:12s500ms", "jitter:12s700ms", "jitter:13s"];
        assert_eq!(values("cohort.a.retry=jitter:12s..13s", 5), fine);
        assert_eq!(values("cohort.a.b.retry=ignore,jitter,jitter:60s", 9), ["ignore", "jitter", "jitter:1m"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy() {
        for (given, said) in [
            ("cohort.a.retry=jitter:9s..2s", "write the shorter length first"),
            ("cohort.a.retry=jitter:1s..fixed:2s", "is not `obey`, `ignore`, `jitter`"),
            ("cohort.a.retry=1s..2s", "a range has a kind"),
            ("cohort.a.retry=jitter:0s..2s", "with 100 ms to 24 h"),
            ("cohort.a.retry=jitter:1s..25h", "with 100 ms to 24 h"),
            ("cohort.a.retry=obey:1s..2s", "is not `obey`"),
            ("cohort.a.retry=obey,,jitter", "`` is not `obey`"),
            ("cohort.a.retry=jitter:60s,jitter:1m", "has jitter:1m twice"),
            ("cohort.a.jitter=1s..2s", "only the `retry` of a cohort can be varied"),
            ("cohort..retry=obey", "only the `retry` of a cohort can be varied"),
            ("cohorts.a.retry=obey", "only the `retry` of a cohort can be varied"),
        ] {
            let why = limits::varied(given, 5).unwrap_err();
            assert!(why.contains(said), "{given}: {why}");
        }
    }

    #[test]
    fn a_cohorts_reaction_is_changed_and_no_other_and_an_unknown_one_is_refused() {
        let text = "name = \"t\"\ngoal = \"Cohorts.\"\nmode = \"rehearse\"\nduration = \"1m\"\n[fleet]\ndevices = 2\n\
            [[fleet.cohort]]\nname = \"old\"\nretry = \"ignore\"\n[[fleet.cohort]]\nname = \"field\"\nretry = \"obey\"\n\
            [[expect]]\nmetric = \"errors\"\nequals = 0\n";
        let mut plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let of = |name: &str| Configuration {
            name: String::new(),
            settings: [(name.to_owned(), "jitter:30s".to_owned())].into(),
            refused: None,
            warnings: Vec::new(),
        };
        assert!(known_cohorts(&plan, &[of("cohort.field.retry"), of("RATE_LIMIT_DEVICE_BURST")]).is_ok());
        let why = known_cohorts(&plan, &[of("cohort.fields.retry")]).unwrap_err().to_string();
        assert!(why.contains("did you mean cohort.field.retry?"), "{why}");
        let changed = limits::with_settings(&plan, &of("cohort.field.retry").settings);
        let retries: Vec<String> = changed.fleet.cohorts.iter().map(|own| own.retry.to_string()).collect();
        assert_eq!((retries.join(" "), changed.server == plan.server), ("ignore jitter:30s".to_owned(), true));
        let mut table: toml::Table = toml::from_str(text).unwrap();
        assert!(in_scenario(&mut table, "cohort.field.retry", "jitter:30s") && !in_scenario(&mut table, "PORT", "1"));
        let written = toml::to_string(&table).unwrap();
        let again = scenario::check("t.toml", written.as_bytes(), &ScenarioSettings).unwrap();
        assert_eq!(again.fleet.cohorts, changed.fleet.cohorts);
        plan.fleet.cohorts.clear();
        let why = known_cohorts(&plan, &[of("cohort.field.retry")]).unwrap_err().to_string();
        assert!(why.contains("add [[fleet.cohort]] with name = \"field\""), "{why}");
    }
}
