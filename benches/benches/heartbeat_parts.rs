//! Claim: what one heartbeat costs, part by part, on one core; nearly all of it is cryptography.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed benchmark")]

use std::hint::black_box;

use ks_benches::{head, repeated, row};
use ks_protocol::{
    document,
    key::PrivateKey,
    message::{Heartbeat, NextBeat},
    signature::{Context, SIG_DEV, open_response, seal_response, sign_request, signing_input},
    text::Rows,
    time::UnixMs,
};
use ks_server::store::testing::sample_beat;

fn main() {
    let (device, server) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
    let (device_key, key_id) = (device.public_key().verifier().unwrap(), server.public_key().key_id());
    let keys = [(key_id.clone(), server.public_key().verifier().unwrap())];
    let beat = sample_beat("KS-000042", (7, 1_087));
    let text = document::encode(&beat).unwrap();
    let request = sign_request(&device, &beat).unwrap();
    let sig_dev = request.sig_dev.to_string();
    let answer = NextBeat {
        kind: Default::default(),
        server_time: UnixMs(1_795_458_011_520),
        next_beat_ms: 59_212,
        keyset_version: 1,
        commands: Rows::default(),
        firmware: None,
    };
    let sealed = seal_response(&server, &key_id, 200, &sig_dev, &answer).unwrap();
    let opened = || {
        let signed = document::split(request.wire.as_bytes(), SIG_DEV).unwrap();
        let input = signing_input(Context::Request { method: "POST", path: "/heartbeat" }, signed.body);
        assert!(device_key.verifies(input.as_bytes(), &signed.signature));
        document::decode::<Heartbeat>(signed.body).unwrap()
    };

    head(&format!("Parts of one heartbeat ({} bytes up, {} bytes down)", request.wire.len(), sealed.len()));
    row("encode the heartbeat", repeated(20_000, || drop(black_box(document::encode(&beat)))));
    row("decode the heartbeat", repeated(20_000, || drop(black_box(document::decode::<Heartbeat>(&text)))));
    row("device: encode and sign", repeated(2_000, || drop(black_box(sign_request(&device, &beat)))));
    row("server: verify and decode", repeated(2_000, || drop(black_box(opened()))));
    let seal = || drop(black_box(seal_response(&server, &key_id, 200, &sig_dev, &answer)));
    row("server: encode and sign", repeated(2_000, seal));
    let open = || drop(black_box(open_response::<NextBeat>(&keys, 200, &sig_dev, sealed.as_bytes())));
    row("device: verify and decode", repeated(2_000, open));
}
