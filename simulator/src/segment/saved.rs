//! Measurements as JSON and back, without loss: counters as numbers, histograms as HdrHistogram's own V2 encoding in base64.

use std::{collections::BTreeMap, time::Duration};

use base64ct::{Base64, Encoding};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2Serializer},
};
use ks_protocol::refusal::RefusalCode;
use serde::{Deserialize, Serialize};

use crate::{
    adversary,
    device::exchange::{ActionCounts, MessageType},
    run::{
        measure::{
            AdversaryRequests, Answered, BrokenDevices, CohortCounts, Handshakes, Measured, Measurements, OK, Score,
            Times, histogram,
        },
        outages::Recovered,
    },
    scenario::{AdversaryKind, AnswerCode, ChurnKind},
};

/// Most samples of a histogram of one tick, so that no sum overflows.
const SAMPLES_MAX: u64 = 1 << 40;

/// A histogram; empty text for an empty one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedHistogram(String);

impl SavedHistogram {
    fn of(histogram: &Histogram<u64>) -> Result<Self, String> {
        let mut bytes = Vec::new();
        if !histogram.is_empty() {
            V2Serializer::new().serialize(histogram, &mut bytes).map_err(|error| error.to_string())?;
        }
        Ok(Self(Base64::encode_string(&bytes)))
    }

    fn histogram(&self) -> Result<Histogram<u64>, String> {
        let mut sum = histogram();
        if self.0.is_empty() {
            return Ok(sum);
        }
        let bytes = Base64::decode_vec(&self.0).map_err(|error| format!("a histogram's base64: {error}"))?;
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|error| format!("a histogram: {error}"))?;
        if (read.sigfig(), read.low()) != (sum.sigfig(), sum.low()) {
            return Err("a histogram of another resolution".to_owned());
        }
        if read.len() > SAMPLES_MAX {
            return Err("a histogram of more samples than any run has".to_owned());
        }
        // Into one that grows: what is read has the size of its greatest value.
        sum.add(&read).map_err(|error| format!("a histogram: {error}"))?;
        Ok(sum)
    }
}

/// The results of one message type: by code, response and service times.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedMeasured {
    sent: u64,
    ended: BTreeMap<String, (SavedHistogram, SavedHistogram)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedRequests {
    sent: u64,
    codes: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedHandshakes {
    full: u64,
    resumed: u64,
    failed: u64,
    first_failure: Option<String>,
    times_us: SavedHistogram,
}

/// [`Measurements`] of one tick, as they are saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SavedMeasurements {
    messages: BTreeMap<String, SavedMeasured>,
    due: i64,
    send_lag_us: SavedHistogram,
    bad_server_signatures: u64,
    unverified: u64,
    attacks: BTreeMap<String, Score>,
    adversaries: BTreeMap<String, SavedRequests>,
    adversaries_cpu: Duration,
    done: ActionCounts,
    punches_made: u64,
    installed: BTreeMap<String, u64>,
    updated: BTreeMap<String, u64>,
    dying: i64,
    churn: BTreeMap<String, u64>,
    broken: BTreeMap<String, BrokenDevices>,
    running: BTreeMap<String, i64>,
    cohorts: BTreeMap<usize, CohortCounts>,
    sites: BTreeMap<usize, Answered>,
    beside: Answered,
    named: Answered,
    recovered: BTreeMap<usize, Recovered>,
    handshakes: SavedHandshakes,
    registered: i64,
    in_flight: i64,
}

impl SavedMeasurements {
    /// Saves what was measured.
    ///
    /// # Errors
    /// A histogram can't be encoded, which never happens with ours.
    pub fn of(measured: &Measurements) -> Result<Self, String> {
        // Each field by name, so that a new one can't be forgotten here.
        let Measurements {
            messages,
            due,
            send_lag_us,
            bad_server_signatures,
            unverified,
            attacks,
            adversaries,
            adversaries_cpu,
            done,
            punches_made,
            installed,
            updated,
            dying,
            churn,
            broken,
            running,
            cohorts,
            sites,
            beside,
            named,
            recovered,
            handshakes,
            registered,
            in_flight,
        } = measured.clone();
        Ok(Self {
            messages: saved_messages(&messages)?,
            due,
            send_lag_us: SavedHistogram::of(&send_lag_us)?,
            bad_server_signatures,
            unverified,
            attacks: texts(attacks),
            adversaries: adversaries.into_iter().map(|(kind, of)| (kind.to_owned(), of.into())).collect(),
            adversaries_cpu,
            done,
            punches_made,
            installed,
            updated,
            dying,
            churn: churn.into_iter().map(|(kind, count)| (kind.as_str().to_owned(), count)).collect(),
            broken,
            running,
            cohorts,
            sites,
            beside,
            named,
            recovered,
            handshakes: saved_handshakes(handshakes)?,
            registered,
            in_flight,
        })
    }

    /// The measurements.
    ///
    /// # Errors
    /// A sentence about what this program does not know or can't decode.
    pub fn measurements(self) -> Result<Measurements, String> {
        let mut measured = Measurements {
            messages: BTreeMap::new(),
            due: self.due,
            send_lag_us: self.send_lag_us.histogram()?,
            bad_server_signatures: self.bad_server_signatures,
            unverified: self.unverified,
            attacks: known(self.attacks, kind)?,
            adversaries: BTreeMap::new(),
            adversaries_cpu: self.adversaries_cpu,
            done: self.done,
            punches_made: self.punches_made,
            installed: self.installed,
            updated: self.updated,
            dying: self.dying,
            churn: known(self.churn, |name| ChurnKind::ALL.into_iter().find(|kind| kind.as_str() == name))?,
            broken: self.broken,
            running: self.running,
            cohorts: self.cohorts,
            sites: self.sites,
            beside: self.beside,
            named: self.named,
            recovered: self.recovered,
            handshakes: handshakes(self.handshakes)?,
            registered: self.registered,
            in_flight: self.in_flight,
        };
        for kind in MessageType::ALL {
            measured.messages.insert(kind, Measured::default());
        }
        for (type_name, saved) in self.messages {
            let kind = MessageType::ALL.into_iter().find(|kind| kind.as_str() == type_name);
            let kind = kind.ok_or_else(|| unknown(&type_name))?;
            measured.messages.insert(kind, loaded(saved)?);
        }
        for (name, SavedRequests { sent, codes }) in self.adversaries {
            let kind = kind(&name).ok_or_else(|| unknown(&name))?;
            measured.adversaries.insert(kind, AdversaryRequests { sent, codes: known(codes, code)? });
        }
        Ok(measured)
    }
}

impl From<AdversaryRequests> for SavedRequests {
    fn from(AdversaryRequests { sent, codes }: AdversaryRequests) -> Self {
        Self { sent, codes: texts(codes) }
    }
}

fn texts<T>(by_name: BTreeMap<&'static str, T>) -> BTreeMap<String, T> {
    by_name.into_iter().map(|(name, of)| (name.to_owned(), of)).collect()
}

/// The same with each name as the program's own.
fn known<N: Ord, T>(by_name: BTreeMap<String, T>, name: impl Fn(&str) -> Option<N>) -> Result<BTreeMap<N, T>, String> {
    by_name.into_iter().map(|(given, of)| Ok((name(&given).ok_or_else(|| unknown(&given))?, of))).collect()
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    format!("`{name}` is unknown to this version")
}

/// The code of a request's result, as the program's own text.
fn code(name: &str) -> Option<&'static str> {
    let refusals = RefusalCode::ALL.iter().map(|refusal| refusal.as_str());
    let own = [OK].into_iter().chain(AnswerCode::LOCAL).chain(adversary::CONNECTION_CODES);
    own.chain(refusals).find(|code| *code == name)
}

/// The kind of an adversary, likewise.
fn kind(name: &str) -> Option<&'static str> {
    AdversaryKind::ALL.into_iter().map(AdversaryKind::as_str).find(|kind| *kind == name)
}

/// Types with a message, which are few in most ticks.
fn saved_messages(messages: &BTreeMap<MessageType, Measured>) -> Result<BTreeMap<String, SavedMeasured>, String> {
    let mut saved = BTreeMap::new();
    for (kind, Measured { sent, ended }) in messages {
        if *sent == 0 && ended.is_empty() {
            continue;
        }
        let mut by_code = BTreeMap::new();
        for (code, Times { response_us, service_us }) in ended {
            let times = (SavedHistogram::of(response_us)?, SavedHistogram::of(service_us)?);
            by_code.insert((*code).to_owned(), times);
        }
        saved.insert(kind.as_str().to_owned(), SavedMeasured { sent: *sent, ended: by_code });
    }
    Ok(saved)
}

fn loaded(SavedMeasured { sent, ended }: SavedMeasured) -> Result<Measured, String> {
    let mut by_code = BTreeMap::new();
    for (name, (response, service)) in ended {
        let code = code(&name).ok_or_else(|| unknown(&name))?;
        by_code.insert(code, Times { response_us: response.histogram()?, service_us: service.histogram()? });
    }
    Ok(Measured { sent, ended: by_code })
}

fn saved_handshakes(
    Handshakes { full, resumed, failed, first_failure, times_us }: Handshakes,
) -> Result<SavedHandshakes, String> {
    Ok(SavedHandshakes { full, resumed, failed, first_failure, times_us: SavedHistogram::of(&times_us)? })
}

fn handshakes(
    SavedHandshakes { full, resumed, failed, first_failure, times_us }: SavedHandshakes,
) -> Result<Handshakes, String> {
    Ok(Handshakes { full, resumed, failed, first_failure, times_us: times_us.histogram()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{run::measure::record, seed};

    /// Through JSON and back.
    fn round_trip(measured: &Measurements) -> Measurements {
        let text = serde_json::to_vec(&SavedMeasurements::of(measured).unwrap()).unwrap();
        serde_json::from_slice::<SavedMeasurements>(&text).unwrap().measurements().unwrap()
    }

    /// What was recorded in each bucket. Two histograms of the same samples may differ in the room that they have for more.
    fn buckets(of: &Histogram<u64>) -> Vec<(u64, u64)> {
        of.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect()
    }

    /// The buckets of every histogram, and the debug text of everything else.
    fn shown(measured: &Measurements) -> (Vec<Vec<(u64, u64)>>, String) {
        let (mut rest, mut all) = (measured.clone(), Vec::new());
        let times = rest.messages.values_mut().flat_map(|of| of.ended.values_mut());
        let times = times.flat_map(|times| [&mut times.response_us, &mut times.service_us]);
        for of in times.chain([&mut rest.send_lag_us, &mut rest.handshakes.times_us]) {
            all.push(buckets(&std::mem::replace(of, histogram())));
        }
        (all, format!("{rest:?}"))
    }

    /// Goal: nothing is lost. Method: every field has a value of its own; the debug text has every field.
    #[test]
    fn every_field_comes_back() {
        let mut measured = Measurements { due: -3, bad_server_signatures: 2, unverified: 4, ..Measurements::default() };
        for (number, code) in (1..).zip(AnswerCode::LOCAL.into_iter().chain([OK, "RATE_LIMITED"])) {
            measured.of_mut(MessageType::Heartbeat).end(code, 1_000 * number, Some(900 * number));
        }
        measured.of_mut(MessageType::Register).sent = 9;
        record(&mut measured.send_lag_us, 77);
        for kind in AdversaryKind::ALL {
            measured.attacks.insert(kind.as_str(), Score { attempts: 5, successes: 1, unjudged: 2 });
            measured.adversary_mut(kind.as_str()).sent = 6;
            for code in adversary::CONNECTION_CODES {
                measured.adversary_mut(kind.as_str()).codes.insert(code, 3);
            }
        }
        measured.adversaries_cpu = Duration::new(3, 141);
        measured.done = ActionCounts { commands_succeeded: 1, commands_applied_twice: 2, keys_rotated: 3 };
        measured.punches_made = 11;
        measured.installed.insert("1.1.0".to_owned(), 1);
        measured.updated.insert("1.1.0".to_owned(), 2);
        measured.running.insert("1.1.0".to_owned(), -2);
        measured.dying = -1;
        measured.churn = ChurnKind::ALL.into_iter().map(|kind| (kind, 4)).collect();
        measured.broke("1.1.0", BrokenDevices { devices: 2, first_at: Duration::from_millis(1_234) });
        let cohort = CohortCounts { devices: 7, sent_again: [(60, 4)].into(), ..CohortCounts::default() };
        measured.cohorts.insert(1, cohort);
        measured.sites.insert(3, Answered { requests: 8, refused: 1 });
        measured.beside = Answered { requests: 2, refused: 1 };
        measured.named = Answered { requests: 4, refused: 3 };
        measured.recovered.insert(0, Recovered { after_ms: [(250, 2)].into(), never: 1 });
        measured.handshakes.ended(true, Duration::from_millis(3));
        measured.handshakes.first_failure = Some("why".to_owned());
        (measured.registered, measured.in_flight) = (5, -1);
        assert!(shown(&round_trip(&measured)) == shown(&measured), "a field is lost");
        let none = Measurements::default();
        assert!(shown(&round_trip(&none)) == shown(&none));
    }

    /// Goal: percentiles over segments are those of one histogram over all samples. Method: 10,000 samples over six decades, dealt out to
    /// three parts that are saved, loaded and added, against one histogram of all of them, bucket by bucket.
    #[test]
    fn merged_histograms_are_the_histogram_of_all_samples() {
        let mut random = seed::stream(1, "samples", "test");
        let mut parts = vec![Measurements::default(); 3];
        let mut whole = histogram();
        for number in 0..10_000 {
            let micros =
                10_u64.pow(u32::try_from(seed::below(&mut random, 6)).unwrap()) + seed::below(&mut random, 999);
            parts[number % 3].of_mut(MessageType::Heartbeat).end(OK, micros, None);
            record(&mut whole, micros);
        }
        let mut sum = Measurements::default();
        for part in &parts {
            sum.add(&round_trip(part));
        }
        let merged = &sum.of(MessageType::Heartbeat).accepted().unwrap().response_us;
        assert_eq!(buckets(merged), buckets(&whole));
        assert_eq!((merged.max(), merged.min(), merged.len()), (whole.max(), whole.min(), 10_000));
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(merged.value_at_quantile(quantile), whole.value_at_quantile(quantile));
        }
    }

    #[test]
    fn what_another_version_measured_is_an_error() {
        let saved = SavedMeasurements::of(&Measurements::default()).unwrap();
        let mut of_later = saved.clone();
        of_later.churn.insert("melted".to_owned(), 1);
        assert!(of_later.measurements().unwrap_err().contains("`melted` is unknown"));
        let mut damaged = saved;
        damaged.send_lag_us = SavedHistogram("AAAA".to_owned());
        assert!(damaged.measurements().unwrap_err().contains("a histogram"));
    }
}
