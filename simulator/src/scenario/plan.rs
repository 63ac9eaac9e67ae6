//! A valid scenario: every value of a `Plan` is in range, so that its users check nothing again.

use ks_server::rollout::policy::Policy;
use std::collections::BTreeMap;
use std::time::Duration;

use super::adversaries::Adversary;
use super::churn::Churn;
use super::cohorts::Cohort;
use super::expectation::Expectation;
use super::faults::Fault;
use crate::timeline::{Phase, Step};
use ks_protocol::{duration, time::UnixMs};

/// What to run. All times count from the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The scenario's name: 1 to 64 of a-z, 0-9 and `-`.
    pub name: String,
    /// What the run should show, in a sentence.
    pub goal: String,
    /// Real or virtual time.
    pub mode: Mode,
    pub timing: Timing,
    /// The root of all randomness: 0 to 2^63 - 1.
    pub seed: u64,
    /// How long the run lasts: 1 s to 7 days under load, to 90 days in a rehearsal.
    pub duration: Duration,
    /// Devices start evenly over this long; less than `duration`.
    pub ramp: Duration,
    /// When a rehearsal begins, on its own clock: of the years 2000 to 2099.
    pub starts_at: UnixMs,
    /// How long to wait for answers after the end.
    pub drain: Duration,
    pub fleet: Fleet,
    /// Settings of the server under test, by name; each has passed the server's own check.
    pub server: BTreeMap<String, String>,
    /// Releases, and how they really behave.
    pub firmware: Vec<Firmware>,
    /// Rollout policies by name.
    pub policies: BTreeMap<String, Policy>,
    pub adversaries: Vec<Adversary>,
    /// The steps, in the order of time.
    pub timeline: Vec<TimedStep>,
    /// At least one.
    pub expectations: Vec<Expectation>,
    /// Of how many answers in a hundred devices verify the signature: 100, unless the command line says otherwise.
    pub verify_percent: u8,
}

/// The clock of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Real time, over sockets.
    Load,
    /// Virtual time, in process.
    Rehearse,
}

/// Whether the verdict of a load run depends on the machine's speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Times are measured: a run whose generator could not keep up is inconclusive.
    Measured,
    /// A test of behaviour: no expectation is about a time or a rate, and a late generator does not matter.
    Ignored,
}

impl Timing {
    pub const ALL: [Self; 2] = [Self::Measured, Self::Ignored];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Ignored => "ignored",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// How many: 1 to 1,000,000.
    pub devices: u32,
    /// When a device beats.
    pub heartbeat_interval: HeartbeatInterval,
    /// How devices reach the server.
    pub connections: Connections,
    /// The prefix of every device ID.
    pub id_prefix: String,
    /// The one-time tokens that devices register with.
    pub otrt: Otrt,
    /// A device's timeout for an answer.
    pub answer_timeout: Duration,
    /// The firmware version that devices report.
    pub firmware_version: String,
    /// Devices have been up for a time up to this, drawn evenly, when they take part in the run for the first time.
    pub uptime_at_start: Duration,
    /// At least one, names unique, in the order of the file.
    pub models: Vec<Share>,
    /// At least one, names unique, in the order of the file.
    pub sites: Vec<Share>,
    /// How many devices of each model at each site, each pair once, with all models and sites; empty if they are drawn by shares.
    pub groups: Vec<Group>,
    /// What happens to devices without any release.
    pub churn: Vec<Churn>,
    /// How parts of the fleet react to refusals; the devices in none do as the protocol requires.
    pub cohorts: Vec<Cohort>,
    /// Which devices have the same address.
    pub addresses: FleetAddresses,
}

/// Which devices of a fleet have the same address, as behind a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetAddresses {
    /// Each has its own; under load they share those of this machine.
    Own,
    /// Those of one site.
    Site,
    /// All of them.
    One,
}

impl FleetAddresses {
    pub const ALL: [Self; 3] = [Self::Own, Self::Site, Self::One];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Site => "site",
            Self::One => "one",
        }
    }
}

/// A release, and how it really behaves: hidden from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// Its version; the release ID is `fw-VERSION`.
    pub version: String,
    /// Its counter, above 1, the counter of the factory firmware.
    pub release_counter: u64,
    /// Length of its image, in bytes.
    pub size_bytes: u64,
    /// Its faults. Of those whose scope a device is in, each is drawn for itself, in this order; the first that hits decides.
    pub faults: Vec<Fault>,
}

impl Firmware {
    /// A release that breaks nothing.
    pub fn good(version: &str, release_counter: u64) -> Self {
        Self { version: version.to_owned(), release_counter, size_bytes: 256 * 1024, faults: Vec::new() }
    }

    pub fn release_id(&self) -> String {
        release_id(&self.version)
    }
}

/// The release ID of a version.
pub fn release_id(version: &str) -> String {
    format!("fw-{version}")
}

/// One-time tokens of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otrt {
    None,
    /// One for each device.
    Each,
    /// One for all of them, which only one can use.
    Shared,
}

/// When a device sends its next heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatInterval {
    /// On its own schedule, whatever the server requests: 100 ms to 24 h.
    Fixed(Duration),
    /// As the `next_beat_ms` of each answer requests.
    Server,
}

/// How devices reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each by its own connection.
    PerDevice,
    /// All by this number of keep-alive connections: 1 to 60,000.
    Shared(u16),
}

/// A part of the fleet: a model or a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What it is called.
    pub name: String,
    /// Its weight among all models or sites, at least 1.
    pub share: u32,
}

/// Devices of one model at one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Index of the model.
    pub model: usize,
    /// Index of the site.
    pub site: usize,
    /// How many, at least 1; a fleet of another size has them in proportion.
    pub count: u32,
}

impl Fleet {
    /// Each model at each site where it can be, with its weight: the chance that a device is of it is this over the sum of all.
    pub fn strata(&self) -> Vec<(&Share, &Share, f64)> {
        if self.groups.is_empty() {
            let at_sites = |model| self.sites.iter().map(move |site: &Share| (model, site));
            let product = |(model, site): (&Share, &Share)| f64::from(model.share) * f64::from(site.share);
            let weighed = |(model, site)| (model, site, product((model, site)));
            return self.models.iter().flat_map(at_sites).map(weighed).collect();
        }
        let weighed = |of: &Group| Some((self.models.get(of.model)?, self.sites.get(of.site)?, f64::from(of.count)));
        self.groups.iter().filter_map(weighed).collect()
    }
}

/// A step of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedStep {
    /// When; at most the run's duration.
    pub at: Duration,
    pub step: Step,
    /// Whether the run goes on if it fails.
    pub may_fail: bool,
}

/// The interval if neither the scenario nor its server settings set one: the server's default.
const INTERVAL_DEFAULT: Duration = Duration::from_mins(1);

impl Plan {
    /// The phase from the end of the ramp to the end of the run.
    pub const STEADY: &str = "steady";

    /// Every phase that an expectation can name: name, start, end (not included).
    ///
    /// `ramp` if there is one, `steady` (everything after the ramp), then the timeline's own in order.
    pub fn phases(&self) -> Vec<(String, Duration, Duration)> {
        phases(self.ramp, self.duration, &self.timeline)
    }

    /// How often a device beats.
    pub fn interval(&self) -> Duration {
        match self.fleet.heartbeat_interval {
            HeartbeatInterval::Fixed(interval) => interval,
            HeartbeatInterval::Server => {
                let set = self.server.get("HEARTBEAT_INTERVAL_MS").and_then(|ms| ms.parse().ok());
                set.map_or(INTERVAL_DEFAULT, Duration::from_millis)
            }
        }
    }

    /// Whether a rollout is started.
    pub fn has_rollouts(&self) -> bool {
        self.rollouts() > 0
    }

    /// How many are.
    pub fn rollouts(&self) -> usize {
        self.timeline.iter().filter(|step| matches!(step.step, Step::StartRollout(_))).count()
    }

    /// Whether something delays answers in a rehearsal: a fault, or adversaries that use up budgets.
    pub fn has_delays(&self) -> bool {
        let is_fault = |timed: &TimedStep| timed.step.fault(self.interval()).is_some();
        !self.adversaries.is_empty() || self.timeline.iter().any(is_fault)
    }

    /// The settings of a run's own server: the scenario's, and those that its fleet requires.
    pub fn server_settings(&self, admin_token: &str) -> BTreeMap<String, String> {
        let mut settings = self.server.clone();
        if let HeartbeatInterval::Fixed(interval) = self.fleet.heartbeat_interval {
            settings.entry("HEARTBEAT_INTERVAL_MS".to_owned()).or_insert_with(|| interval.as_millis().to_string());
        }
        // Retention would delete heartbeats before the ledger reads them.
        let days = self.duration.as_secs() / 86_400 + 2;
        settings.entry("HEARTBEAT_RETENTION_DAYS".to_owned()).or_insert_with(|| days.max(30).to_string());
        settings.entry("OTRT_REQUIRED".to_owned()).or_insert_with(|| (self.fleet.otrt != Otrt::None).to_string());
        settings.insert("ADMIN_TOKEN".to_owned(), admin_token.to_owned());
        settings
    }

    /// Heartbeats per minute that the fleet offers once all devices have started; none if the server decides.
    pub fn offered_per_min(&self) -> Option<f64> {
        self.fleet.heartbeat_interval.offered_per_s(self.fleet.devices).map(|per_s| per_s * 60.0)
    }
}

/// As [`Plan::phases`], before there is a plan.
pub(super) fn phases(ramp: Duration, end: Duration, timeline: &[TimedStep]) -> Vec<(String, Duration, Duration)> {
    let mut phases = Vec::new();
    if !ramp.is_zero() {
        phases.push(("ramp".to_owned(), Duration::ZERO, ramp));
    }
    phases.push((Plan::STEADY.to_owned(), ramp, end));
    let named: Vec<(&String, Duration)> = timeline
        .iter()
        .filter_map(|step| match &step.step {
            Step::Phase(Phase { name }) => Some((name, step.at)),
            _ => None,
        })
        .collect();
    let ends = named.iter().skip(1).map(|(_, next_start)| *next_start).chain([end]);
    phases.extend(named.iter().zip(ends).map(|((name, start), end)| ((*name).clone(), *start, end)));
    phases
}

impl HeartbeatInterval {
    /// Heartbeats per second of so many devices; none if the server decides.
    pub fn offered_per_s(self, devices: u32) -> Option<f64> {
        match self {
            Self::Fixed(interval) => Some(f64::from(devices) / interval.as_secs_f64()),
            Self::Server => None,
        }
    }
}

impl Mode {
    /// The name, as in a scenario.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Rehearse => "rehearse",
        }
    }
}

/// `revoke` at 10s
impl std::fmt::Display for TimedStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` at {}", self.step.as_str(), duration::format(self.at))
    }
}
