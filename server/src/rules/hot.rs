//! Hot work: a batch of devices' requests, decided with a number of statements that does not depend on the batch's size.
//!
//! A batch contains each device at most once, so no request sees what another one changed, and each kind is run together.

use super::{commands, devices, heartbeats, logs, punches, updates};
use crate::store::{
    Denied, StoreError, Transaction,
    devices::Pair,
    hot::{HotDone, HotRequest, HotWork},
};

/// Length of the next batch: how many of `requests`, from the first on, are from different devices. Each device has one row.
pub fn batch_len<'r>(requests: impl IntoIterator<Item = &'r HotRequest>) -> usize {
    let mut devices = std::collections::BTreeSet::new();
    requests.into_iter().take_while(|request| devices.insert(request.sender.row)).count()
}

/// Runs a batch, which contains each device at most once; returns the result of each request.
pub fn record(store: &mut dyn Transaction, batch: &[&HotRequest]) -> Result<Vec<Result<HotDone, Denied>>, StoreError> {
    let (mut beats, mut acks, mut punches, mut lines, mut statuses) = (vec![], vec![], vec![], vec![], vec![]);
    for request in batch {
        match &request.work {
            HotWork::Beat(beat) => beats.push((request.pair(), beat)),
            HotWork::Acks(batch) => acks.push((request.pair(), batch)),
            HotWork::Punches(batch) => punches.push((request.pair(), batch)),
            HotWork::Lines(batch) => lines.push((request.pair(), batch)),
            HotWork::Status(report) => statuses.push((request.pair(), report)),
        }
    }
    let mut beats = heartbeats::record(store, &beats)?.into_iter();
    let pairs: Vec<Pair<'_>> = [pairs(&acks), pairs(&punches), pairs(&lines), pairs(&statuses)].concat();
    let mut rows = devices::advance_all(store, &pairs)?.into_iter();
    let mut acks = admitted(&acks, &mut rows, |acks| commands::record_acks(store, acks))?;
    let mut punches = admitted(&punches, &mut rows, |punches| punches::take(store, punches))?;
    let mut lines = admitted(&lines, &mut rows, |lines| logs::take(store, lines))?;
    let mut statuses = admitted(&statuses, &mut rows, |statuses| updates::on_statuses(store, statuses))?;
    let results = batch.iter().map(|request| match request.work {
        HotWork::Beat(_) => Some(beats.next()?.map(HotDone::Beat)),
        HotWork::Acks(_) => Some(acks.next()?.map(HotDone::Acks)),
        HotWork::Punches(_) => Some(punches.next()?.map(HotDone::Punches)),
        HotWork::Lines(_) => Some(lines.next()?.map(HotDone::Lines)),
        HotWork::Status(_) => Some(statuses.next()?.map(HotDone::Status)),
    });
    results
        .collect::<Option<_>>()
        .ok_or_else(|| StoreError::Database("a batch has fewer results than requests".to_owned()))
}

fn pairs<'w, W>(works: &[(Pair<'w>, W)]) -> Vec<Pair<'w>> {
    works.iter().map(|(pair, _)| *pair).collect()
}

/// Passes the requests whose pair was accepted to a rule, each with its device's row, and merges in the refusals of the others.
fn admitted<W: Copy, T>(
    works: &[(Pair<'_>, W)],
    rows: &mut impl Iterator<Item = Result<i64, Denied>>,
    take: impl FnOnce(&[(i64, W)]) -> Result<Vec<T>, StoreError>,
) -> Result<std::vec::IntoIter<Result<T, Denied>>, StoreError> {
    let rows: Vec<Result<i64, Denied>> = rows.take(works.len()).collect();
    let admitted: Vec<(i64, W)> =
        rows.iter().zip(works).filter_map(|(row, (_, work))| Some((*row.as_ref().ok()?, *work))).collect();
    let mut taken = if admitted.is_empty() { Vec::new() } else { take(&admitted)? }.into_iter();
    let results = rows.into_iter().filter_map(|row| match row {
        Ok(_) => taken.next().map(Ok),
        Err(denied) => Some(Err(denied)),
    });
    Ok(results.collect::<Vec<_>>().into_iter())
}
