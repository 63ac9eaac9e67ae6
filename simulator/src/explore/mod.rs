//! Rehearses generated scenarios on all cores until an invariant is violated or the time is up.

mod draw;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_reports::{
    EventLogReader,
    run_folder::{EventsKept, Summary},
};

use crate::{
    console::Console,
    drive::rehearse::{Rehearsal, rehearse},
    failure::Failure,
    host::{parallel, stopwatch::Stopwatch, temporary::Temporary},
    scenario,
    scenario_settings::ScenarioSettings,
};

/// The generated scenario, in the folder of a finding.
pub const SCENARIO: &str = "scenario.toml";
/// Events before a violation that are reported.
const EVENTS_REPORTED: usize = 25;

#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The first seed; each scenario takes the next.
    pub from_seed: u64,
    pub time: Duration,
    pub count: u64,
}

#[derive(Debug, Default)]
pub struct Exploration {
    pub scenarios: u64,
    pub heartbeats: u64,
    /// Virtual seconds in them.
    pub simulated_s: f64,
    /// It was interrupted before its time or its scenarios were used up.
    pub is_stopped: bool,
    pub found: Option<Finding>,
}

#[derive(Debug)]
pub struct Finding {
    /// The seed of the scenario.
    pub seed: u64,
    /// The violations, a sentence each.
    pub violations: Vec<String>,
    /// The folder of that rehearsal, with its scenario.
    pub folder: PathBuf,
    /// The last events before the first violation.
    pub events: Vec<String>,
}

/// The result of one scenario.
enum ScenarioResult {
    Rehearsed(Box<Summary>),
    Stopped,
    Violated(u64, Vec<String>, Temporary),
    Failed(Failure),
}

/// Explores until there is a finding, the time or the scenarios are used up, or `stop` is set. `progress` is called about
/// once a second. The finding is kept in a folder under `keep_in`.
///
/// # Errors
/// A folder can't be made or written.
pub fn explore(
    search: Search,
    keep_in: &Path,
    stop: &Arc<AtomicBool>,
    mut progress: impl FnMut(&Exploration, Duration),
) -> Result<Exploration, Failure> {
    let stopwatch = Stopwatch::started();
    let mut explored = Exploration::default();
    let mut reported = Duration::ZERO;
    let mut outcome = Ok(());
    let work = |number| one(search.from_seed.wrapping_add(number), stop);
    parallel::each(search.count, stop, work, |_, result| {
        match result {
            ScenarioResult::Rehearsed(summary) => {
                explored.scenarios += 1;
                explored.heartbeats += summary.heartbeats.acked;
                explored.simulated_s += summary.simulated_s;
            }
            ScenarioResult::Violated(seed, violations, folder) => match keep(seed, violations, &folder, keep_in) {
                // Of several findings while threads finish, the one with the smallest seed is reported.
                Ok(found) if explored.found.as_ref().is_none_or(|before| seed < before.seed) => {
                    explored.found = Some(found);
                }
                Ok(_) => {}
                Err(failure) => outcome = Err(failure),
            },
            ScenarioResult::Stopped => {}
            ScenarioResult::Failed(failure) => outcome = Err(failure),
        }
        let elapsed = stopwatch.elapsed();
        if elapsed.saturating_sub(reported) >= Duration::from_secs(1) {
            reported = elapsed;
            progress(&explored, elapsed);
        }
        elapsed < search.time && explored.found.is_none() && outcome.is_ok()
    });
    explored.is_stopped =
        stop.load(Ordering::Relaxed) && stopwatch.elapsed() < search.time && explored.scenarios < search.count;
    outcome.map(|()| explored)
}

/// Rehearses the scenario of one seed, until `stop` is set.
fn one(seed: u64, stop: &Arc<AtomicBool>) -> ScenarioResult {
    let folder = match Temporary::make("explored") {
        Ok(folder) => folder,
        Err(cause) => {
            return ScenarioResult::Failed(Failure::File { what: "create", path: std::env::temp_dir(), cause });
        }
    };
    let text = draw::scenario(seed);
    let path = folder.path().join(SCENARIO);
    if let Err(cause) = std::fs::write(&path, &text) {
        return ScenarioResult::Failed(Failure::File { what: "write", path, cause });
    }
    let plan = match scenario::check(SCENARIO, text.as_bytes(), &ScenarioSettings) {
        Ok(plan) => plan,
        Err(wrong) => {
            let wrong = scenario::render_all(&wrong, false);
            return ScenarioResult::Violated(
                seed,
                vec![format!("the scenario of this seed is invalid: {wrong}")],
                folder,
            );
        }
    };
    let rehearsal = Rehearsal {
        plan: &plan,
        out: folder.path(),
        replay: format!("ks-fleet explore --from-seed {seed} --count 1"),
        concurrent: parallel::threads(),
        is_trial: false,
        ends_when_settled: false,
        events: EventsKept::All,
        keeps_database: false,
    };
    // A panic in server code is a finding too.
    let rehearsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rehearse(rehearsal, Console::rehearsing(true, Arc::clone(stop)))
    }));
    match rehearsed {
        Err(_) => ScenarioResult::Violated(seed, vec!["it panicked; see the message above".to_owned()], folder),
        Ok(Err(failure)) => ScenarioResult::Violated(seed, vec![format!("it did not finish: {failure}")], folder),
        Ok(Ok(summary)) => {
            let violations = summary.invariants.iter().flatten();
            let mut violations: Vec<String> = violations
                .flat_map(|judged| judged.violations.iter().map(|what| format!("{}: {what}", judged.invariant)))
                .collect();
            if summary.exit_code == 3 {
                violations.extend(summary.reasons.iter().cloned());
            }
            match violations.is_empty() {
                false => ScenarioResult::Violated(seed, violations, folder),
                true if summary.interrupted => ScenarioResult::Stopped,
                true => ScenarioResult::Rehearsed(Box::new(summary)),
            }
        }
    }
}

/// Keeps the folder of a finding.
fn keep(seed: u64, violations: Vec<String>, folder: &Temporary, keep_in: &Path) -> Result<Finding, Failure> {
    let kept = keep_in.join(format!("explored-{seed}"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| Failure::File { what: "write", path, cause }
    };
    std::fs::create_dir_all(&kept).map_err(failed(&kept))?;
    let entries = std::fs::read_dir(folder.path()).map_err(failed(&kept))?;
    for entry in entries.flatten() {
        let to = kept.join(entry.file_name());
        std::fs::copy(entry.path(), &to).map_err(failed(&to))?;
    }
    let events = last_events(&kept);
    Ok(Finding { seed, violations, folder: kept, events })
}

/// The last lines of an event log; empty if there is none.
fn last_events(folder: &Path) -> Vec<String> {
    let Ok(mut log) = EventLogReader::open(folder) else { return Vec::new() };
    let mut last = std::collections::VecDeque::with_capacity(EVENTS_REPORTED);
    while let Ok(Some(lines)) = log.next_lines() {
        for line in String::from_utf8_lossy(lines).lines() {
            if last.len() == EVENTS_REPORTED {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        }
    }
    last.into()
}
