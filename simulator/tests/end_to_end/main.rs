//! The simulator from outside: the real executable, whole runs, and the documents. One program, so that it is linked once; one file a topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod closed_sites;
mod docs;
mod documents;
mod event_log;
mod find_limit;
mod firmware_attacks;
mod hostile_targets;
mod limits;
mod limits_after_failures;
mod limits_and_reactions;
mod limits_probe;
mod load_runs;
mod numbers;
mod planned_rehearsal;
mod reactions;
mod recovery;
mod rehearsal_repeats;
mod review;
mod review_endings;
mod review_of_several;
mod segments;
mod support;
mod tls;
mod trials_and_exploring;
mod trials_that_go_on;
