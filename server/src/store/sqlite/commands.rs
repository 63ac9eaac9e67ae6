//! Commands in SQLite: queueing, delivering, recording ACKs. `device_states.open_commands` counts those not yet terminal.

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    message::{Ack, Command},
    text::Text,
    time::UnixMs,
};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Denied, DeviceStatus, StoreError, advance, audit, integer, standing, unsigned};
use crate::{
    command::{CommandEvent, CommandState, step},
    store::Enqueued,
};

/// Commands in one answer at most.
const DELIVERED_AT_ONCE: i64 = 16;

/// What every command of one enqueueing shares.
pub(super) struct NewCommand<'a> {
    pub(super) kind: &'a str,
    pub(super) argument: &'a str,
    pub(super) deadline_at: UnixMs,
}

pub(super) fn enqueue(
    transaction: &Transaction<'_>,
    commands: &[(CommandId, DeviceId)],
    what: &NewCommand<'_>,
    actor: &str,
    at: UnixMs,
) -> Result<Enqueued, StoreError> {
    let mut done = Enqueued::default();
    for (command_id, device_id) in commands {
        let row = match standing(transaction, device_id)? {
            Some(standing) if standing.status != DeviceStatus::Revoked => standing.row,
            _ => {
                done.refused.push(device_id.clone());
                continue;
            }
        };
        transaction
            .prepare_cached(
                "INSERT INTO commands (command_id, device, kind, argument, state, created_at, deadline_at)
                 VALUES (?1, ?2, ?3, ?4, 'QUEUED', ?5, ?6)",
            )?
            .execute(params![
                command_id.as_str(),
                row,
                what.kind,
                what.argument,
                integer(at.0),
                integer(what.deadline_at.0)
            ])?;
        transaction
            .prepare_cached("UPDATE device_states SET open_commands = open_commands + 1 WHERE device = ?1")?
            .execute([row])?;
        done.queued += 1;
    }
    let subject = format!("{} devices", done.queued);
    audit(transaction, at, actor, "command.enqueue", &subject, what.kind)?;
    Ok(done)
}

/// Open commands, oldest first, marked as delivered; those whose deadline has passed are closed instead. What the device
/// has received is left out before the limit applies, so that commands in progress don't hold up the ones behind them.
pub(super) fn deliver(transaction: &Transaction<'_>, device: i64, at: UnixMs) -> Result<Vec<Command>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, command_id, kind, argument, state, deadline_at FROM commands
         WHERE device = ?1 AND state IN ('QUEUED', 'DELIVERED', 'RECEIVED') AND (state <> 'RECEIVED' OR deadline_at <= ?3)
         ORDER BY id LIMIT ?2",
    )?;
    let open = statement
        .query_map(params![device, DELIVERED_AT_ONCE, integer(at.0)], |row| {
            let texts: (String, String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get::<_, i64>(0)?, texts, UnixMs(unsigned(row.get(5)?))))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut delivered = Vec::new();
    for (row, (command_id, kind, argument, state), deadline_at) in open {
        let state = known_state(&state)?;
        if deadline_at <= at {
            set_state(transaction, device, row, state, CommandEvent::DeadlinePassed, "", at)?;
            continue;
        }
        set_state(transaction, device, row, state, CommandEvent::Sent, "", at)?;
        let command_id = command_id.parse().map_err(|error| StoreError::Database(format!("command {row}: {error}")))?;
        let (kind, argument) = (Text::truncated(&kind), Text::truncated(&argument));
        delivered.push(Command { command_id, kind, argument, deadline_at });
    }
    Ok(delivered)
}

/// Applies one ACK; none if the device has no such command.
pub(super) fn apply_ack(
    transaction: &Transaction<'_>,
    device: i64,
    ack: &Ack,
    at: UnixMs,
) -> Result<Option<CommandState>, StoreError> {
    let mut statement =
        transaction.prepare_cached("SELECT id, state FROM commands WHERE command_id = ?1 AND device = ?2")?;
    let found: Option<(i64, String)> = statement
        .query_row(params![ack.command_id.as_str(), device], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((row, state)) = found else { return Ok(None) };
    let state = known_state(&state)?;
    set_state(transaction, device, row, state, ack.state.into(), ack.detail.as_str(), at).map(Some)
}

/// ACKs that came on their own: takes the pair, then applies each.
pub(super) fn record_acks(
    transaction: &Transaction<'_>,
    device_id: &DeviceId,
    sequence: Sequence,
    acks: &[Ack],
    at: UnixMs,
) -> Result<Result<Vec<Option<CommandState>>, Denied>, StoreError> {
    let device = match advance(transaction, device_id, sequence, at)? {
        Ok(device) => device,
        Err(denied) => return Ok(Err(denied)),
    };
    acks.iter().map(|ack| apply_ack(transaction, device.row, ack, at)).collect::<Result<_, _>>().map(Ok)
}

fn known_state(word: &str) -> Result<CommandState, StoreError> {
    CommandState::from_word(word).ok_or_else(|| StoreError::Database(format!("unknown command state {word}")))
}

fn set_state(
    transaction: &Transaction<'_>,
    device: i64,
    row: i64,
    state: CommandState,
    event: CommandEvent,
    detail: &str,
    at: UnixMs,
) -> Result<CommandState, StoreError> {
    let next = step(state, event);
    if next == state {
        return Ok(next);
    }
    let delivered_at = (next == CommandState::Delivered).then_some(integer(at.0));
    let finished_at = next.is_terminal().then_some(integer(at.0));
    transaction
        .prepare_cached(
            "UPDATE commands SET state = ?2, detail = ?3, delivered_at = coalesce(delivered_at, ?4), finished_at = ?5 WHERE id = ?1",
        )?
        .execute(params![row, next.as_str(), detail, delivered_at, finished_at])?;
    if next.is_terminal() {
        transaction
            .prepare_cached("UPDATE device_states SET open_commands = open_commands - 1 WHERE device = ?1")?
            .execute([device])?;
    }
    Ok(next)
}
