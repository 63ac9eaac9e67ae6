//! Goal: a fleet that several processes simulate in segments is one run: the same measurements, the same judge, the same exit codes.
//! Method: four real processes on the loopback against one real server, and `ks-fleet merge`; its numbers are computed again from the
//! segments' latency logs and summaries.

use std::{
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde_json::Value;

use crate::support::{Server, TOKEN, events_in, fleet, lines_in, stderr_of, summary_in, write_scenario};

/// A fleet of 22 devices, which four does not divide evenly; five of them are revoked.
const SCENARIO: &str = "\
name = \"divided\"
goal = \"A fleet in segments.\"
timing = \"ignored\"
duration = \"8s\"
ramp = \"500ms\"
[fleet]
devices = 22
heartbeat_interval = \"200ms\"
answer_timeout = \"30s\"
otrt = true
connections = 6
[[adversary]]
kind = \"forger\"
count = 2
interval = \"50ms\"
[[timeline]]
at = \"1s\"
do = \"punch\"
per_device = 2
[[timeline]]
at = \"1500ms\"
do = \"phase\"
name = \"busy\"
[[timeline]]
at = \"2s\"
do = \"send_command\"
kind = \"fetch_logs\"
devices = 11
[[timeline]]
at = \"5s\"
do = \"revoke\"
devices = 5
[[timeline]]
at = \"6s\"
do = \"outage\"
for = \"300ms\"
[[expect]]
metric = \"devices.registered\"
equals = 17
[[expect]]
metric = \"codes.REVOKED\"
equals = 5
[[expect]]
metric = \"commands.succeeded\"
equals = 11
[[expect]]
metric = \"punches.stored\"
equals = 44
[[expect]]
metric = \"attacks.successes\"
equals = 0
[[expect]]
metric = \"ledger.lost\"
equals = 0
[[expect]]
metric = \"ledger.duplicated\"
equals = 0
[[expect]]
metric = \"heartbeat.acked\"
min = 22
during = \"busy\"
";

/// Starts one segment; none of them waits for another. Every second one takes its number from the environment, as in a job.
fn start(server: &Server, scenario: &Path, (number, of): (u32, u32), out: &Path, flags: &[&str]) -> Child {
    let mut command = fleet();
    let segment = if number % 2 == 0 { format!("job/{of}") } else { format!("{number}/{of}") };
    command.arg("run").arg(scenario).args(["--segment", &segment]).args(flags).arg("--out").arg(out);
    command.env("JOB_COMPLETION_INDEX", (number - 1).to_string());
    command.env("ADMIN_TOKEN", TOKEN).args(["--target", &format!("http://{}", server.address)]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A moment so many seconds from now, in seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "the start of real processes")]
fn seconds_from_now(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(seconds);
    now.as_secs().to_string()
}

fn merge(folders: &[PathBuf], out: &Path) -> Output {
    fleet().arg("merge").args(folders).arg("--out").arg(out).output().unwrap()
}

/// Runs all segments of a scenario together, and gives their folders.
fn run_all(server: &Server, scenario: &Path, of: u32, into: &Path, flags: &[&str]) -> Vec<PathBuf> {
    let out = |number: u32| into.join(format!("segment-{number}"));
    let running: Vec<Child> =
        (1..=of).map(|number| start(server, scenario, (number, of), &out(number), flags)).collect();
    for (number, running) in (1..=of).zip(running) {
        let output = running.wait_with_output().unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(0), "segment {number}: {stderr}");
        assert!(stderr.contains(&format!("COMPLETE  divided, segment {number} of {of}")), "{stderr}");
        assert!(
            stderr.contains("nothing is judged of the fleet") && stderr.contains("the clock of this generator"),
            "{stderr}"
        );
    }
    (1..=of).map(out).collect()
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path}: {value:#}"))
}

/// All heartbeat response times of these runs in one histogram, from their latency logs.
fn response_times(folders: &[PathBuf]) -> Histogram<u64> {
    let mut all = Histogram::<u64>::new(3).unwrap();
    for folder in folders {
        all.add(ks_reports::read_latency(folder).unwrap().unwrap()).unwrap();
    }
    all
}

#[test]
fn four_segments_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("OTRT_REQUIRED", "true")]);
    let scenario = write_scenario(folder.path(), "divided", SCENARIO);
    let start_at = seconds_from_now(10); // time for a slow machine to whitelist the devices
    // As in a deployment, where it starts with the segments.
    let mut waiting = fleet();
    waiting.arg("merge").args((1..=4).map(|number| folder.path().join(format!("segment-{number}"))));
    waiting.args(["--wait", "10m", "--out"]).arg(folder.path().join("waited"));
    let waiting = waiting.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let segments = run_all(&server, &scenario, 4, folder.path(), &["--start-at", &start_at]);
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(0), "{}", stderr_of(&waited));
    let parts: Vec<Value> = segments.iter().map(|segment| summary_in(segment)).collect();
    for (part, devices) in parts.iter().zip([6, 6, 5, 5]) {
        assert_eq!((number(part, "/devices"), number(part, "/segment/devices")), (devices, devices));
        assert_eq!(part["expectations"].as_array().unwrap().len(), 0, "a segment judges none");
        assert!(number(part, "/segment/clock/within_ms") < 10_000, "{part:#}");
    }
    assert!(parts[0]["adversaries"]["forger"]["attempts"].as_u64() > Some(0));
    assert!(parts[1..].iter().all(|part| part["adversaries"].as_object().unwrap().is_empty()), "the first has them");

    let out = folder.path().join("merged");
    let merged = merge(&[2, 0, 3, 1].map(|place| segments[place].clone()), &out);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr_of(&merged));
    assert!(stderr_of(&merged).contains("merged from 4 segments"), "{}", stderr_of(&merged));
    let whole = summary_in(&out);
    assert_eq!((&whole["verdict"], number(&whole, "/devices")), (&Value::from("pass"), 22));
    assert_eq!(whole["segments"].as_array().unwrap().len(), 4);
    for path in [
        "/heartbeats/sent",
        "/heartbeats/acked",
        "/requests_by_code/heartbeat/OK",
        "/requests_by_code/register/OK",
        "/ledger/checked",
        "/ledger/acks_checked",
        "/ledger/punches_stored",
        "/latency_ms/heartbeat/count",
    ] {
        let sum: u64 = parts.iter().map(|part| part.pointer(path).and_then(Value::as_u64).unwrap_or(0)).sum();
        assert_eq!(number(&whole, path), sum, "{path}");
    }
    assert_eq!(number(&whole, "/ledger/checked"), number(&whole, "/heartbeats/acked"));
    for kind in ["lost", "duplicated", "reordered", "misattributed", "acks_lost", "punches_lost"] {
        assert_eq!(number(&whole, &format!("/ledger/{kind}")), 0, "{kind}");
    }
    let all = response_times(&segments);
    for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        let expected = all.value_at_quantile(quantile) as f64 / 1_000.0;
        let found = whole["latency_ms"]["heartbeat"][name].as_f64().unwrap();
        assert!((found - expected).abs() < f64::EPSILON, "{name}: {found} and not {expected}");
    }
    assert_eq!(response_times(std::slice::from_ref(&out)), all, "and so does the merged latency log");
    let acked = |folder: &Path| lines_in(folder, "ticks.ndjson").iter().map(|tick| number(tick, "/acked")).sum::<u64>();
    assert_eq!(acked(&out), number(&whole, "/heartbeats/acked"));
    let steps = events_in(&out).iter().filter(|event| event["event"] == "step" && event["do"] == "revoke").count();
    assert_eq!(steps, 4, "every segment revoked its own");
    for file in ["report.html", "summary.md", "junit.xml"] {
        let text = std::fs::read_to_string(out.join(file)).unwrap();
        assert!(text.contains("PASS"), "{file}");
    }
    let again = fleet().arg("report").arg(&out).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", stderr_of(&again));
    refuses_other_sets(folder.path(), &server, &scenario, &segments);
}

/// What is not exactly the segments of one run is refused by name, and leaves a failing JUnit file.
fn refuses_other_sets(folder: &Path, server: &Server, scenario: &Path, segments: &[PathBuf]) {
    let out = folder.join("refused");
    let refused = |folders: &[PathBuf], expected: &str| {
        let output = merge(folders, &out);
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains("help: "), "{expected}: {stderr}");
        let junit = std::fs::read_to_string(out.join("junit.xml")).unwrap();
        assert!(junit.contains("errors=\"1\""), "{junit}");
    };
    let [one, two, three, four] = [0, 1, 2, 3].map(|place| segments[place].clone());
    refused(&[one.clone(), two.clone(), four.clone()], "segment 3 of 4 is missing");
    let repeated = [one.clone(), two.clone(), three.clone(), four.clone(), two.clone()];
    refused(&repeated, "segment 2 of 4 is there twice");
    let foreign = folder.join("foreign");
    let flags = ["--seed", "7", "--id-prefix", "OTHER", "--duration", "7s"];
    let run = start(server, scenario, (2, 4), &foreign, &flags).wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", stderr_of(&run));
    refused(&[one.clone(), foreign, three.clone(), four.clone()], "its seed is 7, and there it is");
    let cut = folder.join("cut");
    std::fs::create_dir(&cut).unwrap();
    let whole = std::fs::read(two.join("segment.ndjson.zst")).unwrap();
    std::fs::write(cut.join("segment.ndjson.zst"), &whole[..whole.len() / 2]).unwrap();
    refused(&[one.clone(), cut, three.clone(), four.clone()], "the segment did not finish");
    refused(&[one.clone(), folder.join("nowhere")], "it is not the folder of a segment");
    let into_one = fleet().arg("merge").args(segments).arg("--out").arg(&one).output().unwrap();
    assert_eq!(into_one.status.code(), Some(2), "{}", stderr_of(&into_one));
    assert!(one.join("summary.json").exists(), "its files are still there");
}

#[test]
fn an_expectation_that_all_segments_together_miss_is_exit_99() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let text = SCENARIO
        .replace("otrt = true\n", "")
        .replace("metric = \"codes.REVOKED\"\nequals = 5", "metric = \"codes.REVOKED\"\nequals = 4");
    let scenario = write_scenario(folder.path(), "divided", &text);
    let segments = run_all(&server, &scenario, 2, folder.path(), &[]);
    let mut waited = fleet();
    waited.arg("merge").args(&segments).args(["--wait", "5s", "--json", "--out"]);
    let output = waited.arg(folder.path().join("merged")).output().unwrap();
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("`codes.REVOKED = 4` was not met: 5"), "{}", stderr_of(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["exit_code"], 99);
}

#[test]
fn a_segment_that_can_not_run_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = write_scenario(folder.path(), "divided", SCENARIO);
    let one = write_scenario(folder.path(), "one", &SCENARIO.replace("[fleet]\n", "[fleet]\naddresses = \"one\"\n"));
    let server = Server::start(folder.path(), &[]);
    let target = format!("http://{}", server.address);
    let cases: [(&Path, &[&str], &str); 8] = [
        (&scenario, &["--segment", "1/2"], "--target"),
        (&scenario, &["--segment", "3/2", "--target", &target], "expected I/N"),
        (&scenario, &["--segment", "job/2", "--target", &target], "JOB_COMPLETION_INDEX is not set"),
        (&scenario, &["--start-at", "1796040000", "--target", &target], "--segment"),
        (&scenario, &["--segment", "1/2", "--start-at", "noon", "--target", &target], "expected RFC 3339"),
        (&scenario, &["--segment", "1/2", "--start-at", "1", "--target", &target], "was over"),
        (&scenario, &["--segment", "1/23", "--target", &target], "the fleet has 22 devices"),
        (&one, &["--segment", "1/2", "--target", &target], "devices that share an address"),
    ];
    for (scenario, flags, expected) in cases {
        let mut run = fleet();
        run.current_dir(folder.path()).arg("run").arg(scenario).args(flags).env("ADMIN_TOKEN", TOKEN);
        let output = run.output().unwrap();
        let stderr = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(expected), "{flags:?}: {stderr}");
    }
}
