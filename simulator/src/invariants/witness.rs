//! Observes each exchange at the server's edge, and keeps what the invariants are judged by.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use hyper::HeaderMap;
use ks_protocol::{
    document,
    id::{DeviceId, Sequence},
    message::{AcksRecorded, CommandAck, FirmwareStatus, Heartbeat, NextBeat, Register, Request as _, UpdateStep},
    signature::{SIG_DEV, SIG_SERV},
};
use ks_server::clock::micros;
use tokio::time::Instant;

use super::{
    DownloadRequest, Invariant, REPORTED_MAX, Violation,
    orders::{OrderKind, are_over, revoked_in},
};
use crate::{
    device::replay_pairs::Pairs,
    fleet::by_device::ByDevice,
    limits::oracle::{Answer, LimitSet, Oracle, OrderEnd, OrderTicket, Origin, Sent, SitePrefixes, Ticket, Values},
    operator::ObservedLimits,
};

/// Observes the exchanges of a rehearsal's server.
pub struct Witness {
    started: Instant,
    seen: Mutex<Observations>,
    site_prefixes: SitePrefixes,
    oracle: Mutex<Oracle>,
    /// The limits that the oracle is to expect, given those in force: others than these are a planted bug.
    expected: fn(Values) -> Values,
    /// The server's settings.
    settings: BTreeMap<String, String>,
    /// The limits of the settings, as the server said at its first start.
    by_settings: OnceLock<Values>,
}

#[derive(Default)]
pub(super) struct Observations {
    /// By the device's name.
    pub(super) devices: ByDevice<ObservedDevice>,
    /// When the last request that was answered with an offer of each release arrived.
    pub(super) offered_last: BTreeMap<String, Duration>,
    /// When each release was revoked.
    pub(super) releases_revoked: BTreeMap<String, Duration>,
    /// The device that registered with each token.
    tokens: BTreeMap<String, String>,
    /// The terminal state of each closed command.
    commands_over: BTreeMap<String, String>,
    /// Every image that was uploaded, by its SHA-256 in hex.
    pub(super) images: BTreeMap<String, Vec<u8>>,
    pub(super) violations: Vec<Violation>,
}

/// When an exchange took place.
#[derive(Clone, Copy)]
struct Times {
    arrived_at: Duration,
    answered_at: Duration,
}

#[derive(Default)]
pub(super) struct ObservedDevice {
    /// Pairs of heartbeats that were accepted.
    pub(super) beats: Pairs,
    /// Pairs of all other requests that were accepted.
    others: Pairs,
    /// Pairs of heartbeats that are stored.
    pub(super) stored: Pairs,
    /// When its last request was accepted.
    pub(super) last_at: Duration,
    pub(super) revoked_at: Option<Duration>,
    pub(super) is_registered: bool,
    /// The version that it reports.
    version: String,
    pub(super) updates: BTreeMap<String, ObservedUpdate>,
    /// Since when it reports a version, by version.
    pub(super) runs_since: BTreeMap<String, Duration>,
}

/// Observations of one device's update to one release.
#[derive(Default)]
pub(super) struct ObservedUpdate {
    /// When it was first offered.
    pub(super) offered_at: Option<Duration>,
    /// When the device reported a failure.
    pub(super) failed_at: Option<Duration>,
    /// When the device reported success.
    pub(super) success_reported_at: Option<Duration>,
}

/// A question of an operator that the server has not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct OpenQuestion {
    at_us: u64,
    /// Orders before it.
    orders: Option<u64>,
}

impl Witness {
    /// A witness without observations; the run starts now. The addresses of one site share these prefixes.
    pub fn at_the_start(site_prefixes: SitePrefixes) -> Self {
        Self {
            started: Instant::now(),
            seen: Mutex::default(),
            site_prefixes,
            oracle: Mutex::new(Oracle::new(Values::all_off())),
            expected: |in_force| in_force,
            settings: BTreeMap::new(),
            by_settings: OnceLock::new(),
        }
    }

    /// The same, with other limits than those in force.
    #[must_use]
    pub fn expecting(self, expected: fn(Values) -> Values) -> Self {
        Self { expected, ..self }
    }

    /// The same, of a server with these settings.
    #[must_use]
    pub fn with_settings(self, settings: BTreeMap<String, String>) -> Self {
        Self { settings, ..self }
    }

    /// What limits have to do, and did.
    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_us(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.started))
    }

    /// The server has started, by its own clock at this moment, with these limits.
    pub fn server_started(&self, at: Instant, limits: &ObservedLimits) {
        let (at_us, in_force) = (self.at_us(at), Values::observed(&limits.limits));
        let mut oracle = self.oracle();
        self.by_settings.get_or_init(|| {
            // Nobody has applied any yet.
            oracle.compare_declared(at_us, &in_force.with_settings(&self.settings), &in_force, "the settings");
            in_force.clone()
        });
        oracle.server_started(at_us, (self.expected)(in_force));
    }

    /// A caller as limits see it.
    pub fn origin(&self, address: IpAddr) -> Origin {
        Origin::of(address, self.site_prefixes)
    }

    /// A device's request reaches the server; `hint` is the device of the caller's last one.
    pub fn arrives(&self, origin: Origin, sent: &Sent<'_>, hint: Option<usize>) -> Ticket {
        self.oracle().arrived(self.at_us(Instant::now()), origin, sent, hint)
    }

    /// A device's request has reached the server, which could not answer it at once.
    pub fn arrives_and_waits(&self, origin: Origin, sent: &Sent<'_>, hint: Option<usize>) -> Ticket {
        let (at_us, mut oracle) = (self.at_us(Instant::now()), self.oracle());
        let mut ticket = oracle.arrived(at_us, origin, sent, hint);
        oracle.waits(&mut ticket, sent);
        ticket
    }

    /// The server answers it.
    pub fn answers(&self, ticket: Ticket, sent: &Sent<'_>, answer: Answer) {
        self.oracle().answered(ticket, self.at_us(Instant::now()), sent, answer);
    }

    /// An operator's order reaches the server.
    pub fn ordered(&self, order: &str, request: &[u8]) -> OrderTicket {
        let (at_us, mut oracle) = (self.at_us(Instant::now()), self.oracle());
        match OrderKind::of(order) {
            OrderKind::Limits => {
                let is_file = order == "limits"; // else those of an earlier version, whatever they were
                let named = if is_file { LimitSet::named_in(request) } else { LimitSet::ALL };
                return oracle.limits_ordered(at_us, named);
            }
            OrderKind::Commands => return oracle.commands_ordered(at_us),
            OrderKind::Rollouts => return oracle.rollout_ordered(at_us),
            OrderKind::Revocation => revoked_in(request).iter().for_each(|name| oracle.revocation_ordered(name)),
            OrderKind::Other => {}
        }
        oracle.order(at_us)
    }

    /// An operator's order has ended: answered, or without an answer.
    pub fn order_ended(&self, ticket: OrderTicket, (order, request): (&str, &[u8]), end: OrderEnd, answer: &[u8]) {
        let (at_us, mut oracle) = (self.at_us(Instant::now()), self.oracle());
        match OrderKind::of(order) {
            OrderKind::Limits => {
                let in_force = values_in(answer);
                let is_certain = end == OrderEnd::Done && oracle.is_only_limits_order(&ticket);
                if let (true, "limits", Some(in_force)) = (is_certain, order, &in_force)
                    && let Some(declared) = self.by_settings.get().and_then(|before| before.with_file(request))
                {
                    oracle.compare_declared(at_us, &declared, in_force, "the operator's limits file");
                }
                oracle.limits_order_ended(ticket, at_us, end, in_force.map(self.expected));
            }
            OrderKind::Commands | OrderKind::Rollouts => oracle.commands_order_ended(at_us, end),
            OrderKind::Revocation => {
                for name in revoked_in(request) {
                    oracle.revocation_ended(&name, ticket, at_us, end);
                }
            }
            OrderKind::Other if end == OrderEnd::Done && order == "devices/import" => {
                // The names are the second column of the simulator's own inventories.
                let csv = String::from_utf8_lossy(request);
                csv.lines().skip(1).filter_map(|line| line.split(',').nth(1)).for_each(|name| oracle.imported(name));
            }
            OrderKind::Other => {}
        }
    }

    /// An operator asks for something; to be passed to [`Witness::read`].
    pub fn asks(&self) -> OpenQuestion {
        OpenQuestion { at_us: self.at_us(Instant::now()), orders: self.oracle().orders_before_reading() }
    }

    /// The server has answered an operator's question with 200.
    pub fn read(&self, asking: &OpenQuestion, path: &str, answer: &[u8]) {
        let at_us = self.at_us(Instant::now());
        if path == "/api/limits"
            && let Some(values) = values_in(answer)
        {
            self.oracle().limits_read(asking.at_us, at_us, (self.expected)(values));
        } else if path == "/api/rollouts" && are_over(answer) {
            self.oracle().rollouts_are_over(at_us, asking.orders);
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Observations> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the run has lasted.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Observes an exchange that the server answered with 200; its request arrived at `arrived_at`.
    pub fn exchange(&self, arrived_at: Duration, path: &str, request: &[u8], answer: &[u8]) {
        let at = self.now();
        if let Some(order) = path.strip_prefix("/api/") {
            return self.seen().operator(at, order, request);
        }
        if let (Ok(request), Ok(answer)) = (std::str::from_utf8(request), std::str::from_utf8(answer)) {
            self.seen().device(Times { arrived_at, answered_at: at }, path, request, answer);
        }
    }

    /// Observes a heartbeat that was handed over as a value at `arrived_at` and is answered now.
    pub fn beat(&self, arrived_at: Duration, beat: &Heartbeat, next: &NextBeat) {
        let at = self.now();
        let device_id = beat.device_id.as_str();
        let mut seen = self.seen();
        let version = Some(beat.firmware.version.as_str());
        seen.accepted(at, Heartbeat::PATH, device_id, Sequence::new(beat.boot_epoch, beat.seq.get()), version);
        if let Some(offer) = &next.firmware {
            seen.offered(Times { arrived_at, answered_at: at }, device_id, offer.manifest.as_str());
        }
    }

    /// The download that a request asks for, if any; to be read before the request is answered.
    pub fn download_request(&self, path: &str, headers: &HeaderMap) -> Option<DownloadRequest> {
        DownloadRequest::of(self.started.elapsed(), path, headers)
    }

    /// Observes a completed download that the server answered with 200 or 206.
    pub fn download(&self, asked: &DownloadRequest, is_part: bool, body: &[u8]) {
        let at = self.started.elapsed();
        self.seen().downloaded(at, asked, is_part, body);
    }

    /// Adds a heartbeat that the server has stored.
    pub fn stored(&self, device_id: &DeviceId, sequence: Sequence) {
        self.seen().devices.entry(device_id.as_str()).stored.insert(sequence);
    }
}

/// The limits in an answer of the admin API.
fn values_in(answer: &[u8]) -> Option<Values> {
    ObservedLimits::read(answer).ok().map(|observed| Values::observed(&observed.limits))
}

impl Observations {
    pub(super) fn violation(&mut self, invariant: Invariant, at: Duration, what: String) {
        if self.violations.len() < REPORTED_MAX {
            self.violations.push(Violation { invariant, what, at });
        }
    }

    /// An operator's order was executed.
    fn operator(&mut self, at: Duration, order: &str, request: &[u8]) {
        if order == "artifacts" {
            self.uploaded(request);
        } else if order == "devices/revoke" {
            for device_id in revoked_in(request) {
                self.devices.entry(&device_id).revoked_at.get_or_insert(at);
            }
        } else if let Some(release_id) = order.strip_prefix("releases/").and_then(|rest| rest.strip_suffix("/revoke")) {
            self.releases_revoked.entry(release_id.to_owned()).or_insert(at);
        }
    }

    /// A device's request was accepted.
    fn device(&mut self, times: Times, path: &str, request: &str, answer: &str) {
        let at = times.answered_at;
        // In the protocol's field order: type, device, pair.
        let mut lines = request.lines();
        let mut field = |name: &str| lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let Some(device_id) = field("device_id").map(|name| name.trim_matches('"')) else { return };
        let (Some(boot_epoch), Some(seq)) = (field("boot_epoch"), field("seq")) else { return };
        let (Ok(boot_epoch), Ok(seq)) = (boot_epoch.parse(), seq.parse()) else { return };
        let version = request.split_once("\n  version: ").map(|(_, rest)| rest.lines().next().unwrap_or(""));
        let version = (path == Heartbeat::PATH).then(|| version.unwrap_or("").trim_matches('"'));
        self.accepted(at, path, device_id, Sequence::new(boot_epoch, seq), version);
        match path {
            Heartbeat::PATH => {
                if let Some((_, manifest)) = answer.split_once("manifest: ") {
                    self.offered(times, device_id, manifest);
                }
            }
            Register::PATH => self.registered(at, device_id, request),
            FirmwareStatus::PATH => self.update_reported(at, device_id, request),
            CommandAck::PATH => self.acknowledged(at, answer),
            _ => {}
        }
    }

    /// A device's request with this pair was accepted; a heartbeat says which version it runs.
    fn accepted(&mut self, at: Duration, path: &str, device_id: &str, sequence: Sequence, version: Option<&str>) {
        let device = self.devices.entry(device_id);
        if let Some(version) = version.filter(|version| device.version != **version) {
            version.clone_into(&mut device.version);
            device.runs_since.insert(version.to_owned(), at);
        }
        device.last_at = at;
        device.is_registered |= path == Register::PATH;
        let is_beat = path == Heartbeat::PATH;
        let (own, other) =
            if is_beat { (&mut device.beats, &device.others) } else { (&mut device.others, &device.beats) };
        let is_first = own.insert(sequence) && !other.contains(sequence);
        let revoked_at = device.revoked_at.filter(|revoked_at| *revoked_at < at);
        if !is_first {
            let (boot_epoch, seq) = (sequence.boot_epoch, sequence.seq.get());
            let what = format!("{device_id}: {path} with the pair ({boot_epoch}, {seq}) was accepted twice");
            self.violation(Invariant::StoredOnce, at, what);
        }
        if revoked_at.is_some() {
            let what = format!("{device_id}: {path} was accepted after the device was revoked");
            self.violation(Invariant::TerminalStays, at, what);
        }
    }

    /// A device was offered the release of this manifest, which is text.
    fn offered(&mut self, times: Times, device_id: &str, manifest: &str) {
        let Some(device) = self.devices.get_mut(device_id) else { return };
        // In a document the manifest is a string: line feeds are written as `\n` and quotes as `\"`.
        let named = manifest.split_once("release_id: ");
        let Some(release_id) = named.and_then(|(_, rest)| rest.split(['\\', '\n', '"']).find(|part| !part.is_empty()))
        else {
            return;
        };
        device.updates.entry(release_id.to_owned()).or_default().offered_at.get_or_insert(times.answered_at);
        let last = self.offered_last.entry(release_id.to_owned()).or_default();
        *last = times.arrived_at.max(*last);
    }

    fn registered(&mut self, at: Duration, device_id: &str, request: &str) {
        let Ok(signed) = document::split(request.as_bytes(), SIG_DEV) else { return };
        let Ok(Register { otrt: Some(token), .. }) = document::decode(signed.body) else { return };
        let first = self.tokens.entry(token.as_str().to_owned()).or_insert_with(|| device_id.to_owned());
        if first != device_id {
            let what = format!("{device_id} registered with the one-time token that {first} had used");
            self.violation(Invariant::TokenOnce, at, what);
        }
    }

    fn update_reported(&mut self, at: Duration, device_id: &str, request: &str) {
        let Ok(signed) = document::split(request.as_bytes(), SIG_DEV) else { return };
        let Ok(FirmwareStatus { release_id, step, .. }) = document::decode(signed.body) else { return };
        let Some(device) = self.devices.get_mut(device_id) else { return };
        let update = device.updates.entry(release_id.to_string()).or_default();
        match step {
            UpdateStep::Succeeded => update.success_reported_at.get_or_insert(at),
            UpdateStep::Failed | UpdateStep::Rejected | UpdateStep::RolledBack => update.failed_at.get_or_insert(at),
            _ => return,
        };
    }

    fn acknowledged(&mut self, at: Duration, answer: &str) {
        let Ok(signed) = document::split(answer.as_bytes(), SIG_SERV) else { return };
        let Ok(AcksRecorded { acks, .. }) = document::decode(signed.body) else { return };
        for ack in acks.as_slice() {
            self.command_is(at, ack.command_id.as_str(), ack.state.as_str());
        }
    }

    /// The server reports a command's state, in an answer or in a list.
    pub(super) fn command_is(&mut self, at: Duration, command_id: &str, state: &str) {
        if let Some(before) = self.commands_over.get(command_id) {
            if before != state {
                let what = format!("the command {command_id} was {before} and is now {state}");
                self.violation(Invariant::TerminalStays, at, what);
            }
        } else if matches!(state, "SUCCEEDED" | "FAILED" | "REJECTED" | "TIMED_OUT" | "CANCELED") {
            self.commands_over.insert(command_id.to_owned(), state.to_owned());
        }
    }
}
