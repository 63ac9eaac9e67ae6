//! The host that `ks-fleet` runs on: cores, real time, timers, memory, temporary files.

pub mod no_link;
pub mod parallel;
pub mod resources;
pub mod stopwatch;
pub mod temporary;
pub mod timer;
