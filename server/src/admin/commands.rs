//! /api/commands: queues commands for devices, and lists what became of them.

use std::{collections::BTreeSet, time::Duration};

use axum::extract::State;
use ks_protocol::{
    id::{CommandId, DeviceId},
    text::hex,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ACTOR, Json, PageQuery, Problem};
use crate::{
    app::App,
    store::{Outcome, Write},
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
    let commands: Vec<(CommandId, DeviceId)> = order
        .device_ids
        .into_iter()
        .map(|device_id| command_id(&app).map(|command_id| (command_id, device_id)))
        .collect::<Result<_, _>>()?;
    let at = app.clock.now();
    let ids: Vec<Value> =
        commands.iter().map(|(command, device)| json!({ "command_id": command, "device_id": device })).collect();
    let write = Write::Enqueue {
        commands,
        kind: order.kind,
        argument: order.argument,
        deadline_at: at + Duration::from_secs(order.ttl_s),
        actor: ACTOR.to_owned(),
        at,
    };
    let Outcome::Enqueue(done) = app.writer.write(write).await? else { return Err(Problem::internal()) };
    let refused: BTreeSet<&str> = done.refused.iter().map(DeviceId::as_str).collect();
    let is_queued = |entry: &Value| entry["device_id"].as_str().is_some_and(|device_id| !refused.contains(device_id));
    let ids: Vec<Value> = ids.into_iter().filter(is_queued).collect();
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
    let commands = app.reader.ask(move |store| store.commands(after, limit)).await?;
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
