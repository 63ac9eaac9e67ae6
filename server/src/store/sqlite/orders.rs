//! An order's way into commands, piece by piece: where the next one begins stands in the store, so that whoever comes after a
//! crash, or with the same order again, goes on.

use ks_protocol::{
    id::{CommandId, DeviceId},
    text::hex,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::{
    DeviceStatus, Standing, StoreError, audit::append, devices::find_some, integer, parsed, rows, time,
    transaction::Transaction, unsigned,
};
use crate::store::{
    By,
    commands::{NewOrder, OrderRefused, OrderUnderWay, Ordered, REFUSED_NAMED_MAX},
    devices::Selector,
};

/// An order as it is stored.
struct Begun {
    row: i64,
    order_id: CommandId,
    queued: usize,
    refused: usize,
    /// Where the next piece begins: after so many names, or after this row; none once the order is whole.
    next_after: Option<i64>,
}

/// What is the same for every piece, and stands in the store as long as one is missing.
struct Terms {
    id_seed: [u8; 32],
    deadline_at: UnixMs,
    by: By,
}

/// Makes the next piece of an order; see [`crate::store::commands::CommandWrites::order`].
pub(super) fn order(
    transaction: &Transaction<'_>,
    order: &NewOrder,
    devices_max: usize,
    by: &By,
) -> Result<Result<Ordered, OrderRefused>, StoreError> {
    let found = find_order(transaction, order)?;
    let is_repeated = found.is_some();
    let (mut begun, terms) = match found {
        None => {
            let terms = Terms { id_seed: order.id_seed, deadline_at: order.deadline_at, by: by.clone() };
            (begin(transaction, order, by)?, terms)
        }
        Some((_, request_sha256)) if request_sha256 != order.request_sha256 => {
            return Ok(Err(OrderRefused::TokenTaken));
        }
        Some((begun, _)) if begun.next_after.is_none() => return Ok(Ok(ordered(begun, Vec::new(), true))),
        Some((begun, _)) => {
            let terms = terms(transaction, begun.row, by.at)?;
            (begun, terms)
        }
    };
    let piece = piece(transaction, &order.which, begun.next_after.unwrap_or(0), devices_max)?;
    for device in &piece.meant {
        insert(transaction, order, begun.row, &terms, *device, by.at)?;
    }
    begun.queued += piece.meant.len();
    begun.refused += piece.refused.len();
    begun.next_after = piece.next_after;
    keep(transaction, &begun, order, by, is_repeated)?;
    if !is_repeated || !piece.meant.is_empty() {
        let subject = format!("{} devices", piece.meant.len());
        append(transaction, "command.order", &subject, &format!("{} {}", order.kind, begun.order_id), &terms.by)?;
    }
    let mut refused = piece.refused;
    refused.truncate(REFUSED_NAMED_MAX);
    Ok(Ok(ordered(begun, refused, is_repeated)))
}

fn ordered(begun: Begun, refused: Vec<DeviceId>, is_repeated: bool) -> Ordered {
    let Begun { order_id, queued, refused: refused_count, next_after, .. } = begun;
    Ordered { order_id, queued, refused, refused_count, is_repeated, is_whole: next_after.is_none() }
}

/// The order of the same client token, or of the same name, with what was asked for.
fn find_order(transaction: &Transaction<'_>, order: &NewOrder) -> Result<Option<(Begun, [u8; 32])>, StoreError> {
    let columns = "SELECT id, order_id, queued, refused, next_after, request_sha256 FROM command_orders WHERE";
    let count = |number| usize::try_from(unsigned(number)).unwrap_or(usize::MAX);
    let find = |condition: &str, name: &str| {
        let mut statement = transaction.prepare_cached(&format!("{columns} {condition} = ?1"))?;
        let found = statement.query_row([name], |row| {
            let begun = Begun {
                row: row.get(0)?,
                order_id: parsed(row, 1)?,
                queued: count(row.get(2)?),
                refused: count(row.get(3)?),
                next_after: row.get(4)?,
            };
            Ok((begun, row.get(5)?))
        });
        found.optional()
    };
    if let Some(token) = &order.client_token
        && let Some(found) = find("client_token", token)?
    {
        return Ok(Some(found));
    }
    Ok(find("order_id", order.order_id.as_str())?)
}

fn begin(transaction: &Transaction<'_>, order: &NewOrder, by: &By) -> Result<Begun, StoreError> {
    let row = transaction
        .prepare_cached(
            "INSERT INTO command_orders (order_id, client_token, request_sha256, created_at, queued, refused)
             VALUES (?1, ?2, ?3, ?4, 0, 0)",
        )?
        .insert(params![
            order.order_id.as_str(),
            order.client_token,
            order.request_sha256.as_slice(),
            integer(by.at.0)
        ])?;
    Ok(Begun { row, order_id: order.order_id.clone(), queued: 0, refused: 0, next_after: None })
}

/// The terms of an order that is under way; its pieces are made at `at`.
fn terms(transaction: &Transaction<'_>, order_row: i64, at: UnixMs) -> Result<Terms, StoreError> {
    let sql = "SELECT id_seed, deadline_at, actor, address FROM orders_under_way WHERE order_row = ?1";
    let terms = transaction.prepare_cached(sql)?.query_row([order_row], |row| {
        let by = By { name: row.get(2)?, address: row.get::<_, String>(3)?.parse().ok(), at };
        Ok(Terms { id_seed: row.get(0)?, deadline_at: time(row, 1)?, by })
    });
    Ok(terms?)
}

/// Devices of one piece.
struct Piece {
    meant: Vec<i64>,
    refused: Vec<DeviceId>,
    next_after: Option<i64>,
}

/// The next devices that are meant; those that were named and are nobody's, or are revoked, are refused.
fn piece(transaction: &Transaction<'_>, which: &Selector, after: i64, devices_max: usize) -> Result<Piece, StoreError> {
    let is_open = |standing: &Standing| standing.status != DeviceStatus::Revoked;
    let Some(names) = &which.device_ids else {
        let (found, refused) = find_some(transaction, which, after, devices_max)?;
        let next_after = found.last().filter(|_| found.len() == devices_max).map(|(_, last)| last.row);
        let meant = found.iter().filter(|(_, standing)| is_open(standing)).map(|(_, standing)| standing.row).collect();
        return Ok(Piece { meant, refused, next_after });
    };
    let left = names.get(usize::try_from(after).unwrap_or(usize::MAX)..).unwrap_or_default();
    let some = left.get(..devices_max).unwrap_or(left);
    let next_after = (some.len() < left.len()).then(|| after.saturating_add(rows(some.len())));
    let (found, mut refused) =
        find_some(transaction, &Selector { device_ids: Some(some.to_vec()), ..which.clone() }, 0, usize::MAX)?;
    let mut meant = Vec::with_capacity(found.len());
    for (device_id, standing) in found {
        if is_open(&standing) { meant.push(standing.row) } else { refused.push(device_id) }
    }
    Ok(Piece { meant, refused, next_after })
}

/// Keeps how far an order came, and what it takes to go on.
fn keep(
    transaction: &Transaction<'_>,
    begun: &Begun,
    order: &NewOrder,
    by: &By,
    was_under_way: bool,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached("UPDATE command_orders SET queued = ?2, refused = ?3, next_after = ?4 WHERE id = ?1")?
        .execute(params![begun.row, rows(begun.queued), rows(begun.refused), begun.next_after])?;
    match (was_under_way, begun.next_after) {
        (true, None) => {
            transaction.prepare_cached("DELETE FROM orders_under_way WHERE order_row = ?1")?.execute([begun.row])?;
        }
        (false, Some(_)) => {
            let selector =
                serde_json::to_string(&order.which).map_err(|error| StoreError::Database(error.to_string()))?;
            transaction
                .prepare_cached(
                    "INSERT INTO orders_under_way
                        (order_row, id_seed, selector, kind, argument, is_urgent, deadline_at, actor, address)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    begun.row,
                    order.id_seed.as_slice(),
                    selector,
                    order.kind,
                    order.argument,
                    order.is_urgent,
                    integer(order.deadline_at.0),
                    by.name,
                    by.address.map(|address| address.to_string()).unwrap_or_default()
                ])?;
        }
        _ => {}
    }
    Ok(())
}

/// One command of an order; its name comes from the order's seed and its device.
fn insert(
    transaction: &Transaction<'_>,
    order: &NewOrder,
    order_row: i64,
    terms: &Terms,
    device: i64,
    at: UnixMs,
) -> Result<(), StoreError> {
    let mut hash = Sha256::new_with_prefix(terms.id_seed);
    hash.update(device.to_be_bytes());
    let digits = hex(&hash.finalize());
    transaction
        .prepare_cached(
            "INSERT INTO commands (command_id, order_row, device, kind, argument, is_urgent, state, created_at, deadline_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'QUEUED', ?7, ?8)",
        )?
        .execute(params![
            format!("c{}", digits.get(..24).unwrap_or(&digits)),
            order_row,
            device,
            order.kind,
            order.argument,
            order.is_urgent,
            integer(at.0),
            integer(terms.deadline_at.0)
        ])?;
    transaction
        .prepare_cached("UPDATE device_states SET open_commands = open_commands + 1 WHERE device = ?1")?
        .execute([device])?;
    Ok(())
}

/// The oldest order of which a piece is missing.
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
        let by = By { name: row.get(9)?, address: row.get::<_, String>(10)?.parse().ok(), at: time(row, 11)? };
        Ok(OrderUnderWay { order, by })
    });
    Ok(found.optional()?)
}
