//! Goal: a review counts the devices of its own rollout, and judges those that never got the release as they were when they would have
//! got it; it says where another threshold might have promoted a stage at another time.
//! Method: the real executable; reviews against the event log, and against rehearsals of the same scenario without the gate or with
//! the other threshold.

use std::path::{Path, PathBuf};

use crate::support::{events_in, rehearse, stderr_of, write_scenario};
use serde_json::Value;

/// Rehearses a scenario; gives its folder.
fn rehearsed(folder: &Path, name: &str, text: &str) -> PathBuf {
    write_scenario(folder, name, text);
    let file = format!("{name}.toml");
    let run = rehearse(folder, &file, name, &[]);
    assert!(run.status.success(), "{}", stderr_of(&run));
    folder.join(name)
}

/// The review of a rollout of a run.
fn review_of(run: &Path, rollout_id: &str) -> Value {
    let review: Value = serde_json::from_slice(&std::fs::read(run.join("review.json")).unwrap()).unwrap();
    let rollouts = review["rollouts"].as_array().unwrap();
    rollouts.iter().find(|of| of["rollout_id"] == rollout_id).unwrap().clone()
}

/// Targets in cells that match.
fn count(review: &Value, matches: impl Fn(&Value) -> bool) -> u64 {
    let cells = review["cells"].as_array().unwrap();
    cells.iter().filter(|cell| matches(cell)).map(|cell| cell["devices"].as_u64().unwrap()).sum()
}

fn breaks(cell: &Value) -> bool {
    cell["truth"] == "bricks" || cell["truth"] == "dies"
}

/// Three releases one after another: the first fails by the hour, the second on devices that run the factory's, the third is good.
fn conditional(threshold_bp: u16, last: &str) -> String {
    format!(
        r#"
name = "conditional"
goal = "Faults that look at when and on what a release is installed."
mode = "rehearse"
seed = 3
duration = "17h"
ramp = "5m"
[fleet]
devices = 400
heartbeat_interval = "10m"
id_prefix = "F"
[[firmware]]
version = "1.1.0"
counter = 2
[[firmware.fault]]
bricks_bp = 2000
hours = "00-05"
[[firmware]]
version = "1.2.0"
counter = 3
[[firmware.fault]]
bricks_bp = 2000
from_version = "1.0.0"
[[firmware]]
version = "1.3.0"
counter = 4
[[policy]]
name = "p"
lost_after_s = 3600
stages = [
    {{ share_bp = 1500, min_executed_bp = 7000, bake_s = 3600 }},
    {{ share_bp = 10000, min_executed_bp = 7000, bake_s = 600 }},
]
gates = [{{ threshold_bp = {threshold_bp}, min_executed_bp = 7000, test = {{ kind = "raw" }}, action = "abort" }}]
{last}
[[expect]]
metric = "rollout.broken_devices"
min = 0
"#
    )
}

fn start(at: &str, version: &str) -> String {
    format!("[[timeline]]\nat = \"{at}\"\ndo = \"start_rollout\"\nfirmware = \"{version}\"\npolicy = \"p\"\n")
}

/// Judged when the run ends, at 17:00 and on 1.3.0, neither release would break a spared device.
#[test]
fn spared_devices_are_judged_as_they_were_when_they_would_have_got_the_release() {
    let folder = tempfile::tempdir().unwrap();
    let good = start("9h", "1.3.0");
    for (name, own) in [("1.1.0", start("1h", "1.1.0")), ("1.2.0", start("1h", "1.2.0"))] {
        let stopped = rehearsed(folder.path(), &format!("stopped-{name}"), &conditional(500, &(own.clone() + &good)));
        let open = rehearsed(folder.path(), &format!("open-{name}"), &conditional(9_900, &own));
        let rollout_id = format!("rollout-{name}");
        let (stopped_review, open_review) = (review_of(&stopped, &rollout_id), review_of(&open, &rollout_id));
        assert_eq!(stopped_review["state"], "ABORTED");
        let broken = count(&open_review, |cell| cell["fate"] == "broken");
        let had_broken = count(&stopped_review, |cell| cell["fate"] == "broken");
        assert!(broken > 50 && had_broken < 30, "{broken} {had_broken}");
        let assumed = &stopped_review["assumed"]["breaks"];
        let (least, most) = (assumed["least"].as_u64().unwrap(), assumed["most"].as_u64().unwrap());
        assert!((least..=most).contains(&broken), "{name}: {broken} broke, and the range is {assumed}");
        assert_eq!(count(&stopped_review, breaks), broken, "{name}");
        let page = std::fs::read_to_string(stopped.join("report.html")).unwrap();
        assert!(page.contains("depends on when a device gets it. Assumed"), "{name}: the page says what was assumed");
    }
}

/// A person aborts the first rollout of a release after its canary, and a second one goes on with the other devices.
#[test]
fn each_rollout_of_a_release_counts_the_devices_that_it_installed_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let twice = r#"
name = "twice"
goal = "The same release twice."
mode = "rehearse"
seed = 5
duration = "9h"
ramp = "5m"
[fleet]
devices = 200
heartbeat_interval = "10m"
id_prefix = "C"
[[firmware]]
version = "1.1.0"
counter = 2
dies_bp = 1000
dies_after = "4h"
[[policy]]
name = "p"
lost_after_s = 3600
watch_s = 36000
stages = [
    { share_bp = 2500, min_executed_bp = 7000, bake_s = 3600 },
    { share_bp = 10000, min_executed_bp = 7000, bake_s = 600 },
]
gates = [{ threshold_bp = 2500, min_executed_bp = 7000, test = { kind = "raw" }, action = "pause" }]
[[timeline]]
at = "1h"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
rollout = "first"
[[timeline]]
at = "1h40m"
do = "order_rollout"
rollout = "first"
order = "abort"
[[timeline]]
at = "2h"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
rollout = "second"
[[expect]]
metric = "rollout.broken_devices"
min = 1
"#;
    let run = rehearsed(folder.path(), "twice", twice);
    let (first, second) = (review_of(&run, "first"), review_of(&run, "second"));
    let events = events_in(&run);
    let of =
        |what: &str| events.iter().filter(|event| event["event"] == "firmware" && event["what"] == what).count() as u64;
    let installed = |review: &Value| count(review, |cell| cell["is_installed"] == true);
    let broken = |review: &Value| count(review, |cell| cell["fate"] == "broken");
    assert_eq!(installed(&first), 50, "a quarter of 200");
    assert_eq!(installed(&first) + installed(&second), of("booted"), "{} {}", installed(&first), installed(&second));
    assert_eq!(broken(&first) + broken(&second), of("died"));
    assert!(broken(&first) > 0 && broken(&second) > 0);
    let summary = std::fs::read_to_string(run.join("summary.md")).unwrap().replace('\u{a0}', " ");
    let sentence = format!("Release 1.1.0, by the rollout second, broke {} of {}", broken(&second), installed(&second));
    assert!(summary.contains(&sentence), "{summary}");
}

/// Goal: where a promotion counted silent devices as lost, a row of the table says what happens with its threshold, or is marked.
/// Method: each row that is not marked is rehearsed.
#[test]
fn thresholds_that_would_have_promoted_otherwise_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = |threshold_bp: u64| {
        format!(
            r#"
name = "silent"
goal = "Silent devices at a promotion."
mode = "rehearse"
seed = 5
duration = "20h"
ramp = "5m"
[fleet]
devices = 200
heartbeat_interval = "10m"
id_prefix = "B"
[[fleet.churn]]
kind = "unplugged"
per_day_bp = 9000
lasts = "1h30m"
[[firmware]]
version = "1.1.0"
counter = 2
[[firmware.fault]]
install_fails_bp = 300
[[firmware.fault]]
dies_bp = 1500
dies_after = "5h"
[[policy]]
name = "p"
lost_after_s = 10800
watch_s = 3600
max_wait_s = 864000
stages = [
    {{ share_bp = 2500, min_executed_bp = 7000, bake_s = 3600 }},
    {{ share_bp = 10000, min_executed_bp = 7000, bake_s = 3600 }},
]
gates = [{{ threshold_bp = {threshold_bp}, min_executed_bp = 7000, test = {{ kind = "raw" }}, action = "abort" }}]
[[timeline]]
at = "1h"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
[[expect]]
metric = "rollout.promoted"
min = 0
"#
        )
    };
    let review = review_of(&rehearsed(folder.path(), "actual", &scenario(1_600)), "rollout-1.1.0");
    let rows = review["thresholds"][0]["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["is_uncertain"] == true), "{rows:?}");
    for row in rows.iter().filter(|row| row["is_uncertain"] == false) {
        let threshold_bp = row["threshold_bp"].as_u64().unwrap();
        let other = rehearsed(folder.path(), &format!("with-{threshold_bp}"), &scenario(threshold_bp));
        let found = &review_of(&other, "rollout-1.1.0")["found"];
        let until_s = review["thresholds"][0]["evidence_until_s"].as_f64().unwrap_or(f64::MAX);
        match row["trip"]["at_s"].as_f64() {
            Some(at_s) => {
                let after_s = found["at_s"].as_f64().unwrap() - at_s;
                assert!((0.0..=1.0).contains(&after_s), "{threshold_bp} bp: {row} but {found}");
            }
            None => {
                assert!(
                    found["at_s"].as_f64().is_none_or(|at_s| at_s >= until_s),
                    "{threshold_bp} bp: {row} but {found}"
                );
            }
        }
    }
}
