//! The fleet simulator: thousands of virtual devices against the real backend.
//!
//! A scenario's way: [`scenario`] (raw -> checked -> plan) -> [`setup`] and [`drive`] (real time over sockets,
//! or virtual time in process) -> [`fleet`] and [`timeline`] -> [`conductor`] with [`measure`] and [`event_log`] -> [`expect`] and
//! [`summary`] -> the run folder, from which the report is drawn.
//!
//! Devices are strangers to the server: they speak the device protocol, the operator speaks the admin API, and there is
//! no third way in.

pub mod adversary;
pub mod by_phase;
pub mod cli;
pub mod conductor;
pub mod console;
pub mod device;
pub mod drive;
pub mod embedded;
pub mod event_log;
pub mod expect;
pub mod explain;
pub mod explore;
pub mod failure;

pub mod fleet;
pub mod folder;
pub mod known_settings;
pub mod ledger;
pub mod link;
pub mod measure;
pub mod nothing_held;
pub mod operator;
pub mod over_cores;
pub mod pages;
pub mod pairs;
pub mod promises;
pub mod record;
pub mod rollout_order;
pub mod rollout_watch;
pub mod scenario;
pub mod seed;
pub mod self_watch;
pub mod server_process;
pub mod setup;
pub mod shard;
pub mod summary;
pub mod temporary;
pub mod ticks;
pub mod timeline;
pub mod timer;
pub mod trials;
pub mod truth;
