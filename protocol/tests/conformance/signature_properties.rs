//! Goal: what was signed opens to the same message, what was changed does not open, and no bytes make the codec panic.
//! Method: random messages through sign and open, any one bit flipped, and raw bytes into every decoder.

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION},
};
use ks_protocol::{
    document,
    id::{DeviceId, Seq, Sequence},
    key::{PrivateKey, PublicKey},
    message::{
        Ack, AckState, Attendance, CommandAck, CommandOrder, Direction, Firmware, Heartbeat, Keyset, LogLevel, LogLine,
        Logs, Network, NextBeat, Punch, PunchMethod, Register, Registered, Request, RotateKey, SetConfig,
    },
    number::COUNT_MAX,
    refusal::RefusalDocument,
    signature::{Context, Reply, SIG_DEV, SignedRequest, open_response, seal_response, sign_request, signing_input},
    text::{Rows, Text},
    time::UnixMs,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

use crate::vectors::made::signatures;

fn device_key() -> PrivateKey {
    PrivateKey::from_seed(&[1; 32])
}

fn server_key() -> PrivateKey {
    PrivateKey::from_seed(&[2; 32])
}

/// What the server does with a request, by the device's key alone.
fn open_request<R: Request>(wire: &[u8]) -> Option<R> {
    let signed = document::split(wire, SIG_DEV).ok()?;
    let input = signing_input(Context::Request { method: "POST", path: R::PATH }, signed.body);
    let key = device_key().public_key().verifier().ok()?;
    key.verifies(input.as_bytes(), &signed.signature).then(|| document::decode(signed.body).ok())?
}

prop_compose! {
    fn any_sequence()(boot_epoch in any::<u32>(), seq in 0..=ks_protocol::id::SEQ_MAX) -> (u32, Seq) {
        let sequence = Sequence::new(boot_epoch, seq);
        (sequence.boot_epoch, sequence.seq)
    }
}

fn any_device_id() -> impl Strategy<Value = DeviceId> {
    "[A-Za-z][A-Za-z0-9._-]{0,63}".prop_map(|id| id.parse().unwrap())
}

fn any_ack() -> impl Strategy<Value = Ack> {
    let state = prop_oneof![
        Just(AckState::Received),
        Just(AckState::Succeeded),
        Just(AckState::Failed),
        Just(AckState::Rejected)
    ];
    ("[A-Za-z][A-Za-z0-9._-]{0,63}", state, any::<String>()).prop_map(|(id, state, detail)| Ack {
        command_id: id.parse().unwrap(),
        state,
        detail: Text::truncated(&detail),
    })
}

prop_compose! {
    fn any_heartbeat()(
        device_id in any_device_id(),
        (boot_epoch, seq) in any_sequence(),
        sent_at in 0_u64..=253_370_764_799_999,
        version in any::<String>(),
        release_counter in 0..=COUNT_MAX,
        uptime_s in 0..=COUNT_MAX,
        tenths in -1_000_i32..2_000,
        rssi_dbm in proptest::option::of(any::<i16>()),
        acks in proptest::collection::vec(any_ack(), 0..5),
    ) -> Heartbeat {
        Heartbeat {
            kind: Default::default(),
            device_id, boot_epoch, seq,
            sent_at: UnixMs(sent_at),
            keyset_version: 1,
            firmware: Firmware { version: Text::truncated(&version), release_counter },
            uptime_s,
            cpu_temp_c: f64::from(tenths) / 10.0,
            free_mem_kib: uptime_s / 3,
            network: Network::Wifi,
            rssi_dbm,
            acks: Rows::truncated(acks),
        }
    }
}

fn any_log_line() -> impl Strategy<Value = LogLine> {
    (0_u64..=253_370_764_799_999, prop::sample::select(&LogLevel::ALL), any::<String>())
        .prop_map(|(at, level, message)| LogLine { at: UnixMs(at), level, message: Text::truncated(&message) })
}

fn any_punch() -> impl Strategy<Value = Punch> {
    let direction = prop_oneof![Just(Direction::In), Just(Direction::Out), Just(Direction::Unknown)];
    let method = prop_oneof![Just(PunchMethod::Card), Just(PunchMethod::Pin), Just(PunchMethod::Other)];
    (0..=ks_protocol::id::SEQ_MAX, 0_u64..=253_370_764_799_999, any::<String>(), direction, method).prop_map(
        |(punch_no, at, badge, direction, method)| Punch {
            punch_no: Sequence::new(0, punch_no).seq,
            at: UnixMs(at),
            badge: Text::truncated(&badge),
            direction,
            method,
        },
    )
}

proptest! {
    #[test]
    fn signed_batches_open_to_the_same_message(
        device_id in any_device_id(),
        (boot_epoch, seq) in any_sequence(),
        lines in proptest::collection::vec(any_log_line(), 0..6),
        punches in proptest::collection::vec(any_punch(), 0..6),
    ) {
        let (kind, sent_at, lines) = (Default::default(), UnixMs(5), Rows::truncated(lines));
        let logs = Logs { kind, device_id: device_id.clone(), boot_epoch, seq, sent_at, first_line_no: seq, lines };
        let wire = sign_request(&device_key(), &logs).unwrap().wire;
        prop_assert_eq!(open_request::<Logs>(wire.as_bytes()), Some(logs));
        let (kind, punches) = (Default::default(), Rows::truncated(punches));
        let batch = Attendance { kind, device_id, boot_epoch, seq, sent_at, punches };
        let wire = sign_request(&device_key(), &batch).unwrap().wire;
        prop_assert_eq!(open_request::<Attendance>(wire.as_bytes()), Some(batch));
    }

    #[test]
    fn a_new_keys_proof_holds_for_its_device_and_its_key_only(
        device_id in any_device_id(), other in any_device_id(), seed in any::<[u8; 32]>(), at in 0_usize..88,
    ) {
        let new = PrivateKey::from_seed(&seed);
        let rotation = RotateKey::new(device_id.clone(), Sequence::new(1, 2), UnixMs(5), &new);
        prop_assert!(rotation.is_proven());
        let wire = sign_request(&device_key(), &rotation).unwrap().wire;
        prop_assert_eq!(open_request::<RotateKey>(wire.as_bytes()), Some(rotation.clone()));
        let moved = RotateKey { device_id: other.clone(), ..rotation.clone() };
        prop_assert!(!moved.is_proven() || other == device_id);
        let another = RotateKey { new_public_key: device_key().public_key(), ..rotation.clone() };
        prop_assert!(!another.is_proven());
        let mut damaged: Vec<char> = rotation.proof.as_str().chars().collect();
        damaged[at] = if damaged[at] == 'A' { 'B' } else { 'A' };
        let damaged: String = damaged.into_iter().collect();
        let forged = RotateKey { proof: Text::truncated(&damaged), ..rotation };
        prop_assert!(!forged.is_proven());
    }

    #[test]
    fn a_settings_command_goes_over_the_wire_and_back(name in any::<String>(), value in any::<String>()) {
        let order = CommandOrder::SetConfig(SetConfig { name: Text::truncated(&name), value: Text::truncated(&value) });
        // What has control characters that a line can't carry, or grows too long, is refused and never sent as something else.
        if let Ok((kind, argument)) = order.to_wire() {
            prop_assert_eq!(CommandOrder::from_wire(&kind, &argument), Ok(order));
        }
    }

    #[test]
    fn signed_request_opens_to_the_same_message(beat in any_heartbeat()) {
        let SignedRequest { wire, .. } = sign_request(&device_key(), &beat).unwrap();
        prop_assert_eq!(open_request::<Heartbeat>(wire.as_bytes()), Some(beat));
    }

    #[test]
    fn request_with_any_bit_flipped_is_refused(beat in any_heartbeat(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut wire = sign_request(&device_key(), &beat).unwrap().wire.into_bytes();
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        prop_assert_eq!(open_request::<Heartbeat>(&wire), None);
    }

    #[test]
    fn request_signed_for_one_path_opens_at_no_other(acks in proptest::collection::vec(any_ack(), 0..4), (boot_epoch, seq) in any_sequence()) {
        let ack = CommandAck {
            kind: Default::default(), device_id: "K-1".parse().unwrap(), boot_epoch, seq, sent_at: UnixMs(5), acks: Rows::truncated(acks),
        };
        let wire = sign_request(&device_key(), &ack).unwrap().wire;
        prop_assert_eq!(open_request::<CommandAck>(wire.as_bytes()), Some(ack));
        let signed = document::split(wire.as_bytes(), SIG_DEV).unwrap();
        let moved = signing_input(Context::Request { method: "POST", path: "/heartbeat" }, signed.body);
        prop_assert!(!device_key().public_key().verifier().unwrap().verifies(moved.as_bytes(), &signed.signature));
    }

    #[test]
    fn response_opens_for_its_own_request_only(delay in any::<u32>(), status in 200_u16..600, other in 200_u16..600, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key_id = server_key().public_key().key_id();
        let keys = [(key_id.clone(), server_key().public_key().verifier().unwrap())];
        let answer = NextBeat { kind: Default::default(), server_time: UnixMs(9), next_beat_ms: u64::from(delay), keyset_version: 1, firmware: None, commands: Rows::default() };
        let wire = seal_response(&server_key(), &key_id, status, "abc", &answer).unwrap();
        prop_assert_eq!(open_response::<NextBeat>(&keys, status, "abc", wire.as_bytes()), Ok(Reply::Answer(answer)));
        prop_assert!(open_response::<NextBeat>(&keys, status, "abd", wire.as_bytes()).is_err());
        prop_assert!(other == status || open_response::<NextBeat>(&keys, other, "abc", wire.as_bytes()).is_err());
        let mut flipped = wire.into_bytes();
        let at = at.index(flipped.len());
        flipped[at] ^= 1 << bit;
        prop_assert!(open_response::<NextBeat>(&keys, status, "abc", &flipped).is_err());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), toonish in "[a-z:\\[\\]{}0-9,\" \\n\\\\-]{0,300}") {
        for wire in [bytes.as_slice(), toonish.as_bytes()] {
            let _ = document::split(wire, SIG_DEV);
            let text = String::from_utf8_lossy(wire);
            let _ = document::decode::<Heartbeat>(&text);
            let _ = document::decode::<Register>(&text);
            let _ = document::decode::<Registered>(&text);
            let _ = document::decode::<Keyset>(&text);
            let _ = document::decode::<Logs>(&text);
            let _ = document::decode::<Attendance>(&text);
            let _ = document::decode::<RotateKey>(&text);
            for kind in ["fetch_logs", "set_config", "add_key", "halt_updates", "dance"] {
                let _ = CommandOrder::from_wire(kind, &text);
            }
            let _ = RefusalDocument::read(&text);
        }
    }

    #[test]
    fn a_heartbeat_damaged_in_its_text_never_panics(beat in any_heartbeat(), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let text = document::encode(&beat).unwrap();
        let chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let damaged: String = chars.iter().enumerate().map(|(i, c)| if i == at { with } else { *c }).collect();
        let _ = document::decode::<Heartbeat>(&damaged);
    }
}

/// Goal: verification is strict: a signature that plain RFC 8032 verification takes, but that proves nothing, is refused.
/// Method: R is the neutral element, so that S = H(R, A, M) * a alone makes the equation hold; it is a true equation, and
/// dalek's plain `verify` takes it.
#[test]
fn a_signature_with_a_point_of_small_order_is_refused() {
    use ed25519_dalek::{Verifier as _, VerifyingKey};

    let seed = [1; 32];
    let public_key = PrivateKey::from_seed(&seed).public_key();
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let message = b"anything at all";
    let signature = signatures::with_r(&seed, &public_key.0, neutral, message);

    let plain = VerifyingKey::from_bytes(&public_key.0).unwrap();
    assert!(plain.verify(message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok(), "the equation holds");
    let strict = public_key.verifier().unwrap();
    assert!(!strict.verifies(message, &ks_protocol::signature::Signature(signature)));
}

/// Goal: a signature has one form: S and S + L do not both verify.
/// Method: a good signature with the group's order added to its second half.
#[test]
fn a_signature_with_another_form_of_s_is_refused() {
    let key = device_key();
    let good = key.sign(b"message");
    let other = signatures::plus_order(good.0);
    let verifier = key.public_key().verifier().unwrap();
    assert!(verifier.verifies(b"message", &good));
    assert!(!verifier.verifies(b"message", &ks_protocol::signature::Signature(other)));
}

/// Bytes for a signature: of `a` (whose key may have a part of small order), with an R that may have one too.
fn crafted(a: Scalar, of_key: EdwardsPoint, r: Scalar, of_r: EdwardsPoint, message: &[u8]) -> ([u8; 32], [u8; 64]) {
    let point = |scalar: Scalar, torsion: EdwardsPoint| (&scalar * ED25519_BASEPOINT_TABLE + torsion).compress().0;
    let (key, r_bytes) = (point(a, of_key), point(r, of_r));
    let hashed = Sha512::new().chain_update(r_bytes).chain_update(key).chain_update(message).finalize();
    let s = r + Scalar::from_bytes_mod_order_wide(&hashed.into()) * a;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r_bytes);
    signature[32..].copy_from_slice(s.as_bytes());
    (key, signature)
}

/// What is done to a signature once it is made.
#[derive(Debug, Clone)]
enum Change {
    None,
    /// S + L in place of S.
    OtherForm,
    Bit(usize),
    /// R is a point of small order in any of its encodings, of which some are not canonical.
    SmallR(usize, bool),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::None),
        1 => Just(Change::OtherForm),
        2 => (0..512_usize).prop_map(Change::Bit),
        1 => (0..signatures::SMALL_ORDER.len(), any::<bool>()).prop_map(|(at, sign)| Change::SmallR(at, sign)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Goal: signatures are taken exactly where dalek's `verify_strict` takes them.
    /// Method: honest ones, forged ones, keys and Rs with a part of small order (with which the equation holds for one in eight) or of
    /// nothing else, other forms of S, other encodings of R.
    #[test]
    fn the_verifier_takes_exactly_what_verify_strict_takes(
        (a, r) in (any::<[u8; 32]>(), any::<[u8; 32]>()),
        is_r_zero in prop::bool::weighted(0.1),
        (of_key, of_r) in (prop_oneof![Just(0), 0..8_usize], prop_oneof![Just(0), 0..8_usize]),
        message in prop::collection::vec(any::<u8>(), 0..100),
        change in any_change(),
    ) {
        let r = if is_r_zero { Scalar::ZERO } else { Scalar::from_bytes_mod_order(r) };
        let a = Scalar::from_bytes_mod_order(a);
        let (key, mut signature) = crafted(a, EIGHT_TORSION[of_key], r, EIGHT_TORSION[of_r], &message);
        match change {
            Change::None => {}
            Change::OtherForm => signature = signatures::plus_order(signature),
            Change::Bit(at) => signature[at / 8] ^= 1 << (at % 8),
            Change::SmallR(at, sign) => {
                let hex = signatures::SMALL_ORDER[at];
                let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
                let mut small: [u8; 32] = std::array::from_fn(byte);
                small[31] |= u8::from(sign) << 7;
                signature = signatures::with_r_of(a, &key, small, &message);
            }
        }
        let Ok(verifier) = PublicKey(key).verifier() else { return Ok(()) }; // a key of small order
        let strict = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
        let taken = strict.verify_strict(&message, &ed25519_dalek::Signature::from_bytes(&signature)).is_ok();
        prop_assert_eq!(verifier.verifies(&message, &ks_protocol::signature::Signature(signature)), taken);
        if (of_key, of_r, is_r_zero) == (0, 0, false) && matches!(change, Change::None) {
            prop_assert!(taken, "an honest one");
        }
    }
}

/// What an independent decoder of the whole of TOON reads.
fn read_as_toon(text: &str) -> Option<serde_json::Value> {
    serde_toon::from_str_with_options(text, serde_toon::DecodeOptions::strict()).ok()
}

/// Equality of JSON values, where 41 and 41.0 are one number.
fn same(left: &serde_json::Value, right: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (left, right) {
        (Number(left), Number(right)) => left.as_f64() == right.as_f64(),
        (Array(left), Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Object(left), Object(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && same(left.1, right.1))
        }
        _ => left == right,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever stands in a field that nobody knows: what is taken is TOON, and means the same to another decoder.
    #[test]
    fn a_document_is_valid_as_a_whole_or_refused(
        beat in any_heartbeat(),
        value in "[\"\\\\a-c0-9:,u{}\\[\\] \u{1}-\u{3}#+.e-]{0,8}",
        form in 0..6,
        line in 0..4_usize,
    ) {
        let unknown = match form {
            0 => format!("later: {value}"),
            1 => format!("later:\n  inner: {value}"),
            2 => format!("later[2]: 1,{value}"),
            3 => format!("later[1]{{a,b}}:\n  {value},1"),
            4 => format!("later{value}"),
            _ => value,
        };
        let known = document::encode(&beat).unwrap();
        let mut lines: Vec<&str> = known.lines().collect();
        lines.insert(line, &unknown);
        let text = lines.join("\n");
        let decoded = document::decode::<Heartbeat>(&text);
        let any = document::decode::<serde_json::Value>(&text);
        prop_assert_eq!(decoded.is_ok(), any.is_ok(), "{}: {:?} {:?}", text, decoded, any);
        if let (Ok(decoded), Ok(any)) = (decoded, any) {
            prop_assert_eq!(decoded, beat);
            let theirs = read_as_toon(&text);
            prop_assert!(theirs.as_ref().is_some_and(|theirs| same(theirs, &any)), "{}: {} {:?}", text, any, theirs);
        }
    }

    /// Whatever a sensor says is written as a number that the reader takes, to the millionth of a degree.
    #[test]
    fn any_temperature_is_written_so_that_the_reader_takes_it(
        beat in any_heartbeat(),
        celsius in prop_oneof![-100.0..=200.0, -1e-5..1e-5, Just(-0.0), Just(-5e-324), Just(-100.0), Just(200.0)],
    ) {
        let text = document::encode(&Heartbeat { cpu_temp_c: celsius, ..beat }).unwrap();
        let read = document::decode::<Heartbeat>(&text);
        prop_assert!(read.as_ref().is_ok_and(|read| (read.cpu_temp_c - celsius).abs() < 1e-6), "{} {:?}", text, read);
    }

    /// Any text goes there and back in each place where one can stand, and is written as the documented grammar says.
    #[test]
    fn any_text_is_written_so_that_the_reader_takes_it(
        text in prop_oneof![any::<String>(), "[\"\\\\a-c0-9:,{}\\[\\] #+.eE\u{1}\u{feff}\u{7f}\u{85}-]{0,8}"],
        number in prop_oneof![any::<i32>().prop_map(|micro| f64::from(micro) / 1e6), Just(1e-6), Just(-0.0)],
    ) {
        let row = serde_json::json!({ "a": text.as_str(), "b": number });
        let value = serde_json::json!({ "t": text.as_str(), "n": number, "o": row, "r": [row, row], "l": [text.as_str(), "x"], "e": [] });
        let written = document::encode(&value).unwrap();
        let read = document::decode::<serde_json::Value>(&written);
        prop_assert!(read.as_ref().is_ok_and(|read| same(read, &value)), "{} {:?}", written, read);
    }

    /// A time that is taken is the time that was given, letter for letter; whatever else is refused.
    #[test]
    fn a_time_is_taken_as_it_is_or_refused(
        (year, month, day) in (1960_u32..10_000, 0_u32..14, 0_u32..33),
        (hour, minute, second, ms) in (0_u32..25, 0_u32..62, 0_u32..62, 0_u32..1_000),
    ) {
        let given = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
        if let Ok(taken) = given.parse::<UnixMs>() {
            prop_assert_eq!(taken.to_string(), given);
            prop_assert!((1970..=9998).contains(&year) && hour < 24 && minute < 60 && second < 60);
        }
    }

    /// A whole number that is taken is the one that was given, digit for digit.
    #[test]
    fn a_number_is_taken_as_it_is_or_refused(digits in "-?[0-9]{1,21}", tail in "(|\\.0|\\.5|e0|E2|\\.00000000000000000001)") {
        let given = format!("{digits}{tail}");
        let text = format!("keyset_version: {given}");
        match document::decode::<ks_protocol::message::AddKey>(&text) {
            Ok(taken) => prop_assert_eq!(taken.keyset_version.to_string(), given.trim_start_matches('-')),
            Err(error) => {
                let words = error.to_string();
                let expected = ["expected a whole number from 0 to 9007199254740991, got ", "expected a number such as 0"];
                prop_assert!(expected.iter().any(|expected| words.contains(expected)), "{}", words);
                prop_assert!(words.starts_with("keyset_version: line 1: ") && words.contains(&digits), "{}", words);
                let fits = digits.parse::<u64>().is_ok_and(|number| number <= COUNT_MAX);
                prop_assert!(!fits || !tail.is_empty() || digits.starts_with('0'), "{}", given);
            }
        }
    }
}
