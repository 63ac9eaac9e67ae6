//! What a device counts: requests without an answer, recoveries, and its account at the end of its part in the run.

use tokio::time::Instant;

use super::{Device, micros};
use crate::{
    device::{exchange::MessageType, fate::OutOfService, machine::DeviceState},
    run::{
        ledger::DeviceAccount,
        measure::{UNANSWERED, UNSENT},
    },
};

impl Device {
    /// Counts a request that will never be answered, with its waiting time so far.
    pub(super) fn count_unanswered(&self, kind: MessageType, code: &'static str, intended_at: Instant) {
        let waited_us = micros(intended_at.elapsed());
        self.shard.measure(|measured| measured.of_mut(kind).end(code, waited_us, None));
    }

    /// Ends its part in the run.
    pub(super) fn retire(&mut self) -> DeviceAccount {
        self.is_retired = true;
        for intended_at in std::mem::take(&mut self.waiting) {
            self.count_unanswered(MessageType::Heartbeat, UNSENT, intended_at);
        }
        if let Some((kind, intended_at)) = self.in_flight {
            self.count_unanswered(kind, UNANSWERED, intended_at);
        }
        self.count_unserved();
        let mut account = std::mem::take(&mut self.account);
        (account.command_results, account.confirmed) = self.machine.take_commands();
        (account.punches_made, account.punches_acked) = self.machine.take_punches();
        account.pending_periods = self.pending.take(self.shard.time.elapsed());
        account.releases.at_end = self.condition();
        account.releases.gone = OutOfService::of(self.machine.state(), &account.releases);
        account.is_alive = !matches!(self.machine.state(), DeviceState::Revoked | DeviceState::Dead);
        account
    }

    /// A heartbeat was accepted: the device has recovered from an outage that it waited for.
    pub(super) fn served(&mut self, now: Instant) {
        let now = self.shard.time.since_start(now);
        self.count(|counts| counts.acked += 1);
        if let Some((outage, after)) = self.unserved.served(now, self.site, &self.shard.outages) {
            self.count(|counts| counts.recovered.served(after));
            self.shard.measure(|measured| measured.recovered.entry(outage).or_default().served(after));
        }
    }

    /// Whether an operator has revoked it, also if it does not know.
    pub(super) fn is_revoked(&self) -> bool {
        self.shard.revocations.has(self.machine.device_id())
    }

    /// Counts a device that an outage affected and that was never served again, though nothing else kept it from that.
    pub(super) fn count_unserved(&mut self) {
        let is_over = matches!(self.machine.state(), DeviceState::Revoked | DeviceState::Dead) || self.is_revoked();
        if let Some((outage, _)) = self.unserved.outage(self.site, &self.shard.outages)
            && !is_over
            && !self.is_without_power()
        {
            self.count(|counts| counts.recovered.never += 1);
            self.shard.measure(|measured| measured.recovered.entry(outage).or_default().never += 1);
        }
    }
}
