//! What shards report, put together tick by tick.

use std::collections::BTreeMap;

use ks_protocol::id::DeviceId;
use tokio::sync::mpsc;

use crate::{fleet::ShardReport, ledger::DeviceAccount, measure::Measurements};

/// A part of the fleet has ended without its last word, which only a panic can do.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a part of the fleet ended by itself: this is a defect of the simulator, its message stands above")]
pub(super) struct ShardGone;

/// What shards report, put together tick by tick. Shards need not keep step: what comes early is kept.
pub struct Reports {
    incoming: mpsc::UnboundedReceiver<ShardReport>,
    shards: usize,
    /// By tick: how many shards have reported it, and their sum.
    ticks: BTreeMap<u64, (usize, Measurements)>,
    accounts: BTreeMap<DeviceId, DeviceAccount>,
    finished: usize,
}

impl Reports {
    /// What `shards` shards send.
    pub fn of(incoming: mpsc::UnboundedReceiver<ShardReport>, shards: usize) -> Self {
        Self { incoming, shards, ticks: BTreeMap::new(), accounts: BTreeMap::new(), finished: 0 }
    }

    /// What every shard measured in one tick. May be dropped half-way and called again.
    pub(super) async fn tick(&mut self, number: u64) -> Result<Measurements, ShardGone> {
        while self.ticks.get(&number).is_none_or(|(heard, _)| *heard < self.shards) {
            self.next().await?;
        }
        Ok(self.ticks.remove(&number).map(|(_, measured)| measured).unwrap_or_default())
    }

    /// The accounts of all devices, and what was measured since the last whole tick.
    pub(super) async fn finish(&mut self) -> Result<(BTreeMap<DeviceId, DeviceAccount>, Measurements), ShardGone> {
        while self.finished < self.shards {
            self.next().await?;
        }
        let mut rest = Measurements::default();
        self.ticks.values().for_each(|(_, measured)| rest.add(measured));
        Ok((std::mem::take(&mut self.accounts), rest))
    }

    async fn next(&mut self) -> Result<(), ShardGone> {
        match self.incoming.recv().await {
            Some(ShardReport::Tick(number, measured)) => {
                let (heard, sum) = self.ticks.entry(number).or_default();
                *heard += 1;
                sum.add(&measured);
                Ok(())
            }
            Some(ShardReport::Accounts(accounts)) => {
                self.accounts.extend(accounts);
                self.finished += 1;
                Ok(())
            }
            Some(ShardReport::Ended) | None => Err(ShardGone),
        }
    }
}
