//! Goal: an operator sees what each limit does, tries it in shadow first, and changes it without a restart; a limits file that is wrong
//! changes nothing.
//! Method: devices and addresses beyond small limits, over the wire; the API, the metrics and the command line say what happened.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::{ADMIN_TOKEN, Json, Line, Sent, Server, eventually, start_server, world};
use ks_protocol::{
    message::{LogLevel, LogLine},
    refusal::RefusalCode as Code,
    text::Text,
    time::UnixMs,
};
use serde_json::{Value, json};

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A limit as the API shows it.
async fn limit(server: &Server, name: &str) -> Value {
    let status = server.get("/api/limits").await.done();
    let limits = status["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == name).unwrap().clone()
}

/// PUT of a limits file for this version.
async fn put(server: &Server, if_match: &str, toml: &str) -> Json {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers =
        [("content-type", "application/toml"), ("authorization", authorization.as_str()), ("if-match", if_match)];
    server.call("PUT", "/api/limits", &headers, toml).await
}

/// POST to bring the last limits back.
async fn roll_back(server: &Server, if_match: &str) -> Json {
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", authorization.as_str()), ("if-match", if_match)];
    server.call("POST", "/api/limits/rollback", &headers, "").await
}

/// Goal: a limit that is enforced, in shadow, or off gives the same verdicts, which are acted on, only counted, or not even made.
/// Method: the same ten beats at a limit of five, in each mode.
#[tokio::test]
async fn a_limit_in_shadow_counts_what_it_would_refuse_and_lets_it_through() {
    for (mode, [checked, refused, would_refuse]) in
        [("enforce", [10, 5, 0]), ("shadow", [10, 0, 5]), ("off", [0, 0, 0])]
    {
        let server = start_server(&[
            ("RATE_LIMIT_DEVICE_PER_MIN", "2"),
            ("RATE_LIMIT_DEVICE_BURST", "5"),
            ("RATE_LIMIT_DEVICE_MODE", mode),
        ]);
        let before = server.get("/api/limits").await.done();
        assert!(before["never_fired"].as_array().unwrap().contains(&json!("device_requests")) != (mode == "off"));
        let mut device = server.registered("KS-1").await;
        let mut refusals = 0;
        for _ in 0..9 {
            match device.beat().await {
                beat if beat.raw.status == 200 => drop(beat.answer()),
                beat => {
                    beat.refusal(Code::RateLimited);
                    refusals += 1;
                }
            }
        }
        assert_eq!(refusals, refused, "{mode}");
        let limit = limit(&server, "device_requests").await;
        let counts = [&limit["checked"], &limit["refused"]["last_minute"], &limit["would_refuse"]["last_day"]];
        assert_eq!(counts, [&json!(checked), &json!(refused), &json!(would_refuse)], "{limit}");
        assert_eq!([&limit["mode"], &limit["source"], &limit["burst"]], [&json!(mode), &json!("settings"), &json!(5)]);
        for (metric, count) in [("refused", refused), ("would_refuse", would_refuse)] {
            let name = format!("ks_limit_{metric}_total{{limit=\"device_requests\"}}");
            assert_eq!(server.metric(&name).await, Some(f64::from(count)), "{name}");
        }
        let device = server.get("/api/devices/KS-1").await.done();
        let of_device = json!({ "refused": refused, "would_refuse": would_refuse, "refused_unverified": 0 });
        assert_eq!(device["limits"], of_device, "{mode}");
        let after = server.get("/api/limits").await.done();
        assert!(!after["never_fired"].as_array().unwrap().contains(&json!("device_requests")), "{mode}: {after}");
    }
}

/// Goal: in shadow, the budget of an address counts the requests that it would have refused, and not those of honest devices.
/// Method: seven requests of an unknown device at a budget of five, then of a registered device, which are never refused.
#[tokio::test]
async fn an_address_in_shadow_is_counted_as_it_would_be_refused() {
    for (mode, code, fired) in
        [("enforce", Code::RateLimited, "refused"), ("shadow", Code::UnknownDevice, "would_refuse")]
    {
        let server = start_server(&[
            ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"),
            ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "5"),
            ("RATE_LIMIT_ADDRESS_FAILURES_MODE", mode),
        ]);
        let (mut honest, mut unknown) = (server.registered("KS-1").await, server.device("KS-nobody"));
        for _ in 0..5 {
            unknown.beat().await.refusal(Code::UnknownDevice);
        }
        for _ in 0..2 {
            unknown.beat().await.refusal(code);
            honest.beat().await.answer();
        }
        let limit = limit(&server, "address_failures").await;
        assert_eq!((&limit[fired]["total"], &limit["checked"]), (&json!(2), &json!(10)), "{limit}");
        assert!(limit[fired]["last_at"].is_string(), "{limit}");
    }
}

/// Goal: limits change while the server runs, whole or not at all; each change is audited with its difference, and can be taken back.
/// Method: a device at its limit, while limits are applied, refused and rolled back over the API.
#[tokio::test]
async fn limits_are_applied_and_rolled_back_without_a_restart() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "2"), ("RATE_LIMIT_DEVICE_BURST", "2")]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    device.beat().await.refusal(Code::RateLimited);

    put(&server, "", "[device_requests]\nburst = 50\n").await.problem(428);
    put(&server, "\"7\"", "[device_requests]\nburst = 50\n").await.problem(412);
    let wrong =
        put(&server, "\"0\"", "[device_request]\nburst = 50\n[device_punches]\nper_day = 0\n").await.problem(400);
    let errors = wrong["errors"].as_array().unwrap();
    assert_eq!([&errors[0]["line"], &errors[1]["line"]], [&json!(1), &json!(4)]);
    assert!(errors[0]["what"].as_str().unwrap().contains("did you mean `device_requests`?"), "{wrong}");
    let contradiction = put(&server, "\"0\"", "[device_requests]\nper_min = 1\n").await.problem(400);
    assert!(
        contradiction["errors"][0]["what"].as_str().unwrap().contains("set per_min = 2 or more"),
        "{contradiction}"
    );
    device.beat().await.refusal(Code::RateLimited);

    let applied = put(&server, "\"0\"", "[device_requests]\nburst = 50\n").await;
    assert_eq!(applied.header("etag").as_deref(), Some("\"1\""));
    let applied = applied.done();
    assert_eq!((&applied["version"], &applied["applied_by"]), (&json!(1), &json!("admin-token")));
    assert_eq!(applied["document"], "[device_requests]\nburst = 50\n");
    device.beat().await.answer();
    let limit = limit(&server, "device_requests").await;
    assert_eq!([&limit["burst"], &limit["per_min"], &limit["source"]], [&json!(50), &json!(2), &json!("applied")]);
    put(&server, "\"1\"", "[device_requests]\nmode = \"off\"\n[user_logins]\nburst = 3\n").await.done();

    let mut versions = Vec::new();
    for version in ["\"2\"", "\"3\""] {
        versions.push(roll_back(&server, version).await.done()["version"].clone());
    }
    assert_eq!(versions, [3, 4]);
    let settings = server.get("/api/limits").await.done();
    assert!(settings["limits"].as_array().unwrap().iter().all(|limit| limit["source"] != "applied"), "{settings}");
    roll_back(&server, "\"4\"").await.problem(409);
    device.beat().await.refusal(Code::RateLimited);

    let audit = server.get("/api/audit?action=limits.apply").await.done();
    let details: Vec<&str> =
        audit["items"].as_array().unwrap().iter().map(|line| line["detail"].as_str().unwrap()).collect();
    let second =
        "device_requests.burst: 50 -> unset; device_requests.mode: unset -> off; user_logins.burst: unset -> 3";
    assert_eq!(details, ["device_requests.burst: unset -> 50", second]);
}

/// Goal: a wrong limit that is rolled back, or raised, does not leave those that met it waiting for what it asked.
/// Method: failures use up a limit of one a minute; after the change the next is checked at once.
#[tokio::test]
async fn nobody_waits_for_a_limit_that_is_no_longer_in_force() {
    for raised in [None, Some("[address_failures]\nper_min = 6\nburst = 6\n")] {
        let server = start_server(&[]);
        put(&server, "\"0\"", "[address_failures]\nper_min = 1\nburst = 5\n").await.done();
        let mut unknown = server.device("KS-nobody");
        for _ in 0..5 {
            unknown.beat().await.refusal(Code::UnknownDevice);
        }
        assert!(unknown.beat().await.refusal(Code::RateLimited).retry_after_s > Some(50));
        match raised {
            None => roll_back(&server, "\"1\"").await.done(),
            Some(raised) => put(&server, "\"1\"", raised).await.done(),
        };
        unknown.beat().await.refusal(Code::UnknownDevice);
    }
}

/// Goal: limits for whatever version is the newest are applied also while others apply theirs, each as a version of its own.
/// Method: six callers at once, five times; then all are taken back the same way.
#[tokio::test]
async fn limits_for_any_version_are_applied_while_others_apply_theirs() {
    let server = start_server(&[]);
    for round in 0..5 {
        let text = |caller: u32| format!("[device_requests]\nburst = {}\n", 100 + 10 * round + caller);
        let texts: Vec<String> = (0..6).map(text).collect();
        let put = async |caller: usize| put(&server, "*", &texts[caller]).await.done();
        tokio::join!(put(0), put(1), put(2), put(3), put(4), put(5));
    }
    assert_eq!(server.get("/api/limits").await.done()["version"], 30);
    let take_back = async || roll_back(&server, "*").await.done();
    tokio::join!(take_back(), take_back(), take_back());
    assert_eq!(server.get("/api/limits").await.done()["version"], 33);
}

/// Goal: the answer to a file with very many faults is bounded, and says how many more there are.
#[tokio::test]
async fn a_file_with_very_many_faults_gets_the_first_hundred() {
    let server = start_server(&[]);
    let faults = (0..1_000).map(|number| format!("[unknown_{number}]\n")).collect::<Vec<_>>().concat();
    let refused = put(&server, "*", &faults).await.problem(400);
    assert_eq!(refused["errors"].as_array().unwrap().len(), 100);
    assert!(refused["detail"].as_str().unwrap().ends_with("; 900 more are left out"), "{}", refused["detail"]);
}

/// Goal: a limits file is in force from the start, SIGHUP reads it again, and a wrong one changes nothing; an operator's limits outlast
/// a restart.
/// Method: the file is changed, broken and replaced while the server runs; then the command line applies others and takes them back.
#[tokio::test]
async fn a_limits_file_is_read_at_the_start_and_at_each_signal() {
    let mut folder = world(&[]);
    let path = folder.write("limits.toml", "[device_requests]\nper_min = 60\nburst = 40\n");
    folder.set("RATE_LIMITS_FILE", &path.display().to_string());
    let mut server = folder.start();
    assert_eq!(limit(&server, "device_requests").await["burst"], 40);

    server.write("limits.toml", "[device_requests]\nburst = 41\n");
    server.hang_up();
    eventually("the file is in force", async || limit(&server, "device_requests").await["burst"] == 41).await;
    server.write("limits.toml", "[device_requests]\nburst = 0\n");
    server.hang_up();
    eventually("the fault is logged", async || server.log().contains("device_requests.burst is `0`")).await;
    assert_eq!(limit(&server, "device_requests").await["burst"], 41, "the old limits stay in force");

    let others = server.write("others.toml", "[device_requests]\nburst = 42\nmode = \"shadow\"\n");
    let others = others.display().to_string();
    let said = format!("warning: RATE_LIMITS_FILE: {}:2: device_requests.burst is `0`", path.display());
    let despite = |server: &Server, arguments: &[&str]| {
        let done = server.run(arguments);
        assert!(done.code == Some(0) && done.stderr.contains(&said), "the file is named and in nobody's way: {done:?}");
        done
    };
    let applied = despite(&server, &["limits", "apply", &others]);
    assert!(
        applied.stdout.contains("version 3: device_requests.burst: 41 -> 42; device_requests.mode: unset -> shadow"),
        "{applied:?}"
    );
    eventually("the server follows", async || limit(&server, "device_requests").await["mode"] == "shadow").await;
    assert!(despite(&server, &["limits", "show"]).stdout.contains("device_requests"));
    despite(&server, &["limits", "rollback"]);
    eventually("the server follows", async || limit(&server, "device_requests").await["burst"] == 41).await;
    server.write("limits.toml", "[device_requests]\nburst = 41\n");
    let again = server.run(&["limits", "apply", &others]);
    assert!(again.code == Some(0) && again.stderr.is_empty(), "{again:?}");
    server.start_again();
    assert_eq!(limit(&server, "device_requests").await["burst"], 42, "not the file's");
    assert!(server.log().contains("the limits file is not in force"), "{}", server.log());
    let shown = server.run(&["limits", "show"]);
    let row = shown.stdout.lines().find(|line| line.starts_with("device_requests ")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["device_requests", "120", "-", "42", "shadow", "applied"]);

    let back = server.run(&["limits", "rollback", "--json"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    eventually("the server follows", async || limit(&server, "device_requests").await["burst"] == 41).await;
}

/// Goal: limits that were right when they were applied, and contradict settings that changed since, are reported.
/// Method: a limit for a heartbeat each minute, and a restart with one each second.
#[tokio::test]
async fn applied_limits_that_contradict_later_settings_are_logged_at_the_start() {
    let mut server = start_server(&[("HEARTBEAT_INTERVAL_MS", "60000")]);
    put(&server, "\"0\"", "[device_requests]\nper_min = 2\n").await.done();
    server.start_again();
    assert!(!server.log().contains("contradict"), "{}", server.log());
    server.set("HEARTBEAT_INTERVAL_MS", "1000");
    server.start_again();
    assert!(server.log().contains("the applied limits contradict this server's settings"), "{}", server.log());
}

/// Goal: the server does not start with a limits file that is wrong.
/// Method: a file with three faults; each is reported with its line and what to do.
#[test]
fn a_wrong_limits_file_keeps_the_server_from_starting() {
    let mut folder = world(&[]);
    let text = "[device_requests]\nper_minute = 60\n[punches]\nper_day = 2000\n[user_logins]\nper_min = 99999999999\n";
    let path = folder.write("limits.toml", text).display().to_string();
    folder.set("RATE_LIMITS_FILE", &path);
    let output = folder.serve_expecting_error();
    assert_eq!(output.code, Some(2), "{output:?}");
    for (line, help) in
        [(2, "did you mean `per_min`?"), (3, "did you mean `device_punches`?"), (6, "set at most per_min = 60000000")]
    {
        assert!(output.stderr.contains(&format!("RATE_LIMITS_FILE: {path}:{line}: ")), "{output:?}");
        assert!(output.stderr.contains(help), "{output:?}");
    }
    folder.set("RATE_LIMITS_FILE", "/nowhere/limits.toml");
    assert!(folder.serve_expecting_error().stderr.contains("RATE_LIMITS_FILE"), "it can't be read");
}

/// Goal: registrations are limited by address and in all.
/// Method: devices of three addresses, with room for two of each address and five in all.
#[tokio::test]
async fn registrations_are_limited_by_address_and_in_all() {
    let server = start_server(&[
        ("RATE_LIMIT_ADDRESS_REGISTRATIONS_PER_MIN", "1"),
        ("RATE_LIMIT_ADDRESS_REGISTRATIONS_BURST", "2"),
        ("RATE_LIMIT_ADDRESS_REGISTRATIONS_MODE", "enforce"),
        ("RATE_LIMIT_REGISTRATIONS_PER_MIN", "1"),
        ("RATE_LIMIT_REGISTRATIONS_BURST", "5"),
        ("RATE_LIMIT_REGISTRATIONS_MODE", "enforce"),
    ]);
    let mut devices: Vec<_> = (0..9).map(|number| server.device(&format!("KS-{number}"))).collect();
    server.whitelist(&devices.iter().collect::<Vec<_>>()).await;
    let mut outcomes = Vec::new();
    for (number, device) in devices.iter_mut().enumerate() {
        device.moves_to(&server, loopback(1 + u8::try_from(number / 3).unwrap()));
        let registered = device.register(None).await;
        outcomes.push(if registered.raw.status == 200 {
            "registered"
        } else if registered.refusal(Code::RateLimited).message.contains("this address") {
            "address"
        } else {
            "all"
        });
    }
    let (yes, of_address) = ("registered", "address");
    assert_eq!(outcomes, [yes, yes, of_address, yes, yes, of_address, yes, "all", "all"]);
    devices[0].beat().await.answer();
}

/// Goal: the addresses of one network share a budget of failures, and honest devices there are still served.
/// Method: one failure of each of seven addresses, with room for five.
#[tokio::test]
async fn the_addresses_of_a_site_share_a_budget_of_failures() {
    let server = start_server(&[
        ("RATE_LIMIT_SITE_FAILURES_PER_MIN", "1"),
        ("RATE_LIMIT_SITE_FAILURES_BURST", "5"),
        ("RATE_LIMIT_SITE_FAILURES_MODE", "enforce"),
        ("RATE_LIMIT_SITE_PREFIX_IPV4", "28"),
    ]);
    let mut honest = server.registered("KS-1").await;
    let mut unknown = server.device("KS-nobody");
    for last in 1..=7 {
        unknown.moves_to(&server, loopback(last));
        let beat = unknown.beat().await;
        if last <= 5 {
            beat.refusal(Code::UnknownDevice);
        } else {
            assert!(beat.refusal(Code::RateLimited).message.contains("this network"));
        }
    }
    honest.beat().await.answer();
    unknown.moves_to(&server, loopback(16));
    unknown.beat().await.refusal(Code::UnknownDevice);
    assert_eq!(
        server.metric("ks_limit_subjects").await,
        Some(11.0),
        "six addresses and two networks that failed, one that registered, one that asks for the metrics, one token"
    );
}

/// Goal: a token has a budget of calls, which is not that of another one.
/// Method: a script calls without pause; another token is used meanwhile.
#[tokio::test]
async fn calls_with_one_token_are_limited() {
    let server = start_server(&[
        ("RATE_LIMIT_TOKEN_CALLS_PER_MIN", "1"),
        ("RATE_LIMIT_TOKEN_CALLS_BURST", "10"),
        ("RATE_LIMIT_TOKEN_CALLS_MODE", "enforce"),
    ]);
    let (eager, other) = (server.token("viewer").await, server.token("operator").await);
    for call in 0..12 {
        let answer = server.admin_as(&eager, "GET", "/api/me", "").await;
        assert_eq!(answer.status == 429, call >= 10, "{call}: {}", answer.body);
        assert_eq!(answer.header("retry-after").is_some(), call >= 10);
    }
    server.admin_as(&other, "GET", "/api/me", "").await.done();
    assert_eq!(limit(&server, "token_calls").await["refused"]["total"], 2);
}

/// Goal: a device can't fill the disk, whatever it sends; in shadow its requests are only counted.
/// Method: log lines of more than a mebibyte, the least that the limit may be; then a heartbeat.
#[tokio::test]
async fn what_is_stored_for_a_device_is_limited_by_day() {
    for mode in ["enforce", "shadow"] {
        let server = start_server(&[
            ("RATE_LIMIT_DEVICE_STORED_BYTES_PER_DAY", "1048576"),
            ("RATE_LIMIT_DEVICE_STORED_BYTES_MODE", mode),
        ]);
        let (mut mad, mut other) = (server.registered("KS-1").await, server.registered("KS-2").await);
        let at = UnixMs(1_800_000_000_000);
        let line = LogLine { at, level: LogLevel::Info, message: Text::truncated(&"x".repeat(160)) };
        let mut sent = 0;
        for batch in 0..22_u64 {
            let stored = mad.send_logs(batch * 256, vec![line.clone(); 256]).await;
            if stored.raw.status != 200 {
                let refusal = stored.refusal(Code::RateLimited);
                assert!(refusal.message.contains("stored bytes"), "{refusal:?}");
                break;
            }
            sent += 1;
        }
        // Of 256 lines with 224 bytes each, 18 batches fit, and the 19th is over the limit only once it is stored.
        assert_eq!(sent, if mode == "enforce" { 19 } else { 22 }, "{mode}");
        other.beat().await.answer();
        let beat = mad.beat().await;
        assert_eq!(beat.raw.status, if mode == "enforce" { 429 } else { 200 }, "{mode}");
        let limits = server.get("/api/devices/KS-1").await.done()["limits"].clone();
        assert_eq!([&limits["refused"], &limits["would_refuse"]], if mode == "enforce" { [2, 0] } else { [0, 4] });
    }
}

/// The callers that a limit refused, as `who: at least..at most`.
fn refused_most(limit: &Value, list: &str) -> Vec<String> {
    let all = limit["most_refused"][list].as_array().unwrap();
    let one = |of: &Value| {
        assert!(of["last_at"].is_string(), "{of}");
        format!("{}: {}..{}", of["who"].as_str().unwrap(), of["at_least"], of["at_most"])
    };
    all.iter().map(one).collect()
}

/// Goal: an operator sees which callers a limit refused, by address or network and by device, and who may not know sees that there is something.
/// Method: two devices beyond their limit, and unknown names from two addresses of one site, one of them in a device's name.
#[tokio::test]
async fn the_callers_that_a_limit_refused_are_shown_to_operators() {
    let server = start_server(&[
        ("RATE_LIMIT_DEVICE_PER_MIN", "2"),
        ("RATE_LIMIT_DEVICE_BURST", "5"),
        ("RATE_LIMIT_SITE_FAILURES_PER_MIN", "1"),
        ("RATE_LIMIT_SITE_FAILURES_BURST", "1"),
        ("RATE_LIMIT_SITE_FAILURES_MODE", "shadow"),
    ]);
    for (name, beats) in [("KS-1", 6), ("KS-2", 8)] {
        let mut device = server.registered(name).await;
        for _ in 0..beats {
            device.beat().await;
        }
    }
    let of_devices = limit(&server, "device_requests").await;
    assert_eq!(refused_most(&of_devices, "devices"), ["KS-2: 4..4", "KS-1: 2..2"]);
    assert_eq!(refused_most(&of_devices, "addresses"), [format!("{}: 6..6", crate::support::HOME)]);
    let mut unknown = server.device("KS-nobody");
    for last in [1, 2, 2] {
        unknown.moves_to(&server, loopback(last));
        unknown.beat().await.refusal(Code::UnknownDevice);
    }
    let of_site = limit(&server, "site_failures").await;
    assert_eq!(refused_most(&of_site, "addresses"), ["127.0.0.0/24: 2..2"]);
    assert!(
        refused_most(&of_site, "devices").is_empty(),
        "a name that the server does not know is not kept: {of_site}"
    );

    for _ in 0..2 {
        server.admin_as("guessed", "GET", "/api/me", "").await.problem(401);
    }
    for (role, knows, knows_of_users) in [("viewer", false, false), ("operator", true, false), ("admin", true, true)] {
        let token = server.token(role).await;
        let status = server.admin_as(&token, "GET", "/api/limits", "").await.done();
        let shown = |name: &str| {
            let limits = status["limits"].as_array().unwrap();
            let limit = limits.iter().find(|limit| limit["name"] == name).unwrap();
            assert!(limit["refused"]["total"].is_u64(), "{limit}");
            limit["most_refused"].is_object()
        };
        assert_eq!([shown("device_requests"), shown("address_wrong_tokens")], [knows, knows_of_users], "{role}");
    }
}

/// Goal: what anybody can send without a signature is limited by address: the keyset, unknown paths and methods, and the metrics; not the
/// health check, on which it depends whether the server is in service.
#[tokio::test]
async fn requests_without_a_signature_are_limited_by_address() {
    let server =
        start_server(&[("RATE_LIMIT_ADDRESS_UNSIGNED_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_UNSIGNED_BURST", "4")]);
    let mut line = Line::new(server.address(), loopback(9));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let post = Sent { method: "POST", ..Sent::get("/keys") };
        for sent in [Sent::get("/keys"), Sent::get("/nowhere"), post, Sent::get("/metrics"), Sent::get("/health")] {
            statuses.push(line.exchange(sent).await.unwrap().status);
        }
    }
    assert_eq!(statuses, [200, 404, 405, 200, 200, 429, 429, 429, 429, 200]);
    let refused = line.exchange(Sent::get("/metrics")).await.unwrap();
    assert!(refused.header("retry-after").is_some() && refused.text().contains("without a signature"), "{refused:?}");
    let mut other = Line::new(server.address(), loopback(10));
    assert_eq!(other.exchange(Sent::get("/keys")).await.unwrap().status, 200, "another address is free");
    let of_unsigned = limit(&server, "address_unsigned").await;
    assert_eq!((&of_unsigned["refused"]["total"], &of_unsigned["checked"]), (&json!(5), &json!(10)), "{of_unsigned}");
    assert_eq!(refused_most(&of_unsigned, "addresses"), ["127.0.0.9: 5..5"]);
    let mut device = server.registered("KS-1").await;
    device.moves_to(&server, loopback(9));
    device.beat().await.answer();
}

/// Goal: a limit of all requests below that of one device is accepted, because a small machine may take no more, and warned of wherever
/// limits are set and shown.
#[tokio::test]
async fn a_limit_of_all_requests_below_that_of_one_device_is_warned_of() {
    let file = "[all_requests]\nmode = \"enforce\"\nburst = 20\n";
    let said = "device_requests.burst is 30, but all_requests.burst is only 20: one device could use up what all share";
    let server = start_server(&[]);
    assert_eq!(server.get("/api/limits").await.done()["warnings"], json!([]));
    assert_eq!(put(&server, "\"0\"", file).await.done()["warnings"], json!([said]));
    assert!(server.log().contains(said), "{}", server.log());
    put(&server, "\"1\"", &format!("{file}[device_requests]\nburst = 20\n")).await.done();
    assert_eq!(server.get("/api/limits").await.done()["warnings"], json!([]));

    let path = server.write("limits.toml", file);
    let applied = server.run(&["limits", "apply", &path.display().to_string()]);
    assert!(applied.code == Some(0) && applied.stderr.contains(&format!("warning: {said}")), "{applied:?}");
    let shown = server.run(&["limits", "show"]);
    assert!(shown.code == Some(0) && shown.stderr.contains(&format!("warning: {said}")), "{shown:?}");
    put(&server, "\"3\"", "settings_only = true\n").await.done();
    let back = server.run(&["limits", "rollback"]);
    assert!(back.code == Some(0) && back.stderr.contains(&format!("warning: {said}")), "{back:?}");
}

/// Goal: what is not TOML in UTF-8 is refused with the line that is wrong, or for what it says that it is.
#[tokio::test]
async fn a_limits_file_in_another_encoding_or_of_another_type_is_refused() {
    let server = start_server(&[]);
    let path = server.write("latin.toml", b"[device_requests]\nper_min = 60\n# f\xfcr alle\n");
    let applied = server.run(&["limits", "apply", &path.display().to_string()]);
    assert!(applied.code != Some(0) && applied.stderr.contains("line 3: it is not UTF-8"), "{applied:?}");
    let authorization = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("content-type", "application/json"), ("authorization", &*authorization), ("if-match", "\"0\"")];
    let refused = server.call("PUT", "/api/limits", &headers, "[device_requests]\nper_min = 60\n").await.problem(415);
    assert!(refused["detail"].as_str().unwrap().contains("application/toml"), "{refused}");
}
