//! The machine that a run takes place on: processes, cores, timers, memory and temporary files.

pub mod embedded;
pub mod parallel;
pub mod resources;
pub mod server_process;
pub mod server_samples;
pub mod temporary;
pub mod timer;
