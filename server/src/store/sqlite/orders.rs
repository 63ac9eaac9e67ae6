//! Orders in SQLite: stores where the next piece begins, so that an order continues after a crash, or when it is repeated.

use ks_protocol::time::UnixMs;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    StoreError,
    columns::{integer, parsed, rows, time, unsigned},
    transaction::Transaction,
};
use crate::store::{
    Actor,
    commands::{NewOrder, OrderRow, OrderTerms, OrderUnderWay},
};

/// The order for which a condition with one parameter holds.
pub(super) fn find(transaction: &Transaction<'_>, condition: &str, name: &str) -> Result<Option<OrderRow>, StoreError> {
    let columns = "SELECT id, order_id, request_sha256, queued, refused, next_after FROM command_orders WHERE";
    let count = |number| usize::try_from(unsigned(number)).unwrap_or(usize::MAX);
    let mut statement = transaction.prepare_cached(&format!("{columns} {condition}"))?;
    let found = statement.query_row([name], |row| {
        Ok(OrderRow {
            row: row.get(0)?,
            order_id: parsed(row, 1)?,
            request_sha256: row.get(2)?,
            queued: count(row.get(3)?),
            refused: count(row.get(4)?),
            next_after: row.get(5)?,
        })
    });
    Ok(found.optional()?)
}

pub(super) fn insert(
    transaction: &Transaction<'_>,
    order: &NewOrder,
    so_far: &OrderRow,
    at: UnixMs,
) -> Result<i64, StoreError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO command_orders (order_id, client_token, request_sha256, created_at, queued, refused, next_after)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    Ok(statement.insert(params![
        order.order_id.as_str(),
        order.client_token,
        order.request_sha256.as_slice(),
        integer(at.0),
        rows(so_far.queued),
        rows(so_far.refused),
        so_far.next_after
    ])?)
}

pub(super) fn insert_terms(
    transaction: &Transaction<'_>,
    order_row: i64,
    order: &NewOrder,
    terms: &OrderTerms,
) -> Result<(), StoreError> {
    let selector = serde_json::to_string(&order.which).map_err(|error| StoreError::Database(error.to_string()))?;
    transaction
        .prepare_cached(
            "INSERT INTO orders_under_way
                (order_row, id_seed, selector, kind, argument, is_urgent, deadline_at, actor, address)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            order_row,
            terms.id_seed.as_slice(),
            selector,
            order.kind,
            order.argument,
            order.is_urgent,
            integer(terms.deadline_at.0),
            terms.name,
            terms.address.map(|address| address.to_string()).unwrap_or_default()
        ])?;
    Ok(())
}

pub(super) fn terms(transaction: &Transaction<'_>, order_row: i64) -> Result<OrderTerms, StoreError> {
    let sql = "SELECT id_seed, deadline_at, actor, address FROM orders_under_way WHERE order_row = ?1";
    let terms = transaction.prepare_cached(sql)?.query_row([order_row], |row| {
        let address = row.get::<_, String>(3)?.parse().ok();
        Ok(OrderTerms { id_seed: row.get(0)?, deadline_at: time(row, 1)?, name: row.get(2)?, address })
    });
    Ok(terms?)
}

/// The oldest incomplete order.
pub(super) fn under_way(connection: &Connection) -> Result<Option<OrderUnderWay>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.order_id, w.id_seed, o.client_token, o.request_sha256, w.selector, w.kind, w.argument, w.is_urgent,
                w.deadline_at, w.actor, w.address, o.created_at
         FROM orders_under_way w JOIN command_orders o ON o.id = w.order_row ORDER BY w.order_row LIMIT 1",
    )?;
    let found = statement.query_row([], |row| {
        let selector: String = row.get(4)?;
        let which = serde_json::from_str(&selector).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(error))
        })?;
        let order = NewOrder {
            order_id: parsed(row, 0)?,
            id_seed: row.get(1)?,
            client_token: row.get(2)?,
            request_sha256: row.get(3)?,
            which,
            kind: row.get(5)?,
            argument: row.get(6)?,
            is_urgent: row.get(7)?,
            deadline_at: time(row, 8)?,
        };
        let by = Actor { name: row.get(9)?, address: row.get::<_, String>(10)?.parse().ok(), at: time(row, 11)? };
        Ok(OrderUnderWay { order, by })
    });
    Ok(found.optional()?)
}
