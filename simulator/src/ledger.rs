//! The ledger: what devices saw acknowledged, reconciled at the end with what the server stored.

use std::collections::BTreeMap;

use ks_protocol::id::{DeviceId, Sequence};
use ks_reports::run_folder::Ledger;

/// A set of replay pairs; runs of consecutive numbers take no more room than one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// First and last number of each run, by boot epoch, ascending.
    runs: BTreeMap<u32, Vec<(u64, u64)>>,
}

impl Pairs {
    /// Adds a pair; false if it was there.
    pub fn insert(&mut self, sequence: Sequence) -> bool {
        let seq = sequence.seq.get();
        let runs = self.runs.entry(sequence.boot_epoch).or_default();
        let next = runs.partition_point(|(first, _)| *first <= seq);
        let joins_left = next > 0 && runs.get(next - 1).is_some_and(|(_, last)| *last + 1 >= seq);
        if joins_left && runs.get(next - 1).is_some_and(|(_, last)| *last >= seq) {
            return false;
        }
        let right = runs.get(next).filter(|(first, _)| *first == seq + 1).map(|(_, last)| *last);
        match (joins_left, right) {
            (true, Some(right_last)) => {
                if let Some(run) = runs.get_mut(next - 1) {
                    run.1 = right_last;
                }
                runs.remove(next);
            }
            (true, None) => {
                if let Some(run) = runs.get_mut(next - 1) {
                    run.1 = seq;
                }
            }
            (false, Some(_)) => {
                if let Some(run) = runs.get_mut(next) {
                    run.0 = seq;
                }
            }
            (false, None) => runs.insert(next, (seq, seq)),
        }
        true
    }

    /// Whether a pair is there.
    pub fn contains(&self, sequence: Sequence) -> bool {
        let seq = sequence.seq.get();
        let runs = self.runs.get(&sequence.boot_epoch).map(Vec::as_slice).unwrap_or_default();
        let next = runs.partition_point(|(first, _)| *first <= seq);
        next > 0 && runs.get(next - 1).is_some_and(|(_, last)| *last >= seq)
    }

    /// How many pairs there are.
    pub fn len(&self) -> u64 {
        self.runs.values().flatten().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many pairs are here and not in `other`.
    fn missing_from(&self, other: &Pairs) -> u64 {
        let pairs = self.runs.iter().flat_map(|(epoch, runs)| runs.iter().map(move |run| (*epoch, *run)));
        let count = |(epoch, (first, last)): (u32, (u64, u64))| {
            let held = other.runs.get(&epoch).map(Vec::as_slice).unwrap_or_default();
            let overlap = |(from, to): &(u64, u64)| (last.min(*to) + 1).saturating_sub(first.max(*from));
            (last - first + 1) - held.iter().map(overlap).sum::<u64>()
        };
        pairs.map(count).sum()
    }
}

/// What one device knows of its own heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceAccount {
    /// Pairs of heartbeats that it sent.
    pub sent: Pairs,
    /// Pairs of heartbeats whose verified answer said that they are stored.
    pub acked: Pairs,
}

/// What the server has of one device, as rows come in.
#[derive(Debug, Default)]
struct Stored {
    seen: Pairs,
    last: Option<Sequence>,
}

/// Compares rows with accounts, row by row.
#[derive(Debug)]
pub struct Reconciliation {
    accounts: BTreeMap<DeviceId, DeviceAccount>,
    stored: BTreeMap<DeviceId, Stored>,
    ledger: Ledger,
}

impl Reconciliation {
    /// Begins with what devices know.
    pub fn of(accounts: BTreeMap<DeviceId, DeviceAccount>) -> Self {
        Self { accounts, stored: BTreeMap::new(), ledger: Ledger::default() }
    }

    /// Takes one stored row, in the order of commits. Rows of devices that are not the run's are not its concern.
    pub fn row(&mut self, device_id: &DeviceId, sequence: Sequence) {
        let Some(account) = self.accounts.get(device_id) else { return };
        if !account.sent.contains(sequence) {
            self.ledger.misattributed += 1;
            return;
        }
        let stored = self.stored.entry(device_id.clone()).or_default();
        if !stored.seen.insert(sequence) {
            self.ledger.doubled += 1;
        } else if stored.last.is_some_and(|last| sequence < last) {
            self.ledger.reordered += 1;
        } else {
            stored.last = Some(sequence);
        }
    }

    /// The result, once every row was taken.
    pub fn finish(mut self) -> Ledger {
        let nothing = Pairs::default();
        for (device_id, account) in &self.accounts {
            let seen = self.stored.get(device_id).map_or(&nothing, |stored| &stored.seen);
            self.ledger.checked += account.acked.len();
            self.ledger.lost += account.acked.missing_from(seen);
            self.ledger.unacknowledged += seen.missing_from(&account.acked);
        }
        self.ledger.reconciled = true;
        self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(numbers: &[(u32, u64)]) -> Pairs {
        let mut pairs = Pairs::default();
        for (epoch, seq) in numbers {
            pairs.insert(Sequence::new(*epoch, *seq));
        }
        pairs
    }

    #[test]
    fn consecutive_pairs_take_one_run_in_any_order() {
        let set = pairs(&[(1, 5), (1, 3), (1, 4), (1, 7), (1, 6), (2, 1)]);
        assert_eq!(set.runs[&1], [(3, 7)]);
        assert_eq!(set.len(), 6);
        assert!(set.contains(Sequence::new(1, 6)) && !set.contains(Sequence::new(1, 8)));
        let mut set = set;
        assert!(!set.insert(Sequence::new(1, 4)), "already there");
    }

    fn reconcile(sent: &[(u32, u64)], acked: &[(u32, u64)], rows: &[(&str, (u32, u64))]) -> Ledger {
        let device: DeviceId = "D".parse().unwrap();
        let account = DeviceAccount { sent: pairs(sent), acked: pairs(acked) };
        let mut reconciliation = Reconciliation::of(BTreeMap::from([(device, account)]));
        for (device_id, (epoch, seq)) in rows {
            reconciliation.row(&device_id.parse().unwrap(), Sequence::new(*epoch, *seq));
        }
        reconciliation.finish()
    }

    #[test]
    fn a_balanced_ledger_has_only_checks() {
        let all = [(1, 1), (1, 2), (2, 1)];
        let ledger = reconcile(&all, &all, &[("D", (1, 1)), ("D", (1, 2)), ("X", (9, 9)), ("D", (2, 1))]);
        assert_eq!(ledger, Ledger { reconciled: true, checked: 3, ..Ledger::default() });
    }

    #[test]
    fn each_kind_of_mistake_is_counted_as_itself() {
        let sent = [(1, 1), (1, 2), (1, 3), (1, 4)];
        let rows = [("D", (1, 2)), ("D", (1, 1)), ("D", (1, 2)), ("D", (7, 7)), ("D", (1, 4))];
        let ledger = reconcile(&sent, &[(1, 1), (1, 2), (1, 3)], &rows);
        let expected = Ledger {
            reconciled: true,
            checked: 3,
            lost: 1,
            doubled: 1,
            reordered: 1,
            misattributed: 1,
            unacknowledged: 1,
        };
        assert_eq!(ledger, expected);
    }
}
