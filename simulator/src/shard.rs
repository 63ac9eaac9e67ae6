//! What the devices of one thread share: the time, the network faults, the measurements.

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
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    event_log::EventLog, ground_truth::GroundTruth, link::faults::NetworkFaults, measure::Measurements,
    scenario::HeartbeatInterval, timer::Timer,
};

/// Honest requests that adversaries may have captured at most.
const CAPTURED_MAX: usize = 64;

/// When the run began, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct RunTime {
    /// On the timer's clock.
    pub started: Instant,
    /// On the wall's.
    pub epoch: UnixMs,
}

impl RunTime {
    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Wall-clock time now; a simulated device's clock is right.
    pub fn unix_now(&self) -> UnixMs {
        self.epoch + self.elapsed()
    }
}

/// An honest request that an adversary captured.
#[derive(Debug, Clone)]
pub struct CapturedRequest {
    /// Who sent it.
    pub device_id: DeviceId,
    /// Its bytes.
    pub wire: String,
}

/// The surroundings of the devices on one thread.
pub struct Shard {
    /// The run's time.
    pub time: RunTime,
    /// What wakes devices when a beat is due.
    pub timer: Rc<dyn Timer>,
    /// No beat is scheduled from here on.
    pub ends_at: Instant,
    /// When devices beat.
    pub interval: HeartbeatInterval,
    /// How long an answer is waited for.
    pub answer_timeout: Duration,
    /// When everybody punches at once, and how often each.
    pub shifts: Vec<(Duration, u32)>,
    /// The server's keys that devices trust, by version of the keyset: those that trust the same hold it once.
    pub trusted: RefCell<BTreeMap<u64, Rc<Trust>>>,
    /// How releases really behave.
    pub ground_truth: GroundTruth,
    /// The network's network_faults.
    pub network_faults: Arc<NetworkFaults>,
    /// What was measured since the last tick.
    pub measurements: RefCell<Measurements>,
    /// True once the run was told to end early.
    pub stopped: Arc<AtomicBool>,
    /// Where every exchange is logged; rehearsals only.
    pub log: Option<Rc<RefCell<EventLog>>>,
    /// Whether anybody listens in.
    pub is_captured: bool,
    /// What was captured, oldest first.
    pub captured: RefCell<VecDeque<CapturedRequest>>,
}

impl Shard {
    /// Whether new beats are still scheduled.
    pub fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.ends_at
    }

    /// The same keys, as other devices hold them in memory.
    pub fn shared(&self, keys: &Rc<Trust>) -> Rc<Trust> {
        let mut trusted = self.trusted.borrow_mut();
        let held = trusted.entry(keys.version).or_insert_with(|| Rc::clone(keys));
        Rc::clone(if held == keys { held } else { keys })
    }

    /// Adds to the measurements.
    pub fn measure(&self, add: impl FnOnce(&mut Measurements)) {
        add(&mut self.measurements.borrow_mut());
    }

    /// Logs an event, where events are logged.
    pub fn event(&self, event: &str, fields: &[(&str, Value)]) {
        if let Some(log) = &self.log {
            log.borrow_mut().event(self.time.elapsed(), event, fields);
        }
    }

    /// Lets adversaries have a request that was accepted.
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
