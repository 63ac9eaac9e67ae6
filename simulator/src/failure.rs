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
    /// The target takes its time.
    #[error("the target {target} is too slow: {why}")]
    TooSlow {
        /// Which.
        target: String,
        /// What was asked of it.
        why: String,
    },
    /// The target fails at what it is asked for.
    #[error("the target {target} failed: {why}")]
    TargetFailed {
        /// Which.
        target: String,
        /// What it said.
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
    /// Standard output can't be written.
    #[error("cannot write to standard output: {cause}")]
    Output {
        /// Why.
        cause: std::io::Error,
    },
    /// Another run writes to the folder.
    #[error("another run is writing to {path}")]
    FolderBusy {
        /// Which.
        path: PathBuf,
    },
    /// The folder holds something else than a run.
    #[error("{path} is not empty, and holds no run")]
    FolderForeign {
        /// Which.
        path: PathBuf,
    },
    /// A person ended the run before it had begun.
    #[error("ended before the run began: {0}")]
    Interrupted(&'static str),
    /// The operating system refused something else.
    #[error("cannot {what}: {cause}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
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
    /// Somebody answers at the target, but no server of this kind.
    #[error("at {target} is no ks-server: {why}")]
    NotOurs {
        /// Which.
        target: String,
        /// What it said.
        why: String,
    },
    /// The embedded server did not run.
    #[error("{0}")]
    Server(String),
    /// The report could not be drawn.
    #[error(transparent)]
    Report(#[from] ks_reports::ReportError),
    /// There is no story to tell.
    #[error(transparent)]
    Explain(#[from] crate::explain::ExplainError),
}

impl Failure {
    /// What to do, one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadRequest(_) => "see `ks-fleet --help`".to_owned(),
            Self::Scenario { .. } => "check the path; scenarios/ has those that are shipped".to_owned(),
            Self::Unreachable { .. } => {
                "check the host and the port, start a server there (`ks-server serve`), or leave --target out to have one started".to_owned()
            }
            Self::TargetFailed { .. } => "look into the target's own log for what happened there, then run it again".to_owned(),
            Self::Output { cause } => {
                format!("{}; `ks-fleet report` draws a run's report again", ks_server::failure::output_remedy(cause))
            }
            Self::TooSlow { .. } => {
                "look into the server's log; if it only needs longer, wait longer with --admin-timeout".to_owned()
            }
            Self::FolderBusy { .. } => "wait for it, or name another folder with --out".to_owned(),
            Self::FolderForeign { .. } => "name a new or empty folder with --out".to_owned(),
            Self::Interrupted(_) => "run it again".to_owned(),
            Self::Machine { .. } => "check the limits of this process and machine".to_owned(),
            Self::File { path, cause, .. }
                if matches!(cause.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) =>
            {
                format!("name another place with --out: a part of {} is a file, not a folder", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
                format!("make room on the disk of {}", path.display())
            }
            Self::File { path, .. } => {
                format!("check that {} exists and that you may use it, or name another with --out", path.display())
            }
            Self::Target { .. } => {
                "start the server there with ADMIN_TOKEN set, give the same token here (ADMIN_TOKEN or --admin-token-file), and for a second run on one database another --id-prefix".to_owned()
            }
            Self::NotOurs { .. } => "name the address of a ks-server of this version with --target".to_owned(),
            Self::OpenFiles { .. } => {
                "raise the hard limit (`ulimit -Hn`), use fewer --devices, or let them share: `connections = 1000`".to_owned()
            }
            Self::Server(_) => "mend what the server says, in the scenario's [server] table or on this machine".to_owned(),
            Self::Report(error) if !error.is_of_the_folder() => {
                "make room, then draw the report with `ks-fleet report`, or run again with another --out".to_owned()
            }
            Self::Explain(_) => "name the folder of a finished rehearsal, and one of its devices".to_owned(),
            Self::Report(_) => "run the scenario again, or name the folder of a finished run".to_owned(),
        }
    }

    /// 2 for what the caller wrote, 3 for what the machine or the target refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Report(error) if !error.is_of_the_folder() => 3,
            Self::Interrupted(_) => 4,
            Self::BadRequest(_)
            | Self::Scenario { .. }
            | Self::FolderForeign { .. }
            | Self::Report(_)
            | Self::Explain(_) => 2,
            Self::FolderBusy { .. }
            | Self::Machine { .. }
            | Self::File { .. }
            | Self::Target { .. }
            | Self::NotOurs { .. }
            | Self::Unreachable { .. }
            | Self::TargetFailed { .. }
            | Self::TooSlow { .. }
            | Self::OpenFiles { .. }
            | Self::Output { .. }
            | Self::Server(_) => 3,
        }
    }
}
