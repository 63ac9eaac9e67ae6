//! Limits on what a caller may do: the table of all limits, what is in force, rates, budgets for failed requests, and turns. Pure
//! except for locks and counters; the time is a parameter.

/// At most what a remembered address, network or token takes, in bytes: its key and its budget, in a node of a map that is half full.
pub const SUBJECT_BYTES: usize = 90;
/// The same of a subject with a name, of at most 64 bytes.
pub const NAMED_BYTES: usize = 256;

mod ceiling;
mod counters;
mod failure_budget;
mod gcra;
mod in_force;
mod jitter;
mod most_refused;
mod network;
mod overload;
mod table;
mod throttle;
mod turns;

pub use ceiling::Ceiling;
pub use counters::{Counters, FiredCounts, LimitCounts};
pub use failure_budget::FailureBudget;
pub use gcra::{Gcra, Meter, Rate};
pub use in_force::{LimitValue, LimitValues, Limits, Source, Verdict};
pub use jitter::retry_after_s;
pub use most_refused::{Refused, RefusedLists, Requester};
pub use network::{SitePrefixes, network, network_of};
pub use overload::{Class, InProgress, Overload};
pub use table::{LIMITS, Limit, Mode, Number, Spec, TABLE};
pub use throttle::Throttle;
pub use turns::Turns;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Bytes for each entry of a map of which every node is as empty as it may be: 5 of 11 places, and 6 of 12 children. A node has a
    /// pointer to its parent and two numbers of 16 bits; an allocation takes 16 bytes more.
    fn in_a_map<K>(on_heap: usize) -> usize {
        let leaf = 11 * (size_of::<K>() + size_of::<Gcra>()) + 8 + 4 + 16;
        let inner = leaf + 12 * 8;
        (leaf + inner / 6).div_ceil(5) + on_heap
    }

    #[test]
    fn a_subject_takes_no_more_than_is_reported() {
        assert!(in_a_map::<IpAddr>(0) <= SUBJECT_BYTES, "{}", in_a_map::<IpAddr>(0));
        assert!(in_a_map::<i64>(0) <= SUBJECT_BYTES);
        let (name, login) = (in_a_map::<String>(64 + 16), in_a_map::<(String, IpAddr)>(64 + 16));
        assert!(name.max(login) <= NAMED_BYTES, "{name} {login}");
    }
}
