//! Goal: each number of a report is what the raw files of its run folder say, computed again and otherwise.
//! Method: the real executable; events, decisions and ticks are read line by line, and held against summary and trials.

use std::{collections::BTreeSet, path::Path};

use crate::support::{events_in, fleet_in, json_lines, lines_in, rehearse, summary_in, write_scenario};
use serde_json::Value;

/// Firmware that kills a tenth of forty devices after six hours, and a gate that notices.
const DETECT: &str = r#"
name = "detect"
goal = "How exact is detection_s?"
mode = "rehearse"
duration = "90d"
[fleet]
devices = 40
heartbeat_interval = "30m"
[[firmware]]
version = "2.0.0"
counter = 2
dies_bp = 1000
dies_after = "6h"
[[policy]]
name = "p"
lost_after_s = 5400
stages = [{ share_bp = 10000, min_executed = 20, bake_s = 86400 }]
gates = [{ threshold_bp = 50, min_executed = 20, test = { kind = "raw" }, action = "abort" }]
[[timeline]]
at = "1h"
do = "start_rollout"
firmware = "2.0.0"
policy = "p"
[[expect]]
metric = "rollout.detection_s"
min = 5400
"#;

/// When a device first died, and when the engine aborted, by the raw files: seconds into the run.
fn died_and_aborted_s(run: &Path) -> (f64, f64) {
    let events = events_in(run);
    let died = events.iter().find(|event| event["what"] == "died").expect("a device dies");
    let decisions = lines_in(run, "decisions.ndjson");
    let aborted = decisions.iter().find(|decision| decision["decision"] == "aborted").expect("it is aborted");
    (died["at_ms"].as_f64().unwrap() / 1_000.0, aborted["at_s"].as_f64().unwrap())
}

/// Goal: how soon a bug was found does not depend on how long the run goes on, nor on where it is written.
/// Method: the same seed for a day and for ten, whose ticks are of 24 s and of 240 s, and as a trial.
#[test]
fn the_time_to_find_a_bug_counts_from_the_moment_it_broke_a_device() {
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "detect", DETECT);
    let mut found = Vec::new();
    for duration in ["1d", "10d"] {
        rehearse(folder.path(), "detect.toml", duration, &["--duration", duration]);
        let run = folder.path().join(duration);
        let (died_s, aborted_s) = died_and_aborted_s(&run);
        let summary = summary_in(&run);
        let rollout = &summary["rollout"];
        assert_eq!(rollout["first_broken_at_s"].as_f64(), Some(died_s));
        assert_eq!(rollout["detected_at_s"].as_f64(), Some(aborted_s));
        assert_eq!(rollout["started_at_s"].as_f64(), Some(3_600.0));
        let measured = summary["expectations"][0]["actual"].as_f64().unwrap();
        assert!((measured - (aborted_s - died_s)).abs() < 1e-6, "{measured} {aborted_s} {died_s}");
        found.push((died_s, aborted_s));
    }
    assert_eq!(found[0], found[1]);
    let trial = ["--duration", "1d", "--trials", "1", "--bug-rates", "10"];
    rehearse(folder.path(), "detect.toml", "trials", &trial);
    let trial = lines_in(&folder.path().join("trials"), "trials.ndjson").remove(0);
    let times = ["first_broken_at_s", "detected_at_s"].map(|name| trial[name].as_f64().unwrap());
    assert_eq!((times[0], times[1], trial["started_at_s"].as_f64().unwrap()), (found[0].0, found[0].1, 3_600.0));
    let story = fleet_in(folder.path(), &["explain", "1d", &who_died(&folder.path().join("1d")), "--json"]);
    let story = json_lines(&String::from_utf8(story.stdout).unwrap());
    let died = story.iter().find(|moment| moment["what"].as_str().unwrap().starts_with("died")).unwrap();
    assert_eq!(died["at_s"].as_f64(), Some(found[0].0));
    assert!(story.iter().any(|moment| moment["who"] == "engine" && moment["at_s"].as_f64() == Some(found[0].1)));
}

/// The first device that died.
fn who_died(run: &Path) -> String {
    let events = events_in(run);
    let died = events.iter().find(|event| event["what"] == "died").unwrap();
    died["device_id"].as_str().unwrap().to_owned()
}

/// A canary of one model, of which a part bricks, in a fleet that also punches and is refused now and then.
const ONE_MODEL: &str = r#"
name = "one-model"
goal = "Every share has its numerator and its denominator."
mode = "rehearse"
seed = 3
duration = "6h"
ramp = "90s"
[fleet]
devices = 120
heartbeat_interval = "1m"
model = [{ name = "KS-100", share = 3 }, { name = "KS-200", share = 1 }]
[server]
RATE_LIMIT_DEVICE_PER_MIN = 3
RATE_LIMIT_DEVICE_BURST = 2
[[firmware]]
version = "2.0.0"
counter = 2
size_kib = 8
bricks_bp = 3000
install_fails_bp = 1000
only_model = "KS-200"
[[policy]]
name = "p"
lost_after_s = 900
stages = [{ share_bp = 5000, min_executed = 20, bake_s = 600 }, { share_bp = 10000, min_executed = 20, bake_s = 600 }]
gates = [{ threshold_bp = 500, min_executed = 20, test = { kind = "raw" }, action = "abort" }]
[[timeline]]
at = "10m"
do = "start_rollout"
firmware = "2.0.0"
policy = "p"
[[timeline]]
at = "20m"
do = "punch"
per_device = 3
[[expect]]
metric = "rollout.aborted"
equals = 1
[[expect]]
metric = "rollout.broken_devices"
max = 30
"#;

/// Devices of which the event log says one of these things.
fn who(events: &[Value], said: &[&str]) -> BTreeSet<String> {
    let is_such = |event: &&Value| event["what"].as_str().is_some_and(|what| said.contains(&what));
    events.iter().filter(is_such).map(|event| event["device_id"].as_str().unwrap().to_owned()).collect()
}

/// A share as the report writes it: two decimals, half rounded up.
fn percent(part: u64, whole: u64) -> String {
    let halves = part * 20_000 / whole;
    let hundredths = halves / 2 + halves % 2;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// Goal: the shares of summary, page and short form are of what their words say.
/// Method: who installed and who broke is counted in the event log, rates in the ticks, refusals in both.
#[test]
fn shares_and_rates_are_those_of_the_raw_files() {
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "one", ONE_MODEL);
    rehearse(folder.path(), "one.toml", "run", &[]);
    let run = folder.path().join("run");
    let (events, ticks, summary) = (events_in(&run), lines_in(&run, "ticks.ndjson"), summary_in(&run));
    let text = |name| std::fs::read_to_string(run.join(name)).unwrap().replace('\u{a0}', " ");
    let (page, short) = (text("report.html"), text("summary.md"));

    let (installed, broken) =
        (who(&events, &["booted", "bricked"]).len() as u64, who(&events, &["bricked"]).len() as u64);
    assert!(broken > 2 && installed > broken && installed < 120, "{broken} of {installed}");
    assert_eq!(summary["rollout"]["installed_devices"].as_u64(), Some(installed));
    assert_eq!(summary["rollout"]["broken_devices"].as_u64(), Some(broken));
    let share = percent(broken, installed);
    let reported =
        format!("Release 2.0.0 broke {broken} of {installed} devices that installed it ({share}) and was aborted");
    assert!(short.contains(&reported) && page.contains(&reported), "{reported}: {short}");
    assert!(
        page.contains(&format!("{share} of those that installed it, {} of the fleet of 120", percent(broken, 120)))
    );
    assert!(page.contains(&format!("{} of 120 targets", percent(installed, 120))));

    let ended_s = summary["simulated_s"].as_f64().unwrap();
    assert!(
        ended_s < 21_600.0 && page.contains("It ended by itself after"),
        "the abort leaves nothing to come: {ended_s}"
    );
    let steady: Vec<&Value> = ticks
        .iter()
        .filter(|tick| {
            let at_s = tick["at_s"].as_f64().unwrap();
            at_s >= 90.0 && at_s + tick["width_s"].as_f64().unwrap() <= ended_s
        })
        .collect();
    let sum = |name: &str| steady.iter().map(|tick| tick[name].as_f64().unwrap()).sum::<f64>();
    let minutes = sum("width_s") / 60.0;
    let near = |one: &Value, other: f64| assert!((one.as_f64().unwrap() - other).abs() < 1e-6, "{one} {other}");
    near(&summary["heartbeats"]["per_min"], sum("acked") / minutes);
    near(&summary["heartbeats"]["offered_per_min"], sum("offered") / minutes);
    near(&summary["generator"]["achieved_bp"], (sum("sent") * 10_000.0 / sum("offered")).floor());
    assert!(
        (minutes - (ended_s - 90.0) / 60.0).abs() < 1e-6,
        "the steady part begins in the middle of a tick: {minutes}"
    );

    let log = std::fs::read_to_string(run.join("latency.hlog")).unwrap();
    let intervals = log.lines().filter(|line| line.starts_with(|sign: char| sign.is_ascii_digit())).count();
    assert_eq!(intervals, ticks.len(), "an interval for each tick, also for one without an answer");

    let ended = |code: Option<bool>| {
        let codes = events.iter().filter_map(|event| event["code"].as_str());
        codes.filter(|ended| code.is_none_or(|is_ok| (*ended == "OK") == is_ok)).count() as u64
    };
    let by_code = summary["requests_by_code"].as_object().unwrap().values().flat_map(|of| of.as_object().unwrap());
    assert_eq!(by_code.map(|(_, count)| count.as_u64().unwrap()).sum::<u64>(), ended(None));
    let (all, refused) = (ended(None), ended(Some(false)));
    assert!(refused > 0);
    let grouped = |number: u64| match number {
        0..1_000 => number.to_string(),
        _ => format!("{} {:03}", number / 1_000, number % 1_000),
    };
    let errors = format!("- **Errors:** {} of {} requests ({})", grouped(refused), grouped(all), percent(refused, all));
    assert!(short.contains(&errors), "{errors}: {short}");
}

/// Goal: a device without an interval of its own beats at the server's pace, after an update as before.
/// Method: the rate of the hours after all have updated, against devices and interval.
#[test]
fn a_device_at_the_servers_pace_has_one_heartbeat_an_interval_after_an_update_too() {
    let text = r#"name = "pace"
goal = "A device at the server's pace beats as often after an update as before."
mode = "rehearse"
duration = "10h"
[fleet]
devices = 20
[server]
HEARTBEAT_INTERVAL_MS = 300000
[[firmware]]
version = "1.1.0"
counter = 2
size_kib = 8
[[policy]]
name = "p"
stages = [{ share_bp = 10000, min_executed = 10, bake_s = 60 }]
gates = [{ threshold_bp = 5000, min_executed = 10, test = { kind = "raw" } }]
[[timeline]]
at = "1h"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
[[timeline]]
at = "4h"
do = "phase"
name = "after"
[[expect]]
metric = "updated.1.1.0"
equals = 20
[[expect]]
metric = "heartbeat.per_min"
max = 4.1 # 20 devices, one each five minutes: 4
during = "after"
[[expect]]
metric = "heartbeat.per_min"
min = 3.9
during = "after"
"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pace.toml"), text).unwrap();
    let output = rehearse(folder.path(), "pace.toml", "run", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
