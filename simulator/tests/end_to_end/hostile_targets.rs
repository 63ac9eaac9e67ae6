//! Goal: whatever a target answers, a run ends with the right verdict and says what is wrong with the target.
//! Method: the real executable against a real server behind a proxy that lies.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use crate::support::{Server, TOKEN, answering, fleet, proxy, stderr_of, summary_in};
use serde_json::Value;

/// Five devices for two seconds, with more lines.
fn scenario(folder: &Path, more: &str) -> std::path::PathBuf {
    let text = format!(
        "name = \"hostile\"\ngoal = \"A target that lies.\"\ntiming = \"ignored\"\nduration = \"2s\"\n[fleet]\ndevices = 5\nheartbeat_interval = \"200ms\"\nanswer_timeout = \"2s\"\n{more}[[expect]]\nmetric = \"errors\"\nequals = 0\n"
    );
    let path = folder.join("hostile.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs it against a target.
fn run_against(target: SocketAddr, folder: &Path, more: &str, flags: &[&str]) -> Output {
    running_against(target, folder, more, flags).output().unwrap()
}

fn running_against(target: SocketAddr, folder: &Path, more: &str, flags: &[&str]) -> Command {
    let mut command = fleet();
    command.arg("run").arg(scenario(folder, more)).args(["--target", &format!("http://{target}")]);
    command.env("ADMIN_TOKEN", TOKEN).arg("--out").arg(folder.join("run")).args(flags);
    command
}

/// The run failed, and the terminal, the report in short and JUnit name `named`.
fn assert_failed_with(output: &Output, folder: &Path, named: &[&str]) -> Value {
    let out = folder.join("run");
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(output));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let junit = read("junit.xml");
    assert!(junit.contains("<failure"), "{junit}");
    for text in [stderr_of(output), read("summary.md"), junit] {
        // Markdown escapes what it takes for its own.
        let text = text.replace('\\', "");
        assert!(named.iter().all(|name| text.contains(name)), "{named:?}: {text}");
        assert!(!text.contains("run for longer"), "{text}");
    }
    summary_in(&out)
}

#[test]
fn a_target_that_refuses_forges_or_garbles_every_registration_is_a_failure() {
    let is_register = |path: &str| path == "/register";
    let forged = move |path: &str, (status, mut body): crate::support::Answer| {
        if is_register(path) {
            let digit = body.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
            body[digit - 4] = if body[digit - 4] == b'A' { b'B' } else { b'A' };
        }
        (status, body)
    };
    let failed = move |path: &str, answer| if is_register(path) { (500, b"oops".to_vec()) } else { answer };
    let garbage = move |path: &str, answer| if is_register(path) { (200, vec![0xff; 40]) } else { answer };
    let changes: [Change; 3] = [Box::new(forged), Box::new(failed), Box::new(garbage)];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[]);
        let output = run_against(proxy(server.address, change), folder.path(), "", &[]);
        let summary =
            assert_failed_with(&output, folder.path(), &["was accepted", "BAD_ANSWER", "a ks-server of this"]);
        assert_eq!(summary["verdict"], "fail");
    }
}

#[test]
fn a_target_that_demands_tokens_is_a_failure_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("OTRT_REQUIRED", "true")]);
    let output = run_against(server.address, folder.path(), "", &[]);
    assert_failed_with(&output, folder.path(), &["was accepted", "OTRT_REQUIRED", "otrt = true"]);
}

/// How a proxy changes what a server answers.
type Change = Box<dyn Fn(&str, crate::support::Answer) -> crate::support::Answer + Send + Sync>;

/// Goal: a list that never ends does not hang a run.
/// Method: each page of heartbeats, full or not, names a next one.
#[test]
fn a_ledger_that_never_ends_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let circle = |path: &str, (status, body): crate::support::Answer| {
        let text = String::from_utf8_lossy(&body).into_owned();
        let changed = text.replace("\"next_cursor\":null", "\"next_cursor\":\"0\"");
        let is_ledger = path.starts_with("/api/heartbeats") && path.contains("limit=10000");
        (status, if is_ledger { changed.into_bytes() } else { body })
    };
    let output = run_against(proxy(server.address, circle), folder.path(), "", &[]);
    assert_failed_with(&output, folder.path(), &["names a next one", "/api/heartbeats"]);
}

/// Goal: a device that meets a key which the server's keyset does not bring backs off.
/// Method: answers to heartbeats name a strange key; whatever keyset is asked for, the one that devices hold comes back.
#[test]
fn a_keyset_that_brings_nothing_is_not_fetched_without_pause() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (keyset, fetched) = (Mutex::new(Vec::new()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&fetched);
    let strange = move |path: &str, (status, body): crate::support::Answer| match path {
        "/keys" => {
            keyset.lock().unwrap().clone_from(&body);
            (status, body)
        }
        "/keys?version=2" => {
            count.fetch_add(1, Ordering::Relaxed);
            (200, keyset.lock().unwrap().clone())
        }
        "/heartbeat" => {
            let text = String::from_utf8_lossy(&body).replace("\nkey_id: ", "\nkey_id: x");
            (status, text.into_bytes())
        }
        _ => (status, body),
    };
    let output = run_against(proxy(server.address, strange), folder.path(), "", &["--duration", "4s"]);
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(&output));
    let summary = summary_in(&folder.path().join("run"));
    assert!(summary["requests_by_code"]["heartbeat"]["UNKNOWN_KEY"].as_u64().unwrap() > 0, "{summary}");
    // With beats each 200 ms the longest wait is 200 ms, and the shortest half of it: at most 10 a second of each device.
    let fetched = fetched.load(Ordering::Relaxed);
    assert!((1..=5 * 4 * 10).contains(&fetched), "{fetched}");
}

/// Goal: who waits for an import sees what for, and can say for how long.
/// Method: a target that takes the inventory and never answers.
#[test]
fn an_import_without_an_answer_is_shown_and_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (never, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let silent = move |path: &str, answer| {
        if path == "/api/devices/import" {
            let _ = held.lock().unwrap().recv(); // until the test is over
        }
        answer
    };
    let output = run_against(proxy(server.address, silent), folder.path(), "", &["--admin-timeout", "6s"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr_of(&output));
    for named in ["whitelisting devices: 0 of 5 done ... 5 s", "no answer within 6 s", "--admin-timeout"] {
        assert!(stderr_of(&output).contains(named), "{named}: {}", stderr_of(&output));
    }
    drop(never);
}

/// Goal: what a person says of how long answers are waited for holds for questions too.
/// Method: a target that takes the first question and never answers.
#[test]
fn a_question_without_an_answer_is_given_up_when_a_person_says() {
    let folder = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run_against(silent.local_addr().unwrap(), folder.path(), "", &["--admin-timeout", "1s"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("GET /keys: no answer within 1 s"), "{}", stderr_of(&output));
}

/// Goal: one Ctrl-C ends a run in its reconciliation too, whatever the target does.
/// Method: a target that takes the question for the ledger and never answers, one that could be waited for an hour; and one
/// whose list never ends.
#[test]
fn a_person_ends_a_run_in_its_reconciliation() {
    let (never, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let is_ledger = |path: &str| path.starts_with("/api/heartbeats") && path.contains("limit=10000");
    let silent = move |path: &str, answer| {
        if is_ledger(path) {
            let _ = held.lock().unwrap().recv(); // until the test is over
        }
        answer
    };
    let pages = AtomicUsize::new(0);
    let endless = move |path: &str, (status, body): crate::support::Answer| {
        if !is_ledger(path) {
            return (status, body);
        }
        let page = pages.fetch_add(1, Ordering::Relaxed);
        let row = "[1,\"A\",1,1,0,\"2026-01-01T00:00:00.000Z\"],".repeat(10_000);
        let body = format!("{{\"items\":[{}],\"last_row\":1,\"next_cursor\":\"{page}\"}}", row.trim_end_matches(','));
        (status, body.into_bytes())
    };
    let changes: [Change; 2] = [Box::new(silent), Box::new(endless)];
    for change in changes {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &[]);
        let target = proxy(server.address, change);
        let mut command = running_against(target, folder.path(), "", &["--admin-timeout", "1h"]);
        let mut running = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(running.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("reconciling")));
        let process = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        let rest: Vec<String> = lines.collect();
        assert_eq!(running.wait().unwrap().code(), Some(4), "{rest:#?}");
        let summary = summary_in(&folder.path().join("run"));
        let why = "stopped by the user while reconciling: its result was not judged";
        assert!(summary["reasons"].as_array().unwrap().contains(&why.into()), "{summary}");
        assert!(rest.iter().any(|line| line.contains(why)), "{rest:#?}");
        assert_eq!((&summary["interrupted"], &summary["ledger"]["reconciled"]), (&true.into(), &false.into()));
    }
    drop(never);
}

/// Goal: what a target fails with is shown, without what a terminal would obey, and its own log is named; and no target gets the
/// admin token before it has shown that it is a ks-server.
/// Method: targets that answer everything with an error, or with a redirect to somewhere else.
#[test]
fn a_strange_target_is_quoted_and_gets_no_token() {
    let failing: &[u8] = b"HTTP/1.1 500 X\r\ncontent-length: 23\r\n\r\nboom \x1b[2J\x1b[1;32mPASS\nno";
    let moved: &[u8] = b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/keys\r\ncontent-length: 0\r\n\r\n";
    let cases: [(&[u8], &[&str]); 2] = [
        (failing, &["GET /keys: 500, it said `boom \u{fffd}[2J\u{fffd}[1;32mPASS\u{fffd}no`", "the target's log"]),
        (moved, &["is not a ks-server: GET /keys: 307"]),
    ];
    for (answer, named) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (target, heads) = answering(answer);
        let output = run_against(target, folder.path(), "", &[]);
        assert_eq!(output.status.code(), Some(3), "{}", stderr_of(&output));
        let text = stderr_of(&output);
        assert!(named.iter().all(|named| text.contains(named)) && !text.contains('\u{1b}'), "{text:?}");
        let heads = heads.lock().unwrap();
        assert!(heads.contains("GET /keys") && !heads.to_lowercase().contains("authorization"), "{heads}");
    }
}

/// Goal: an order that the server refuses ends a run at once, unless the scenario says that it may.
/// Method: the same key step twice, in a run of an hour.
#[test]
fn a_refused_step_ends_a_run_unless_it_may_fail() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = |may_fail: &str, duration: &str| {
        let text = format!(
            "name = \"refused\"\ngoal = \"An activation without an announced key.\"\nmode = \"rehearse\"\nduration = \"{duration}\"\n[fleet]\ndevices = 2\nheartbeat_interval = \"1m\"\n[[timeline]]\nat = \"5m\"\ndo = \"rotate_server_key\"\nstep = \"activate\"\n{may_fail}[[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        let path = folder.path().join("refused.toml");
        std::fs::write(&path, text).unwrap();
        let out = folder.path().join("run");
        let output = fleet().arg("rehearse").arg(path).arg("--out").arg(&out).output().unwrap();
        (output, summary_in(&out))
    };
    let (output, summary) = scenario("", "80d");
    assert_eq!(output.status.code(), Some(99), "{}", stderr_of(&output));
    let reason = summary["reasons"][0].as_str().unwrap();
    assert!(reason.contains("`rotate_server_key` at 5m failed, and the run was ended there"), "{reason}");
    assert!(summary["simulated_s"].as_f64().unwrap() < 400.0, "{summary}");
    let (output, summary) = scenario("may_fail = true\n", "1h");
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(summary["simulated_s"].as_f64(), Some(3_600.0));
}
