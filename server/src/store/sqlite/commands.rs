//! Commands in SQLite: delivering, recording ACKs, ending; ordering is in [`orders`]. `device_states.open_commands` counts those not yet terminal.

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    message::{Ack, Command},
    text::Text,
    time::UnixMs,
};
use rusqlite::{OptionalExtension, params};

use super::{
    Denied, SqliteReader, StoreError, Writes, advance, audit::append, filter::Filter, integer, old_rows, orders,
    parsed, rows, time, time_if, transaction::Transaction, unsigned, word,
};
use crate::{
    command::{CommandEvent, CommandState, step},
    store::{
        By, Swept,
        commands::{
            CancelRefused, CommandFilter, CommandReads, CommandRecord, CommandWrites, NewOrder, OrderProgress,
            OrderRefused, OrderUnderWay, Ordered,
        },
    },
};

/// Commands in one answer at most.
const DELIVERED_AT_ONCE: usize = 16;

impl CommandWrites for Writes<'_> {
    fn order(
        &mut self,
        order: &NewOrder,
        devices_max: usize,
        by: &By,
    ) -> Result<Result<Ordered, OrderRefused>, StoreError> {
        orders::order(&self.0, order, devices_max, by)
    }

    fn record_acks(
        &mut self,
        device_id: &DeviceId,
        sequence: Sequence,
        acks: &[Ack],
        at: UnixMs,
    ) -> Result<Result<Vec<Option<CommandState>>, Denied>, StoreError> {
        match advance(&self.0, device_id, sequence, at)? {
            Ok(device) => acks.iter().map(|ack| apply_ack(&self.0, device, ack, at)).collect::<Result<_, _>>().map(Ok),
            Err(denied) => Ok(Err(denied)),
        }
    }

    fn cancel(
        &mut self,
        command_id: &CommandId,
        force: bool,
        by: &By,
    ) -> Result<Result<CommandState, CancelRefused>, StoreError> {
        let found = self
            .0
            .prepare_cached("SELECT id, device, state FROM commands WHERE command_id = ?1")?
            .query_row([command_id.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, word(row, 2, CommandState::from_word)?))
            })
            .optional()?;
        let Some((row, device, state)) = found else { return Ok(Err(CancelRefused::Unknown)) };
        if state.is_terminal() || (state != CommandState::Queued && !force) {
            return Ok(Err(CancelRefused::Past(state)));
        }
        let next = set_state(&self.0, device, row, state, CommandEvent::Canceled, "canceled by an operator", by.at)?;
        append(&self.0, "command.cancel", command_id.as_str(), state.as_str(), by)?;
        Ok(Ok(next))
    }

    fn close_overdue(&mut self, now: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
        let overdue = open_commands(
            &self.0,
            "SELECT id, device, state FROM commands
             WHERE deadline_at <= ?1 AND state IN ('QUEUED', 'DELIVERED', 'RECEIVED') ORDER BY deadline_at LIMIT ?2",
            integer(now.0),
            rows_max,
        )?;
        for (row, device, state) in &overdue {
            set_state(&self.0, *device, *row, *state, CommandEvent::DeadlinePassed, "", now)?;
        }
        Ok(overdue.len())
    }

    fn prune_commands(&mut self, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError> {
        let Some((last, next_after)) = old_rows(&self.0, "commands", "created_at", before, after, rows_max)? else {
            return Ok(Swept::default());
        };
        let mut ended = self.0.prepare_cached(
            "DELETE FROM commands WHERE id > ?1 AND id <= ?2 AND created_at < ?3 AND finished_at IS NOT NULL
             RETURNING order_row",
        )?;
        let ended = ended.query_map(params![after, last, integer(before.0)], |row| row.get(0))?;
        let orders = ended.collect::<Result<Vec<i64>, _>>()?;
        for order in orders.iter().collect::<std::collections::BTreeSet<_>>() {
            self.0
                .prepare_cached(
                    "DELETE FROM command_orders
                     WHERE id = ?1 AND next_after IS NULL AND NOT EXISTS (SELECT 1 FROM commands WHERE order_row = ?1)",
                )?
                .execute([order])?;
        }
        Ok(Swept { rows: orders.len(), next_after })
    }
}

/// Open commands, urgent ones first, then the oldest, marked as delivered. What the device has received is left out before the
/// limit applies, so that commands in progress don't hold up the ones behind. Those whose deadline has passed are left out too;
/// they are closed where the clock is watched, by retention.
pub(super) fn deliver(transaction: &Transaction<'_>, device: i64, at: UnixMs) -> Result<Vec<Command>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, state, deadline_at, command_id, kind, argument FROM commands
         WHERE device = ?1 AND state IN ('QUEUED', 'DELIVERED') AND deadline_at > ?2
         ORDER BY is_urgent DESC, id LIMIT ?3",
    )?;
    let open = statement
        .query_map(params![device, integer(at.0), rows(DELIVERED_AT_ONCE)], |row| {
            let (number, state) = (row.get::<_, i64>(0)?, word(row, 1, CommandState::from_word)?);
            let (kind, argument): (String, String) = (row.get(4)?, row.get(5)?);
            let (kind, argument) = (Text::truncated(&kind), Text::truncated(&argument));
            let deadline_at = time(row, 2)?;
            Ok((number, state, Command { command_id: parsed(row, 3)?, kind, argument, deadline_at }))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut delivered = Vec::new();
    for (row, state, command) in open {
        set_state(transaction, device, row, state, CommandEvent::Sent, "", at)?;
        delivered.push(command);
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
    let found = statement
        .query_row(params![ack.command_id.as_str(), device], |row| {
            Ok((row.get::<_, i64>(0)?, word(row, 1, CommandState::from_word)?))
        })
        .optional()?;
    let Some((row, state)) = found else { return Ok(None) };
    set_state(transaction, device, row, state, ack.state.into(), ack.detail.as_str(), at).map(Some)
}

/// Cancels every open command of a device.
pub(super) fn cancel_open(transaction: &Transaction<'_>, device: i64, why: &str, at: UnixMs) -> Result<(), StoreError> {
    let open = open_commands(
        transaction,
        "SELECT id, device, state FROM commands WHERE device = ?1 AND state IN ('QUEUED', 'DELIVERED', 'RECEIVED') LIMIT ?2",
        device,
        usize::MAX,
    )?;
    for (row, device, state) in open {
        set_state(transaction, device, row, state, CommandEvent::Canceled, why, at)?;
    }
    Ok(())
}

/// Row, device and state of the commands that `sql` finds.
fn open_commands(
    transaction: &Transaction<'_>,
    sql: &str,
    parameter: i64,
    rows_max: usize,
) -> Result<Vec<(i64, i64, CommandState)>, StoreError> {
    let mut statement = transaction.prepare_cached(sql)?;
    let found = statement.query_map(params![parameter, rows(rows_max)], |row| {
        Ok((row.get(0)?, row.get(1)?, word(row, 2, CommandState::from_word)?))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
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

impl CommandReads for SqliteReader {
    fn commands(&mut self, which: &CommandFilter, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("c.id > ?", after);
        filter.and_if("o.order_id = ?", which.order_id.as_ref().map(|id| id.as_str().to_owned()));
        filter.and_if("d.device_id = ?", which.device_id.as_ref().map(|id| id.as_str().to_owned()));
        if which.open_only {
            filter.and_that("c.state IN ('QUEUED', 'DELIVERED', 'RECEIVED')");
        }
        let sql = format!(
            "SELECT c.id, c.command_id, o.order_id, d.device_id, c.kind, c.argument, c.is_urgent, c.state, c.created_at,
                    c.deadline_at, c.delivered_at, c.finished_at, c.detail
             FROM commands c JOIN devices d ON d.id = c.device JOIN command_orders o ON o.id = c.order_row
             {} ORDER BY c.id LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            Ok(CommandRecord {
                row: row.get(0)?,
                command_id: parsed(row, 1)?,
                order_id: parsed(row, 2)?,
                device_id: parsed(row, 3)?,
                kind: row.get(4)?,
                argument: row.get(5)?,
                is_urgent: row.get(6)?,
                state: word(row, 7, CommandState::from_word)?,
                created_at: time(row, 8)?,
                deadline_at: time(row, 9)?,
                delivered_at: time_if(row, 10)?,
                finished_at: time_if(row, 11)?,
                detail: row.get(12)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn order_progress(&mut self, order_id: &CommandId) -> Result<Option<OrderProgress>, StoreError> {
        let found: Option<(i64, bool)> = self
            .connection
            .prepare_cached("SELECT id, next_after IS NULL FROM command_orders WHERE order_id = ?1")?
            .query_row([order_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((row, is_whole)) = found else { return Ok(None) };
        let mut statement = self.connection.prepare_cached(
            "SELECT state, count(*) FROM commands WHERE order_row = ?1 GROUP BY state ORDER BY state",
        )?;
        let counts = statement
            .query_map([row], |row| Ok((word(row, 0, CommandState::from_word)?, unsigned(row.get(1)?))))?
            .collect::<Result<_, _>>()?;
        Ok(Some(OrderProgress { counts, is_whole }))
    }

    fn order_under_way(&mut self) -> Result<Option<OrderUnderWay>, StoreError> {
        orders::under_way(&self.connection)
    }
}
