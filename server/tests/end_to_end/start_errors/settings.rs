//! Wrong settings and a wrong command line.

use ks_protocol::{message::NextBeat, refusal::RefusalCode};
use serde_json::json;

use super::{check_plain, check_refused, refused_with};
use crate::support::{ADMIN_TOKEN, server_key, start_server, world};

#[test]
fn a_taken_port_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ran = world(&[("PORT", &address.port().to_string())]).serve_expecting_error();
    check_refused(&ran, 3, &["cannot listen on", &address.to_string()]);
    assert!(ran.stderr.contains("set PORT to a free port"), "{ran:?}");
}

#[test]
fn an_invalid_port_is_named_with_what_was_expected() {
    for wrong in ["eighty", "70000", "-1", "80 81", "0x50"] {
        refused_with(&[("PORT", wrong)], 2, &["PORT", wrong, "from 0 to 65535"]);
    }
}

/// Goal: numbers have one form on the whole command line, and an invalid one is reported in plain words.
#[test]
fn numbers_on_the_command_line_have_one_form() {
    for wrong in ["05", "+5", "05 ", "٥"] {
        refused_with(&[("PORT", wrong)], 2, &["PORT", "from 0 to 65535"]);
        refused_with(&[("TRUSTED_PROXIES", &format!("10.0.0.0/{wrong}"))], 2, &["TRUSTED_PROXIES"]);
    }
    let head = format!("049:{}", "0".repeat(64));
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    for (arguments, reported) in [
        (
            &["factory", "make-otrt", "--count", "05"][..],
            "'05' for '--count <count>': expected a whole number from 1 to",
        ),
        (&["factory", "make-otrt", "--ttl", "+5h"], "expected a duration from 1s to 3650d"),
        (&["factory", "make-otrt", "--count", "many"], "expected a whole number from 1 to 100000"),
        (&["factory", "make-otrt", "--count", "99999999999999"], "expected a whole number from 1 to 100000"),
        (&["admin", "token", "create", "--role", "viewer", "--ttl", "+5h"], "expected a duration from 1s to 365d"),
        (&["admin", "token", "revoke", "+1"], "expected a whole number from 1 to"),
        (&["audit", "verify", "--head", &head], "expected a number, a colon and 64 hex digits"),
        (&["rollout", "pause", "r", "--stage", "1", "--revision", "+1"], "expected a whole number from 1 to"),
        (&["firmware", "sign", "--counter", "007"], "expected a whole number from 0 to"),
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(reported) && !ran.stderr.contains("digit found"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(world.run(&["factory", "make-otrt", "--count", "2", "--ttl", "5h"]).code, Some(0));
}

#[test]
fn an_address_of_another_machine_can_not_be_listened_on() {
    refused_with(&[("HOST", "192.0.2.1")], 3, &["cannot listen on 192.0.2.1"]); // TEST-NET-1, RFC 5737
    refused_with(&[("HOST", "localhost")], 2, &["HOST", "localhost", "an IP address"]);
}

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let ran = world(&[
        ("PORT", "x"),
        ("OTRT_REQUIRED", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "postgres://db/ks"),
    ]);
    let ran = ran.serve_expecting_error();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for name in ["PORT", "OTRT_REQUIRED", "LOG_LEVEL", "DATABASE_URL"] {
        assert!(ran.stderr.contains(&format!("error: {name} is `")), "{name}: {ran:?}");
        assert!(ran.stderr.contains(&format!("help: set {name}=")), "{name}: {ran:?}");
    }
    check_plain(&ran.stderr);
}

#[test]
fn a_wrong_command_line_is_refused_with_help() {
    let world = world(&[]);
    for arguments in
        [&[][..], &["fly"], &["serve", "--port"], &["serve", "--no-such-flag"], &["keys"], &["factory", "import"]]
    {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(
            ran.stderr.contains("Usage: ks-server") || ran.stderr.contains("try '--help'"),
            "{arguments:?}: {ran:?}"
        );
        check_plain(&ran.stderr);
    }
    check_refused(&world.run(&["serve", "--stop-with-stdin", "--port", "x"]), 2, &["PORT", "`x`"]);
    assert_eq!(world.run(&["--help"]).code, Some(0));
    assert_eq!(world.run(&["--version"]).stdout, format!("ks-server {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_invalid_sentry_dsn_is_named_and_its_key_is_not_shown() {
    for given in ["ftp://hunter2@sentry.example.com/42", "https://hunter2@sentry.example.com/", "hunter2"] {
        let ran = world(&[("SENTRY_DSN", given)]).serve_expecting_error();
        check_refused(&ran, 2, &["SENTRY_DSN"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

/// Goal: a folder in which no file can be made is named. Root may write anywhere, so a file blocks the path.
#[test]
fn a_folder_that_can_not_be_made_is_named() {
    let mut world = world(&[]);
    let file = world.write("a-file", "").display().to_string();
    world.set("DATABASE_URL", &format!("file:{file}/below/ks.sqlite"));
    for arguments in [&["serve", "--stop-with-stdin"][..], &["migrate"]] {
        check_refused(&world.run(arguments), 3, &["cannot create", &file]);
    }
    world.set("DATABASE_URL", &format!("file:{file}/ks.sqlite"));
    check_refused(&world.serve_expecting_error(), 3, &[&file]);
    world.set("DATABASE_URL", &format!("file:{}", world.path("").display()));
    check_refused(&world.serve_expecting_error(), 2, &["DATABASE_URL", &world.path("").display().to_string()]);
}

/// Goal: no secret is in the log, even at its most verbose.
/// Method: everything that carries a secret, at level trace: key, admin token (right and wrong), one-time token.
#[tokio::test]
async fn secrets_are_never_in_the_log() {
    let server = start_server(&[("LOG_LEVEL", "trace"), ("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let token = server.otrt(json!({})).await;
    device.register(Some("a-token-that-is-wrong")).await.refusal(RefusalCode::OtrtInvalid);
    device.register(Some(&token)).await.answer();
    device.beat().await.answer();
    server.admin_as("Bearer another-admin-token", "GET", "/api/devices", "").await.problem(401);
    let broken = device.sign_text("/register", &format!("type: register\notrt: {token}\n"));
    device.send::<NextBeat>("/register", &broken).await.refusal(RefusalCode::Malformed);
    let log = server.log();
    assert!(log.contains("refused"), "the log is verbose: {log}");
    let pem = server_key().to_pem().unwrap();
    for secret in
        [ADMIN_TOKEN, "another-admin-token", &token, "a-token-that-is-wrong", &pem.lines().nth(1).unwrap()[20..]]
    {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

/// Goal: a misspelled setting is never ignored silently.
/// Method: a name that only this program could use, one that may be another program's, and names that a machine sets.
#[test]
fn a_misspelled_setting_is_refused_with_the_nearest_name() {
    refused_with(&[("OTRT_REQUIERED", "true")], 2, &["OTRT_REQUIERED", "no such setting"]);
    let ran = world(&[("OTRT_REQUIERED", "true")]).run(&["doctor"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("BAD   settings") && ran.stdout.contains("did you mean OTRT_REQUIRED?"),
        "{}",
        ran.stdout
    );
    let empty = world(&[("OTRT_REQUIERED", ""), ("STORE_SYNC", " "), ("SERVER_PORT", "")]);
    let ran = empty.run(&["doctor"]);
    assert_eq!(ran.code, Some(0), "an empty value counts as unset: {ran:?}");
    assert!(!ran.stdout.contains("no such setting"), "{}", ran.stdout);
    assert_eq!(empty.serve_expecting_error().code, Some(0));
    let doubtful =
        world(&[("S3_BUCKET", "x"), ("STORE_SERVICE_HOST", "10.0.0.1"), ("RUST_LOG", "info"), ("SERVER_PORT", "1")]);
    let doctor = doubtful.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains("WARN  settings  S3_BUCKET is ignored"), "{}", doctor.stdout);
    assert!(
        doctor.stdout.contains("SERVER_PORT is ignored: this program has no such setting, but it has PORT"),
        "{}",
        doctor.stdout
    );
    let ran = doubtful.serve_expecting_error();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("S3_BUCKET is ignored") && !ran.stderr.contains("STORE_SERVICE_HOST"), "{ran:?}");
}

/// Goal: settings that are each in range but contradict each other are reported at the start and by doctor.
/// Method: one request a minute for devices that beat every 5 s, and trusted proxies that include every address.
#[test]
fn contradictory_settings_are_reported() {
    let world = world(&[
        ("HEARTBEAT_INTERVAL_MS", "5000"),
        ("RATE_LIMIT_DEVICE_PER_MIN", "1"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
    ]);
    let doctor = world.run(&["doctor"]);
    for reported in [
        "every 5 s, which requires 24 requests a minute in total, but may make only 1",
        "the prefix /0",
        "a power failure loses",
    ] {
        assert!(doctor.stdout.contains(reported), "{reported}: {}", doctor.stdout);
        assert!(world.serve_expecting_error().stderr.contains(reported), "{reported}");
    }
}
