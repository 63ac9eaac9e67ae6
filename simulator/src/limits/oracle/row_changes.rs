//! A device's registration and its key changes: the server's memory follows them from the store, from the moment at which they are stored.
//! On a slow disk that is long before their answer.

use super::{Endpoint, ceiling::FOLLOWED_US};

/// Those of one device. What is loaded has all that is stored of the device by then, other requests in progress among it.
#[derive(Debug, Default)]
pub(super) struct RowChanges {
    registering: u32,
    changing_key: u32,
    /// One got no answer: it may be stored yet.
    is_one_lost: bool,
    /// When the last key change ended, in microseconds since the start of the run.
    key_changed_us: u64,
    /// Until when the device may be loaded after the last change ended.
    loaded_until_us: u64,
    /// The same, in the place of what memory had: after a key change that got no answer.
    reset_until_us: u64,
}

/// A change of a device's row that the server works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowChange {
    Registration,
    Key,
}

impl RowChange {
    /// What a request may change; a device that has registered changes nothing by registering again.
    pub(super) fn of(endpoint: Endpoint, has_registered: bool) -> Option<Self> {
        match endpoint {
            Endpoint::Register if !has_registered => Some(Self::Registration),
            Endpoint::RotateKey => Some(Self::Key),
            _ => None,
        }
    }
}

impl RowChanges {
    fn count(&mut self, change: RowChange) -> &mut u32 {
        match change {
            RowChange::Registration => &mut self.registering,
            RowChange::Key => &mut self.changing_key,
        }
    }

    pub(super) fn begin(&mut self, change: RowChange) {
        *self.count(change) += 1;
    }

    /// It was answered.
    pub(super) fn end(&mut self, change: RowChange, at_us: u64) {
        let count = self.count(change);
        *count = count.saturating_sub(1);
        self.loaded_until_us = self.loaded_until_us.max(at_us + FOLLOWED_US);
        if change == RowChange::Key {
            self.key_changed_us = at_us;
        }
    }

    /// No answer came.
    pub(super) fn lose(&mut self, change: RowChange) {
        let count = self.count(change);
        *count = count.saturating_sub(1);
        self.is_one_lost = true;
    }

    /// A later request was stored: those that were lost were in the queue before it.
    pub(super) fn stored(&mut self, at_us: u64) {
        if std::mem::take(&mut self.is_one_lost) {
            (self.loaded_until_us, self.reset_until_us) = (at_us + FOLLOWED_US, at_us + FOLLOWED_US);
        }
    }

    pub(super) fn is_registering(&self) -> bool {
        self.registering > 0
    }

    /// Whether memory may take over what is stored.
    pub(super) fn may_be_loaded(&self, at_us: u64) -> bool {
        self.registering > 0 || self.changing_key > 0 || self.is_one_lost || at_us < self.loaded_until_us
    }

    /// Whether it may do so in the place of what it had.
    pub(super) fn may_reset_memory(&self, at_us: u64) -> bool {
        self.changing_key > 0 || self.is_one_lost || at_us < self.reset_until_us
    }

    /// Whether a request arrived before the last key change ended: it may have been noted in what memory had before.
    pub(super) fn is_before_last_key(&self, arrived_us: u64) -> bool {
        arrived_us < self.key_changed_us
    }
}
