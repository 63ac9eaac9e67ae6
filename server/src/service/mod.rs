//! What operators do to a fleet, whether by the admin API or by the command line, and what the server does by itself: no HTTP, no
//! arguments, no printing.

pub mod accounts;
pub mod audit;
pub mod background;
pub mod bulk;
pub mod commands;
pub mod devices;
pub mod inventory;
pub mod investigation;
pub mod keys;
pub mod logs;
pub mod names;
pub mod otrts;
pub mod presence;
pub mod releases;
pub mod rollouts;
pub mod scrub;
pub mod sheet;
