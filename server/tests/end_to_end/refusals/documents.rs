//! Documents that are not what their signature or their endpoint requires.

use ks_protocol::{
    document::encode,
    key::PrivateKey,
    message::{NextBeat, Register, Registered},
    refusal::RefusalCode as Code,
    signature::SignedRequest,
};

use crate::support::{Device, Sent, start_server};

/// A valid heartbeat, as text that ends in a line feed.
pub(super) fn valid_text(device: &mut Device) -> String {
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
        ("cpu_temp_c", "200.0", "cpu_temp_c", 200),
        ("cpu_temp_c", "-0.000000000000000000001", "cpu_temp_c", 0),
        ("boot_epoch", "4294967295", "boot_epoch", 4_294_967_295),
    ];
    let count = ends.len();
    for (field, value, column, stored) in ends {
        let text = with(valid_text(&mut device), field, value);
        let signed = device.sign_text("/heartbeat", &text);
        device.send::<NextBeat>("/heartbeat", &signed).await.answer();
        assert_eq!(server.number_of_newest_beat(column), stored, "{field}: {value}");
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
