//! Goal: a load run uses real sockets and a real server process, and ends with a verdict and its exit code.
//! Method: the real executable on small fleets and short runs.

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};

use crate::support::{Server, TOKEN, fleet, stderr_of, summary_in};
use serde_json::Value;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)
}

/// A scenario of 20 devices for a few seconds, with more lines. It does not depend on the machine's speed.
fn scenario(folder: &Path, more: &str) -> PathBuf {
    let text = format!(
        "name = \"small\"\ngoal = \"A small fleet.\"\ntiming = \"ignored\"\nduration = \"3s\"\nramp = \"500ms\"\n[fleet]\ndevices = 20\nheartbeat_interval = \"200ms\"\nanswer_timeout = \"30s\"\n[server]\nRATE_LIMIT_DEVICE_PER_MIN = 6000\n{more}"
    );
    let path = folder.join("small.toml");
    std::fs::write(&path, text).unwrap();
    path
}

const NO_ERRORS: &str =
    "[[expect]]\nmetric = \"errors\"\nequals = 0\n[[expect]]\nmetric = \"ledger.lost\"\nequals = 0\n";

fn run(folder: &Path, scenario: &Path, flags: &[&str]) -> (Output, Option<Value>) {
    let out = folder.join("run");
    let output = fleet().arg("run").arg(scenario).arg("--out").arg(&out).args(flags).output().unwrap();
    let summary = std::fs::read(out.join("summary.json")).ok().map(|json| serde_json::from_slice(&json).unwrap());
    (output, summary)
}

#[test]
fn a_small_fleet_passes_and_leaves_a_whole_run_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (output, summary) = run(folder.path(), &scenario(folder.path(), NO_ERRORS), &[]);
    let summary = summary.unwrap_or_else(|| panic!("{}", stderr_of(&output)));
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(summary["verdict"], "pass");
    assert!(summary["heartbeats"]["acked"].as_u64().unwrap() > 0);
    assert_eq!(summary["ledger"]["checked"], summary["heartbeats"]["acked"]);
    for file in
        ["report.html", "summary.md", "junit.xml", "events.ndjson.zst", "latency.hlog", "ticks.ndjson", "server.log"]
    {
        assert!(folder.path().join("run").join(file).exists(), "{file}");
    }
    let again = fleet().arg("report").arg(folder.path().join("run")).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", stderr_of(&again));
}

/// Goal: who missed the presence deadline is counted by the server's clock. Method: the generator's is an hour fast; taken for the server's,
/// it would make every device late.
#[test]
fn a_generator_with_a_wrong_clock_counts_by_the_targets() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let out = folder.path().join("run");
    let mut run = Command::new("faketime");
    run.args(["-f", "+1h", env!("CARGO_BIN_EXE_ks-fleet"), "run"])
        .arg(scenario(folder.path(), NO_ERRORS))
        .arg("--out")
        .arg(&out);
    run.args(["--target", &format!("http://{}", server.address)]);
    run.envs([("ADMIN_TOKEN", TOKEN), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
    let output = run.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let summary = summary_in(&out);
    assert!(summary["late_devices"]["devices"].as_u64() < Some(20), "{summary:#}");
    assert!(summary["notes"].to_string().contains("ms ahead of the target's"), "{summary:#}");
}

/// Goal: devices use all of the connections that they share. Method: eight for 20 devices, whatever the number of threads.
#[test]
fn shared_connections_are_all_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), NO_ERRORS);
    let text = std::fs::read_to_string(&path).unwrap().replace("devices = 20\n", "devices = 20\nconnections = 8\n");
    std::fs::write(&path, text).unwrap();
    let (output, summary) = run(folder.path(), &path, &[]);
    let summary = summary.unwrap_or_else(|| panic!("{}", stderr_of(&output)));
    assert!(summary["generator"]["sockets_max"].as_u64() >= Some(8), "{}", summary["generator"]);
}

#[test]
fn an_expectation_that_is_not_met_is_exit_99() {
    let folder = tempfile::tempdir().unwrap();
    let more = "[[expect]]\nmetric = \"heartbeat.acked\"\nmin = 1000000\n";
    let (output, summary) = run(folder.path(), &scenario(folder.path(), more), &[]);
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(&output));
    assert_eq!(summary.unwrap()["verdict"], "fail");
}

#[test]
fn tokens_revocation_commands_and_a_killed_server_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let more = "\
[[timeline]]\nat = \"3s\"\ndo = \"send_command\"\nkind = \"reboot\"\n\
[[timeline]]\nat = \"5s\"\ndo = \"restart_server\"\nkill = true\n\
[[timeline]]\nat = \"10s\"\ndo = \"revoke\"\ndevices = 5\n\
[[expect]]\nmetric = \"codes.REVOKED\"\nequals = 5\n\
[[expect]]\nmetric = \"commands.succeeded\"\nequals = 20\n\
[[expect]]\nmetric = \"commands.applied_twice\"\nequals = 0\n\
[[expect]]\nmetric = \"ledger.lost\"\nequals = 0\n\
[[expect]]\nmetric = \"ledger.duplicated\"\nequals = 0\n";
    let path = scenario(folder.path(), more);
    let text = std::fs::read_to_string(&path).unwrap().replace("devices = 20\n", "devices = 20\notrt = true\n");
    let text = text.replace("duration = \"3s\"", "duration = \"14s\""); // time for a slow machine between the steps
    std::fs::write(&path, text).unwrap();
    let (output, summary) = run(folder.path(), &path, &[]);
    assert_eq!(output.status.code(), Some(0), "{}\n{summary:#?}", stderr_of(&output));
}

#[test]
fn adversaries_are_refused_and_honest_devices_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = ["forger", "replayer", "unknown_device", "cloned_key", "tamperer"];
    let adversaries = kinds.map(|kind| format!("[[adversary]]\nkind = \"{kind}\"\ncount = 2\ninterval = \"50ms\"\n"));
    let floods = ["faulty_device", "half_request", "slow_body", "big_body"];
    let floods =
        floods.map(|kind| format!("[[adversary]]\nkind = \"{kind}\"\ncount = 1\naddresses = 3\ninterval = \"50ms\"\n"));
    let phase = "[[timeline]]\nat = \"1s\"\ndo = \"phase\"\nname = \"flooded\"\n";
    let more = adversaries.concat()
        + &floods.concat()
        + phase
        + NO_ERRORS
        + "[[expect]]\nmetric = \"attacks.attempts\"\nmin = 20\n[[expect]]\nmetric = \"attacks.successes\"\nequals = 0\n";
    let (output, summary) = run(folder.path(), &scenario(folder.path(), &more), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    let summary = summary.unwrap();
    assert_eq!(summary["adversaries"].as_object().unwrap().len(), 6, "large bodies must be refused too");
    let all = summary["adversary_requests"].as_object().unwrap();
    assert!(all.len() == 9 && all.values().all(|of| of["sent"].as_u64() > Some(0)), "{all:#?}");
    assert!(all["faulty_device"]["by_code"]["OK"].as_u64() > Some(0), "its budget allows some requests: {all:#?}");
    let figures = &summary["phases"].as_array().unwrap().last().unwrap()["figures"];
    assert!(figures["server_cpu_s"].is_f64() && figures["server_rss_bytes"].as_u64() > Some(1_000_000), "{figures:#?}");
    assert!(figures["ok"].as_u64() > Some(0) && figures["ok"] == figures["requests"], "{figures:#?}");
}

/// A running quickstart with 50 devices, in its own process group as under a shell.
fn running_quickstart(out: &Path) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut running = fleet()
        .arg("run")
        .arg(shipped("quickstart.toml"))
        .args(["--devices", "50", "--out"])
        .arg(out)
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("50 devices"), "{first}");
    lines.next().unwrap().unwrap(); // the first line of progress
    (running, lines)
}

/// Goal: Ctrl-C on a terminal, which signals the whole process group, ends a run gracefully.
/// Method: SIGINT to the group; the embedded server must outlive it, or the ledger could not be reconciled.
#[test]
fn ctrl_c_ends_a_run_with_a_report_of_the_results_so_far() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut running, lines) = running_quickstart(&out);
    let group = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(running.wait().unwrap().code(), Some(4), "{rest:#?}");
    let summary = summary_in(&out);
    assert_eq!((&summary["verdict"], &summary["interrupted"]), (&Value::from("inconclusive"), &Value::from(true)));
    assert_eq!(summary["ledger"]["reconciled"], true);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
    let outputs = [rest.join("\n"), page, junit, std::fs::read_to_string(out.join("summary.md")).unwrap()];
    for text in &outputs {
        assert!(!text.contains("replay: ") && !text.contains("\"replay\"") && !text.contains("Run it again"), "{text}");
    }
}

/// Goal: an interrupted rehearsal does not claim that a command repeats it, nor that its event log is reproducible.
/// Method: SIGINT to a rehearsal that takes longer; quiet, and not.
#[test]
fn an_interrupted_rehearsal_claims_no_replay() {
    for quiet in [&[][..], &["--quiet"]] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let mut command = fleet();
        command.arg("rehearse").arg(shipped("two-days.toml")).arg("--out").arg(&out).args(quiet);
        let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
        while !out.join("ticks.ndjson").exists() {
            assert!(running.try_wait().unwrap().is_none(), "it ended before it started");
            std::thread::sleep(Duration::from_millis(20));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&running), rustix::process::Signal::INT)
            .unwrap();
        let ended = running.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(4), "{stderr}");
        assert!(
            !stderr.contains("replay: ") && stderr.contains("up to the interruption): ks-fleet rehearse "),
            "{stderr}"
        );
    }
}

/// Goal: a second Ctrl-C ends a run immediately, even soon after the first.
/// Method: the server is stopped, so that the run waits for answers; SIGINT to the run, again and again until it ends.
#[test]
fn a_second_ctrl_c_ends_a_run_immediately() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut running, _lines) = running_quickstart(&out);
    let server = embedded_server_of(&running);
    kill_process(server, Signal::STOP).unwrap();
    // Within 0.1 s it would count as the same signal, sent twice; a slow machine may also merge two that are pending.
    let code = loop {
        kill_process(Pid::from_child(&running), Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        if let Some(ended) = running.try_wait().unwrap() {
            break ended.code();
        }
    };
    kill_process(server, Signal::KILL).unwrap();
    assert_eq!(code, Some(130));
    let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
    assert!(junit.contains("errors=\"1\"") && junit.contains("did not finish"), "{junit}");
}

/// The process of a run's own server.
fn embedded_server_of(running: &Child) -> rustix::process::Pid {
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let server: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    rustix::process::Pid::from_raw(server).unwrap()
}

/// Goal: a run whose own server dies ends soon, reports it, and exits with 3.
/// Method: SIGKILL to the child.
#[test]
fn a_server_that_dies_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (mut running, lines) = running_quickstart(&out);
    let server = embedded_server_of(&running);
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(running.wait().unwrap().code(), Some(3), "{rest:#?}");
    let summary = summary_in(&out);
    assert_eq!(summary["verdict"], "fail");
    assert!(summary["reasons"][0].as_str().unwrap().contains("the embedded server ended by itself"), "{summary}");
}

/// Goal: unanswered requests are errors, also those still in flight at the end.
/// Method: an external server, stopped (SIGSTOP) in the middle of a run and continued when it is over.
#[test]
fn a_server_that_stops_answering_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let url = format!("http://{}", server.address);
    let pid = rustix::process::Pid::from_child(&server.process);

    let more = "[[expect]]\nmetric = \"heartbeat.acked\"\nmin = 1\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";
    let path = scenario(folder.path(), more);
    let text = std::fs::read_to_string(&path).unwrap().replace("\"30s\"", "\"2s\"").replace("\"3s\"", "\"15s\"");
    std::fs::write(&path, text).unwrap();
    let mut running = fleet()
        .arg("run")
        .arg(&path)
        .env("ADMIN_TOKEN", TOKEN)
        .args(["--target", &url, "--out"])
        .arg(folder.path().join("run"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let mut until =
        |what: &str| assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains(what)), "{what}");
    // The first line of progress, some seconds after the start; every device beats five times a second.
    until("20 devices |");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // By then every request has finished, and only the ledger is left.
    until("reconciling");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(running.wait().unwrap().code(), Some(99), "{rest:#?}");
    let summary = summary_in(&folder.path().join("run"));
    let ended: u64 =
        summary["requests_by_code"]["heartbeat"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    // How many depends on when the server was stopped; that each one counts as an error does not.
    assert!(summary["requests_by_code"]["heartbeat"]["UNSENT"].as_u64() > Some(0), "{summary}");
    assert!(ended > summary["heartbeats"]["acked"].as_u64().unwrap(), "{summary}");
    assert!(ended >= summary["heartbeats"]["sent"].as_u64().unwrap(), "{summary}");
    assert_eq!((&summary["ledger"]["lost"], &summary["ledger"]["misattributed"]), (&0.into(), &0.into()), "{summary}");
}

#[test]
fn a_failure_is_one_sentence_help_and_the_documented_code() {
    let folder = tempfile::tempdir().unwrap();
    let good = scenario(folder.path(), NO_ERRORS);
    let bad = folder.path().join("bad.toml");
    std::fs::write(&bad, "name = \"x\"\ndurration = \"3s\"\n").unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below_a_file = file.join("run").display().to_string();
    let missing = folder.path().join("missing.toml");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
    let token = ["--admin-token-file", &token_file.display().to_string()];
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("report.html"), "another tool's report").unwrap();
    let foreign = foreign.display().to_string();
    let cases: [(&Path, &[&str], i32, &str); 15] = [
        (&bad, &[], 2, "durration"),
        (&missing, &[], 2, "missing.toml"),
        (&good, &["--out", &below_a_file], 3, "a-file"),
        (&good, &["--out", &foreign], 2, "foreign is not empty"),
        (&good, &["--target", "http://127.0.0.1:1", token[0], token[1]], 3, "http://127.0.0.1:1"),
        (&good, &["--target", &silent_url, token[0], token[1]], 3, "no answer"),
        (&good, &["--target", "http://127.0.0.1:1"], 2, "admin token"),
        (&good, &["--target", "http://127.0.0.1:1", "--admin-token", TOKEN], 2, "--admin-token-file"),
        (&good, &["--target", "http://no-such-host.invalid", token[0], token[1]], 3, "has no address"),
        (&good, &["--target", "http://127.0.0.1:1", "--admin-timeout", "0s"], 2, "from 1s to 1h"),
        (&good, &["--target", "ftp://127.0.0.1:1", token[0], token[1]], 2, "http://HOST:PORT"),
        (&good, &["--target", "http://127.0.0.1:99999", token[0], token[1]], 2, "port"),
        (&good, &["--target", "http://127.0.0.1:1/?a=b", token[0], token[1]], 2, "contains a query"),
        (Path::new("/dev/zero"), &[], 2, "larger than 1,024 KiB"),
        (&good, &["--devices", "0"], 2, "devices"),
    ];
    for (scenario, flags, code, named) in cases {
        let mut command = fleet();
        command.arg("run").arg(scenario).args(flags).current_dir(folder.path());
        let output = command.output().unwrap();
        let text = stderr_of(&output);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
        assert!(text.contains(named) && !text.contains("panicked"), "{flags:?}: {text}");
    }
    let report = fleet().arg("report").arg(folder.path()).output().unwrap();
    assert_eq!(report.status.code(), Some(2), "{}", stderr_of(&report));
}

/// Goal: a load run can be watched while it goes on, and what is scraped then is what the summary says in the end.
#[test]
fn the_metrics_of_a_run_are_served_while_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scenario = scenario(folder.path(), NO_ERRORS);
    let mut command = fleet();
    command.arg("run").arg(&scenario).arg("--out").arg(folder.path().join("run"));
    command.args(["--duration", "8s", "--metrics-listen", &address.to_string()]).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut last = String::new();
    while process.try_wait().unwrap().is_none() {
        if let Some(answer) = scrape(address) {
            last = answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert!(last.contains("HTTP/1.1 200 OK") && last.contains("content-type: text/plain; version=0.0.4"), "{last}");
    let value = |name: &str| {
        let found = last.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("{name}: {last}"))
    };
    let acked = value("ks_fleet_requests_ended_total{type=\"heartbeat\",code=\"OK\"}");
    let all = summary_in(&folder.path().join("run"))["heartbeats"]["acked"].as_f64().unwrap();
    assert!((1.0..=all).contains(&acked), "{acked} of {all}");
    assert!((value("ks_fleet_heartbeat_response_seconds_count") - acked).abs() < 0.5);
    assert!((value("ks_fleet_devices{state=\"registered\"}") - 20.0).abs() < 0.5);
    let again = fleet().arg("rehearse").arg(&scenario).args(["--metrics-listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "a rehearsal has no such flag");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (refused, _) = run(folder.path(), &scenario, &["--metrics-listen", &address]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr_of(&refused));
    assert!(stderr_of(&refused).contains(&format!("cannot listen on {address}")), "{}", stderr_of(&refused));
}

/// The answer to one scrape; none while nobody listens.
fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = "GET /metrics HTTP/1.1\r\nhost: fleet\r\naccept: text/plain\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| answer.contains("ks_fleet_requests_ended_total{"))
}
