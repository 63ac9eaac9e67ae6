//! /api/otrts: makes one-time registration tokens; each is shown once, here.

use std::time::Duration;

use axum::extract::State;
use base64ct::{Base64UrlUnpadded, Encoding};
use ks_protocol::id::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Json, Problem, by};
use crate::{app::App, store::devices::NewOtrts};

/// Tokens made at a time at most.
const COUNT_MAX: usize = 100_000;
/// Longest life, in seconds: 90 days.
const TTL_S_MAX: u64 = 90 * 24 * 3_600;

/// What tokens to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    count: usize,
    ttl_s: u64,
    device_id: Option<DeviceId>,
    model: Option<String>,
}

/// POST /api/otrts.
pub async fn make(State(app): State<App>, Json(order): Json<Order>) -> Result<axum::Json<Value>, Problem> {
    if !(1..=COUNT_MAX).contains(&order.count) {
        return Err(Problem::bad_request(format!("count: expected 1 to {COUNT_MAX}")));
    }
    if !(1..=TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!("ttl_s: expected 1 to {TTL_S_MAX} seconds")));
    }
    let by = by(&app);
    let expires_at = by.at + Duration::from_secs(order.ttl_s);
    let tokens: Vec<String> = (0..order.count).map(|_| Base64UrlUnpadded::encode_string(&app.rng.bytes_32())).collect();
    let otrts = NewOtrts {
        tokens_sha256: tokens.iter().map(|token| Sha256::digest(token).into()).collect(),
        expires_at,
        device_id: order.device_id,
        model: order.model,
    };
    app.writer.write(move |store| store.add_otrts(&otrts, &by)).await?;
    Ok(axum::Json(json!({ "tokens": tokens, "expires_at": expires_at })))
}
