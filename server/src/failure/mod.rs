//! Why the server did not start, and what to do about it.

mod database;

use std::path::PathBuf;

pub use database::DatabaseFault;

use crate::store::SCHEMA_VERSION;

/// `Display` says what is wrong, [`StartError::remedy`] what to do; the edge prints both and exits with [`StartError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting has a value outside its range.
    #[error("{name} is `{given}`, expected {expected}")]
    BadSetting {
        /// The setting.
        name: String,
        /// What was given; secrets are not shown.
        given: String,
        /// What was expected.
        expected: String,
        /// A value that would do.
        example: String,
    },
    /// A name in the environment that only this program could mean, and that is no setting.
    #[error("{name} is set, and is no setting of this program")]
    UnknownSetting {
        /// The name.
        name: String,
        /// The setting with the nearest name.
        nearest: &'static str,
    },
    /// The file that a setting names can't be used.
    #[error("{name}: {error}")]
    FileOf {
        /// The setting.
        name: &'static str,
        /// What is wrong with the file.
        error: Box<StartError>,
    },
    /// Two settings say the same thing.
    #[error("{one} and {other} are both set")]
    BothSet {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// The server has a fleet already, and no key that the fleet could know.
    #[error("no signing key is given, and the database {database} has devices: they would not believe a new key")]
    KeyMissing {
        /// The database.
        database: PathBuf,
    },
    /// What was ordered does not fit what is: the keys, a release, a rollout. With what to do.
    #[error("{0}")]
    Refused(String, &'static str),
    /// The store's thread ended while the server ran.
    #[error("the store has ended, so nothing can be stored any more")]
    StoreEnded,
    /// The database was moved, replaced or found damaged while the server ran.
    #[error("the server has ended, and its database is not sound: {0}")]
    StoreLost(String),
    /// A key can't be read.
    #[error("the key in {place} can't be used: {why}")]
    BadKey {
        /// File or setting.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The port is taken.
    #[error("cannot listen on {address}: {cause}")]
    CannotListen {
        /// Address and port.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The database can't be used.
    #[error("the database {path} can't be used: {why}")]
    BadDatabase {
        /// Its file.
        path: PathBuf,
        /// What is wrong, as far as it decides what is to be done.
        fault: DatabaseFault,
        /// Why.
        why: String,
    },
    /// There is no database where it was looked for, and the command makes none.
    #[error("there is no database at {path}{is_empty}")]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
        /// `: the file is empty`, if there is one.
        is_empty: &'static str,
    },
    /// A database can't be read where it lies.
    #[error("the database {path} can't be read: {why}")]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The database was written by a newer program.
    #[error("the database {path} has schema version {found}, and this program knows up to {SCHEMA_VERSION}")]
    NewerDatabase {
        /// Its file.
        path: PathBuf,
        /// The version found.
        found: i64,
    },
    /// The database was written by an older program, and what was asked for must not change that.
    #[error("the database {path} has schema version {found}, and this program has {SCHEMA_VERSION}")]
    OlderDatabase {
        /// Its file.
        path: PathBuf,
        /// The version found.
        found: i64,
    },
    /// The database is some other program's.
    #[error("the database {path} is not this program's: it has a table `{table}`")]
    ForeignDatabase {
        /// Its file.
        path: PathBuf,
        /// One of its tables.
        table: String,
    },
    /// The database's write-ahead log is damaged.
    #[error("the database {path} can't be used: {damage}")]
    DamagedLog {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        damage: String,
    },
    /// A file can't be read or written.
    #[error("cannot {what} {path}: {cause}")]
    File {
        /// `read`, `write`, `create`.
        what: &'static str,
        /// The file.
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
    /// New tokens could not be shown, and were revoked.
    #[error("the new tokens could not be shown, so they were revoked: {cause}")]
    TokensUnseen {
        /// Why.
        cause: std::io::Error,
    },
    /// An inventory has bad rows; nothing was imported.
    #[error("{path}: {problems}")]
    BadInventory {
        /// The file.
        path: PathBuf,
        /// Every bad row, a line each.
        problems: String,
    },
    /// The operating system refused something else.
    #[error("cannot {what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        cause: std::io::Error,
    },
}

/// What to do where standard output takes nothing, the beginning of a sentence.
pub fn output_remedy(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "make room where standard output goes",
        std::io::ErrorKind::BrokenPipe => "keep what reads standard output running until it has read all",
        _ => "let standard output go to a terminal, a file or a pipe that can be written",
    }
}

impl StartError {
    /// There is no database at this path, or an empty file.
    pub fn no_database(path: &std::path::Path) -> Self {
        let is_empty = if path.exists() { ": the file is empty" } else { "" };
        Self::NoDatabase { path: std::path::absolute(path).unwrap_or(path.to_owned()), is_empty }
    }

    /// The same of a file that this setting names.
    #[must_use]
    pub fn of(self, name: &'static str) -> Self {
        Self::FileOf { name, error: Box::new(self) }
    }

    /// What to do, one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::FileOf { error, .. } => error.remedy(),
            Self::BadSetting { expected, example, .. } if example.is_empty() => format!("give {expected}"),
            Self::BadSetting { name, example, .. } => format!("set {name}={example}"),
            Self::UnknownSetting { name, nearest } => {
                format!("did you mean {nearest}? If not, unset {name}; `ks-server serve --help` lists every setting")
            }
            Self::BothSet { .. } => "unset one of them".to_owned(),
            Self::KeyMissing { .. } => {
                "set SERVER_PRIVATE_KEY_FILE (or SERVER_PRIVATE_KEY) to the key that the devices were given, or put the development key back beside the database; if none was given one yet, `ks-server keys generate --out FILE` makes it".to_owned()
            }
            Self::Refused(_, remedy) => (*remedy).to_owned(),
            Self::StoreLost(_) => "nothing was answered since, and the files were left as they are: copy the database, its -wal and its -shm before anything else opens them".to_owned(),
            Self::StoreEnded => "see the log; restart the server once the cause is mended".to_owned(),
            Self::BadKey { .. } => "give an Ed25519 key in PKCS#8 PEM; `ks-server keys generate` makes one".to_owned(),
            Self::CannotListen { .. } => {
                "stop what listens there, or set PORT to a free port (`ss -ltnp` shows who listens)".to_owned()
            }
            Self::BadDatabase { path, fault, .. } => fault.remedy(path),
            Self::NoDatabase { .. } => {
                "set DATABASE_URL to the server's database; to begin a new one, run `ks-server migrate` first".to_owned()
            }
            Self::Unreadable { remedy, .. } => remedy.clone(),
            Self::NewerDatabase { .. } => "use the newer program, or restore the backup from before the upgrade".to_owned(),
            Self::OlderDatabase { .. } => {
                "stop the server, run `ks-server migrate`, then start the new server and try again".to_owned()
            }
            Self::ForeignDatabase { .. } => "set DATABASE_URL to the fleet's own database; where its path names no file, `serve` and `migrate` begin an empty one".to_owned(),
            Self::DamagedLog { .. } => {
                "restore the database and its log from a backup; to go on without what only the log holds, move the log away (keep it)".to_owned()
            }
            Self::File { what: "write", path, cause } if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                format!("name another file: {} is kept, because a key that is lost can't be made again", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::IsADirectory => {
                format!("name a file: {} is a folder", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
                format!("make room on the disk of {}", path.display())
            }
            Self::File { path, cause, .. }
                if matches!(cause.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) =>
            {
                format!("name another place: a part of {} is a file, not a folder", path.display())
            }
            Self::File { path, .. } => format!("check that {} exists and that you may use it", path.display()),
            Self::Output { cause } => {
                let first = output_remedy(cause);
                format!("{first}; what the command has changed stays changed, so look before you run it again")
            }
            Self::TokensUnseen { cause } => format!("{}, and run it again", output_remedy(cause)),
            Self::BadInventory { .. } => "mend these lines and import the file again; nothing was imported".to_owned(),
            Self::System { .. } => "check the limits of this process and machine".to_owned(),
        }
    }

    /// Whether nobody reads standard output any more, as after `| head`: then there is nothing more to do, and nothing wrong.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { cause } if cause.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// 2 for what the caller wrote wrong, 3 for what the machine refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::FileOf { error, .. } => error.exit_code(),
            Self::BadSetting { .. }
            | Self::BothSet { .. }
            | Self::UnknownSetting { .. }
            | Self::KeyMissing { .. }
            | Self::Refused(..)
            | Self::BadKey { .. }
            | Self::BadInventory { .. } => 2,
            Self::StoreEnded
            | Self::StoreLost(_)
            | Self::NoDatabase { .. }
            | Self::Unreadable { .. }
            | Self::NewerDatabase { .. }
            | Self::OlderDatabase { .. }
            | Self::ForeignDatabase { .. }
            | Self::DamagedLog { .. }
            | Self::CannotListen { .. }
            | Self::BadDatabase { .. }
            | Self::File { .. }
            | Self::Output { .. }
            | Self::TokensUnseen { .. }
            | Self::System { .. } => 3,
        }
    }
}
