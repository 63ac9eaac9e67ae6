//! What one run measures, keeps, writes and concludes: from ticks and the ledger to the summary.

pub mod event_log;
pub mod expect;
pub mod folder;
pub mod generator;
pub mod ledger;
pub mod live_metrics;
pub mod measure;
pub mod outages;
pub mod phase_recorder;
pub mod record;
pub mod run_events;
pub mod silence;
pub mod summary;
pub mod ticks;
pub mod total_failure;
