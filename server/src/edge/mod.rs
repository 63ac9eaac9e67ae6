//! The outer edge: environment, the operating system's randomness and limits, threads, signals, standard output and the log.
//! It contains no logic of its own.

mod log;
mod output;
mod signals;
pub(crate) mod supervisor;
pub(crate) mod threads;
mod user;

pub use log::start_log;
pub use output::{complain, print, say, say_secret, without_echo};
pub(crate) use signals::{Reload, Stop};
pub use user::process_user;

use crate::failure::StartError;

/// A setting's value from the environment. Bytes that are not UTF-8 become replacement characters, which no setting accepts.
pub fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The names of all environment variables that have a value: an empty one counts as unset. Names that are not UTF-8 are skipped:
/// no setting is named so.
pub fn environment_names() -> Vec<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    let set = std::env::vars_os().filter(|(_, value)| !value.to_string_lossy().trim().is_empty());
    set.filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// 32 bytes of the operating system's randomness.
pub fn os_randomness() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| StartError::System {
        what: "read the operating system's randomness",
        cause: std::io::Error::other(error),
    })?;
    Ok(seed)
}

/// Raises the soft limit of open files to the hard one: each connection is a file.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Most files that the process may have open, after the limit is raised; none if unlimited.
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}
