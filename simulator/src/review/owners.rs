//! Which rollout installed a release on a device: a release may be rolled out more than once, and each review counts its own devices.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};

use super::started_at;
use crate::{
    device::fate::{Fate, FateEvent},
    operator::rollout_monitor::ObservedRollouts,
};

/// The rollouts of each release, with the devices that they offered it to. Rollouts are numbered as they were observed.
#[derive(Debug, Default)]
pub(super) struct Owners {
    of_version: BTreeMap<String, OfVersion>,
}

#[derive(Debug, Default)]
struct OfVersion {
    /// When each of its rollouts started, by its number.
    started: Vec<(UnixMs, usize)>,
    /// When each of its rollouts last offered it to a device.
    offers: BTreeMap<DeviceId, Vec<(UnixMs, usize)>>,
}

impl Owners {
    /// Of the rollouts of a run.
    pub(super) fn of(seen: &ObservedRollouts) -> Self {
        let mut of_version: BTreeMap<String, OfVersion> = BTreeMap::new();
        for (number, (rollout, decisions)) in seen.rollouts.iter().enumerate() {
            let of = of_version.entry(rollout.version.clone()).or_default();
            of.started.push((started_at(decisions).unwrap_or_default(), number));
            for update in seen.updates.get(&rollout.rollout_id).into_iter().flatten() {
                if let Some(offered_at) = update.offered_at {
                    of.offers.entry(update.device_id.clone()).or_default().push((offered_at, number));
                }
            }
        }
        Self { of_version }
    }

    /// How many rollouts a version has.
    pub(super) fn rollouts(&self, version: &str) -> usize {
        self.of_version.get(version).map_or(0, |of| of.started.len())
    }

    /// What this rollout's release did to a device after this rollout offered it: all that came of its writing the image then.
    pub(super) fn fates<'f>(
        &self,
        (version, release_counter): (&str, u64),
        number: usize,
        device_id: &DeviceId,
        fates: &'f [Fate],
        wall_clock: impl Fn(Duration) -> UnixMs,
    ) -> Vec<&'f Fate> {
        let mut owner = None;
        let mut own = Vec::new();
        for fate in fates.iter().filter(|fate| fate.release_counter == release_counter) {
            if owner.is_none() || matches!(fate.what, FateEvent::Written(_)) {
                owner = self.of_version.get(version).and_then(|of| of.owner(device_id, wall_clock(fate.at)));
            }
            if owner == Some(number) {
                own.push(fate);
            }
        }
        own
    }
}

impl OfVersion {
    /// The rollout whose offer was the last one before `at`. A device that kept an offer which the server took back has the rollout
    /// that started last.
    fn owner(&self, device_id: &DeviceId, at: UnixMs) -> Option<usize> {
        let last = |of: &[(UnixMs, usize)]| of.iter().filter(|(then, _)| *then <= at).max().map(|(_, number)| *number);
        self.offers.get(device_id).and_then(|offers| last(offers)).or_else(|| last(&self.started))
    }
}
