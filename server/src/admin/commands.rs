//! /api/commands: queues commands for devices, and lists what became of them.

use std::time::Duration;

use axum::extract::State;
use ks_protocol::{
    id::{CommandId, DeviceId},
    text::hex,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Json, PageQuery, Problem, by};
use crate::{
    app::App,
    store::{
        commands::{CommandFilter, NewOrder},
        devices::Selector,
    },
};

/// Devices of one order at most.
const DEVICES_MAX: usize = 100_000;
/// Longest time a command may wait, in seconds: 30 days.
const TTL_S_MAX: u64 = 30 * 24 * 3_600;

/// One command for several devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    device_ids: Vec<DeviceId>,
    kind: String,
    #[serde(default)]
    argument: String,
    ttl_s: u64,
}

/// POST /api/commands: queues the command; each device gets it with its next heartbeat.
pub async fn enqueue(State(app): State<App>, Json(order): Json<Order>) -> Result<axum::Json<Value>, Problem> {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if order.kind.is_empty() || order.kind.len() > 32 || !is_word(&order.kind) {
        return Err(Problem::bad_request("kind: expected 1 to 32 characters of a-z and _"));
    }
    // Without control characters an argument grows to twice its size at most when it is quoted, so that the sixteen
    // commands of one answer stay well below the greatest document.
    if order.argument.len() > 1_024 || order.argument.chars().any(char::is_control) {
        return Err(Problem::bad_request("argument: expected at most 1024 bytes without control characters"));
    }
    if !(1..=DEVICES_MAX).contains(&order.device_ids.len()) {
        return Err(Problem::bad_request(format!("device_ids: expected 1 to {DEVICES_MAX} devices")));
    }
    if !(1..=TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!("ttl_s: expected 1 to {TTL_S_MAX} seconds")));
    }
    let by = by(&app);
    let order = NewOrder {
        order_id: command_id(&app)?,
        id_seed: app.rng.bytes_32(),
        client_token: None,
        request_sha256: [0; 32],
        which: Selector { device_ids: Some(order.device_ids), ..Selector::default() },
        kind: order.kind,
        argument: order.argument,
        is_urgent: false,
        deadline_at: by.at + Duration::from_secs(order.ttl_s),
    };
    let order_id = order.order_id.clone();
    let ordered = app.writer.write(move |store| store.order(&order, &by)).await?;
    let done = ordered.map_err(|_| Problem::internal())?;
    let which = CommandFilter { order_id: Some(order_id), ..CommandFilter::default() };
    let queued = app.reader.ask(move |store| store.commands(&which, 0, DEVICES_MAX)).await?;
    let ids: Vec<Value> = queued
        .iter()
        .map(|command| json!({ "command_id": command.command_id, "device_id": command.device_id }))
        .collect();
    Ok(axum::Json(json!({ "queued": done.queued, "refused": done.refused, "commands": ids })))
}

/// `c` and 24 hex digits of randomness.
fn command_id(app: &App) -> Result<CommandId, Problem> {
    let digits = hex(&app.rng.bytes_32());
    format!("c{}", digits.get(..24).unwrap_or(&digits)).parse().map_err(|_| Problem::internal())
}

/// GET /api/commands?after=ROW&limit=N.
pub async fn list(State(app): State<App>, PageQuery(page): PageQuery) -> Result<axum::Json<Value>, Problem> {
    let (after, limit) = (page.after, page.limit());
    let commands = app.reader.ask(move |store| store.commands(&CommandFilter::default(), after, limit)).await?;
    let next = (commands.len() == limit).then(|| commands.last().map(|command| command.row)).flatten();
    let commands: Vec<Value> = commands
        .iter()
        .map(|command| {
            json!({
                "command_id": command.command_id,
                "device_id": command.device_id,
                "kind": command.kind,
                "state": command.state.as_str(),
            })
        })
        .collect();
    Ok(axum::Json(json!({ "commands": commands, "next_after": next })))
}
