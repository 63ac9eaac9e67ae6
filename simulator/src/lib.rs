//! The fleet simulator: thousands of virtual devices against the real backend.
//!
//! The flow of a scenario: [`scenario`] (raw -> checked -> plan) -> [`setup`] and [`drive`] (real time over sockets,
//! or virtual time in process) -> [`fleet`] and [`timeline`] -> [`conductor`] with [`measure`] and [`event_log`] -> [`expect`] and
//! [`summary`] -> the run folder, from which the report is drawn.
//!
//! Devices share no code with the server: they speak the device protocol, the operator speaks the admin API, and there is
//! no other access.

pub mod adversary;
pub mod advise;
pub mod by_device;
pub mod churn;
pub mod cli;
mod cohort_members;
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
pub mod phase_recorder;

pub mod find_limit;
pub mod fleet;
pub mod folder;
pub mod ground_truth;
pub mod invariants;
pub mod ledger;
pub mod limits;
pub mod link;
pub mod live_metrics;
pub mod measure;
mod number;
pub mod operator;
pub mod outages;
pub mod pages;
pub mod pairs;
pub mod parallel;
mod places;
pub mod record;
pub mod resources;
pub mod review;
pub mod revocations;
pub mod rollout_monitor;
pub mod rollout_order;
pub mod run_events;
pub mod scenario;
pub mod scenario_settings;
pub mod seed;
pub mod segment;
pub mod server_process;
pub mod server_samples;
pub mod setup;
pub mod shard;
pub mod silence;
pub mod summary;
pub mod temporary;
pub mod ticks;
pub mod timeline;
pub mod timer;
pub mod total_failure;
pub mod trials;
