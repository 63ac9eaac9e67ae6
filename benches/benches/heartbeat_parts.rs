//! Claim: what one heartbeat costs, part by part, on one core; nearly all of it is cryptography.
#![allow(clippy::unwrap_used, reason = "a failure here is a failed benchmark")]

use std::hint::black_box;

use ks_benches::{exchange::Exchange, head, repeated, row};
use ks_protocol::{document, message::Heartbeat};

fn main() {
    let exchange = Exchange::sample();
    let text = document::encode(&exchange.beat).unwrap();
    let (up, down) = (exchange.request.len(), exchange.sealed.len());
    head(&format!("Parts of one heartbeat ({up} bytes up, {down} bytes down)"));
    row("encode the heartbeat", repeated(20_000, || drop(black_box(document::encode(&exchange.beat)))));
    row("decode the heartbeat", repeated(20_000, || drop(black_box(document::decode::<Heartbeat>(&text)))));
    row("device: encode and sign", repeated(2_000, || _ = black_box(exchange.device_signs())));
    row("server: verify and decode", repeated(2_000, || drop(black_box(exchange.server_verifies()))));
    row("server: encode and sign", repeated(2_000, || _ = black_box(exchange.server_signs())));
    row("device: verify and decode", repeated(2_000, || drop(black_box(exchange.device_verifies()))));
}
