//! Errors of the command line and of the server's start, each with a help text and an exit code.

mod database;

use std::{borrow::Cow, path::PathBuf};

pub use database::DatabaseFault;

use crate::{store::SCHEMA_VERSION, tls::TlsError};

/// `Display` says what is wrong and [`StartError::help`] how to fix it; the command line prints both and exits with
/// [`StartError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting or an argument has an invalid value.
    #[error("{name} is `{given}`, expected {expected}")]
    InvalidSetting {
        name: String,
        /// What was given; secrets are not shown.
        given: String,
        expected: String,
        example: String,
    },
    /// A name in the environment that can only be meant for this program, but is not a setting.
    #[error("{name} is set, but this program has no such setting")]
    UnknownSetting {
        name: String,
        /// The setting with the nearest name.
        nearest: &'static str,
    },
    /// The file that a setting names can't be used.
    #[error("{name}: {error}")]
    FileOf {
        name: &'static str,
        /// What is wrong with the file.
        error: Box<StartError>,
    },
    /// Two settings say the same thing.
    #[error("{one} and {other} are both set")]
    BothSet { one: &'static str, other: &'static str },
    /// The server has a fleet already, but no key that the fleet knows.
    #[error("no signing key is given, but the database {database} has devices: they would not trust a new key")]
    KeyMissing { database: PathBuf },
    /// The command does not fit its arguments or the current state of keys, a release or a rollout. With its help text.
    #[error("{0}")]
    Refused(String, Cow<'static, str>),
    /// The store's thread ended while the server ran.
    #[error("the store has stopped, so nothing can be stored")]
    StoreEnded,
    /// The database was moved, replaced or found damaged while the server ran.
    #[error("the server has stopped because its database is not intact: {0}")]
    StoreLost(String),
    /// A key can't be read.
    #[error("the key in {place} can't be used: {why}")]
    InvalidKey {
        /// File or setting.
        place: String,
        why: String,
    },
    /// The address or port can't be used.
    #[error("cannot listen on {address}: {cause}")]
    CannotListen { address: String, cause: std::io::Error },
    /// The listener's certificate can't be used.
    #[error("TLS_CERT_FILE and TLS_KEY_FILE: {0}")]
    Tls(#[from] TlsError),
    /// The database can't be used.
    #[error("the database {path} can't be used: {why}")]
    UnusableDatabase {
        path: PathBuf,
        /// The kind of fault, which decides the help text.
        fault: DatabaseFault,
        why: String,
    },
    /// There is no database at this path, and the command does not create one.
    #[error("there is no database at {path}{is_empty}")]
    NoDatabase {
        path: PathBuf,
        /// `: the file is empty`, if there is one.
        is_empty: &'static str,
    },
    /// A database can't be read in place.
    #[error("the database {path} can't be read: {why}")]
    Unreadable { path: PathBuf, why: String, help: String },
    /// The database was written by a newer program.
    #[error("the database {path} has schema version {found}, but this program only supports up to {SCHEMA_VERSION}")]
    NewerDatabase { path: PathBuf, found: i64 },
    /// The database was written by an older program, and this command must not migrate it.
    #[error("the database {path} has schema version {found}, but this program needs {SCHEMA_VERSION}")]
    OlderDatabase { path: PathBuf, found: i64 },
    /// The database belongs to another program.
    #[error("the database {path} belongs to another program: it has a table `{table}`")]
    ForeignDatabase { path: PathBuf, table: String },
    /// The database's write-ahead log is damaged.
    #[error("the database {path} can't be used: {damage}")]
    DamagedLog { path: PathBuf, damage: String },
    /// A file can't be read or written.
    #[error("cannot {what} {path}: {cause}")]
    File {
        /// `read`, `write`, `create`.
        what: &'static str,
        path: PathBuf,
        cause: std::io::Error,
    },
    /// Standard output can't be written.
    #[error("cannot write to standard output: {cause}")]
    Output { cause: std::io::Error },
    /// New tokens could not be shown, and were revoked.
    #[error("the new tokens could not be shown, so they were revoked: {cause}")]
    TokensNotShown { cause: std::io::Error },
    /// An inventory has invalid rows; nothing was imported.
    #[error("{path}: {problems}")]
    InvalidInventory {
        path: PathBuf,
        /// Every invalid row, one per line.
        problems: String,
    },
    /// Another error of the operating system.
    #[error("cannot {what}: {cause}")]
    System { what: &'static str, cause: std::io::Error },
}

/// The help when standard output can't be written; the beginning of a sentence.
pub fn output_help(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "free space where standard output goes",
        std::io::ErrorKind::BrokenPipe => "keep the reader of standard output running until it has read everything",
        _ => "redirect standard output to a terminal, a file or a pipe that can be written",
    }
}

impl StartError {
    /// What is refused, and its help text.
    pub fn refused(what: impl Into<String>, help: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(what.into(), help.into())
    }

    /// There is no database at this path, or an empty file.
    pub fn no_database(path: &std::path::Path) -> Self {
        let is_empty = if path.exists() { ": the file is empty" } else { "" };
        Self::NoDatabase { path: std::path::absolute(path).unwrap_or(path.to_owned()), is_empty }
    }

    /// The same error, for a file that this setting names.
    #[must_use]
    pub fn of(self, name: &'static str) -> Self {
        Self::FileOf { name, error: Box::new(self) }
    }

    /// How to fix it, one sentence.
    pub fn help(&self) -> String {
        match self {
            Self::FileOf { error, .. } => error.help(),
            Self::InvalidSetting { name, example, .. } => format!("set {name}={example}"),
            Self::UnknownSetting { name, nearest } => {
                format!("did you mean {nearest}? If not, unset {name}; `ks-server serve --help` lists all settings")
            }
            Self::BothSet { .. } => "unset one of them".to_owned(),
            Self::KeyMissing { .. } => {
                "set SERVER_PRIVATE_KEY_FILE (or SERVER_PRIVATE_KEY) to the key that the devices know, or put the development key back next to the database; if no device has one yet, create it with `ks-server keys generate --out FILE`".to_owned()
            }
            Self::Refused(_, help) => help.clone().into_owned(),
            Self::StoreLost(_) => "no request was answered since then, and the files are unchanged: copy the database, its -wal and its -shm before anything else opens them".to_owned(),
            Self::StoreEnded => "see the log, fix the cause and restart the server".to_owned(),
            Self::InvalidKey { .. } => "give an Ed25519 key in PKCS#8 PEM; `ks-server keys generate` creates one".to_owned(),
            Self::CannotListen { .. } => {
                "stop the program that listens there, or set PORT to a free port (`ss -ltnp` shows which program listens)".to_owned()
            }
            Self::Tls(error) => error.help().to_owned(),
            Self::UnusableDatabase { path, fault, .. } => fault.help(path),
            Self::NoDatabase { .. } => {
                "set DATABASE_URL to the server's database; to begin a new one, run `ks-server migrate` first".to_owned()
            }
            Self::Unreadable { help, .. } => help.clone(),
            Self::NewerDatabase { .. } => "use the newer version of the program, or restore the backup from before the upgrade".to_owned(),
            Self::OlderDatabase { .. } => {
                "stop the server, run `ks-server migrate`, then start the new server and try again".to_owned()
            }
            Self::ForeignDatabase { .. } => "set DATABASE_URL to the fleet's own database; if there is no file at its path, `serve` and `migrate` create an empty one".to_owned(),
            Self::DamagedLog { .. } => {
                "restore the database and its log from a backup; to continue without the data that is only in the log, move the log away (keep it)".to_owned()
            }
            Self::File { what: "write", path, cause } if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                format!("choose another file: {} is not overwritten, because a lost key can't be recreated", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::IsADirectory => {
                format!("give a file: {} is a folder", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => {
                format!("free space on the disk of {}", path.display())
            }
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::AlreadyExists && path.is_file() => {
                format!("choose another file: {} exists already, and is not overwritten", path.display())
            }
            Self::File { path, cause, .. }
                if matches!(cause.kind(), std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists) =>
            {
                format!("choose another path: a part of {} is a file, not a folder", path.display())
            }
            Self::File { path, .. } => format!("check that {} exists and that you have access to it", path.display()),
            Self::Output { cause } => {
                let first = output_help(cause);
                format!("{first}; changes that the command made remain, so check before you run it again")
            }
            Self::TokensNotShown { cause } => format!("{}, and run it again", output_help(cause)),
            Self::InvalidInventory { .. } => "fix these lines and import the file again; nothing was imported".to_owned(),
            Self::System { .. } => "check the limits of this process and machine".to_owned(),
        }
    }

    /// Whether the reader of standard output has closed it, as after `| head`: then the command just ends, without an error.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { cause } if cause.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// 2 for invalid arguments and settings, 3 for errors of the system.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::FileOf { error, .. } => error.exit_code(),
            Self::InvalidSetting { .. }
            | Self::BothSet { .. }
            | Self::UnknownSetting { .. }
            | Self::KeyMissing { .. }
            | Self::Refused(..)
            | Self::InvalidKey { .. }
            | Self::Tls(TlsError::Missing { .. } | TlsError::Unusable { .. })
            | Self::InvalidInventory { .. } => 2,
            Self::StoreEnded
            | Self::StoreLost(_)
            | Self::NoDatabase { .. }
            | Self::Unreadable { .. }
            | Self::NewerDatabase { .. }
            | Self::OlderDatabase { .. }
            | Self::ForeignDatabase { .. }
            | Self::DamagedLog { .. }
            | Self::CannotListen { .. }
            | Self::Tls(TlsError::File { .. })
            | Self::UnusableDatabase { .. }
            | Self::File { .. }
            | Self::Output { .. }
            | Self::TokensNotShown { .. }
            | Self::System { .. } => 3,
        }
    }
}
