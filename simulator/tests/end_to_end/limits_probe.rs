//! Goal: a probe finds what a real server's limits do, and what something in front of it does.
//! Method: the real executable against a real server, and against the same server behind a proxy with a limit of its own.
#![allow(clippy::disallowed_methods, reason = "the proxy's limit is one of real time")]

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::support::{Server, TOKEN, fleet, proxy, stderr_of};
use serde_json::{Value, json};

/// Limits that are used up and come back within seconds.
const LIMITS: [(&str, &str); 4] = [
    ("RATE_LIMIT_DEVICE_PER_MIN", "60"),
    ("RATE_LIMIT_DEVICE_BURST", "5"),
    ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "90"),
    ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "8"),
];

fn probe(folder: &Path, address: std::net::SocketAddr, flags: &[&str]) -> (Option<i32>, Vec<Value>) {
    let target = format!("http://{address}");
    let output = fleet()
        .env("ADMIN_TOKEN", TOKEN)
        .args(["limits", "probe", "--json", "--target", &target])
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let found =
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}{}", stderr_of(&output)));
    (output.status.code(), found)
}

#[test]
fn limits_that_do_what_they_declare_are_found_to_do_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &LIMITS);
    let (code, found) = probe(folder.path(), server.address, &[]);
    assert_eq!(code, Some(0), "{found:#?}");
    let [device, address] = &found[..] else { panic!("{found:#?}") };
    for (of, name, subject, burst, per_min) in
        [(device, "device_requests", "device", 5, 60.0), (address, "address_failures", "address", 8, 90.0)]
    {
        assert_eq!((&of["limit"], &of["subject"]), (&json!(name), &json!(subject)), "{of:#}");
        let shape = &of["measured"]["shape"];
        let [least, most] = ["per_min_least", "per_min_most"].map(|bound| shape[bound].as_f64().unwrap());
        assert!(least * 0.98 <= per_min && per_min <= most * 1.02 && most < least * 2.0, "{shape}");
        let [least, most] = [0, 1].map(|bound| of["measured"]["burst"][bound].as_u64().unwrap());
        assert!(least <= burst && burst <= most && most <= least + 3, "{of:#}");
        assert_eq!(of["comparison"]["differences"], json!([]));
    }
    assert_eq!(address["honest_device_is_served"], json!(true));
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
    let (code, found) = probe(folder.path(), in_front, &["--limit", "device_requests"]);
    assert_eq!(code, Some(99), "{found:#?}");
    let [of] = &found[..] else { panic!("{found:#?}") };
    let shape = &of["measured"]["shape"];
    assert_eq!((&shape["kind"], &shape["count"]), (&json!("fixed_window"), &json!(3)), "{of:#}");
    assert!((shape["window_s"].as_f64().unwrap() - 2.0).abs() < 0.5, "{shape}");
    assert_eq!(of["subject"], json!("server"));
    let differences = of["comparison"]["differences"].to_string();
    for expected in
        ["3 come back at once each", "have no retry_after_s", "the budget is of the server", "a burst of 1000"]
    {
        assert!(differences.contains(expected), "{expected}: {differences}");
    }
}
