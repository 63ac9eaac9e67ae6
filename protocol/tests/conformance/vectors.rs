//! Goal: the committed vectors are what this code says on the wire, and every one of them opens.
//! Method: make them again and compare byte for byte; open each with the public keys in `keys.json` alone.

#[path = "../../examples/vectors/main.rs"]
pub(crate) mod made;

use base64ct::Encoding as _;
use ks_protocol::{
    document,
    key::{PrivateKey, PublicKey},
    manifest::Manifest,
    message::{Heartbeat, Keyset, NextBeat, Trust},
    refusal::{RefusalCode, RefusalDocument},
    signature::{
        Context, NO_SIG_DEV, Reply, SIG_DEV, SIG_SERV, Signature, open_response, seal_response, signing_input,
    },
    time::UnixMs,
};
use serde_json::Value;

fn committed(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask vectors`", path.display()))
}

#[test]
fn committed_vectors_are_made_by_this_code() {
    for (name, content) in made::all() {
        assert_eq!(committed(&name), content, "{name} differs; run `cargo xtask vectors` and read the difference");
    }
}

#[test]
fn every_vector_verifies_from_its_files_alone() {
    let keys: Value = serde_json::from_str(&committed("keys.json")).unwrap();
    let index: Vec<Value> = serde_json::from_str(&committed("vectors.json")).unwrap();
    assert!(index.len() > 20);
    for vector in index {
        let text = |field: &str| vector[field].as_str().unwrap_or_default().to_owned();
        let wire = committed(&text("file"));
        let (label, context_sig) = (text("key"), text("request_sig_dev"));
        let (method, path) = (text("method"), text("path"));
        let status = u16::try_from(vector["status"].as_u64().unwrap_or_default()).unwrap();
        let (line, context) = match label.as_str() {
            "device" => ("SIG_DEV", Context::Request { method: &method, path: &path }),
            "firmware" if status == 0 => ("FW_SIG", Context::Firmware),
            _ => ("SIG_SERV", Context::Response { status, sig_dev: &context_sig }),
        };
        let signed = document::split(wire.as_bytes(), line).unwrap();
        let input = signing_input(context, signed.body);
        assert_eq!(input, text("signing_input"), "{}", text("name"));
        let key = PublicKey::from_base64(keys[&label]["public_key"].as_str().unwrap()).unwrap().verifier().unwrap();
        assert!(key.verifies(input.as_bytes(), &signed.signature), "{}", text("name"));
    }
}

#[test]
fn every_reject_is_refused_and_the_document_it_was_made_from_is_taken() {
    let good = committed("heartbeat.toon");
    let good = document::split(good.as_bytes(), SIG_DEV).unwrap().body;
    assert!(document::decode::<Heartbeat>(good).is_ok());
    let rejects: Vec<Value> = serde_json::from_str(&committed("rejects.json")).unwrap();
    assert!(rejects.len() > 40);
    for reject in rejects {
        let (reason, text) = (&reject["reason"], reject["document"].as_str().unwrap());
        assert_ne!(text, good.trim_end(), "{reason}");
        let error = document::decode::<Heartbeat>(text).unwrap_err().to_string();
        assert!(error.contains("line "), "{reason}: {error}");
    }
}

/// Goal: what the vectors say of signatures is so, and the cases are the dangerous ones.
/// Method: each with the strict verifier; and with a plain one, which takes some of those that must be refused.
#[test]
fn signatures_are_taken_and_refused_as_the_vectors_say() {
    use ed25519_dalek::{Signature as Plain, Verifier as _, VerifyingKey};

    let cases: Vec<Value> = serde_json::from_str(&committed("signatures.json")).unwrap();
    let mut taken_by_a_plain_verifier = 0;
    for case in &cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let signature = Signature::from_base64(text("signature")).unwrap();
        let key = PublicKey::from_base64(text("public_key"));
        let verifies = key.is_ok_and(|key| key.verifier().unwrap().verifies(text("message").as_bytes(), &signature));
        assert_eq!(verifies, case["is_valid"].as_bool().unwrap(), "{case}");
        let mut bytes = [0; 32];
        base64ct::Base64::decode(text("public_key"), &mut bytes).unwrap();
        let plain = VerifyingKey::from_bytes(&bytes);
        let verifies = plain.is_ok_and(|key| key.verify(text("message").as_bytes(), &Plain::from(signature.0)).is_ok());
        taken_by_a_plain_verifier += u32::from(verifies && !case["is_valid"].as_bool().unwrap());
    }
    assert_eq!(cases.len(), 3 + 14 + 14);
    assert!(taken_by_a_plain_verifier >= 2, "{taken_by_a_plain_verifier}");
}

/// Goal: the list of small-order points in the protocol's document is complete.
/// Method: the eight points of the torsion subgroup, by the curve's own library, are all on it.
#[test]
fn the_list_of_points_of_small_order_is_complete() {
    for point in curve25519_dalek::constants::EIGHT_TORSION {
        let mut bytes = point.compress().0;
        bytes[31] &= 0x7f;
        let hex = ks_protocol::text::hex(&bytes);
        assert!(made::signatures::SMALL_ORDER.contains(&hex.as_str()), "{hex}");
    }
    let document = include_str!("../../../docs/protocol.md");
    assert!(made::signatures::SMALL_ORDER.iter().all(|hex| document.contains(hex)));
}

/// Goal: the chain of the vectors is walked as the document says, and what it must refuse is refused.
#[test]
fn the_chain_of_keysets_is_walked_as_the_document_says() {
    let keys: Value = serde_json::from_str(&committed("keys.json")).unwrap();
    let pinned = |name: &str| {
        let key = PublicKey::from_base64(keys[name]["public_key"].as_str().unwrap()).unwrap();
        let keys = vec![(key.key_id(), key.verifier().unwrap())];
        Trust { version: 0, threshold: 1, keys, firmware_keys: Vec::new() }
    };
    let body = |name: &str| {
        let wire = committed(&format!("{name}.toon"));
        document::split(wire.as_bytes(), SIG_SERV).unwrap().body.to_owned()
    };
    // From the first key straight to version 3, which that key has signed; not to version 4, which it has not.
    let third = Keyset::step(&body("keyset-3"), &pinned("server")).unwrap().1;
    assert!(Keyset::step(&body("keyset-4"), &pinned("server")).is_err());
    assert_eq!(Keyset::step(&body("keyset-4"), &third).unwrap().1.version, 4);
    let walked = ["keyset-1", "keyset-2", "keyset-3", "keyset-4"]
        .iter()
        .fold(pinned("server"), |trust, name| Keyset::step(&body(name), &trust).unwrap().1);
    assert_eq!((walked.keys.len(), walked.firmware_keys.len()), (1, 1));
    // The firmware key signs manifests, and neither answers nor keysets.
    assert!(Keyset::step(&body("reject-keyset-by-a-firmware-key"), &walked).is_err());
    let wire = committed("reject-keyset-by-a-firmware-key.toon");
    assert!(open_response::<Keyset>(&walked.keys, 200, NO_SIG_DEV, wire.as_bytes()).is_err());
    assert!(Manifest::open(&committed("manifest.toon"), walked.firmware_signers()).is_ok());
    assert!(Manifest::open(&committed("manifest.toon"), &walked.keys).is_err());
}

/// Goal: nothing lasting follows from a refusal that may be an old one.
#[test]
fn an_unbound_refusal_is_a_hint_and_no_more() {
    let keys: Value = serde_json::from_str(&committed("keys.json")).unwrap();
    let key = PrivateKey::from_seed(&[0x22; 32]);
    assert_eq!(key.public_key().to_string(), keys["server"]["public_key"]);
    let trusted = vec![(key.public_key().key_id(), key.public_key().verifier().unwrap())];
    let refusal = RefusalDocument {
        code: RefusalCode::RateLimited,
        message: "x".to_owned(),
        retry_after_s: Some(1_000_000),
        server_boot_epoch: Some(7),
        server_seq: None,
        server_time: Some(UnixMs(5)),
    };
    let opened = |bound_to: &str| {
        let wire = seal_response(&key, &key.public_key().key_id(), 429, bound_to, &refusal).unwrap();
        match open_response::<NextBeat>(&trusted, 429, "mine", wire.as_bytes()).unwrap() {
            Reply::Refused(refusal) => refusal,
            Reply::Answer(_) => panic!("a refusal is no answer"),
        }
    };
    assert_eq!(opened("mine"), refusal);
    let hint = opened(NO_SIG_DEV);
    assert_eq!((hint.retry_after_s, hint.server_boot_epoch, hint.server_time), (Some(60), None, None));
}
