//! The parts of a run that timeline steps act on.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use ks_protocol::id::DeviceId;
use ks_reports::run_folder::LimitCount;

use crate::{
    drive::rehearse::disk::Disk,
    fleet::{self, DeviceSpec},
    invariants::Witness,
    link::faults::NetworkFaults,
    operator::{ObservedLimit, Operator, OperatorError, revocations::Revocations},
    run::{event_log::EventLog, outages::Outages},
    segment::Segment,
    server_under_test::process::ServerProcess,
    shard::RunTime,
};

/// The parts of a run that timeline steps act on.
pub struct RunContext {
    pub time: RunTime,
    pub operator: Rc<Operator>,
    /// The admin API on a second link, for watching while the timeline acts.
    pub watcher: Operator,
    pub network_faults: Arc<NetworkFaults>,
    /// Outages that have ended.
    pub outages: Arc<Outages>,
    /// Devices that operators have revoked.
    pub revocations: Arc<Revocations>,
    /// Ids of the fleet's devices.
    pub devices: Rc<Vec<DeviceId>>,
    /// The devices that take the place of others, in the order in which they are switched on.
    pub replacements: Vec<DeviceSpec>,
    /// The part of the fleet that this process has, if it is not all of it.
    pub segment: Option<Segment>,
    /// The server, where it can be restarted.
    pub server: Option<Rc<dyn ServerProcess>>,
    /// Its disk, where that can be made to fail.
    pub disk: Option<Arc<Disk>>,
    /// Observes the server's answers, if it runs in this process.
    pub witness: Option<Arc<Witness>>,
    /// Where steps are logged.
    pub log: Rc<RefCell<EventLog>>,
    /// Failures, for the report.
    pub failures: Rc<RefCell<Vec<String>>>,
    /// What the limits of servers that have stopped had decided.
    pub limits_before: RefCell<Vec<LimitCount>>,
    /// The most writes in progress at a server, and the most bytes that its limits took when it was asked; none if it never was.
    pub protection_max: Cell<Option<(u64, u64)>>,
    /// Number of steps done, successful or not.
    pub played: Cell<usize>,
    /// Whether a step failed without `may_fail`: the run must end.
    pub has_failed: Cell<bool>,
}

impl RunContext {
    /// Whether this process gives orders that are about the server and not about devices.
    pub fn orders_for_all(&self) -> bool {
        self.segment.is_none_or(Segment::is_first)
    }

    /// Whether this process has the device of the fleet.
    pub fn has(&self, device: &DeviceId) -> bool {
        let Some(segment) = self.segment else { return true };
        fleet::device_number(device).is_some_and(|number| segment.has(number))
    }

    /// Those of these devices of the fleet that this process has.
    pub fn own(&self, devices: Vec<DeviceId>) -> Vec<DeviceId> {
        devices.into_iter().filter(|device| self.has(device)).collect()
    }

    /// Takes down what the limits have decided, before the server stops and forgets it. Nothing if it does not answer.
    pub async fn keep_limits(&self) {
        let decided = self.observed().await.unwrap_or_default();
        self.limits_before.borrow_mut().extend(decided.iter().map(LimitCount::from));
    }

    async fn observed(&self) -> Result<Vec<ObservedLimit>, OperatorError> {
        let observed = self.operator.limits().await?;
        let (writes, bytes) = self.protection_max.get().unwrap_or_default();
        let now = (observed.overload.in_progress_max, observed.memory_bytes);
        self.protection_max.set(Some((writes.max(now.0), bytes.max(now.1))));
        Ok(observed.limits)
    }

    /// What the limits have decided, over all servers of the run.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn limits(&self) -> Result<Vec<LimitCount>, OperatorError> {
        let mut limits: Vec<LimitCount> = self.observed().await?.iter().map(LimitCount::from).collect();
        for before in &*self.limits_before.borrow() {
            if let Some(limit) = limits.iter_mut().find(|limit| limit.name == before.name) {
                limit.add(before);
            }
        }
        Ok(limits)
    }

    /// Why the run's own server has ended, if it has.
    pub fn server_ended(&self) -> Option<String> {
        self.server.as_ref().and_then(|server| server.ended())
    }
}
