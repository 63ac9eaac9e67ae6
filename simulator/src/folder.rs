//! The run folder on disk: made before anything starts, held by one run at a time, emptied of an earlier run, reported when
//! the run is over.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::{DECISIONS, EVENTS, LATENCY, ROLLOUTS, SUMMARY, Summary, TICKS};
use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

/// Where runs land by default, from the project's root.
pub const RUNS: &str = "reports/runs";
/// Held as long as a run writes into the folder.
const LOCK: &str = ".lock";
/// Log of the embedded server, in the run folder.
pub const SERVER_LOG: &str = "server.log";

/// Where a run, or what is scored by many, is kept: `out` if given, else a folder named after it and the time.
pub fn place(out: Option<&Path>, name: &str, now: UnixMs) -> PathBuf {
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    out.map_or_else(|| Path::new(RUNS).join(format!("{name}-{stamp}")), Path::to_owned)
}

/// The folder of the run that goes on.
pub struct RunFolder {
    path: PathBuf,
    /// Locked while it is open.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a run; `out` if given, else one named after the scenario and the time. An earlier run's files
    /// in it go first, so that a run that is cut short never looks like the one before.
    ///
    /// # Errors
    /// It can't be made or written to, another run is writing to it, or it has files and none is an earlier run's.
    pub fn make(out: Option<&Path>, scenario: &str, now: UnixMs) -> Result<Self, Failure> {
        let path = place(out, scenario, now);
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |cause| Failure::File { what, path, cause }
        };
        fs::create_dir_all(&path).map_err(file("create", &path))?;
        let lock = File::create(path.join(LOCK)).map_err(file("write", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::FolderBusy { path });
        }
        let is_lock = |entry: &fs::DirEntry| entry.file_name() == LOCK;
        let mut entries = fs::read_dir(&path).map_err(file("read", &path))?;
        let has_files = entries.any(|entry| entry.is_ok_and(|entry| !is_lock(&entry)));
        if has_files && ![SUMMARY, TICKS, EVENTS].iter().any(|name| path.join(name).exists()) {
            let _ = fs::remove_file(path.join(LOCK)); // which was not there before
            return Err(Failure::FolderForeign { path });
        }
        let ours = [
            SUMMARY,
            TICKS,
            ROLLOUTS,
            DECISIONS,
            LATENCY,
            EVENTS,
            ks_reports::REPORT,
            ks_reports::MARKDOWN,
            ks_reports::JUNIT,
            SERVER_LOG,
        ];
        for name in ours {
            let of_earlier_run = path.join(name);
            match fs::remove_file(&of_earlier_run) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => {
                    return Err(file("remove", &of_earlier_run)(cause));
                }
                _ => {}
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the summary and draws the report; gives the report's path.
    pub fn report(&self, summary: &Summary) -> Result<PathBuf, Failure> {
        ks_reports::write_summary(&self.path, summary)?;
        Ok(ks_reports::draw(&self.path)?.report)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path.join(LOCK)); // it is no part of the run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(path: &Path) -> Result<RunFolder, Failure> {
        RunFolder::make(Some(path), "x", UnixMs(0))
    }

    #[test]
    fn a_folder_is_one_runs_at_a_time_and_emptied_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let first = make(folder.path()).unwrap();
        assert!(matches!(make(folder.path()), Err(Failure::FolderBusy { .. })));
        fs::write(folder.path().join(EVENTS), "").unwrap();
        fs::write(folder.path().join(SUMMARY), "").unwrap();
        drop(first);
        let _second = make(folder.path()).unwrap();
        assert!(!folder.path().join(SUMMARY).exists());
    }

    #[test]
    fn a_folder_of_other_things_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(ks_reports::REPORT), "somebody's own").unwrap();
        assert!(matches!(make(folder.path()), Err(Failure::FolderForeign { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
