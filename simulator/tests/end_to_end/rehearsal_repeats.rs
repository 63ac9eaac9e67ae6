//! Goal: the same seed gives the same event log, byte for byte, whatever surrounds the run; another seed gives another.
//! Method: the real executable, in processes with different temporary folders, time zones, host names and core counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{fleet, write_scenario};
use serde_json::Value;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/first-light.toml")
}

/// Everything at once: the server's pace, overlapping outages, commands, revocation, rate limits, every adversary.
fn eventful(folder: &Path) -> PathBuf {
    let kinds = ["forger", "replayer", "unknown_device", "cloned_key", "tamperer", "faulty_device"];
    let adversaries = kinds.map(|kind| format!("[[adversary]]\nkind = \"{kind}\"\ncount = 2\ninterval = \"3s\"\n"));
    let text = format!(
        r#"
        name = "eventful"
        goal = "Everything at once."
        mode = "rehearse"
        duration = "10m"
        ramp = "20s"
        [fleet]
        devices = 40
        otrt = true
        site = [{{ name = "north", share = 1 }}, {{ name = "south", share = 1 }}]
        [server]
        HEARTBEAT_INTERVAL_MS = 10000
        RATE_LIMIT_DEVICE_BURST = 1
        RATE_LIMIT_DEVICE_PER_MIN = 8
        {}
        [[timeline]]
        at = "1m"
        do = "send_command"
        kind = "reboot"
        [[timeline]]
        at = "2m"
        do = "outage"
        for = "90s"
        [[timeline]]
        at = "150s"
        do = "outage"
        for = "10s"
        site = "north"
        [[timeline]]
        at = "170s"
        do = "send_command"
        kind = "fetch_logs"
        [[timeline]]
        at = "5m"
        do = "revoke"
        devices = 5
        [[expect]]
        metric = "codes.CONNECT_FAILED"
        min = 1
        [[expect]]
        metric = "codes.RATE_LIMITED"
        min = 1
        [[expect]]
        metric = "codes.REVOKED"
        min = 5
        [[expect]]
        metric = "commands.succeeded"
        equals = 80
        [[expect]]
        metric = "attacks.successes"
        equals = 0
        "#,
        adversaries.concat()
    );
    write_scenario(folder, "eventful", &text)
}

/// A canary of which much goes wrong: bricks, deaths, lies, lost answers, an outage, an abort that rolls back.
fn canary(folder: &Path) -> PathBuf {
    let text = r#"
        name = "canary"
        goal = "A canary repeats."
        mode = "rehearse"
        duration = "3h"
        ramp = "1m"
        [fleet]
        devices = 80
        heartbeat_interval = "2m"
        site = [{ name = "north", share = 1 }, { name = "south", share = 1 }]
        [[firmware]]
        version = "2"
        counter = 2
        bricks_bp = 1000
        dies_bp = 1000
        dies_after = "40m"
        lies_bp = 500
        [[firmware]]
        version = "3"
        counter = 3
        [[policy]]
        name = "p"
        lost_after_s = 600
        roll_back_to = "fw-3"
        stages = [{ share_bp = 5000, min_executed = 20, bake_s = 3600 }, { share_bp = 10000, min_executed = 20, bake_s = 60 }]
        gates = [{ threshold_bp = 1200, min_executed = 35, test = { kind = "raw" }, action = "abort_and_roll_back" }]
        [[timeline]]
        at = "10m"
        do = "start_rollout"
        firmware = "2"
        policy = "p"
        [[timeline]]
        at = "10m"
        do = "loss"
        for = "30m"
        share_bp = 1000
        [[timeline]]
        at = "20m"
        do = "outage"
        for = "15m"
        site = "south"
        [[expect]]
        metric = "rollout.aborted"
        equals = 1
        [[expect]]
        metric = "updated.3"
        min = 1
        [[expect]]
        metric = "running.2"
        equals = 0
    "#;
    write_scenario(folder, "canary", text)
}

/// Every background failure, often, under an update with faults for some devices: at 02:00 power fails everywhere while images are
/// downloaded, written and booted.
fn churning(folder: &Path) -> PathBuf {
    let text = r#"
        name = "churning"
        goal = "A fleet fails in all the ways that it can, and the run repeats."
        mode = "rehearse"
        duration = "12h"
        ramp = "1m"
        [fleet]
        devices = 80
        uptime_at_start = "60d"
        site = [{ name = "north", share = 1 }, { name = "south", share = 1 }]
        churn = [
            { kind = "unplugged", per_day_bp = 9000, lasts = "1h" },
            { kind = "unplugged", per_day_bp = 9000, lasts = "1s" },
            { kind = "moved", per_day_bp = 3000, lasts = "30m" },
            { kind = "removed", per_day_bp = 500 },
            { kind = "flaky_link", per_day_bp = 9000, lasts = "4h", loss_bp = 3000 },
            { kind = "site_closes", hours = "02-03" },
        ]
        [server]
        HEARTBEAT_INTERVAL_MS = 300000
        [[firmware]]
        version = "2"
        counter = 2
        size_kib = 3000
        [[firmware.fault]]
        bricks_bp = 500
        [[firmware.fault]]
        dies_bp = 3000
        dies_after = "2h"
        only_site = "north"
        uptime_min = "30d"
        [[firmware.fault]]
        boot_fails_bp = 3000
        hours = "03-24"
        [[policy]]
        name = "p"
        lost_after_s = 10800
        starts_per_min = 1000
        in_flight_max = 100
        stages = [{ share_bp = 10000, min_executed = 20, bake_s = 60 }]
        gates = [{ threshold_bp = 9000, min_executed = 20, test = { kind = "raw" }, action = "abort" }]
        [[timeline]]
        at = "117m"
        do = "start_rollout"
        firmware = "2"
        policy = "p"
        [[timeline]]
        at = "90m"
        do = "punch"
        per_device = 3
        [[expect]]
        metric = "churn.unplugged"
        min = 40
        [[expect]]
        metric = "churn.removed"
        min = 1
        [[expect]]
        metric = "churn.site_closes"
        min = 10
        [[expect]]
        metric = "codes.CONNECTION_LOST"
        min = 20
        [[expect]]
        metric = "updated.2"
        min = 20
        [[expect]]
        metric = "rollout.broken_devices"
        min = 3
        [[expect]]
        metric = "ledger.lost"
        equals = 0
    "#;
    write_scenario(folder, "churning", text)
}

/// A server that crashes and a network and a disk that fail, in all the ways that there are.
fn falling_apart(folder: &Path) -> PathBuf {
    let steps = [
        "at = \"1m\"\ndo = \"restart_server\"\nkill = true\nfor = \"20s\"",
        "at = \"2m\"\ndo = \"restart_server\"\nmoment = \"before_commit\"",
        "at = \"3m\"\ndo = \"restart_server\"\nmoment = \"after_commit\"\nfor = \"5s\"",
        "at = \"4m\"\ndo = \"disk_full\"\nfor = \"30s\"",
        "at = \"4m10s\"\ndo = \"restart_server\"",
        "at = \"5m\"\ndo = \"disk_errors\"\nfor = \"1m\"\nshare_bp = 3000",
        "at = \"5m\"\ndo = \"send_command\"\nkind = \"fetch_logs\"",
        "at = \"6m\"\ndo = \"delay\"\nfor = \"2m\"\nlongest = \"12s\"",
        "at = \"6m\"\ndo = \"duplicate\"\nfor = \"2m\"\nshare_bp = 2000",
        "at = \"6m\"\ndo = \"punch\"\nper_device = 3",
        "at = \"7m\"\ndo = \"loss\"\nfor = \"1m\"\nshare_bp = 1000\nof = \"requests\"",
        "at = \"8m\"\ndo = \"outage\"\nfor = \"30s\"\nhalf_open = true",
        "at = \"598s\"\ndo = \"disk_full\"\nfor = \"1h\"",
        "at = \"599s\"\ndo = \"restart_server\"\nfor = \"1h\"",
    ];
    let text = format!(
        r#"
        name = "falling-apart"
        goal = "Nothing that was acknowledged is lost, whatever breaks."
        mode = "rehearse"
        duration = "10m"
        ramp = "20s"
        [fleet]
        devices = 30
        heartbeat_interval = "10s"
        otrt = true
        {}
        [[expect]]
        metric = "codes.CONNECT_FAILED"
        min = 1
        [[expect]]
        metric = "codes.CONNECTION_LOST"
        min = 1
        [[expect]]
        metric = "codes.TIMEOUT"
        min = 1
        [[expect]]
        metric = "codes.INTERNAL"
        min = 1
        [[expect]]
        metric = "ledger.lost"
        equals = 0
        [[expect]]
        metric = "commands.succeeded"
        equals = 30
        "#,
        steps.map(|step| format!("[[timeline]]\n{step}\n")).concat()
    );
    write_scenario(folder, "falling-apart", &text)
}

/// Rehearses `scenario` in `folder`, and gives the summary.
fn rehearse(folder: &Path, scenario: &Path, flags: &[&str], surroundings: &[(&str, &str)], on_one_core: bool) -> Value {
    let temporary = folder.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut command = fleet();
    if on_one_core {
        let program = command.get_program().to_owned();
        command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
    }
    let output = command
        .arg("rehearse")
        .arg(scenario)
        .args(["--artifacts=light", "--quiet", "--json"])
        .args(flags)
        .arg("--out")
        .arg(folder.join("run"))
        .env("TMPDIR", &temporary)
        .envs(surroundings.iter().copied())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

fn hash(summary: &Value) -> &str {
    summary["event_log_sha256"].as_str().expect("a rehearsal has a hash")
}

/// The same rehearsal here and elsewhere gives the same log. Returns its summary.
fn repeats(scenario: &Path, flags: &[&str]) -> Value {
    repeated(scenario, flags).0
}

/// The same, and both folders, with the run in `run`.
fn repeated(scenario: &Path, flags: &[&str]) -> (Value, [tempfile::TempDir; 2]) {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let here = rehearse(folders[0].path(), scenario, flags, &[("TZ", "UTC")], false);
    let elsewhere = [("TZ", "Asia/Kathmandu"), ("HOSTNAME", "elsewhere"), ("LANG", "C")];
    let there = rehearse(folders[1].path(), scenario, flags, &elsewhere, true);
    assert_eq!(hash(&here), hash(&there));
    let logs = folders.each_ref().map(|folder| std::fs::read(folder.path().join("run/events.ndjson.zst")).unwrap());
    assert!(logs[0] == logs[1], "the files themselves are the same");
    (here, folders)
}

/// Goal: a quiet hour repeats wherever it runs, its rate is exact, and another seed gives another log.
/// Method: twenty minutes of the shipped scenario.
#[test]
fn the_same_seed_gives_the_same_log_wherever_it_runs_and_another_one_another() {
    let summary = repeats(&shipped(), &["--devices", "40", "--duration", "20m", "--seed", "7"]);
    assert!(summary["heartbeats"]["acked"].as_u64().unwrap() > 1_000);
    assert_eq!(summary["heartbeats"]["per_min"], 80.0);
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--devices", "40", "--duration", "20m", "--seed", "8"];
    assert_ne!(hash(&rehearse(folder.path(), &shipped(), &flags, &[], false)), hash(&summary), "another seed");
}

/// Goal: so does a run in which everything goes wrong; and a rate limit or an outage, however long, lets time go on.
/// Method: a scenario with every kind of step and adversary, in which ACKs are refused for coming too soon.
#[test]
fn an_eventful_run_repeats_and_comes_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let summary = repeats(&eventful(folder.path()), &["--seed", "3"]);
    assert_eq!(summary["verdict"], "pass", "{summary:#}");
}

/// Goal: with modelled signatures heartbeats are handed over as values, and read back as values, and nothing happens or is found
/// otherwise than with their documents.
/// Method: a canary, runs in which the server or the fleet fails in every way, and a fleet whose keys change: with real signatures, which are always
/// documents, and with modelled ones. The logs have every exchange with its answer.
#[test]
fn modelled_signatures_change_nothing_that_happens() {
    let folder = tempfile::tempdir().unwrap();
    let keys = shipped().with_file_name("rotate-server-key.toml");
    let scenarios: [(PathBuf, &[&str]); 4] = [
        (canary(folder.path()), &[]),
        (falling_apart(folder.path()), &[]),
        (churning(folder.path()), &[]),
        (keys, &["--devices", "40"]),
    ];
    for (scenario, flags) in scenarios {
        let [real, modelled] = ["real", "modelled"].map(|signatures| {
            let folder = tempfile::tempdir().unwrap();
            rehearse(folder.path(), &scenario, &[flags, &["--signatures", signatures]].concat(), &[], false)
        });
        assert_eq!(real["requests_by_code"], modelled["requests_by_code"], "{}", scenario.display());
        assert_eq!(hash(&real), hash(&modelled), "{}", scenario.display());
        assert_ne!(real["ledger"]["checked"], 0, "{}", scenario.display());
        for found in ["ledger", "late_devices", "invariants"] {
            assert_eq!(real[found], modelled[found], "{found} of {}", scenario.display());
        }
    }
}

/// Goal: so does a canary, with every draw of outcome, and with the decisions of the engine.
/// Method: one in which devices brick, die and lie while answers are lost, until the engine rolls the rest back.
#[test]
fn a_canary_repeats_with_all_its_decisions() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = canary(folder.path());
    let (summary, folders) = repeated(&scenario, &["--seed", "4"]);
    assert_eq!(summary["verdict"], "pass", "{summary:#}");
    let decisions = folders.map(|folder| std::fs::read_to_string(folder.path().join("run/decisions.ndjson")).unwrap());
    assert_eq!(decisions[0], decisions[1]);
}

/// Goal: so does a fleet that fails in every way without any release, without a violated invariant; and a device without power
/// sends nothing.
/// Method: of each device the log has when it lost power and when it got it back; what it sent is compared with that. Power fails
/// while an image is written, which is then written again, and while one is booted, which is then booted.
#[test]
fn a_fleet_with_background_failures_repeats_and_is_silent_without_power() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = churning(folder.path());
    let (summary, [here, _there]) = repeated(&scenario, &["--seed", "6"]);
    assert_eq!(summary["verdict"], "pass", "{summary:#}");
    let output = fleet().args(["events"]).arg(here.path().join("run")).output().unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    let (mut without_power, mut removed) = (BTreeMap::<String, u32>::new(), BTreeSet::new());
    let (mut failures, mut boots) = (0, 0);
    // The last step of an update that each device reported, and the devices that lost power during it.
    let (mut steps, mut cut_short) = (BTreeMap::new(), BTreeMap::new());
    let mut booted_after = BTreeMap::<String, u32>::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let Some(device_id) = event["device_id"].as_str() else { continue };
        let of_device = without_power.entry(device_id.to_owned()).or_default();
        match (event["event"].as_str().unwrap(), event["kind"].as_str(), event["what"].as_str()) {
            ("churn", Some("removed"), Some(_)) => drop(removed.insert(device_id.to_owned())),
            ("churn", Some("flaky_link"), _) => {}
            ("churn", Some(_), Some("begins")) => {
                (*of_device, failures) = (*of_device + 1, failures + 1);
                if let Some(step) = steps.get(device_id) {
                    cut_short.insert(device_id.to_owned(), String::clone(step));
                }
            }
            ("churn", Some(_), Some(_)) => *of_device -= 1,
            ("firmware", _, Some("booted")) => {
                assert_eq!(*of_device, 0, "{line}");
                boots += 1;
                steps.remove(device_id);
                if let Some(step) = cut_short.remove(device_id) {
                    *booted_after.entry(step).or_default() += 1;
                }
            }
            ("firmware" | "switched_on", ..) => {}
            // What it sent before its power failed ends now, without an answer.
            _ if event["code"] == "CONNECTION_LOST" => {}
            _ => {
                assert!(*of_device == 0 && !removed.contains(device_id), "{line}");
                if let Some(step @ ("INSTALLING" | "REBOOTING")) = event["step"].as_str() {
                    steps.insert(device_id.to_owned(), step.to_owned());
                }
            }
        }
    }
    assert!(failures > 60 && boots > 20 && !removed.is_empty(), "{failures} failures of power, {boots} boots");
    assert!(booted_after["INSTALLING"] >= 3 && booted_after["REBOOTING"] >= 3, "{booted_after:?}");
}

/// Goal: so does a run in which the server crashes, the disk fails and the network loses, delays and doubles what is sent;
/// and nothing that a device saw acknowledged is lost.
#[test]
fn a_run_in_which_everything_breaks_repeats_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let summary = repeats(&falling_apart(folder.path()), &["--seed", "5"]);
    assert_eq!(summary["verdict"], "pass", "{summary:#}");
}
