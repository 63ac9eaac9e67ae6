//! Goal: a search for the load limit over real sockets finds a limit that is known, names who set it, and loses nothing when it ends
//! early.
//! Method: the real executable against real servers whose own rate limit is the limit, so that no machine's speed decides.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::support::{Server, TOKEN, fleet, stderr_of, summary_in, write_scenario};
use serde_json::Value;

/// Heartbeats a minute that the server accepts.
const LIMIT: f64 = 18_000.0;

/// 60 devices with five heartbeats a second each, on a server that accepts 300 a second, and 480 more (heartbeats leave a fifth of the
/// burst): a stall of more than a second does no harm, and what is a third above the limit is refused within a step.
fn scenario(folder: &Path) -> PathBuf {
    let text = "name = \"limited\"\ngoal = \"The server's own limit.\"\ntiming = \"ignored\"\nduration = \"5s\"\n[fleet]\n\
        devices = 60\nheartbeat_interval = \"200ms\"\nanswer_timeout = \"5s\"\n[server]\nRATE_LIMIT_DEVICE_PER_MIN = 6000\n\
        RATE_LIMIT_ALL_REQUESTS_PER_MIN = 18000\nRATE_LIMIT_ALL_REQUESTS_BURST = 600\nRATE_LIMIT_ALL_REQUESTS_MODE = \"enforce\"\n\
        OVERLOAD_TARGET_MS = 0\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
    write_scenario(folder, "limited", text)
}

fn search(folder: &Path, flags: &[&str]) -> Command {
    let mut command = fleet();
    command.arg("find-limit").arg(scenario(folder)).args(["--step", "2s", "--repeats", "1"]).args(flags);
    command.arg("--out").arg(folder.join("limit"));
    command
}

fn out(folder: &Path) -> PathBuf {
    folder.join("limit")
}

#[test]
fn the_servers_own_rate_limit_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = search(folder.path(), &["--budget", "3m", "--json"]).output().unwrap();
    let stderr = stderr_of(&output);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, summary_in(&out(folder.path())));
    // Other tests may need the whole machine in a step: then that is what must be said, and nothing of a limit of the server.
    if found["bottleneck"] == "machine" {
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains("So this is not the server's limit"), "{stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(
        (&found["kind"], &found["state"], &found["verdict"]),
        (&"load_limit".into(), &"finished".into(), &"pass".into())
    );
    let end = |name: &str| found["interval"][name].as_f64().unwrap();
    // A slow machine may find less, by chance; never more than the burst lets through in the five seconds of a step.
    assert!(end("held_per_min") >= LIMIT / 4.0 && end("held_per_min") <= LIMIT * 1.4, "{found:#?}");
    assert!(end("above_per_min") > end("held_per_min"));
    assert_eq!(found["bottleneck"], "limiter", "{found:#?}");
    let steps = found["steps"].as_array().unwrap();
    let failed = steps.iter().find(|step| step["number"] == found["evidence_step"]).unwrap();
    let limiter = failed["readings"].as_array().unwrap().iter().find(|reading| reading["of"] == "limiter").unwrap();
    assert_eq!(limiter["reached"], true);
    assert!(
        limiter["note"].is_null() || limiter["note"] == "all_requests",
        "unless no sample was in time: {limiter:#?}"
    );
    for step in steps {
        assert!(step["server_cores"].as_f64() > Some(0.0) && step["generator_cores"].as_f64() > Some(0.0), "{step:#?}");
    }
    assert!(
        stderr.contains("a rate limit of the server gave out first") && stderr.contains("FOUND  limited"),
        "{stderr}"
    );
    for file in [
        "report.html",
        "summary.md",
        "junit.xml",
        "latency_against_load.svg",
        "cpu_per_heartbeat.png",
        "steps/01/summary.json",
    ] {
        assert!(out(folder.path()).join(file).exists(), "{file}");
    }
    let again = fleet().arg("report").arg(out(folder.path())).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", stderr_of(&again));
}

/// Starts a search and waits until its first step was made.
fn after_the_first_step(command: &mut Command) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
    let seen: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("step 1: ")).collect();
    assert!(running.try_wait().unwrap().is_none(), "it ended: {seen:#?}");
    (running, lines)
}

#[test]
fn a_target_that_dies_leaves_the_steps_so_far_as_a_partial_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    let url = format!("http://{}", server.address);
    let mut command = search(folder.path(), &["--target", &url]);
    let (mut running, lines) = after_the_first_step(command.env("ADMIN_TOKEN", TOKEN));
    server.process.kill().unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(running.wait().unwrap().code(), Some(3), "{rest:#?}");
    let found = summary_in(&out(folder.path()));
    assert_eq!(
        (&found["state"], &found["verdict"], &found["exit_code"]),
        (&"broken".into(), &"fail".into(), &3.into())
    );
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps[0]["verdict"], "held", "{found:#?}");
    assert!(steps[0]["server_cores"].as_f64() > Some(0.0), "by its own metrics: {found:#?}");
    let page = std::fs::read_to_string(out(folder.path()).join("report.html")).unwrap();
    assert!(page.contains("PARTIAL") && page.contains("does not answer"), "{page}");
    let junit = std::fs::read_to_string(out(folder.path()).join("junit.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");
    assert!(rest.iter().any(|line| line.contains("PARTIAL")), "{rest:#?}");
}

#[test]
fn ctrl_c_ends_a_search_with_the_report_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let (mut running, lines) = after_the_first_step(&mut search(folder.path(), &[]));
    rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(running.wait().unwrap().code(), Some(4), "{rest:#?}");
    let found = summary_in(&out(folder.path()));
    assert_eq!((&found["state"], &found["verdict"]), (&"interrupted".into(), &"inconclusive".into()));
    assert_eq!(found["steps"].as_array().unwrap().len(), 1, "the step that was interrupted does not count");
    assert!(std::fs::read_to_string(out(folder.path()).join("summary.md")).unwrap().contains("Interrupted"));
}

#[test]
fn a_wrong_slo_is_refused_with_what_was_expected_and_nothing_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, expected) in [
        ("heartbeat.p99_ms<50", "expected METRIC<=NUMBER"),
        ("heartbeat.p99<=50", "did you mean heartbeat.p99_ms?"),
        ("heartbeat.per_min>=5", "has no upper bound"),
        ("heartbeat.p99_ms<=50", "depends on how fast the machine is"),
    ] {
        let output = search(folder.path(), &["--slo", wrong]).output().unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains("--slo"), "{wrong}: {stderr}");
        let junit = std::fs::read_to_string(out(folder.path()).join("junit.xml")).unwrap();
        assert!(junit.contains("errors=\"1\""), "{junit}");
    }
}
