//! Goal: an order that gets no answer, a revocation that fails, and a rollout blind the oracle of limits no longer than they have to.
//! Method: the real executable; scenarios in which limits refuse long before and after, and a bound on what can't be decided.

use std::path::Path;

use serde_json::Value;

use crate::support::{fleet_in, rehearse, stderr_of, summary_in, write_scenario};

fn verdicts(text: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    write_scenario(folder.path(), "s", text);
    let run = rehearse(folder.path(), "s.toml", "run", &[]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr_of(&run));
    summary_in(&folder.path().join("run"))["limit_verdicts"].clone()
}

fn count(verdicts: &Value, name: &str) -> u64 {
    verdicts["all"][name].as_u64().unwrap()
}

/// Thirty devices that ask six times a minute each, whatever they are refused; all together may ask 91 times, and 61 after the order.
fn impatient(timeline: &str) -> String {
    format!(
        r#"
name = "s"
goal = "An order of limits gets no answer."
mode = "rehearse"
seed = 4
duration = "30m"
[fleet]
devices = 30
heartbeat_interval = "10s"
[[fleet.cohort]]
name = "impatient"
retry = "ignore"
[server]
RATE_LIMIT_ALL_REQUESTS_MODE = "enforce"
RATE_LIMIT_ALL_REQUESTS_PER_MIN = 91
RATE_LIMIT_ALL_REQUESTS_BURST = 10
{timeline}
[[timeline]]
at = "300500ms"
do = "apply_limits"
may_fail = true
[timeline.limits.all_requests]
per_min = 61
[[expect]]
metric = "limits.falsely_admitted"
equals = 0
"#
    )
}

/// Goal: an order that a server which is down never got changes nothing, and the oracle decides again from its start.
#[test]
fn an_order_to_a_server_that_is_down_does_not_blind_the_oracle() {
    let down = "[[timeline]]\nat = \"4m30s\"\ndo = \"restart_server\"\nfor = \"1m\"\n";
    let verdicts = verdicts(&impatient(down));
    assert!(count(&verdicts, "undecidable") < 10, "{verdicts}");
    // The old limits are in force: 91 a minute for 29 minutes are 2,639, and the rest of 180 a minute is refused.
    let admitted = verdicts["rightly_admitted"].as_u64().unwrap();
    assert!((2_600..2_700).contains(&admitted), "{verdicts}");
    assert!(count(&verdicts, "rightly_refused") > 2_300, "{verdicts}");
}

/// Goal: an order that was stored before the crash that cut its answer off is in force from the next start, and the oracle knows it.
/// Method: between two heartbeats, the crash comes just after the commit that has the order. By hand: 5 minutes of 91 and 24.5 of 61 are 1,950.
#[test]
fn an_order_whose_answer_a_crash_cut_off_is_known_from_the_next_start() {
    let crash = "[[timeline]]\nat = \"300500ms\"\ndo = \"restart_server\"\nmoment = \"after_commit\"\nfor = \"30s\"\n";
    let verdicts = verdicts(&impatient(crash));
    assert!(count(&verdicts, "undecidable") < 60, "{verdicts}");
    let admitted = verdicts["rightly_admitted"].as_u64().unwrap();
    assert!((1_900..2_050).contains(&admitted), "the new limits are in force: {verdicts}");
    assert!(count(&verdicts, "rightly_refused") > 2_900, "{verdicts}");
}

/// Goal: a run in which most verdicts can't be decided does not pass, and says why, unless the scenario bounds them itself.
/// Method: commits take so long that the order gets no answer, and nothing is stored after it that could show what it did.
#[test]
fn a_run_that_is_mostly_undecidable_is_inconclusive_unless_that_is_meant() {
    let stalled = "[[timeline]]\nat = \"4m50s\"\ndo = \"disk_slow\"\ncommit = \"10m\"\nfor = \"24m\"\n";
    let meant = "[[expect]]\nmetric = \"limits.undecidable\"\nmin = 1000\n";
    for (bound, code) in [("", 4), (meant, 0)] {
        let folder = tempfile::tempdir().unwrap();
        write_scenario(folder.path(), "s", &(impatient(stalled) + bound));
        let run = rehearse(folder.path(), "s.toml", "run", &[]);
        let said = stderr_of(&run);
        assert_eq!(run.status.code(), Some(code), "{said}");
        let is_named = said.contains("verdicts of limits could not be judged, so the run does not show that limits do");
        assert_eq!(is_named, code == 4, "{said}");
        for file in ["report.html", "summary.md"] {
            let text = std::fs::read_to_string(folder.path().join("run").join(file)).unwrap();
            assert!(text.contains("verdicts of limits could not be judged: what limits did is not shown"), "{file}");
        }
    }
}

/// Goal: a sweep whose trials all showed too little says so, and not that expectations were missed.
#[test]
fn a_sweep_whose_trials_are_all_inconclusive_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let stalled = "[[timeline]]\nat = \"4m50s\"\ndo = \"disk_slow\"\ncommit = \"10m\"\nfor = \"24m\"\n";
    write_scenario(folder.path(), "s", &impatient(stalled));
    let args =
        ["limits", "sweep", "s.toml", "--vary", "RATE_LIMIT_DEVICE_BURST=29,30", "--trials", "1", "--out", "swept"];
    let output = fleet_in(folder.path(), &args);
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    let named = "INCONCLUSIVE: trials showed too little of RATE_LIMIT_DEVICE_BURST=29, RATE_LIMIT_DEVICE_BURST=30;";
    assert!(said.contains(named), "{said}");
    assert!(said.contains("Nothing is recommended: the trials of each configuration showed too little."), "{said}");
    let page = std::fs::read_to_string(folder.path().join("swept/sweep.html")).unwrap();
    assert!(page.contains("verdict inconclusive"));
}

/// Goal: devices that an order failed to revoke are decided again once they were heard.
/// Method: everybody is behind one address that is flooded, so that each request of a device hangs on its sign; twenty of thirty are to be
/// revoked while the server is down.
#[test]
fn a_revocation_that_failed_blinds_the_oracle_for_a_moment_only() {
    let verdicts = verdicts(
        r#"
name = "s"
goal = "A revocation fails."
mode = "rehearse"
seed = 4
duration = "30m"
[fleet]
devices = 30
addresses = "one"
heartbeat_interval = "10s"
[server]
HEARTBEAT_INTERVAL_MS = 10000
RATE_LIMIT_ADDRESS_FAILURES_PER_MIN = 10
RATE_LIMIT_ADDRESS_FAILURES_BURST = 10
[[timeline]]
at = "4m30s"
do = "restart_server"
for = "1m"
[[timeline]]
at = "5m"
do = "revoke"
devices = 20
may_fail = true
[[adversary]]
kind = "forger"
count = 1
addresses = "shared"
interval = "500ms"
[[expect]]
metric = "limits.rightly_refused"
min = 1000
"#,
    );
    assert!(count(&verdicts, "undecidable") < 100, "{verdicts}");
}

/// Goal: a rollout that is over leaves no doubt which heartbeats come first under a full ceiling.
/// Method: a rollout to forty devices that is over within some minutes; their heartbeats are twice what the ceiling lets through.
#[test]
fn a_rollout_that_is_over_does_not_blind_the_oracle() {
    let verdicts = verdicts(
        r#"
name = "s"
goal = "A rollout under a full ceiling."
mode = "rehearse"
seed = 3
duration = "60m"
ramp = "10s"
[fleet]
devices = 40
heartbeat_interval = "10s"
[[fleet.cohort]]
name = "impatient"
retry = "ignore"
[server]
HEARTBEAT_INTERVAL_MS = 10000
RATE_LIMIT_ALL_REQUESTS_MODE = "enforce"
RATE_LIMIT_ALL_REQUESTS_PER_MIN = 131
RATE_LIMIT_ALL_REQUESTS_BURST = 20
[[firmware]]
version = "2"
counter = 2
[[policy]]
name = "p"
confirm_window_s = 30
watch_s = 0
stages = [{ share_bp = 10000, min_executed = 1, bake_s = 0 }]
gates = [{ threshold_bp = 500, min_executed = 1, test = { kind = "raw" } }]
[[timeline]]
at = "5m"
do = "send_command"
kind = "reboot"
[[timeline]]
at = "10m"
do = "start_rollout"
firmware = "2"
policy = "p"
[[expect]]
metric = "limits.all_requests.refused"
min = 1000
"#,
    );
    assert!(count(&verdicts, "rightly_refused") > 5_000, "{verdicts}");
    assert!(count(&verdicts, "undecidable") < 300, "{verdicts}");
}

/// Goal: a sweep in which no configuration meets the scenario recommends none, says which comes nearest and why not, and confirms none.
#[test]
fn a_sweep_in_which_none_meets_the_scenario_recommends_none() {
    let folder = tempfile::tempdir().unwrap();
    let text = impatient("").replace("limits.falsely_admitted\"\nequals = 0", "fleet.never_served\"\nmin = 1");
    assert!(text.contains("never_served"));
    write_scenario(folder.path(), "s", &text);
    let vary = ["limits", "sweep", "s.toml", "--vary", "RATE_LIMIT_DEVICE_BURST=5,30", "--trials", "1"];
    let rest = ["--duration", "6m", "--out", "swept", "--confirm"];
    let output = fleet_in(folder.path(), &[vary.as_slice(), &rest].concat());
    let said = stderr_of(&output);
    assert_eq!(output.status.code(), Some(99), "{said}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains('>'), "no configuration is marked");
    for part in [
        "Nothing is recommended: no configuration met the scenario's expectations in each trial.",
        "comes nearest, and met them in 0 of 1 (`fleet.never_served >= 1` was not met",
        "there is nothing to confirm",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!Path::new(&folder.path().join("swept/confirmed")).exists());
}
