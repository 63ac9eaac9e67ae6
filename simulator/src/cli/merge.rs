//! `ks-fleet merge`: the segments of a run become one run, with its verdict.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_protocol::duration;
use ks_reports::{
    JUNIT,
    run_folder::{SEGMENT, SUMMARY, Summary, Tick},
};
use ks_server::clock::{Clock, SystemClock};

use super::{
    Options,
    execute::conclude,
    interrupt::{ConcludedRun, interruptible_until},
    output::complain,
};
use crate::{
    conductor::Observer,
    failure::Failure,
    host::stopwatch::Stopwatch,
    number::counted,
    run::folder::{RunFolder, has_failed},
    segment::merge::Segments,
};

/// How often it looks whether a segment has finished.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a segment has a verdict without a summary before it counts as one that was not run.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(3);

/// Options of `ks-fleet merge`.
#[derive(Debug, clap::Args)]
pub(super) struct MergeOptions {
    /// The run folders of all segments, in any order
    #[arg(required = true, value_name = "DIR")]
    segments: Vec<PathBuf>,
    /// Run folder of the merged run [default: reports/runs/SCENARIO-TIME]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Wait at most this long until every segment has finished; their folders must be new [default: do not wait]
    #[arg(long, value_name = "D", value_parser = super::values::duration)]
    wait: Option<Duration>,
    /// Write the summary as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress, and print nothing on standard error for a run that passes
    #[arg(long)]
    quiet: bool,
}

impl MergeOptions {
    /// Refuses a run folder that is a segment's, named or not: its files would be removed.
    ///
    /// # Errors
    /// It is.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.out.as_ref().filter(|out| out.join(SEGMENT).exists()) {
            Some(out) => Err(Failure::Segments {
                why: format!("--out is {}, the folder of a segment: its files would be removed", out.display()),
                help: "name another folder with --out".to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// Merges the segments into `folder`, or else into a new one; returns the exit code of the run's verdict.
pub(super) fn run(asked: &MergeOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let concluded = ConcludedRun::default();
    let interrupted = interruptible_until(&concluded)?;
    if let Some(limit) = asked.wait {
        wait(&asked.segments, limit, &interrupted, asked.quiet)?;
    }
    ks_server::edge::raise_open_files_limit();
    let segments = Segments::open(&asked.segments)?;
    let began = SystemClock.now();
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &segments.plan.name, began)?;
    let name = segments.plan.name.clone();
    let summary = match segments.merge(folder.path(), &mut QuietObserver(interrupted)) {
        Ok(summary) => Summary { made_at: began.to_string(), ..summary },
        Err(failure) => {
            folder.fail(&name, began, &failure.to_string());
            return Err(failure);
        }
    };
    let options = Options { json: asked.json, quiet: asked.quiet, ..Options::default() };
    conclude(&summary, folder, &concluded, &options)
}

/// Waits until every folder has a summary, which a run writes last.
fn wait(folders: &[PathBuf], limit: Duration, interrupted: &Arc<AtomicBool>, quiet: bool) -> Result<(), Failure> {
    let (waiting, mut shown_s) = (Stopwatch::started(), 0);
    let mut given_up: Option<(PathBuf, Duration)> = None;
    loop {
        let missing: Vec<String> = folders
            .iter()
            .filter(|folder| !folder.join(SUMMARY).exists())
            .map(|folder| folder.display().to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted("segments had not finished"));
        }
        let elapsed = waiting.elapsed();
        // One that has finished writes its verdict and its summary within moments.
        let failed = folders.iter().find(|folder| has_failed(folder));
        given_up = failed.map(|folder| match given_up.take() {
            Some((same, since)) if same == *folder => (same, since),
            _ => (folder.clone(), elapsed),
        });
        if let Some((folder, since)) = &given_up
            && elapsed.saturating_sub(*since) > GIVEN_UP_AFTER
        {
            return Err(Failure::Segments {
                why: format!(
                    "the segment of {} was not run: {} says why",
                    folder.display(),
                    folder.join(JUNIT).display()
                ),
                help: "run all segments again, together".to_owned(),
            });
        }
        if elapsed >= limit {
            return Err(Failure::Segments {
                why: format!(
                    "{} had not finished after {}: {}",
                    counted(missing.len() as u64, "segment"),
                    duration::format(limit),
                    missing.join(", ")
                ),
                help: "look at its output, or wait longer: --wait 1h".to_owned(),
            });
        }
        if !quiet && elapsed.as_secs() >= shown_s + 10 {
            shown_s = elapsed.as_secs();
            complain(&format!("waiting for {} ... {shown_s} s", counted(missing.len() as u64, "segment")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Merging takes seconds and has nothing to show meanwhile.
struct QuietObserver(Arc<AtomicBool>);

impl Observer for QuietObserver {
    fn tick(&mut self, _: &Tick, _: f64) {}

    fn part(&mut self, _: &str) {}

    fn wants_to_stop(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
