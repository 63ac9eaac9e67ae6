//! The run folder on disk: created before anything starts, locked by one run at a time, cleared of an earlier run, reported
//! when the run is over.

use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ks_protocol::time::UnixMs;
use ks_reports::{
    Artifacts,
    advice::ADVICE,
    run_folder::{EVENTS, SUMMARY, Summary, TICKS},
    score::{SCORE, TRIALS, TRIALS_REQUEST},
    sweep::{SWEEP, SWEEP_TRIALS},
};
use rustix::fs::{FlockOperation, flock};

use crate::{advise, failure::Failure, host::no_link::NO_LINK};

/// Default parent of run folders, relative to the project's root.
pub const RUNS: &str = "reports/runs";
/// Locked while a run writes into the folder.
const LOCK: &str = ".lock";
/// Folder of the runs of a search for a limit, in that of the search.
pub const STEPS: &str = "steps";
/// Log of the embedded server, in the run folder.
pub const SERVER_LOG: &str = "server.log";

/// In a `junit.xml` of a run that has no verdict yet.
const UNFINISHED: &str = "the run did not finish: it was killed, or is still running";

/// Most runs of one name that may begin in one second.
const SAME_SECOND_MAX: u32 = 1_000;

/// Makes the folder of a run or of a score: `out` if given, else a new one under `runs` that is named
/// after it and the time, with a number if another run began in the same second.
///
/// # Errors
/// It can't be made.
pub fn make_place(out: Option<&Path>, runs: &Path, name: &str, now: UnixMs) -> Result<PathBuf, Failure> {
    let cannot = |path: &Path, cause| Failure::File { what: "create", path: path.to_owned(), cause };
    if let Some(out) = out {
        return fs::create_dir_all(out).map(|()| out.to_owned()).map_err(|cause| cannot(out, cause));
    }
    fs::create_dir_all(runs).map_err(|cause| cannot(runs, cause))?;
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let first = runs.join(format!("{name}-{stamp}"));
    let others = (2..=SAME_SECOND_MAX).map(|number| runs.join(format!("{name}-{stamp}-{number}")));
    for path in std::iter::once(first.clone()).chain(others) {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(cannot(&path, cause)),
        }
    }
    Err(cannot(&first, ErrorKind::AlreadyExists.into()))
}

/// Writes a failing `junit.xml`, and nothing else, into the folder of a run that failed before it had created it.
/// Writes nothing where another run is writing, nor into a folder that holds other things than a run.
pub fn leave_failure(path: &Path, scenario: &str, now: UnixMs, why: &str) {
    if let Ok(folder) = RunFolder::make(Some(path), scenario, now) {
        folder.fail(scenario, now, why);
    }
}

/// Whether the run of this folder ended without a summary and said why, as one does that could not begin. Not said of a run that is
/// still running or was killed: which of the two can't be seen on a shared disk.
pub fn has_failed(path: &Path) -> bool {
    let why = fs::read_to_string(path.join(ks_reports::JUNIT));
    why.is_ok_and(|why| !why.contains(UNFINISHED)) && !path.join(SUMMARY).exists()
}

/// Whether a folder has files and none of them is a run's. Files of a failed run count as a run's.
fn is_foreign(path: &Path) -> std::io::Result<bool> {
    let mut has_others = false;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_our_lock = || name == LOCK && entry.metadata().is_ok_and(|of| of.is_file() && of.len() == 0);
        let are_steps =
            || name == STEPS && entry.metadata().is_ok_and(|of| of.is_dir()) && path.join(ks_reports::JUNIT).exists();
        let is_own = [ks_reports::JUNIT, SERVER_LOG].iter().any(|own| name == *own) || is_our_lock() || are_steps();
        has_others |= !is_own;
    }
    Ok(has_others
        && ![SUMMARY, TICKS, EVENTS, SCORE, TRIALS, TRIALS_REQUEST, ADVICE, SWEEP, SWEEP_TRIALS]
            .iter()
            .any(|name| path.join(name).exists()))
}

/// Locks the folder for one run; none while another run holds it. Does not follow a symbolic link in place of the lock file.
fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).custom_flags(NO_LINK);
    let lock = options.open(path.join(LOCK))?;
    Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(lock))
}

/// The folder of the current run.
pub struct RunFolder {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a run, or of many trials; `out` if given, else one named after the scenario and the time. An earlier
    /// run's files are removed first, so that an interrupted run never looks like the previous one.
    ///
    /// # Errors
    /// It can't be made or written to, another run is writing to it, or it has files and none is from an earlier run.
    pub fn make(out: Option<&Path>, scenario: &str, now: UnixMs) -> Result<Self, Failure> {
        let path = make_place(out, Path::new(RUNS), scenario, now)?;
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |cause| Failure::File { what, path, cause }
        };
        if is_foreign(&path).map_err(file("read", &path))? {
            return Err(Failure::FolderForeign { path });
        }
        let Some(lock) = lock(&path).map_err(file("write", &path.join(LOCK)))? else {
            return Err(Failure::FolderBusy { path });
        };
        let names = ks_reports::file_names();
        for name in names.iter().map(String::as_str).chain([SERVER_LOG]).chain(advise::FILES) {
            let of_earlier_run = path.join(name);
            match fs::remove_file(&of_earlier_run) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => {
                    return Err(file("remove", &of_earlier_run)(cause));
                }
                _ => {}
            }
        }
        let made = Self { path, _lock: lock };
        made.fail_unless_finished(scenario, now);
        Ok(made)
    }

    /// The folder of trials that are continued; nothing of it is removed.
    ///
    /// # Errors
    /// It can't be written to, or another run is writing to it.
    pub fn resume(path: &Path) -> Result<Self, Failure> {
        let locked = lock(path);
        let locked = locked.map_err(|cause| Failure::File { what: "write", path: path.join(LOCK), cause })?;
        match locked {
            Some(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
            None => Err(Failure::FolderBusy { path: path.to_owned() }),
        }
    }

    /// The requested folder, or else a new one, which is stored in `new`.
    ///
    /// # Errors
    /// It can't be made.
    pub fn requested_or_new<'a>(
        requested: Option<&'a Self>,
        new: &'a mut Option<Self>,
        name: &str,
        now: UnixMs,
    ) -> Result<&'a Self, Failure> {
        match requested {
            Some(folder) => Ok(folder),
            None => Ok(new.insert(Self::make(None, name, now)?)),
        }
    }

    /// Writes a failing `junit.xml` that stays there if nothing else does: a process that is killed has no later chance.
    pub fn fail_unless_finished(&self, scenario: &str, now: UnixMs) {
        self.fail(scenario, now, UNFINISHED);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a failing `junit.xml`: the run has no verdict, and a CI server must notice.
    pub fn fail(&self, scenario: &str, now: UnixMs, why: &str) {
        // The failure itself is on standard error in any case.
        let _ = ks_reports::write_failure(&self.path, scenario, &now.to_string(), why);
    }

    /// Writes the verdict; from now on the folder shows how the run ended.
    pub fn conclude(&self, summary: &Summary) -> Result<(), Failure> {
        Ok(ks_reports::write_verdict(&self.path, summary)?)
    }

    /// Draws the report of a concluded run; returns its path.
    pub fn report(&self, artifacts: Artifacts) -> Result<PathBuf, Failure> {
        Ok(ks_reports::draw(&self.path, artifacts)?.report)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.join(LOCK)); // it is not part of the result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: &Path) -> Result<RunFolder, Failure> {
        RunFolder::make(Some(path), "x", UnixMs(0))
    }

    #[test]
    fn a_folder_belongs_to_one_run_at_a_time_and_is_cleared_of_the_previous_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = make(folder.path()).unwrap();
        assert!(matches!(make(folder.path()), Err(Failure::FolderBusy { .. })));
        fs::write(folder.path().join(EVENTS), "").unwrap();
        fs::write(folder.path().join(SUMMARY), "").unwrap();
        drop(first);
        fs::write(folder.path().join("rollout_stages.png"), "").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let _second = make(folder.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [LOCK, ks_reports::JUNIT, "notes.txt"]);
        let junit = fs::read_to_string(folder.path().join(ks_reports::JUNIT)).unwrap();
        assert!(junit.contains("errors=\"1\"") && junit.contains("did not finish"), "{junit}");
    }

    #[test]
    fn a_run_has_failed_once_it_says_why_and_not_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_failed(folder.path()), "nothing has begun");
        let held = make(folder.path()).unwrap();
        assert!(!has_failed(folder.path()), "it is running");
        held.fail("x", UnixMs(0), "the target refused the fleet");
        assert!(has_failed(folder.path()));
        fs::write(folder.path().join(SUMMARY), "").unwrap();
        assert!(!has_failed(folder.path()), "it has a verdict of its own");
    }

    #[test]
    fn a_search_that_was_refused_leaves_a_folder_that_can_be_used_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(STEPS).join("01")).unwrap();
        assert!(matches!(make(folder.path()), Err(Failure::FolderForeign { .. })), "somebody's own steps");
        fs::write(folder.path().join(ks_reports::JUNIT), "").unwrap();
        drop(make(folder.path()).unwrap());
        drop(make(folder.path()).unwrap());
    }

    #[test]
    fn a_symbolic_link_as_lock_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (foreign, victim) = (folder.path().join("foreign"), folder.path().join("victim"));
        fs::create_dir(&foreign).unwrap();
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, foreign.join(LOCK)).unwrap();
        assert!(matches!(make(&foreign), Err(Failure::FolderForeign { .. })));
        fs::write(foreign.join(TICKS), "").unwrap();
        assert!(matches!(make(&foreign), Err(Failure::File { .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(foreign.join(LOCK).is_symlink());
    }

    #[test]
    fn a_folder_of_other_files_is_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ks_reports::REPORT), "somebody's own").unwrap();
        assert!(matches!(make(folder.path()), Err(Failure::FolderForeign { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        leave_failure(folder.path(), "x", UnixMs(0), "why");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn runs_that_begin_in_the_same_second_have_separate_folders() {
        let runs = tempfile::tempdir().unwrap();
        let made: Vec<PathBuf> =
            (0..3).map(|_| make_place(None, runs.path(), "x", UnixMs(1_767_225_600_000)).unwrap()).collect();
        let names: Vec<_> = made.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["x-20260101000000", "x-20260101000000-2", "x-20260101000000-3"]);
    }

    #[test]
    fn a_run_without_a_verdict_fails_in_junit_and_its_folder_can_be_reused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        leave_failure(&path, "x", UnixMs(0), "the <server> did not start");
        let junit = fs::read_to_string(path.join(ks_reports::JUNIT)).unwrap();
        assert!(junit.contains("errors=\"1\"") && junit.contains("the &lt;server&gt; did not start"), "{junit}");
        let held = make(&path).unwrap();
        let unfinished = fs::read_to_string(path.join(ks_reports::JUNIT)).unwrap();
        assert!(unfinished.contains("did not finish"), "{unfinished}");
        leave_failure(&path, "x", UnixMs(0), "another run is writing");
        assert_eq!(fs::read_to_string(path.join(ks_reports::JUNIT)).unwrap(), unfinished);
        drop(held);
    }
}
