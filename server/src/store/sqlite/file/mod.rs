//! The database as files: opening it, its settings and its log, and what makes it unusable.

pub(in crate::store::sqlite) mod connection;
pub(in crate::store::sqlite) mod integrity;
pub(crate) mod place;
pub(in crate::store::sqlite) mod read_in_place;
pub(in crate::store::sqlite) mod refusal;
pub(in crate::store::sqlite) mod wal;
pub(crate) mod write_access;
