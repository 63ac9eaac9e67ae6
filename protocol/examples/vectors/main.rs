//! Makes the committed test vectors of the device protocol: `cargo xtask vectors` runs it.
//!
//! Everything comes from fixed seeds and times, so the files are the same on every machine; a test compares them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test or tool run"
)]

mod keysets;
pub(crate) mod signatures;

use std::collections::BTreeMap;

use ks_protocol::{
    document,
    id::Sequence,
    key::PrivateKey,
    manifest::Manifest,
    message::{
        Ack, AckRecorded, AckState, AcksRecorded, Attendance, Command, CommandAck, Direction, Firmware,
        FirmwareArtifact, FirmwareStatus, FirmwareStatusRecorded, Heartbeat, KeyRotated, LogLevel, LogLine, Logs,
        LogsStored, Network, NextBeat, Offer, Punch, PunchMethod, PunchesStored, Register, Registered, Request,
        RotateKey, UpdateClass, UpdateStep,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{Context, NO_SIG_DEV, SignedRequest, seal_document, seal_response, sign_request_to, signing_input},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use serde_json::{Value, json};

const SENT_AT: UnixMs = UnixMs(1_795_458_011_482);
const SERVER_TIME: UnixMs = UnixMs(1_795_458_011_520);
/// The image of the manifest.
const ARTIFACT: Sha256 = Sha256([0xab; 32]);

/// Every vector file by name, with its whole content.
pub(crate) fn all() -> BTreeMap<String, String> {
    let device = PrivateKey::from_seed(&[0x11; 32]);
    let server = PrivateKey::from_seed(&[0x22; 32]);
    let mut made = Made { files: BTreeMap::new(), index: Vec::new(), device, server };
    made.keys();
    let register = made.request("register", &register(&made.device));
    let beat = made.request("heartbeat", &heartbeat());
    let ack = made.request("command-ack", &command_ack());
    made.response("register-answer", 200, &register.sig_dev.to_string(), &registered());
    made.response("heartbeat-answer", 200, &beat.sig_dev.to_string(), &next_beat());
    made.response("command-ack-answer", 200, &ack.sig_dev.to_string(), &acks_recorded());
    let logs = made.request("logs", &logs());
    made.response("logs-answer", 200, &logs.sig_dev.to_string(), &logs_stored());
    let attendance = made.request("attendance", &attendance());
    made.response("attendance-answer", 200, &attendance.sig_dev.to_string(), &punches_stored());
    let new = PrivateKey::from_seed(&[0x44; 32]);
    let device_id = "KS-000042".parse().expect("an identifier");
    let rotation = RotateKey::new(device_id, Sequence::new(7, 1_091), SENT_AT, &new);
    let rotation = made.request("rotate-key", &rotation);
    let rotated = KeyRotated { kind: Default::default(), public_key: new.public_key(), server_time: SERVER_TIME };
    made.response("rotate-key-answer", 200, &rotation.sig_dev.to_string(), &rotated);
    let status = made.request("firmware-status", &firmware_status());
    let recorded = FirmwareStatusRecorded { kind: Default::default(), go_on: true, server_time: SERVER_TIME };
    made.response("firmware-status-answer", 200, &status.sig_dev.to_string(), &recorded);
    made.request_to("firmware-artifact", &FirmwareArtifact::path_of(ARTIFACT), &firmware_artifact());
    let manifest = made.manifest();
    let offer = NextBeat {
        commands: Rows::default(),
        firmware: Some(Offer { manifest: Text::truncated(&manifest) }),
        ..next_beat()
    };
    made.response("heartbeat-answer-with-an-offer", 200, &beat.sig_dev.to_string(), &offer);
    keysets::add(&mut made);
    for code in RefusalCode::ALL {
        let name = format!("error-{}", code.as_str().to_lowercase().replace('_', "-"));
        let bound_to = if code.may_be_unbound() { NO_SIG_DEV.to_owned() } else { beat.sig_dev.to_string() };
        made.response(&name, code.status(), &bound_to, &refusal(*code));
    }
    made.compact_refusal(&beat.sig_dev.to_string());
    let signatures = serde_json::to_string_pretty(&signatures::all()).expect("JSON values serialise");
    made.files.insert("signatures.json".to_owned(), signatures + "\n");
    let index = serde_json::to_string_pretty(&made.index).expect("JSON values serialise");
    made.files.insert("vectors.json".to_owned(), index + "\n");
    made.files.insert("rejects.json".to_owned(), rejects());
    made.files
}

/// A field of the heartbeat that has fields of its own.
const FIRMWARE: &str = "firmware:\n  version: 1.4.2\n  release_counter: 17";

/// One field of the heartbeat, what stands in its place, and why that is refused. Where the first is empty, a line is added.
const REJECTS: &[(&str, &str, &str)] = &[
    ("network: wifi", "network:\n  wifi: \"\"", "an object in place of a word"),
    ("network: wifi", "network[1]: wifi", "a list in place of a word"),
    ("network: wifi", "network: Wifi", "an unknown word"),
    ("network: wifi", "network: wifi ", "a space at the end of a line"),
    ("network: wifi", "network: wifi\r", "a carriage return"),
    ("network: wifi", "network:  wifi", "two spaces after the colon"),
    ("network: wifi", "network:wifi", "no space after the colon"),
    ("network: wifi", "network: wifi\nnetwork: wifi", "a field that occurs twice"),
    ("network: wifi", "\nnetwork: wifi", "an empty line"),
    ("network: wifi", "# on a radio\nnetwork: wifi", "a comment"),
    ("network: wifi", "\"network\": wifi", "a key in quotes"),
    ("network: wifi", "  network: wifi", "indented without a line that opens a level"),
    ("network: wifi", "\tnetwork: wifi", "indented by a tab"),
    ("uptime_s: 64803", "uptime_s: \"64803\"", "a text in place of a number"),
    ("uptime_s: 64803", "uptime_s: 064803", "a leading zero"),
    ("uptime_s: 64803", "uptime_s: +64803", "a plus sign"),
    ("uptime_s: 64803", "uptime_s: 6.4803e4", "an exponent"),
    ("uptime_s: 64803", "uptime_s: 64803.0", "a fraction where a whole number is expected"),
    ("uptime_s: 64803", "uptime_s: -0", "minus zero"),
    ("uptime_s: 64803", "uptime_s: 9007199254740992", "a number above 2^53 - 1"),
    ("uptime_s: 64803", "uptime_s:", "an object in place of a number"),
    ("cpu_temp_c: 41.5", "cpu_temp_c: -0.0", "minus zero"),
    ("cpu_temp_c: 41.5", "cpu_temp_c: NaN", "a word in place of a number"),
    ("rssi_dbm: -61", "rssi_dbm: null", "null"),
    (FIRMWARE, "firmware[2]: 9.9.9,77", "a list in place of an object"),
    (FIRMWARE, "firmware[1]{version,release_counter}:\n  9.9.9,77", "a table in place of an object"),
    ("  version: 1.4.2", "  version: 2.0", "a text that looks like a number, without quotes"),
    ("  version: 1.4.2", "  version: true", "a text that is a boolean, without quotes"),
    ("  version: 1.4.2", "  version: ", "an empty text without quotes"),
    ("  version: 1.4.2", "   version: 1.4.2", "indented by three spaces"),
    ("acks[2]{command_id,state,detail}:", "acks[3]{command_id,state,detail}:", "a table with fewer rows than it says"),
    ("acks[2]{command_id,state,detail}:", "acks[02]{command_id,state,detail}:", "a count with a leading zero"),
    ("acks[2]{command_id,state,detail}:", "acks[2]{command_id,state}:", "a row with more values than columns"),
    ("acks[2]{command_id,state,detail}:", "acks[2]{command_id,state,state}:", "a column that occurs twice"),
    ("  cmd-0001,SUCCEEDED,rebooted in 11 s", "  cmd-0001, SUCCEEDED,rebooted", "a space after a comma"),
    ("  cmd-0001,SUCCEEDED,rebooted in 11 s", "  cmd-0001,SUCCEEDED,", "an empty text without quotes, in a row"),
    ("  cmd-0001,SUCCEEDED,rebooted in 11 s", "  cmd-0001,SUCCEEDED,a: b", "a colon without quotes"),
    ("", "later: {a", "a brace without quotes, in an unknown field"),
    ("", "later: [1", "a bracket without quotes, in an unknown field"),
    ("", "later: a\"b", "a quote without quotes, in an unknown field"),
    ("", "later: x:y", "a colon without quotes, in an unknown field"),
    ("", "later: -x", "a text that begins with a hyphen, without quotes"),
    ("", "later: #x", "a text that begins with a number sign, without quotes"),
    ("", "later: a\u{1}b", "a control character without quotes"),
    ("", "later: \"a\u{1}b\"", "a control character that is not escaped"),
    ("", "later: \"open", "quotes that are not closed"),
    ("", "later: \"a\"b", "something behind the closing quote"),
    ("", "later: \"\\q\"", "an unknown escape"),
    ("", "later: \"\\ud800\"", "an escaped surrogate"),
    ("", "later[1]:\n  - a: 1", "a list in a form that is not used"),
    ("", "later[2|]: 1|2", "another delimiter"),
    ("", "la.ter: 1", "a dot in a key"),
    ("", "- later", "a line that is no field"),
];

/// Heartbeats that a reader must refuse.
fn rejects() -> String {
    let good = document::encode(&heartbeat()).expect("a message encodes");
    let made = |(line, instead, reason): &(&str, &str, &str)| {
        let document = if line.is_empty() {
            format!("{good}\n{instead}")
        } else {
            assert!(good.contains(&format!("\n{line}")), "{line} is no line of the heartbeat");
            good.replacen(&format!("\n{line}"), &format!("\n{instead}"), 1)
        };
        json!({ "reason": reason, "document": document })
    };
    let rejects: Vec<Value> = REJECTS.iter().map(made).collect();
    serde_json::to_string_pretty(&rejects).expect("JSON values serialise") + "\n"
}

struct Made {
    files: BTreeMap<String, String>,
    index: Vec<Value>,
    device: PrivateKey,
    server: PrivateKey,
}

impl Made {
    fn keys(&mut self) {
        let described = |seed: &str, key: &PrivateKey| {
            json!({
                "seed_hex": seed.repeat(32),
                "public_key": key.public_key().to_string(),
                "key_id": key.public_key().key_id().to_string(),
                "private_pem": key.to_pem().expect("an Ed25519 key has a PEM"),
                "public_pem": key.public_pem().expect("an Ed25519 key has a PEM"),
            })
        };
        let next = PrivateKey::from_seed(&[0x33; 32]);
        let keys = json!({
            "device": described("11", &self.device),
            "server": described("22", &self.server),
            "next_server": described("33", &next),
            "next_device": described("44", &PrivateKey::from_seed(&[0x44; 32])),
            "firmware": described("55", &PrivateKey::from_seed(&[0x55; 32])),
        });
        let text = serde_json::to_string_pretty(&keys).expect("JSON values serialise");
        self.files.insert("keys.json".to_owned(), text + "\n");
    }

    fn request<R: Request>(&mut self, name: &str, request: &R) -> SignedRequest {
        self.request_to(name, R::PATH, request)
    }

    fn request_to<R: Request>(&mut self, name: &str, path: &str, request: &R) -> SignedRequest {
        let signed = sign_request_to(&self.device, path, request).expect("a message encodes");
        let context = Context::Request { method: R::METHOD, path };
        self.index.push(entry(name, "device", &signed.wire, context, json!({ "method": R::METHOD, "path": path })));
        self.files.insert(format!("{name}.toon"), signed.wire.clone());
        signed
    }

    fn response<T: serde::Serialize>(&mut self, name: &str, status: u16, sig_dev: &str, answer: &T) {
        self.response_by(&self.server.clone(), "server", name, status, sig_dev, answer);
    }

    fn response_by<T: serde::Serialize>(
        &mut self,
        key: &PrivateKey,
        key_name: &str,
        name: &str,
        status: u16,
        sig_dev: &str,
        answer: &T,
    ) {
        let wire = seal_response(key, &key.public_key().key_id(), status, sig_dev, answer).expect("an answer encodes");
        self.answer(name, key_name, status, sig_dev, wire);
    }

    fn answer(&mut self, name: &str, key_name: &str, status: u16, sig_dev: &str, wire: String) {
        let context = Context::Response { status, sig_dev };
        self.index.push(entry(name, key_name, &wire, context, json!({ "status": status, "request_sig_dev": sig_dev })));
        self.files.insert(format!("{name}.toon"), wire);
    }

    /// A refusal without the space behind `ERR1:`, which a reader takes too.
    fn compact_refusal(&mut self, sig_dev: &str) {
        let code = RefusalCode::Revoked;
        let text = document::encode(&refusal(code)).expect("a refusal encodes").replacen("ERR1: ", "ERR1:", 1);
        let key_id = self.server.public_key().key_id();
        let wire = seal_document(&self.server, &key_id, code.status(), sig_dev, text);
        self.answer("error-revoked-without-a-space", "server", code.status(), sig_dev, wire);
    }

    /// A signed manifest; its key is one that signs firmware and nothing else.
    fn manifest(&mut self) -> String {
        let key = PrivateKey::from_seed(&[0x55; 32]);
        let manifest = Manifest {
            kind: Default::default(),
            release_id: "fw-1.5.0".parse().expect("an identifier"),
            product: Text::truncated("ks-terminal"),
            models: Rows::truncated(vec![Text::truncated("KS-100"), Text::truncated("KS-200")]),
            version: Text::truncated("1.5.0"),
            release_counter: 18,
            sha256: ARTIFACT,
            size_bytes: 8_388_608,
            min_counter: Some(12),
            not_before: SENT_AT,
            expires_at: SENT_AT + std::time::Duration::from_hours(24 * 365),
            key_id: key.public_key().key_id(),
        };
        let wire = manifest.signed_by(&key).expect("a manifest encodes");
        self.index.push(entry("manifest", "firmware", &wire, Context::Firmware, json!({})));
        self.files.insert("manifest.toon".to_owned(), wire.clone());
        wire
    }
}

fn entry(name: &str, key: &str, wire: &str, context: Context<'_>, mut about: Value) -> Value {
    let label = match key {
        "device" => "SIG_DEV",
        _ if matches!(context, Context::Firmware) => "FW_SIG",
        _ => "SIG_SERV",
    };
    let signed = document::split(wire.as_bytes(), label).expect("a sealed document splits");
    about["name"] = json!(name);
    about["file"] = json!(format!("{name}.toon"));
    about["key"] = json!(key);
    about["signing_input"] = json!(signing_input(context, signed.body));
    about["signature"] = json!(signed.signature_text);
    about
}

fn register(device: &PrivateKey) -> Register {
    let Sequence { boot_epoch, seq } = Sequence::new(1, 1);
    Register {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        public_key: device.public_key(),
        firmware_version: Text::truncated("1.4.2"),
        otrt: Some(Text::truncated("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA")),
    }
}

fn registered() -> Registered {
    Registered {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        registered_at: SERVER_TIME,
        next_beat_ms: 21_480,
        keyset_version: 1,
        server_time: SERVER_TIME,
    }
}

fn heartbeat() -> Heartbeat {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_087);
    Heartbeat {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        keyset_version: 1,
        firmware: Firmware { version: Text::truncated("1.4.2"), release_counter: 17 },
        uptime_s: 64_803,
        cpu_temp_c: 41.5,
        free_mem_kib: 118_204,
        network: Network::Wifi,
        rssi_dbm: Some(-61),
        acks: Rows::truncated(vec![
            ack("cmd-0001", AckState::Succeeded, "rebooted in 11 s"),
            ack("cmd-0002", AckState::Rejected, "unknown kind \"dance\", ignored"),
        ]),
    }
}

fn ack(command_id: &str, state: AckState, detail: &str) -> Ack {
    Ack { command_id: command_id.parse().expect("an identifier"), state, detail: Text::truncated(detail) }
}

fn firmware_artifact() -> FirmwareArtifact {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_093);
    let device_id = "KS-000042".parse().expect("an identifier");
    FirmwareArtifact { kind: Default::default(), device_id, boot_epoch, seq, sent_at: SENT_AT }
}

fn firmware_status() -> FirmwareStatus {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_092);
    FirmwareStatus {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        release_id: "fw-1.5.0".parse().expect("an identifier"),
        step: UpdateStep::Rejected,
        received_bytes: 8_388_608,
        class: Some(UpdateClass::HashMismatch),
        detail: Text::truncated("fetched twice"),
    }
}

fn next_beat() -> NextBeat {
    let command = |id: &str, kind: &str, argument: &str| Command {
        command_id: id.parse().expect("an identifier"),
        kind: Text::truncated(kind),
        argument: Text::truncated(argument),
        deadline_at: SERVER_TIME + std::time::Duration::from_hours(1),
    };
    NextBeat {
        kind: Default::default(),
        server_time: SERVER_TIME,
        next_beat_ms: 59_212,
        keyset_version: 1,
        commands: Rows::truncated(vec![
            command("cmd-0003", "fetch_logs", "level: warn"),
            command("cmd-0004", "reboot", ""),
        ]),
        firmware: None,
    }
}

fn command_ack() -> CommandAck {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_088);
    CommandAck {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        acks: Rows::truncated(vec![ack("cmd-0004", AckState::Received, "")]),
    }
}

fn acks_recorded() -> AcksRecorded {
    let recorded =
        AckRecorded { command_id: "cmd-0004".parse().expect("an identifier"), state: Text::truncated("RECEIVED") };
    AcksRecorded { kind: Default::default(), acks: Rows::truncated(vec![recorded]), server_time: SERVER_TIME }
}

fn time(text: &str) -> UnixMs {
    text.parse().expect("a time")
}

fn logs() -> Logs {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_089);
    let line = |at, level, message: &str| LogLine { at: time(at), level, message: Text::truncated(message) };
    Logs {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        first_line_no: Sequence::new(0, 4_711).seq,
        lines: Rows::truncated(vec![
            line("2026-11-23T18:19:58.004Z", LogLevel::Warn, "clock was 3 s off"),
            line("2026-11-23T18:19:59.120Z", LogLevel::Error, "reader does not answer: timeout"),
        ]),
    }
}

fn logs_stored() -> LogsStored {
    LogsStored { kind: Default::default(), next_line_no: Sequence::new(0, 4_713).seq, server_time: SERVER_TIME }
}

fn attendance() -> Attendance {
    let Sequence { boot_epoch, seq } = Sequence::new(7, 1_090);
    let punch = |punch_no, at, badge: &str, direction, method| Punch {
        punch_no: Sequence::new(0, punch_no).seq,
        at: time(at),
        badge: Text::truncated(badge),
        direction,
        method,
    };
    Attendance {
        kind: Default::default(),
        device_id: "KS-000042".parse().expect("an identifier"),
        boot_epoch,
        seq,
        sent_at: SENT_AT,
        punches: Rows::truncated(vec![
            punch(312, "2026-11-23T07:58:12.000Z", "04A2B9C1", Direction::In, PunchMethod::Card),
            punch(313, "2026-11-23T17:02:40.512Z", "04A2B9C1", Direction::Out, PunchMethod::Card),
            punch(311, "2026-11-23T17:03:05.250Z", "4711", Direction::Out, PunchMethod::Pin),
        ]),
    }
}

fn punches_stored() -> PunchesStored {
    let conflicts = Rows::truncated(vec![Sequence::new(0, 311).seq]);
    PunchesStored { kind: Default::default(), stored: 2, known: 0, conflicts, server_time: SERVER_TIME }
}

fn refusal(code: RefusalCode) -> RefusalDocument {
    let stale = code == RefusalCode::StaleSequence;
    let waits = matches!(code, RefusalCode::RateLimited | RefusalCode::Overloaded);
    let kept = Sequence::new(7, 1_087);
    RefusalDocument {
        code,
        message: code.meaning().to_owned(),
        retry_after_s: waits.then_some(12),
        server_boot_epoch: stale.then_some(kept.boot_epoch),
        server_seq: stale.then_some(kept.seq),
        server_time: Some(SERVER_TIME),
    }
}

#[allow(dead_code, reason = "the test that compares the files includes this module without its main")]
fn main() -> std::io::Result<()> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    std::fs::create_dir_all(&folder)?;
    for (name, content) in all() {
        std::fs::write(folder.join(name), content)?;
    }
    Ok(())
}
