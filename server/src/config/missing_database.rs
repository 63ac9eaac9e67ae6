//! Detects a lost database: keys and images next to a missing or empty database show that there was a fleet.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ArtifactPlace, Config};
use crate::{failure::StartError, store::has_log};

/// File name of the development key, next to the database.
pub(super) const DEVELOPMENT_KEY: &str = "development-server-key.pem";
/// The help if a fleet's database is missing.
pub const MISSING_HELP: &str = "move the database back, or restore a backup, before `ks-server serve` or `ks-server migrate`: they would create a new fleet, which does not know the devices of the old one";

/// A file or folder that a fleet's server has left although its database is missing; none if nothing shows that there was a fleet. A
/// dangling link and a log without its database are not reported here: opening them fails.
pub fn left_without_database(config: &Config) -> Option<PathBuf> {
    let is_missing = config.database.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_missing && !has_log(&config.database) { leftover(config) } else { None }
}

/// The warning if a new fleet is created next to the files of another; none without such files.
pub fn new_fleet_warning(config: &Config) -> Option<String> {
    let left = left_without_database(config)?;
    Some(format!(
        "there is no database at {}, but a fleet's server has left {}: a NEW fleet is created, which does not know the devices of the \
         old one",
        config.database.display(),
        left.display()
    ))
}

/// Fails if a fleet's database is missing, for a command that does not create one.
///
/// # Errors
/// The database is missing, and something shows that there was one.
pub fn refuse_missing(config: &Config) -> Result<(), StartError> {
    let Some(left) = left_without_database(config) else { return Ok(()) };
    Err(StartError::Unreadable {
        path: config.database.clone(),
        why: format!("it is missing, but a fleet's server has left {}", left.display()),
        help: MISSING_HELP.to_owned(),
    })
}

/// Something that a server only creates after its database, if it exists. A folder with its default name counts as it is; one that a
/// setting names counts only if it is not empty, because an operator may have created it.
fn leftover(config: &Config) -> Option<PathBuf> {
    // Even if the settings name another key now.
    let key = Some(config.database.with_file_name(DEVELOPMENT_KEY)).filter(|path| path.is_file());
    let artifacts = match &config.artifacts {
        ArtifactPlace::Folder(path) => Some(path),
        ArtifactPlace::S3(_) => None,
    };
    let is_left = |path: &Path| {
        let is_default = path.parent() == config.database.parent();
        std::fs::read_dir(path).is_ok_and(|mut entries| is_default || entries.next().is_some())
    };
    let mut folders = [Some(&config.server_keys), artifacts].into_iter().flatten();
    key.or_else(|| folders.find(|path| is_left(path)).cloned())
}

/// Whether the database is an empty file.
pub fn is_empty(database: &Path) -> bool {
    std::fs::metadata(database).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Fails if a fleet's database is an empty file. Without other files of a fleet, as `touch`, `mktemp` or a mount creates it, a new
/// fleet is created in it; with a log next to it, opening it fails.
///
/// # Errors
/// The database was lost.
pub fn refuse_emptied(config: &Config) -> Result<(), StartError> {
    let is_lost = is_empty(&config.database) && !has_log(&config.database);
    let left = if is_lost { leftover(config) } else { None };
    let Some(left) = left else { return Ok(()) };
    Err(StartError::Unreadable {
        path: config.database.clone(),
        why: format!("it is empty, but a fleet's server has left {}", left.display()),
        help: format!(
            "restore the database from a backup; to create a new fleet, in which all devices have to be registered again, delete the empty \
             file or move {} away",
            left.display()
        ),
    })
}
