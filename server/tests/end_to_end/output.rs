//! Goal: a command whose output can't be written says so and exits 3, and a token that was never printed is revoked.

use std::{fs::File, io::Read as _, process::Stdio};

use ks_protocol::text::printable_char;

use crate::support::{Count, World, world};

/// A device without space.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader has closed it.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A database, a key and an image.
fn factory() -> World {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    assert_eq!(world.run(&["keys", "generate", "--out", "key.pem"]).code, Some(0));
    assert_eq!(world.run(&["factory", "make-otrt"]).code, Some(0), "so that the audit has a line");
    world.write("image", "the image");
    world
}

const COMMANDS: [&[&str]; 18] = [
    &["--help"],
    &["--version"],
    &["admin", "token", "list"],
    &["admin", "user", "list", "--json"],
    &["audit", "export"],
    &["audit", "verify"],
    &["audit", "verify", "--json"],
    &["completions", "bash"],
    &["doctor"],
    &["doctor", "--json"],
    &["factory", "export"],
    &["firmware", "list"],
    &["keys", "export-pubkey"],
    &["keys", "generate"],
    &["man"],
    &["man", "admin", "token", "create"],
    &["migrate"],
    &["rollout", "list"],
];

const SIGN: [&str; 14] = [
    "firmware",
    "sign",
    "--key",
    "key.pem",
    "--artifact",
    "image",
    "--release-id",
    "r",
    "--version",
    "1",
    "--counter",
    "2",
    "--model",
    "m",
];

#[test]
fn a_full_disk_is_an_error_of_every_command() {
    let world = factory();
    for command in COMMANDS.into_iter().chain([SIGN.as_slice()]) {
        let ran = world.run_into(command, full());
        assert_eq!(ran.code, Some(3), "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("cannot write to standard output: No space left"), "{command:?}: {ran:?}");
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let world = factory();
    for command in COMMANDS.into_iter().chain([SIGN.as_slice()]) {
        let ran = world.run_into(command, closed());
        assert_eq!(ran.code, Some(0), "{command:?}: {ran:?}");
        assert!(!ran.stderr.contains("error"), "{command:?}: {ran:?}");
    }
}

#[test]
fn the_exit_code_reports_findings_even_if_the_output_is_closed() {
    let world = factory();
    assert_eq!(world.run(&["admin", "token", "create", "--role", "viewer", "--ttl", "1h"]).code, Some(0));
    world.sqlite().execute("UPDATE audit SET detail = 'something else'", []).unwrap();
    assert_eq!(world.run_into(&["audit", "verify"], closed()).code, Some(1));
}

#[test]
fn tokens_that_were_never_printed_are_revoked() {
    let world = factory();
    for command in [
        ["admin", "token", "create", "--role", "viewer", "--ttl", "1h"].as_slice(),
        &["factory", "make-otrt", "--count", "3"],
        &["factory", "make-otrt", "--count", "3", "--json"],
    ] {
        let into = |stdout: Stdio| world.run_into(command, stdout);
        for (ran, help) in [
            (into(full()), "help: free space where standard output goes, and run it again"),
            (into(closed()), "help: keep the reader of standard output running until it has read everything, and"),
            (into(Stdio::null()), "help: redirect standard output to a terminal, a file or a pipe that can be"),
            (world.run_without_stdout(command), "help: redirect standard output to a terminal, a file or a pipe"),
            (into(File::open("/dev/full").unwrap().into()), "help: redirect standard output to a terminal"),
        ] {
            assert_eq!(ran.code, Some(3), "{command:?}: {ran:?}");
            assert!(ran.stderr.contains("could not be shown, so they were revoked"), "{command:?}: {ran:?}");
            assert!(ran.stderr.contains(help), "{command:?}: {ran:?}");
        }
    }
    let left = (world.count(Count::UnrevokedTokens), world.count(Count::Otrts));
    assert_eq!(left, (0, 1), "only the earlier one is left");
}

#[test]
fn a_reader_that_closes_the_pipe_ends_the_export() {
    let world = factory();
    for _ in 0..3 {
        assert_eq!(world.run(&["admin", "token", "create", "--role", "viewer", "--ttl", "1h"]).code, Some(0));
    }
    // Far more lines than a pipe holds, copied from existing ones; verify would reject them, export does not check.
    world.sqlite().execute_batch(
        "WITH RECURSIVE n(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
         INSERT INTO audit SELECT n, at, actor, address, action, subject, detail, hash FROM n, audit WHERE audit.id = 1",
    ).unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let ran = std::thread::scope(|scope| {
        let reading = scope.spawn(move || reader.read(&mut [0; 16]).unwrap());
        let ran = world.run_into(&["audit", "export"], writer);
        assert_eq!(reading.join().unwrap(), 16);
        ran
    });
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_key_that_could_not_be_printed_is_an_error() {
    let ran = world(&[]).run_without_stdout(&["keys", "generate"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("it is closed or the null device"), "{ran:?}");
    assert!(ran.stderr.contains("help: redirect standard output to a terminal") && !ran.stderr.contains("make room"));
}

/// What must never reach a terminal: escapes, a C1 control, a line break, and a change of text direction.
const HOSTILE: &str = "x\u{1b}[2J\u{9b}31m\r\nERROR forged\u{202e}\u{2066}\u{7f}\u{2028}";

/// Goal: no text from devices, inventories or users controls the operator's terminal, or forges a line.
/// Method: every free-text column is hostile; commands that show it, as a table and as JSON, which must be exact.
#[test]
fn stored_text_can_not_control_the_terminal_or_forge_lines() {
    let world = factory();
    let sqlite = world.sqlite();
    let free = |sql: &str| sqlite.execute(sql, [HOSTILE]).unwrap();
    free(
        "INSERT INTO devices (id, device_id, public_key, serial, manufacturer, model, site, imported_at)
         VALUES (1, 'KS-1', zeroblob(32), ?1, ?1, ?1, ?1, 1)",
    );
    free("INSERT INTO device_states (device, status, last_seen_at, firmware_version) VALUES (1, 1, 1, ?1)");
    free("INSERT INTO device_labels VALUES (1, ?1)");
    free("INSERT INTO device_heartbeats SELECT 1, 'KS-1', 1, 1, 1, 1, 1.0, 1, 'wifi', NULL, ?1, 1, 1, 1, NULL");
    free("UPDATE device_states SET last_heartbeat = 1 WHERE ?1 IS NOT NULL");
    free("INSERT INTO firmware_history VALUES (1, 1, ?1, 1, 1)");
    free("INSERT INTO device_logs VALUES (1, 1, 1, 1, 2, ?1)");
    free("INSERT INTO command_orders SELECT 1, 'o1', ?1, zeroblob(32), 1, 1, 0, NULL");
    free(
        "INSERT INTO commands (id, command_id, order_row, device, kind, argument, is_urgent, state, created_at, deadline_at, detail)
         VALUES (1, 'c1', 1, 1, ?1, ?1, 0, 'QUEUED', 1, 9000000000000, ?1)",
    );
    free("INSERT INTO users (name, role, password_hash, created_at) VALUES (?1, 'viewer', ?1, 1)");
    free("INSERT INTO tokens SELECT NULL, zeroblob(32), 'BEARER', ?1, 'viewer', 1, 1, 9000000000000, NULL");
    free("UPDATE audit SET actor = ?1, address = ?1, subject = ?1, detail = ?1");
    for (command, times) in [
        (["device", "investigate", "KS-1"].as_slice(), 5),
        (&["device", "investigate", "KS-1", "--json"], 5),
        (&["admin", "user", "list"], 1),
        (&["admin", "user", "list", "--json"], 1),
        (&["admin", "token", "list"], 1),
        (&["admin", "token", "list", "--json"], 1),
        (&["audit", "export"], 1),
        (&["doctor"], 0),
        (&["doctor", "--json"], 0),
    ] {
        let ran = world.run(command);
        let steers = |c: &char| *c != '\n' && printable_char(*c) != *c;
        assert_eq!(ran.stdout.chars().chain(ran.stderr.chars()).find(steers), None, "{command:?}: {ran:?}");
        let forged = ran.stdout.lines().find(|line| line.starts_with("ERROR"));
        assert_eq!(forged, None, "{command:?}");
        let reported = if command.contains(&"--json") || command.contains(&"export") {
            let first = ran.stdout.lines().next().unwrap();
            let value: serde_json::Value =
                serde_json::from_str(if command.contains(&"export") { first } else { &ran.stdout }).unwrap();
            value.to_string().matches(&serde_json::to_string(HOSTILE).unwrap()[1..10]).count()
        } else {
            ran.stdout.matches("x\u{fffd}[2J").count()
        };
        assert!(reported >= times, "{command:?} shows it {reported} times: {ran:?}");
    }
}
