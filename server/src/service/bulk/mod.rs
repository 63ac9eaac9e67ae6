//! Changes of very many devices, in pieces: each is a transaction of its own, so that heartbeats go on in between. What must be
//! all or nothing is checked whole before the first piece; what is left when the server dies in the middle is finished by the
//! same call again, an order by the server itself (docs/decisions/0027).

use std::{future::Future, sync::Arc, time::Duration};

use crate::{
    app::App,
    clock::Clock,
    rules,
    store::{
        By, Reader, StoreError, Writer,
        commands::{NewOrder, OrderRefused, OrderUnderWay, Ordered, REFUSED_NAMED_MAX},
        devices::{ImportProblem, Imported, NewDevice, NewOtrts, PROBLEMS_MAX, Part},
    },
};

/// Devices that are changed in one transaction: 5 to 20 ms of the only writer.
pub const AT_ONCE: usize = 500;
/// How long a program beside a server lets go of the database between two pieces, so that the server can write.
pub const BESIDE_A_SERVER: Duration = Duration::from_millis(20);
/// How often it is looked for orders of which a piece is missing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Does it to its end, also when nobody waits for it any more: who asked may have gone.
///
/// # Errors
/// The server ends.
pub async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(|_| StoreError::Closed)
}

/// Why an import stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportStopped {
    /// What was imported before, and stays.
    pub done: Imported,
    /// Why.
    pub why: StoppedBy,
}

/// What stopped an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoppedBy {
    /// Rows that do not fit what is stored.
    Rows(Vec<ImportProblem>),
    /// The store.
    Store(StoreError),
}

impl ImportStopped {
    /// What stays, in a sentence; none if nothing does.
    pub fn what_stays(&self) -> Option<String> {
        let Imported { added, .. } = self.done;
        (added > 0).then(|| {
            format!(
                "{added} devices of this inventory were imported before and stay; once what stopped it is mended, import the whole inventory again"
            )
        })
    }
}

/// Imports all of `devices`, or none if one of them does not fit what is stored. Only when a device is changed by somebody else
/// between the check and its piece, or when the store fails, is it stopped in the middle; importing again goes on.
///
/// # Errors
/// It was stopped, and how much is imported.
pub async fn import(
    writer: &Writer,
    reader: &Reader,
    devices: Vec<NewDevice>,
    by: &By,
    pause: Duration,
) -> Result<Imported, ImportStopped> {
    let mut done = Imported::default();
    let total = devices.len();
    let pieces: Vec<Arc<[NewDevice]>> = devices.chunks(AT_ONCE).map(Arc::from).collect();
    drop(devices);
    if pieces.len() > 1 {
        let problems = problems(reader, &pieces).await.map_err(|why| ImportStopped { done, why })?;
        if !problems.is_empty() {
            return Err(ImportStopped { done, why: StoppedBy::Rows(problems) });
        }
    }
    for (number, piece) in pieces.into_iter().enumerate() {
        if number > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let (part, by) = (Part { before: number * AT_ONCE, total }, by.clone());
        let imported = writer.write(move |store| rules::devices::import(store, &piece, part, &by)).await;
        let why = match imported {
            Ok(Ok(Imported { added, unchanged, revoked })) => {
                done.added += added;
                done.unchanged += unchanged;
                done.revoked += revoked;
                continue;
            }
            Ok(Err(problems)) => StoppedBy::Rows(problems),
            Err(error) => StoppedBy::Store(error),
        };
        return Err(ImportStopped { done, why });
    }
    Ok(done)
}

/// All that does not fit what is stored, the first thousand of it.
async fn problems(reader: &Reader, pieces: &[Arc<[NewDevice]>]) -> Result<Vec<ImportProblem>, StoppedBy> {
    let mut problems = Vec::new();
    for piece in pieces {
        let piece = Arc::clone(piece);
        problems.extend(
            reader.ask(move |store| rules::devices::import_problems(store, &piece)).await.map_err(StoppedBy::Store)?,
        );
        if problems.len() >= PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            break;
        }
    }
    Ok(problems)
}

/// Queues the commands of an order, and comes back once all of them are durable. Whatever stops it, [`finish_orders`] goes on.
///
/// # Errors
/// The store's.
pub async fn order(
    writer: &Writer,
    clock: &dyn Clock,
    order: NewOrder,
    by: &By,
) -> Result<Result<Ordered, OrderRefused>, StoreError> {
    let order = Arc::new(order);
    let mut first: Option<Ordered> = None;
    loop {
        let (order, by) = (Arc::clone(&order), By { at: clock.now(), ..by.clone() });
        let piece = match writer.write(move |store| rules::commands::order(store, &order, AT_ONCE, &by)).await? {
            Ok(piece) => piece,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut so_far = piece.clone();
        if let Some(before) = first {
            so_far.is_repeated = before.is_repeated;
            so_far.refused = before.refused;
            so_far.refused.extend(piece.refused);
            so_far.refused.truncate(REFUSED_NAMED_MAX);
        }
        if so_far.is_whole {
            return Ok(Ok(so_far));
        }
        first = Some(so_far);
    }
}

/// Goes on with orders of which a piece is missing, because the server died in the middle or its store failed: at the start, and
/// then every ten seconds. Two that make the same order's pieces share them.
pub async fn finish_orders(app: &App) {
    loop {
        match finish_oldest(&app.writer, &app.reader, &*app.clock).await {
            Ok(Some(_)) => continue,
            Ok(None) | Err(StoreError::Damaged(_)) => {} // damage was said when it was found
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "an order can't be finished; it will be tried again"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Finishes the oldest order of which a piece is missing; none if there is none.
///
/// # Errors
/// The store's.
pub async fn finish_oldest(writer: &Writer, reader: &Reader, clock: &dyn Clock) -> Result<Option<Ordered>, StoreError> {
    let Some(OrderUnderWay { order, by }) = reader.ask(|store| store.order_under_way()).await? else {
        return Ok(None);
    };
    let order_id = order.order_id.clone();
    let done = self::order(writer, clock, order, &by).await?;
    let done = done.map_err(|_| StoreError::Database(format!("{order_id} is another order now")))?;
    tracing::info!(%order_id, queued = done.queued, "an order is whole");
    Ok(Some(done))
}

/// Makes one-time tokens known. What is known of them when it is stopped nobody has seen, and it expires.
///
/// # Errors
/// The store's.
pub async fn add_otrts(writer: &Writer, otrts: &NewOtrts, by: &By, pause: Duration) -> Result<(), StoreError> {
    for (number, some) in otrts.tokens_sha256.chunks(AT_ONCE).enumerate() {
        if number > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let (some, by) = (otrts.on_the_same_terms(some), by.clone());
        writer.write(move |store| rules::devices::add_otrts(store, &some, &by)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
