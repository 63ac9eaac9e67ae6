//! Commands in SQLite; orders are in [`orders`]. `device_states.open_commands` counts those not yet terminal.

use ks_protocol::{
    id::{CommandId, DeviceId},
    message::Command,
    text::Text,
    time::UnixMs,
};
use rusqlite::{OptionalExtension, Row, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, list, parsed, rows, span, time, time_if, unsigned, word},
    filter::Filter,
    orders,
};
use crate::{
    command::CommandState,
    store::{
        Span,
        audit::chain::Audited,
        commands::{
            CommandChange, CommandFilter, CommandReads, CommandRecord, CommandRow, CommandRows, NewCommands, NewOrder,
            OrderProgress, OrderRow, OrderTerms, OrderUnderWay,
        },
    },
};

/// The condition of open commands. SQLite uses the indexes of open ones only if their condition is repeated literally; otherwise it
/// would read all commands of a device.
macro_rules! is_open {
    () => {
        "state IN ('QUEUED', 'DELIVERED', 'RECEIVED')"
    };
}

/// Commands that wait for a device.
const WAITING: &str = concat!(
    "SELECT id, device, state, deadline_at, command_id, kind, argument FROM commands INDEXED BY commands_open
    WHERE device = ?1 AND ",
    is_open!(),
    " AND state <> 'RECEIVED' AND deadline_at > ?2 ORDER BY is_urgent DESC, id LIMIT ?3"
);

/// The open commands of a list of devices.
const OPEN: &str = concat!(
    "SELECT id, device, state FROM commands INDEXED BY commands_open
    WHERE device IN (SELECT value FROM json_each(?1)) AND ",
    is_open!()
);

/// Open commands whose deadline has passed.
const OVERDUE: &str = concat!(
    "SELECT id, device, state FROM commands WHERE deadline_at <= ?1 AND ",
    is_open!(),
    " ORDER BY deadline_at LIMIT ?2"
);

/// The devices of open commands, in the order of creation.
const AWAITED: &str = concat!(
    "SELECT c.id, d.device_id FROM commands c JOIN devices d ON d.id = c.device WHERE c.id > ?1 AND c.",
    is_open!(),
    " ORDER BY c.id LIMIT ?2"
);

impl CommandRows for Writes<'_> {
    fn order_of_token(&mut self, client_token: &str) -> Result<Option<OrderRow>, StoreError> {
        orders::find(&self.0, "client_token = ?1", client_token)
    }

    fn order_named(&mut self, order_id: &CommandId) -> Result<Option<OrderRow>, StoreError> {
        orders::find(&self.0, "order_id = ?1", order_id.as_str())
    }

    fn insert_order(
        &mut self,
        order: &NewOrder,
        so_far: &OrderRow,
        at: UnixMs,
        _: &Audited,
    ) -> Result<i64, StoreError> {
        orders::insert(&self.0, order, so_far, at)
    }

    fn save_order(&mut self, order: &OrderRow) -> Result<(), StoreError> {
        let sql = "UPDATE command_orders SET queued = ?2, refused = ?3, next_after = ?4 WHERE id = ?1";
        let parameters = params![order.row, rows(order.queued), rows(order.refused), order.next_after];
        self.0.prepare_cached(sql)?.execute(parameters)?;
        Ok(())
    }

    fn insert_order_terms(
        &mut self,
        order_row: i64,
        order: &NewOrder,
        terms: &OrderTerms,
        _: &Audited,
    ) -> Result<(), StoreError> {
        orders::insert_terms(&self.0, order_row, order, terms)
    }

    fn order_terms(&mut self, order_row: i64) -> Result<OrderTerms, StoreError> {
        orders::terms(&self.0, order_row)
    }

    fn delete_order_terms(&mut self, order_row: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM orders_under_way WHERE order_row = ?1")?.execute([order_row])?;
        Ok(())
    }

    fn insert_commands(&mut self, commands: &NewCommands<'_>, _: &Audited) -> Result<(), StoreError> {
        let named: Vec<(&str, i64)> = commands.devices.iter().map(|(name, device)| (name.as_str(), *device)).collect();
        let named = list(&named)?;
        self.0
            .prepare_cached(
                "INSERT INTO commands (command_id, order_row, device, kind, argument, is_urgent, state, created_at, deadline_at)
                 SELECT value ->> 0, ?2, value ->> 1, ?3, ?4, ?5, ?8, ?6, ?7 FROM json_each(?1) ORDER BY key",
            )?
            .execute(params![
                named,
                commands.order_row,
                commands.kind,
                commands.argument,
                commands.is_urgent,
                integer(commands.created_at.0),
                integer(commands.deadline_at.0),
                CommandState::Queued.as_str()
            ])?;
        self.0
            .prepare_cached(
                "UPDATE device_states SET open_commands = open_commands + 1
                 WHERE device IN (SELECT value ->> 1 FROM json_each(?1))",
            )?
            .execute([named])?;
        Ok(())
    }

    fn commands_named(&mut self, command_ids: &[&CommandId]) -> Result<Vec<Option<CommandRow>>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT id, device, state FROM commands WHERE command_id = ?1")?;
        let mut find = |id: &&CommandId| Ok(statement.query_row([id.as_str()], command_row).optional()?);
        command_ids.iter().map(&mut find).collect()
    }

    fn waiting_commands(
        &mut self,
        devices: &[(i64, UnixMs)],
        limit: usize,
    ) -> Result<Vec<(CommandRow, Command)>, StoreError> {
        let mut statement = self.0.prepare_cached(WAITING)?;
        let mut waiting = Vec::new();
        for (device, at) in devices {
            let found = statement.query_map(params![device, integer(at.0), rows(limit)], |row| {
                let (kind, argument): (String, String) = (row.get(5)?, row.get(6)?);
                let (kind, argument) = (Text::truncated(&kind), Text::truncated(&argument));
                let command = Command { command_id: parsed(row, 4)?, kind, argument, deadline_at: time(row, 3)? };
                Ok((command_row(row)?, command))
            })?;
            for command in found {
                waiting.push(command?);
            }
        }
        Ok(waiting)
    }

    fn open_commands(&mut self, devices: &[i64]) -> Result<Vec<CommandRow>, StoreError> {
        let mut statement = self.0.prepare_cached(OPEN)?;
        let found = statement.query_map([list(devices)?], command_row)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn overdue_commands(&mut self, now: UnixMs, limit: usize) -> Result<Vec<CommandRow>, StoreError> {
        let mut statement = self.0.prepare_cached(OVERDUE)?;
        let found = statement.query_map(params![integer(now.0), rows(limit)], command_row)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn save_commands(&mut self, changes: &[CommandChange<'_>]) -> Result<(), StoreError> {
        let mut save = self.0.prepare_cached(
            "UPDATE commands SET state = ?2, detail = ?3, delivered_at = coalesce(delivered_at, ?4), finished_at = ?5
             WHERE id = ?1",
        )?;
        let sql = "UPDATE device_states SET open_commands = open_commands - 1 WHERE device = ?1";
        let mut count = self.0.prepare_cached(sql)?;
        for CommandChange { command, state, detail, delivered_at, finished_at } in changes {
            let ms = |at: &Option<UnixMs>| at.map(|at| integer(at.0));
            save.execute(params![command.row, state.as_str(), detail, ms(delivered_at), ms(finished_at)])?;
            if finished_at.is_some() {
                count.execute([command.device])?;
            }
        }
        Ok(())
    }

    fn cancel_commands(
        &mut self,
        commands: &[CommandRow],
        why: &str,
        at: UnixMs,
        _: &Audited,
    ) -> Result<(), StoreError> {
        let canceled = |command: &CommandRow| CommandChange {
            command: *command,
            state: CommandState::Canceled,
            detail: why,
            delivered_at: None,
            finished_at: Some(at),
        };
        self.save_commands(&commands.iter().map(canceled).collect::<Vec<_>>())
    }

    fn span_of_commands(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError> {
        span(&self.0, "commands", "created_at", after, rows_max)
    }

    fn delete_ended_commands(&mut self, after: i64, last: i64, before: UnixMs) -> Result<Vec<i64>, StoreError> {
        let mut ended = self.0.prepare_cached(
            "DELETE FROM commands WHERE id > ?1 AND id <= ?2 AND created_at < ?3 AND finished_at IS NOT NULL
             RETURNING order_row",
        )?;
        let orders = ended.query_map(params![after, last, integer(before.0)], |row| row.get(0))?;
        Ok(orders.collect::<Result<_, _>>()?)
    }

    fn delete_empty_orders(&mut self, orders: &[i64]) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "DELETE FROM command_orders WHERE id IN (SELECT value FROM json_each(?1)) AND next_after IS NULL
                 AND NOT EXISTS (SELECT 1 FROM commands WHERE order_row = command_orders.id)",
            )?
            .execute([list(orders)?])?;
        Ok(())
    }
}

/// A command whose columns begin with row, device and state.
fn command_row(row: &Row<'_>) -> rusqlite::Result<CommandRow> {
    Ok(CommandRow { row: row.get(0)?, device: row.get(1)?, state: word(row, 2, CommandState::from_word)? })
}

impl CommandReads for SqliteReader {
    fn awaited(&mut self, after: i64, limit: usize) -> Result<Vec<(i64, DeviceId)>, StoreError> {
        let mut statement = self.connection.prepare_cached(AWAITED)?;
        let found = statement.query_map(params![after, rows(limit)], |row| Ok((row.get(0)?, parsed(row, 1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn commands(&mut self, which: &CommandFilter, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError> {
        let mut filter = Filter::default();
        let (beyond, direction) = if which.newest_first { ("c.id < ?", "DESC") } else { ("c.id > ?", "ASC") };
        filter.and(beyond, after);
        filter.and_if("o.order_id = ?", which.order_id.as_ref().map(|id| id.as_str().to_owned()));
        filter.and_if("d.device_id = ?", which.device_id.as_ref().map(|id| id.as_str().to_owned()));
        if which.open_only {
            filter.and_that(concat!("c.", is_open!()));
        }
        filter.and_if("c.state = ?", which.state.map(|state| state.as_str().to_owned()));
        let sql = format!(
            "SELECT c.id, c.command_id, o.order_id, d.device_id, c.kind, c.argument, c.is_urgent, c.state, c.created_at,
                    c.deadline_at, c.delivered_at, c.finished_at, c.detail
             FROM commands c JOIN devices d ON d.id = c.device JOIN command_orders o ON o.id = c.order_row
             {} ORDER BY c.id {direction} LIMIT {}",
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

#[cfg(test)]
mod tests {
    use rusqlite::types::Value;

    use super::{
        super::{Schema, migrations},
        *,
    };

    #[test]
    fn the_states_of_open_commands_are_those_that_are_not_terminal() {
        let open = CommandState::ALL.into_iter().filter(|state| !state.is_terminal());
        let words: Vec<String> = open.map(|state| format!("'{}'", state.as_str())).collect();
        assert_eq!(is_open!(), format!("state IN ({})", words.join(", ")));
    }

    #[test]
    fn ended_commands_are_not_read_to_find_open_ones() {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        migrations::migrate(&mut connection, Schema::Migrate, 0).unwrap();
        for sql in [WAITING, OPEN] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let unset = vec![Value::Null; statement.parameter_count()];
            let steps = statement.query_map(rusqlite::params_from_iter(unset), |row| row.get(3)).unwrap();
            let steps = steps.collect::<Result<Vec<String>, _>>().unwrap().join("; ");
            assert!(steps.contains("SEARCH commands USING INDEX commands_open (device=?)"), "{steps}");
            assert!(!steps.contains("ORDER BY"), "sorted by the index: {steps}");
        }
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {OVERDUE}")).unwrap();
        let step: String = statement.query_row(params![0, 1], |row| row.get(3)).unwrap();
        assert_eq!(step, "SEARCH commands USING INDEX commands_due (deadline_at<?)");
    }
}
