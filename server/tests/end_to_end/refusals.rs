//! Goal: every refusal of the server can be verified and acted on: its code and status, signed, and bound to the request if that
//! has a signature.
//! Method: one invalid request for each reason, over the wire; [`crate::support::VerifiedAnswer::refusal`] checks what all refusals
//! share.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use crate::support::{Device, Line, Sent, Server, bare_answer, read_answer, start_server};
use ks_protocol::{
    document::encode,
    id::Sequence,
    key::PrivateKey,
    message::{CommandAck, Heartbeat, NextBeat, Register, Registered, Request},
    refusal::RefusalCode as Code,
    signature::{NO_SIG_DEV, SignedRequest},
};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const fn loopback(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// A valid heartbeat, as text that ends in a line feed.
fn valid_text(device: &mut Device) -> String {
    encode(&device.next_heartbeat()).unwrap() + "\n"
}

/// Goal: a signed document that is not a valid heartbeat is MALFORMED, and the message says what is wrong.
/// Method: one valid heartbeat, broken in one way at a time; each answer is bound to its request.
#[tokio::test]
async fn invalid_signed_heartbeats_are_malformed_and_the_message_says_why() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let valid = valid_text(&mut device);
    let too_long = "x".repeat(65);
    let broken: Vec<(&str, String, &str)> = vec![
        ("not TOON", "%%% this is no document\n".to_owned(), ""),
        ("JSON", r#"{"type":"heartbeat","device_id":"KS-1"}"#.to_owned() + "\n", ""),
        ("nothing at all", "\n".to_owned(), ""),
        ("another type", valid.replace("type: heartbeat", "type: register"), "register"),
        ("no type", valid.replace("type: heartbeat\n", ""), "type"),
        ("no uptime_s", without_line(&valid, "uptime_s"), "uptime_s"),
        ("no seq", without_line(&valid, "seq"), "seq"),
        ("no firmware version", without_line(&valid, "  version"), "version"),
        ("a field twice", valid.clone() + "uptime_s: 1\n", "line 15"),
        ("a word instead of a number", valid.replace("uptime_s: 120", "uptime_s: long"), "line 10"),
        ("a negative number", valid.replace("uptime_s: 120", "uptime_s: -1"), "line 10"),
        ("a number beyond its type", valid.replace("boot_epoch: 1", "boot_epoch: 4294967296"), "line 3"),
        ("a seq beyond 2^53", valid.replace("seq: 2\n", "seq: 9007199254740992\n"), "9007199254740992"),
        ("a temperature that is not a number", valid.replace("cpu_temp_c: 41.5", "cpu_temp_c: NaN"), "line 11"),
        (
            "more degrees than there are",
            valid.replace("cpu_temp_c: 41.5", &format!("cpu_temp_c: 1{}", "0".repeat(320))),
            "cpu_temp_c",
        ),
        ("a number with an exponent", valid.replace("cpu_temp_c: 41.5", "cpu_temp_c: 4e1"), "4e1"),
        ("a temperature of null", valid.replace("cpu_temp_c: 41.5", "cpu_temp_c: null"), "line 11"),
        ("an unknown network", valid.replace("network: wifi", "network: pigeon"), "pigeon"),
        ("a name with a space", valid.replace("device_id: KS-1", "device_id: KS 1"), "KS 1"),
        ("a name that is too long", valid.replace("device_id: KS-1", &format!("device_id: K{too_long}")), "64"),
        ("a text that is too long", valid.replace("version: 1.4.2", &format!("version: {too_long}")), "64"),
        ("an invalid time", valid.replace("2026-11-23T18:20:11.482Z", "yesterday"), "yesterday"),
        (
            "nested too deep",
            valid.clone() + "a:\n  b:\n    c:\n      d:\n        e:\n          f: 1\n",
            "levels of indentation",
        ),
        ("65 ACKs", valid.clone() + "acks[65]{command_id,state,detail}:\n" + &"  c,FAILED,\"\"\n".repeat(65), "64"),
        ("fewer rows than declared", valid.clone() + "acks[2]{command_id,state,detail}:\n  c,FAILED,\"\"\n", ""),
    ];
    for (what, text, named) in broken {
        let signed = device.sign_text("/heartbeat", &text);
        let refusal = device.send::<NextBeat>("/heartbeat", &signed).await.refusal(Code::Malformed);
        assert!(refusal.message.contains(named), "{what}: {refusal:?}");
        assert!(!refusal.message.contains('\n') && refusal.message.len() < 600, "{what}: {refusal:?}");
    }
    let signed = device.sign_text("/heartbeat", &valid);
    device.send::<NextBeat>("/heartbeat", &signed).await.answer();
    assert_eq!(server.beats().len(), 1);
}

/// Goal: no accepted value can fail the commit that it shares with others, or is stored as a different one.
/// Method: every number at the ends of its range; each is read back. One step beyond, it is refused.
#[tokio::test]
async fn numbers_at_the_ends_of_their_ranges_are_stored_unchanged() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let with = |text: String, field: &str, value: &str| {
        let line =
            |line: &str| if line.starts_with(field) { format!("{field}: {value}\n") } else { format!("{line}\n") };
        text.lines().map(line).collect::<String>()
    };
    let greatest = 9_007_199_254_740_991;
    let ends: [(&str, &str, &str, i64); 9] = [
        ("uptime_s", "9007199254740991", "uptime_s", greatest),
        ("free_mem_kib", "9007199254740991", "free_mem_kib", greatest),
        ("keyset_version", "9007199254740991", "keyset_version", greatest),
        ("  release_counter", "9007199254740991", "release_counter", greatest),
        ("rssi_dbm", "-32768", "rssi_dbm", -32_768),
        ("sent_at", "\"9998-12-31T23:59:59.999Z\"", "sent_at", 253_370_764_799_999),
        ("cpu_temp_c", "200.0", "CAST(cpu_temp_c AS INTEGER)", 200),
        ("cpu_temp_c", "-0.000000000000000000001", "CAST(cpu_temp_c AS INTEGER)", 0),
        ("boot_epoch", "4294967295", "boot_epoch", 4_294_967_295),
    ];
    let count = ends.len();
    for (field, value, column, stored) in ends {
        let text = with(valid_text(&mut device), field, value);
        let signed = device.sign_text("/heartbeat", &text);
        device.send::<NextBeat>("/heartbeat", &signed).await.answer();
        let sql = format!("SELECT {column} FROM device_heartbeats ORDER BY id DESC LIMIT 1");
        assert_eq!(server.value::<i64>(&sql), stored, "{field}: {value}");
    }
    assert_eq!(server.beats().len(), count);
    assert_eq!(server.get("/api/heartbeats?limit=10000").await.done()["items"].as_array().unwrap().len(), count);
    for (field, value) in [
        ("uptime_s", "9007199254740992"),
        ("free_mem_kib", "18446744073709551615"),
        ("keyset_version", "9223372036854775808"),
        ("  release_counter", "1e3"),
        ("uptime_s", "1.00000000000000000001"),
        ("cpu_temp_c", "-5e-324"),
        ("cpu_temp_c", "-0.0"),
        ("cpu_temp_c", "200.01"),
        ("rssi_dbm", "-32769"),
        ("sent_at", "\"9999-01-01T00:00:00.000Z\""),
        ("sent_at", "\"2026-11-23T18:20:60.000Z\""),
        ("boot_epoch", "4294967296"),
    ] {
        let text = with(valid_text(&mut device), field, value);
        let signed = device.sign_text("/heartbeat", &text);
        let refusal = device.send::<NextBeat>("/heartbeat", &signed).await.refusal(Code::Malformed);
        assert!(refusal.message.contains(field.trim()) && refusal.message.contains("expected"), "{refusal:?}");
    }
}

fn without_line(text: &str, begins_with: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{begins_with}:"))).collect()
}

/// Goal: an answer can't be bound to a document without a signature line; it is refused with `-` in its place.
/// Method: documents whose last line is not the signature, in every way it may be wrong.
#[tokio::test]
async fn documents_without_a_signature_line_are_refused_unbound() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let signed = device.sign_text("/heartbeat", &valid_text(&mut server.device("KS-1")));
    let without = signed.wire.rsplit_once('\n').unwrap().0;
    let broken: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{\"type\":\"heartbeat\"}".to_vec(),
        without.as_bytes().to_vec(),
        format!("{}\n", signed.wire).into_bytes(),
        signed.wire.replace("SIG_DEV", "SIG_SERV").into_bytes(),
        signed.wire.replace("SIG_DEV: ", "SIG_DEV:").into_bytes(),
        signed.wire.as_bytes()[..signed.wire.len() - 1].to_vec(),
        signed.wire.replace("SIG_DEV: ", "SIG_DEV: =").into_bytes(),
        [signed.wire.as_bytes(), &[0xff, 0xfe]].concat(),
        vec![0; 1_000],
    ];
    for wire in broken {
        device.send_unbound(Sent::toon("/heartbeat", wire)).await.refusal(Code::Malformed);
    }
    assert!(server.beats().is_empty());
}

/// Goal: only the whitelisted key, over exactly these bytes and this path, authenticates a device.
/// Method: another key; another path; one changed byte; a signature by one device in another's name.
#[tokio::test]
async fn a_signature_by_another_key_or_for_another_path_is_invalid() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let text = valid_text(&mut device);

    let mut thief = server.device("KS-1");
    thief.key = PrivateKey::from_seed(&[99; 32]);
    let by_another_key = thief.sign_text("/heartbeat", &text);
    let for_another_path = device.sign_text("/commands/ack", &text);
    let valid = device.sign_text("/heartbeat", &text);
    let one_byte_changed =
        SignedRequest { wire: valid.wire.replace("uptime_s: 120", "uptime_s: 121"), ..valid.clone() };
    let by_another_device = server.registered("KS-2").await.sign_text("/heartbeat", &text);
    for signed in [by_another_key, for_another_path, one_byte_changed, by_another_device] {
        device.send::<NextBeat>("/heartbeat", &signed).await.refusal(Code::BadSignature);
    }
    assert!(server.beats().is_empty());
    device.send::<NextBeat>("/heartbeat", &valid).await.answer();
}

/// Goal: a device that is unknown, unregistered or revoked, or uses another key, gets the specific refusal, on every endpoint.
/// Method: one device of each kind on each endpoint.
#[tokio::test]
async fn each_endpoint_refuses_unauthorized_devices() {
    let server = start_server(&[]);
    let whitelisted = server.whitelisted("KS-whitelisted").await;
    let revoked = server.registered("KS-revoked").await;
    server.revoke(&revoked).await.done();
    for (mut device, code) in [
        (server.device("KS-nobody"), Code::UnknownDevice),
        (whitelisted, Code::NotRegistered),
        (revoked, Code::Revoked),
    ] {
        device.beat().await.refusal(code);
        device.ack(&[]).await.refusal(code);
        if code != Code::NotRegistered {
            device.register(None).await.refusal(code);
        }
    }

    let mut device = server.whitelisted("KS-1").await;
    let other_key = PrivateKey::from_seed(&[99; 32]).public_key();
    let register = Register { public_key: other_key, ..device.next_register(None) };
    device.send_message::<_, Registered>(&register).await.refusal(Code::KeyMismatch);
    device.register(None).await.answer();
}

/// Goal: unknown paths and methods are refused in the protocol's own format too.
/// Method: near misses of each endpoint.
#[tokio::test]
async fn unknown_paths_and_methods_get_signed_refusals() {
    let server = start_server(&[]);
    let mut device = server.device("KS-1");
    let request = |method, path| Sent { method, path, headers: &[], body: Vec::new() };
    for path in ["/", "/heartbeat/", "/Heartbeat", "/heartbeats", "/commands", "/keys/1", "//heartbeat", "/%2e%2e/etc"]
    {
        let refusal = device.send_unbound(request("POST", path)).await.refusal(Code::NotFound);
        assert!(refusal.message.contains(path), "{refusal:?}");
    }
    let wrong = [
        ("GET", "/heartbeat"),
        ("PUT", "/register"),
        ("DELETE", "/commands/ack"),
        ("POST", "/keys"),
        ("BREW", "/keys"),
    ];
    for (method, path) in wrong {
        let answer = device.send_unbound(request(method, path)).await;
        let allowed = answer.raw.header("allow").unwrap_or_default();
        assert!(allowed.contains(if path == "/keys" { "GET" } else { "POST" }), "{method} {path}: allow: {allowed}");
        answer.refusal(Code::MethodNotAllowed);
    }
}

/// Goal: JSON and anything else that is not TOON in UTF-8 never reaches a parser.
/// Method: a valid heartbeat, under other content types; then other spellings of the right one.
#[tokio::test]
async fn only_the_right_media_type_is_accepted_in_any_spelling() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let text = valid_text(&mut device);
    let wire = device.sign_text("/heartbeat", &text).wire;
    for content_type in ["application/json", "text/plain", "text/toon; charset=latin-1", "text/toonish", ""] {
        let headers: &[(&str, &str)] = if content_type.is_empty() { &[] } else { &[("content-type", content_type)] };
        let sent = Sent { method: "POST", path: "/heartbeat", headers, body: wire.clone().into_bytes() };
        device.send_unbound(sent).await.refusal(Code::UnsupportedMediaType);
    }
    assert!(server.beats().is_empty());
    for content_type in ["text/toon", "Text/TOON;charset=UTF-8", "text/toon; charset=\"utf-8\""] {
        let message = device.next_heartbeat();
        let signed = device.sign(&message);
        let headers = &[("content-type", content_type)];
        let sent = Sent { method: "POST", path: "/heartbeat", headers, body: signed.wire.into_bytes() };
        let raw = device.line.exchange(sent).await.unwrap();
        read_answer::<NextBeat>(raw, &signed.sig_dev.to_string()).answer();
    }
    assert_eq!(server.beats().len(), 3);
}

/// A body of exactly `bytes` that is valid except for its size: an unknown field pads it.
fn padded_body<R: Request>(device: &Device, message: &R, bytes: usize) -> SignedRequest {
    let signed = |filling: usize| {
        let text = format!("{}\nfilling: {}\n", encode(message).unwrap(), "x".repeat(filling));
        device.sign_text(R::PATH, &text)
    };
    signed(bytes - signed(0).wire.len())
}

async fn chunked(server: &Server, path: &str, body: &str) -> crate::support::Answer {
    let mut stream = Line::bare(server.address(), crate::support::HOME).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunks = body
        .as_bytes()
        .chunks(1_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    let wire = head + &chunks.collect::<String>() + "0\r\n\r\n";
    stream.write_all(wire.as_bytes()).await.unwrap();
    bare_answer(&mut stream).await
}

/// Goal: each endpoint accepts bodies up to its bound, and not a byte more, whether the length is declared or not.
/// Method: a body of exactly the bound and one of a byte more, with content-length and chunked.
#[tokio::test]
async fn a_body_beyond_the_bound_is_too_large_however_it_is_sent() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let max = Heartbeat::BODY_BYTES_MAX;
    for (with_length, bytes, fits) in
        [(true, max, true), (true, max + 1, false), (false, max, true), (false, max + 1, false)]
    {
        let message = device.next_heartbeat();
        let signed = padded_body(&device, &message, bytes);
        assert_eq!(signed.wire.len(), bytes);
        let raw = if with_length {
            device.line.exchange(Sent::toon("/heartbeat", signed.wire.as_str())).await.unwrap()
        } else {
            chunked(&server, "/heartbeat", &signed.wire).await
        };
        if fits {
            read_answer::<NextBeat>(raw, &signed.sig_dev.to_string()).answer();
        } else {
            let refusal = read_answer::<NextBeat>(raw, NO_SIG_DEV).refusal(Code::TooLarge);
            assert!(refusal.message.contains(&max.to_string()), "{refusal:?}");
        }
    }
    assert_eq!(server.beats().len(), 2);
    for (path, bytes) in [(Register::PATH, Register::BODY_BYTES_MAX), (CommandAck::PATH, CommandAck::BODY_BYTES_MAX)] {
        device.send_unbound(Sent::toon(path, vec![b'x'; bytes])).await.refusal(Code::Malformed);
        device.send_unbound(Sent::toon(path, vec![b'x'; bytes + 1])).await.refusal(Code::TooLarge);
    }
}

/// Goal: waiting for a body that does not arrive is bounded.
/// Method: a head that declares a body, half of which is sent.
#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_a_request_timeout() {
    let server = start_server(&[("REQUEST_TIMEOUT_MS", "1000")]);
    let mut stream = Line::bare(server.address(), crate::support::HOME).await.unwrap();
    let half =
        b"POST /heartbeat HTTP/1.1\r\nhost: a\r\ncontent-type: text/toon\r\ncontent-length: 100\r\n\r\ntype: heart";
    stream.write_all(half).await.unwrap();
    let raw = bare_answer(&mut stream).await;
    read_answer::<NextBeat>(raw, NO_SIG_DEV).refusal(Code::RequestTimeout);
    server.registered("KS-1").await.beat().await.answer();
}

/// Goal: a device has a budget of verified requests on all endpoints together; it refills with time.
/// Method: a budget of 5 that hardly refills.
#[tokio::test]
async fn a_rate_limited_device_gets_a_time_to_wait() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "5")]);
    let (mut device, mut other) = (server.registered("KS-1").await, server.registered("KS-2").await);
    device.ack(&[]).await.answer();
    for _ in 0..3 {
        device.beat().await.answer();
    }
    let refusal = device.beat().await.refusal(Code::RateLimited);
    assert!((30..=75).contains(&refusal.retry_after_s.unwrap()), "{refusal:?}");
    assert!(refusal.message.contains("device"), "{refusal:?}");
    device.ack(&[]).await.refusal(Code::RateLimited);
    other.beat().await.answer();
    assert_eq!(server.beats().len(), 4);
}

/// Goal: an address that only fails is refused before the expensive checks, and honest devices behind it are not.
/// Method: an address fails until its budget is spent; then devices that were seen there before, new ones, and ones that come from
/// elsewhere are accepted there; an unknown device and a replay of an old request are not.
#[tokio::test]
async fn a_flooded_address_does_not_lock_out_known_devices() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "5")];
    let server = start_server(&settings);
    let mut neighbour = server.registered("KS-neighbour").await;
    let mut newcomer = server.whitelisted("KS-newcomer").await;
    let message = neighbour.next_heartbeat();
    let captured = neighbour.sign(&message);
    neighbour.send::<NextBeat>("/heartbeat", &captured).await.answer();
    for _ in 0..10 {
        neighbour.beat().await.answer(); // successful requests are not charged
    }

    flood(&server, crate::support::HOME, 5).await;
    let mut unknown_device = server.device("KS-nobody");
    let refusal = unknown_device.beat().await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("address") && refusal.retry_after_s.unwrap() > 30, "{refusal:?}");
    unknown_device.send::<NextBeat>("/heartbeat", &captured).await.refusal(Code::RateLimited);
    neighbour.beat().await.answer();
    newcomer.register(None).await.answer(); // whitelisted, and this is a device's first pair

    newcomer.moves_to(&server, loopback(2));
    newcomer.beat().await.answer();
    flood(&server, loopback(2), 5).await;
    for device in [&mut neighbour, &mut newcomer] {
        device.moves_to(&server, loopback(2));
        device.beat().await.answer();
    }
}

/// Spends the rest of an address's budget.
async fn flood(server: &Server, address: IpAddr, budget: usize) {
    let mut unknown_device = server.device("KS-nobody");
    unknown_device.moves_to(server, address);
    for _ in 0..budget {
        unknown_device.beat().await;
    }
    unknown_device.beat().await.refusal(Code::RateLimited);
}

/// Goal: failures that are normal before a device is provisioned are not charged to its address.
/// Method: beats before registering and registrations with a wrong token, many more than the budget.
#[tokio::test]
async fn failures_during_provisioning_are_not_charged_to_the_address() {
    let server = start_server(&[
        ("OTRT_REQUIRED", "true"),
        ("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"),
        ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "2"),
    ]);
    let mut device = server.whitelisted("KS-1").await;
    for _ in 0..4 {
        device.beat().await.refusal(Code::NotRegistered);
        device.register(None).await.refusal(Code::OtrtRequired);
        device.register(Some("no-such-token")).await.refusal(Code::OtrtInvalid);
    }
    server.device("KS-nobody").beat().await.refusal(Code::UnknownDevice);
}

/// Goal: every failure that an attacker can repeat at will is charged to the address that causes it.
/// Method: a budget of 3; the same failure from a separate address until it is refused with a time to wait.
#[tokio::test]
async fn repeatable_failures_are_bounded_by_address() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&settings);
    let mut victim = server.registered("KS-victim").await;
    let message = victim.next_heartbeat();
    let captured = victim.sign(&message);
    victim.send::<NextBeat>("/heartbeat", &captured).await.answer();
    let mut forger = server.device("KS-victim");
    forger.key = PrivateKey::from_seed(&[99; 32]);
    let register = forger.next_register(None);
    forger.at = Sequence::new(999, 0); // a client that can't sign gets no pair
    let mut outcast = server.registered("KS-outcast").await;
    server.revoke(&outcast).await.done();
    let message = outcast.next_heartbeat();
    let failures = [
        ("/heartbeat", captured, Code::StaleSequence),
        ("/heartbeat", outcast.sign(&message), Code::Revoked),
        (
            "/heartbeat",
            forger.sign_text("/heartbeat", &valid_text(&mut server.device("KS-victim"))),
            Code::BadSignature,
        ),
        ("/heartbeat", forger.sign_text("/heartbeat", "type: nothing\n"), Code::Malformed),
        ("/register", forger.sign(&register), Code::KeyMismatch),
    ];
    for ((path, signed, code), last) in failures.into_iter().zip(10..) {
        forger.moves_to(&server, loopback(last));
        for _ in 0..3 {
            forger.send::<NextBeat>(path, &signed).await.refusal(code);
        }
        forger.send::<NextBeat>(path, &signed).await.refusal(Code::RateLimited);
        forger.beat().await.refusal(Code::RateLimited);
        // Also a request without a signature, which is answered unbound.
        forger.send_unbound(Sent::toon("/heartbeat", "not a document")).await.refusal(Code::RateLimited);
    }
    victim.beat().await.answer();
}

/// Goal: an attacker who forges requests from the address of a site, in the names of its devices, can neither silence the site nor
/// make the server check an unbounded number of signatures.
/// Method: the address is flooded; then each of its devices is forged there with wrong pairs and with its very next ones, many
/// more than may fail; all continue on their open connections, and one that was forged less often reconnects.
#[tokio::test]
async fn forging_devices_of_a_flooded_address_is_bounded_and_silences_no_device() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&[&settings[..], &[("RATE_LIMIT_DEVICE_BURST", "1000")]].concat());
    let mut site = server.fleet("KS", 5).await;
    for device in &mut site {
        device.beat().await.answer();
    }
    flood(&server, crate::support::HOME, 3).await;
    for device in &site {
        let mut forger = server.device(device.id.as_str());
        forger.key = PrivateKey::from_seed(&[99; 32]);
        let mut far_off = forger.next_heartbeat();
        far_off.boot_epoch = 1_000;
        let far_off = forger.sign(&far_off);
        for _ in 0..10 {
            forger.send::<NextBeat>("/heartbeat", &far_off).await.refusal(Code::RateLimited);
        }
    }
    let mut forger = server.device(site[0].id.as_str());
    forger.key = PrivateKey::from_seed(&[99; 32]);
    let mut next = site[0].next_heartbeat();
    next.boot_epoch += 1;
    let next = forger.sign(&next);
    let mut checked = 0;
    while forger.send::<NextBeat>("/heartbeat", &next).await.raw.status != Code::RateLimited.status() {
        checked += 1;
        assert!(checked < 1_000, "the number of checks is not bounded");
    }
    assert!(checked >= 60, "{checked}");
    for device in &mut site {
        device.beat().await.answer();
    }
    site[1].moves_to(&server, crate::support::HOME); // reconnects
    site[1].beat().await.answer();
}

/// Goal: an attacker who names very many devices that were never seen, whose first pair is easy to guess, gets only a bounded
/// number of signature checks, and silences no device that was seen before.
/// Method: the address is flooded; then devices are forged there one after the other, each once, until one is refused unchecked.
#[tokio::test]
async fn forging_devices_never_seen_is_bounded_over_all_of_them() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let server = start_server(&settings);
    let mut known = server.registered("KS-known").await;
    let newcomers: Vec<_> = (0..3_000).map(|number| server.device(&format!("KS-new-{number}"))).collect();
    server.whitelist(&newcomers.iter().collect::<Vec<_>>()).await;
    flood(&server, crate::support::HOME, 3).await;
    let mut checked = 0;
    for newcomer in &newcomers {
        let mut forger = server.device(newcomer.id.as_str());
        forger.key = PrivateKey::from_seed(&[99; 32]);
        if forger.beat().await.raw.status == Code::RateLimited.status() {
            break;
        }
        checked += 1;
    }
    assert!((200..3_000).contains(&checked), "{checked}");
    known.moves_to(&server, crate::support::HOME); // reconnects
    known.beat().await.answer();
}

/// Goal: after a restart, flooding a site's address still does not lock out its devices.
/// Method: the server starts again; the address is flooded before its devices send anything.
#[tokio::test]
async fn after_a_restart_a_flooded_address_does_not_lock_out_its_devices() {
    let settings = [("RATE_LIMIT_ADDRESS_FAILURES_PER_MIN", "1"), ("RATE_LIMIT_ADDRESS_FAILURES_BURST", "3")];
    let mut server = start_server(&settings);
    let mut devices = server.fleet("KS", 10).await;
    server.start_again();
    flood(&server, crate::support::HOME, 3).await;
    for device in &mut devices {
        device.moves_to(&server, crate::support::HOME);
        device.beat().await.answer();
    }
}

/// Goal: requests that name a victim do not spend the victim's budget.
/// Method: someone else's signatures in the victim's name, many more than its budget; then the victim uses all of it.
#[tokio::test]
async fn forged_requests_do_not_spend_the_budget_of_the_device_they_name() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "6")]);
    let mut victim = server.registered("KS-victim").await;
    let mut forger = server.device("KS-victim");
    forger.key = PrivateKey::from_seed(&[99; 32]);
    forger.moves_to(&server, loopback(9));
    for _ in 0..30 {
        forger.beat().await.refusal(Code::BadSignature);
    }
    for _ in 0..5 {
        victim.beat().await.answer();
    }
    victim.beat().await.refusal(Code::RateLimited);
}

/// Goal: more than the store can take is refused immediately with a time to wait, and none of it is stored.
/// Method: commits are held, the queue of 16 fills up, one more request is sent.
#[tokio::test]
async fn a_full_queue_is_overloaded_and_queued_writes_are_stored() {
    let server = start_server(&[("STORE_QUEUE_MAX", "16"), ("COMMIT_GROUP_MAX", "1")]);
    server.wait_until_idle().await;
    let mut first = server.fleet("KS", 17).await;
    let rest = first.split_off(2);
    let mut late = server.registered("KS-late").await;
    let beat = |mut device: Device| tokio::spawn(async move { device.beat().await.answer() });
    let held = server.hold_commits();
    let mut waiting: Vec<_> = first.into_iter().map(beat).collect();
    server.wait_for_queued_writes(1).await; // the other one is in the held commit
    waiting.extend(rest.into_iter().map(beat));
    server.wait_for_queued_writes(16).await;
    late.beat().await.refusal(Code::Overloaded);
    let problem = server.post("/api/otrts", &json!({ "count": 1, "ttl_s": 60 })).await.problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("retry later"), "{problem}");
    drop(held);
    for beat in waiting {
        beat.await.unwrap();
    }
    assert_eq!(server.beats().len(), 17);
    late.beat().await.answer();
}

/// Goal: a store that fails is INTERNAL, which guarantees nothing, and the server keeps serving.
/// Method: another program removes the table, and restores it.
#[tokio::test]
async fn a_failing_store_is_internal_and_recovers_after_repair() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    server.sqlite().execute_batch("ALTER TABLE device_heartbeats RENAME TO elsewhere").unwrap();
    let message = device.next_heartbeat();
    let signed = device.sign(&message);
    device.send::<NextBeat>("/heartbeat", &signed).await.refusal(Code::Internal);
    server.sqlite().execute_batch("ALTER TABLE elsewhere RENAME TO device_heartbeats").unwrap();
    device.send::<NextBeat>("/heartbeat", &signed).await.answer(); // the pair was not used up
    assert_eq!(server.beats().len(), 1);
    assert_eq!(server.metric("ks_store_commit_failures_total").await, Some(1.0));
}

/// Goal: the tests of this file and its neighbours cover every code; a new one fails here until it is tested.
/// Method: every code is in the text of the tests above, in otrt.rs or in keys.rs.
#[test]
fn every_code_is_tested() {
    let (above, _) = include_str!("refusals.rs").split_once("/// Goal: no code is forgotten").unwrap();
    let tests = above.to_owned() + include_str!("otrt.rs") + include_str!("keys.rs");
    let named: BTreeSet<&str> = tests
        .split("Code::")
        .skip(1)
        .filter_map(|after| after.split(|character: char| !character.is_alphanumeric()).next())
        .collect();
    for code in Code::ALL {
        assert!(named.contains(format!("{code:?}").as_str()), "{code}");
    }
}
