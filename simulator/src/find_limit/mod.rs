//! Finds the highest offered rate at which a scenario's expectations hold: one load run a step, each with another number of devices.

pub mod search;
