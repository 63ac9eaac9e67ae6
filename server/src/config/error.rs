//! Why the server did not start, and what to do about it.

use std::path::PathBuf;

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
        /// Why.
        why: String,
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

impl StartError {
    /// What to do, one sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::BadSetting { name, example, .. } => format!("set {name}={example}"),
            Self::BadKey { .. } => "give an Ed25519 key in PKCS#8 PEM; `ks-server keys generate` makes one".to_owned(),
            Self::CannotListen { .. } => {
                "stop what listens there, or set PORT to a free port (`ss -ltnp` shows who listens)".to_owned()
            }
            Self::BadDatabase { path, .. } => format!(
                "check that {} is a SQLite file of this program that you may write, restore it from a backup, or set DATABASE_URL=file:./data/new.sqlite",
                path.display()
            ),
            Self::File { path, cause, .. } if cause.kind() == std::io::ErrorKind::AlreadyExists => {
                format!("name another file: {} is kept, because a key that is lost can't be made again", path.display())
            }
            Self::File { path, .. } => format!("check that {} exists and that you may use it", path.display()),
            Self::BadInventory { .. } => "mend these lines and import the file again; nothing was imported".to_owned(),
            Self::System { .. } => "check the limits of this process and machine".to_owned(),
        }
    }

    /// 2 for what the caller wrote wrong, 3 for what the machine refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadSetting { .. } | Self::BadKey { .. } | Self::BadInventory { .. } => 2,
            Self::CannotListen { .. } | Self::BadDatabase { .. } | Self::File { .. } | Self::System { .. } => 3,
        }
    }
}
