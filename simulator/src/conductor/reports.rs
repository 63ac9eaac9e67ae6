//! Merges the shards' reports tick by tick.

use std::collections::BTreeMap;

use ks_protocol::id::DeviceId;
use tokio::sync::mpsc;

use crate::{
    fleet::ShardReport,
    run::{ledger::DeviceAccount, measure::Measurements},
};

/// A part of the fleet ended without its final report; only a panic can do that.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a part of the fleet crashed: this is a defect of the simulator; see its message above")]
pub(super) struct ShardClosed;

/// Merges the shards' reports tick by tick. Shards need not run in step: early reports are kept.
pub struct Reports {
    incoming: mpsc::UnboundedReceiver<ShardReport>,
    shards: usize,
    /// By tick: how many shards have reported it, and their sum.
    ticks: BTreeMap<u64, (usize, Measurements)>,
    accounts: BTreeMap<DeviceId, DeviceAccount>,
    finished: usize,
}

impl Reports {
    /// Receives the reports of `shards` shards.
    pub fn of(incoming: mpsc::UnboundedReceiver<ShardReport>, shards: usize) -> Self {
        Self { incoming, shards, ticks: BTreeMap::new(), accounts: BTreeMap::new(), finished: 0 }
    }

    /// The sum of one tick over all shards. Cancel-safe.
    pub(super) async fn tick(&mut self, number: u64) -> Result<Measurements, ShardClosed> {
        while self.ticks.get(&number).is_none_or(|(received, _)| *received < self.shards) {
            self.next().await?;
        }
        Ok(self.ticks.remove(&number).map(|(_, measured)| measured).unwrap_or_default())
    }

    /// The accounts of all devices, and the measurements since the last full tick.
    pub(super) async fn finish(&mut self) -> Result<(BTreeMap<DeviceId, DeviceAccount>, Measurements), ShardClosed> {
        while self.finished < self.shards {
            self.next().await?;
        }
        let mut rest = Measurements::default();
        self.ticks.values().for_each(|(_, measured)| rest.add(measured));
        Ok((std::mem::take(&mut self.accounts), rest))
    }

    async fn next(&mut self) -> Result<(), ShardClosed> {
        match self.incoming.recv().await {
            Some(ShardReport::Tick(number, measured)) => {
                let (received, sum) = self.ticks.entry(number).or_default();
                *received += 1;
                sum.add(&measured);
                Ok(())
            }
            Some(ShardReport::Accounts(accounts)) => {
                self.accounts.extend(accounts);
                self.finished += 1;
                Ok(())
            }
            Some(ShardReport::Ended) | None => Err(ShardClosed),
        }
    }
}
