//! Stored heartbeats, read back by an operator: as documents of the admin API, or as values where the server hands them over.

use bytes::Bytes;
use hyper::Method;
use ks_protocol::{
    id::{DeviceId, Sequence},
    time::UnixMs,
};
use ks_server::admin::heartbeats::HeartbeatPage;

use super::{Operator, OperatorError, PAGE};
use crate::operator::pages::Cursors;

impl Operator {
    /// The row of the newest stored heartbeat; those of a run that starts now come after it.
    pub async fn last_heartbeat_row(&self) -> Result<i64, OperatorError> {
        self.heartbeats(&i64::MAX.to_string(), 1).await.map(|page| page.last_row)
    }

    /// Passes every heartbeat stored after the row `after` to `each`, in commit order, with the time when it was received. They are
    /// read as values where the server hands them over ([`Link::stored_beats`](crate::link::Link::stored_beats)).
    pub async fn stored_heartbeats(
        &self,
        after: i64,
        mut each: impl FnMut(&DeviceId, Sequence, UnixMs),
    ) -> Result<(), OperatorError> {
        let mut after = after;
        while let Some(read) = self.link.stored_beats(after, PAGE) {
            let Ok(page) = read.await else { break }; // then the documents say what is wrong
            for beat in &page {
                each(&beat.device_id, beat.sequence, beat.received_at);
            }
            match page.last().filter(|_| page.len() == PAGE) {
                Some(last) => after = last.row,
                None => return Ok(()),
            }
        }
        self.listed_heartbeats(after, each).await
    }

    /// The same, read as documents of the admin API.
    pub async fn listed_heartbeats(
        &self,
        after: i64,
        mut each: impl FnMut(&DeviceId, Sequence, UnixMs),
    ) -> Result<(), OperatorError> {
        let (mut next, mut cursors) = (Some(after.to_string()), Cursors::default());
        while let Some(cursor) = next {
            let page = self.heartbeats(&cursor, PAGE).await?;
            for (_, device_id, boot_epoch, seq, _, received_at) in &page.items {
                each(device_id, Sequence { boot_epoch: *boot_epoch, seq: *seq }, *received_at);
            }
            let path = || format!("/api/heartbeats?cursor={cursor}");
            next = cursors
                .after_page(page.items.len(), PAGE, page.next_cursor)
                .map_err(|what| OperatorError::Unintelligible { path: path(), what })?;
        }
        Ok(())
    }

    async fn heartbeats(&self, cursor: &str, limit: usize) -> Result<HeartbeatPage, OperatorError> {
        let path = format!("/api/heartbeats?cursor={cursor}&limit={limit}");
        let body = self.call(Method::GET, &path, "text/plain", Bytes::new()).await?;
        serde_json::from_slice(&body).map_err(|error| OperatorError::Unintelligible { path, what: error.to_string() })
    }
}
