//! Limits on what a caller may do: rates, budgets for failed requests, and turns. Pure except for locks; the time is a parameter.

mod failure_budget;
mod gcra;
mod network;
mod throttle;
mod turns;

pub use failure_budget::{AddressBudget, EXPENSIVE_FAILURES, FailureBudget, NEW_DEVICE_FAILURES};
pub use gcra::{Gcra, Rate};
pub use network::{network, network_of};
pub use throttle::Throttle;
pub use turns::Turns;
