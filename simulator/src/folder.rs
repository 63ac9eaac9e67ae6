//! The run folder on disk: made before anything starts, emptied of an earlier run, reported when the run is over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::{EVENTS, LATENCY, SUMMARY, Summary, TICKS};

use crate::failure::Failure;

/// Where runs land by default, from the project's root.
const RUNS: &str = "reports/runs";

/// Makes the folder of a run; `out` if given, else one named after the scenario and the time. An earlier run's files
/// in it go first, so that a run that is cut short never looks like the one before.
pub fn make(out: Option<&Path>, scenario: &str, now: UnixMs) -> Result<PathBuf, Failure> {
    let stamp: String = now.to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let folder = out.map_or_else(|| Path::new(RUNS).join(format!("{scenario}-{stamp}")), Path::to_owned);
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |cause| Failure::File { what, path, cause }
    };
    fs::create_dir_all(&folder).map_err(file("create", &folder))?;
    let probe = folder.join(".writable");
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(file("write", &folder))?;
    for name in
        [SUMMARY, TICKS, LATENCY, EVENTS, ks_reports::REPORT, ks_reports::MARKDOWN, ks_reports::JUNIT, SERVER_LOG]
    {
        let path = folder.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(file("remove", &path))?;
        }
    }
    Ok(folder)
}

/// Log of the embedded server, in the run folder.
pub const SERVER_LOG: &str = "server.log";

/// Writes the summary and draws the report; gives the report's path.
pub fn report(folder: &Path, summary: &Summary) -> Result<PathBuf, Failure> {
    ks_reports::write_summary(folder, summary)?;
    Ok(ks_reports::draw(folder)?.report)
}
