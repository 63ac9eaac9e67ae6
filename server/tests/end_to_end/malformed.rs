//! Goal: an invalid document or body is refused with a helpful message: the field or the line, what was received, what was
//! expected, and nothing about how this program is implemented.
//! Method: the documents of the vectors and bodies of the admin API, broken in one place at a time in every way, and sent.

use crate::support::{Count, NO_LIMITS, Sent, start_server};
use ks_protocol::{
    document::{self, split},
    message::{LogLine, LogsStored},
    refusal::{RefusalCode as Code, RefusalDocument},
    signature::SIG_DEV,
};
use serde_json::{Value, json};

/// Every endpoint that takes a document, with a valid one.
const ENDPOINTS: [(&str, &str); 7] = [
    ("/register", include_str!("../../../protocol/vectors/register.toon")),
    ("/heartbeat", include_str!("../../../protocol/vectors/heartbeat.toon")),
    ("/commands/ack", include_str!("../../../protocol/vectors/command-ack.toon")),
    ("/logs", include_str!("../../../protocol/vectors/logs.toon")),
    ("/attendance", include_str!("../../../protocol/vectors/attendance.toon")),
    ("/rotate-key", include_str!("../../../protocol/vectors/rotate-key.toon")),
    ("/firmware/status", include_str!("../../../protocol/vectors/firmware-status.toon")),
];

/// Values of other types and forms, to replace a valid one.
const VALUES: [&str; 15] = [
    "",
    "x",
    "-1",
    "1.5",
    "1e400",
    "18446744073709551616",
    "null",
    "true",
    "[]",
    "\"\"",
    "\"open",
    "\"\\q\"",
    "\"a\"b",
    "\"2026-11-23T18:20:60.000Z\"",
    "Az/+Az/+Az/+Az/+Az/+Az/+Az/+Az/+Az/+Az/+Az-=",
];

/// Terms of the programming language or of a library, which no message may contain.
const INTERNAL_TERMS: [&str; 18] = [
    "struct ",
    "::",
    "DecodeOptions",
    "invalid type",
    "invalid value",
    "enum ",
    "variant",
    "a sequence",
    "u64",
    "u32",
    "i16",
    "f64",
    "usize",
    "Some(",
    "None",
    "unit value",
    "got map",
    "floating point",
];

fn check_words(words: &str, sent: &str) {
    assert!(INTERNAL_TERMS.iter().all(|inside| !words.contains(inside)), "{words}\n\n{sent}");
    let says_place = words.contains("line ") || words.contains(": ") || words.contains('`');
    assert!(says_place && !words.contains('\n') && words.len() < 600, "{words}\n\n{sent}");
}

/// The document with each of its lines broken in every way.
fn broken(valid: &str) -> Vec<String> {
    let lines: Vec<&str> = valid.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let with = |line: &str| {
            let mut lines = lines.clone();
            lines[at] = line;
            lines.join("\n") + "\n"
        };
        found.push(with(&format!("{line}\n{line}")));
        let others: Vec<&str> = [&lines[..at], &lines[at + 1..]].concat();
        found.push(others.join("\n") + "\n");
        let key = line.split([':', '[']).next().unwrap();
        if line.contains(": ") && !line.starts_with("  ") {
            found.extend(VALUES.iter().map(|value| with(&format!("{key}: {value}"))));
        }
        if line.starts_with("  ") {
            for cell in line.trim().split(',') {
                found.extend(VALUES.iter().map(|value| with(&line.replacen(cell, value, 1))));
            }
        } else {
            let forms = [
                "{key}:\n  a: 1",
                "{key}[1]: 1",
                "{key}[1]{a}:\n  1",
                "{key}[1]:\n  - a: 1",
                "{key}[#1]: 1",
                "{key}[2]: 1",
            ];
            found.extend(forms.iter().map(|form| with(&form.replace("{key}", key))));
        }
        found.push(with(&format!("   {line}")));
        found.push(with(&format!("\t{line}")));
    }
    found.extend(VALUES.iter().map(|value| format!("{valid}later: {value}\n")));
    found
}

/// Goal: every refusal of a document says what is wrong in plain words, on every endpoint.
/// Method: each line of each vector, broken in every way.
#[tokio::test]
async fn a_broken_document_is_refused_in_plain_words_on_every_endpoint() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-000042").await;
    for (path, wire) in ENDPOINTS {
        let valid = split(wire.as_bytes(), SIG_DEV).unwrap().body;
        let mut refused = 0;
        for text in broken(valid) {
            let signed = device.sign_text(path, &text);
            let answer = device.line.exchange(Sent::toon(path, signed.wire.as_str())).await.unwrap();
            let answer = answer.text();
            let body = split(answer.as_bytes(), ks_protocol::signature::SIG_SERV).unwrap().body;
            // A document that is still valid TOON and has all fields passes to the next check.
            let Ok(refusal) = document::decode::<RefusalDocument>(body) else { continue };
            if refusal.code == Code::Malformed {
                refused += 1;
                check_words(&refusal.message, &text);
            }
        }
        assert!(refused > 100, "{path}: {refused}");
    }
}

/// Goal: an unknown field must be valid TOON too.
/// Method: on every endpoint the valid document with one more line, valid and broken.
#[tokio::test]
async fn an_unknown_field_must_be_toon_on_every_endpoint() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-000042").await;
    for (path, wire) in ENDPOINTS {
        let valid = split(wire.as_bytes(), SIG_DEV).unwrap().body;
        for (line, is_toon) in [
            ("later: \"a\\nb\"", true),
            ("later:\n  inner[2]: 1,\"x\"", true),
            ("later: a: b", false),
            ("later: {a", false),
            ("later: a ", false),
            ("later: a\r", false),
            ("later: a\u{1}", false),
            ("later: -0", false),
            ("later: null", false),
            ("# later", false),
            ("", false),
            ("later: \"open", false),
            ("later: \"\\q\"", false),
            ("later:\n  inner: \"open", false),
            ("later[2]: 1,\"open", false),
            ("later[1]{a,b}:\n  1,\"\\u12\"", false),
        ] {
            let signed = device.sign_text(path, &format!("{valid}{line}\n"));
            let answer = device.line.exchange(Sent::toon(path, signed.wire.as_str())).await.unwrap().text();
            assert_eq!(answer.starts_with("ERR1: MALFORMED"), !is_toon, "{path} {line}: {answer}");
        }
    }
}

/// Goal: nothing is accepted in place of something else: every reject of the vectors is refused, and stores nothing.
/// Method: every reject of the vectors, signed as a heartbeat; then the valid one.
#[tokio::test]
async fn every_reject_of_the_vectors_is_refused() {
    let server = start_server(&NO_LIMITS);
    let mut device = server.registered("KS-000042").await;
    let rejects: Vec<Value> = serde_json::from_str(include_str!("../../../protocol/vectors/rejects.json")).unwrap();
    for reject in rejects {
        let text = format!("{}\n", reject["document"].as_str().unwrap());
        let signed = device.sign_text("/heartbeat", &text);
        let answer = device.line.exchange(Sent::toon("/heartbeat", signed.wire.as_str())).await.unwrap().text();
        let body = split(answer.as_bytes(), ks_protocol::signature::SIG_SERV).unwrap().body;
        let refusal = RefusalDocument::read(body).unwrap_or_else(|| panic!("{}: {answer}", reject["reason"])).unwrap();
        assert_eq!(refusal.code, Code::Malformed, "{}: {answer}", reject["reason"]);
        check_words(&refusal.message, &text);
    }
    assert_eq!(server.beats(), []);
    let valid = split(ENDPOINTS[1].1.as_bytes(), SIG_DEV).unwrap().body;
    let signed = device.sign_text("/heartbeat", valid);
    let answer = device.line.exchange(Sent::toon("/heartbeat", signed.wire.as_str())).await.unwrap().text();
    assert!(answer.starts_with("type: next_beat\n"), "{answer}");
}

/// Goal: no batch of log lines leaves a device without a number for the next one, which would make it resend the same lines
/// forever.
/// Method: batches that end at, and beyond, the largest number.
#[tokio::test]
async fn log_line_numbers_fit_into_the_answer() {
    const GREATEST: u64 = (1 << 53) - 1;
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let line = || LogLine {
        at: ks_protocol::time::UnixMs(5),
        level: ks_protocol::message::LogLevel::Info,
        message: ks_protocol::text::Text::truncated("hello"),
    };
    for (first, lines) in [(GREATEST, 1), (GREATEST - 1, 2)] {
        let expected =
            format!("expected at most {} with {lines} {}", GREATEST - lines, if lines == 1 { "line" } else { "lines" });
        let lines = (0..lines).map(|_| line()).collect();
        let refusal = device.send_logs(first, lines).await.refusal(Code::Malformed);
        assert!(refusal.message.starts_with("first_line_no: ") && refusal.message.contains(&expected), "{refusal:?}");
        assert!(refusal.message.ends_with(&format!("got {first}")), "{refusal:?}");
    }
    assert_eq!(server.count(Count::LogLines), 0);
    let LogsStored { next_line_no, .. } = device.send_logs(GREATEST - 2, vec![line(), line()]).await.answer();
    assert_eq!((next_line_no.get(), server.count(Count::LogLines)), (GREATEST, 2));
    assert_eq!(device.send_logs(GREATEST, vec![]).await.answer().next_line_no.get(), GREATEST);
}

/// Goal: the admin API too says in plain words what is wrong with a body.
/// Method: bodies with each field replaced by a value of another type.
#[tokio::test]
async fn a_broken_json_body_is_refused_in_plain_words() {
    let server = start_server(&[]);
    let bodies: [(&str, Value); 4] = [
        (
            "/api/devices",
            json!({ "device_id": "KS-1", "public_key": "x", "serial": "S", "manufacturer": "A", "model": "M", "site": "s" }),
        ),
        ("/api/otrts", json!({ "count": 1, "ttl_s": 60, "model": "M" })),
        (
            "/api/commands",
            json!({ "which": { "device_ids": ["KS-1"] }, "order": { "kind": "add_key", "argument": { "keyset_version": 1 } } }),
        ),
        ("/api/devices/revoke", json!({ "which": { "device_ids": ["KS-1"] }, "reason": "r" })),
    ];
    for (path, valid) in bodies {
        for field in valid.as_object().unwrap().keys() {
            for value in [json!(null), json!(-1), json!(1.5), json!(true), json!("x"), json!([1]), json!({ "a": 1 })] {
                let mut body = valid.clone();
                body[field] = value;
                let answer = server.post(path, &body).await;
                if answer.status == 400 {
                    check_words(answer.problem(400)["detail"].as_str().unwrap(), &body.to_string());
                }
            }
        }
    }
}
