//! Goal: what is said of rollouts is true where sites close at night: how late a bug is found, and what a release would have done
//! without the gate.
//! Method: advised policies are rehearsed; the same scenario is rehearsed again with a gate that never fails. Those are the truth.

use std::path::Path;

use serde_json::Value;

use crate::support::{fleet_in, rehearse, stderr_of, summary_in, write_scenario};

/// Kiosks close at night; half of the devices are there. The rollout begins half an hour after `start`. The release bricks some at the office at any time, and some
/// anywhere between these hours.
fn scenario(start: &str, closed: &str, faulty: &str, threshold_bp: u16, pace: u16) -> String {
    format!(
        r#"
name = "closed-at-night"
goal = "Spared devices without power get the release once they have power."
mode = "rehearse"
duration = "33h"
starts_at = 2026-01-01T{start}:00Z
[fleet]
devices = 200
heartbeat_interval = "15m"
[[fleet.site]]
name = "kiosk"
share = 1
[[fleet.site]]
name = "office"
share = 1
[[fleet.churn]]
kind = "site_closes"
only_site = "kiosk"
hours = "{closed}"
[[firmware]]
version = "1.1.0"
counter = 2
[[firmware.fault]]
bricks_bp = 3000
hours = "{faulty}"
[[firmware.fault]]
bricks_bp = 1000
only_site = "office"
[[policy]]
name = "p"
starts_per_min = {pace}
lost_after_s = 3600
stages = [
    {{ share_bp = 2000, min_executed = 20, bake_s = 3600 }},
    {{ share_bp = 10000, min_executed = 80, bake_s = 3600 }},
]
gates = [{{ threshold_bp = {threshold_bp}, min_executed = 20, test = {{ kind = "raw" }}, action = "abort" }}]
[[timeline]]
at = "30m"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
[[expect]]
metric = "errors"
max = 0
"#
    )
}

/// Rehearses it with a seed; gives its folder.
fn rehearsed(folder: &Path, name: &str, text: &str, seed: &str) -> std::path::PathBuf {
    write_scenario(folder, name, text);
    let file = format!("{name}.toml");
    let out = format!("{name}-{seed}");
    let run = rehearse(folder, &file, &out, &["--seed", seed]);
    assert!(run.status.code().is_some_and(|code| code == 0 || code == 99), "{}", stderr_of(&run));
    folder.join(out)
}

#[test]
fn without_a_gate_it_breaks_what_the_review_says_whenever_sites_have_power() {
    let folder = tempfile::tempdir().unwrap();
    let mut waited = 0;
    for (start, closed, faulty, pace, seeds) in [
        ("21:00", "22-06", "06-08", 1, &["5", "6"][..]), // offered before they close, and to the rest when they open
        ("21:00", "22-23", "06-08", 1, &["6"]),          // an hour without power does not bring it into the morning
        ("21:00", "22-06", "06-08", 20, &["6"]),         // most of them are offered it in the evening
        ("07:20", "12-20", "20-24", 1, &["5"]),          // one that is offered it just before they close
    ] {
        for seed in seeds {
            let case = format!("start {start}, closed {closed}, pace {pace}, seed {seed}");
            let gated = rehearsed(folder.path(), "gated", &scenario(start, closed, faulty, 200, pace), seed);
            let truth = rehearsed(folder.path(), "free", &scenario(start, closed, faulty, 9_900, pace), seed);
            let review: Value = serde_json::from_slice(&std::fs::read(gated.join("review.json")).unwrap()).unwrap();
            let review = &review["rollouts"][0];
            let cells = review["cells"].as_array().unwrap().iter();
            let breaks = |cell: &&Value| matches!(cell["truth"].as_str(), Some("bricks" | "dies"));
            let expected: u64 = cells.filter(breaks).map(|cell| cell["devices"].as_u64().unwrap()).sum();
            let range = ["least", "most"].map(|end| review["assumed"]["breaks"][end].as_u64().unwrap());
            let broken = summary_in(&truth)["rollout"]["broken_devices"].as_u64().unwrap();
            assert!((range[0]..=range[1]).contains(&broken), "{case}: {broken} broke, the review says {range:?}");
            assert!(broken.abs_diff(expected) <= 3, "{case}: {broken} broke, the review expects {expected}");
            assert_ne!(review["state"], "COMPLETED", "{case}: there was a gate");
            waited += u64::from(expected > range[0]);
            for run in [gated, truth] {
                std::fs::remove_dir_all(run).unwrap();
            }
        }
    }
    assert!(waited > 0, "in some case devices get it at another hour");
}

/// Three in four devices are at an office, the others in kiosks, which close twelve minutes after the rollout begins.
const JUST_BEFORE_CLOSING: &str = r#"
name = "just-before-closing"
goal = "Kiosks close at night."
mode = "rehearse"
duration = "3d4h"
starts_at = 2026-01-05T21:00:00Z
[fleet]
devices = 300
heartbeat_interval = "20m"
[[fleet.site]]
name = "kiosk"
share = 1
[[fleet.site]]
name = "office"
share = 3
[[fleet.churn]]
kind = "site_closes"
only_site = "kiosk"
hours = "22-06"
[[firmware]]
version = "1.1.0"
counter = 2
bricks_bp = 300
[[policy]]
name = "p"
stages = [{ share_bp = 3000, min_executed = 60, bake_s = 3600 }, { share_bp = 10000, min_executed = 100, bake_s = 3600 }]
gates = [{ threshold_bp = 100, min_executed = 60, test = { kind = "raw" }, action = "abort" }]
[[timeline]]
at = "48m"
do = "start_rollout"
firmware = "1.1.0"
policy = "p"
[[expect]]
metric = "rollout.broken_devices"
min = 0
"#;

/// A rollout that begins twelve minutes before the kiosks close: its first step waits for them until the morning, so that the bug is
/// found six hours later than the sum of all other times.
#[test]
fn advice_is_kept_by_rollouts_that_begin_just_before_a_site_closes() {
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "late", JUST_BEFORE_CLOSING);
    let args =
        ["advise", "late.toml", "--detect", "5%", "--in", "72h", "--trials", "1", "--json", "--quiet", "--out", "a"];
    let run = fleet_in(folder.path(), &args);
    assert_eq!(run.status.code(), Some(0), "{}", stderr_of(&run));
    let advice: Value = serde_json::from_slice(&run.stdout).unwrap();
    let predicted = |name: &str| {
        let mut policies = advice["policies"].as_array().unwrap().iter();
        policies.find(|of| of["name"] == name).map(|of| of["found_after_s"].as_f64().unwrap())
    };
    assert!(predicted("in-steps").unwrap() > 41.3 * 3_600.0, "the first step waits for the morning: {advice}");
    let trials = std::fs::read_to_string(folder.path().join("a/trials.ndjson")).unwrap();
    let mut found = 0;
    for trial in trials.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let Some(detected_at_s) = trial["detected_at_s"].as_f64().filter(|_| trial["bug_rate_bp"] != 0) else {
            continue;
        };
        let after_s = detected_at_s - trial["started_at_s"].as_f64().unwrap();
        let predicted_s = predicted(trial["policy"].as_str().unwrap()).unwrap();
        assert!(after_s <= predicted_s, "found after {after_s} s, predicted {predicted_s} s: {trial}");
        found += 1;
    }
    assert!(found >= 2, "the bug is found in most of the trials: {trials}");
}
