//! Why a run has no verdict, with its help and an exit code.

use std::path::PathBuf;

use crate::segment::reader::SegmentError;

/// The command that continues trials of policies, also those of advice.
pub const REHEARSE: &str = "ks-fleet rehearse";
/// The command that continues sweeps of limits.
pub const LIMITS_SWEEP: &str = "ks-fleet limits sweep";

/// `Display` says what is wrong, [`Failure::help`] how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line asks for something impossible.
    #[error("{0}")]
    BadRequest(String),
    /// The scenario, as it is or with the flags, asks for something impossible.
    #[error("{why}")]
    Impossible { why: String, help: &'static str },
    /// Segments can't be merged.
    #[error("{why}")]
    Segments { why: String, help: String },
    /// The scenario can't be read.
    #[error("cannot read the scenario {path}: {cause}")]
    Scenario { path: PathBuf, cause: std::io::Error },
    /// A rollout policy can't be read.
    #[error("cannot read the policy {path}: {cause}")]
    Policy { path: PathBuf, cause: std::io::Error },
    /// The target does not answer.
    #[error("the target {target} does not answer: {why}")]
    Unreachable { target: String, why: String },
    /// No TLS with the target.
    #[error("the TLS handshake with {target} failed: {why}")]
    Tls { target: String, why: String, help: &'static str },
    /// The target answers too slowly.
    #[error("the target {target} is too slow: {why}")]
    TooSlow { target: String, why: String },
    /// The target failed a request.
    #[error("the target {target} failed: {why}")]
    TargetFailed { target: String, why: String },
    /// A file can't be read or written.
    #[error("cannot {what} {path}: {cause}")]
    File {
        /// `read`, `write`, `create`.
        what: &'static str,
        path: PathBuf,
        cause: std::io::Error,
    },
    /// An address of this machine can't be used.
    #[error("cannot listen on {address}: {cause}")]
    CannotListen { address: std::net::SocketAddr, cause: std::io::Error },
    /// Standard output can't be written.
    #[error("cannot write to standard output: {cause}")]
    Output { cause: std::io::Error },
    /// Another run writes to the folder.
    #[error("another run is writing to {path}")]
    FolderBusy { path: PathBuf },
    /// The folder holds something other than a run.
    #[error("{path} is not empty, and contains no run")]
    FolderForeign { path: PathBuf },
    /// Trials of a folder can't be continued.
    #[error("{path} can't be continued: {why}")]
    NotResumable {
        /// The command that began them, and continues them.
        by: &'static str,
        path: PathBuf,
        why: String,
    },
    /// The user ended the run before it had begun.
    #[error("ended before the run began: {0}")]
    Interrupted(&'static str),
    /// Another system call failed.
    #[error("cannot {what}: {cause}")]
    Machine { what: &'static str, cause: std::io::Error },
    /// The target can't be reached or would not do what a run needs.
    #[error("the target {target} can't be used: {why}")]
    Target { target: String, why: String },
    /// A probe of limits ended early.
    #[error("the probe of {target} ended early: {why}")]
    Probe { target: String, why: String, help: &'static str },
    /// The open file limit is too low.
    #[error("the run needs {needed} open files, and this machine allows a process {max}")]
    OpenFiles {
        /// Connections and the rest.
        needed: u64,
        /// The limit, already raised as far as possible.
        max: u64,
    },
    /// Something answers at the target, but it is not a ks-server.
    #[error("{target} is not a ks-server: {why}")]
    NotOurs { target: String, why: String },
    /// The embedded server did not run.
    #[error("{0}")]
    Server(String),
    /// The report could not be drawn.
    #[error(transparent)]
    Report(#[from] ks_reports::ReportError),
    /// A device's timeline could not be read.
    #[error(transparent)]
    Explain(#[from] crate::explain::ExplainError),
    /// A run's events could not be read.
    #[error(transparent)]
    Events(#[from] crate::run::run_events::EventsError),
}

impl From<SegmentError> for Failure {
    fn from(error: SegmentError) -> Self {
        Self::Segments { why: error.to_string(), help: error.remedy().to_owned() }
    }
}

impl Failure {
    /// The same about a part of the request, which is named first.
    #[must_use]
    pub fn of_the_request(self, part: impl std::fmt::Display) -> Self {
        let why = format!("{part}: {self}");
        match self {
            Self::Impossible { help, .. } => Self::Impossible { why, help },
            _ => Self::BadRequest(why),
        }
    }

    /// How to fix it, one sentence.
    pub fn help(&self) -> String {
        match self {
            Self::BadRequest(_) => "see `ks-fleet --help`".to_owned(),
            Self::Impossible { help, .. } | Self::Probe { help, .. } | Self::Tls { help, .. } => (*help).to_owned(),
            Self::Segments { help, .. } => help.clone(),
            Self::Scenario { .. } => "check the path; the shipped scenarios are in scenarios/".to_owned(),
            Self::Policy { .. } => {
                "check the path; examples are in scenarios/policies/, and `ks-fleet advise` writes policies into its folder".to_owned()
            }
            Self::Unreachable { .. } => {
                "check the host, the port and the scheme (https:// where TLS is served), start a server there (`ks-server serve`), or leave --target out to have one started".to_owned()
            }
            Self::TargetFailed { .. } => "check the target's log, then run it again".to_owned(),
            Self::Output { cause } => {
                format!("{}; `ks-fleet report` draws a run's report again", ks_server::failure::output_help(cause))
            }
            Self::CannotListen { .. } => "name an address of this machine with a free port, such as 127.0.0.1:9900".to_owned(),
            Self::TooSlow { .. } => {
                "check the server's log; if it only needs more time, raise --admin-timeout".to_owned()
            }
            Self::FolderBusy { .. } => "wait for it, or name another folder with --out".to_owned(),
            Self::FolderForeign { .. } => "name a new or empty folder with --out".to_owned(),
            Self::NotResumable { by, path, .. } => {
                let also = if *by == REHEARSE { ", also those of `advise`" } else { "" };
                format!(
                    "trials are continued by `{by} --resume {}`{also}, without other flags and with the same files and the same program; or begin new ones with --out and another folder",
                    path.display()
                )
            }
            Self::Interrupted(_) => "run it again".to_owned(),
            Self::Machine { .. } => "check the limits of this process and machine".to_owned(),
            // What is read was named by an argument or a file; --out names what is written.
            Self::File { what: "read", path, .. } => {
                format!("check that {} exists and that you may read it, or name another file", path.display())
            }
            Self::File { path, cause, .. }
                if matches!(cause.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) =>
            {
                format!("name another folder with --out: a part of {} is a file, not a folder", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
                format!("free space on the disk of {}", path.display())
            }
            Self::File { path, .. } => {
                format!("check that {} exists and that you may use it, or name another with --out", path.display())
            }
            Self::Target { .. } => {
                "start the server there with ADMIN_TOKEN set, give the same token here (ADMIN_TOKEN or --admin-token-file), and use another --id-prefix for a second run on the same database".to_owned()
            }
            Self::NotOurs { .. } => "name the address of a ks-server of this version with --target".to_owned(),
            Self::OpenFiles { .. } => {
                "raise the hard limit (`ulimit -Hn`), use fewer --devices, or share connections: `connections = 1000`".to_owned()
            }
            Self::Server(_) => "fix what the server reports, in the scenario's [server] table or on this machine".to_owned(),
            Self::Report(error) if !error.is_of_the_folder() => {
                "free space, then draw the report with `ks-fleet report`, or run again with another --out".to_owned()
            }
            Self::Explain(error) => error.remedy(),
            Self::Events(error) => error.remedy(),
            Self::Report(_) => "run the scenario again, or name the folder of a finished run".to_owned(),
        }
    }

    /// 2 for invalid input, 3 for failures of the machine or the target.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Report(error) if !error.is_of_the_folder() => 3,
            Self::Interrupted(_) => 4,
            Self::BadRequest(_)
            | Self::Impossible { .. }
            | Self::Segments { .. }
            | Self::Scenario { .. }
            | Self::Policy { .. }
            | Self::FolderForeign { .. }
            | Self::NotResumable { .. }
            | Self::Report(_)
            | Self::Explain(_)
            | Self::Events(_) => 2,
            Self::FolderBusy { .. }
            | Self::Machine { .. }
            | Self::CannotListen { .. }
            | Self::File { .. }
            | Self::Target { .. }
            | Self::NotOurs { .. }
            | Self::Probe { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::TargetFailed { .. }
            | Self::TooSlow { .. }
            | Self::OpenFiles { .. }
            | Self::Output { .. }
            | Self::Server(_) => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_continued_by_the_command_that_began_them() {
        let help = |by| Failure::NotResumable { by, path: "part".into(), why: String::new() }.help();
        let (of_policies, of_limits) = (help(REHEARSE), help(LIMITS_SWEEP));
        assert!(
            of_policies
                .starts_with("trials are continued by `ks-fleet rehearse --resume part`, also those of `advise`")
        );
        assert!(
            of_limits.starts_with("trials are continued by `ks-fleet limits sweep --resume part`, without other flags")
        );
    }

    #[test]
    fn what_is_impossible_keeps_its_help_when_it_is_named() {
        let failure = Failure::Impossible { why: "it is too small".to_owned(), help: "give more --devices" };
        let named = failure.of_the_request("policy `p`");
        assert_eq!(
            (named.to_string().as_str(), named.help().as_str()),
            ("policy `p`: it is too small", "give more --devices")
        );
        assert_eq!(named.exit_code(), 2);
    }

    #[test]
    fn a_file_that_can_not_be_read_is_not_named_by_out() {
        let help = |what| {
            let cause = std::io::ErrorKind::NotFound.into();
            Failure::File { what, path: "limits.env".into(), cause }.help()
        };
        assert_eq!(help("read"), "check that limits.env exists and that you may read it, or name another file");
        assert!(help("write").ends_with("or name another with --out"), "{}", help("write"));
    }
}
