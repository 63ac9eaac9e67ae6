//! A segment as it runs: it looks at the target and its clock, waits for the common start, and says afterwards which part it was.

use std::{path::Path, time::Duration};

use ks_protocol::{text::hex, time::UnixMs};
use ks_reports::run_folder::{self, ClockOffset, EventsKept, SEGMENT, Summary};
use ks_server::clock::{Clock, SystemClock};
use sha2::{Digest, Sha256};

use super::{
    Segment,
    file::{FORMAT, Header, PlanInShort, SavedOverrides, SeenLimit, SegmentWriter, TargetSeen},
    start,
};
use crate::{
    failure::Failure,
    operator::{Operator, OperatorError},
    scenario::Plan,
};

/// How long before the start the target is asked for its time again: more than that takes.
const ASKED_AGAIN_BEFORE: Duration = Duration::from_secs(3);

/// A segment that is to run.
#[derive(Debug, Clone)]
pub struct SegmentRun<'a> {
    pub segment: Segment,
    /// The common start, by the target's clock; none to start as soon as possible.
    pub start_at: Option<UnixMs>,
    /// The scenario's file and its text.
    pub scenario: (&'a Path, &'a str),
    /// What the command line changed.
    pub overrides: SavedOverrides,
    pub target_url: String,
    pub replay: String,
    pub events_kept: EventsKept,
    pub notes: Vec<String>,
}

/// Why a segment could not join the others.
#[derive(Debug)]
pub enum JoinError {
    /// A call of the target failed.
    Operator(OperatorError),
    /// The start is over, or too far away.
    Start(Failure),
}

impl JoinError {
    /// The failure of the run; `unusable` is that of a target that answers so.
    pub fn failure(self, unusable: impl FnOnce(&OperatorError) -> Failure) -> Failure {
        match self {
            Self::Operator(error) => unusable(&error),
            Self::Start(failure) => failure,
        }
    }
}

/// A segment that has looked at its target.
pub struct JoiningSegment<'a> {
    of: SegmentRun<'a>,
    target: TargetSeen,
    pub clock: ClockOffset,
}

impl<'a> SegmentRun<'a> {
    /// Looks at the target: its clock, its keys and its limits.
    ///
    /// # Errors
    /// It does not answer, or the start is over.
    pub async fn look(self, operator: &Operator, progress: impl Fn(String)) -> Result<JoiningSegment<'a>, JoinError> {
        progress("waiting for the target's clock".to_owned());
        let clock = start::clock_offset(operator).await.map_err(JoinError::Operator)?;
        if let Some(start_at) = self.start_at {
            let wait = start::wait_for(start_at, clock, SystemClock.now(), "before anything began");
            wait.map_err(JoinError::Start)?;
        }
        let keys = operator.server_keys(SystemClock.now()).await.map_err(JoinError::Operator)?;
        let observed = operator.limits().await.map_err(JoinError::Operator)?;
        let limits = observed.limits.into_iter().map(|limit| {
            let seen =
                SeenLimit { per_min: limit.per_min, per_day: limit.per_day, burst: limit.burst, mode: limit.mode };
            (limit.name, seen)
        });
        let target = TargetSeen {
            url: self.target_url.clone(),
            keys_sha256: hex(&Sha256::digest(format!("{keys:?}"))),
            limits: limits.collect(),
        };
        Ok(JoiningSegment { of: self, target, clock })
    }
}

impl JoiningSegment<'_> {
    /// Waits for the common start, if there is one. Clocks may be set or drift meanwhile: the target's is asked for again shortly before it.
    ///
    /// # Errors
    /// It is over, or the target does not answer.
    pub async fn wait(&mut self, operator: &Operator, progress: impl Fn(String)) -> Result<(), JoinError> {
        let what = "while its devices were being whitelisted";
        self.clock = start::clock_offset(operator).await.map_err(JoinError::Operator)?;
        let Some(start_at) = self.of.start_at else { return Ok(()) };
        let wait = start::wait_for(start_at, self.clock, SystemClock.now(), what).map_err(JoinError::Start)?;
        progress(format!("waiting for the start at {start_at} by the target's clock"));
        if let Some(long) = wait.checked_sub(ASKED_AGAIN_BEFORE) {
            tokio::time::sleep(long).await;
            self.clock = start::clock_offset(operator).await.map_err(JoinError::Operator)?;
        }
        let wait = start::wait_for(start_at, self.clock, SystemClock.now(), what).map_err(JoinError::Start)?;
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// The file of what it measures, in its run folder.
    ///
    /// # Errors
    /// It can't be written.
    pub fn file(&self, out: &Path, plan: &Plan, started_at: UnixMs) -> Result<SegmentWriter, Failure> {
        let of = &self.of;
        let header = Header {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            number: of.segment.number(),
            of: of.segment.of(),
            scenario_path: of.scenario.0.display().to_string(),
            overrides: of.overrides.clone(),
            plan: PlanInShort::of(plan),
            target: self.target.clone(),
            start_at: of.start_at,
            started_at,
            clock: self.clock,
            replay: of.replay.clone(),
            events_kept: of.events_kept,
            notes: of.notes.clone(),
        };
        let file = SegmentWriter::create(out, header, of.scenario.1);
        file.map_err(|cause| Failure::File { what: "write", path: out.join(SEGMENT), cause })
    }
}

/// The summary of a segment: it says which part of what it is, and that nothing about the fleet was judged.
pub fn described(segment: Segment, clock: Option<ClockOffset>, target: &str, summary: Summary) -> Summary {
    let clock = clock.unwrap_or_default();
    let part = part(segment, clock, target, &summary);
    let mut notes = vec![
        format!(
            "This is segment {} of {}: {} of the fleet's {} devices. What the scenario expects of the fleet is judged by `ks-fleet merge` over all segments.",
            segment.number(),
            segment.of(),
            part.devices,
            summary.devices
        ),
        format!("The clock of this generator was {clock}."),
    ];
    notes.extend(summary.notes.iter().cloned());
    Summary { devices: part.devices, notes, segment: Some(part), ..summary }
}

/// The facts about a segment; `summary` counts the devices of the whole fleet.
fn part(segment: Segment, clock: ClockOffset, target: &str, summary: &Summary) -> run_folder::Segment {
    let devices = u32::try_from(summary.devices).unwrap_or(u32::MAX);
    run_folder::Segment {
        number: segment.number(),
        of: segment.of(),
        devices: segment.devices(devices).into(),
        target: target.to_owned(),
        started_at: summary.started_at.clone(),
        clock,
        cpu_s: summary.generator.cpu_s,
        rss_bytes: summary.generator.rss_bytes,
        late_sends: summary.generator.late_sends,
        send_lag_p99_ms: summary.generator.send_lag_p99_ms,
    }
}

impl PlanInShort {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            seed: plan.seed,
            devices: plan.fleet.devices,
            duration: plan.duration,
            id_prefix: plan.fleet.id_prefix.clone(),
            verify_percent: plan.verify_percent,
            // Every value of a plan is in its debug text; versions, which might write that differently, are compared before.
            sha256: hex(&Sha256::digest(format!("{plan:?}"))),
        }
    }
}
