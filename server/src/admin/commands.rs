//! /api/commands: orders for devices, and what became of them.

use std::{sync::Arc, time::Duration};

use ks_protocol::{
    id::{CommandId, DeviceId},
    message::{BadCommand, CommandOrder},
    text::hex,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Problem,
    page::{self, Page},
    route::{Call, Json, JsonBody, Nothing, Query},
    which::Which,
};
use crate::{
    command::CommandState,
    rules,
    service::{bulk, commands::Command, devices::is_plain},
    store::{
        self,
        commands::{CancelRefused, CommandFilter, NewOrder, Ordered},
        devices::Selector,
    },
};

/// Longest time a command may wait, in seconds: 30 days.
const TTL_S_MAX: u64 = 30 * 24 * 3_600;

/// A command for several devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    which: Which,
    command: CommandOrder,
    /// How long it may wait for its device, in seconds.
    #[schemars(range(min = 1, max = 2_592_000))]
    ttl_s: u64,
    /// The caller's own name for the order: the same again is answered the same, and nothing is ordered twice.
    #[schemars(length(min = 1, max = 64))]
    client_token: Option<String>,
}

/// What an order did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderDone {
    order_id: CommandId,
    /// Commands queued, one for each device.
    queued: usize,
    /// Devices that were named and are unknown or revoked; the first thousand. Left out when the order is repeated.
    refused: Vec<DeviceId>,
    /// How many there were.
    refused_count: usize,
    /// Whether it was ordered before, under the same client token.
    repeated: bool,
}

impl From<Ordered> for OrderDone {
    fn from(done: Ordered) -> Self {
        let Ordered { order_id, queued, refused, refused_count, is_repeated, .. } = done;
        Self { order_id, queued, refused, refused_count, repeated: is_repeated }
    }
}

/// Queues a command; each device gets it with its next heartbeat.
pub async fn order(call: Call, JsonBody(order): JsonBody<Order>) -> Result<Json<OrderDone>, Problem> {
    if !(1..=TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!("ttl_s: expected 1 to {TTL_S_MAX} seconds, got {}", order.ttl_s)));
    }
    if order.client_token.as_ref().is_some_and(|token| !is_plain(token, 64)) {
        return Err(Problem::bad_request("client_token: expected 1 to 64 bytes of text"));
    }
    let (kind, argument) =
        order.command.to_wire().map_err(|error: BadCommand| Problem::bad_request(format!("command: {error}")))?;
    let which = order.which.selector()?;
    let by = call.by();
    let new = NewOrder {
        order_id: order_id(&call)?,
        id_seed: call.app.rng.bytes_32(),
        client_token: order.client_token,
        request_sha256: request_sha256(&which, &kind, &argument, order.ttl_s)?,
        which,
        kind,
        argument,
        is_urgent: order.command.is_urgent(),
        deadline_at: by.at + Duration::from_secs(order.ttl_s),
    };
    let (writer, clock) = (call.app.writer.clone(), Arc::clone(&call.app.clock));
    let ordered = bulk::to_its_end(async move { bulk::order(&writer, &*clock, new, &by).await }).await??;
    let done = ordered.map_err(|_| Problem::conflict("client_token: it stands for another order already"))?;
    Ok(Json(done.into()))
}

/// What was asked for, so that one client token does not stand for two things. Over what was given alone, so that a retry after
/// an upgrade, which may know of more, is still the same order.
fn request_sha256(which: &Selector, kind: &str, argument: &str, ttl_s: u64) -> Result<[u8; 32], Problem> {
    let asked = serde_json::to_vec(&(which, kind, argument, ttl_s)).map_err(|_| Problem::internal())?;
    Ok(Sha256::digest(asked).into())
}

/// `o` and 24 hex digits of randomness.
fn order_id(call: &Call) -> Result<CommandId, Problem> {
    let digits = hex(&call.app.rng.bytes_32());
    format!("o{}", digits.get(..24).unwrap_or(&digits)).parse().map_err(|_| Problem::internal())
}

/// Which commands, and which page of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandsQuery {
    /// Of this order.
    order_id: Option<CommandId>,
    /// For this device.
    device_id: Option<DeviceId>,
    /// Only those that have not ended.
    #[serde(default)]
    open: bool,
    /// Where the page before ended.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Rows of the page, 100 unless it is said.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists commands in the order they were made.
pub async fn list(call: Call, Query(query): Query<CommandsQuery>) -> Result<Json<Page<Command>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let which = CommandFilter { order_id: query.order_id, device_id: query.device_id, open_only: query.open };
    let commands = call.reader.ask(move |store| store.commands(&which, after, limit)).await?;
    Ok(Json(Page::of(commands, limit, |command| command.row, Command::from)))
}

/// How many commands are in a state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateCount {
    state: CommandState,
    commands: u64,
}

/// How far an order came.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderProgress {
    order_id: CommandId,
    counts: Vec<StateCount>,
    /// Whether each device that is meant has its command, and every command has ended.
    finished: bool,
}

/// Says how far an order came.
pub async fn progress(call: Call, _: Nothing) -> Result<Json<OrderProgress>, Problem> {
    let order_id: CommandId = call.path("order_id")?;
    let wanted = order_id.clone();
    let found = call.reader.ask(move |store| store.order_progress(&wanted)).await?;
    let store::commands::OrderProgress { counts, is_whole } =
        found.ok_or_else(|| Problem::not_found(format!("no order is named {order_id}")))?;
    let finished = is_whole && counts.iter().all(|(state, _)| state.is_terminal());
    let counts = counts.into_iter().map(|(state, commands)| StateCount { state, commands }).collect();
    Ok(Json(OrderProgress { order_id, counts, finished }))
}

/// How to cancel.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// Also if the device may have it already, whatever it makes of it.
    #[serde(default)]
    force: bool,
}

/// A command's state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateNow {
    command_id: CommandId,
    state: CommandState,
}

/// Takes a command back.
pub async fn cancel(call: Call, JsonBody(how): JsonBody<Cancellation>) -> Result<Json<StateNow>, Problem> {
    let command_id: CommandId = call.path("command_id")?;
    let (by, which) = (call.by(), command_id.clone());
    let canceled = call.app.writer.write(move |store| rules::commands::cancel(store, &which, how.force, &by)).await?;
    match canceled {
        Ok(state) => Ok(Json(StateNow { command_id, state })),
        Err(CancelRefused::Unknown) => Err(Problem::not_found(format!("no command is named {command_id}"))),
        Err(CancelRefused::Past(state)) if state.is_terminal() => {
            Err(Problem::conflict(format!("the command has ended as {}", state.as_str())))
        }
        Err(CancelRefused::Past(state)) => Err(Problem::conflict(format!(
            "the command is {}, so the device may have it; `force` cancels it all the same",
            state.as_str()
        ))),
    }
}
