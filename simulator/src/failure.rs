//! Why a run did not come to a verdict, with what to do and the exit code that goes with it.

use std::path::PathBuf;

/// `Display` says what is wrong, [`Failure::remedy`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line asks for something that can't be.
    #[error("{0}")]
    BadRequest(String),
    /// The scenario can't be read.
    #[error("cannot read the scenario {path}: {cause}")]
    Scenario {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Nobody answers at the target.
    #[error("the target {target} does not answer: {why}")]
    Unreachable {
        /// Which.
        target: String,
        /// Why.
        why: String,
    },
    /// A file can't be read or written.
    #[error("cannot {what} {path}: {cause}")]
    File {
        /// `read`, `write`, `create`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The target can't be reached or would not do what a run needs.
    #[error("the target {target} can't be used: {why}")]
    Target {
        /// Which.
        target: String,
        /// Why.
        why: String,
    },
    /// This machine lets a process have too few files open.
    #[error("the run needs {needed} open files, and this machine allows a process {max}")]
    OpenFiles {
        /// Connections and the rest.
        needed: u64,
        /// The limit, which was raised as far as it goes.
        max: u64,
    },
    /// The embedded server did not run.
    #[error("{0}")]
    Server(String),
    /// The report could not be drawn.
    #[error(transparent)]
    Report(#[from] ks_reports::ReportError),
}

impl Failure {
    /// What to do, one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadRequest(_) => "see `ks-fleet --help`".to_owned(),
            Self::Scenario { .. } => "check the path; scenarios/ has those that are shipped".to_owned(),
            Self::Unreachable { .. } => {
                "start a server there (`ks-server serve`), or leave --target out to have one started".to_owned()
            }
            Self::File { path, .. } => {
                format!("check that {} exists and that you may use it, or name another with --out", path.display())
            }
            Self::Target { .. } => {
                "start the server there with ADMIN_TOKEN set, give the same token here (ADMIN_TOKEN or --admin-token), and for a second run on one database another --id-prefix".to_owned()
            }
            Self::OpenFiles { .. } => {
                "raise the hard limit (`ulimit -Hn`), use fewer --devices, or let them share: `connections = 1000`".to_owned()
            }
            Self::Server(_) => "mend what the server says, in the scenario's [server] table or on this machine".to_owned(),
            Self::Report(error) if !error.is_of_the_folder() => {
                "make room, then draw the report with `ks-fleet report`, or run again with another --out".to_owned()
            }
            Self::Report(_) => "run the scenario again, or name the folder of a finished run".to_owned(),
        }
    }

    /// 2 for what the caller wrote, 3 for what the machine or the target refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Report(error) if !error.is_of_the_folder() => 3,
            Self::BadRequest(_) | Self::Scenario { .. } | Self::Report(_) => 2,
            Self::File { .. }
            | Self::Target { .. }
            | Self::Unreachable { .. }
            | Self::OpenFiles { .. }
            | Self::Server(_) => 3,
        }
    }
}
