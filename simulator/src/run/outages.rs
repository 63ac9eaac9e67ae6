//! Outages of a run that have ended, and how long each device they affected waited until it was served again.
//!
//! Affected is every device in an outage's scope that was switched on before it ended and had no answer to a heartbeat since.
//! It is served again with its first accepted heartbeat after the end. A device that a later outage hits before that counts for
//! the later one only; one that is revoked, dies or loses power before it is served counts for none.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ks_server::clock::ms;
use serde::{Deserialize, Serialize};

/// Most points of a recovery curve in a summary.
const CURVE_POINTS_MAX: usize = 200;

/// An outage that has ended. Times count from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The step that caused it: `outage`, `restart_server`.
    pub what: &'static str,
    /// The site affected, by index; none for all.
    pub site: Option<usize>,
    pub from: Duration,
    pub to: Duration,
}

/// The outages that have ended so far, shared by all threads.
#[derive(Debug, Default)]
pub struct Outages {
    ended: Mutex<Vec<Outage>>,
    /// Their number, so that a device need not take the lock to learn that nothing is new.
    count: AtomicUsize,
}

impl Outages {
    /// An outage has just ended.
    pub fn end(&self, outage: Outage) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push(outage);
        self.count.store(ended.len(), Ordering::Release);
    }

    /// All of them, in the order of their ends.
    pub fn all(&self) -> Vec<Outage> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last one that affected a site: its number, and when it ended.
    fn last_of(&self, site: usize) -> Option<(usize, Duration)> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let affects = |outage: &Outage| outage.site.is_none_or(|affected| affected == site);
        let mut numbered = ended.iter().enumerate().rev();
        numbered.find(|(_, outage)| affects(outage)).map(|(number, outage)| (number, outage.to))
    }
}

/// Since when a device has not been served.
#[derive(Debug)]
pub struct Unserved {
    /// Its last accepted heartbeat, or when it was switched on.
    since: Duration,
    /// How many outages had ended when it last looked.
    looked_at: usize,
    /// The last outage of its site then.
    last: Option<(usize, Duration)>,
}

impl Unserved {
    /// Of a device that is switched on now.
    pub fn since(now: Duration) -> Self {
        Self { since: now, looked_at: 0, last: None }
    }

    /// It has power again: earlier outages no longer concern it.
    pub fn switched_on(&mut self, now: Duration) {
        self.since = now;
    }

    /// A heartbeat was accepted. Gives the outage that it waited for, if any, and how long ago that ended.
    pub fn served(&mut self, now: Duration, site: usize, outages: &Outages) -> Option<(usize, Duration)> {
        let outage = self.outage(site, outages);
        self.since = now;
        outage.map(|(number, ended)| (number, now.saturating_sub(ended)))
    }

    /// The outage that it still waits to recover from: its number, and when it ended.
    pub fn outage(&mut self, site: usize, outages: &Outages) -> Option<(usize, Duration)> {
        let count = outages.count.load(Ordering::Acquire);
        if count == 0 {
            return None;
        }
        if count != self.looked_at {
            (self.looked_at, self.last) = (count, outages.last_of(site));
        }
        self.last.filter(|(_, ended)| self.since < *ended)
    }
}

/// How devices recovered from an outage, or from several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// Milliseconds from the end of the outage until a device was served again: how many devices took so long.
    pub after_ms: BTreeMap<u64, u64>,
    /// Devices that were never served again.
    pub never: u64,
}

impl Recovered {
    /// A device was served again.
    pub fn served(&mut self, after: Duration) {
        *self.after_ms.entry(ms(after)).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (after_ms, devices) in &other.after_ms {
            *self.after_ms.entry(*after_ms).or_default() += devices;
        }
        self.never += other.never;
    }

    /// Devices that were served again.
    pub fn devices_served(&self) -> u64 {
        self.after_ms.values().sum()
    }

    pub fn affected(&self) -> u64 {
        self.devices_served() + self.never
    }

    /// The time after which a share of the affected devices was served again, in basis points, by nearest rank; none if fewer
    /// ever were, or none was affected.
    pub fn quantile_s(&self, share_bp: u64) -> Option<f64> {
        let rank = self.affected().saturating_mul(share_bp).div_ceil(10_000).max(1);
        let mut served = 0;
        let reached = self.after_ms.iter().find(|(_, devices)| {
            served += **devices;
            served >= rank
        });
        reached.map(|(after_ms, _)| *after_ms as f64 / 1_000.0)
    }

    /// Devices served again by a time since the end of the outage, in seconds: at most 200 points, the last of them exact.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let step = self.after_ms.len().div_ceil(CURVE_POINTS_MAX).max(1);
        let mut served = 0;
        let summed = self.after_ms.iter().map(|(after_ms, devices)| {
            served += devices;
            (*after_ms as f64 / 1_000.0, served)
        });
        let summed: Vec<(f64, u64)> = summed.collect();
        let last = summed.len().saturating_sub(1);
        let kept = summed.into_iter().enumerate().filter(|(place, _)| place % step == 0 || *place == last);
        kept.map(|(_, point)| point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ended(outages: &Outages, site: Option<usize>, to: u64) {
        outages.end(Outage { what: "outage", site, from: at(to - 1), to: at(to) });
    }

    #[test]
    fn a_device_waits_for_the_last_outage_of_its_site_until_it_is_served() {
        let outages = Outages::default();
        let mut device = Unserved::since(at(0));
        assert_eq!(device.served(at(5), 1, &outages), None);
        ended(&outages, None, 10);
        ended(&outages, Some(0), 20);
        assert_eq!(device.served(at(25), 1, &outages), Some((0, at(15))), "the second was elsewhere");
        assert_eq!(device.served(at(26), 1, &outages), None, "once");
        ended(&outages, Some(1), 30);
        ended(&outages, None, 40);
        assert_eq!(device.outage(1, &outages), Some((3, at(40))), "the last one counts");
        device.switched_on(at(50));
        assert_eq!(device.outage(1, &outages), None, "it had no power");
    }

    #[test]
    fn quantiles_are_by_nearest_rank_and_count_those_that_never_came_back() {
        let mut recovered = Recovered::default();
        assert_eq!((recovered.quantile_s(5_000), recovered.affected()), (None, 0));
        (1..=9).for_each(|second| recovered.served(at(second)));
        recovered.never = 1;
        let quantiles = [5_000, 9_000, 9_900, 10_000].map(|share| recovered.quantile_s(share));
        assert_eq!(quantiles, [Some(5.0), Some(9.0), None, None]);
        recovered.never = 0;
        assert_eq!(recovered.quantile_s(10_000), Some(9.0));
    }

    #[test]
    fn a_curve_is_short_and_ends_with_everything() {
        let mut recovered = Recovered::default();
        (0..1_001).for_each(|ms| recovered.served(Duration::from_millis(ms)));
        let curve = recovered.curve();
        assert!(curve.len() <= CURVE_POINTS_MAX + 1, "{}", curve.len());
        assert_eq!((curve[0], *curve.last().unwrap()), ((0.0, 1), (1.0, 1_001)));
    }
}
