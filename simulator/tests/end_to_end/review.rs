//! Goal: what the review of a rollout says is true: its counts, what would have happened, and what other thresholds would have done.
//! Method: the real executable; the review is held against the event log, and against rehearsals with the other thresholds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::support::{events_in, lines_in, rehearse, stderr_of, write_scenario};
use serde_json::Value;

/// A fleet of two models at three sites, and a release with this behaviour under a gate with this threshold and scope.
fn scenario(behaviour: &str, threshold_bp: u16, gate: &str, share_bp: u16) -> String {
    format!(
        r#"
name = "reviewed"
goal = "A release under a gate."
mode = "rehearse"
seed = 11
duration = "14h"
starts_at = 2027-03-28T00:30:00Z
[fleet]
devices = 400
heartbeat_interval = "5m"
id_prefix = "R"
model = [{{ name = "KS-100", share = 3 }}, {{ name = "KS-200", share = 1 }}]
sites = {{ count = 3, prefix = "store", sizes = "zipf" }}
[[firmware]]
version = "2.0.0"
counter = 2
{behaviour}
[[policy]]
name = "p"
lost_after_s = 1800
starts_per_min = 20
stages = [
    {{ share_bp = {share_bp}, min_executed = 20, bake_s = 3600 }},
    {{ share_bp = 10000, min_executed = 100, bake_s = 3600 }},
]
gates = [{{ threshold_bp = {threshold_bp}, {gate} }}]
[[timeline]]
at = "1h"
do = "start_rollout"
firmware = "2.0.0"
policy = "p"
[[expect]]
metric = "errors"
max = 0
"#
    )
}

/// Rehearses a scenario; gives its folder.
fn rehearsed(folder: &Path, name: &str, text: &str, more: &[&str]) -> PathBuf {
    write_scenario(folder, name, text);
    let file = format!("{name}.toml");
    let run = rehearse(folder, &file, name, more);
    assert!(run.status.success(), "{}", stderr_of(&run));
    folder.join(name)
}

/// The review of the only rollout of a run.
fn review_in(run: &Path) -> Value {
    let review: Value = serde_json::from_slice(&std::fs::read(run.join("review.json")).unwrap()).unwrap();
    assert_eq!(review["rollouts"].as_array().unwrap().len(), 1);
    review["rollouts"][0].clone()
}

/// Targets in cells that match.
fn count(review: &Value, matches: impl Fn(&Value) -> bool) -> u64 {
    let cells = review["cells"].as_array().unwrap();
    cells.iter().filter(|cell| matches(cell)).map(|cell| cell["devices"].as_u64().unwrap()).sum()
}

/// What the event log says of the release's effects: devices by what it did to them.
fn effects(run: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut effects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events_in(run).iter().filter(|event| event["event"] == "firmware") {
        let (what, device_id) = (event["what"].as_str().unwrap(), event["device_id"].as_str().unwrap());
        effects.entry(what.to_owned()).or_default().insert(device_id.to_owned());
    }
    effects
}

const LATE: &str = "bricks_bp = 300\ndies_bp = 500\ndies_after = \"90m\"\nlies_bp = 200\nboot_fails_bp = 200";
const RAW: &str = "min_executed = 20, test = { kind = \"raw\" }, action = \"abort\"";

/// Goal: the review's counts are those of the event log, and a review without an event log is the same one.
#[test]
fn the_counts_of_a_review_are_those_of_the_event_log() {
    let folder = tempfile::tempdir().unwrap();
    let text = scenario(LATE, 2_000, RAW, 3_000);
    let run = rehearsed(folder.path(), "whole", &text, &[]);
    let review = review_in(&run);
    let effects = effects(&run);
    let named = |what: &str| effects.get(what).cloned().unwrap_or_default();
    let broken: BTreeSet<String> = named("bricked").union(&named("died")).cloned().collect();
    let has_it: BTreeSet<String> = named("booted").union(&named("bricked")).cloned().collect();
    assert!(broken.len() > 5 && has_it.len() == 400, "{} {}", broken.len(), has_it.len());
    assert_eq!(count(&review, |_| true), 400);
    assert_eq!(count(&review, |cell| cell["fate"] == "broken"), broken.len() as u64);
    assert_eq!(count(&review, |cell| cell["is_installed"] == true), has_it.len() as u64);
    let models: BTreeMap<String, String> = events_in(&run)
        .iter()
        .filter(|event| event["event"] == "switched_on")
        .map(|event| (event["device_id"].as_str().unwrap().to_owned(), event["model"].as_str().unwrap().to_owned()))
        .collect();
    for model in ["KS-100", "KS-200"] {
        let of_model = broken.iter().filter(|device| models[*device] == model).count();
        assert_eq!(count(&review, |cell| cell["fate"] == "broken" && cell["model"] == model), of_model as u64);
    }
    let stories = review["stories"].as_array().unwrap();
    let named_in_stories: BTreeSet<String> =
        stories.iter().map(|story| story["device_id"].as_str().unwrap().to_owned()).collect();
    assert!(broken.is_subset(&named_in_stories));
    assert_eq!(review["stories_total"].as_u64(), Some(stories.len() as u64));

    let without = rehearsed(folder.path(), "without", &text, &["--events", "none"]);
    assert_eq!(review_in(&without), review);
    let page = std::fs::read_to_string(without.join("report.html")).unwrap();
    assert!(
        page.contains("Sun 2027-03-28 01:30") || page.contains("Sun\u{a0}2027-03-28 01:30"),
        "the date of its start"
    );
}

/// Goal: what would have happened without a gate is what happens without one.
/// Method: the first rehearsal is stopped in its canary; the second one has a gate that tolerates everything.
#[test]
fn without_the_gate_as_many_devices_break_as_the_review_says() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = review_in(&rehearsed(folder.path(), "stopped", &scenario(LATE, 100, RAW, 1_000), &[]));
    assert_eq!(stopped["state"], "ABORTED");
    let would_break = |review: &Value| count(review, |cell| cell["truth"] == "bricks" || cell["truth"] == "dies");
    let open = rehearsed(folder.path(), "open", &scenario(LATE, 9_000, RAW, 1_000), &[]);
    let effects = effects(&open);
    let broken = effects["bricked"].len() + effects["died"].len();
    assert_eq!(would_break(&stopped), broken as u64);
    assert!(count(&stopped, |cell| cell["fate"] == "broken") < broken as u64);
    assert_eq!(effects["booted"].len() + effects["bricked"].len(), 400, "every target has it");
}

/// Goal: faults by uptime, hour and the version before are judged as they were when each device wrote the release.
/// Method: the counts of the review against the event log, in a run where judging all devices at its end gives other numbers.
#[test]
fn faults_by_condition_are_judged_as_they_hit() {
    let folder = tempfile::tempdir().unwrap();
    let faults = r#"
[[firmware.fault]]
bricks_bp = 600
uptime_min = "30d"
[[firmware.fault]]
boot_fails_bp = 2_000
from_version = "1.0.0"
hours = "00-03"
"#;
    let late = RAW.replace("= 20", "= 100"); // failures are first to have an outcome
    let text = scenario(faults, 9_999, &late, 3_000).replace(
        "[fleet]
",
        "[fleet]
uptime_at_start = \"60d\"\n",
    );
    let run = rehearsed(folder.path(), "conditions", &text, &[]);
    let review = review_in(&run);
    let (mut bricked, mut boots) = (BTreeSet::new(), BTreeMap::new());
    for event in events_in(&run).iter().filter(|event| event["event"] == "firmware") {
        let device_id = event["device_id"].as_str().unwrap().to_owned();
        match event["what"].as_str().unwrap() {
            "bricked" => assert!(bricked.insert(device_id)),
            "booted" => drop(boots.insert(device_id, event["version"].as_str().unwrap().to_owned())),
            other => panic!("{other}"),
        }
    }
    let running = |version: &str| boots.values().filter(|runs| *runs == version).count() as u64;
    assert!(bricked.len() > 5 && running("1.0.0") > 10 && running("2.0.0") > 200, "{} {boots:?}", bricked.len());
    let counted = |truth: &str| count(&review, |cell| cell["is_installed"] == true && cell["truth"] == truth);
    assert_eq!(counted("bricks"), bricked.len() as u64);
    assert_eq!(counted("boot_fails"), running("1.0.0"));
    assert_eq!(counted("good"), running("2.0.0"));
}

/// Goal: what another threshold would have done is what it does.
/// Method: a rollout under a gate that never trips; each threshold of its review that would have tripped is rehearsed.
fn thresholds_hold(name: &str, behaviour: &str, gate: &str, is_exact: bool) {
    let folder = tempfile::tempdir().unwrap();
    let loose = review_in(&rehearsed(folder.path(), name, &scenario(behaviour, 6_000, gate, 3_000), &[]));
    assert_eq!(loose["state"], "COMPLETED", "{name}");
    let rows = loose["thresholds"][0]["rows"].as_array().unwrap();
    let tripped: Vec<&Value> = rows.iter().filter(|row| !row["trip"].is_null()).collect();
    let nearest = tripped.last().unwrap_or_else(|| panic!("{name}: {rows:?}"));
    let nearest_bp = nearest["threshold_bp"].as_u64().unwrap();
    let first_not = rows.iter().find(|row| row["trip"].is_null()).unwrap();
    assert_eq!(first_not["threshold_bp"].as_u64(), Some(nearest_bp + 1), "{rows:?}");

    let at = |threshold_bp: u64| u16::try_from(threshold_bp).unwrap();
    let run = |threshold_bp: u64| {
        let text = scenario(behaviour, at(threshold_bp), gate, 3_000);
        rehearsed(folder.path(), &format!("{name}-{threshold_bp}"), &text, &[])
    };
    assert_eq!(review_in(&run(nearest_bp + 1))["state"], "COMPLETED", "{name}");
    let stricter_bp = nearest_bp / 2;
    for threshold_bp in [nearest_bp, stricter_bp] {
        let other = run(threshold_bp);
        let decisions = lines_in(&other, "decisions.ndjson");
        let aborted = decisions.iter().find(|decision| decision["decision"] == "aborted").unwrap();
        let reviewed = review_in(&other);
        // Its own review recovers the evidence of its own decision.
        let rows = reviewed["thresholds"][0]["rows"].as_array().unwrap();
        let own = rows.iter().find(|row| row["is_actual"] == true).unwrap_or_else(|| panic!("{name}: {reviewed}"));
        let mut said = vec![own];
        said.extend(if threshold_bp == nearest_bp { Some(*nearest) } else { None });
        for row in said {
            let trip = &row["trip"];
            let after_s = aborted["at_s"].as_f64().unwrap() - trip["at_s"].as_f64().unwrap();
            let reading = &aborted["gate"];
            assert!((0.0..=1.0).contains(&after_s), "{name}, {threshold_bp} bp: acted {after_s} s after {trip}");
            assert_eq!(
                (&trip["of"], &trip["failed"]),
                (&reading["of"], &reading["failed"]),
                "{name}, {threshold_bp} bp"
            );
            if is_exact {
                assert!(after_s == 0.0, "{name}, {threshold_bp} bp: acted {after_s} s after");
                assert_eq!(trip["executed"], reading["executed"], "{name}, {threshold_bp} bp");
                let stop = &reviewed["found"];
                assert_eq!((&trip["installed"], &trip["broken"]), (&stop["installed"], &stop["broken"]), "{name}");
            }
        }
    }
}

#[test]
fn another_threshold_trips_exactly_when_silence_shows_the_bug() {
    thresholds_hold("bricks", "bricks_bp = 900", RAW, true);
}

/// Devices that were confirmed long before are lost: the gate's share grows without a new device.
#[test]
fn another_threshold_trips_exactly_when_confirmed_devices_are_lost() {
    thresholds_hold("dies", "dies_bp = 900\ndies_after = \"90m\"", RAW, true);
}

#[test]
fn another_threshold_trips_within_a_second_of_reported_failures() {
    thresholds_hold("fails", "install_fails_bp = 900", RAW, false);
}

#[test]
fn another_threshold_of_a_gate_by_model_trips_for_the_same_model() {
    let by_model = "min_executed = 10, scope = \"model\", test = { kind = \"raw\" }, action = \"abort\"";
    thresholds_hold("model", "bricks_bp = 1200\nonly_model = \"KS-200\"", by_model, true);
}
