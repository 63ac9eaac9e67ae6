//! Goal: the event log says what happened, whichever part of it is kept, and says clearly what it lacks.
//! Method: the real executable rehearses one canary with each `--events`; its logs are held against each other.

use std::path::Path;

use crate::support::{self, events_in, fleet_in, stderr_of, summary_in, write_scenario};
use ks_protocol::text::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The event log in a run folder.
const LOG: &str = "events.ndjson.zst";

/// Firmware that bricks a part of forty devices, and a command for some.
const CANARY: &str = r#"
name = "canary"
goal = "The same run, whatever is logged."
mode = "rehearse"
seed = 5
duration = "4h"
[fleet]
devices = 40
heartbeat_interval = "1m"
[[firmware]]
version = "2.0.0"
counter = 2
size_kib = 8
bricks_bp = 3000
[[policy]]
name = "p"
lost_after_s = 900
stages = [{ share_bp = 10000, min_executed = 20, bake_s = 600 }]
gates = [{ threshold_bp = 500, min_executed = 20, test = { kind = "raw" }, action = "abort" }]
[[timeline]]
at = "10m"
do = "start_rollout"
firmware = "2.0.0"
policy = "p"
[[timeline]]
at = "1h"
do = "outage"
for = "5m"
[[expect]]
metric = "rollout.aborted"
equals = 1
"#;

/// Rehearses it with these options, into a folder of that name.
fn rehearse(folder: &Path, out: &str, options: &[&str]) -> Value {
    write_scenario(folder, "canary", CANARY);
    let output = support::rehearse(folder, "canary.toml", out, options);
    assert!(output.status.success(), "{}", stderr_of(&output));
    summary_in(&folder.join(out))
}

/// A heartbeat that succeeded and brought nothing.
fn is_ordinary(event: &Value) -> bool {
    event["event"] == "heartbeat" && event["code"] == "OK" && event["offer"].is_null() && event["commands"].is_null()
}

#[test]
fn what_is_logged_does_not_change_the_run_and_the_hash_is_of_the_lines() {
    let folder = tempfile::tempdir().unwrap();
    let [all, decisions, none] = ["all", "decisions", "none"].map(|kept| {
        let summary = rehearse(folder.path(), kept, &["--events", kept]);
        assert_eq!(summary["events_kept"], kept);
        summary
    });
    let files =
        |name: &str| ["all", "decisions", "none"].map(|run| std::fs::read(folder.path().join(run).join(name)).unwrap());
    for name in ["decisions.ndjson", "rollouts.ndjson"] {
        let [all, decisions, none] = files(name);
        assert!(!all.is_empty() && all == decisions && all == none, "{name}");
    }
    for (run, summary) in [("all", &all), ("decisions", &decisions)] {
        let printed = fleet_in(folder.path(), &["events", run]);
        assert_eq!(summary["event_log_sha256"], hex(&Sha256::digest(&printed.stdout)), "{run}");
    }
    assert!(none["event_log_sha256"].is_null() && !folder.path().join("none").join(LOG).exists());

    let mut expected = events_in(&folder.path().join("all"));
    let count = expected.len();
    expected.retain(|event| !is_ordinary(event));
    assert!(expected.len() * 4 < count, "{} of {count}", expected.len());
    let kept = events_in(&folder.path().join("decisions"));
    assert_eq!(kept[0], serde_json::json!({"at_ms": 0, "event": "kept", "events": "decisions"}));
    assert_eq!(kept[1..], expected);

    let other = rehearse(folder.path(), "default", &[]);
    assert_eq!(other["event_log_sha256"], all["event_log_sha256"], "all is the default");
    let again = decisions["replay"].as_str().unwrap();
    assert!(again.contains("--events decisions"), "the hash repeats only with it: {again}");
}

#[test]
fn what_the_log_lacks_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let page = |run: &str| std::fs::read_to_string(folder.path().join(run).join("summary.md")).unwrap();
    rehearse(folder.path(), "decisions", &["--events", "decisions"]);
    let explained = fleet_in(folder.path(), &["explain", "decisions", "SIM-000001"]);
    assert!(explained.status.success());
    let note = "note: ordinary heartbeats are not in this log: the run was made with --events decisions";
    assert!(stderr_of(&explained).contains(note), "{}", stderr_of(&explained));
    let history = String::from_utf8(explained.stdout).unwrap();
    assert!(history.contains("register (1, 1): OK") && history.contains("outage"), "{history}");
    assert!(page("decisions").contains("no ordinary heartbeats"));

    rehearse(folder.path(), "none", &["--events", "none"]);
    for command in [&["explain", "none", "SIM-000001"][..], &["events", "none"]] {
        let refused = fleet_in(folder.path(), command);
        assert_eq!(refused.status.code(), Some(2));
        let why = stderr_of(&refused);
        assert!(why.contains("none has no event log: the run was made with --events none"), "{why}");
        assert!(why.contains("`ks-fleet rehearse canary.toml --signatures modelled --seed 5`"), "{why}");
    }
    assert!(page("none").contains("There is no event log"));
    let trials = fleet_in(folder.path(), &["rehearse", "canary.toml", "--trials", "2", "--events", "all"]);
    assert_eq!(trials.status.code(), Some(2));
    assert!(stderr_of(&trials).contains("trials keep no event log; omit --events"));
}

#[test]
fn a_log_cut_short_is_explained_up_to_there_or_refused_if_the_run_finished() {
    let folder = tempfile::tempdir().unwrap();
    rehearse(folder.path(), "run", &[]);
    let whole = events_in(&folder.path().join("run"));
    let log = folder.path().join("run").join(LOG);
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    for command in [&["explain", "run", "SIM-000001"][..], &["events", "run"]] {
        let refused = fleet_in(folder.path(), command);
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr_of(&refused).contains("the event log is cut short after"), "{}", stderr_of(&refused));
    }
    let redrawn = fleet_in(folder.path(), &["report", "run"]);
    assert!(stderr_of(&redrawn).contains("it is cut short, and the run finished"), "{}", stderr_of(&redrawn));

    std::fs::remove_file(folder.path().join("run/summary.json")).unwrap();
    let explained = fleet_in(folder.path(), &["explain", "run", "SIM-000001"]);
    assert!(explained.status.success());
    assert!(stderr_of(&explained).contains("note: the run did not finish"), "{}", stderr_of(&explained));
    let read = events_in(&folder.path().join("run"));
    assert!(!read.is_empty() && read.len() < whole.len() && read == whole[..read.len()]);
}

#[test]
fn events_of_one_device_are_those_lines() {
    let folder = tempfile::tempdir().unwrap();
    rehearse(folder.path(), "run", &["--duration", "2h"]);
    let all = events_in(&folder.path().join("run"));
    let printed = fleet_in(folder.path(), &["events", "run", "--device", "SIM-000007"]);
    let of_device = crate::support::json_lines(&String::from_utf8(printed.stdout).unwrap());
    let expected: Vec<Value> = all.into_iter().filter(|event| event["device_id"] == "SIM-000007").collect();
    assert!(of_device.len() > 10 && of_device == expected, "{} events", of_device.len());
    let refused = fleet_in(folder.path(), &["events", "run", "--device", "SIM-7"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr_of(&refused).contains("no event of a device `SIM-7`"), "{}", stderr_of(&refused));
}
