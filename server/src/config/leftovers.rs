//! What a server with a fleet leaves beside its database: where that is there, an empty database is a lost one.

use std::path::{Path, PathBuf};

use super::{ArtifactPlace, Config, ServerKeySource, StartError};
use crate::store::has_log;

/// What is there that a server makes after its database, if anything is. A folder under its default name counts as it is, one that a
/// setting names counts once something is in it: who writes a setting may have made the folder too.
pub fn leftover(config: &Config) -> Option<PathBuf> {
    let key = match &config.server_key {
        ServerKeySource::Development(path) if path.is_file() => Some(path.clone()),
        _ => None,
    };
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
