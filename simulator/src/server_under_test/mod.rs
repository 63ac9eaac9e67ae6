//! The server that a run tests: started as a process of its own, stopped and restarted, and observed.

pub mod embedded;
pub mod process;
pub mod samples;
