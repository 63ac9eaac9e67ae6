//! From the queue to the store: writes that wait together are one group, one transaction and one commit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use super::{HotWaiting, Waiting, WriteQueue};
use crate::{
    metrics::Metrics,
    rules,
    store::{Damage, Store, StoreError, Transaction, hot::HotRequest},
};

/// Retries of a group whose transaction the store gave up, before it counts as a failure.
pub(super) const RUN_AGAIN_MAX: usize = 8;

/// Empties the queue into `store` until every [`Writer`] is dropped: writes that wait together are committed together, and each
/// reply is sent only after its group is durable.
pub async fn drive_writes(mut store: impl Store, from: WriteQueue, group_max: usize, metrics: Arc<Metrics>) {
    let WriteQueue { mut queue, is_failing, cold_writes, damage } = from;
    let mut group: Vec<Waiting> = Vec::with_capacity(group_max);
    while queue.recv_many(&mut group, group_max).await > 0 {
        metrics.commit_group_size.observe(group.len() as f64);
        metrics.writes_waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        let cold = group.iter().filter(|waiting| matches!(waiting, Waiting::Cold(_))).count();
        // Writes that waited when the damage was found are refused too.
        let begun = Instant::now();
        let committed = damage.check().and_then(|()| commit(&mut store, &mut group, &metrics));
        let durable_in = store.durable_in();
        if !durable_in.is_zero() {
            tokio::time::sleep(durable_in).await;
        }
        let took = begun.elapsed();
        damage.note(&committed);
        match committed {
            Err(StoreError::Database(_) | StoreError::Retry(_)) if group.len() > 1 => {
                one_by_one(&mut store, &mut group, &metrics, &is_failing, &damage);
            }
            committed => {
                note(&committed, &metrics, &is_failing);
                group.drain(..).for_each(|waiting| waiting.reply(committed.clone(), took));
            }
        }
        cold_writes.fetch_add(cold as u64, Ordering::Release);
    }
    if damage.check().is_err() {
        store.leave_files();
    }
}

/// Commits a group in one transaction, and retries if the store gave it up.
fn commit(store: &mut impl Store, group: &mut [Waiting], metrics: &Metrics) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut run_again = 0;
    let committed = loop {
        let committed = store.commit(&mut |transaction| run(group, transaction));
        if !matches!(committed, Err(StoreError::Retry(_))) || run_again == RUN_AGAIN_MAX {
            break committed;
        }
        run_again += 1;
    };
    metrics.commit_seconds.observe(begun.elapsed().as_secs_f64());
    committed
}

/// Runs a group in the order of the queue: adjacent hot work in batches, the rest one by one.
fn run(mut group: &mut [Waiting], transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    loop {
        let hot = group.iter().map_while(|waiting| match waiting {
            Waiting::Hot(hot) => Some(&hot.request),
            Waiting::Cold(_) => None,
        });
        let (batch, rest) = group.split_at_mut(rules::hot::batch_len(hot));
        run_batch(batch, transaction)?;
        group = match rest {
            [] => return Ok(()),
            [Waiting::Cold(write), rest @ ..] => {
                write.run(transaction)?;
                rest
            }
            rest => rest, // a repeated device begins the next batch
        };
    }
}

fn run_batch(batch: &mut [Waiting], transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut hot: Vec<&mut HotWaiting> =
        batch.iter_mut().filter_map(|waiting| if let Waiting::Hot(hot) = waiting { Some(hot) } else { None }).collect();
    let requests: Vec<&HotRequest> = hot.iter().map(|hot| &hot.request).collect();
    let done = rules::hot::record(transaction, &requests)?;
    hot.iter_mut().zip(done).for_each(|(hot, done)| hot.done = Some(done));
    Ok(())
}

/// Commits each write of a failed group on its own, so that a write that the database refuses fails alone. Two failures in a row
/// mean that the database fails, and the rest is refused without a try.
fn one_by_one(
    store: &mut impl Store,
    group: &mut Vec<Waiting>,
    metrics: &Metrics,
    is_failing: &AtomicBool,
    damage: &Damage,
) {
    let mut failed_in_a_row = 0;
    let mut last = Ok(());
    for mut waiting in group.drain(..) {
        let begun = Instant::now();
        if failed_in_a_row < 2 {
            last = damage.check().and_then(|()| commit(store, std::slice::from_mut(&mut waiting), metrics));
            damage.note(&last);
            failed_in_a_row = if last.is_ok() { 0 } else { failed_in_a_row + 1 };
        }
        note(&last, metrics, is_failing);
        waiting.reply(last.clone(), begun.elapsed());
    }
}

/// Counts a commit, and logs when commits begin and cease to fail, once instead of for each of thousands.
fn note(committed: &Result<(), StoreError>, metrics: &Metrics, is_failing: &AtomicBool) {
    match committed {
        Ok(()) => {
            metrics.commits.inc();
            if is_failing.swap(false, Ordering::Relaxed) {
                tracing::warn!("commits succeed again");
            }
        }
        Err(error) => {
            metrics.commit_failures.inc();
            let was_failing = is_failing.swap(true, Ordering::Relaxed);
            // Damage is logged where it is found, and no commit succeeds afterwards.
            if !was_failing && !matches!(error, StoreError::Damaged(_)) {
                tracing::error!(%error, "commits fail; each write is refused until one succeeds again");
            }
        }
    }
}
