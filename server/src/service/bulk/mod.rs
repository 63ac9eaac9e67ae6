//! Changes of very many devices, in chunks: each is a transaction of its own, so that heartbeats are stored in between. All-or-nothing
//! changes are checked completely before the first chunk. If the server dies in the middle, repeating the request finishes the work;
//! the server finishes command orders by itself (docs/decisions/0027).

use std::{future::Future, sync::Arc, time::Duration};

use ks_protocol::text::counted;

use crate::{
    app::App,
    clock::Clock,
    rules,
    store::{
        Actor, Reader, StoreError, Writer,
        commands::{NewOrder, OrderRefused, OrderUnderWay, Ordered, REFUSED_NAMED_MAX},
        devices::{ImportProblem, Imported, NewDevice, NewOtrts, PROBLEMS_MAX, Part},
    },
};

/// Devices changed in one transaction: 5 to 20 ms of the only writer.
pub const CHUNK_DEVICES: usize = 500;
/// Pause between chunks in a process that shares the database with a server, so that the server can write.
pub const PAUSE_FOR_SERVER: Duration = Duration::from_millis(20);
/// Interval of the check for unfinished orders.
const FINISH_INTERVAL: Duration = Duration::from_secs(10);

/// Runs `work` to completion even if the caller stops waiting, for example because the client disconnected.
///
/// # Errors
/// The server shuts down.
pub async fn run_to_completion<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(|_| StoreError::Closed)
}

/// An import that stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportStopped {
    /// What was imported before the stop; it stays imported.
    pub done: Imported,
    pub why: StopReason,
}

/// Why an import stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Rows that conflict with stored devices.
    Rows(Vec<ImportProblem>),
    Store(StoreError),
}

impl ImportStopped {
    /// Describes a partial import; none if nothing was imported.
    pub fn partial_import(&self) -> Option<String> {
        let Imported { added, .. } = self.done;
        (added > 0).then(|| {
            format!(
                "already imported, and kept: {} of this inventory; fix the cause, then import the whole inventory again",
                counted(added, "device")
            )
        })
    }
}

/// Imports all of `devices`, or none if one of them conflicts with a stored device. It stops in the middle only if another caller
/// changes a device between the check and its chunk, or if the store fails; repeating the import continues it.
///
/// # Errors
/// Why it stopped, and how much is imported.
pub async fn import(
    writer: &Writer,
    reader: &Reader,
    devices: Vec<NewDevice>,
    by: &Actor,
    pause: Duration,
) -> Result<Imported, ImportStopped> {
    let mut done = Imported::default();
    let total = devices.len();
    let chunks: Vec<Arc<[NewDevice]>> = devices.chunks(CHUNK_DEVICES).map(Arc::from).collect();
    drop(devices);
    if chunks.len() > 1 {
        let problems = problems(reader, &chunks).await.map_err(|why| ImportStopped { done, why })?;
        if !problems.is_empty() {
            return Err(ImportStopped { done, why: StopReason::Rows(problems) });
        }
    }
    for (number, chunk) in chunks.into_iter().enumerate() {
        if number > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let (part, by) = (Part { before: number * CHUNK_DEVICES, total }, by.clone());
        let imported = writer.write(move |store| rules::devices::import(store, &chunk, part, &by)).await;
        let why = match imported {
            Ok(Ok(Imported { added, unchanged, revoked })) => {
                done.added += added;
                done.unchanged += unchanged;
                done.revoked += revoked;
                continue;
            }
            Ok(Err(problems)) => StopReason::Rows(problems),
            Err(error) => StopReason::Store(error),
        };
        return Err(ImportStopped { done, why });
    }
    Ok(done)
}

/// All conflicts with stored devices, at most the first thousand.
async fn problems(reader: &Reader, chunks: &[Arc<[NewDevice]>]) -> Result<Vec<ImportProblem>, StopReason> {
    let mut problems = Vec::new();
    for chunk in chunks {
        let chunk = Arc::clone(chunk);
        problems.extend(
            reader.ask(move |store| rules::devices::import_problems(store, &chunk)).await.map_err(StopReason::Store)?,
        );
        if problems.len() >= PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            break;
        }
    }
    Ok(problems)
}

/// Queues the commands of an order and returns once all of them are durable. If it is interrupted, [`finish_orders`] continues.
///
/// # Errors
/// The store fails.
pub async fn order(
    writer: &Writer,
    clock: &dyn Clock,
    order: NewOrder,
    by: &Actor,
) -> Result<Result<Ordered, OrderRefused>, StoreError> {
    let order = Arc::new(order);
    let mut previous: Option<Ordered> = None;
    loop {
        let (order, by) = (Arc::clone(&order), Actor { at: clock.now(), ..by.clone() });
        let chunk = match writer.write(move |store| rules::commands::order(store, &order, CHUNK_DEVICES, &by)).await? {
            Ok(chunk) => chunk,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut total = chunk.clone();
        if let Some(before) = previous {
            total.is_repeated = before.is_repeated;
            total.refused = before.refused;
            total.refused.extend(chunk.refused);
            total.refused.truncate(REFUSED_NAMED_MAX);
        }
        if total.is_whole {
            return Ok(Ok(total));
        }
        previous = Some(total);
    }
}

/// Finishes orders that were interrupted because the server died or its store failed: at the start, and then every ten seconds. It
/// may run concurrently with [`order`] for the same order: each chunk is queued once.
pub async fn finish_orders(app: &App) {
    loop {
        match finish_oldest(&app.writer, &app.reader, &*app.clock).await {
            Ok(Some(_)) => continue,
            Ok(None) | Err(StoreError::Damaged(_)) => {} // damage was logged when it was found
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "an order can't be finished; will retry"),
        }
        tokio::time::sleep(FINISH_INTERVAL).await;
    }
}

/// Finishes the oldest unfinished order; none if there is none.
///
/// # Errors
/// The store fails.
pub async fn finish_oldest(writer: &Writer, reader: &Reader, clock: &dyn Clock) -> Result<Option<Ordered>, StoreError> {
    let Some(OrderUnderWay { order, by }) = reader.ask(|store| store.order_under_way()).await? else {
        return Ok(None);
    };
    let order_id = order.order_id.clone();
    let done = self::order(writer, clock, order, &by).await?;
    let done = done.map_err(|_| StoreError::Database(format!("{order_id} was replaced by another order")))?;
    tracing::info!(%order_id, queued = done.queued, "order finished");
    Ok(Some(done))
}

/// Stores one-time registration tokens. If it fails in the middle, the stored ones were not returned to any caller, and they expire.
///
/// # Errors
/// The store fails.
pub async fn add_otrts(writer: &Writer, otrts: &NewOtrts, by: &Actor, pause: Duration) -> Result<(), StoreError> {
    for (number, chunk) in otrts.tokens_sha256.chunks(CHUNK_DEVICES).enumerate() {
        if number > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let (chunk, by) = (otrts.on_the_same_terms(chunk), by.clone());
        writer.write(move |store| rules::devices::add_otrts(store, &chunk, &by)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
