//! Log lines of devices: each is stored once, by its number, and deleted when it is old.

use ks_protocol::{message::LogLine, time::UnixMs};

use super::old_part;
use crate::store::{
    PruneStep, StoreError, Transaction,
    logs::{LogBatch, LogsTaken},
};

/// Stores the new lines, each batch with the row of its device; each device occurs at most once.
pub(super) fn take(store: &mut dyn Transaction, batches: &[(i64, &LogBatch)]) -> Result<Vec<LogsTaken>, StoreError> {
    let devices: Vec<i64> = batches.iter().map(|(device, _)| *device).collect();
    let next = store.next_line_nos(&devices)?;
    let (mut new, mut taken) = (Vec::<(i64, UnixMs, &LogLine)>::new(), Vec::with_capacity(batches.len()));
    for ((device, batch), next) in batches.iter().zip(next) {
        // Lines stored before are skipped. A gap in the numbers comes from the device: it shows that the device lost lines.
        let known = usize::try_from(next.saturating_sub(batch.first_line_no)).unwrap_or(usize::MAX);
        let unknown = batch.lines.get(known..).unwrap_or_default();
        new.extend(unknown.iter().map(|line| (*device, batch.at, line)));
        let lines = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
        let next_line_no = next.max(batch.first_line_no.saturating_add(lines));
        taken.push(LogsTaken { next_line_no, stored: unknown.len() });
    }
    if !new.is_empty() {
        store.insert_lines(&new)?;
    }
    let next: Vec<(i64, u64)> =
        devices.into_iter().zip(&taken).map(|(device, taken)| (device, taken.next_line_no)).collect();
    store.save_next_line_nos(&next)?;
    Ok(taken)
}

/// One step of retention, over rows above `after`.
pub fn prune(
    store: &mut dyn Transaction,
    before: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<PruneStep, StoreError> {
    let span = store.span_of_lines(after, rows_max)?;
    let Some((last, next_after)) = old_part(span, before, rows_max) else { return Ok(PruneStep::default()) };
    Ok(PruneStep { rows: store.delete_lines(after, last, before)?, next_after })
}
