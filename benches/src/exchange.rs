//! One heartbeat and its answer, and what each side does for them.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a failure here is a failed benchmark")]

use ks_protocol::{
    document,
    id::KeyId,
    key::{PrivateKey, Verifier},
    message::{Heartbeat, NextBeat},
    signature::{Context, Reply, SIG_DEV, open_response, seal_response, sign_request, signing_input},
    text::Rows,
    time::UnixMs,
};
use ks_server::store::testing::sample_beat;

/// A heartbeat as it is sent, its answer, and the keys of both sides.
pub struct Exchange {
    device: PrivateKey,
    device_key: Verifier,
    server: PrivateKey,
    server_keys: [(KeyId, Verifier); 1],
    pub beat: Heartbeat,
    answer: NextBeat,
    sig_dev: String,
    /// The body of the request.
    pub request: String,
    /// The body of the answer.
    pub sealed: String,
}

impl Exchange {
    /// The same one each time.
    pub fn sample() -> Self {
        let (device, server) = (PrivateKey::from_seed(&[1; 32]), PrivateKey::from_seed(&[2; 32]));
        let key_id = server.public_key().key_id();
        let beat = sample_beat("KS-000042", (7, 1_087));
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
        let device_key = device.public_key().verifier().unwrap();
        let server_keys = [(key_id, server.public_key().verifier().unwrap())];
        Self { device, device_key, server, server_keys, beat, answer, sig_dev, request: request.wire, sealed }
    }

    /// The device encodes and signs its heartbeat; gives the length.
    pub fn device_signs(&self) -> usize {
        sign_request(&self.device, &self.beat).unwrap().wire.len()
    }

    /// The server verifies and decodes it.
    pub fn server_verifies(&self) -> Heartbeat {
        let signed = document::split(self.request.as_bytes(), SIG_DEV).unwrap();
        let input = signing_input(Context::Request { method: "POST", path: "/heartbeat" }, signed.body);
        assert!(self.device_key.verifies(input.as_bytes(), &signed.signature));
        document::decode(signed.body).unwrap()
    }

    /// The server encodes and signs its answer; gives the length.
    pub fn server_signs(&self) -> usize {
        let [(key_id, _)] = &self.server_keys;
        seal_response(&self.server, key_id, 200, &self.sig_dev, &self.answer).unwrap().len()
    }

    /// The device verifies and decodes it.
    pub fn device_verifies(&self) -> Reply<NextBeat> {
        open_response(&self.server_keys, 200, &self.sig_dev, self.sealed.as_bytes()).unwrap()
    }
}
