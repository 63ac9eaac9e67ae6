//! How the database file is used.

/// How a SQLite file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteUse {
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// Who else may open it.
    pub locking: Locking,
}

impl SqliteUse {
    /// Shared with other processes.
    pub fn shared(synchronous: Synchronous) -> Self {
        Self { synchronous, locking: Locking::Shared }
    }
}

/// Whether other processes may open the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// They may, such as commands of this program: each transaction locks and unlocks the file.
    Shared,
    /// They may not while it is open, which saves those system calls.
    Exclusive,
    /// As exclusive, in a folder that only this process knows: whether the files stay in place is checked now and then. For rehearsals.
    Private,
}

/// SQLite's `synchronous` setting: what a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A power failure.
    Full,
    /// A crash of the process.
    Normal,
    /// Nothing; for rehearsals.
    Off,
}

impl Synchronous {
    /// SQLite's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}
