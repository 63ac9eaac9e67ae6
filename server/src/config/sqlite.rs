//! How the database's file is used.

/// How a SQLite file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteUse {
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// Who else may open it.
    pub locking: Locking,
}

impl SqliteUse {
    /// With others beside it.
    pub fn shared(synchronous: Synchronous) -> Self {
        Self { synchronous, locking: Locking::Shared }
    }
}

/// Who may open the database beside the process that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Other programs, such as the tools of this one: each transaction locks the file, and unlocks it.
    Shared,
    /// Nobody as long as it is open, which saves those system calls.
    Exclusive,
}

/// SQLite's `synchronous` setting: what a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// A power cut.
    Full,
    /// A crash of the process.
    Normal,
    /// Nothing; for rehearsals.
    Off,
}

impl Synchronous {
    /// The word that SQLite takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}
