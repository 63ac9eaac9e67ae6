//! A virtual device: [`machine`] is who it is, [`exchange`] what it says and takes from answers (both pure), [`actor`] when.

pub mod actor;
pub mod backoff;
pub mod commands;
pub mod exchange;
pub mod firmware;
pub mod log_lines;
pub mod machine;
pub mod punches;
pub mod waits;
