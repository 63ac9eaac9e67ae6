//! A virtual device: [`machine`] holds its state, [`exchange`] builds requests and applies answers (both pure), [`actor`] decides when.

pub mod actor;
pub mod backoff;
pub mod commands;
pub mod exchange;
pub mod fate;
pub mod firmware;
pub mod log_lines;
pub mod machine;
pub mod pending;
pub mod punches;
pub mod replay_pairs;
