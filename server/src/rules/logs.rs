//! Log lines of devices: each stored once, by its number, and forgotten when it is old.

use ks_protocol::time::UnixMs;

use super::{devices::advance, old_part};
use crate::store::{
    Denied, StoreError, Swept, Transaction,
    logs::{LogBatch, LogsTaken},
};

/// Takes the pair, and stores the lines that are not there yet.
pub fn take(
    store: &mut dyn Transaction,
    batch: &LogBatch,
    at: UnixMs,
) -> Result<Result<LogsTaken, Denied>, StoreError> {
    let device = match advance(store, &batch.device_id, batch.sequence, at)? {
        Ok(device) => device,
        Err(denied) => return Ok(Err(denied)),
    };
    let next = store.next_line_no(device)?;
    // What is stored already is left out. A gap in the numbers is the device's: it lost lines, and says so by it.
    let known = usize::try_from(next.saturating_sub(batch.first_line_no)).unwrap_or(usize::MAX);
    let new = batch.lines.get(known..).unwrap_or_default();
    store.insert_lines(device, new, at)?;
    let lines = u64::try_from(batch.lines.len()).unwrap_or(u64::MAX);
    let next = next.max(batch.first_line_no.saturating_add(lines));
    store.save_next_line_no(device, next)?;
    Ok(Ok(LogsTaken { next_line_no: next, stored: new.len() }))
}

/// One step of retention, over rows above `after`.
pub fn prune(store: &mut dyn Transaction, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError> {
    let span = store.span_of_lines(after, rows_max)?;
    let Some((last, next_after)) = old_part(span, before, rows_max) else { return Ok(Swept::default()) };
    Ok(Swept { rows: store.delete_lines(after, last, before)?, next_after })
}
