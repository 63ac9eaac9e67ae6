//! How much anyone may do: rates, budgets for failing, and turns. Pure but for locks; the time is given.

mod failure_budget;
mod gcra;
mod network;
mod throttle;
mod turns;

pub use failure_budget::{AddressBudget, DEAR_FAILURES, FailureBudget, NEWCOMERS_DOUBTS};
pub use gcra::{Gcra, Rate};
pub use network::{Network, network_of};
pub use throttle::Throttle;
pub use turns::Turns;
