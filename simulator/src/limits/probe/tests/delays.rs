//! Goal: a server that does what it declares is never called different, whatever its values and the delays on the way; faults are found.
//! Method: seeded random limits and delays; a GCRA by its theoretical arrival time in microseconds, written here; virtual time.

use std::{collections::BTreeMap, time::Duration};

use ks_server::limit::Limit;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::super::{
    ProbeBounds, Probed, Subject,
    evidence::DeclaredLimits,
    fit::Gcra,
    judged,
    record::{Attempt, Caller, CallerKind, Outcome, record},
};
use crate::seed;

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It gives back this many times what it declares, in hundredths.
    Rate(u64),
    Burst(u64),
    /// All who call share one budget.
    OneForAll,
    /// A device has a budget at each address.
    OfEachAddress,
    /// `retry_after_s` is so many hundredths of the wait.
    Wait(u64),
    NoWait,
    Unsigned,
}

/// A server with one limit, behind a network with delays of up to `delay_us` each way.
struct Far {
    limit: Limit,
    per_min: u64,
    burst: u64,
    fault: Fault,
    delay_us: u64,
    draws: ChaCha8Rng,
    started: Instant,
    /// When the next call of each budget is due in theory, in nanoseconds.
    due_ns: BTreeMap<u64, u64>,
}

impl Far {
    fn budget_of(&self, by: CallerKind) -> u64 {
        match (self.fault, self.limit, by) {
            (Fault::OneForAll, ..) | (_, _, CallerKind::Own) => 0,
            (_, _, CallerKind::OtherDevice) => 1,
            (Fault::OfEachAddress, Limit::DeviceRequests, CallerKind::Elsewhere) => 2,
            (_, Limit::DeviceRequests, _) => 0,
            (_, _, CallerKind::Neighbor) => 3,
            (_, _, CallerKind::Elsewhere) => 4,
        }
    }

    /// The wait in nanoseconds; none if the call comes through, and is charged.
    fn decides(&mut self, budget: u64, now_ns: u64) -> Option<u64> {
        let part = |value: u64, hundredths: u64| (value * hundredths / 100).max(1);
        let (per_min, burst) = match self.fault {
            Fault::Rate(hundredths) => (part(self.per_min, hundredths), self.burst),
            Fault::Burst(hundredths) => (self.per_min, part(self.burst, hundredths)),
            _ => (self.per_min, self.burst),
        };
        let interval_ns = 60_000_000_000 / per_min;
        let due_ns = self.due_ns.entry(budget).or_insert(0);
        let wait_ns = due_ns.saturating_sub(interval_ns * (burst - 1)).saturating_sub(now_ns);
        if wait_ns > 0 {
            return Some(wait_ns);
        }
        *due_ns = (*due_ns).max(now_ns) + interval_ns;
        None
    }

    fn asked_s(&mut self, wait_ns: u64) -> Option<u64> {
        let least_s = wait_ns.div_ceil(1_000_000_000).max(1);
        match self.fault {
            Fault::NoWait => None,
            Fault::Wait(hundredths) => Some((least_s * hundredths / 100).max(1)),
            _ => Some(least_s + seed::below(&mut self.draws, (least_s / 4).clamp(1, 60) + 1)),
        }
    }
}

impl Caller for Far {
    async fn call(&mut self, by: CallerKind) -> Result<Outcome, String> {
        let [there_us, back_us] = [0; 2].map(|_: u64| 200 + seed::below(&mut self.draws, self.delay_us + 1));
        tokio::time::sleep(Duration::from_micros(there_us)).await;
        let now_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        let wait_ns = self.decides(self.budget_of(by), now_ns);
        tokio::time::sleep(Duration::from_micros(back_us)).await;
        let is_signed = self.fault != Fault::Unsigned;
        Ok(wait_ns
            .map_or(Outcome::Admitted, |wait_ns| Outcome::Refused { retry_after_s: self.asked_s(wait_ns), is_signed }))
    }

    fn others(&self) -> Vec<CallerKind> {
        match self.limit {
            Limit::DeviceRequests => vec![CallerKind::OtherDevice, CallerKind::Elsewhere],
            _ => vec![CallerKind::OtherDevice, CallerKind::Neighbor, CallerKind::Elsewhere],
        }
    }
}

/// What a probe finds at such a server; the other device has registered a moment before, and the address may have failed before.
async fn probed(mut server: Far, is_fresh: bool) -> Probed {
    let declared = Gcra { per_min: server.per_min as f64, burst: server.burst as f64 };
    let known = DeclaredLimits {
        limit: server.limit,
        declared: Some(declared),
        of_devices: Some(declared),
        owed_max: if is_fresh { 0.0 } else { f64::INFINITY },
        owed_max_of_other_device: 1.0,
    };
    let other = server.budget_of(CallerKind::OtherDevice);
    if other != 0 {
        server.decides(other, 0);
    }
    if !is_fresh {
        for _ in 0..seed::below(&mut server.draws, server.burst.min(2_000) + 1) {
            server.decides(0, 0);
        }
    }
    let bounds = ProbeBounds { budget: Duration::from_mins(2), calls_max: 600 };
    let mut attempts: Vec<Attempt> = Vec::new();
    record(&mut server, bounds, &mut attempts).await.unwrap();
    judged(&attempts, &known, "enforce")
}

fn server(limit: Limit, (per_min, burst): (u64, u64), fault: Fault, (delay_us, number): (u64, u64)) -> Far {
    let draws = seed::stream(number, "a server", "delays");
    Far { limit, per_min, burst, fault, delay_us, draws, started: Instant::now(), due_ns: BTreeMap::new() }
}

/// A number from 1 to `most`, each magnitude as often.
fn drawn(draws: &mut ChaCha8Rng, most: u64) -> u64 {
    let bits = 64 - u64::from(most.leading_zeros());
    let below = 1 << seed::below(draws, bits + 1);
    (1 + seed::below(draws, below)).min(most)
}

/// Goal: never a false difference: any values of the documented ranges, any delays up to 200 ms each way, budgets whole or not.
#[tokio::test(start_paused = true)]
async fn a_correct_server_never_differs() {
    let mut known = 0;
    for number in 0..400 {
        let mut draws = seed::stream(number, "a server", "values");
        let values = (drawn(&mut draws, 60_000_000), drawn(&mut draws, 1_000_000));
        let limit = if seed::below(&mut draws, 2) == 0 { Limit::DeviceRequests } else { Limit::AddressFailures };
        let delay_us = drawn(&mut draws, 200_000);
        let is_fresh = limit == Limit::DeviceRequests || seed::below(&mut draws, 2) == 0;
        let found = probed(server(limit, values, Fault::None, (delay_us, number)), is_fresh).await;
        let what = format!("{number}: {values:?}, {delay_us} us, {found:#?}");
        assert!(found.comparison.differences.is_empty(), "{what}");
        known += u64::from(found.comparison.unknown.is_empty());
    }
    assert!(known > 40, "only {known} were measured at all");
}

/// Goal: each kind of fault is found, at a server near by and at one 50 ms away.
#[tokio::test(start_paused = true)]
async fn faults_are_found() {
    use Fault as F;
    let faults = [
        F::Rate(50),
        F::Rate(80),
        F::Rate(125),
        F::Rate(200),
        F::Burst(50),
        F::Burst(150),
        F::OneForAll,
        F::Wait(50),
        F::Wait(300),
        F::NoWait,
        F::Unsigned,
    ];
    for (fault, limit, delay_us) in faults.into_iter().flat_map(|fault| {
        [Limit::DeviceRequests, Limit::AddressFailures]
            .into_iter()
            .flat_map(move |limit| [300, 25_000].map(|delay_us| (fault, limit, delay_us)))
    }) {
        let found = probed(server(limit, (12, 10), fault, (delay_us, 7)), true).await;
        assert!(!found.comparison.differences.is_empty(), "{fault:?} {limit:?} {delay_us} us: {found:#?}");
        let correct = probed(server(limit, (12, 10), F::None, (delay_us, 7)), true).await;
        assert_eq!(correct.comparison, super::Comparison::default(), "{limit:?} {delay_us} us: {correct:#?}");
    }
    let apart = probed(server(Limit::DeviceRequests, (12, 10), F::OfEachAddress, (300, 7)), true).await;
    assert_eq!(apart.subject, Subject::DeviceAndAddress, "{apart:#?}");
    assert!(apart.comparison.differences[0].contains("of the device and address"), "{apart:#?}");
}

/// Goal: a limit with a burst of one is not taken for the server's because the other device's registration used its own.
#[tokio::test(start_paused = true)]
async fn a_burst_of_one_is_no_difference() {
    for limit in [Limit::DeviceRequests, Limit::AddressFailures] {
        for per_min in [1, 2, 6, 60] {
            let found = probed(server(limit, (per_min, 1), Fault::None, (1_000, 3)), true).await;
            assert!(found.comparison.differences.is_empty(), "{found:#?}");
            assert_ne!(found.honest_device_is_served, Some(false), "{found:#?}");
        }
    }
}

/// Goal: a budget that was not full is recognized, and the answer says how long to wait.
#[tokio::test(start_paused = true)]
async fn a_budget_that_was_not_whole_is_no_difference() {
    let mut used = server(Limit::AddressFailures, (120, 120), Fault::None, (500, 5));
    for _ in 0..110 {
        used.decides(0, 0);
    }
    let known = DeclaredLimits { owed_max: f64::INFINITY, limit: Limit::AddressFailures, ..super::known(120, 120) };
    let bounds = ProbeBounds { budget: Duration::from_mins(2), calls_max: 600 };
    let mut attempts = Vec::new();
    record(&mut used, bounds, &mut attempts).await.unwrap();
    let found = judged(&attempts, &known, "enforce").comparison;
    assert_eq!(found.differences, [""; 0]);
    assert!(found.unknown[0].contains("was not full") && found.unknown[0].contains("60 s"), "{found:#?}");
    let whole = DeclaredLimits { owed_max: 0.0, ..known };
    assert!(!judged(&attempts, &whole, "enforce").comparison.differences.is_empty(), "of a whole one it would be one");
}

/// Goal: refusals by another limit are named, and are no difference.
#[tokio::test(start_paused = true)]
async fn another_limit_in_the_way_is_named() {
    let refused = |number: u64| Attempt {
        by: CallerKind::Own,
        sent_us: number * 10_000,
        answered_us: number * 10_000 + 900,
        outcome: if number < 5 { Outcome::Admitted } else { Outcome::OtherLimit("all_requests") },
    };
    let attempts: Vec<Attempt> = (0..60).map(refused).collect();
    let found = judged(&attempts, &super::known(120, 30), "enforce").comparison;
    assert_eq!(found.differences, [""; 0]);
    assert!(found.unknown[0].starts_with("55 refusals of another limit (all_requests) came first"), "{found:?}");
}
