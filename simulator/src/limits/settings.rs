//! Settings from a command line or an environment file: `RATE_LIMIT_DEVICE_PER_MIN=2..240`, `A=2,6,24`, or a line each.

use std::collections::BTreeMap;

use ks_reports::sweep::VariedSetting;
use ks_server::config::{LIMITS_FILE, LimitsDocument, SETTINGS};

use super::reaction;
use crate::{
    scenario::{
        ServerSettings,
        problem::{closest, nearest_first},
    },
    scenario_settings::ScenarioSettings,
};

/// Most values of one setting.
pub(super) const VALUES_MAX: usize = 100;
/// The start of the names of most limits.
const LIMIT: &str = "RATE_LIMIT";
/// Limits of other names.
const OTHER_LIMITS: [&str; 3] = ["OVERLOAD_TARGET_MS", "ARTIFACT_DOWNLOADS_MAX", "ARTIFACT_BYTES_PER_S_MAX"];
/// How fast a server stores, which decides when it is overloaded. No limits: a scenario sets them to model a slow store.
const STORE: [&str; 2] = ["STORE_QUEUE_MAX", "COMMIT_GROUP_MAX"];

/// Most limits that are named instead of an unknown one.
const NEAR_MAX: usize = 3;

/// Whether a setting of the server is a limit.
pub(super) fn is_limit(name: &str) -> bool {
    name.starts_with(LIMIT) || OTHER_LIMITS.contains(&name)
}

/// Whether what limits do depends on a setting of the server.
pub fn decides_refusals(name: &str) -> bool {
    is_limit(name) || STORE.contains(&name)
}

/// Most faults of such a file that are named.
const FAULTS_MAX: usize = 5;

/// Reads what is varied: a range, in `steps` values that grow by the same factor, or a list.
///
/// # Errors
/// A sentence with a remedy: an unknown name, an empty range, a value that is no number.
pub fn varied(text: &str, steps: usize) -> Result<VariedSetting, String> {
    let Some((name, values)) = text.split_once('=') else {
        return Err(format!(
            "`{text}`: expected NAME=FROM..TO or NAME=A,B,C, such as RATE_LIMIT_DEVICE_PER_MIN=2..240"
        ));
    };
    let name = name.trim();
    if reaction::is_meant(name) {
        return reaction::varied(name, values, steps);
    }
    check_name(name)?;
    let values = match values.split_once("..") {
        Some((from, to)) => range(name, from.trim(), to.trim(), steps)?,
        None => list(name, values)?,
    };
    Ok(VariedSetting { name: name.to_owned(), values })
}

/// Refuses names that are no setting of the server that may be varied.
fn check_name(name: &str) -> Result<(), String> {
    let names = ScenarioSettings.names();
    if names.contains(&name) {
        return Ok(());
    }
    if SETTINGS.iter().any(|setting| setting.name == name) {
        return Err(format!("{name} is decided by the run itself, or would reach outside of it: leave it out"));
    }
    let near = closest(name, names.iter().copied());
    let meant = near.map_or_else(
        || {
            let limits = nearest_first(name, names.iter().copied().filter(|name| is_limit(name)));
            let (near, others) = limits.split_at(limits.len().min(NEAR_MAX));
            format!(
                "of its limits, {} are the nearest; docs/configuration.md has {} more",
                near.join(", "),
                others.len()
            )
        },
        |near| format!("did you mean {near}?"),
    );
    Err(format!("the server has no setting {name}; {meant}"))
}

/// From one number to another, in steps of about the same factor; each value once.
fn range(name: &str, from: &str, to: &str, steps: usize) -> Result<Vec<String>, String> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| {
            format!("{name}={from}..{to}: `{text}` is not a whole number up to {}; write {name}=2..240", u32::MAX)
        })
    };
    let (low, high) = (number(from)?, number(to)?);
    if low >= high {
        return Err(format!(
            "{name}={from}..{to} is an empty range; write the smaller number first, or {name}={from} for one value"
        ));
    }
    if low == 0 {
        return Err(format!(
            "{name}={from}..{to} starts at 0, and the values of a range are multiples of the first; start at 1, or list the values"
        ));
    }
    let mut values = between(low, high, steps);
    values.dedup();
    Ok(values.iter().map(ToString::to_string).collect())
}

/// So many numbers from one to another, at least both of these, that grow by the same factor.
pub(super) fn between(low: u32, high: u32, steps: usize) -> Vec<u32> {
    let steps = steps.max(2);
    let last = steps.saturating_sub(1) as f64;
    let factor = f64::from(high) / f64::from(low);
    let value = |nth: usize| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two numbers of 32 bits")]
        let value = (f64::from(low) * factor.powf(nth as f64 / last)).round() as u32;
        value
    };
    (0..steps).map(value).collect()
}

fn list(name: &str, text: &str) -> Result<Vec<String>, String> {
    let values: Vec<String> = parts(text).iter().map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(format!("{name}={text} has an empty value; write {name}=2,6,24"));
    }
    if let Some(twice) = values.iter().enumerate().find_map(|(nth, own)| values.iter().take(nth).find(|of| *of == own))
    {
        return Err(format!("{name}={text} has {twice} twice; give each value once"));
    }
    if values.len() > VALUES_MAX {
        return Err(format!("{name} has {} values, and at most {VALUES_MAX} are tried", values.len()));
    }
    Ok(values)
}

/// The flag that varies a setting with this value alone, as [`varied`] reads it.
pub(super) fn single_value(name: &str, value: &str) -> String {
    if value.contains(',') {
        format!(" --vary '{name}={}'", value.replace(',', "\\,"))
    } else {
        format!(" --vary {name}={value}") // no other character of a setting needs quotes
    }
}

/// The parts of a list that is separated by commas; `\,` is a comma within a value.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, parts.last_mut()) {
            ('\\', Some(part)) if characters.next_if_eq(&',').is_some() => part.push(','),
            (',', _) => parts.push(String::new()),
            (character, Some(part)) => part.push(character),
            (_, None) => {}
        }
    }
    parts
}

/// Reads an environment file: `NAME=VALUE` lines, comments, `export`, quotes.
///
/// # Errors
/// A sentence with the line and the remedy.
pub fn environment(text: &str) -> Result<BTreeMap<String, (usize, String)>, String> {
    let mut found = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let content = content.strip_prefix("export ").unwrap_or(content);
        let Some((name, value)) = content.split_once('=') else {
            return Err(format!("line {line}: expected NAME=VALUE, found `{content}`; begin comments with #"));
        };
        let (name, value) = (name.trim().to_owned(), value.trim());
        let unquoted = ['"', '\''].iter().find_map(|sign| value.strip_prefix(*sign)?.strip_suffix(*sign));
        let value = unquoted.unwrap_or(value).to_owned();
        if let Some((first, _)) = found.insert(name.clone(), (line, value)) {
            return Err(format!("line {line}: {name} was given in line {first} already; remove one of them"));
        }
    }
    Ok(found)
}

/// The limits of a deployed server's environment file, over them those of the file that its RATE_LIMITS_FILE names, which
/// `read_file` reads; and how many other settings it has.
///
/// # Errors
/// A name that looks like a limit and is none, a file of limits that is wrong, or no limit at all.
pub fn limits_of_environment(
    text: &str,
    read_file: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(BTreeMap<String, String>, usize), String> {
    let (mut limits, mut others, mut file) = (BTreeMap::new(), 0, None);
    for (name, (line, value)) in environment(text)? {
        if name == LIMITS_FILE {
            file = Some((line, value)).filter(|(_, path)| !path.is_empty());
        } else if decides_refusals(&name) {
            check_name(&name).map_err(|why| format!("line {line}: {why}"))?;
            if !value.is_empty() {
                limits.insert(name, value); // an empty value is none to the server
            }
        } else {
            others += 1;
        }
    }
    if let Some((line, path)) = file {
        let named = |why: String| format!("line {line}: {LIMITS_FILE}={path}: {why}");
        let document = LimitsDocument::of_file(&read_file(&path).map_err(named)?).map_err(|faults| {
            let shown: Vec<String> = faults.iter().take(FAULTS_MAX).map(ToString::to_string).collect();
            let more = faults.len().saturating_sub(FAULTS_MAX);
            let more = if more == 0 { String::new() } else { format!("; and {more} more") };
            named(format!("{}{more}", shown.join("; ")))
        })?;
        limits.extend(document.as_settings().into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    if limits.is_empty() {
        return Err(format!(
            "it sets no limit: add the limits that the server is to run with, whose names begin with {LIMIT}, or are {}",
            OTHER_LIMITS.join(", ")
        ));
    }
    Ok((limits, others))
}

/// Settings of a file of a sweep, and reactions of cohorts: each must be known.
pub(super) fn all_known(text: &str) -> Result<BTreeMap<String, String>, String> {
    let each = environment(text)?.into_iter().map(|(name, (line, value))| {
        let found = if reaction::is_meant(&name) { reaction::check(&name, &value) } else { check_name(&name) };
        found.map_err(|why| format!("line {line}: {why}"))?;
        Ok((name, value))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, steps: usize) -> Vec<String> {
        varied(text, steps).unwrap().values
    }

    #[test]
    fn a_range_grows_by_a_factor_and_has_both_its_ends() {
        // 2 * 120^(n/4): 2, 6.6, 21.9, 72.5, 240.
        assert_eq!(values("RATE_LIMIT_DEVICE_PER_MIN=2..240", 5), ["2", "7", "22", "73", "240"]);
        assert_eq!(values("RATE_LIMIT_DEVICE_PER_MIN=1..3", 10), ["1", "2", "3"]);
        assert_eq!(values("RATE_LIMIT_DEVICE_PER_MIN=2, 6,24", 10), ["2", "6", "24"]);
        assert_eq!(values("RATE_LIMIT_DEVICE_PER_MIN=7", 10), ["7"]);
    }

    #[test]
    fn a_value_with_commas_is_one_value_and_so_is_that_of_the_command_that_repeats_a_trial() {
        assert_eq!(values(r"TRUSTED_PROXIES=10.0.0.0/8\,::1,::1", 10), ["10.0.0.0/8,::1", "::1"]);
        assert_eq!(single_value("RATE_LIMIT_DEVICE_PER_MIN", "7"), " --vary RATE_LIMIT_DEVICE_PER_MIN=7");
        let flag = single_value("TRUSTED_PROXIES", "10.0.0.0/8,::1");
        assert_eq!(flag, r" --vary 'TRUSTED_PROXIES=10.0.0.0/8\,::1'");
        let given = flag.trim_start_matches(" --vary '").trim_end_matches('\'');
        assert_eq!(values(given, 10), ["10.0.0.0/8,::1"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_remedy() {
        for (given, said) in [
            ("RATE_LIMIT_DEVICE_PER_MINUTE=2..9", "did you mean RATE_LIMIT_DEVICE_PER_MIN?"),
            ("RATE_LIMIT_DEVICE_PER_MIN", "expected NAME=FROM..TO"),
            ("RATE_LIMIT_DEVICE_PER_MIN=9..2", "write the smaller number first"),
            ("RATE_LIMIT_DEVICE_PER_MIN=5..5", "RATE_LIMIT_DEVICE_PER_MIN=5 for one value"),
            ("RATE_LIMIT_DEVICE_PER_MIN=0..5", "start at 1"),
            ("RATE_LIMIT_DEVICE_PER_MIN=a..5", "`a` is not a whole number"),
            ("RATE_LIMIT_DEVICE_PER_MIN=2,,3", "an empty value"),
            ("RATE_LIMIT_DEVICE_PER_MIN=2,3,2", "has 2 twice"),
            ("PORT=1..5", "decided by the run itself"),
            ("RATE_LIMIT_PUNCHES=1", "of its limits, RATE_LIMIT_DEVICE_PUNCHES_"),
        ] {
            let why = varied(given, 5).unwrap_err();
            assert!(why.contains(said), "{given}: {why}");
        }
    }

    #[test]
    fn an_environment_file_is_read_with_comments_quotes_and_other_settings() {
        let text = "# limits\nexport RATE_LIMIT_DEVICE_PER_MIN=\"30\"\n\nADMIN_TOKEN='secret'\nPORT = 3000\n";
        let no_file = |path: &str| Err(format!("{path} was asked for"));
        let (limits, others) = limits_of_environment(text, no_file).unwrap();
        assert_eq!((limits["RATE_LIMIT_DEVICE_PER_MIN"].as_str(), limits.len(), others), ("30", 1, 2));
        for (text, said) in [
            (
                "RATE_LIMIT_DEVICE_PER_MIN=1\nRATE_LIMIT_DEVICE_PER_MIN=2",
                "line 2: RATE_LIMIT_DEVICE_PER_MIN was given in line 1",
            ),
            (
                "RATE_LIMIT_DEVICE_BRUST=1",
                "line 1: the server has no setting RATE_LIMIT_DEVICE_BRUST; did you mean RATE_LIMIT_DEVICE_BURST?",
            ),
            ("no setting", "line 1: expected NAME=VALUE"),
            ("PORT=1", "it sets no limit: add"),
            ("RATE_LIMIT_DEVICE_BURST=\n", "it sets no limit: add"),
        ] {
            let why = limits_of_environment(text, no_file).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }

    #[test]
    fn the_file_of_limits_that_an_environment_names_counts_first() {
        let text = "RATE_LIMIT_DEVICE_PER_MIN=30\nRATE_LIMITS_FILE=\"limits.toml\"\nRATE_LIMIT_DEVICE_BURST=9\n";
        let with = |file: &str| {
            limits_of_environment(text, |path| {
                assert_eq!(path, "limits.toml");
                Ok(file.to_owned())
            })
        };
        let (limits, others) = with("[device_requests]\nper_min = 60\nmode = \"shadow\"\n").unwrap();
        let expected = [
            ("RATE_LIMIT_DEVICE_BURST", "9"),
            ("RATE_LIMIT_DEVICE_MODE", "shadow"),
            ("RATE_LIMIT_DEVICE_PER_MIN", "60"),
        ];
        assert_eq!((limits, others), (expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), 0));
        let why = with("[device_request]\n").unwrap_err();
        let said = "line 2: RATE_LIMITS_FILE=limits.toml: line 1: there is no limit `device_request`; did you mean";
        assert!(why.starts_with(said), "{why}");
        let why = with("# cut off\n").unwrap_err();
        assert!(why.contains("the file names no limit"), "as the server says: {why}");
        let unset = limits_of_environment("RATE_LIMITS_FILE=\nRATE_LIMIT_DEVICE_BURST=9\n", |_| Err(String::new()));
        assert_eq!(unset.unwrap().0.len(), 1);
    }
}
