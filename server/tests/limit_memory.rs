//! What the counters of the limits take in memory, counted by the allocator. A program of its own
//! without a test harness, whose threads allocate too.

use std::{
    alloc::System,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ks_server::limit::{Counters, LIMITS, LimitValues, Limits, Requester, TABLE, Verdict};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// For each limit, as docs/rate-limits.md says.
const BYTES_EACH: usize = 6_400;

/// Goal: the counters, and the callers that limits have refused most, take no more than is reported and than the documentation says.
/// Method: each limit refuses 1,000 devices with the longest names at 1,000 addresses, more than it lists.
fn main() {
    let names: Vec<String> = (0..1_000).map(|number| format!("{number:064}")).collect();
    let heap = Region::new(HEAP);
    let limits = Limits::new(&LimitValues::default(), Arc::new(Counters::default()));
    for spec in TABLE {
        for (number, name) in (0_u16..).zip(&names) {
            let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, 1));
            limits.count(spec.limit, Requester::device(address, name), Verdict::Refused(1), u64::from(number));
        }
    }
    let change = heap.change();
    let counted = change.bytes_allocated - change.bytes_deallocated;
    let reported = limits.counters().bytes();
    for spec in TABLE {
        let (addresses, devices) = limits.counters().most_refused(spec.limit);
        assert_eq!((addresses.len(), devices.len()), (16, 16), "{:?}", spec.limit);
    }
    assert!(counted <= reported, "{counted} counted, {reported} reported");
    assert!(reported <= LIMITS * BYTES_EACH, "{} reported for each", reported / LIMITS);
}
