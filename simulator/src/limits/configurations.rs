//! The configurations of a sweep: a grid of values, or the files of a folder; and what the server says of each.

use std::{collections::BTreeMap, path::Path};

use ks_reports::sweep::{Configuration, VariedSetting};
use ks_server::config::{Config, Conflict, conflicts};

use super::{
    reaction,
    settings::{all_known, is_limit},
};
use crate::{
    failure::Failure,
    scenario::{Plan, ServerSettings},
    scenario_settings::ScenarioSettings,
};

/// Most configurations of a sweep.
pub const CONFIGURATIONS_MAX: usize = 1_000;
/// The end of the names of files that are configurations.
const ENDING: &str = "env";

/// No server runs with it.
const ANY_TOKEN: &str = "0123456789abcdef";

/// Every combination of the values, the first setting's in the outer loop.
///
/// # Errors
/// A setting is given twice, or there are too many combinations.
pub fn grid(varied: &[VariedSetting]) -> Result<Vec<Configuration>, Failure> {
    for (nth, of) in varied.iter().enumerate() {
        if varied.iter().take(nth).any(|other| other.name == of.name) {
            return Err(Failure::BadRequest(format!("--vary gives {} twice; put all its values into one", of.name)));
        }
    }
    let count = varied.iter().fold(1_usize, |count, of| count.saturating_mul(of.values.len()));
    if count > CONFIGURATIONS_MAX {
        return Err(Failure::BadRequest(format!(
            "{count} configurations are too many, at most {CONFIGURATIONS_MAX} are tried: give fewer --steps, or shorter lists"
        )));
    }
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for of in varied {
        let with = |before: &[(String, String)], value: &str| -> Vec<(String, String)> {
            before.iter().cloned().chain([(of.name.clone(), value.to_owned())]).collect()
        };
        all = all.iter().flat_map(|before| of.values.iter().map(move |value| with(before, value))).collect();
    }
    let named = |settings: Vec<(String, String)>| {
        let words: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Configuration {
            name: words.join(" "),
            settings: settings.into_iter().collect(),
            refused: None,
            warnings: Vec::new(),
        }
    };
    Ok(all.into_iter().map(named).collect())
}

/// A configuration for each `.env` file of a folder, by its name.
///
/// # Errors
/// It can't be read, has none or too many, or a file has a wrong line.
pub fn of_folder(folder: &Path) -> Result<Vec<Configuration>, Failure> {
    let cannot = |cause| Failure::File { what: "read", path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::BadRequest(format!(
            "{} has no file that ends in .{ENDING}: write one for each configuration, with a line NAME=VALUE for each setting",
            folder.display()
        )));
    }
    if paths.len() > CONFIGURATIONS_MAX {
        let (found, place) = (paths.len(), folder.display());
        return Err(Failure::BadRequest(format!(
            "{place} has {found} configurations, at most {CONFIGURATIONS_MAX} are tried"
        )));
    }
    paths.iter().map(|path| of_file(path)).collect()
}

fn of_file(path: &Path) -> Result<Configuration, Failure> {
    let cannot = |cause| Failure::File { what: "read", path: path.to_owned(), cause };
    let text = ks_reports::bounded::read(path, ks_reports::bounded::FILE_BYTES_MAX).map_err(cannot)?;
    let text = String::from_utf8_lossy(&text);
    let settings = all_known(&text).map_err(|why| Failure::BadRequest(format!("{}: {why}", path.display())))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Configuration { name, settings, refused: None, warnings: Vec::new() })
}

/// The plan with these settings of the server, and these reactions of cohorts, in place of its own.
pub fn with_settings(plan: &Plan, settings: &BTreeMap<String, String>) -> Plan {
    let mut plan = plan.clone();
    for (name, value) in settings {
        if !reaction::change(&mut plan, name, value) {
            plan.server.insert(name.clone(), value.clone());
        }
    }
    plan
}

/// The limits that a plan sets for its own server, by the names of the settings.
pub(super) fn own_limits(plan: &Plan) -> BTreeMap<String, String> {
    let own = plan.server.iter().filter(|(name, _)| is_limit(name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The plan without the limits that it sets for its own server, and their names: a server that is deployed does not have them.
pub fn without_own_limits(plan: &Plan) -> (Plan, Vec<String>) {
    let mut plan = plan.clone();
    let own = own_limits(&plan);
    plan.server.retain(|name, _| !own.contains_key(name));
    (plan, own.into_keys().collect())
}

/// The same configurations with what the server says of each in this scenario.
pub fn checked(plan: &Plan, configurations: Vec<Configuration>) -> Vec<Configuration> {
    let own = warnings(plan);
    let check = |of: Configuration| {
        let tried = with_settings(plan, &of.settings);
        let wrong: Vec<String> =
            ScenarioSettings.wrong(&tried.server).into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        if !wrong.is_empty() {
            return Configuration { refused: Some(wrong.join("; ")), ..of };
        }
        let warnings = warnings(&tried).into_iter().filter(|warning| !own.contains(warning)).collect();
        Configuration { warnings, ..of }
    };
    configurations.into_iter().map(check).collect()
}

/// Settings that contradict each other, as the server would say it.
fn warnings(plan: &Plan) -> Vec<String> {
    let Ok(config) = Config::from_map(&plan.server_settings(ANY_TOKEN)) else {
        return Vec::new();
    };
    conflicts(&config, None).into_iter().map(|Conflict { found, help }| format!("{found} ({help})")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn varied(name: &str, values: &[&str]) -> VariedSetting {
        VariedSetting { name: name.to_owned(), values: values.iter().map(|of| (*of).to_owned()).collect() }
    }

    #[test]
    fn a_grid_has_every_combination_and_a_bound() {
        let all = grid(&[varied("A", &["1", "2"]), varied("B", &["3", "4"])]).unwrap();
        let names: Vec<&str> = all.iter().map(|of| of.name.as_str()).collect();
        assert_eq!(names, ["A=1 B=3", "A=1 B=4", "A=2 B=3", "A=2 B=4"]);
        let many: Vec<String> = (0..40).map(|of| of.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let why = grid(&[varied("A", &many), varied("B", &many)]).unwrap_err().to_string();
        assert!(why.contains("1600 configurations are too many"), "{why}");
        assert!(grid(&[varied("A", &["1"]), varied("A", &["2"])]).unwrap_err().to_string().contains("A twice"));
    }

    #[test]
    fn what_the_server_refuses_is_said_and_what_contradicts_is_warned_of() {
        let text = "name = \"t\"\ngoal = \"Limits.\"\nmode = \"rehearse\"\nduration = \"1m\"\n[fleet]\ndevices = 1\n\
            heartbeat_interval = \"5s\"\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let limit = "RATE_LIMIT_DEVICE_PER_MIN";
        let all = checked(&plan, grid(&[varied(limit, &["0", "6", "60", "many"])]).unwrap());
        let refused: Vec<bool> = all.iter().map(|of| of.refused.is_some()).collect();
        assert_eq!(refused, [true, false, false, true], "{all:?}");
        assert!(all[0].refused.as_ref().unwrap().contains(limit), "{all:?}");
        let warned: Vec<usize> = all.iter().map(|of| of.warnings.len()).collect();
        assert_eq!(warned, [0, 1, 0, 0], "a heartbeat every 5 s needs 24 a minute: {all:?}");
    }
}
