//! What a timeline acts through.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use ks_protocol::id::DeviceId;

use crate::{
    drive::rehearse::disk::Disk, event_log::EventLog, invariants::Witness, link::faults::Weather, operator::Operator,
    server_process::ServerProcess, shard::RunTime,
};

/// What a timeline acts through.
pub struct Stage {
    /// The run's time.
    pub time: RunTime,
    /// The admin API.
    pub operator: Rc<Operator>,
    /// The same on a link of its own, for looking while the timeline acts.
    pub watcher: Operator,
    /// The network's weather.
    pub weather: Arc<Weather>,
    /// The fleet by name.
    pub devices: Rc<Vec<DeviceId>>,
    /// The server, where it can be restarted.
    pub server: Option<Rc<dyn ServerProcess>>,
    /// Its disk, where that can be made to fail.
    pub disk: Option<Arc<Disk>>,
    /// Who sees what the server answers, where it is in this process.
    pub witness: Option<Arc<Witness>>,
    /// Where steps are logged.
    pub log: Rc<RefCell<EventLog>>,
    /// What went wrong, for the report.
    pub failures: Rc<RefCell<Vec<String>>>,
    /// How many steps are done, well or badly.
    pub played: Cell<usize>,
    /// Whether a step has failed that may not: the run is to end.
    pub has_failed: Cell<bool>,
}

impl Stage {
    /// Why the run's own server runs no more, if so.
    pub fn server_ended(&self) -> Option<String> {
        self.server.as_ref().and_then(|server| server.ended())
    }
}
