//! /api/commands: orders of commands for devices, and their progress.

use std::{sync::Arc, time::Duration};

use ks_protocol::{
    id::{CommandId, DeviceId},
    message::{CommandOrder, InvalidCommand},
    text::hex,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Problem,
    device_selector::DeviceSelector,
    page::{self, Page},
    route::{Call, Json, JsonBody, NoInput, Query},
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

/// Maximum time a command may wait for its device, in seconds: 30 days.
const TTL_S_MAX: u64 = 30 * 24 * 3_600;

/// A command for one or more devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    which: DeviceSelector,
    command: CommandOrder,
    /// Seconds until the command expires if the device has not fetched it.
    #[schemars(range(min = 1, max = 2_592_000))]
    ttl_s: u64,
    /// Idempotency key: repeating an order with the same token returns the first order and queues nothing.
    #[schemars(length(min = 1, max = 64))]
    client_token: Option<String>,
}

/// Result of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderResult {
    order_id: CommandId,
    /// Commands queued, one per device.
    queued: usize,
    /// Named devices that are unknown or revoked; at most the first thousand. Empty when the order is repeated.
    refused: Vec<DeviceId>,
    /// Total number of refused devices.
    refused_count: usize,
    /// Whether an order with this client token existed already.
    repeated: bool,
}

impl From<Ordered> for OrderResult {
    fn from(done: Ordered) -> Self {
        let Ordered { order_id, queued, refused, refused_count, is_repeated, .. } = done;
        Self { order_id, queued, refused, refused_count, repeated: is_repeated }
    }
}

/// Queues a command. Each device receives it with its next heartbeat.
pub async fn order(call: Call, JsonBody(order): JsonBody<Order>) -> Result<Json<OrderResult>, Problem> {
    if !(1..=TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!("ttl_s: expected 1 to {TTL_S_MAX} seconds, got {}", order.ttl_s)));
    }
    if order.client_token.as_ref().is_some_and(|token| !is_plain(token, 64)) {
        return Err(Problem::bad_request("client_token: expected 1 to 64 bytes of text"));
    }
    let (kind, argument) =
        order.command.to_wire().map_err(|error: InvalidCommand| Problem::bad_request(format!("command: {error}")))?;
    let selector = order.which.selector()?;
    let by = call.by();
    let new = NewOrder {
        order_id: order_id(&call)?,
        id_seed: call.app.rng.bytes_32(),
        client_token: order.client_token,
        request_sha256: request_sha256(&selector, &kind, &argument, order.ttl_s)?,
        which: selector,
        kind,
        argument,
        is_urgent: order.command.is_urgent(),
        deadline_at: by.at + Duration::from_secs(order.ttl_s),
    };
    let (writer, clock) = (call.app.writer.clone(), Arc::clone(&call.app.clock));
    let ordered = bulk::run_to_completion(async move { bulk::order(&writer, &*clock, new, &by).await }).await??;
    let done = ordered.map_err(|_| Problem::conflict("client_token: already used for a different order"))?;
    Ok(Json(done.into()))
}

/// Hash of the request, to detect a client token that is reused for a different order. It covers only the given fields, so that a
/// retry after an upgrade that adds fields still matches.
fn request_sha256(selector: &Selector, kind: &str, argument: &str, ttl_s: u64) -> Result<[u8; 32], Problem> {
    let request = serde_json::to_vec(&(selector, kind, argument, ttl_s)).map_err(|_| Problem::internal())?;
    Ok(Sha256::digest(request).into())
}

/// `o` and 24 random hex digits.
fn order_id(call: &Call) -> Result<CommandId, Problem> {
    let digits = hex(&call.app.rng.bytes_32());
    format!("o{}", digits.get(..24).unwrap_or(&digits)).parse().map_err(|_| Problem::internal())
}

/// Filter and page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandsQuery {
    /// Of this order.
    order_id: Option<CommandId>,
    /// For this device.
    device_id: Option<DeviceId>,
    /// Only commands that have not ended.
    #[serde(default)]
    open: bool,
    /// In this state.
    state: Option<CommandState>,
    /// In the reverse order of creation.
    #[serde(default)]
    newest_first: bool,
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists commands in the order of creation, or in the reverse order.
pub async fn list(call: Call, Query(query): Query<CommandsQuery>) -> Result<Json<Page<Command>>, Problem> {
    let start = page::start(query.newest_first);
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), start)?);
    let CommandsQuery { order_id, device_id, open, state, newest_first, .. } = query;
    let filter = CommandFilter { order_id, device_id, open_only: open, state, newest_first };
    let commands = call.reader.ask(move |store| store.commands(&filter, after, limit)).await?;
    Ok(Json(Page::of(commands, limit, |command| command.row, Command::from)))
}

/// Number of commands in a state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StateCount {
    state: CommandState,
    commands: u64,
}

/// Progress of an order.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OrderProgress {
    order_id: CommandId,
    counts: Vec<StateCount>,
    /// Whether all commands of the order are queued and have ended.
    finished: bool,
}

/// Reports the progress of an order.
pub async fn progress(call: Call, _: NoInput) -> Result<Json<OrderProgress>, Problem> {
    let order_id: CommandId = call.path("order_id")?;
    let wanted = order_id.clone();
    let found = call.reader.ask(move |store| store.order_progress(&wanted)).await?;
    let store::commands::OrderProgress { counts, is_whole } =
        found.ok_or_else(|| Problem::not_found(format!("unknown order {order_id}")))?;
    let finished = is_whole && counts.iter().all(|(state, _)| state.is_terminal());
    let counts = counts.into_iter().map(|(state, commands)| StateCount { state, commands }).collect();
    Ok(Json(OrderProgress { order_id, counts, finished }))
}

/// Cancel options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelOptions {
    /// Cancel even if the device may already have received the command and may execute it.
    #[serde(default)]
    force: bool,
}

/// State of a command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandStatus {
    command_id: CommandId,
    state: CommandState,
}

pub async fn cancel(call: Call, JsonBody(options): JsonBody<CancelOptions>) -> Result<Json<CommandStatus>, Problem> {
    let command_id: CommandId = call.path("command_id")?;
    let (by, canceled_id) = (call.by(), command_id.clone());
    let canceled =
        call.app.writer.write(move |store| rules::commands::cancel(store, &canceled_id, options.force, &by)).await?;
    match canceled {
        Ok(state) => Ok(Json(CommandStatus { command_id, state })),
        Err(CancelRefused::Unknown) => Err(Problem::not_found(format!("unknown command {command_id}"))),
        Err(CancelRefused::Past(state)) if state.is_terminal() => {
            Err(Problem::conflict(format!("the command has already ended as {}", state.as_str())))
        }
        Err(CancelRefused::Past(state)) => Err(Problem::conflict(format!(
            "the command is {}, so the device may already have it; `force` cancels it anyway",
            state.as_str()
        ))),
    }
}
