//! The fleet simulator: thousands of virtual devices against the real backend.
//!
//! The flow of a scenario: [`scenario`] (raw -> checked -> plan) -> [`setup`] and [`drive`] (real time over sockets,
//! or virtual time in process) -> [`fleet`] and [`timeline`] -> [`conductor`] -> [`run`] (measurements, event log, expectations,
//! summary) -> the run folder, from which the report is drawn.
//!
//! Devices share no code with the server: they speak the device protocol, the operator speaks the admin API, and there is
//! no other access.

pub mod adversary;
pub mod advise;
pub mod cli;
pub mod conductor;
pub mod console;
pub mod device;
pub mod drive;
pub mod explain;
pub mod explore;
pub mod failure;
pub mod find_limit;
pub mod fleet;
pub mod host;
pub mod invariants;
pub mod limits;
pub mod link;
mod number;
pub mod operator;
pub mod review;
pub mod run;
pub mod scenario;
pub mod scenario_settings;
pub mod seed;
pub mod segment;
pub mod server_under_test;
pub mod setup;
pub mod shard;
pub mod timeline;
pub mod trials;
