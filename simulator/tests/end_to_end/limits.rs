//! Goal: what a sweep of limits says is so, is found by the nearest name, and can be continued and verified.
//! Method: the real executable, small fleets; figures against the event log of the same rehearsal, and against a closed form.

use std::{collections::BTreeMap, path::Path};

use crate::support::{events_in, fleet_in, lines_in, rehearse, stderr_of, summary_in, write_scenario};
use serde_json::Value;

/// Twenty devices with a heartbeat every 10 s, whatever they are refused, and a forger.
fn scenario(folder: &Path, server: &str) {
    let text = format!(
        r#"
name = "small"
goal = "Twenty devices and a forger."
mode = "rehearse"
seed = 5
duration = "20m"
[fleet]
devices = 20
heartbeat_interval = "10s"
[[fleet.cohort]]
name = "impatient"
retry = "ignore"
[server]
{server}
[[adversary]]
kind = "forger"
count = 1
addresses = 1
interval = "500ms"
[[expect]]
metric = "attacks.successes"
equals = 0
"#
    );
    write_scenario(folder, "small", &text);
}

fn sweep(folder: &Path, flags: &[&str]) -> Value {
    let output = fleet_in(folder, &[&["limits", "sweep", "small.toml", "--json", "--quiet"], flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn near(value: &Value, expected: f64, within: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < within, "{value}, not {expected}");
}

/// Goal: the server's own counters, which the report and `limits.<NAME>.refused` show, are those of the model that shares no code with it;
/// also after an operator has changed limits during the run.
#[test]
fn each_limit_has_refused_what_the_oracle_says() {
    for (scenario, limits, never_fired) in [
        ("limits-at-work", 6, "all_requests, device_log_bytes,"),
        ("limits-of-devices", 7, "all_requests, device_requests, site_failures,"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{scenario}.toml"));
        let run = rehearse(folder.path(), path.to_str().unwrap(), "run", &[]);
        assert_eq!(run.status.code(), Some(0), "{}", stderr_of(&run));
        let summary = summary_in(&folder.path().join("run"));
        let counted: BTreeMap<&str, u64> = summary["limits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|limit| (limit["name"].as_str().unwrap(), limit["refused"].as_u64().unwrap()))
            .filter(|(_, refused)| *refused > 0)
            .collect();
        let predicted = summary["limit_verdicts"]["by_limit"].as_object().unwrap();
        let refused = |counts: &Value| counts["rightly_refused"].as_u64().unwrap();
        let predicted: BTreeMap<&str, u64> =
            predicted.iter().map(|(name, counts)| (name.as_str(), refused(counts))).collect();
        assert_eq!(counted, predicted, "{scenario}");
        assert_eq!(counted.len(), limits, "{counted:?}");
        let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
        assert!(page.contains(&format!("Limits that never fired: {never_fired}")), "and which never fired");
    }
}

/// Limits that no scenario of the suite makes refuse, and why.
const NOT_IN_THE_SUITE: [(&str, &str); 6] = [
    ("address_unsigned", "of unknown paths, which no adversary asks for; server/tests/end_to_end/limits.rs tests it"),
    ("token_calls", "of the admin API, which a run calls with one token; server/tests/end_to_end/limits.rs tests it"),
    ("address_wrong_tokens", "of the admin API; server/tests/end_to_end/access.rs tests it"),
    ("address_logins", "of people; server/src/limit/throttle.rs and server/tests/end_to_end/access.rs test it"),
    ("user_logins", "the same"),
    ("login_attempts", "the same"),
];

/// Goal: each limit of the server's table refuses in a scenario of the suite that says so, or is listed with the reason why not.
/// Method: the text of the scenarios that `cargo xtask scenarios` runs.
#[test]
fn every_limit_refuses_in_a_scenario_of_the_suite() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let suite = std::fs::read_to_string(root.join("xtask/src/scenarios.rs")).unwrap();
    let files = suite.lines().filter_map(|line| {
        let (_, path) = line.trim().strip_prefix("(RunMode::")?.split_once('"')?;
        Some(path.split_once('"')?.0.to_owned())
    });
    let texts: Vec<String> = files.map(|file| std::fs::read_to_string(root.join(file)).unwrap()).collect();
    assert!(texts.len() > 30, "the suite was found");
    for spec in ks_server::limit::TABLE {
        let expected = format!("metric = \"limits.{}.refused\"\nmin = 1\n", spec.name);
        let is_in_suite = texts.iter().any(|text| text.contains(&expected));
        let is_listed = NOT_IN_THE_SUITE.iter().any(|(name, _)| *name == spec.name);
        assert!(is_in_suite != is_listed, "{}: in the suite {is_in_suite}, listed {is_listed}", spec.name);
    }
}

/// Goal: each figure that people decide by is what the event log of the same rehearsal says. Method: the winner's settings in the scenario
/// itself, rehearsed alone with every event logged, and counted here.
#[test]
fn the_figures_are_those_of_the_event_log() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("RATE_LIMIT_DEVICE_PER_MIN", "2"), ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "30")];
    let varied: Vec<String> = limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
    scenario(folder.path(), "RATE_LIMIT_DEVICE_BURST = 1\nRATE_LIMIT_ADDRESS_FAILURES_BURST = 10");
    sweep(folder.path(), &["--vary", &varied[0], "--vary", &varied[1], "--trials", "2", "--out", "s"]);
    let trials = lines_in(&folder.path().join("s"), "sweep-trials.ndjson");
    assert_eq!(trials.len(), 2);
    let own: Vec<String> = limits.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let others = "RATE_LIMIT_DEVICE_BURST = 1\nRATE_LIMIT_ADDRESS_FAILURES_BURST = 10";
    scenario(folder.path(), &format!("{others}\n{}", own.join("\n")));
    for trial in &trials {
        let seed = trial["seed"].to_string();
        let run = rehearse(folder.path(), "small.toml", "r", &["--seed", &seed]);
        assert_eq!(run.status.code(), Some(0), "{}", stderr_of(&run));
        let events = events_in(&folder.path().join("r"));
        let is_honest = |event: &&Value| ["register", "heartbeat"].iter().any(|kind| event["event"] == *kind);
        let honest = |code: &str| events.iter().filter(is_honest).filter(|event| event["code"] == code).count();
        let all = events.iter().filter(is_honest).count();
        let attacks: Vec<&Value> = events.iter().filter(|event| event["event"] == "attack").collect();
        let refused = attacks.iter().filter(|event| event["code"] == "RATE_LIMITED").count();
        let found = ["requests", "refused", "served", "attacks", "attacks_let_through", "late_devices"]
            .map(|name| usize::try_from(trial[name].as_u64().unwrap()).unwrap());
        let late = late_devices(&events, 20_000, 1_200_000);
        let expected = [all, honest("RATE_LIMITED"), honest("OK"), attacks.len(), attacks.len() - refused, late];
        assert_eq!(found, expected, "requests, refused, served, attacks, let through, late");
        let cohorts = summary_in(&folder.path().join("r"))["reactions"]["cohorts"].clone();
        let sum = |name: &str| cohorts.as_array().unwrap().iter().map(|of| of[name].as_f64().unwrap()).sum::<f64>();
        near(&trial["sent_per_wanted"], sum("sent") / sum("wanted"), 1e-9);
        near(&trial["sent_per_wanted"], 1.0, 0.02); // whatever they are refused, they send at their own times, and only then
        assert!(found[1] > 500 && refused > 1_000, "the limits must refuse some: {found:?}");
    }
}

/// Devices without an accepted heartbeat for longer than the deadline, from the start to the end.
fn late_devices(events: &[Value], deadline_ms: u64, end_ms: u64) -> usize {
    let mut heard: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "switched_on" || event["event"] == "heartbeat") {
        let times = heard.entry(event["device_id"].as_str().unwrap()).or_insert_with(|| vec![0]);
        if event["code"] == "OK" {
            times.push(event["at_ms"].as_u64().unwrap());
        }
    }
    let is_late = |times: &Vec<u64>| {
        let ends = times.iter().skip(1).copied().chain([end_ms]);
        times.iter().zip(ends).any(|(from, to)| to - from > deadline_ms)
    };
    heard.values().filter(|times| is_late(times)).count()
}

/// Goal: a limit below what the fleet needs refuses about the share that follows from its rate. Method: with six requests a minute, no
/// burst and a limit of two, GCRA admits every third request: 2 of 3 are refused. With four, after each admitted one the next is
/// 5 s early, so every second one is refused. With 60 none is.
#[test]
fn a_limit_below_the_need_refuses_the_share_that_follows_from_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "RATE_LIMIT_DEVICE_BURST = 1");
    let result = sweep(folder.path(), &["--vary", "RATE_LIMIT_DEVICE_PER_MIN=2,4,60", "--trials", "2", "--out", "s"]);
    let share = |nth: usize| &result["tried"][nth]["figures"]["refused_share"]["mean"];
    near(share(0), 2.0 / 3.0, 0.02);
    near(share(1), 1.0 / 2.0, 0.02);
    near(share(2), 0.0, 0.01);
    assert_eq!(result["recommended"], "RATE_LIMIT_DEVICE_PER_MIN=60");
    let to_paste = ["RATE_LIMIT_DEVICE_BURST=1", "RATE_LIMIT_DEVICE_PER_MIN=60"];
    assert_eq!(result["environment"], serde_json::json!(to_paste), "with the scenario's own");
    assert_eq!(result["tried"][0]["is_distinguished"], true);
    assert!(result["tried"][0]["warnings"][0].as_str().unwrap().contains("may make only 2"), "{}", result["tried"][0]);
    for file in ["sweep.json", "sweep.html", "sweep.csv", "limits.png", "pareto_front.svg", "junit.xml"] {
        assert!(folder.path().join("s").join(file).exists(), "{file}");
    }
    let documented = ["configurations", "tried", "recommended", "recommendation", "environment", "varied", "trials"];
    for field in documented.into_iter().chain(["trials_made", "state", "invariant_violations", "format"]) {
        assert!(!result[field].is_null(), "docs/rehearsals.md names {field}");
    }
    let html = std::fs::read_to_string(folder.path().join("s/sweep.html")).unwrap();
    assert!(html.contains(&format!("<pre>{}</pre>", to_paste.join("\n"))), "the lines to paste");
}

/// Goal: the same sweep gives the same result however it was interrupted. Method: the record without its second half, continued.
#[test]
fn a_sweep_is_continued_with_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    let vary = ["--vary", "RATE_LIMIT_DEVICE_PER_MIN=20,40", "--duration", "3m"];
    let whole = sweep(folder.path(), &[vary.as_slice(), &["--out", "s"]].concat());
    let path = folder.path().join("s/sweep-trials.ndjson");
    let lines = std::fs::read_to_string(&path).unwrap();
    let half: String = lines.lines().take(3).map(|line| line.to_owned() + "\n").collect();
    std::fs::write(&path, half).unwrap();
    let output = fleet_in(folder.path(), &["limits", "sweep", "--resume", "s", "--json", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), whole);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lines);
    let other = ["limits", "sweep", "--resume", "s", "--vary", "RATE_LIMIT_DEVICE_PER_MIN=20,50"];
    let refused = fleet_in(folder.path(), &other);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr_of(&refused);
    assert!(said.contains("which differ from these") && said.contains("`ks-fleet limits sweep --resume s`"), "{said}");
}

#[test]
fn files_of_a_folder_are_configurations_and_one_that_the_server_refuses_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    let configs = folder.path().join("c");
    std::fs::create_dir(&configs).unwrap();
    std::fs::write(configs.join("tight.env"), "# tight\nRATE_LIMIT_DEVICE_PER_MIN=15\n").unwrap();
    std::fs::write(configs.join("loose.env"), "export RATE_LIMIT_DEVICE_PER_MIN='60'\n").unwrap();
    std::fs::write(configs.join("wrong.env"), "RATE_LIMIT_DEVICE_PER_MIN=0\n").unwrap();
    let flags = ["limits", "sweep", "small.toml", "--configs", "c", "--duration", "2m", "--trials", "1", "--out", "s"];
    let output = fleet_in(folder.path(), &flags);
    let (table, said) = (String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(table.contains("> tight") && table.contains("refused by the server"), "{table}");
    assert!(said.contains("not tried: wrong: RATE_LIMIT_DEVICE_PER_MIN") && said.contains("use --trials"), "{said}");
}

#[test]
fn what_is_wrong_is_said_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    std::fs::create_dir(folder.path().join("none")).unwrap();
    for (flags, said) in [
        ("--vary RATE_LIMIT_DEVICE_PER_MINUTE=1..9", "did you mean RATE_LIMIT_DEVICE_PER_MIN?"),
        ("--vary RATE_LIMIT_DEVICE_PER_MIN=9..1", "is an empty range"),
        ("", "nothing is varied: give --vary"),
        ("--configs none", "has no file that ends in .env"),
        ("--vary RATE_LIMIT_DEVICE_PER_MIN=0", "the server refuses every configuration"),
        (
            "--steps 50 --vary RATE_LIMIT_DEVICE_BURST=1..99999 --vary RATE_LIMIT_DEVICE_PER_MIN=1..99999",
            "configurations are too many",
        ),
    ] {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let output = fleet_in(folder.path(), &[&["limits", "sweep", "small.toml"], flags.as_slice()].concat());
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", stderr_of(&output));
        assert!(stderr_of(&output).contains(said), "{flags:?}: {}", stderr_of(&output));
    }
}

/// Goal: CI fails if deployed limits miss an objective of a scenario. Method: an objective of no errors, met by one file and broken by another.
#[test]
fn deployed_limits_are_verified_against_the_objectives_of_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    let path = folder.path().join("small.toml");
    let text = std::fs::read_to_string(&path).unwrap() + "[[expect]]\nmetric = \"errors\"\nequals = 0\n";
    std::fs::write(&path, text).unwrap();
    let verify = |content: &str| {
        std::fs::write(folder.path().join("env"), content).unwrap();
        let flags = ["limits", "verify", "small.toml", "--env", "env", "--signatures", "modelled", "--out", "v"];
        let output = fleet_in(folder.path(), &flags);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output))
    };
    let kept = verify("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN=30\nPORT=3000\n");
    assert_eq!(kept.0, Some(0), "{kept:?}");
    assert!(kept.2.contains("4 of 4 objectives kept, 0 broken"), "{kept:?}");
    let silent = verify("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN=30\nRATE_LIMIT_DEVICE_PER_MIN=60\n");
    assert_eq!(silent.0, Some(99), "{silent:?}");
    assert!(silent.1.contains("BROKEN  all scenarios: the limit device_requests fires: no scenario"), "{silent:?}");
    let broken = verify("RATE_LIMIT_DEVICE_PER_MIN=2\nRATE_LIMIT_DEVICE_BURST=1\n");
    assert_eq!(broken.0, Some(99), "{broken:?}");
    assert!(broken.1.contains("BROKEN  small, seed 5: errors = 0: it is 1620"), "{broken:?}");
    let junit = std::fs::read_to_string(folder.path().join("v/junit.xml")).unwrap();
    assert!(junit.contains("failures=\"1\"") && junit.contains("errors = 0"), "{junit}");
    let deploy = folder.path().join("deploy");
    std::fs::create_dir(&deploy).unwrap();
    std::fs::write(deploy.join("limits.toml"), "[device_requests]\nper_min = 2\nburst = 1\n").unwrap();
    std::fs::write(deploy.join("env"), "RATE_LIMITS_FILE=limits.toml\nRATE_LIMIT_DEVICE_PER_MIN=60\n").unwrap();
    let flags = ["limits", "verify", "small.toml", "--signatures", "modelled", "--env"];
    let of_file = fleet_in(folder.path(), &[flags.as_slice(), &["deploy/env"]].concat());
    let said = String::from_utf8_lossy(&of_file.stdout);
    assert!(said.contains("BROKEN  small, seed 5: errors = 0: it is 1620"), "{said}");
    let missing = stderr_of(&fleet_in(folder.path(), &[flags.as_slice(), &["nowhere"]].concat()));
    assert!(missing.contains("check that nowhere exists and that you may read it"), "{missing}");
    let unknown = verify("RATE_LIMIT_DEVICE_BRUST=1\n");
    assert_eq!(unknown.0, Some(2));
    assert!(unknown.2.contains("did you mean RATE_LIMIT_DEVICE_BURST?"), "{unknown:?}");
}

/// Goal: what is verified is what is deployed, not what the scenario sets for its own server. Method: a scenario whose own limit refuses
/// every other heartbeat, and one whose own limit allows what the deployed one refuses.
#[test]
fn limits_of_the_scenario_itself_are_not_those_that_are_deployed() {
    let verify = |own: &str, deployed: &str| {
        let folder = tempfile::tempdir().unwrap();
        scenario(folder.path(), own);
        let path = folder.path().join("small.toml");
        let text = std::fs::read_to_string(&path).unwrap() + "[[expect]]\nmetric = \"errors\"\nequals = 0\n";
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("env"), deployed).unwrap();
        let flags = ["limits", "verify", "small.toml", "--env", "env", "--signatures", "modelled"];
        let output = fleet_in(folder.path(), &flags);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output))
    };
    let tight = "RATE_LIMIT_DEVICE_PER_MIN = 2\nRATE_LIMIT_DEVICE_BURST = 1\n";
    let kept = verify(tight, "RATE_LIMIT_ADDRESS_FAILURES_PER_MIN=30\n");
    assert_eq!(kept.0, Some(0), "{kept:?}");
    assert!(
        kept.2.contains("small sets RATE_LIMIT_DEVICE_BURST, RATE_LIMIT_DEVICE_PER_MIN for its own server"),
        "{kept:?}"
    );
    let broken = verify("RATE_LIMIT_DEVICE_BURST = 1000\n", "RATE_LIMIT_DEVICE_PER_MIN=2\n");
    assert_eq!(broken.0, Some(99), "the default burst of 30 is used up after some minutes: {broken:?}");
}

/// Goal: what the server merely warns of is shown, and breaks nothing unless it is asked for.
/// Method: a limit of all requests below that of one device, which no traffic here reaches.
#[test]
fn warnings_alone_leave_the_exit_code_unless_they_are_denied() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    let text = "RATE_LIMIT_ALL_REQUESTS_MODE=enforce\nRATE_LIMIT_ALL_REQUESTS_PER_MIN=119\n";
    std::fs::write(folder.path().join("env"), text).unwrap();
    let flags = ["limits", "verify", "small.toml", "--env", "env", "--signatures", "modelled"];
    let verify = |more: &[&str]| {
        let may = ["--may-stay-silent", "all_requests"];
        let output = fleet_in(folder.path(), &[flags.as_slice(), &may, more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), stderr_of(&output))
    };
    let said = "RATE_LIMIT_DEVICE_PER_MIN is 120, but RATE_LIMIT_ALL_REQUESTS_PER_MIN is only 119";
    let warned = verify(&[]);
    assert!(warned.0 == Some(0) && warned.2.contains(said), "{warned:?}");
    let denied = verify(&["--deny-warnings"]);
    assert_eq!(denied.0, Some(99), "{denied:?}");
    assert!(denied.1.contains(&format!("BROKEN  small: the server warns of nothing: {said}")), "{denied:?}");
}

/// Goal: a confirmation that lasts another time than the scenario is not judged by bounds for all of it.
/// Method: a count with a bound, and a rate.
#[test]
fn a_shorter_confirmation_is_refused_where_a_bound_is_for_the_whole_run() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path(), "");
    let path = folder.path().join("small.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let sweep = |expected: &str, confirm: &str| {
        std::fs::write(&path, text.clone() + "[[expect]]\n" + expected).unwrap();
        let vary = ["limits", "sweep", "small.toml", "--vary", "RATE_LIMIT_DEVICE_BURST=0,30", "--trials", "1"];
        let output = fleet_in(folder.path(), &[vary.as_slice(), &["--quiet", confirm]].concat());
        (output.status.code(), stderr_of(&output))
    };
    let refused = sweep("metric = \"heartbeat.acked\"\nmin = 1000\n", "--confirm=30s");
    assert_eq!(refused.0, Some(2), "{refused:?}");
    for part in ["--confirm=30s", "lasts 20m", "`heartbeat.acked >= 1000`", "give --confirm"] {
        assert!(refused.1.contains(part), "{part}: {refused:?}");
    }
    assert!(!folder.path().join("reports").exists(), "before the first trial");
}
