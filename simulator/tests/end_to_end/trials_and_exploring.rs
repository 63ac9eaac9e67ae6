//! Goal: trials score policies by what is really so, and exploring says the same of the same seed.
//! Method: the real executable, small fleets, rates of bugs at which the outcome is certain.

use std::{path::Path, process::Output};

use crate::support::fleet_in;
use serde_json::Value;

fn json(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"))
}

/// A canary of 20 devices, and what it is scored with.
fn scenario(folder: &Path) {
    let policy = r#"lost_after_s = 600
confirm_window_s = 60
stages = [{ share_bp = 5000, min_executed = 5, bake_s = 600 }, { share_bp = 10000, min_executed = 5, bake_s = 60 }]
gates = [{ threshold_bp = 1000, min_executed = 5, test = { kind = "raw" }, action = "abort" }]
"#;
    let text = format!(
        r#"
name = "small-canary"
goal = "A small canary."
mode = "rehearse"
seed = 11
duration = "4h"
[fleet]
devices = 20
heartbeat_interval = "1m"
[[firmware]]
version = "2"
counter = 2
size_kib = 8
[[policy]]
name = "own"
{policy}
[[timeline]]
at = "10m"
do = "start_rollout"
firmware = "2"
policy = "own"
[[expect]]
metric = "updated.2"
equals = 20
"#
    );
    std::fs::write(folder.join("canary.toml"), text).unwrap();
    std::fs::write(folder.join("careful.toml"), policy).unwrap();
    std::fs::write(folder.join("wrong.toml"), policy.replace("min_executed = 5", "min_executed = 0")).unwrap();
}

#[test]
fn a_policy_lets_what_is_good_through_and_stops_what_breaks_every_device() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    let flags =
        ["--trials", "3", "--policy", "careful.toml", "--bug-rates", "0,100", "--json", "--quiet", "--out", "s"];
    let output = fleet_in(folder.path(), &[["rehearse", "canary.toml"].as_slice(), &flags].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let score = &json(&output)["score"];
    let policy = &score["policies"][0];
    assert_eq!(policy["policy"], "careful");
    let [good, bad] = [0, 1].map(|number| &policy["cells"][number]);
    assert_eq!((&good["bug_rate_bp"], &good["completed"], &good["detected"]), (&0.into(), &3.into(), &0.into()));
    assert_eq!((&bad["bug_rate_bp"], &bad["completed"], &bad["detected"]), (&10_000.into(), &0.into(), &3.into()));
    // Half of the fleet at most, and only who had begun before the first was given up.
    let broken = bad["broken_median"].as_u64().unwrap();
    assert!((1..=10).contains(&broken), "{bad}");
    for file in ["score.json", "score.html", "trials.ndjson", "operating_characteristic.png"] {
        assert!(folder.path().join("s").join(file).exists(), "{file}");
    }
}

#[test]
fn trials_without_a_policy_give_the_rate_of_passes_and_how_to_see_a_failure_again() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    let run = |rates: &[&str]| {
        let arguments = [&["rehearse", "canary.toml", "--trials", "2", "--json", "--out", "t"], rates];
        fleet_in(folder.path(), &arguments.concat())
    };
    let passed = run(&[]);
    assert_eq!(passed.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&passed.stderr).into_owned();
    assert!(stderr.contains("2 of 2 trials passed: 15.8 to 100.0 % of all would"), "{stderr}");
    let quiet = run(&["--quiet"]);
    assert_eq!(
        (quiet.status.code(), quiet.stderr.as_slice()),
        (Some(0), b"".as_slice()),
        "quiet is silent if all pass"
    );
    let failing =
        std::fs::read_to_string(folder.path().join("canary.toml")).unwrap().replace("equals = 20", "equals = 21");
    std::fs::write(folder.path().join("canary.toml"), failing).unwrap();
    let failed = run(&[]);
    assert_eq!(failed.status.code(), Some(99));
    let failure = &json(&failed)["failed"][1];
    assert_eq!(failure["seed"], 12);
    assert_eq!(failure["replay"], "ks-fleet rehearse canary.toml --seed 12");
}

/// Goal: policies that are advised do what is said of them: they find the bug, let a good release through, and are files that others can use.
/// Method: a bug of a third of a model, at which few devices suffice; each policy is rehearsed with and without it.
#[test]
fn policies_that_are_advised_find_the_bug_in_rehearsals() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    let path = folder.path().join("canary.toml");
    let models = "heartbeat_interval = \"5m\"\nmodels = { count = 2, prefix = \"KS\" }";
    let text = std::fs::read_to_string(&path).unwrap().replace("heartbeat_interval = \"1m\"", models);
    std::fs::write(&path, text.replace("lost_after_s = 600", "lost_after_s = 1200")).unwrap();
    let bug = ["advise", "canary.toml", "--devices", "120", "--detect", "33%", "--of-model", "KS-2", "--in", "12h"];
    let advised = |flags: &[&str]| {
        let output = fleet_in(folder.path(), &[bug.as_slice(), flags].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    };
    let advice = advised(&["--trials", "2", "--json", "--quiet", "--out", "a"]);
    let policies = advice["policies"].as_array().unwrap();
    assert!((2..=3).contains(&policies.len()) && policies.iter().all(|of| of["found"].as_f64().unwrap() >= 0.95));
    for (own, rehearsed) in policies.iter().zip(advice["rehearsed"]["policies"].as_array().unwrap()) {
        let counts = |what: &str| (rehearsed[what]["count"].as_u64().unwrap(), rehearsed[what]["of"].as_u64().unwrap());
        assert_eq!((&own["name"], counts("found"), counts("false_alarms")), (&rehearsed["name"], (2, 2), (0, 2)));
        assert!(
            counts("found_in_canary").0 >= 1,
            "with a chance of 95 %, and the seeds are always the same: {rehearsed}"
        );
        let [found, predicted] = [&rehearsed["found_after_s"], &own["found_after_s"]].map(|of| of.as_f64().unwrap());
        assert!(found <= predicted, "found after {found} s, predicted {predicted} s");
        let [took, at_best] = [&rehearsed["duration_s"], &own["duration_s"]].map(|of| of.as_f64().unwrap());
        assert!((at_best..at_best * 1.5).contains(&took), "{took} s, at best {at_best} s");
    }
    let score: Value = serde_json::from_slice(&std::fs::read(folder.path().join("a/score.json")).unwrap()).unwrap();
    assert_eq!(score["fails_only_on"]["which"], "model KS-2");
    assert_page_has(folder.path(), "a", &advice);
    // Each trial can be repeated alone.
    let trials = std::fs::read_to_string(folder.path().join("a/trials.ndjson")).unwrap();
    let trial: Value = serde_json::from_str(trials.lines().nth(1).unwrap()).unwrap();
    let replay: Vec<&str> = trial["replay"].as_str().unwrap().split(' ').skip(1).collect();
    let output = fleet_in(folder.path(), &[replay.as_slice(), &["--out", "again"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let again = std::fs::read_to_string(folder.path().join("again/trials.ndjson")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["rollout"], trial["rollout"]);

    // Advice whose trials are continued has their results; a policy that is missing is an error of the folder.
    let resume = ["rehearse", "--resume", "a", "--trials", "3", "--quiet"];
    assert_eq!(fleet_in(folder.path(), &resume).status.code(), Some(0));
    let text = std::fs::read_to_string(folder.path().join("a/advice.txt")).unwrap();
    assert!(text.contains("3 of 3") && !text.contains(" of 2,"), "{text}");
    let advice = serde_json::from_slice(&std::fs::read(folder.path().join("a/advice.json")).unwrap()).unwrap();
    assert_page_has(folder.path(), "a", &advice);
    let drawn = fleet_in(folder.path(), &["report", "a"]);
    assert_eq!(String::from_utf8_lossy(&drawn.stdout), "a/advice.html\na/score.html\n");
    std::fs::remove_file(folder.path().join("a/smallest-canary.toml")).unwrap();
    let refused = fleet_in(folder.path(), &["rehearse", "--resume", "a", "--trials", "4"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && why.contains("smallest-canary.toml is missing"), "{why}");
    assert!(why.contains("put that file back, unchanged"), "{why}");

    let nobody = fleet_in(folder.path(), &["advise", "canary.toml", "--detect", "1%", "--json", "--out", "n"]);
    assert_eq!((nobody.status.code(), &json(&nobody)["policies"]), (Some(4), &Value::Array(Vec::new())));
    let junit = std::fs::read_to_string(folder.path().join("n/junit.xml")).unwrap();
    assert!(junit.contains("299 devices"), "{junit}");
}

/// The page of advice has each policy's numbers, formatted here from what `advice.json` says.
fn assert_page_has(folder: &std::path::Path, of: &str, advice: &Value) {
    let page = std::fs::read_to_string(folder.join(of).join("advice.html")).unwrap().replace('\u{a0}', " ");
    let share = |of: &Value| {
        let [low, high] = [0, 1].map(|nth| of["limits"][nth].as_f64().unwrap() * 100.0);
        format!("{} of {} ({:.0} to {:.0} %)", of["count"], of["of"], low.floor(), high.ceil())
    };
    let per_cent = |chance: &Value| format!("{:.1} %", chance.as_f64().unwrap() * 100.0);
    let (mut rows, policies) = (Vec::new(), advice["policies"].as_array().unwrap());
    for (own, tried) in policies.iter().zip(advice["rehearsed"]["policies"].as_array().unwrap()) {
        let cell =
            |value: String| format!("<td class=\"n\" data-label=\"{}\">{value}</td>", own["name"].as_str().unwrap());
        let found = (own["found"].as_f64().unwrap() * 1_000.0).floor() / 10.0;
        rows.extend([
            cell(format!("{} devices", own["canary_devices"])),
            cell(format!("{found:.1} % or more")),
            cell(share(&tried["found_in_canary"])),
            cell(share(&tried["false_alarms"])),
            cell(per_cent(&own["false_alarms"])),
            cell(own["first_step"].to_string()),
            cell(format!("{:.1}, 95 %: at most {}", own["hit"].as_f64().unwrap(), own["hit_at_most"])),
            cell(format!("{}, 95 %: at most {}", tried["broken"][0], tried["broken"][1])),
        ]);
    }
    for row in &rows {
        assert!(page.contains(row), "{row} is not in {page}");
    }
    assert!(page.contains("href=\"score.html\"") && page.matches("<svg").count() == 2);
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    let output = fleet_in(folder.path(), &["rehearse", "canary.toml", "--trials", "1", "--policy", "wrong.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("wrong.toml: stages[0].min_executed: expected at least 1"), "{stderr}");
}

#[test]
fn what_is_given_twice_is_refused_and_not_counted_double() {
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    std::fs::create_dir(folder.path().join("other")).unwrap();
    std::fs::copy(folder.path().join("careful.toml"), folder.path().join("other/careful.toml")).unwrap();
    let refused = |arguments: &[&str], why: &str| {
        let output = fleet_in(folder.path(), &[&["rehearse", "canary.toml", "--trials", "1"], arguments].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    };
    refused(&["--policy", "careful.toml", "--policy", "other/careful.toml"], "--policy gives careful twice");
    refused(&["--bug-rates", "0,1,0.5,1.0"], "--bug-rates gives 1 % twice");
}

#[test]
fn exploring_the_same_seeds_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let explore = || {
        let output = fleet_in(folder.path(), &["explore", "--from-seed", "1", "--count", "3", "--json", "--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        json(&output)
    };
    let (one, other) = (explore(), explore());
    assert_eq!(one["scenarios"], 3);
    assert!(one["heartbeats"].as_u64().unwrap() > 1_000, "{one}");
    assert_eq!(one, other);
}

/// Goal: trials leave their verdicts, also of a scenario that rolls nothing out; and quiet never hides why something failed.
#[test]
fn trials_that_score_nothing_leave_a_line_and_a_test_case_each() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"s\"\ngoal = \"Nothing is rolled out.\"\nmode = \"rehearse\"\nseed = 5\nduration = \"1m\"\n[fleet]\ndevices = 2\nheartbeat_interval = \"10s\"\n[[expect]]\nmetric = \"errors\"\nmin = 1\n";
    std::fs::write(folder.path().join("s.toml"), text).unwrap();
    let output = fleet_in(folder.path(), &["rehearse", "s.toml", "--trials", "2", "--quiet", "--out", "t"]);
    assert_eq!(output.status.code(), Some(99));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let trials: Vec<Value> = read("t/trials.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((trials.len(), &trials[1]["seed"], &trials[1]["verdict"]), (2, &6.into(), &"fail".into()));
    let junit = read("t/junit.xml");
    assert!(junit.contains("tests=\"2\" failures=\"2\"") && junit.contains("name=\"seed 6\""), "{junit}");

    let output = fleet_in(folder.path(), &["rehearse", "s.toml", "--quiet", "--out", "r"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("FAIL  s\n  - `errors >= 1` was not met: 0\n  replay: ks-fleet rehearse s.toml"),
        "{stderr}"
    );
    assert!(!read("r/junit.xml").contains("timestamp=\"2026-01-01"), "when it was made, not when it is set");
}

/// Goal: what comes to no verdict is red in a CI server, and not missing.
#[test]
fn a_scenario_that_is_wrong_and_a_target_that_is_not_there_leave_a_red_junit_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "name = \"bad\"\nduraton = \"1m\"\n").unwrap();
    let output = fleet_in(folder.path(), &["run", "bad.toml", "--out", "b"]);
    assert_eq!(output.status.code(), Some(2));
    let junit = std::fs::read_to_string(folder.path().join("b/junit.xml")).unwrap();
    assert!(junit.contains("errors=\"1\"") && junit.contains("duraton"), "{junit}");
    scenario(folder.path());
    let load = std::fs::read_to_string(folder.path().join("canary.toml")).unwrap();
    std::fs::write(
        folder.path().join("load.toml"),
        load.split("[[firmware]]").next().unwrap().replace("rehearse", "load")
            + "[[expect]]\nmetric = \"errors\"\nequals = 0\n",
    )
    .unwrap();
    let target = ["--target", "http://127.0.0.1:1", "--out", "u"];
    let output = fleet_in(folder.path(), &[["run", "load.toml"].as_slice(), &target].concat());
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let junit = std::fs::read_to_string(folder.path().join("u/junit.xml")).unwrap();
    assert!(junit.contains("does not answer"), "{junit}");
}

/// Goal: what a CI server reads in the folder that a run was asked to write to is never an earlier run's.
/// Method: a run that passes, then one in the same folder that fails before it begins, in each way.
#[test]
fn nothing_of_an_earlier_run_survives_one_that_fails_early() {
    let folder = tempfile::tempdir().unwrap();
    let text = "name = \"s\"\ngoal = \"It passes.\"\nmode = \"rehearse\"\nduration = \"1m\"\n[fleet]\ndevices = 2\nheartbeat_interval = \"10s\"\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
    std::fs::write(folder.path().join("s.toml"), text).unwrap();
    std::fs::write(folder.path().join("load.toml"), text.replace("rehearse", "load")).unwrap();
    std::fs::write(folder.path().join("bad.toml"), "name = \"bad\"\nduraton = \"1m\"\n").unwrap();
    let ways: [(&[&str], i32); 6] = [
        (&["rehearse", "bad.toml"], 2),
        (&["rehearse", "missing.toml"], 2),
        (&["rehearse", "s.toml", "--bogus"], 2),
        (&["rehearse", "s.toml", "--seed", "many"], 2),
        (&["rehearse", "s.toml", "--trials", "2", "--bug-rates", "1"], 2),
        (&["run", "load.toml", "--target", "http://127.0.0.1:1"], 3),
    ];
    for (arguments, code) in ways {
        let passed = fleet_in(folder.path(), &["rehearse", "s.toml", "--quiet", "--out", "o"]);
        assert_eq!(passed.status.code(), Some(0), "{}", String::from_utf8_lossy(&passed.stderr));
        let output = fleet_in(folder.path(), &[arguments, &["--out", "o"]].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let left: Vec<_> =
            std::fs::read_dir(folder.path().join("o")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["junit.xml"], "{arguments:?}");
        let junit = std::fs::read_to_string(folder.path().join("o/junit.xml")).unwrap();
        assert!(junit.contains("errors=\"1\""), "{arguments:?}: {junit}");
    }
}

/// Goal: an exploration that somebody ends does not say that it kept every invariant for its whole time.
/// Method: SIGINT once it has begun.
#[test]
fn exploring_that_is_stopped_says_so() {
    use std::io::{BufRead as _, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::support::fleet();
    command.args(["explore", "--from-seed", "1", "--minutes", "60", "--json"]).current_dir(folder.path());
    let command = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut running = command.spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("exploring from seed 1"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{rest:#?}");
    assert!(
        rest.iter().any(|line| line.starts_with("interrupted, and no invariant was violated so far: ")),
        "{rest:#?}"
    );
    assert!(!rest.iter().any(|line| line.contains("every invariant held")), "{rest:#?}");
    let explored: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explored["stopped"], true);
}
