//! A random walk: the chance that firmware which breaks a share of the devices gets through gates that are judged at every
//! evaluation.
//!
//! The walk follows outcomes one by one, with the chance of each number of failures. Numbers at which a gate FAILs are removed
//! immediately, as in [`super::step`]; at the end of a stage so are those at which a gate does not PASS. The sum of what remains is
//! the chance. It is exact except for the rounding of f64, and uses only sums and products: the same on every machine.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    gate::{Test, Verdict, verdict},
    policy::{Gate, WHOLE_BP},
    stage::cumulative,
};

/// The most devices that are followed, to keep a plan quick; later ones are ignored.
const FOLLOWED_MAX: u32 = 100_000;
/// Smaller chances are ignored. All that a walk ignores together is below a hundred-thousandth of a basis point.
const NEGLIGIBLE: f64 = 1e-15;

/// Verdicts needed, for each number of failures, to find from how many devices on it is not a FAIL.
const VERDICTS_PER_FAILURE: u64 = 4;
/// The work of a term of a binomial sum, in steps of a walk.
const TERM_WORK: u64 = 120;
/// The other work of a verdict, in the same steps.
const VERDICT_WORK: u64 = 800;

/// The chance that firmware is promoted past the first stage, the first two and so on, if each device of a group fails with a
/// chance of `failing` (0 to 1): the chance that this gate alone stops it at none of them. `added` are the devices that each stage
/// adds to the group.
pub fn promoted(gate: &Gate, added: &[u32], failing: f64, order: Order) -> Vec<f64> {
    let gates = [gate];
    let mut walk = Walk::new(&gates);
    walk.of(added);
    walk.through_at(failing.clamp(0.0, 1.0), order)
}

/// The order in which the outcomes of a stage arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Failures arrive immediately, confirmations `in_flight_max` devices later: the worst order with that many in flight.
    FailuresFirst {
        /// The most updates in flight at a time.
        in_flight_max: u32,
    },
    /// Failures are spread randomly among confirmations, with an evaluation after each outcome.
    Mixed,
    /// Failures arrive last, or there is no evaluation until the stage ends: the best order for the firmware.
    FailuresLast,
}

/// The end of a stage.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Devices that have an outcome by then.
    devices: u32,
    /// The least number of failures that is stopped.
    stopped: u32,
}

/// The walk of groups of devices, one after the other, through the gates that judge them.
pub(super) struct Walk<'a> {
    gates: &'a [&'a Gate],
    ends: Vec<End>,
    /// By the devices of a group at a stage's end: the least number of failures that is stopped.
    stopped: BTreeMap<u32, u32>,
    /// For each number of failures, computed on demand: the least number of executed devices at which it is not a FAIL.
    no_fail_from: Vec<u32>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(gates: &'a [&'a Gate]) -> Self {
        Self { gates, ends: Vec::new(), stopped: BTreeMap::new(), no_fail_from: vec![0] }
    }

    /// Continues with a group to which each stage adds this many devices.
    pub(super) fn of(&mut self, added: &[u32]) {
        let (gates, mut devices) = (self.gates, 0_u32);
        let stopped = &mut self.stopped;
        let ends = added.iter().map(|added| {
            devices = devices.saturating_add(*added);
            let followed = devices.min(FOLLOWED_MAX);
            let is_stopped = |failed| gates.iter().any(|gate| is_stopped(gate, failed, followed, devices));
            let stopped = *stopped.entry(devices).or_insert_with(|| {
                // A verdict on few failures is cheaper than one on many.
                let reach =
                    (0..u32::BITS - followed.leading_zeros()).map(|bits| 1 << bits).find(|few| is_stopped(*few));
                first(reach.unwrap_or(followed).min(followed), is_stopped)
            });
            End { devices: followed, stopped }
        });
        self.ends = ends.collect();
    }

    /// The rates, from the lowest, whose walks of all these groups need at most `most` work.
    pub(super) fn affordable<'r>(&self, groups: &BTreeSet<&Vec<u32>>, rates_bp: &'r [u16], most: u64) -> &'r [u16] {
        let of_group = |added: &&Vec<u32>, bug_bp| 3 * self.work(added, bug_bp);
        let largest = groups.iter().map(|added| followed(added)).max().unwrap_or(0);
        let ends: BTreeSet<u32> = groups.iter().flat_map(|added| cumulative(added)).collect();
        let of_ends = ends.into_iter().map(|devices| self.work_of_an_end(devices.min(FOLLOWED_MAX)));
        let mut work = of_ends.fold(0, u64::saturating_add);
        let is_affordable = |bug_bp: &&u16| {
            let walks = groups.iter().map(|added| of_group(added, **bug_bp)).fold(0, u64::saturating_add);
            work = work.saturating_add(walks);
            work.saturating_add(self.work_of_verdicts(largest, **bug_bp)) <= most
        };
        let affordable = rates_bp.iter().take_while(is_affordable).count();
        rates_bp.get(..affordable).unwrap_or_default()
    }

    /// The approximate work of one walk of a group without the verdicts, in steps of one chance.
    pub(super) fn work(&self, added: &[u32], bug_bp: u16) -> u64 {
        let devices = followed(added);
        let least = self.failures_most(devices);
        // By then this many failures are nearly certain, and end the walk.
        let last = (least + 8 * (least + 1).isqrt() + 64) * u64::from(WHOLE_BP) / u64::from(bug_bp.max(1));
        let walked = devices.min(last);
        let band = (16 * (walked * u64::from(bug_bp) / u64::from(WHOLE_BP)).isqrt() + 16).min(least + 1);
        let stages = u64::try_from(added.len()).unwrap_or(u64::MAX);
        walked * (band + 16) + 20 * stages + 200
    }

    /// Approximately the most failures of this many devices that no gate stops.
    fn failures_most(&self, devices: u64) -> u64 {
        let of_gate = |gate: &&Gate| {
            let bp = match gate.test {
                Test::Sprt { p1_bp, .. } => p1_bp,
                _ => gate.threshold_bp,
            };
            devices * u64::from(bp) / u64::from(WHOLE_BP)
        };
        let most = self.gates.iter().map(of_gate).min().unwrap_or(devices);
        (most + 4 * most.isqrt() + 16).min(devices)
    }

    /// The approximate work of all verdicts in a walk, in the same steps.
    fn work_of_verdicts(&self, devices: u64, bug_bp: u16) -> u64 {
        let expected = devices * u64::from(bug_bp) / u64::from(WHOLE_BP);
        let failures = (expected + 8 * expected.isqrt() + 16).min(self.failures_most(devices));
        let verdicts = failures * VERDICTS_PER_FAILURE;
        self.sums() * verdicts * failures / 2 * TERM_WORK
            + u64::try_from(self.gates.len()).unwrap_or(0) * verdicts * VERDICT_WORK
    }

    /// The same for the end of a stage.
    fn work_of_an_end(&self, devices: u32) -> u64 {
        let most = self.failures_most(devices.into());
        let asked = u64::from(u32::BITS - devices.leading_zeros());
        self.sums() * asked * most * TERM_WORK + u64::try_from(self.gates.len()).unwrap_or(0) * 2 * asked * VERDICT_WORK
    }

    /// How many gates sum a term for each failure.
    fn sums(&self) -> u64 {
        let sums = self.gates.iter().filter(|gate| matches!(gate.test, Test::ClopperPearson { .. })).count();
        u64::try_from(sums).unwrap_or(u64::MAX)
    }

    /// The chance to get through the first stage, the first two and so on, if each device fails with a chance of `bug_bp`.
    pub(super) fn through(&mut self, bug_bp: u16, order: Order) -> Vec<f64> {
        self.through_at(share(bug_bp.min(WHOLE_BP)), order)
    }

    /// The same for a chance from 0 to 1.
    fn through_at(&mut self, bug: f64, order: Order) -> Vec<f64> {
        let well = 1.0 - bug;
        let mut surviving = Surviving::new();
        let (mut cut, mut before) = (0, 0);
        let mut chances = Vec::with_capacity(self.ends.len());
        for End { devices, stopped } in self.ends.clone() {
            for device in before + 1..=devices {
                if surviving.is_empty() {
                    break;
                }
                surviving.add_outcome(bug, well);
                surviving.stop_from(stopped);
                let executed = match order {
                    // Of the devices started in this stage, all but those in flight have an outcome.
                    Order::FailuresFirst { in_flight_max } => before + (device - before).saturating_sub(in_flight_max),
                    Order::Mixed => device,
                    Order::FailuresLast => continue,
                };
                while cut <= surviving.most() && self.no_fail_from(cut) <= executed {
                    cut += 1;
                }
                surviving.stop_from(cut);
            }
            surviving.stop_from(stopped);
            chances.push(surviving.all());
            before = devices;
        }
        chances
    }

    /// The least number of executed devices, all that failed among them, at which this many failures are not a FAIL.
    fn no_fail_from(&mut self, failed: u32) -> u32 {
        let at = usize::try_from(failed).unwrap_or(usize::MAX);
        while self.no_fail_from.len() <= at {
            let failed = u32::try_from(self.no_fail_from.len()).unwrap_or(u32::MAX);
            // Each further failure needs about as many more devices as the one before.
            let mut last_two = self.no_fail_from.iter().rev().copied();
            let last = last_two.next().unwrap_or(0);
            let step = last - last_two.next().unwrap_or(last);
            self.no_fail_from.push(self.search_no_fail(failed, last, step));
        }
        self.no_fail_from.get(at).copied().unwrap_or(u32::MAX)
    }

    /// The same, known to be `least` or more, and expected to be about `step` more.
    fn search_no_fail(&self, failed: u32, least: u32, step: u32) -> u32 {
        let is_fail = |executed: u32| {
            let of = executed.max(failed);
            self.gates.iter().any(|gate| fails(gate, failed, of))
        };
        if !is_fail(least) {
            return least;
        }
        let (mut fail, mut reach) = (least, step.max(1));
        let mut no_fail = loop {
            let next = fail.saturating_add(reach);
            if next > FOLLOWED_MAX {
                break FOLLOWED_MAX + 1; // larger numbers are never needed
            }
            if !is_fail(next) {
                break next;
            }
            // A guess that was nearly right is followed by a short step.
            reach = if fail == least { (step / 8).max(1) } else { reach.saturating_mul(2) };
            fail = next;
        };
        while no_fail - fail > 1 {
            let middle = fail.midpoint(no_fail);
            *(if is_fail(middle) { &mut fail } else { &mut no_fail }) = middle;
        }
        no_fail
    }
}

/// The devices of a group that are followed.
fn followed(added: &[u32]) -> u64 {
    added.iter().copied().fold(0, u32::saturating_add).min(FOLLOWED_MAX).into()
}

fn fails(gate: &Gate, failed: u32, executed: u32) -> bool {
    verdict(gate.test, gate.threshold_bp, gate.min_executed, failed, executed) == Verdict::Fail
}

/// Whether a gate holds a group back at a stage's end: it fails, or does not pass though the group is large enough to. Of more
/// devices than are followed it only requires that they don't fail.
fn is_stopped(gate: &Gate, failed: u32, followed: u32, devices: u32) -> bool {
    let must_pass = followed == devices && devices >= gate.min_executed.max(1);
    match verdict(gate.test, gate.threshold_bp, gate.min_executed, failed, followed) {
        Verdict::Pass => false,
        Verdict::Fail => true,
        Verdict::Inconclusive => must_pass,
    }
}

/// The chances of each number of failures that has not been stopped.
struct Surviving {
    chances: Vec<f64>,
    /// The number of failures of the first chance.
    fewest: u32,
}

impl Surviving {
    fn new() -> Self {
        Self { chances: vec![1.0], fewest: 0 }
    }

    fn is_empty(&self) -> bool {
        self.chances.is_empty()
    }

    /// The most failures with a chance.
    fn most(&self) -> u32 {
        self.fewest + u32::try_from(self.chances.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// One more outcome.
    fn add_outcome(&mut self, bug: f64, well: f64) {
        let mut moved = 0.0;
        for chance in &mut self.chances {
            let here = *chance;
            *chance = here * well + moved;
            moved = here * bug;
        }
        self.chances.extend((moved > NEGLIGIBLE).then_some(moved));
        let dropped = self.chances.iter().take_while(|chance| **chance <= NEGLIGIBLE).count();
        if dropped > 0 {
            self.chances.drain(..dropped);
            self.fewest += u32::try_from(dropped).unwrap_or(u32::MAX);
        }
    }

    /// Stops this number of failures and more.
    fn stop_from(&mut self, failed: u32) {
        self.chances.truncate(usize::try_from(failed.saturating_sub(self.fewest)).unwrap_or(usize::MAX));
    }

    fn all(&self) -> f64 {
        self.chances.iter().sum()
    }
}

fn share(bp: u16) -> f64 {
    f64::from(bp) / f64::from(WHOLE_BP)
}

/// The first number from 0 to `most` of which it is true, given that it stays true from there on; else one more than `most`.
pub(super) fn first(most: u32, is_true: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, most + 1);
    while low < high {
        let middle = low.midpoint(high);
        if is_true(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        gate::judge,
        policy::{Scope, tests::playbook},
    };
    use proptest::prelude::*;

    const PROOF: Test = Test::ClopperPearson { confidence_bp: 9_500 };
    const WALD: Test = Test::Sprt { p0_bp: 50, p1_bp: 200, alpha_bp: 500, beta_bp: 500 };
    const IMMEDIATELY: Order = Order::FailuresFirst { in_flight_max: 500 };

    fn gate(test: Test, threshold_bp: u16, min_executed: u32) -> Gate {
        Gate { test, threshold_bp, min_executed, scope: Scope::Cumulative, ..playbook().gates.remove(0) }
    }

    fn through(gate: &Gate, added: &[u32], bug_bp: u16, order: Order) -> f64 {
        let gates = [gate];
        let mut walk = Walk::new(&gates);
        walk.of(added);
        *walk.through(bug_bp, order).last().unwrap()
    }

    #[track_caller]
    fn about(chance: f64, expected: f64) {
        assert!((chance - expected).abs() < 0.000_05, "{chance} is not {expected}");
    }

    /// An earlier plan computed 99.66 % and 64.6 %, whatever the minimum.
    #[test]
    fn a_raw_gate_with_a_small_minimum_is_ended_by_a_first_failure() {
        for (bug_bp, none_of_601, at_the_end) in [(10, 0.548_1, 0.996_6), (50, 0.049_2, 0.646_1)] {
            let of = |min_executed, order| through(&gate(Test::Raw, 50, min_executed), &[601], bug_bp, order);
            about(of(100, IMMEDIATELY), none_of_601); // 0.999^601 and 0.995^601: failed installations come first
            about(of(100, Order::FailuresLast), at_the_end);
            let mixed = [100, 200, 500].map(|min_executed| of(min_executed, Order::Mixed));
            assert!(none_of_601 < mixed[0] && mixed[0] < mixed[1] && mixed[1] < mixed[2] && mixed[2] < at_the_end);
            about(of(600, IMMEDIATELY), at_the_end); // three failures are allowed from the first device on
        }
    }

    /// One of ten is above 0.5 % with 95 %, because 1 - 0.995^10 is 4.9 %; one of eleven is not.
    #[test]
    fn an_early_first_failure_fails_a_proof() {
        let all_in_flight = Order::FailuresFirst { in_flight_max: 2_001 };
        about(through(&gate(PROOF, 50, 1), &[2_001], 10, all_in_flight), 0.999_f64.powi(2_001));
        let of_500 = through(&gate(PROOF, 50, 1), &[2_001], 10, IMMEDIATELY);
        assert!(
            (0.999_f64.powi(510) - 0.02..0.999_f64.powi(510)).contains(&of_500),
            "{of_500}: not before 511 have begun"
        );
        about(through(&gate(PROOF, 50, 1), &[598], 50, IMMEDIATELY), 0.995_f64.powi(598));
    }

    /// Computed independently in Python, with logarithms where the gates use integers.
    #[test]
    fn chances_are_those_of_another_program() {
        let raw = |min_executed| gate(Test::Raw, 50, min_executed);
        let (canary, one) = ([151, 600, 2_249].as_slice(), [601].as_slice());
        for (gate, added, bug_bp, worst, mixed, best) in [
            (raw(100), one, 10, 0.548_098, 0.802_057, 0.996_646),
            (raw(100), one, 50, 0.049_167, 0.224_602, 0.646_109),
            (raw(200), one, 10, 0.877_835, 0.933_358, 0.996_646),
            (raw(500), one, 10, 0.976_855, 0.977_052, 0.996_646),
            (raw(600), one, 50, 0.646_109, 0.646_109, 0.646_109),
            (raw(151), canary, 10, 0.494_345, 0.800_801, 0.856_916),
            (raw(151), canary, 100, 0.000_002, 0.000_102, 0.000_588),
            (self::gate(WALD, 0, 1), &[600], 50, 0.442_274, 0.812_754, 0.815_685),
            (self::gate(WALD, 0, 300), &[600], 100, 0.068_842, 0.281_604, 0.283_711),
            (self::gate(PROOF, 50, 1), &[2_001], 10, 0.588_471, 0.937_438, 0.947_347),
            (self::gate(PROOF, 50, 1), &[2_001], 50, 0.010_362, 0.028_223, 0.028_875),
        ] {
            let orders = [IMMEDIATELY, Order::Mixed, Order::FailuresLast];
            let found = orders.map(|order| through(&gate, added, bug_bp, order));
            let close = found.iter().zip([worst, mixed, best]).all(|(found, expected)| (found - expected).abs() < 2e-6);
            assert!(close, "{gate:?} {added:?} {bug_bp}: {found:?}");
        }
    }

    #[test]
    fn nothing_passes_without_enough_devices_and_a_group_that_is_too_small_only_fails() {
        for order in [IMMEDIATELY, Order::Mixed, Order::FailuresLast] {
            for test in [Test::Raw, PROOF, WALD] {
                let of =
                    |min_executed, devices, bug_bp| through(&gate(test, 50, min_executed), &[devices], bug_bp, order);
                about(of(5_000, 5_000, 0), 1.0);
                about(of(1, 5_000, u16::MAX), 0.0);
                about(of(5_000, 4_999, 0), 1.0); // too small to hold anything up
            }
            about(through(&gate(PROOF, 50, 1), &[597], 0, order), 0.0);
            about(through(&gate(Test::Raw, 50, 1), &[1], 1_000, order), 0.9);
            about(through(&gate(Test::Raw, 0, 1), &[7], 500, order), 0.95_f64.powi(7));
            about(through(&gate(Test::Raw, 50, 1), &[0, 1], 1_000, order), 0.9);
            let extreme = Test::Sprt { p0_bp: 1, p1_bp: 9_999, alpha_bp: 1, beta_bp: 1 };
            about(through(&gate(extreme, 0, 1), &[2], 0, order), 1.0);
        }
    }

    #[test]
    fn more_devices_than_are_followed_are_followed_as_far_as_it_goes() {
        let of = |devices, order| through(&gate(Test::Raw, 50, 1), &[devices], 200, order);
        about(of(FOLLOWED_MAX * 5, Order::FailuresLast), 0.0);
        about(through(&gate(Test::Raw, 0, FOLLOWED_MAX * 2), &[FOLLOWED_MAX * 2], 0, Order::Mixed), 1.0);
    }

    /// Judges every possible order of outcomes with the engine's own verdicts.
    fn enumerated(gate: &Gate, added: &[u32], bug: f64) -> f64 {
        let devices: u32 = added.iter().sum();
        let verdict = |failed, executed| {
            judge(gate.test, gate.threshold_bp, gate.min_executed, failed, executed).unwrap().verdict
        };
        let gets_through = |outcomes: u32| {
            let (mut failed, mut executed) = (0, 0);
            added.iter().all(|added| {
                let survives = (0..*added).all(|_| {
                    failed += outcomes >> executed & 1;
                    executed += 1;
                    verdict(failed, executed) != Verdict::Fail
                });
                survives && (executed < gate.min_executed.max(1) || verdict(failed, executed) == Verdict::Pass)
            })
        };
        let chance = |outcomes: u32| {
            let failed = i32::try_from(outcomes.count_ones()).unwrap();
            bug.powi(failed) * (1.0 - bug).powi(i32::try_from(devices).unwrap() - failed)
        };
        (0..1_u32 << devices).filter(|outcomes| gets_through(*outcomes)).map(chance).sum()
    }

    fn any_gate() -> impl Strategy<Value = Gate> {
        let test = prop_oneof![
            Just(Test::Raw),
            (5_000_u16..10_000).prop_map(|confidence_bp| Test::ClopperPearson { confidence_bp }),
            (1_u16..5_000, 1_u16..4_999, 1_u16..5_000, 1_u16..5_000).prop_map(|(p0_bp, more, alpha_bp, beta_bp)| {
                Test::Sprt { p0_bp, p1_bp: p0_bp + more, alpha_bp, beta_bp }
            }),
        ];
        (test, 1_u16..6_000, 1_u32..14)
            .prop_map(|(test, threshold_bp, min_executed)| gate(test, threshold_bp, min_executed))
    }

    proptest! {
        /// Goal: the walk is the sum over all orders of outcomes, whatever the gate and the stages.
        #[test]
        fn a_walk_is_the_sum_over_all_orders(gate in any_gate(), first in 0_u32..7, second in 1_u32..6, bug_bp in 0_u16..=10_000) {
            let expected = enumerated(&gate, &[first, second], f64::from(bug_bp) / 10_000.0);
            let walked = through(&gate, &[first, second], bug_bp, Order::Mixed);
            prop_assert!((walked - expected).abs() < 1e-9, "{walked} is not {expected}");
        }

        /// Goal: the least number of devices at which failures are not a FAIL is the one that a linear search finds.
        #[test]
        fn no_fail_is_found_where_it_begins(gate in any_gate(), most in 1_u32..40) {
            let gates = [&gate];
            let mut walk = Walk::new(&gates);
            walk.of(&[1]);
            for failed in 0..most {
                let asked = (0..400).find(|executed| !fails(&gate, failed, failed.max(*executed)));
                if let Some(asked) = asked {
                    prop_assert_eq!(walk.no_fail_from(failed), asked, "{}", failed);
                }
            }
        }

        #[test]
        fn neither_a_worse_bug_nor_a_worse_order_gets_through_more_often(
            gate in any_gate(), first in 1_u32..200, second in 0_u32..200, bug_bp in 0_u16..9_000, in_flight_max in 1_u32..300,
        ) {
            let of = |bug_bp, order| through(&gate, &[first, second], bug_bp, order);
            let orders = [Order::FailuresFirst { in_flight_max }, Order::Mixed, Order::FailuresLast];
            let [worst, mixed, best] = orders.map(|order| of(bug_bp, order));
            prop_assert!(worst <= mixed + 1e-9 && mixed <= best + 1e-9, "{worst} {mixed} {best}");
            for (order, chance) in orders.into_iter().zip([worst, mixed, best]) {
                prop_assert!(of(bug_bp + 1_000, order) <= chance + 1e-9, "{order:?}");
            }
        }
    }
}
