//! One device's timeline, from the event log of a run and the decisions of its rollouts: what it sent and received, and what
//! happened to it and around it, in order.

use std::{collections::BTreeSet, path::Path};

use ks_protocol::text::printable;
use ks_reports::{ReportError, read_decisions, run_folder::RolloutDecision};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::run::run_events::{EventsError, LineFilter, RunEvents};

/// Most entries in one timeline: a device that beats every second has fewer in a year, since consecutive beats are merged.
const ENTRIES_MAX: usize = 1_000_000;
/// Other devices that the error lists if the requested one is not in the log.
const NAMED_MAX: usize = 5;

/// Why there is no timeline of a device.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The events can't be read.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The decisions can't be read.
    #[error(transparent)]
    Decisions(#[from] ReportError),
    /// The log of this run does not have the device.
    #[error("no event of a device `{device_id}`; {hint}")]
    NoSuchDevice { device_id: String, hint: String },
}

impl ExplainError {
    /// How to fix it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Events(error) => error.remedy(),
            Self::Decisions(_) | Self::NoSuchDevice { .. } => {
                "name the folder of a finished rehearsal, and one of its devices".to_owned()
            }
        }
    }
}

/// The timeline of a device.
#[derive(Debug)]
pub struct DeviceHistory {
    pub entries: Vec<TimelineEntry>,
    /// What is not in it, a sentence each.
    pub notes: Vec<String>,
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TimelineEntry {
    /// Since the start of the run, in seconds.
    pub at_s: f64,
    /// Who acts: `device`, `operator`, `engine` or `network`.
    pub who: &'static str,
    /// What happens, in words.
    pub what: String,
}

/// The timeline of `device_id` in a run folder. Consecutive heartbeats whose answers carried nothing new are one entry.
///
/// # Errors
/// The folder has no event log, or not this device.
pub fn explain(folder: &Path, device_id: &str) -> Result<DeviceHistory, ExplainError> {
    let mut timeline = DeviceTimeline { device_id, ..DeviceTimeline::default() };
    let cut_short = RunEvents::open(folder)?.each(device_id, |line| {
        timeline.has_room()?;
        timeline.event(line)?;
        Ok(if timeline.others.len() < NAMED_MAX { LineFilter::All } else { LineFilter::OfDevice })
    })?;
    if !timeline.is_known {
        let others: Vec<&str> = timeline.others.iter().map(String::as_str).collect();
        let hint = match others.as_slice() {
            [] => "the log of this run has no devices: only rehearsals log each exchange".to_owned(),
            _ => format!("there are {}", others.join(", ")),
        };
        return Err(ExplainError::NoSuchDevice { device_id: device_id.to_owned(), hint });
    }
    timeline.end_quiet_beats();
    for decision in read_decisions(folder)? {
        timeline.decision(decision);
    }
    // Stable: simultaneous events keep their order.
    timeline.entries.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let without_beats = timeline
        .is_without_beats
        .then(|| "ordinary heartbeats are not in this log: the run was made with --events decisions".to_owned());
    Ok(DeviceHistory { entries: timeline.entries, notes: without_beats.into_iter().chain(cut_short).collect() })
}

#[derive(Default)]
struct DeviceTimeline<'a> {
    device_id: &'a str,
    is_known: bool,
    site: String,
    others: BTreeSet<String>,
    entries: Vec<TimelineEntry>,
    quiet: Option<QuietBeats>,
    /// Whether the log was kept without ordinary heartbeats.
    is_without_beats: bool,
}

/// Consecutive heartbeats that were answered with nothing new.
struct QuietBeats {
    at_s: f64,
    count: u64,
    first: String,
    last: String,
}

impl DeviceTimeline<'_> {
    fn has_room(&self) -> Result<(), String> {
        let is_full = self.entries.len() >= ENTRIES_MAX;
        if is_full { Err(format!("the timeline is limited to {ENTRIES_MAX} entries")) } else { Ok(()) }
    }

    fn event(&mut self, line: &str) -> Result<(), String> {
        let event: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let at_s = event.get("at_ms").and_then(Value::as_f64).ok_or("it has no at_ms")? / 1_000.0;
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = text("event");
        match event.get("device_id").and_then(Value::as_str) {
            Some(device_id) if device_id == self.device_id => self.own(at_s, kind, &event),
            Some(device_id) if kind == "replaced" && text("by") == self.device_id => {
                self.push(at_s, "device", format!("takes the place of {device_id}"));
            }
            Some(device_id) if self.others.len() < NAMED_MAX => drop(self.others.insert(device_id.to_owned())),
            None if kind == "step" => {
                let is_elsewhere = event.contains_key("site") && text("site") != self.site;
                let named = event.get("devices").and_then(Value::as_array);
                let is_for_others =
                    named.is_some_and(|named| named.iter().all(|name| name.as_str() != Some(self.device_id)));
                if !is_elsewhere && !is_for_others && text("do") != "phase" {
                    let of = [text("rollout_id"), text("site")].join(" ");
                    let what = format!("{} {}: {}", text("do"), of.trim(), text("outcome"));
                    self.push(at_s, "operator", what.replace(" :", ":"));
                }
            }
            None if kind == "kept" => self.is_without_beats = true,
            None if kind.ends_with("_ended") => self.push(at_s, "network", kind.replace('_', " ")),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// An event of the device itself.
    fn own(&mut self, at_s: f64, kind: &str, event: &Map<String, Value>) {
        self.is_known = true;
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        if kind == "switched_on" {
            text("site").clone_into(&mut self.site);
            let what = format!("is switched on: a {} at {}, runs {}", text("model"), text("site"), text("version"));
            return self.push(at_s, "device", what);
        }
        if kind == "churn" {
            return self.push(
                at_s,
                "device",
                format!("{} {}, at {}", text("kind").replace('_', " "), text("what"), text("site")),
            );
        }
        if kind == "replaced" {
            return self.push(at_s, "operator", format!("revoked: {} takes its place", text("by")));
        }
        if kind == "firmware" {
            return self.push(at_s, "device", format!("{}, runs {}", text("what"), text("version")));
        }
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        let pair = format!("({}, {})", number("boot_epoch"), number("seq"));
        let received: Vec<String> = [
            (!text("offer").is_empty()).then(|| format!("is offered {}", text("offer"))),
            event.get("commands").map(|commands| format!("receives {commands}").replace(['[', ']', '"'], "")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if kind == "heartbeat" && text("code") == "OK" && received.is_empty() {
            let quiet = self.quiet.get_or_insert_with(|| QuietBeats {
                at_s,
                count: 0,
                first: pair.clone(),
                last: String::new(),
            });
            quiet.count += 1;
            quiet.last = pair;
            return;
        }
        let mut what = format!("{} {pair}", kind.replace('_', " "));
        if !text("step").is_empty() {
            let class = text("class");
            let class = if class.is_empty() { String::new() } else { format!(" ({class})") };
            what += &format!(", reports {} of {}{class}", text("step"), text("release"));
        }
        what += &format!(": {}", text("code"));
        if let Some(wait_ms) = event.get("wait_ms").and_then(Value::as_f64).filter(|_| text("code") != "OK") {
            what += &format!(", retry after {:.1} s", wait_ms / 1_000.0);
        }
        for item in received {
            what += &format!("; {item}");
        }
        self.push(at_s, "device", what);
    }

    fn decision(&mut self, decision: RolloutDecision) {
        let RolloutDecision { at_s, rollout_id, decision, stage, why, .. } = decision;
        let what = format!("{rollout_id}, stage {}: {decision}: {why}", stage + 1);
        self.entries.push(TimelineEntry { at_s, who: "engine", what });
    }

    fn push(&mut self, at_s: f64, who: &'static str, what: String) {
        self.end_quiet_beats();
        self.entries.push(TimelineEntry { at_s, who, what });
    }

    fn end_quiet_beats(&mut self) {
        let Some(QuietBeats { at_s, count, first, last }) = self.quiet.take() else { return };
        let what = match count {
            1 => format!("heartbeat {first}: OK"),
            _ => format!("{count} heartbeats from {first} to {last}: OK"),
        };
        self.entries.push(TimelineEntry { at_s, who: "device", what });
    }
}

/// The timeline as text, one line per entry.
pub fn render(entries: &[TimelineEntry]) -> String {
    let line = |TimelineEntry { at_s, who, what }: &TimelineEntry| {
        let ms = (at_s * 1_000.0).round().max(0.0);
        let [hours, minutes] = [ms / 3_600_000.0, ms / 60_000.0 % 60.0].map(f64::floor);
        format!("{hours:>4} h {minutes:>2} min {:>6.3} s  {who:<8}  {}\n", ms / 1_000.0 % 60.0, printable(what))
    };
    entries.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use ks_reports::{
        EventLogWriter,
        run_folder::{DECISIONS, EVENTS},
    };

    use super::*;

    const LOG: &str = r#"{"at_ms":0,"event":"switched_on","device_id":"A","model":"KS-100","site":"north","version":"1"}
{"at_ms":0,"event":"register","device_id":"A","boot_epoch":1,"seq":1,"sent_ms":0,"code":"OK","wait_ms":1000}
{"at_ms":5,"event":"register","device_id":"AB","boot_epoch":1,"seq":1,"sent_ms":0,"code":"OK","wait_ms":1000}
{"at_ms":1000,"event":"heartbeat","device_id":"A","boot_epoch":1,"seq":2,"sent_ms":0,"code":"OK","wait_ms":1000}
{"at_ms":2000,"event":"heartbeat","device_id":"A","boot_epoch":1,"seq":3,"sent_ms":0,"code":"OK","wait_ms":1000}
{"at_ms":2500,"event":"step","do":"outage","outcome":"done","site":"south"}
{"at_ms":2600,"event":"step","do":"outage","outcome":"done","site":"north"}
{"at_ms":3000,"event":"heartbeat","device_id":"A","boot_epoch":1,"seq":4,"sent_ms":0,"code":"CONNECT_FAILED","wait_ms":null}
{"at_ms":3700000,"event":"heartbeat","device_id":"A","boot_epoch":1,"seq":5,"sent_ms":0,"code":"OK","wait_ms":9,"offer":"fw-2","commands":["reboot"]}
{"at_ms":3700001,"event":"firmware_status","device_id":"A","boot_epoch":1,"seq":6,"sent_ms":0,"code":"OK","wait_ms":null,"release":"fw-2","step":"REJECTED","class":"freeze"}
"#;

    fn write(folder: &Path, log: &str) {
        let mut writer = EventLogWriter::new(File::create(folder.join(EVENTS)).unwrap()).unwrap();
        writer.write(log.as_bytes()).unwrap();
        writer.finish().unwrap();
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), LOG);
        let decision =
            r#"{"at_s":2.7,"rollout_id":"r","decision":"aborted","stage":0,"why":"gate 1 of all: 1 of 9 failed"}"#;
        std::fs::write(folder.path().join(DECISIONS), format!("{decision}\n")).unwrap();
        folder
    }

    #[test]
    fn a_timeline_has_the_events_of_its_device_in_order() {
        let timeline = explain(folder().path(), "A").unwrap().entries;
        let text: Vec<(&str, &str)> = timeline.iter().map(|entry| (entry.who, entry.what.as_str())).collect();
        let expected = [
            ("device", "is switched on: a KS-100 at north, runs 1"),
            ("device", "register (1, 1): OK"),
            ("device", "2 heartbeats from (1, 2) to (1, 3): OK"),
            ("operator", "outage north: done"),
            ("engine", "r, stage 1: aborted: gate 1 of all: 1 of 9 failed"),
            ("device", "heartbeat (1, 4): CONNECT_FAILED"),
            ("device", "heartbeat (1, 5): OK; is offered fw-2; receives reboot"),
            ("device", "firmware status (1, 6), reports REJECTED of fw-2 (freeze): OK"),
        ];
        assert_eq!(text, expected);
        assert!(super::render(&timeline).ends_with(
            "   1 h  1 min 40.001 s  device    firmware status (1, 6), reports REJECTED of fw-2 (freeze): OK\n"
        ));
    }

    #[test]
    fn terminal_control_characters_are_replaced() {
        let folder = folder();
        let log = LOG.replace("\"fw-2\"", "\"fw\\u001b[2J\\n\\u009b\"");
        write(folder.path(), &log);
        let text = super::render(&explain(folder.path(), "A").unwrap().entries);
        assert!(text.contains("is offered fw\u{fffd}[2J\u{fffd}\u{fffd}; receives reboot\n"), "{text}");
    }

    #[test]
    fn an_unknown_device_error_lists_the_known_ones() {
        let error = explain(folder().path(), "Z").unwrap_err().to_string();
        assert_eq!(error, "no event of a device `Z`; there are A, AB");
    }

    #[test]
    fn an_invalid_log_line_is_reported_by_number() {
        let folder = folder();
        write(folder.path(), "{\"at_ms\":1}\nnonsense\n");
        let error = explain(folder.path(), "A").unwrap_err().to_string();
        assert!(error.contains(", line 2 of the event log: expected ident"), "{error}");
    }
}
