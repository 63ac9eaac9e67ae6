//! How the fleet recovers from outages, against an independent calculation from the event log.

use std::{collections::BTreeMap, path::Path};

use crate::support::{events_in, fleet_in, stderr_of, summary_in, write_scenario};
use serde_json::Value;

/// Outages of every kind, overlapping ones too; the last site outage ends shortly before the run does.
const OUTAGES: &str = r#"
name = "outages"
goal = "The fleet comes back after each of them."
mode = "rehearse"
seed = 11
duration = "4m"
ramp = "20s"
[fleet]
devices = 90
heartbeat_interval = "5s"
[[fleet.site]]
name = "north"
share = 2
[[fleet.site]]
name = "south"
share = 1
[[timeline]]
at = "12s"
do = "outage"
for = "4s"
[[timeline]]
at = "30s"
do = "outage"
for = "20s"
site = "north"
[[timeline]]
at = "45s"
do = "restart_server"
for = "15s"
[[timeline]]
at = "61s"
do = "outage"
for = "1s"
[[timeline]]
at = "100s"
do = "outage"
for = "30s"
site = "south"
half_open = true
[[timeline]]
at = "150s"
do = "restart_server"
moment = "before_commit"
for = "7s"
[[timeline]]
at = "230s"
do = "outage"
for = "8s"
site = "south"
"#;

/// Expectations of the recovery.
fn expecting(metrics: &[(&str, &str)]) -> String {
    let expect = |(metric, bound): &(&str, &str)| format!("[[expect]]\nmetric = \"{metric}\"\n{bound}\n");
    metrics.iter().map(expect).collect()
}

fn rehearse(folder: &Path, text: &str, exit_code: i32) -> (Value, String) {
    write_scenario(folder, "outages", text);
    let options = ["rehearse", "outages.toml", "--signatures", "modelled", "--out", "run"];
    let output = fleet_in(folder, &options);
    assert_eq!(output.status.code(), Some(exit_code), "{}", stderr_of(&output));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr_of(&output));
    (summary_in(&folder.join("run")), said)
}

/// What the event log says of one outage: milliseconds until each device was served again, sorted; and who never was.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    after_ms: Vec<u64>,
    never: u64,
}

/// Reads the log once: each accepted heartbeat belongs to the last outage that ended since the device's one before.
fn expected(events: &[Value], ends: &[(u64, Option<&str>)]) -> Vec<Expected> {
    let mut devices: BTreeMap<&str, (&str, Vec<u64>)> = BTreeMap::new();
    for event in events {
        let (name, at_ms) = (event["device_id"].as_str(), event["at_ms"].as_u64().unwrap());
        match (event["event"].as_str().unwrap(), name) {
            ("switched_on", Some(name)) => {
                devices.insert(name, (event["site"].as_str().unwrap(), vec![at_ms]));
            }
            ("heartbeat", Some(name)) if event["code"] == "OK" => devices.get_mut(name).unwrap().1.push(at_ms),
            _ => {}
        }
    }
    let mut expected: Vec<Expected> = ends.iter().map(|_| Expected::default()).collect();
    for (site, served) in devices.values() {
        let bounds = served.iter().copied().map(Some).chain([None]).collect::<Vec<_>>();
        for pair in bounds.windows(2) {
            let (before, next) = (pair[0].unwrap(), pair[1]);
            let is_within = |end: u64| before < end && next.is_none_or(|next| end <= next);
            let hit = ends.iter().rposition(|(end, at)| is_within(*end) && at.is_none_or(|at| at == *site));
            match (hit, next) {
                (Some(outage), Some(next)) => expected[outage].after_ms.push(next - ends[outage].0),
                (Some(outage), None) => expected[outage].never += 1,
                (None, _) => {}
            }
        }
    }
    for outage in &mut expected {
        outage.after_ms.sort_unstable();
    }
    expected
}

/// The nearest-rank quantile of what the log says, in seconds.
fn quantile_s(of: &Expected, percent: usize) -> Option<f64> {
    let affected = of.after_ms.len() + usize::try_from(of.never).unwrap();
    let rank = (affected * percent).div_ceil(100).max(1);
    of.after_ms.get(rank - 1).map(|ms| *ms as f64 / 1_000.0)
}

fn assert_same(of: &Value, expected: &Expected, what: &str) {
    let counts = (of["affected"].as_u64().unwrap(), of["never_served"].as_u64().unwrap());
    assert_eq!(counts, (expected.after_ms.len() as u64 + expected.never, expected.never), "{what}");
    for (name, percent) in [("p50_s", 50), ("p99_s", 99), ("max_s", 100)] {
        assert_eq!(of[name].as_f64(), quantile_s(expected, percent), "{name} of {what}");
    }
}

/// Goal: the numbers that a limit is chosen by are right. Method: the event log, read by other code.
#[test]
fn recovery_is_what_the_event_log_says() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = [("fleet.never_served", "min = 1"), ("fleet.recovery_p99_s", "max = 60")];
    let (summary, said) = rehearse(folder.path(), &format!("{OUTAGES}{}", expecting(&metrics)), 99);
    let events = events_in(&folder.path().join("run"));
    let back = |event: &&Value| event["event"] == "server_back";
    let backs: Vec<u64> = events.iter().filter(back).map(|event| event["at_ms"].as_u64().unwrap()).collect();
    let [first, second] = backs[..] else { panic!("{backs:?}") };
    assert!(first == 60_000 && (157_000..163_000).contains(&second), "{backs:?}");
    let (north, south) = (Some("north"), Some("south"));
    let ends = [
        (16_000, None),
        (50_000, north),
        (first, None),
        (62_000, None),
        (130_000, south),
        (second, None),
        (238_000, south),
    ];
    let expected = expected(&events, &ends);
    let outages = summary["recovery"]["outages"].as_array().unwrap();
    assert_eq!(outages.len(), ends.len());
    for (number, (outage, expected)) in outages.iter().zip(&expected).enumerate() {
        assert_eq!(outage["to_s"].as_f64(), Some(ends[number].0 as f64 / 1_000.0));
        assert_same(&outage["recovered"], expected, &outage.to_string());
        let last = outage["curve"].as_array().unwrap().last().map_or(0, |point| point[1].as_u64().unwrap());
        assert_eq!(last, expected.after_ms.len() as u64, "the curve ends with all that came back");
    }
    let mut all = Expected::default();
    for outage in &expected {
        all.after_ms.extend(&outage.after_ms);
        all.never += outage.never;
    }
    all.after_ms.sort_unstable();
    assert_same(&summary["recovery"]["all"], &all, "all outages");
    // It would prove nothing if an outage had hit nobody, or had ended without a trace.
    assert!(all.never > 0 && expected[1] == Expected::default(), "the server was down longer: {expected:?}");
    assert!(expected.iter().filter(|outage| !outage.after_ms.is_empty()).count() >= 5, "{expected:?}");
    let affected = all.after_ms.len() as u64 + all.never;
    let why = format!("was not met: {} of {affected} devices were never served again", all.never);
    assert!(said.contains(&why), "{why}\n{said}");
    let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("Recovery from outages") && page.contains("id=\"recovery\""));
}

#[test]
fn a_fleet_that_came_back_has_a_recovery_time() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = [
        ("fleet.never_served", "equals = 0"),
        ("fleet.recovery_max_s", "max = 30"),
        ("fleet.recovery_p50_s", "min = 0.001"),
    ];
    let without_last = OUTAGES.replace("at = \"230s\"", "at = \"200s\"");
    rehearse(folder.path(), &format!("{without_last}{}", expecting(&metrics)), 0);
}
