//! Measurements: counters and histograms of bounded size, one recorder per thread, merged once a tick.

mod handshakes;

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub use self::handshakes::Handshakes;
use crate::device::exchange::{ActionCounts, MessageType};
use crate::run::outages::Recovered;
use crate::scenario::{AnswerCode, ChurnKind};

/// Longest latency that is distinguished, in microseconds: 15 minutes. Longer ones count as this.
const LATENCY_US_MAX: u64 = 15 * 60 * 1_000_000;

/// The code of an answer that was accepted.
pub const OK: &str = AnswerCode::OK;
/// The code of an answer that can't be verified or parsed.
pub const BAD_ANSWER: &str = "BAD_ANSWER";

/// The code of an answer by a server key that the device does not know yet: it fetches the keyset and sends the request again.
pub const UNKNOWN_KEY: &str = "UNKNOWN_KEY";
/// The code of a heartbeat that was due and never sent: it was still queued at the end, or the queue was full.
pub const UNSENT: &str = "UNSENT";
/// The code of a request with neither an answer nor a failure at the end of the run.
pub const UNANSWERED: &str = "UNANSWERED";

/// A histogram of microseconds with three significant digits. It grows with the greatest value, up to 160 KB.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are valid"))
}

/// Latencies of requests with the same result.
#[derive(Debug, Clone)]
pub struct Times {
    /// From the intended send to the result, microseconds.
    pub response_us: Histogram<u64>,
    /// From the actual send to the result, microseconds; of requests that were sent.
    pub service_us: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self { response_us: histogram(), service_us: histogram() }
    }
}

/// Measurements of one message type.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Handed to the link.
    pub sent: u64,
    /// Results by code, those of requests that were never sent or never answered included.
    pub ended: BTreeMap<&'static str, Times>,
}

impl Measured {
    /// Adds a finished request: its code, its response time and, if it was sent, its service time, in microseconds.
    pub fn end(&mut self, code: &'static str, response_us: u64, service_us: Option<u64>) {
        let times = self.ended.entry(code).or_default();
        record(&mut times.response_us, response_us);
        if let Some(service_us) = service_us {
            record(&mut times.service_us, service_us);
        }
    }

    /// Times of the requests that were accepted; none if there was no such request.
    pub fn accepted(&self) -> Option<&Times> {
        self.ended.get(OK)
    }

    /// Requests that ended with `code`.
    pub fn code(&self, code: &str) -> u64 {
        self.ended.get(code).map_or(0, |times| times.response_us.len())
    }

    /// Requests that ended with each code.
    pub fn codes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.ended.iter().map(|(code, times)| (*code, times.response_us.len()))
    }

    /// Requests that ended without being accepted.
    pub fn errors(&self) -> u64 {
        self.codes().filter(|(code, _)| *code != OK).map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        for (code, times) in &other.ended {
            let sum = self.ended.entry(code).or_default();
            // Histograms that grow always add up.
            let _ = sum.response_us.add(&times.response_us);
            let _ = sum.service_us.add(&times.service_us);
        }
    }
}

/// The results of one kind of adversary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Requests with a conclusive result: accepted, or refused for what was wrong with them.
    pub attempts: u64,
    pub successes: u64,
    /// Requests with an inconclusive result: no answer, or a refusal by rate limit.
    pub unjudged: u64,
}

/// Requests of one kind of adversary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdversaryRequests {
    /// Requests handed to a link, or connections made.
    pub sent: u64,
    pub codes: BTreeMap<&'static str, u64>,
}

impl AdversaryRequests {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        for (code, count) in &other.codes {
            *self.codes.entry(code).or_default() += count;
        }
    }
}

/// Devices that a release has bricked or killed: ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenDevices {
    pub devices: u64,
    /// When the first of them broke, since the start of the run: the exact time, not that of the tick that reports it.
    pub first_at: Duration,
}

/// Heartbeats of one cohort of devices, and whether the waits that the server asked for were true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CohortCounts {
    pub devices: u64,
    /// Heartbeats that were due by schedule.
    pub wanted: u64,
    /// Heartbeats sent, repeated ones included.
    pub sent: u64,
    /// Heartbeats accepted.
    pub acked: u64,
    /// Requests of any type that were refused with a time to wait.
    pub refused: u64,
    /// Of these, requests whose device asked again no sooner than it was asked to, and got an answer.
    pub asked_again: u64,
    /// Of those, requests that were not refused with a time to wait again.
    pub admitted: u64,
    /// Requests that a limit refused, and the last request of the same kind by the same device too.
    pub refused_again: u64,
    /// Requests sent after a refusal by a limit of the last one of the same kind by the same device, by the second of the run.
    pub sent_again: BTreeMap<u64, u64>,
    pub recovered: Recovered,
}

impl CohortCounts {
    /// Adds those of another thread, tick or cohort.
    pub fn add(&mut self, other: &Self) {
        self.devices += other.devices;
        self.wanted += other.wanted;
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.asked_again += other.asked_again;
        self.admitted += other.admitted;
        self.refused_again += other.refused_again;
        for (second, count) in &other.sent_again {
            *self.sent_again.entry(*second).or_default() += count;
        }
        self.recovered.add(&other.recovered);
    }

    /// The height of the second wave, and of those after it: most requests of a second that were sent again after a refusal.
    pub fn second_peak_per_s(&self) -> u64 {
        self.sent_again.values().copied().max().unwrap_or(0)
    }
}

/// Answers to honest devices, and how many of them were refusals by a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    pub requests: u64,
    pub refused: u64,
}

impl Answered {
    /// One more answer.
    pub fn count(&mut self, is_refused: bool) {
        self.requests += 1;
        self.refused += u64::from(is_refused);
    }

    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.refused += other.refused;
    }
}

/// What one thread measured since the last tick; can be added over threads and ticks.
#[derive(Debug, Clone)]
pub struct Measurements {
    pub messages: BTreeMap<MessageType, Measured>,
    /// Heartbeats that became due, less those that a reboot cancelled: may be below zero in a single tick.
    pub due: i64,
    /// Time from the moment a heartbeat was due until its timer was served, microseconds.
    pub send_lag_us: Histogram<u64>,
    /// Answers whose SIG_SERV did not verify.
    pub bad_server_signatures: u64,
    /// Answers whose SIG_SERV was not verified, because the run verifies a sample.
    pub unverified: u64,
    /// By kind of adversary, for kinds whose requests must all be refused.
    pub attacks: BTreeMap<&'static str, Score>,
    /// By kind of adversary, for all kinds.
    pub adversaries: BTreeMap<&'static str, AdversaryRequests>,
    /// CPU time of the adversaries' thread, if they have their own.
    pub adversaries_cpu: Duration,
    /// What devices did because of answers.
    pub done: ActionCounts,
    /// Punches that people made.
    pub punches_made: u64,
    /// Devices that a release was installed on for the first time, whether it ran there or not, by its version: ground truth.
    pub installed: BTreeMap<String, u64>,
    /// Devices that booted a release for the first time, by its version: ground truth.
    pub updated: BTreeMap<String, u64>,
    /// Devices that run a release that is going to kill them: ground truth.
    pub dying: i64,
    /// Background failures that began.
    pub churn: BTreeMap<ChurnKind, u64>,
    /// What releases have broken, by the version that did it: ground truth.
    pub broken: BTreeMap<String, BrokenDevices>,
    /// Change of the number of living devices that run a version: ground truth.
    pub running: BTreeMap<String, i64>,
    /// By cohort: its number in the scenario, and one more for the devices in none.
    pub cohorts: BTreeMap<usize, CohortCounts>,
    /// Answers to honest devices by site, if adversaries share an address with any.
    pub sites: BTreeMap<usize, Answered>,
    /// Of these, answers to devices that share an address with an adversary.
    pub beside: Answered,
    /// Answers to honest devices in whose name adversaries send requests.
    pub named: Answered,
    /// How devices recovered from outages, by the outage's number in the order of their ends.
    pub recovered: BTreeMap<usize, Recovered>,
    /// TLS handshakes of devices, operators and adversaries.
    pub handshakes: Handshakes,
    /// Change of the number of registered devices.
    pub registered: i64,
    /// Change of the number of requests in flight.
    pub in_flight: i64,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            messages: MessageType::ALL.into_iter().map(|kind| (kind, Measured::default())).collect(),
            due: 0,
            send_lag_us: histogram(),
            bad_server_signatures: 0,
            unverified: 0,
            attacks: BTreeMap::new(),
            adversaries: BTreeMap::new(),
            adversaries_cpu: Duration::ZERO,
            done: ActionCounts::default(),
            punches_made: 0,
            installed: BTreeMap::new(),
            updated: BTreeMap::new(),
            dying: 0,
            churn: BTreeMap::new(),
            broken: BTreeMap::new(),
            running: BTreeMap::new(),
            cohorts: BTreeMap::new(),
            sites: BTreeMap::new(),
            beside: Answered::default(),
            named: Answered::default(),
            recovered: BTreeMap::new(),
            handshakes: Handshakes::default(),
            registered: 0,
            in_flight: 0,
        }
    }
}

/// The codes of requests that a limit refused.
pub const LIMITED: [&str; 2] = ["RATE_LIMITED", "OVERLOADED"];

/// Whether the limits let a request with this result through: the server answered it, and not with a refusal by a limit.
pub fn is_let_through(code: &str) -> bool {
    !LIMITED.contains(&code) && !AnswerCode::LOCAL.contains(&code)
}

impl Measurements {
    /// Requests that ended and that no limit refused, of honest devices and of adversaries.
    pub fn let_through(&self) -> u64 {
        let honest = self.messages.values().flat_map(Measured::codes);
        let adversaries = self.adversaries.values().flat_map(|of| of.codes.iter().map(|(code, count)| (*code, *count)));
        honest.chain(adversaries).filter(|(code, _)| is_let_through(code)).map(|(_, count)| count).sum()
    }

    /// Heartbeats that were due, as a count.
    pub fn offered(&self) -> u64 {
        u64::try_from(self.due).unwrap_or(0)
    }

    /// Measurements of one message type.
    pub fn of(&self, kind: MessageType) -> &Measured {
        #[expect(clippy::indexing_slicing, reason = "every type is inserted on construction")]
        &self.messages[&kind]
    }

    pub fn of_mut(&mut self, kind: MessageType) -> &mut Measured {
        self.messages.entry(kind).or_default()
    }

    /// Requests of one kind of adversary, mutable.
    pub fn adversary_mut(&mut self, kind: &'static str) -> &mut AdversaryRequests {
        self.adversaries.entry(kind).or_default()
    }

    /// Adds what another thread or tick measured.
    pub fn add(&mut self, other: &Self) {
        for (kind, measured) in &other.messages {
            self.of_mut(*kind).add(measured);
        }
        self.due += other.due;
        let _ = self.send_lag_us.add(&other.send_lag_us); // histograms that grow always add up
        self.bad_server_signatures += other.bad_server_signatures;
        self.unverified += other.unverified;
        for (kind, score) in &other.attacks {
            let sum = self.attacks.entry(kind).or_default();
            sum.attempts += score.attempts;
            sum.successes += score.successes;
            sum.unjudged += score.unjudged;
        }
        for (kind, requests) in &other.adversaries {
            self.adversary_mut(kind).add(requests);
        }
        self.adversaries_cpu += other.adversaries_cpu;
        self.done += other.done;
        self.punches_made += other.punches_made;
        for (version, count) in &other.installed {
            *self.installed.entry(version.clone()).or_default() += count;
        }
        for (version, count) in &other.updated {
            *self.updated.entry(version.clone()).or_default() += count;
        }
        self.dying += other.dying;
        for (kind, count) in &other.churn {
            *self.churn.entry(*kind).or_default() += count;
        }
        for (version, broken) in &other.broken {
            self.broke(version, *broken);
        }
        for (version, change) in &other.running {
            *self.running.entry(version.clone()).or_default() += change;
        }
        for (cohort, counts) in &other.cohorts {
            self.cohorts.entry(*cohort).or_default().add(counts);
        }
        for (site, answered) in &other.sites {
            self.sites.entry(*site).or_default().add(*answered);
        }
        self.beside.add(other.beside);
        self.named.add(other.named);
        for (outage, recovered) in &other.recovered {
            self.recovered.entry(*outage).or_default().add(recovered);
        }
        self.handshakes.add(&other.handshakes);
        self.registered += other.registered;
        self.in_flight += other.in_flight;
    }

    /// Adds devices that this version has broken.
    pub fn broke(&mut self, version: &str, more: BrokenDevices) {
        let sum = |broken: &mut BrokenDevices| {
            broken.devices += more.devices;
            broken.first_at = broken.first_at.min(more.first_at);
        };
        self.broken.entry(version.to_owned()).and_modify(sum).or_insert(more);
    }

    /// The whole fleet as one cohort.
    pub fn cohort(&self) -> CohortCounts {
        let mut sum = CohortCounts::default();
        self.cohorts.values().for_each(|counts| sum.add(counts));
        sum
    }

    /// How devices recovered from all outages together.
    pub fn recovered(&self) -> Recovered {
        let mut sum = Recovered::default();
        self.recovered.values().for_each(|recovered| sum.add(recovered));
        sum
    }

    /// Devices that any release has broken.
    pub fn broken_devices(&self) -> u64 {
        self.broken.values().map(|broken| broken.devices).sum()
    }

    /// Devices that this version has broken.
    pub fn broken_by(&self, version: &str) -> u64 {
        self.broken.get(version).map_or(0, |broken| broken.devices)
    }

    /// Requests of every type that ended, by code.
    pub fn codes(&self) -> BTreeMap<&'static str, u64> {
        let mut codes = BTreeMap::new();
        for (code, count) in self.messages.values().flat_map(Measured::codes) {
            *codes.entry(code).or_default() += count;
        }
        codes
    }
}

/// Records into `histogram`, clamped to its range.
pub fn record(histogram: &mut Histogram<u64>, micros: u64) {
    let _ = histogram.record(micros.clamp(1, LATENCY_US_MAX)); // it grows to fit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_add_up() {
        let mut one = Measurements::default();
        one.of_mut(MessageType::Heartbeat).sent = 2;
        one.of_mut(MessageType::Heartbeat).end(OK, 1_000, Some(900));
        one.of_mut(MessageType::Heartbeat).end("REVOKED", 2_000, None);
        let mut sum = one.clone();
        sum.add(&one);
        let beats = sum.of(MessageType::Heartbeat);
        assert_eq!(
            (beats.sent, beats.code(OK), beats.errors(), beats.accepted().unwrap().service_us.len()),
            (4, 2, 2, 2)
        );
    }

    /// Goal: the second wave of a fleet is as high as those of its threads and cohorts together in one second.
    #[test]
    fn what_is_sent_again_adds_up_by_second() {
        let again = |seconds: &[(u64, u64)]| CohortCounts {
            sent_again: seconds.iter().copied().collect(),
            ..CohortCounts::default()
        };
        let mut sum = again(&[(60, 4), (61, 9)]);
        assert_eq!(sum.second_peak_per_s(), 9);
        sum.add(&again(&[(60, 8), (200, 1)]));
        assert_eq!((sum.second_peak_per_s(), CohortCounts::default().second_peak_per_s()), (12, 0));
    }

    #[test]
    fn the_first_device_that_a_version_broke_is_the_earliest_of_all_threads() {
        let broke = |version: &str, ms| {
            let mut measured = Measurements::default();
            measured.broke(version, BrokenDevices { devices: 1, first_at: Duration::from_millis(ms) });
            measured
        };
        let mut sum = broke("2", 700);
        for other in [broke("2", 650), broke("3", 100), broke("2", 900)] {
            sum.add(&other);
        }
        assert_eq!(sum.broken["2"], BrokenDevices { devices: 3, first_at: Duration::from_millis(650) });
        assert_eq!((sum.broken_by("3"), sum.broken_by("1"), sum.broken_devices()), (1, 0, 4));
    }
}
