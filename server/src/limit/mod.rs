//! Limits on what a caller may do: the table of all limits, what is in force, rates, budgets for failed requests, and turns. Pure
//! except for locks and counters; the time is a parameter.

/// About what a remembered subject takes, in bytes.
pub const SUBJECT_BYTES: usize = 90;

mod ceiling;
mod counters;
mod failure_budget;
mod gcra;
mod in_force;
mod jitter;
mod network;
mod overload;
mod table;
mod throttle;
mod turns;

pub use ceiling::Ceiling;
pub use counters::{Counters, Decided, FiredUntil};
pub use failure_budget::FailureBudget;
pub use gcra::{Gcra, Meter, Rate};
pub use in_force::{LimitValue, LimitValues, Limits, Source, Verdict};
pub use jitter::retry_after_s;
pub use network::{SitePrefixes, network, network_of};
pub use overload::{Class, InProgress, Overload};
pub use table::{LIMITS, Limit, Mode, Number, Spec, TABLE};
pub use throttle::Throttle;
pub use turns::Turns;
