//! The ledger: what devices saw acknowledged, reconciled at the end with what the server stored.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    message::AckState,
    time::UnixMs,
};
use ks_reports::run_folder::Ledger;
use serde::{Deserialize, Serialize};

use crate::{
    adversary,
    device::{fate::FateNotes, pending::PendingPeriod, punches::badge, replay_pairs::Pairs},
    fleet::by_device::ByDevice,
};

/// What one device knows of its own heartbeats and commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceAccount {
    /// Sequences of heartbeats that it sent.
    pub sent: Pairs,
    /// Sequences of heartbeats that a verified answer acknowledged as stored.
    pub acked: Pairs,
    /// Its result of each command.
    pub command_results: BTreeMap<CommandId, AckState>,
    /// Commands whose result a verified answer acknowledged as stored.
    pub confirmed: BTreeSet<CommandId>,
    /// Punches made on it: numbers 1 to this.
    pub punches_made: u64,
    /// Numbers of the punches that a verified answer acknowledged as stored.
    pub punches_acked: Pairs,
    /// Long waits until the server accepted something that they had to send.
    pub pending_periods: Vec<PendingPeriod>,
    /// What releases did to it.
    pub releases: FateNotes,
    /// It is not dead, and does not know that it is revoked if it is.
    pub is_alive: bool,
}

/// A command as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct StoredCommand {
    pub command_id: CommandId,
    pub device_id: DeviceId,
    /// Its state, as the server names it.
    pub state: String,
    /// When it was made.
    pub created_at: UnixMs,
}

/// A punch as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct StoredPunch {
    pub device_id: DeviceId,
    pub punch_no: u64,
    pub badge: String,
}

/// Rows of one device that the server has stored, as they are read.
#[derive(Debug, Default)]
struct StoredRows {
    punches: Pairs,
    seen: Pairs,
    last: Option<Sequence>,
}

/// Compares rows with accounts, row by row.
#[derive(Debug)]
pub struct Reconciliation {
    devices: ByDevice<(DeviceAccount, StoredRows)>,
    /// Repeated rows: how many of each sequence, over all devices.
    second: BTreeMap<Sequence, u64>,
    strangers: ForeignRows,
    ledger: Ledger,
}

/// Which rows of devices outside the run are misattributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignRows {
    /// All: the server belongs to the run, and everything it stored came from this run.
    All,
    /// Those under a name that an adversary of the run may use.
    NamedByAdversaries,
    /// None: another segment looks for them.
    None,
}

impl Reconciliation {
    /// Starts from what devices know.
    pub fn of(accounts: BTreeMap<DeviceId, DeviceAccount>, strangers: ForeignRows) -> Self {
        let devices = accounts.into_iter().map(|(name, account)| (name.to_string(), (account, StoredRows::default())));
        Self { devices: devices.collect(), second: BTreeMap::new(), strangers, ledger: Ledger::default() }
    }

    /// Adds one stored row, in commit order. Rows of devices outside the run are ignored, unless they are [`ForeignRows`] that
    /// count.
    pub fn row(&mut self, device_id: &DeviceId, sequence: Sequence) {
        let Some((account, stored)) = self.devices.get_mut(device_id.as_str()) else {
            let is_misattributed = match self.strangers {
                ForeignRows::All => true,
                ForeignRows::NamedByAdversaries => adversary::may_be_named(device_id),
                ForeignRows::None => false,
            };
            self.ledger.misattributed += u64::from(is_misattributed);
            return;
        };
        if !account.sent.contains(sequence) {
            self.ledger.misattributed += 1;
            return;
        }
        if !stored.seen.insert(sequence) {
            *self.second.entry(sequence).or_default() += 1;
        } else if stored.last.is_some_and(|last| sequence < last) {
            self.ledger.reordered += 1;
        } else {
            stored.last = Some(sequence);
        }
    }

    /// Adds one command as the server has it.
    pub fn command(&mut self, command: &StoredCommand) {
        let Some((account, _)) = self.devices.get_mut(command.device_id.as_str()) else { return };
        let said = account.command_results.get(&command.command_id).copied();
        if account.confirmed.remove(&command.command_id) {
            self.ledger.acks_checked += 1;
            // A command whose deadline passed first keeps that state: terminal states do not change.
            let is_kept = command.state == "TIMED_OUT" || said.is_some_and(|said| word(said) == command.state);
            self.ledger.acks_lost += u64::from(!is_kept);
        }
        let was_answered = matches!(command.state.as_str(), "RECEIVED" | "SUCCEEDED" | "FAILED" | "REJECTED");
        self.ledger.acks_misattributed += u64::from(was_answered && said.is_none());
    }

    /// Adds one punch as the server has it.
    pub fn punch(&mut self, punch: &StoredPunch) {
        let Some((account, stored)) = self.devices.get_mut(punch.device_id.as_str()) else { return };
        let is_ours = (1..=account.punches_made).contains(&punch.punch_no)
            && badge(&punch.device_id, punch.punch_no) == punch.badge;
        if !is_ours {
            self.ledger.punches_misattributed += 1;
            return;
        }
        self.ledger.punches_duplicated += u64::from(!stored.punches.insert(Sequence::new(0, punch.punch_no)));
    }

    /// The result, once every row and every command was added.
    pub fn finish(mut self) -> Reconciled {
        let mut missing: BTreeMap<Sequence, u64> = BTreeMap::new();
        for (_, (account, StoredRows { punches, seen, .. })) in self.devices.iter() {
            self.ledger.checked += account.acked.len();
            let lost = account.acked.missing_from(seen);
            self.ledger.lost += lost;
            for pair in account.acked.iter().filter(|pair| lost > 0 && !seen.contains(*pair)) {
                *missing.entry(pair).or_default() += 1;
            }
            self.ledger.unacknowledged += seen.missing_from(&account.acked);
            self.ledger.punches_stored += punches.len();
            self.ledger.punches_lost += account.punches_acked.missing_from(punches);
            // Acknowledged, and the server does not even list the command.
            let unlisted = u64::try_from(account.confirmed.len()).unwrap_or(u64::MAX);
            self.ledger.acks_checked += unlisted;
            self.ledger.acks_lost += unlisted;
        }
        self.ledger.reconciled = true;
        Reconciled { counted: self.ledger, missing, second: self.second }
    }
}

/// Most sequences of a kind in a piece of a reconciliation.
const PIECE_SEQUENCES: usize = 8_192;

/// A reconciliation of all devices, or of those of one segment: the rest of it needs the devices of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reconciled {
    /// Everything but `duplicated`, and of `misattributed` what one device shows alone.
    counted: Ledger,
    /// Sequences acknowledged to a device that has no such row: of how many devices.
    #[serde(with = "by_sequence")]
    missing: BTreeMap<Sequence, u64>,
    /// Repeated rows: how many of each sequence, over all devices.
    #[serde(with = "by_sequence")]
    second: BTreeMap<Sequence, u64>,
}

impl Reconciled {
    /// Adds that of other devices.
    pub fn add(&mut self, other: &Self) {
        add(&mut self.counted, &other.counted);
        for (sum, more) in [(&mut self.missing, &other.missing), (&mut self.second, &other.second)] {
            for (sequence, count) in more {
                let sum = sum.entry(*sequence).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Parts with a limited number of sequences each, which add up to this one.
    pub fn in_pieces(self) -> impl Iterator<Item = Self> {
        let Self { counted, mut missing, mut second } = self;
        let later = Ledger { reconciled: counted.reconciled, ..Ledger::default() };
        let mut counted = Some(counted);
        std::iter::from_fn(move || {
            let rest = (!missing.is_empty() || !second.is_empty()).then_some(later);
            let mut next = Self { counted: counted.take().or(rest)?, ..Self::default() };
            for (rest, part) in [(&mut missing, &mut next.missing), (&mut second, &mut next.second)] {
                let after = rest.keys().nth(PIECE_SEQUENCES).copied();
                let later = after.map(|after| rest.split_off(&after)).unwrap_or_default();
                *part = std::mem::replace(rest, later);
            }
            Some(next)
        })
    }

    /// So many sequences of one boot are missing, of one device each.
    #[cfg(test)]
    pub fn of_lost(count: u64) -> Self {
        let counted = Ledger { reconciled: true, lost: count, ..Ledger::default() };
        let missing = (1..=count).map(|seq| (Sequence::new(1, seq), 1)).collect();
        Self { counted, missing, second: BTreeMap::new() }
    }

    /// The ledger. A sequence that one device lacks and another has twice is one row under the wrong device.
    pub fn ledger(&self) -> Ledger {
        let under_another = |(sequence, second): (&Sequence, &u64)| {
            self.missing.get(sequence).map_or(0, |missing| (*missing).min(*second))
        };
        let sum = |counts: &mut dyn Iterator<Item = u64>| counts.fold(0, u64::saturating_add);
        let moved = sum(&mut self.second.iter().map(under_another));
        let mut ledger = self.counted;
        ledger.misattributed += moved;
        ledger.duplicated += sum(&mut self.second.values().copied()) - moved;
        ledger
    }
}

/// Counts by sequence as a list of boot epoch, number and count: JSON has only text as keys.
mod by_sequence {
    use std::collections::BTreeMap;

    use ks_protocol::id::Sequence;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(counts: &BTreeMap<Sequence, u64>, to: S) -> Result<S::Ok, S::Error> {
        let list: Vec<(u32, u64, u64)> =
            counts.iter().map(|(sequence, count)| (sequence.boot_epoch, sequence.seq.get(), *count)).collect();
        list.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Sequence, u64>, D::Error> {
        let list = Vec::<(u32, u64, u64)>::deserialize(from)?;
        Ok(list.into_iter().map(|(boot_epoch, seq, count)| (Sequence::new(boot_epoch, seq), count)).collect())
    }
}

/// Adds the counts of other devices; the sum is reconciled if both are.
fn add(sum: &mut Ledger, other: &Ledger) {
    // Each field by name, so that a new one can't be forgotten here.
    let Ledger {
        reconciled,
        checked,
        lost,
        duplicated,
        reordered,
        misattributed,
        unacknowledged,
        acks_checked,
        acks_lost,
        acks_misattributed,
        punches_stored,
        punches_lost,
        punches_duplicated,
        punches_misattributed,
    } = *other;
    sum.reconciled &= reconciled;
    sum.checked += checked;
    sum.lost += lost;
    sum.duplicated += duplicated;
    sum.reordered += reordered;
    sum.misattributed += misattributed;
    sum.unacknowledged += unacknowledged;
    sum.acks_checked += acks_checked;
    sum.acks_lost += acks_lost;
    sum.acks_misattributed += acks_misattributed;
    sum.punches_stored += punches_stored;
    sum.punches_lost += punches_lost;
    sum.punches_duplicated += punches_duplicated;
    sum.punches_misattributed += punches_misattributed;
}

/// The server's name for a device's result.
fn word(said: AckState) -> &'static str {
    match said {
        AckState::Received => "RECEIVED",
        AckState::Succeeded => "SUCCEEDED",
        AckState::Failed => "FAILED",
        AckState::Rejected => "REJECTED",
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

    fn reconcile(sent: &[(u32, u64)], acked: &[(u32, u64)], rows: &[(&str, (u32, u64))]) -> Ledger {
        let device: DeviceId = "D".parse().unwrap();
        let account = DeviceAccount { sent: pairs(sent), acked: pairs(acked), ..DeviceAccount::default() };
        let mut reconciliation =
            Reconciliation::of(BTreeMap::from([(device, account)]), ForeignRows::NamedByAdversaries);
        for (device_id, (epoch, seq)) in rows {
            reconciliation.row(&device_id.parse().unwrap(), Sequence::new(*epoch, *seq));
        }
        reconciliation.finish().ledger()
    }

    #[test]
    fn a_balanced_ledger_has_only_checks() {
        let all = [(1, 1), (1, 2), (2, 1)];
        let ledger = reconcile(&all, &all, &[("D", (1, 1)), ("D", (1, 2)), ("X", (9, 9)), ("D", (2, 1))]);
        assert_eq!(ledger, Ledger { reconciled: true, checked: 3, ..Ledger::default() });
    }

    #[test]
    fn each_kind_of_error_has_its_own_count() {
        let sent = [(1, 1), (1, 2), (1, 3), (1, 4)];
        let rows = [("D", (1, 2)), ("D", (1, 1)), ("D", (1, 2)), ("D", (7, 7)), ("D", (1, 4))];
        let ledger = reconcile(&sent, &[(1, 1), (1, 2), (1, 3)], &rows);
        let expected = Ledger {
            reconciled: true,
            checked: 3,
            lost: 1,
            duplicated: 1,
            reordered: 1,
            misattributed: 1,
            unacknowledged: 1,
            ..Ledger::default()
        };
        assert_eq!(ledger, expected);
    }

    /// Goal: each kind of error is counted as itself, and as nothing else.
    /// Method: two devices of three heartbeats each; one error is planted in what the server stored.
    #[test]
    fn one_planted_error_is_one_kind() {
        type Rows = Vec<(&'static str, u64)>;
        let numbers = [(1, 1), (1, 2), (1, 3)];
        let counts = |rows: &[(&str, u64)]| {
            let account = DeviceAccount { sent: pairs(&numbers), acked: pairs(&numbers), ..DeviceAccount::default() };
            let devices = ["A", "B"].map(|name| (name.parse::<DeviceId>().unwrap(), account.clone()));
            let reconciled = |devices: &[(DeviceId, DeviceAccount)], strangers| {
                let mut reconciliation = Reconciliation::of(devices.iter().cloned().collect(), strangers);
                for (name, seq) in rows {
                    reconciliation.row(&name.parse().unwrap(), Sequence::new(1, *seq));
                }
                reconciliation.finish()
            };
            let whole = reconciled(&devices, ForeignRows::All).ledger();
            // The same devices as two segments, each of which reads all rows.
            let segments = |first_looks_for| {
                let mut sum = reconciled(&devices[..1], first_looks_for);
                sum.add(&reconciled(&devices[1..], ForeignRows::None));
                sum.ledger()
            };
            let strangers = u64::from(rows.iter().any(|(name, _)| *name == "C"));
            let expected = Ledger { misattributed: whole.misattributed - strangers, ..whole };
            assert_eq!(segments(ForeignRows::NamedByAdversaries), expected, "{rows:?}");
            let Ledger { lost, duplicated, reordered, misattributed, .. } = whole;
            (lost, duplicated, reordered, misattributed)
        };
        let whole = [("A", 1), ("B", 1), ("A", 2), ("B", 2), ("A", 3), ("B", 3)];
        let planted = |change: &dyn Fn(&mut Rows)| {
            let mut rows = whole.to_vec();
            change(&mut rows);
            counts(&rows)
        };
        assert_eq!(counts(&whole), (0, 0, 0, 0));
        assert_eq!(planted(&|rows| rows.retain(|row| *row != ("A", 2))), (1, 0, 0, 0), "lost");
        assert_eq!(planted(&|rows| rows.push(("A", 2))), (0, 1, 0, 0), "duplicated");
        assert_eq!(planted(&|rows| rows.swap(2, 4)), (0, 0, 1, 0), "reordered");
        // Removed from A, and stored under a device that has one with the same sequence.
        assert_eq!(planted(&|rows| rows[4].0 = "B"), (1, 0, 0, 1), "moved");
        assert_eq!(planted(&|rows| rows.push(("C", 2))), (0, 0, 0, 1), "of another device");
    }

    #[test]
    fn rows_of_other_devices_are_misattributed() {
        let row = |device_id: &str, strangers| {
            let mut reconciliation = Reconciliation::of(BTreeMap::new(), strangers);
            reconciliation.row(&device_id.parse().unwrap(), Sequence::new(1, 1));
            reconciliation.finish().ledger().misattributed
        };
        let named = ForeignRows::NamedByAdversaries;
        assert_eq!(
            (row("X", named), row("X", ForeignRows::All), row("GHOST-7", named), row("SIM-1-B", named)),
            (0, 1, 1, 1)
        );
        assert_eq!(row("GHOST-7", ForeignRows::None), 0, "the first segment counts it");
    }

    #[test]
    fn acks_are_reconciled_with_the_state_of_each_command() {
        let id = |name: &str| name.parse::<CommandId>().unwrap();
        let said = ["kept", "late", "dropped", "unlisted"].map(|name| (id(name), AckState::Succeeded));
        let account = DeviceAccount {
            confirmed: said.iter().map(|(id, _)| id.clone()).collect(),
            command_results: said.into(),
            ..DeviceAccount::default()
        };
        let device: DeviceId = "D".parse().unwrap();
        let mut reconciliation = Reconciliation::of(BTreeMap::from([(device.clone(), account)]), ForeignRows::All);
        let states =
            [("kept", "SUCCEEDED"), ("late", "TIMED_OUT"), ("dropped", "DELIVERED"), ("invented", "SUCCEEDED")];
        for (name, state) in states {
            let state = state.to_owned();
            reconciliation.command(&StoredCommand {
                command_id: id(name),
                device_id: device.clone(),
                state,
                created_at: UnixMs(0),
            });
        }
        let ledger = reconciliation.finish().ledger();
        assert_eq!((ledger.acks_checked, ledger.acks_lost, ledger.acks_misattributed), (4, 2, 1));
    }
}
