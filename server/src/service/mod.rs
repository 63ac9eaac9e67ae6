//! The operations behind the admin API and the command line, and the server's background work: no HTTP, no argument parsing, no
//! printing.

pub mod accounts;
pub mod audit;
pub mod background;
pub mod bulk;
pub mod commands;
pub mod csv;
pub mod devices;
pub mod inventory;
pub mod investigation;
pub mod keys;
pub mod limits;
pub mod logs;
pub mod names;
pub mod otrts;
pub mod presence;
pub mod releases;
pub mod rollouts;
pub mod scrub;
