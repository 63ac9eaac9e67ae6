//! Goal: the committed vectors are what this code says on the wire, and every one of them opens.
//! Method: make them again and compare byte for byte; open each with the public keys in `keys.json` alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test or tool run"
)]

#[path = "../examples/vectors.rs"]
mod made;

use ks_protocol::{
    document,
    key::PublicKey,
    message::Heartbeat,
    signature::{Context, SIG_DEV, signing_input},
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
            "firmware" => ("FW_SIG", Context::Firmware),
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
