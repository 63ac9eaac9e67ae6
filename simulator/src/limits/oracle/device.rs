//! What the oracle knows of one device: its pairs, and what it owes to its own limits.

use ks_protocol::id::Sequence;

use super::{
    budget::{Budget, Limit},
    ceiling::WaitingCommands,
    orders::Orders,
    row_changes::RowChanges,
};

/// How far beyond the last pair a device's next one is, in requests since a boot and in boots.
const SEQ_AHEAD_MAX: u64 = 1_024;
const BOOTS_AHEAD_MAX: u32 = 16;

/// A pair that is known within two bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PairBounds {
    pub(super) least: Sequence,
    pub(super) most: Sequence,
}

impl PairBounds {
    /// It is this pair, or a later one that may have come since.
    pub(super) fn at_least(&mut self, pair: Sequence) {
        self.least = self.least.max(pair);
        self.most = self.most.max(pair);
    }

    /// It may be this pair.
    pub(super) fn perhaps(&mut self, pair: Sequence) {
        self.most = self.most.max(pair);
    }

    /// It is this pair.
    pub(super) fn exactly(&mut self, pair: Sequence) {
        (self.least, self.most) = (pair, pair);
    }
}

/// What the oracle knows of one device.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct Device {
    /// An operator has revoked it, and the server has answered so.
    pub(super) is_revoked: bool,
    /// Orders to revoke it.
    pub(super) revocations: Orders,
    /// A request of it was stored.
    pub(super) has_stored: bool,
    /// The answer to a request of it was cut off, so one may have been.
    pub(super) is_registration_unsure: bool,
    /// Its registrations and key changes.
    pub(super) row_changes: RowChanges,
    /// Requests of it that the server works on.
    pub(super) in_progress: InProgress,
    /// The last pair that the server's memory has.
    pub(super) kept: PairBounds,
    /// The last pair that is stored: what memory has after a start.
    pub(super) stored: PairBounds,
    /// The number after the last log line that is stored.
    pub(super) next_line_no: u64,
    /// A request with log lines was cut off: which are stored is not known.
    pub(super) are_lines_unsure: bool,
    /// A request was cut off while the server went on, and none that came later was stored since.
    pub(super) is_one_given_up: bool,
    /// What requests that were cut off while the server went on may be charged yet, at most. A later one that is stored ends that: they
    /// were in the queue before it.
    pub(super) pending: Charges,
    pub(super) awaited: WaitingCommands,
    /// When its last heartbeat arrived whose answer brought no commands, since the server's last start, in microseconds since the start of
    /// the run.
    pub(super) empty_us: Option<u64>,
    pub(super) owes: DeviceBudgets,
}

/// A device's requests that the server works on.
#[derive(Debug, Default)]
pub(super) struct InProgress {
    pub(super) count: u32,
    /// How many there have been.
    pub(super) begun: u64,
}

/// What a device owes, by limit.
#[derive(Debug, Default)]
pub(super) struct DeviceBudgets {
    pub(super) requests: Budget,
    pub(super) stored_bytes: Budget,
    pub(super) log_bytes: Budget,
    pub(super) punches: Budget,
    pub(super) key_changes: Budget,
    pub(super) pair_failures: Budget,
}

/// What a request is charged for what it has stored, by limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charges {
    pub(super) bytes: u64,
    /// Bytes of log lines.
    pub(super) lines: u64,
    pub(super) punches: u64,
}

impl Charges {
    pub(super) fn add(&mut self, Self { bytes, lines, punches }: Self) {
        self.bytes += bytes;
        self.lines += lines;
        self.punches += punches;
    }
}

impl Device {
    /// The server has started again: it has forgotten the budgets, and knows the pairs that are stored.
    pub(super) fn server_started(&mut self, awaited: WaitingCommands, at_us: u64) {
        (self.awaited, self.empty_us) = (awaited, None);
        self.revocations.server_started(at_us);
        self.kept = self.stored;
        self.owes = DeviceBudgets::default();
        self.pending = Charges::default();
        self.row_changes = RowChanges::default();
        self.in_progress.count = 0;
        self.is_one_given_up = false;
    }

    /// Whether the server may know that it has registered, though the oracle does not know that it has.
    pub(super) fn may_have_stored(&self) -> bool {
        self.is_registration_unsure || self.row_changes.is_registering()
    }

    /// The server's memory has used this pair, of a request that arrived then.
    pub(super) fn used(&mut self, pair: Sequence, arrived_us: u64, at_us: u64) {
        if self.row_changes.may_reset_memory(at_us) || self.row_changes.is_before_last_key(arrived_us) {
            self.kept.perhaps(pair); // unless it was loaded again since
        } else {
            self.kept.at_least(pair);
        }
    }

    /// It may have been loaded again: memory has what is stored then, or what it had.
    pub(super) fn memory_may_be_what_is_stored(&mut self) {
        self.kept.least = self.kept.least.min(self.stored.least);
        self.kept.most = self.kept.most.max(self.stored.most);
    }

    /// The server says that this is the last pair that its memory has.
    pub(super) fn memory_shows(&mut self, pair: Sequence, at_us: u64) {
        if self.row_changes.may_reset_memory(at_us) {
            self.kept.least = pair.min(self.stored.least);
            self.kept.most = self.kept.most.max(pair);
        } else if self.in_progress.count > 0 || self.is_one_given_up || self.row_changes.may_be_loaded(at_us) {
            self.kept.least = pair;
            self.kept.most = self.kept.most.max(pair); // a later one may come to memory yet
        } else {
            self.kept.exactly(pair);
        }
    }

    /// It has stored a later request: what was pending was charged by now, or never.
    pub(super) fn settle(&mut self, [of_bytes, of_lines, of_punches]: [Limit; 3], now_us: u64) {
        let Charges { bytes, lines, punches } = std::mem::take(&mut self.pending);
        let owes = &mut self.owes;
        let budgets = [
            (&mut owes.stored_bytes, bytes, of_bytes),
            (&mut owes.log_bytes, lines, of_lines),
            (&mut owes.punches, punches, of_punches),
        ];
        for (budget, count, limit) in budgets {
            if limit.is_on() && count > 0 {
                budget.perhaps_charge(count, &limit, now_us);
            }
        }
    }

    /// Whether a pair is one of the device's next: a sign of the device itself. None if the oracle can't know.
    pub(super) fn is_next(&self, pair: Sequence) -> Option<bool> {
        let by = [self.kept.least, self.kept.most].map(|last| is_next_after(last, pair));
        (by[0] == by[1]).then_some(by[0])
    }
}

fn is_next_after(last: Sequence, pair: Sequence) -> bool {
    if pair.boot_epoch == last.boot_epoch {
        let (seq, last) = (pair.seq.get(), last.seq.get());
        return seq > last && seq - last <= SEQ_AHEAD_MAX;
    }
    let is_later_boot = pair.boot_epoch > last.boot_epoch && pair.boot_epoch - last.boot_epoch <= BOOTS_AHEAD_MAX;
    is_later_boot && pair.seq.get() <= SEQ_AHEAD_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pairs_are_those_of_decision_4() {
        let mut device = Device::default();
        device.kept.exactly(Sequence::new(7, 5_000));
        let is_next = |boot_epoch, seq| device.is_next(Sequence::new(boot_epoch, seq));
        assert_eq!(
            [is_next(7, 5_000), is_next(7, 5_001), is_next(7, 6_024), is_next(7, 6_025)],
            [false, true, true, false].map(Some)
        );
        assert_eq!(
            [is_next(6, 9_000), is_next(8, 0), is_next(23, 1_024), is_next(23, 1_025), is_next(24, 1)],
            [false, true, true, false, false].map(Some)
        );
    }

    #[test]
    fn a_pair_that_may_be_stored_makes_only_itself_unsure() {
        let mut device = Device::default();
        device.kept.exactly(Sequence::new(1, 10));
        device.kept.perhaps(Sequence::new(1, 11));
        let is_next = |seq| device.is_next(Sequence::new(1, seq));
        assert_eq!([is_next(10), is_next(11), is_next(12)], [Some(false), None, Some(true)]);
    }
}
