//! Explores: rehearses one drawn scenario after another, on every core, until a invariant is broken or the time is up.

mod draw;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_reports::run_folder::{EVENTS, Summary};

use crate::{
    console::Console,
    drive::rehearse::{Rehearsal, rehearse},
    failure::Failure,
    parallel,
    resources::Stopwatch,
    scenario,
    scenario_settings::ScenarioSettings,
    temporary::Temporary,
};

/// The drawn scenario, in the folder of what was found.
pub const SCENARIO: &str = "scenario.toml";
/// Events before a violation that are told.
const EVENTS_TOLD: usize = 25;

/// What to explore.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The first seed; each scenario takes the next.
    pub from_seed: u64,
    /// For how long.
    pub time: Duration,
    /// Scenarios at most.
    pub count: u64,
}

/// What was explored.
#[derive(Debug, Default)]
pub struct Explored {
    /// Scenarios that were rehearsed to their end.
    pub scenarios: u64,
    /// Heartbeats in them.
    pub heartbeats: u64,
    /// Virtual seconds in them.
    pub simulated_s: f64,
    /// Somebody stopped it before its time and its scenarios were over.
    pub is_stopped: bool,
    /// The first broken invariant.
    pub found: Option<Found>,
}

/// A broken invariant.
#[derive(Debug)]
pub struct Found {
    /// The seed of the scenario.
    pub seed: u64,
    /// What was broken, a sentence each.
    pub violations: Vec<String>,
    /// The folder of that rehearsal, with its scenario.
    pub folder: PathBuf,
    /// The last events before the first violation.
    pub events: Vec<String>,
}

/// What a thread says of one scenario.
enum Said {
    Rehearsed(Box<Summary>),
    Stopped,
    Broken(u64, Vec<String>, Temporary),
    Failed(Failure),
}

/// Explores until something is found, the time or the scenarios are over, or `stop` is raised. `tell` hears how far it is, about
/// once a second. What is found is kept in a folder under `keep_in`.
///
/// # Errors
/// A folder can't be made or written.
pub fn explore(
    search: Search,
    keep_in: &Path,
    stop: &Arc<AtomicBool>,
    mut tell: impl FnMut(&Explored, Duration),
) -> Result<Explored, Failure> {
    let stopwatch = Stopwatch::started();
    let mut explored = Explored::default();
    let mut told = Duration::ZERO;
    let mut outcome = Ok(());
    let work = |number| one(search.from_seed.wrapping_add(number), stop);
    parallel::each(search.count, stop, work, |_, said| {
        match said {
            Said::Rehearsed(summary) => {
                explored.scenarios += 1;
                explored.heartbeats += summary.heartbeats.acked;
                explored.simulated_s += summary.simulated_s;
            }
            Said::Broken(seed, violations, folder) => match keep(seed, violations, &folder, keep_in) {
                // Of several that are found while threads come to their end, the smallest seed is told.
                Ok(found) if explored.found.as_ref().is_none_or(|before| seed < before.seed) => {
                    explored.found = Some(found);
                }
                Ok(_) => {}
                Err(failure) => outcome = Err(failure),
            },
            Said::Stopped => {}
            Said::Failed(failure) => outcome = Err(failure),
        }
        let elapsed = stopwatch.elapsed();
        if elapsed.saturating_sub(told) >= Duration::from_secs(1) {
            told = elapsed;
            tell(&explored, elapsed);
        }
        elapsed < search.time && explored.found.is_none() && outcome.is_ok()
    });
    explored.is_stopped =
        stop.load(Ordering::Relaxed) && stopwatch.elapsed() < search.time && explored.scenarios < search.count;
    outcome.map(|()| explored)
}

/// Rehearses the scenario of one seed, until `stop` is raised.
fn one(seed: u64, stop: &Arc<AtomicBool>) -> Said {
    let folder = match Temporary::make("explored") {
        Ok(folder) => folder,
        Err(cause) => return Said::Failed(Failure::File { what: "create", path: std::env::temp_dir(), cause }),
    };
    let text = draw::scenario(seed);
    let path = folder.path().join(SCENARIO);
    if let Err(cause) = std::fs::write(&path, &text) {
        return Said::Failed(Failure::File { what: "write", path, cause });
    }
    let plan = match scenario::check(SCENARIO, text.as_bytes(), &ScenarioSettings) {
        Ok(plan) => plan,
        Err(wrong) => {
            let wrong = scenario::render_all(&wrong, false);
            return Said::Broken(seed, vec![format!("the scenario of this seed is not sound: {wrong}")], folder);
        }
    };
    let rehearsal = Rehearsal {
        plan: &plan,
        out: folder.path(),
        replay: format!("ks-fleet explore --from-seed {seed} --count 1"),
        concurrent: parallel::threads(),
        is_trial: false,
    };
    // A panic in server code is a finding like any other.
    let rehearsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rehearse(rehearsal, Console::rehearsing(true, Arc::clone(stop)))
    }));
    match rehearsed {
        Err(_) => Said::Broken(seed, vec!["it panicked; the message stands above".to_owned()], folder),
        Ok(Err(failure)) => Said::Broken(seed, vec![format!("it did not come to its end: {failure}")], folder),
        Ok(Ok(summary)) => {
            let violations = summary.invariants.iter().flatten();
            let mut violations: Vec<String> = violations
                .flat_map(|judged| judged.violations.iter().map(|what| format!("{}: {what}", judged.invariant)))
                .collect();
            if summary.exit_code == 3 {
                violations.extend(summary.reasons.iter().cloned());
            }
            match violations.is_empty() {
                false => Said::Broken(seed, violations, folder),
                true if summary.interrupted => Said::Stopped,
                true => Said::Rehearsed(Box::new(summary)),
            }
        }
    }
}

/// Keeps the folder of what was found.
fn keep(seed: u64, violations: Vec<String>, folder: &Temporary, keep_in: &Path) -> Result<Found, Failure> {
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
    let events = last_events(&kept.join(EVENTS));
    Ok(Found { seed, violations, folder: kept, events })
}

/// The last lines of an event log; none where there is none.
fn last_events(path: &Path) -> Vec<String> {
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    let mut last = std::collections::VecDeque::with_capacity(EVENTS_TOLD);
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        if last.len() == EVENTS_TOLD {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into()
}
