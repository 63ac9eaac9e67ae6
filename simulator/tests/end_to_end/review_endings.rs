//! Goal: the review describes a rollout and the fate of each device when the end is not a plain abort or completion: alerts, pauses,
//! people's orders, rollbacks, removed devices, and a later release.
//! Method: the real executable; the review is held against the decisions and the event log.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::support::{events_in, fleet_in, lines_in, rehearse, stderr_of, summary_in, write_scenario};
use serde_json::Value;

/// 200 devices, and a policy of two stages with one gate; `more` is put at the end.
fn scenario(fleet: &str, policy: &str, gate: &str, more: &str) -> String {
    format!(
        r#"
name = "ending"
goal = "A rollout ends."
mode = "rehearse"
seed = 5
duration = "30h"
[fleet]
devices = 200
heartbeat_interval = "5m"
id_prefix = "E"
{fleet}
[[policy]]
name = "p"
lost_after_s = 1800
starts_per_min = 100
roll_back_to = "fw-3.0.0"
{policy}
stages = [{{ share_bp = 2000, min_executed = 30, bake_s = 600 }}, {{ share_bp = 10000, min_executed = 100, bake_s = 600 }}]
gates = [{{ min_executed = 30, test = {{ kind = "raw" }}, {gate} }}]
[[firmware]]
version = "3.0.0"
counter = 9
[[timeline]]
at = "1h"
do = "start_rollout"
rollout = "r"
firmware = "2.0.0"
policy = "p"
{more}
[[expect]]
metric = "ledger.lost"
equals = 0
"#
    )
}

fn release(behaviour: &str) -> String {
    format!("[[firmware]]\nversion = \"2.0.0\"\ncounter = 2\n{behaviour}\n")
}

/// A person's order at a time of the run.
fn order(at: &str, order: &str) -> String {
    format!("[[timeline]]\nat = \"{at}\"\ndo = \"order_rollout\"\nrollout = \"r\"\norder = \"{order}\"\n")
}

/// Rehearses a scenario; gives its folder and the review of its first rollout.
fn rehearsed(folder: &Path, text: &str) -> (PathBuf, Value) {
    write_scenario(folder, "ending", text);
    let run = rehearse(folder, "ending.toml", "run", &[]);
    assert!(run.status.success(), "{}", stderr_of(&run));
    let run = folder.join("run");
    let review: Value = serde_json::from_slice(&std::fs::read(run.join("review.json")).unwrap()).unwrap();
    let first = review["rollouts"][0].clone();
    assert_eq!(first["rollout_id"], "r");
    (run, first)
}

/// The short form of the report, with plain spaces.
fn short_form(run: &Path) -> String {
    std::fs::read_to_string(run.join("summary.md")).unwrap().replace('\u{a0}', " ")
}

/// Targets in cells that match.
fn count(review: &Value, matches: impl Fn(&Value) -> bool) -> usize {
    let cells = review["cells"].as_array().unwrap();
    let devices = cells.iter().filter(|cell| matches(cell)).map(|cell| cell["devices"].as_u64().unwrap()).sum::<u64>();
    usize::try_from(devices).unwrap()
}

/// Devices of which the event log says this, of this version.
fn who(run: &Path, what: &str, version: &str) -> BTreeSet<String> {
    let events = events_in(run);
    let is_such = |event: &&Value| event["event"] == "firmware" && event["what"] == what && event["version"] == version;
    events.iter().filter(is_such).map(|event| event["device_id"].as_str().unwrap().to_owned()).collect()
}

fn named(review: &Value) -> BTreeSet<String> {
    let stories = review["stories"].as_array().unwrap();
    stories.iter().map(|story| story["device_id"].as_str().unwrap().to_owned()).collect()
}

/// The first decision of this kind.
fn decision(run: &Path, what: &str) -> Value {
    let decisions = lines_in(run, "decisions.ndjson");
    decisions.into_iter().find(|decision| decision["decision"] == what).unwrap_or_else(|| panic!("no {what}"))
}

/// The gate's own threshold trips when the decision was made, or up to a second before.
fn assert_own_threshold_trips(review: &Value, at: &Value) {
    let rows = review["thresholds"][0]["rows"].as_array().unwrap();
    let own = rows.iter().find(|row| row["is_actual"] == true).unwrap_or_else(|| panic!("withheld: {review}"));
    let after_s = at.as_f64().unwrap() - own["trip"]["at_s"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&after_s), "{after_s}");
}

#[test]
fn a_gate_that_fails_after_completion_has_found_the_bug_and_stopped_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = scenario(
        "",
        "watch_s = 43200",
        "threshold_bp = 300, action = \"abort\"",
        &release("dies_bp = 800\ndies_after = \"6h\""),
    );
    let (run, review) = rehearsed(folder.path(), &text);
    let alert = decision(&run, "alert");
    assert_eq!(review["state"], "COMPLETED");
    assert_eq!((&review["found"]["decision"], &review["found"]["at_s"]), (&alert["decision"], &alert["at_s"]));
    assert_eq!(review["completed_at_s"], decision(&run, "completed")["at_s"]);
    assert_own_threshold_trips(&review, &alert["at_s"]);
    let text = short_form(&run);
    for part in [
        "Only after it was completed: gate 1 of all alerted people",
        "Nothing was stopped.",
        "although gate 1 of all alerted people",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Goal: after a rollback, a device is broken, or rescued, and nothing else.
/// Method: who died is in the event log, and so is who booted the old firmware again.
#[test]
fn devices_that_were_rolled_back_are_rescued() {
    let folder = tempfile::tempdir().unwrap();
    let gate = "threshold_bp = 200, action = \"abort_and_roll_back\"";
    let text = scenario(
        "",
        "watch_s = 43200",
        gate,
        &release(
            "[[firmware.fault]]\ndies_bp = 400\ndies_after = \"6h\"\n[[firmware.fault]]\ndies_bp = 800\ndies_after = \"9h\"",
        ),
    );
    let (run, review) = rehearsed(folder.path(), &text);
    let (died, back) = (who(&run, "died", "2.0.0"), who(&run, "booted", "3.0.0"));
    assert_eq!(died.len() + back.len(), 200, "every device died or was rolled back");
    assert_eq!(count(&review, |cell| cell["fate"] == "broken"), died.len());
    assert_eq!(count(&review, |cell| cell["fate"] == "rescued"), back.len());
    let rescued = count(&review, |cell| cell["fate"] == "rescued" && cell["truth"] == "dies");
    let would_break = count(&review, |cell| cell["truth"] == "dies");
    assert!(rescued > 3 && rescued + died.len() == would_break, "{rescued} {} {would_break}", died.len());
    assert_eq!(named(&review), died, "no other device has a story");
    assert_eq!(review["found"]["at_s"], decision(&run, "aborted")["at_s"]);
    assert_own_threshold_trips(&review, &review["found"]["at_s"]);
    let text = short_form(&run);
    let said = format!(
        "{} devices had it and run other firmware since; that rescued {rescued}, which it would have broken later.",
        back.len()
    );
    assert!(
        text.contains("Yes, after it was completed: gate 1 of all aborted it") && text.contains(&said),
        "{said}: {text}"
    );
    assert!(!text.contains("had not broken yet") && !text.contains("spared"), "{text}");
}

/// Goal: a device that was removed is neither well, nor spared, nor silent because of the release.
/// Method: removals are in the event log.
#[test]
fn devices_that_were_removed_are_gone_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let churn = "[[fleet.churn]]\nkind = \"removed\"\nper_day_bp = 1500";
    let text =
        scenario(churn, "watch_s = 72000", "threshold_bp = 9000, action = \"abort\"", &release("bricks_bp = 200"));
    let (run, review) = rehearsed(folder.path(), &text);
    let bricked = who(&run, "bricked", "1.0.0");
    let removed: BTreeSet<String> = events_in(&run)
        .iter()
        .filter(|event| event["event"] == "churn" && event["kind"] == "removed")
        .map(|event| event["device_id"].as_str().unwrap().to_owned())
        .collect();
    assert!(removed.len() > 10 && removed.is_disjoint(&bricked), "{}", removed.len());
    assert_eq!(count(&review, |cell| cell["fate"] == "broken"), bricked.len());
    // Devices that were removed before the rollout were its targets too, as far as the server knew.
    assert_eq!(count(&review, |cell| cell["fate"] == "gone"), removed.len());
    assert_eq!(count(&review, |cell| cell["is_silent"] == true), bricked.len());
    let stories = review["stories"].as_array().unwrap();
    let mut described = 0;
    for story in stories.iter().filter(|story| removed.contains(story["device_id"].as_str().unwrap())) {
        let events = story["events"].as_array().unwrap();
        described += usize::from(events.iter().any(|event| event["what"] == "removed"));
        assert_ne!(story["believed"], "CONFIRMED", "{story}");
    }
    assert!(described > 5, "{stories:?}");
    let said = format!("{} devices are gone otherwise: removed, revoked, or broken by another release.", removed.len());
    assert!(short_form(&run).contains(&said), "{said}");
}

/// Goal: of a device that another one replaces in time nobody says that the release broke it, and of one that is replaced late it is
/// said; the other one takes part in the run, and a rollout that begins later has it.
/// Method: the same swaps, a quarter of an hour or six hours long; a device is LOST after half an hour.
#[test]
fn a_device_that_is_replaced_in_time_is_no_failure() {
    let believed = |lasts: &str| {
        let folder = tempfile::tempdir().unwrap();
        let churn = format!("[[fleet.churn]]\nkind = \"swapped\"\nper_day_bp = 3000\nlasts = \"{lasts}\"");
        // A step late in the run, so that it does not end with the rollout.
        let more = release("") + "[[timeline]]\nat = \"20h\"\ndo = \"punch\"\nper_device = 1\n";
        let text = scenario(&churn, "watch_s = 72000", "threshold_bp = 9000, action = \"abort\"", &more);
        let (run, review) = rehearsed(folder.path(), &text);
        let events = events_in(&run);
        let swaps: Vec<(&str, &str)> = events
            .iter()
            .filter(|event| event["event"] == "replaced")
            .map(|event| (event["device_id"].as_str().unwrap(), event["by"].as_str().unwrap()))
            .collect();
        assert!(swaps.len() > 30, "{swaps:?}");
        for (number, (replaced, by)) in swaps.iter().enumerate() {
            assert_eq!(*by, format!("E-{:06}", 201 + number));
            let of = |device: &str, event: &str| -> Vec<&Value> {
                events.iter().filter(|line| line["device_id"] == device && line["event"] == event).collect()
            };
            let (old, new) = (of(replaced, "switched_on"), of(by, "switched_on"));
            assert_eq!((&old[0]["model"], &old[0]["site"]), (&new[0]["model"], &new[0]["site"]));
            assert_eq!(of(by, "register")[0]["code"], "OK", "{by}");
            let (gone_at, there_at) = (&of(replaced, "churn")[0]["at_ms"], &new[0]["at_ms"]);
            let last_at = events.iter().rev().find(|line| line["device_id"] == *replaced && line["code"] == "OK");
            let last_at = last_at.map_or(0, |line| line["at_ms"].as_u64().unwrap());
            assert!(last_at <= gone_at.as_u64().unwrap() && gone_at.as_u64() < there_at.as_u64(), "{replaced}");
        }
        let explained = |device: &str| {
            let output = fleet_in(folder.path(), &["explain", "run", device]);
            String::from_utf8(output.stdout).unwrap()
        };
        let (replaced, by) = swaps[0];
        assert!(explained(replaced).contains(&format!("revoked: {by} takes its place")), "{}", explained(replaced));
        assert!(explained(by).contains(&format!("takes the place of {replaced}")), "{}", explained(by));
        assert_eq!(count(&review, |cell| cell["fate"] == "broken"), 0);
        let summary = summary_in(&run);
        assert_eq!(summary["verdict"], "pass", "{summary:#}");
        ["WITHDRAWN", "LOST"].map(|state| count(&review, |cell| cell["believed"] == state))
    };
    let (in_time, late) = (believed("15m"), believed("6h"));
    assert!(in_time[0] > 5 && in_time[1] == 0, "{in_time:?}");
    assert!(late[1] > 5, "{late:?}");
}

#[test]
fn a_gate_that_fails_while_a_person_has_paused_it_has_found_the_bug() {
    let folder = tempfile::tempdir().unwrap();
    let more = release("bricks_bp = 1000") + &order("1h10m", "pause");
    let text = scenario("", "", "threshold_bp = 300, action = \"abort\"", &more);
    let (run, review) = rehearsed(folder.path(), &text);
    let aborted = decision(&run, "aborted");
    assert_eq!((&review["found"]["decision"], &review["found"]["at_s"]), (&aborted["decision"], &aborted["at_s"]));
    let others = review["others"].as_array().unwrap();
    assert_eq!((others.len(), &others[0]["decision"], &others[0]["is_engines"]), (1, &"paused".into(), &false.into()));
    assert_own_threshold_trips(&review, &aborted["at_s"]);
    let text = short_form(&run);
    for part in [
        "Yes: gate 1 of all aborted it",
        "A person paused it 10 min after its start",
        "before that, a person paused it",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_pause_that_a_person_ends_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let more = release("bricks_bp = 200") + &order("1h5m", "pause") + &order("2h", "resume");
    let (run, review) = rehearsed(folder.path(), &scenario("", "", "threshold_bp = 2000, action = \"abort\"", &more));
    assert_eq!((&review["found"], &review["state"]), (&Value::Null, &"COMPLETED".into()));
    let text = short_form(&run);
    for part in [
        "No. No gate failed, and nothing stopped the release. A person paused it 5 min after its start",
        "A person resumed it 1 h after its start",
        "No device was spared.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!review["thresholds"][0]["rows"].as_array().unwrap().is_empty());
}

/// Goal: a stage that waits too long is no detection, and each decision has its own time.
#[test]
fn a_pause_because_a_stage_took_too_long_has_found_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let more = release("dies_bp = 500\ndies_after = \"10h\"") + &order("15h", "abort");
    let waits = "threshold_bp = 9900, action = \"abort\"";
    let text = scenario("", "max_wait_s = 7200\nwatch_s = 3600", waits, &more)
        .replace("min_executed = 100, bake_s = 600", "min_executed = 100, bake_s = 80000");
    let (run, review) = rehearsed(folder.path(), &text);
    let paused = decision(&run, "paused");
    assert!(paused["why"].as_str().unwrap().starts_with("the stage is not decided after"), "{paused}");
    assert_eq!(review["found"], Value::Null);
    let (rollout, aborted) = (&summary_in(&run)["rollout"], decision(&run, "aborted"));
    assert_eq!(
        (&rollout["first_action"]["by"], &rollout["first_action"]["at_s"]),
        (&"the engine".into(), &paused["at_s"])
    );
    assert_eq!(
        (&rollout["last_action"]["by"], &rollout["last_action"]["at_s"]),
        (&"a person".into(), &aborted["at_s"])
    );
    let text = short_form(&run);
    for part in [
        "Not by a gate: the engine paused it",
        "A person aborted it 14 h after its start",
        "was aborted by a person",
        "before that, the engine paused it",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Goal: a release is not blamed for devices that a later one broke.
#[test]
fn a_release_has_only_its_own_victims() {
    let folder = tempfile::tempdir().unwrap();
    let more = release("")
        + "[[firmware]]\nversion = \"4.0.0\"\ncounter = 4\nbricks_bp = 1000\n"
        + "[[timeline]]\nat = \"12h\"\ndo = \"start_rollout\"\nrollout = \"second\"\nfirmware = \"4.0.0\"\npolicy = \"p\"\n";
    let text = scenario("", "watch_s = 72000", "threshold_bp = 9000, action = \"abort\"", &more);
    let (run, review) = rehearsed(folder.path(), &text);
    let bricked = who(&run, "bricked", "2.0.0");
    assert!(bricked.len() > 10, "{bricked:?}");
    assert_eq!(count(&review, |cell| cell["fate"] == "gone"), bricked.len());
    assert_eq!(count(&review, |cell| cell["is_silent"] == true), 0);
    assert_eq!(count(&review, |cell| cell["fate"] == "rescued"), 200 - bricked.len());
}
