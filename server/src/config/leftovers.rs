//! What a server with a fleet leaves beside its database: where that is there, an empty database is a lost one.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ArtifactPlace, Config};
use crate::{failure::StartError, store::has_log};

/// Name of the development key, beside the database.
pub(super) const DEVELOPMENT_KEY: &str = "development-server-key.pem";
/// What to do where a fleet's database is missing.
pub const MISSING_REMEDY: &str = "put the database back, or restore a backup, before `ks-server serve` or `ks-server migrate`: they would begin a new fleet, to which the devices of the old one are strangers";

/// What the server of a fleet has left whose database is not there. None where nothing says that there was one. A link
/// that leads nowhere and a log without its database are no such place: who opens them refuses them.
pub fn left_without_database(config: &Config) -> Option<PathBuf> {
    let is_missing = config.database.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if is_missing && !has_log(&config.database) { leftover(config) } else { None }
}

/// What to say of a new fleet that begins beside what another has left; none where nothing is left.
pub fn begins_anew(config: &Config) -> Option<String> {
    let beside = left_without_database(config)?;
    Some(format!(
        "there is no database at {}, and a server with a fleet has left {}: a NEW fleet begins, to which the devices of the old one are \
         strangers",
        config.database.display(),
        beside.display()
    ))
}

/// Refuses a fleet's database that is not there, for a command that makes none.
///
/// # Errors
/// The database is missing, and something says that there was one.
pub fn refuse_missing(config: &Config) -> Result<(), StartError> {
    let Some(beside) = left_without_database(config) else { return Ok(()) };
    Err(StartError::Unreadable {
        path: config.database.clone(),
        why: format!("it is missing, and a server with a fleet has left {}", beside.display()),
        remedy: MISSING_REMEDY.to_owned(),
    })
}

/// What is there that a server makes after its database, if anything is. A folder under its default name counts as it is, one that a
/// setting names counts once something is in it: who writes a setting may have made the folder too.
fn leftover(config: &Config) -> Option<PathBuf> {
    // Whatever key the settings name now.
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

/// Whether there is a file in the database's place that has nothing in it.
pub fn is_empty(database: &Path) -> bool {
    std::fs::metadata(database).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Refuses an empty file in the place of a fleet's database. One that stands alone, as `touch`, `mktemp` or a mount makes it, is where a
/// new fleet begins; one beside a log is refused by who opens it.
///
/// # Errors
/// The database was lost.
pub fn refuse_emptied(config: &Config) -> Result<(), StartError> {
    let is_lost = is_empty(&config.database) && !has_log(&config.database);
    let beside = if is_lost { leftover(config) } else { None };
    let Some(beside) = beside else { return Ok(()) };
    Err(StartError::Unreadable {
        path: config.database.clone(),
        why: format!("it is empty, and a server with a fleet has left {}", beside.display()),
        remedy: format!(
            "restore the database from a backup; to begin a new fleet, whose devices all have to be registered again, delete the empty \
             file or put {} aside",
            beside.display()
        ),
    })
}
