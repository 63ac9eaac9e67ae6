//! Many rehearsals of a few cases, over all cores, each recorded once it has ended: what trials and sweeps have in common.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_reports::{
    run_folder::{EventsKept, Summary},
    score::State,
};

use super::{
    progress::Costs,
    record::{Record, Recorded},
};
use crate::{
    console::Console,
    drive::rehearse::{Rehearsal, rehearse},
    failure::Failure,
    host::{parallel, stopwatch::Stopwatch, temporary::Temporary},
    scenario::Plan,
};

/// Seeds go on from 0 after this one.
pub const SEED_MAX: u64 = u64::MAX >> 1;

/// Rehearsals to be made: every case with the first seed, then every case with the next, so that whenever they end, all cases were
/// tried equally often.
pub struct Work<'a> {
    pub cases: usize,
    /// Of all cases.
    pub total: u64,
    /// Real time after which no further one starts.
    pub budget: Option<Duration>,
    pub stop: &'a Arc<AtomicBool>,
}

impl Work<'_> {
    /// Makes those that the record lacks. `one` makes the rehearsal of a number, none if it was stopped; `is_over` says whether the
    /// goal is reached, and may remove what is beyond it; `progress` receives the record and the estimated time that is left.
    ///
    /// # Errors
    /// One did not finish, or can't be recorded.
    pub fn run<T: Recorded>(
        &self,
        record: &mut Record<T>,
        one: impl Fn(u64) -> Result<Option<T>, Failure> + Sync,
        mut is_over: impl FnMut(&mut Record<T>) -> bool,
        mut progress: impl FnMut(&Record<T>, Option<Duration>),
    ) -> Result<State, Failure> {
        if is_over(record) {
            return Ok(State::GoalReached);
        }
        let missing: Vec<u64> = (0..self.total).filter(|number| !record.has(*number)).collect();
        let (stopwatch, mut costs) = (Stopwatch::started(), Costs::new(self.cases));
        let is_out_of_time = || self.budget.is_some_and(|budget| stopwatch.elapsed() >= budget);
        let work = |nth: u64| {
            let number = *missing.get(usize::try_from(nth).ok()?)?;
            if is_out_of_time() {
                return None;
            }
            let stopwatch = Stopwatch::started();
            let made = one(number).transpose()?;
            Some((number, made, stopwatch.elapsed()))
        };
        let (mut failure, mut ended) = (None, None);
        parallel::each(u64::try_from(missing.len()).unwrap_or(u64::MAX), self.stop, work, |_, done| {
            let Some((number, made, took)) = done else {
                return !is_out_of_time();
            };
            if ended.is_some() || failure.is_some() {
                return false;
            }
            match made.and_then(|made| record.append(number, &made)) {
                Ok(()) => costs.add(self.case(number), took),
                Err(error) => drop(failure.get_or_insert(error)),
            }
            if is_over(record) {
                ended = Some(State::GoalReached);
                self.stop.store(true, Ordering::Relaxed); // those under way are not needed
            }
            let left = missing.iter().filter(|number| !record.has(**number)).map(|number| self.case(*number));
            progress(record, costs.left(left));
            failure.is_none() && ended.is_none()
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        Ok(match ended {
            Some(ended) => ended,
            None if record.count() >= self.total => State::Finished,
            None if self.stop.load(Ordering::Relaxed) => State::Interrupted,
            None => State::OutOfTime,
        })
    }

    /// The case of a number: rounds of all cases follow each other.
    pub fn case(&self, number: u64) -> usize {
        nth_case(number, self.cases)
    }
}

/// The case of a number among so many cases.
pub fn nth_case(number: u64, cases: usize) -> usize {
    usize::try_from(number % u64::try_from(cases.max(1)).unwrap_or(u64::MAX)).unwrap_or(0)
}

/// The plan with the seed of a number's round.
pub fn of_round(plan: &Plan, number: u64, cases: usize) -> Plan {
    let round = number / u64::try_from(cases.max(1)).unwrap_or(u64::MAX);
    Plan { seed: plan.seed.wrapping_add(round) & SEED_MAX, ..plan.clone() }
}

/// One rehearsal of many, of which only the summary is kept; none if it was stopped.
///
/// # Errors
/// The server did not start, or a file can't be written.
pub fn rehearse_one(
    plan: &Plan,
    replay: String,
    ends_when_settled: bool,
    stop: &Arc<AtomicBool>,
) -> Result<Option<Summary>, Failure> {
    let folder = Temporary::make("trial");
    let folder = folder.map_err(|cause| Failure::File { what: "create", path: std::env::temp_dir(), cause })?;
    let rehearsal = Rehearsal {
        plan,
        out: folder.path(),
        replay,
        concurrent: parallel::threads(),
        is_trial: true,
        ends_when_settled,
        events: EventsKept::None,
        keeps_database: false,
    };
    let summary = rehearse(rehearsal, Console::rehearsing(true, Arc::clone(stop)))?;
    Ok((!summary.interrupted).then_some(summary))
}
