//! Goal: a probe finds what a real server's limits do, and what something in front of it does.
//! Method: the real executable against a real server, and against the same server behind a proxy with a limit of its own.
#![allow(clippy::disallowed_methods, reason = "the proxy's limit is one of real time")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::support::{Server, TOKEN, fleet, proxy, stderr_of};
use serde_json::{Value, json};

/// Limits that are used up and come back within seconds.
const LIMITS: [(&str, &str); 6] = [
    ("RATE_LIMIT_DEVICE_PER_MIN", "60"),
    ("RATE_LIMIT_DEVICE_BURST", "5"),
    ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "90"),
    ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "8"),
    ("RATE_LIMIT_ADDRESS_UNSIGNED_PER_MIN", "120"),
    ("RATE_LIMIT_ADDRESS_UNSIGNED_BURST", "6"),
];

fn probing(target: SocketAddr, flags: &[&str]) -> Command {
    let mut command = fleet();
    command.env("ADMIN_TOKEN", TOKEN).args(["limits", "probe", "--target", &format!("http://{target}")]).args(flags);
    command
}

fn output_of(target: SocketAddr, flags: &[&str]) -> (Option<i32>, Output, String) {
    let output = probing(target, flags).output().unwrap();
    (output.status.code(), output.clone(), String::from_utf8(output.stdout).unwrap())
}

fn probe(target: SocketAddr, flags: &[&str]) -> (Option<i32>, Vec<Value>) {
    let (code, output, printed) = output_of(target, &[&["--json"], flags].concat());
    let found =
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}{}", stderr_of(&output)));
    (code, found)
}

/// The status of every device.
fn statuses(server: &Server) -> Vec<String> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head =
        format!("GET /api/devices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let page: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    page["items"].as_array().unwrap().iter().map(|of| of["status"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn limits_that_do_what_they_declare_are_found_to_do_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &LIMITS);
    let (code, mut found) = probe(server.address, &[]);
    assert_eq!(code, Some(0), "{found:#?}");
    let (code, asked_for) = probe(server.address, &["--limit", "address_unsigned"]);
    assert_eq!(code, Some(0), "{asked_for:#?}");
    found.extend(asked_for);
    let [device, address, unsigned] = &found[..] else { panic!("{found:#?}") };
    for (of, name, subject, burst, per_min) in [
        (device, "device_requests", "device", 5, 60.0),
        (address, "address_failures", "address", 8, 90.0),
        (unsigned, "address_unsigned", "address", 6, 120.0),
    ] {
        assert_eq!((&of["limit"], &of["subject"]), (&json!(name), &json!(subject)), "{of:#}");
        let shape = &of["measured"]["shape"];
        let [least, most] = ["per_min_least", "per_min_most"].map(|bound| shape[bound].as_f64().unwrap());
        assert!(least * 0.98 <= per_min && per_min <= most * 1.02 && most < least * 2.0, "{shape}");
        let [least, most] = [0, 1].map(|bound| of["measured"]["burst"][bound].as_u64().unwrap());
        assert!(least <= burst && burst <= most && most <= least + 3, "{of:#}");
        assert_eq!(of["comparison"]["differences"], json!([]));
    }
    for of_address in [address, unsigned] {
        assert_eq!(of_address["honest_device_is_served"], json!(true));
    }
}

/// Goal: a limit in front of the server, with a window of its own and of all devices, is found in one run.
/// Method: a proxy lets three heartbeats of all devices through each two seconds.
#[test]
fn a_window_in_front_of_the_server_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("RATE_LIMIT_DEVICE_PER_MIN", "6000"), ("RATE_LIMIT_DEVICE_BURST", "1000")];
    let server = Server::start(folder.path(), &limits);
    let (started, used) = (Instant::now(), Mutex::new((0, 0)));
    let in_front = proxy(server.address, move |path, answer| {
        let window = started.elapsed().as_millis() / Duration::from_secs(2).as_millis();
        let mut used = used.lock().unwrap();
        if path != "/heartbeat" {
            return answer;
        }
        if used.0 != window {
            *used = (window, 0);
        }
        used.1 += 1;
        if used.1 > 3 { (429, Vec::new()) } else { answer }
    });
    let (code, found) = probe(in_front, &["--limit", "device_requests"]);
    assert_eq!(code, Some(99), "{found:#?}");
    let [of] = &found[..] else { panic!("{found:#?}") };
    let shape = &of["measured"]["shape"];
    assert_eq!((&shape["kind"], &shape["count"]), (&json!("fixed_window"), &json!(3)), "{of:#}");
    assert!((shape["window_s"].as_f64().unwrap() - 2.0).abs() < 0.5, "{shape}");
    assert_eq!(of["subject"], json!("server"));
    let differences = of["comparison"]["differences"].to_string();
    for expected in
        ["3 come back at once every", "are not signed by the server", "the budget is of the server", "a burst of 1000"]
    {
        assert!(differences.contains(expected), "{expected}: {differences}");
    }
}

/// Goal: the first thing that a user does after a probe is to probe again: it finds the same, although the budget of the first one's
/// address takes 12 s to be whole.
#[test]
fn a_second_probe_finds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let limits = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "300"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "60")];
    let server = Server::start(folder.path(), &limits);
    for _ in 0..2 {
        let (code, found) = probe(server.address, &["--limit", "address_failures"]);
        assert_eq!(code, Some(0), "{found:#?}");
    }
    assert_eq!(statuses(&server), ["REVOKED"; 4]);
}

/// Goal: answers that the server did not sign are never taken for its own. Method: a proxy that changes the wait of refusals; one that
/// answers with a page.
#[test]
fn answers_that_the_server_did_not_sign_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &LIMITS);
    let changing = proxy(server.address, |_, (status, body)| {
        let text = String::from_utf8(body).unwrap();
        (
            status,
            if status == 429 {
                text.replace("retry_after_s: ", "retry_after_s: 1").into_bytes()
            } else {
                text.into_bytes()
            },
        )
    });
    let (code, found) = probe(changing, &["--limit", "device_requests"]);
    assert_eq!(code, Some(99), "{found:#?}");
    assert!(found[0]["comparison"]["differences"].to_string().contains("are not signed by the server"), "{found:#?}");

    let calls = Mutex::new(0);
    let login = proxy(server.address, move |path, answer| {
        let mut calls = calls.lock().unwrap();
        *calls += u32::from(path == "/heartbeat");
        if path == "/heartbeat" && *calls > 2 { (200, b"<html>login</html>".to_vec()) } else { answer }
    });
    let (code, output, printed) = output_of(login, &["--limit", "device_requests"]);
    let said = stderr_of(&output);
    assert_eq!(code, Some(3), "{printed}{said}");
    assert!(said.contains("does not follow the protocol, or is not signed by the server"), "{said}");
    assert!(!printed.contains("as the server declares"), "{printed}");
    assert_eq!(statuses(&server), ["REVOKED"; 4]);
}

/// Goal: the devices of a probe are revoked, however it ends. Method: SIGTERM in the middle, and refusals while devices are made.
#[test]
fn devices_are_revoked_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "3")]);
    let mut running = probing(server.address, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("probing") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
    }
    std::thread::sleep(Duration::from_secs(2)); // the first call is followed by a pause of a second
    assert!(Command::new("kill").arg(running.id().to_string()).status().unwrap().success());
    let output = running.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{printed}");
    assert!(printed.starts_with("device_requests (mode enforce): "), "{printed}");
    assert!(printed.contains("unknown: what would have come later: it was interrupted"), "{printed}");
    assert_eq!(statuses(&server), ["REVOKED"; 2]);

    let refusing =
        proxy(server.address, |path, answer| if path == "/api/otrts" { (500, b"no".to_vec()) } else { answer });
    let (code, output, _) = output_of(refusing, &[]);
    assert_eq!(code, Some(3));
    assert!(!stderr_of(&output).contains("--id-prefix"), "{}", stderr_of(&output));
    assert_eq!(statuses(&server), ["REVOKED"; 4]);
}

/// Goal: devices that can't be revoked are named, with the command that revokes them, and what was measured is shown.
/// Method: a proxy that answers the revocation itself.
#[test]
fn devices_that_are_left_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &LIMITS);
    let refusing = proxy(
        server.address,
        |path, answer| {
            if path == "/api/devices/revoke" { (403, b"no".to_vec()) } else { answer }
        },
    );
    let (code, output, printed) = output_of(refusing, &["--limit", "device_requests"]);
    let said = stderr_of(&output);
    assert_eq!(code, Some(3), "{said}");
    assert!(printed.contains("as the server declares"), "{printed}");
    assert!(said.contains("NOT REVOKED: PROBE-") && said.contains("curl -fsS -X POST"), "{said}");
}

/// Goal: correct servers with a burst of one, a high rate, or another limit in front never differ.
#[test]
fn correct_servers_at_the_edges_do_not_differ() {
    for (settings, codes) in [
        (vec![("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "1")], [4, 4]),
        (vec![("RATE_LIMIT_DEVICE_PER_MIN", "12000"), ("RATE_LIMIT_DEVICE_BURST", "5")], [0, 4]),
        (vec![("RATE_LIMIT_DEVICE_PER_MIN", "6000"), ("RATE_LIMIT_DEVICE_BURST", "30")], [0, 4]),
        (
            vec![
                ("RATE_LIMIT_ALL_REQUESTS_MODE", "enforce"),
                ("RATE_LIMIT_ALL_REQUESTS_PER_MIN", "60"),
                ("RATE_LIMIT_ALL_REQUESTS_BURST", "10"),
                ("RATE_LIMIT_DEVICE_BURST", "30"),
                ("RATE_LIMIT_DEVICE_PER_MIN", "120"),
            ],
            [4, 4],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &settings);
        let (code, found) = probe(server.address, &["--limit", "device_requests", "--budget", "5s"]);
        assert!(codes.map(Some).contains(&code), "{settings:?}: {code:?} {found:#?}");
        assert_eq!(found[0]["comparison"]["differences"], json!([]), "{settings:?}: {found:#?}");
    }
}
