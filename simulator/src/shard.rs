//! State that the devices of one thread share: the time, the network faults, the measurements.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_protocol::{id::DeviceId, message::Trust, time::UnixMs};
use ks_reports::run_folder::EventsKept;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    fleet::{churn::Schedule, ground_truth::GroundTruth},
    host::timer::Timer,
    link::faults::NetworkFaults,
    operator::revocations::Revocations,
    run::{event_log::EventLog, measure::Measurements, outages::Outages},
    scenario::{HeartbeatInterval, Retry},
};

/// Most honest requests that are captured for adversaries.
const CAPTURED_MAX: usize = 64;

/// The start of the run, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct RunTime {
    /// On the timer's clock.
    pub started: Instant,
    pub epoch: UnixMs,
}

impl RunTime {
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time of the run at a moment.
    pub fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// Wall-clock time at a moment.
    pub fn unix_at(&self, at: Instant) -> UnixMs {
        self.epoch + self.since_start(at)
    }

    /// Wall-clock time now; a simulated device's clock is right.
    pub fn unix_now(&self) -> UnixMs {
        self.epoch + self.elapsed()
    }
}

/// An honest request that an adversary captured.
#[derive(Debug, Clone)]
pub struct CapturedRequest {
    pub device_id: DeviceId,
    pub wire: String,
}

/// The state that the devices on one thread share.
pub struct Shard {
    pub time: RunTime,
    /// What wakes devices when a beat is due.
    pub timer: Rc<dyn Timer>,
    /// No beat is scheduled from here on.
    pub ends_at: Instant,
    pub interval: HeartbeatInterval,
    pub answer_timeout: Duration,
    /// When devices of each cohort try again; one more for the devices in none.
    pub retries: Vec<Retry>,
    /// By site, whether an adversary has the address of its devices; empty if none shares any.
    pub abused_sites: Vec<bool>,
    /// In the name of how many devices, the first of the fleet, adversaries send requests.
    pub named_victims: u32,
    /// When every device is punched at, and how often each.
    pub shifts: Vec<(Duration, u32)>,
    /// The server's keys that devices trust, by keyset version: devices that trust the same keys share one copy.
    pub trusted: RefCell<BTreeMap<u64, Rc<Trust>>>,
    pub ground_truth: GroundTruth,
    /// When devices fail without any release.
    pub churn: Schedule,
    pub network_faults: Arc<NetworkFaults>,
    /// Outages that have ended.
    pub outages: Arc<Outages>,
    /// Devices that operators have revoked.
    pub revocations: Arc<Revocations>,
    /// What was measured since the last tick.
    pub measurements: RefCell<Measurements>,
    /// True once the run was asked to end early.
    pub stopped: Arc<AtomicBool>,
    /// The log of every exchange; rehearsals only.
    pub log: Option<Rc<RefCell<EventLog>>>,
    /// Whether heartbeats are handed over as values where that makes no difference: a rehearsal with modelled signatures, where
    /// nobody listens in.
    pub hands_beats_over: bool,
    /// Whether anybody listens in.
    pub is_captured: bool,
    /// What was captured, oldest first.
    pub captured: RefCell<VecDeque<CapturedRequest>>,
}

impl Shard {
    /// Whether new beats are still scheduled.
    pub fn is_running(&self) -> bool {
        self.is_running_at(Instant::now())
    }

    /// The same, where the time is known already: reading it is not free, and each beat needs it often.
    pub fn is_running_at(&self, now: Instant) -> bool {
        !self.stopped.load(Ordering::Relaxed) && now < self.ends_at
    }

    /// The shared copy of the same keys.
    pub fn shared(&self, keys: &Rc<Trust>) -> Rc<Trust> {
        let mut trusted = self.trusted.borrow_mut();
        let held = trusted.entry(keys.version).or_insert_with(|| Rc::clone(keys));
        Rc::clone(if held == keys { held } else { keys })
    }

    /// Adds to the measurements.
    pub fn measure(&self, add: impl FnOnce(&mut Measurements)) {
        add(&mut self.measurements.borrow_mut());
    }

    /// Whether heartbeats are logged that succeeded and brought the device nothing new.
    pub fn logs_ordinary_beats(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.borrow().kept() == EventsKept::All)
    }

    /// Logs an event, if this run has an event log.
    pub fn event(&self, event: &str, fields: &[(&str, Value)]) {
        if let Some(log) = &self.log {
            log.borrow_mut().event(self.time.elapsed(), event, fields);
        }
    }

    /// Keeps an accepted request for adversaries.
    pub fn capture(&self, device_id: &DeviceId, wire: &str) {
        if self.is_captured {
            let mut captured = self.captured.borrow_mut();
            if captured.len() == CAPTURED_MAX {
                captured.pop_front();
            }
            captured.push_back(CapturedRequest { device_id: device_id.clone(), wire: wire.to_owned() });
        }
    }
}
