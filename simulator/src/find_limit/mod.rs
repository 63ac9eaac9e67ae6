//! Finds the highest offered rate at which a scenario's expectations hold: one load run a step, each with another number of devices.
//!
//! [`search`] decides what is next, [`step`] makes the run and reads it, [`bottleneck`] says who gave out first, `conclusion` what
//! that means. Nothing but this file waits or touches a disk.

pub mod bottleneck;
mod conclusion;
pub mod search;
pub mod step;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_protocol::time::UnixMs;
use ks_reports::{
    load_limit::{LoadLimit, SearchState, Step, StepVerdict},
    run_folder::{EventsKept, Summary},
};

use crate::{
    console::span,
    drive::{
        load::{self, LoadRun},
        target::Target,
    },
    failure::Failure,
    host::stopwatch::Stopwatch,
    run::folder::{RunFolder, STEPS},
    scenario::{Expectation, Plan, Timing, limits},
    server_under_test::samples::Samples,
};
use search::{Bounds, NextStep, Search, Verdict};
use step::{Lengths, PlannedStep};

/// The search goes down to this part of the load it begins with.
const FLOOR_PART: u32 = 64;
/// The ends of the interval are at most this much apart, in per cent.
pub const RESOLUTION_PER_CENT: u32 = 10;
/// What a step takes besides its run, until one was made: starting, provisioning, waiting for answers, reconciling.
const OVERHEAD: Duration = Duration::from_secs(4);

/// A search to make.
pub struct FindLimit<'a> {
    pub plan: &'a Plan,
    /// An external server; none to start one for each step.
    pub target: Option<&'a Target>,
    /// The folder of the search.
    pub out: &'a Path,
    pub expectations: Vec<Expectation>,
    /// Expectations that can't be asked of any load, in words.
    pub left_out: Vec<String>,
    pub budget: Duration,
    /// Runs of each end of the interval.
    pub repeats: u32,
    pub lengths: Lengths,
    pub started_at: UnixMs,
    /// The command that repeats the search.
    pub replay: String,
    /// The command that runs the scenario once.
    pub replay_run: String,
    pub quiet: bool,
    /// Where the metrics of the current step's generator are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Set by the user to stop the search.
    pub interrupted: Arc<AtomicBool>,
}

/// How a step's run ended.
enum StepEnd {
    Made(Box<Step>),
    Interrupted,
    /// Why the search can't go on, and the step, if it ran.
    Broken(String, Option<Box<Step>>),
}

/// A search while it goes on.
struct Progress {
    search: Search,
    steps: Vec<Step>,
    stopwatch: Stopwatch,
    /// Time that steps took besides their runs.
    overhead: Duration,
}

impl FindLimit<'_> {
    /// Searches until the limit is found and confirmed, the budget ends, the user stops it, or the target dies; `after_step` gets the
    /// result so far.
    ///
    /// # Errors
    /// The first step could not begin, or `after_step` failed.
    pub fn run(&self, mut after_step: impl FnMut(&LoadLimit) -> Result<(), Failure>) -> Result<LoadLimit, Failure> {
        self.clear_steps()?;
        let (stopwatch, search) = (Stopwatch::started(), Search::new(self.bounds()));
        let mut progress = Progress { search, steps: Vec::new(), stopwatch, overhead: Duration::ZERO };
        let (state, broken) = loop {
            let (devices, purpose) = match progress.search.next() {
                NextStep::Done(_) => break (SearchState::Finished, String::new()),
                NextStep::Try(devices, purpose) => (devices, purpose),
            };
            let needed = self.lengths.whole(devices) + progress.overhead_of_one();
            if !progress.steps.is_empty() && progress.stopwatch.elapsed() + needed > self.budget {
                break (SearchState::OutOfTime, String::new());
            }
            let asked = self.planned_step(&progress, devices, purpose);
            let began = Stopwatch::started();
            match self.step(&asked, &progress)? {
                StepEnd::Interrupted => break (SearchState::Interrupted, String::new()),
                StepEnd::Broken(why, step) => {
                    progress.steps.extend(step.map(|step| *step));
                    break (SearchState::Broken, why);
                }
                StepEnd::Made(step) => {
                    progress.search.take(devices, verdict(step.verdict));
                    progress.steps.push(*step);
                }
            }
            progress.overhead += began.elapsed().saturating_sub(self.lengths.whole(devices));
            after_step(&self.conclude(&progress, SearchState::Running, String::new()))?;
        };
        Ok(self.conclude(&progress, state, broken))
    }

    /// Where the search begins and how far it may go.
    fn bounds(&self) -> Bounds {
        let start = self.plan.fleet.devices;
        let per_s_max = f64::from(limits::OFFERED_PER_S_MAX) * self.plan.interval().as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates")]
        let by_rate = per_s_max as u64;
        let allowed = u64::try_from(*limits::DEVICES.end()).unwrap_or(u64::MAX);
        let ceiling = by_rate.min(allowed).min(load::devices_max(self.plan).unwrap_or(u64::MAX));
        Bounds {
            start,
            floor: (start / FLOOR_PART).max(self.lengths.devices_min()),
            ceiling: u32::try_from(ceiling).unwrap_or(u32::MAX),
            repeats: usize::try_from(self.repeats).unwrap_or(usize::MAX),
            resolution_per_cent: RESOLUTION_PER_CENT,
        }
    }

    fn planned_step(&self, progress: &Progress, devices: u32, purpose: search::Purpose) -> PlannedStep {
        PlannedStep {
            number: u32::try_from(progress.steps.len()).unwrap_or(u32::MAX).saturating_add(1),
            purpose,
            devices,
            planned_per_min: step::per_min(devices, self.plan.interval()),
            samples_min: self.lengths.samples_min(),
            cores: cores(),
            is_one_machine: self.is_one_machine(),
            is_timed: self.plan.timing == Timing::Measured,
            replay: format!("{}{}", self.replay_run, step::replay_flags(devices, &self.lengths)),
        }
    }

    /// Whether the server is on this machine.
    fn is_one_machine(&self) -> bool {
        self.target.is_none_or(Target::is_local)
    }

    /// Makes the run of a step.
    fn step(&self, asked: &PlannedStep, progress: &Progress) -> Result<StepEnd, Failure> {
        let mut plan = step::plan(self.plan, asked.devices, &self.lengths, &self.expectations);
        if self.target.is_some() {
            plan.fleet.id_prefix = id_prefix(&self.plan.fleet.id_prefix, self.started_at, asked.number);
        }
        let folder = RunFolder::make(Some(&self.step_folder(asked.number)), &plan.name, self.started_at)?;
        let samples = Samples::default();
        let ran = load::run(LoadRun {
            plan: &plan,
            target: self.target,
            out: folder.path(),
            replay: asked.replay.clone(),
            events: EventsKept::None,
            interrupted: Arc::clone(&self.interrupted),
            quiet: self.quiet,
            progress: format!(
                "step {}, {}, {} | ",
                asked.number,
                step::describe(asked),
                self.left(progress, asked.devices)
            ),
            samples: Some(Samples::clone(&samples)),
            metrics_listen: self.metrics_listen,
            segment: None,
        });
        let summary = match ran {
            Ok(summary) => summary,
            Err(Failure::Interrupted(_)) => return Ok(StepEnd::Interrupted),
            Err(failure) if progress.steps.is_empty() => return Err(failure),
            Err(failure) => return Ok(StepEnd::Broken(failure.to_string(), None)),
        };
        folder.conclude(&summary)?;
        if summary.interrupted {
            return Ok(StepEnd::Interrupted);
        }
        let step = step::measured(asked, &summary, &samples.borrow());
        Ok(match self.broken(&summary, &step) {
            Some(why) => {
                let reasons = vec![why.clone()];
                StepEnd::Broken(
                    why,
                    Some(Box::new(Step { verdict: StepVerdict::Broken, reasons, bottleneck: None, ..step })),
                )
            }
            None => StepEnd::Made(Box::new(step)),
        })
    }

    /// Why the server can't be used any more, if so.
    fn broken(&self, summary: &Summary, step: &Step) -> Option<String> {
        if summary.exit_code == 3 {
            return Some(summary.reasons.first().cloned().unwrap_or_else(|| "the server ended".to_owned()));
        }
        let target = self.target.filter(|_| step.verdict != StepVerdict::Held)?;
        target.clone().reached().err().map(|failure| failure.to_string())
    }

    /// How much longer it takes, about.
    fn left(&self, progress: &Progress, devices: u32) -> String {
        let each = self.lengths.whole(devices) + progress.overhead_of_one();
        let steps = u32::try_from(progress.search.steps_left().max(1)).unwrap_or(u32::MAX);
        let needed = each.saturating_mul(steps);
        let budget = self.budget.saturating_sub(progress.stopwatch.elapsed());
        let [needed_s, budget_s] = [needed, budget].map(|of| span(of.as_secs_f64()));
        if needed > budget {
            format!("about {needed_s} needed, the budget ends in {budget_s}")
        } else {
            format!("about {needed_s} left")
        }
    }

    fn step_folder(&self, number: u32) -> PathBuf {
        self.out.join(STEPS).join(format!("{number:02}"))
    }

    /// Removes the steps of an earlier search: only what is called as one, in the folder of this search.
    fn clear_steps(&self) -> Result<(), Failure> {
        let steps = self.out.join(STEPS);
        if !fs::symlink_metadata(&steps).is_ok_and(|of| of.is_dir()) {
            return Ok(());
        }
        for number in 1.. {
            let step = self.step_folder(number);
            if !fs::symlink_metadata(&step).is_ok_and(|of| of.is_dir()) {
                break;
            }
            fs::remove_dir_all(&step).map_err(|cause| Failure::File { what: "remove", path: step.clone(), cause })?;
        }
        Ok(())
    }
}

impl Progress {
    /// What a step takes besides its run: the mean so far.
    fn overhead_of_one(&self) -> Duration {
        let made = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        self.overhead.checked_div(made).unwrap_or(OVERHEAD)
    }
}

fn verdict(of: StepVerdict) -> Verdict {
    match of {
        StepVerdict::Held => Verdict::Held,
        StepVerdict::Failed => Verdict::Failed,
        StepVerdict::Unmeasured | StepVerdict::Broken => Verdict::Unmeasured,
    }
}

/// Cores of this machine.
fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// A prefix that no other step at the same target has, nor one of another search: a device can register only once.
pub fn id_prefix(of_scenario: &str, started_at: UnixMs, number: u32) -> String {
    format!("{of_scenario}-{:X}-{number:02}", started_at.0 / 1_000)
}
