//! How devices react to refusals, against what the event log says they did.
use std::{collections::BTreeMap, path::Path};

use crate::support::{self, events_in, fleet_in, stderr_of, summary_in, write_scenario};
use serde_json::Value;

/// Twelve heartbeats a minute where six are allowed; the model of a device is its cohort.
const REFUSED: &str = r#"
name = "refused"
goal = "Each cohort reacts in its own way."
mode = "rehearse"
seed = 5
duration = "10m"
[fleet]
devices = 40
heartbeat_interval = "5s"
addresses = "site"
[server]
RATE_LIMIT_DEVICE_PER_MIN = 6
RATE_LIMIT_DEVICE_BURST = 1
RATE_LIMIT_ADDRESS_FAILURES_PER_MIN = 60000
RATE_LIMIT_ADDRESS_FAILURES_BURST = 60000
[[adversary]]
kind = "forger"
count = 1
addresses = "shared"
victims = 3
interval = "5s"
[[expect]]
metric = "fairness.refused"
min = 1
[[expect]]
metric = "retry_after.honest"
equals = 1
"#;

const COHORTS: [&str; 4] = ["obey", "jitter:30s", "ignore", "fixed:3s"];

fn scenario() -> String {
    let sites = "[[fleet.site]]\nname = \"north\"\nshare = 1\n[[fleet.site]]\nname = \"south\"\nshare = 1\n";
    let cohort = |(number, retry): (usize, &&str)| {
        let model = format!("[[fleet.model]]\nname = \"M{number}\"\nshare = 1\n");
        format!("{model}[[fleet.cohort]]\nname = \"c{number}\"\nretry = \"{retry}\"\nonly_model = \"M{number}\"\n")
    };
    REFUSED
        .replace("[server]", &format!("{sites}{}[server]", COHORTS.iter().enumerate().map(cohort).collect::<String>()))
}

fn rehearse(folder: &Path, out: &str) -> Value {
    write_scenario(folder, "refused", &scenario());
    let output = support::rehearse(folder, "refused.toml", out, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    summary_in(&folder.join(out))
}

/// A heartbeat in the event log: when it was sent and ended, how, and the wait asked for.
struct Beat {
    sent_ms: u64,
    at_ms: u64,
    is_refused: bool,
    wait_ms: u64,
}

/// The heartbeats of each device, by its cohort and site.
fn beats(events: &[Value]) -> BTreeMap<String, (usize, String, Vec<Beat>)> {
    let mut devices = BTreeMap::new();
    for event in events {
        let Some(name) = event["device_id"].as_str() else { continue };
        if event["event"] == "switched_on" {
            let cohort = event["model"].as_str().unwrap().strip_prefix('M').unwrap().parse().unwrap();
            devices.insert(name.to_owned(), (cohort, event["site"].as_str().unwrap().to_owned(), Vec::new()));
        } else if event["event"] == "heartbeat" {
            let beat = Beat {
                sent_ms: event["sent_ms"].as_u64().unwrap(),
                at_ms: event["at_ms"].as_u64().unwrap(),
                is_refused: event["code"] == "RATE_LIMITED",
                wait_ms: event["wait_ms"].as_u64().unwrap_or(0),
            };
            devices.get_mut(name).unwrap().2.push(beat);
        }
    }
    devices
}

/// Goal: each cohort does what it is said to do, and its figures are true. Method: the event log, read by other code.
#[test]
fn cohorts_react_as_declared_and_their_figures_are_those_of_the_event_log() {
    let folder = tempfile::tempdir().unwrap();
    let summary = rehearse(folder.path(), "run");
    let devices = beats(&events_in(&folder.path().join("run")));
    let mut counted = vec![[0_u64; 7]; COHORTS.len()];
    let mut again_by_second = vec![BTreeMap::<u64, u64>::new(); COHORTS.len()];
    let mut north_refused = 0;
    for (cohort, site, beats) in devices.values() {
        let [members, sent, acked, refused, asked_again, admitted, refused_again] = &mut counted[*cohort];
        *members += 1;
        for (number, beat) in beats.iter().enumerate() {
            *sent += 1;
            *acked += u64::from(!beat.is_refused);
            *refused += u64::from(beat.is_refused);
            north_refused += u64::from(beat.is_refused && site == "north");
            let Some(next) = beats.get(number + 1).filter(|_| beat.is_refused) else { continue };
            let waited = next.sent_ms - beat.at_ms;
            *refused_again += u64::from(next.is_refused);
            *again_by_second[*cohort].entry(next.sent_ms / 1_000).or_default() += 1;
            *asked_again += u64::from(waited >= beat.wait_ms);
            *admitted += u64::from(waited >= beat.wait_ms && !next.is_refused);
            match COHORTS[*cohort] {
                // Beats are sent at whole steps of 83 ms, but never before the server said so.
                "obey" => assert!((beat.wait_ms..beat.wait_ms + 84).contains(&waited), "{waited}"),
                "ignore" => assert!((4_990..=5_010).contains(&waited), "{waited}"),
                "fixed:3s" => assert!((2_950..=3_050).contains(&waited), "{waited}"),
                _ => assert!((beat.wait_ms..beat.wait_ms + 30_084).contains(&waited), "{waited}"),
            }
        }
    }
    let cohorts = summary["reactions"]["cohorts"].as_array().unwrap();
    assert_eq!(cohorts.len(), COHORTS.len());
    for (number, cohort) in cohorts.iter().enumerate() {
        assert_eq!(cohort["retry"], COHORTS[number]);
        let keys = ["devices", "sent", "acked", "refused", "asked_again", "admitted", "refused_again"];
        assert_eq!(keys.map(|key| cohort[key].as_u64().unwrap()), counted[number], "{cohort}");
        assert_eq!(cohort["second_peak_per_s"], *again_by_second[number].values().max().unwrap());
        // A beat every 5 s: 119 or 120 in ten minutes.
        let wanted = cohort["wanted"].as_u64().unwrap();
        assert!((counted[number][0] * 119..=counted[number][0] * 120).contains(&wanted), "{cohort}");
        assert!(counted[number][3] > 0, "a cohort that is never refused proves nothing: {cohort}");
    }
    let mut fleet = BTreeMap::<u64, u64>::new();
    let seconds = again_by_second.iter().flatten();
    seconds.for_each(|(second, count)| *fleet.entry(*second).or_default() += count);
    assert_eq!(summary["reactions"]["second_peak_per_s"], *fleet.values().max().unwrap());
    assert_eq!(summary["reactions"]["refused_again"], counted.iter().map(|of| of[6]).sum::<u64>());
    let sites = summary["reactions"]["sites"].as_array().unwrap();
    let beside: Vec<(&Value, &Value)> = sites.iter().map(|site| (&site["name"], &site["shares_address"])).collect();
    assert_eq!(beside, [(&"north".into(), &true.into()), (&"south".into(), &false.into())]);
    assert_eq!(sites[0]["refused"], north_refused);
    // Devices that ignore the wait are refused more often than those that obey.
    let share = |number: usize| counted[number][3] as f64 / counted[number][1] as f64;
    assert!(share(2) > share(0), "{counted:?}");
    let again = rehearse(folder.path(), "again");
    assert_eq!(again["event_log_sha256"], summary["event_log_sha256"]);
    let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("How devices reacted to refusals") && page.contains("Honest devices beside adversaries"));
}

#[test]
fn wrong_cohorts_and_victims_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for (change, says) in [
        (("retry = \"obey\"", "retry = \"obeys\""), "`fixed:5s`"),
        (("name = \"c1\"", "name = \"c0\""), "a unique name"),
        (("victims = 3", "victims = 41"), "`victims`"),
        (("kind = \"forger\"", "kind = \"replayer\""), "no `victims` with it"),
        (("addresses = \"site\"", "addresses = \"sites\""), "`own`"),
    ] {
        write_scenario(folder.path(), "wrong", &scenario().replace(change.0, change.1));
        let output = fleet_in(folder.path(), &["check", "wrong.toml"]);
        assert_eq!(output.status.code(), Some(2), "{change:?}");
        assert!(stderr_of(&output).contains(says), "{change:?}: {}", stderr_of(&output));
    }
}
