//! How long a rollout is expected to take if nothing fails: heartbeats, installations, the policy's pace, the limit of each site, and
//! bake times.
//!
//! Every device takes the same time here, and no person is waited for. Devices get their turns in the real order, so that a site
//! with many devices and a small `site_unavailable_max` delays what it really delays.

use std::collections::{BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::Serialize;

use super::policy::Policy;

/// How long an update takes from the offer's heartbeat to the first one of the new firmware, unless the fleet's last updates tell:
/// seconds.
pub const INSTALL_S: u64 = 300;
/// Fewer past updates than this tell nothing.
const MEASURED_MIN: usize = 10;
/// `starts_per_min` counts within this time, in seconds.
const MINUTE_S: u64 = 60;

/// How long one update takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UpdateTime {
    /// From an offer until heartbeats show the new firmware, in seconds: the wait for the heartbeat that brings it, download,
    /// installation and boot.
    pub install_s: u64,
    /// From then until it is CONFIRMED, in seconds: the policy's window, rounded up to a heartbeat.
    pub confirm_s: u64,
    /// How many past updates the first is the median of; 0: it is assumed.
    pub measured: usize,
}

impl UpdateTime {
    /// Of the fleet's past updates, each in milliseconds from offer to confirming; or the usual, if there are too few.
    pub fn of(policy: &Policy, heartbeat_interval_s: u64, mut past_ms: Vec<u64>) -> Self {
        past_ms.sort_unstable();
        let median_ms = past_ms.get(past_ms.len() / 2).copied().filter(|_| past_ms.len() >= MEASURED_MIN);
        let interval_s = heartbeat_interval_s.max(1);
        Self {
            install_s: median_ms.map_or(interval_s / 2 + INSTALL_S, |median_ms| median_ms.div_ceil(1_000)),
            confirm_s: policy.confirm_window_s.div_ceil(interval_s) * interval_s,
            measured: median_ms.map_or(0, |_| past_ms.len()),
        }
    }
}

/// Seconds that each stage takes. `turns` are the devices in the order of their turns, each with its stage and the number of its site;
/// counts of the policy must be resolved.
pub fn expected_s(policy: &Policy, turns: &[(usize, usize)], each: UpdateTime) -> Vec<u64> {
    let mut run = Run::new(policy, turns, each.install_s + each.confirm_s);
    let mut stages = Vec::new();
    let mut began_s = 0;
    for (number, stage) in policy.stages.iter().enumerate() {
        let is_last = number + 1 == policy.stages.len();
        let mut evidence_s = None;
        loop {
            run.complete();
            let executed = run.executed.get(number).copied().unwrap_or(0);
            if executed >= stage.min_executed && evidence_s.is_none() {
                evidence_s = Some(run.now_s);
            }
            let baked_s: Option<u64> = evidence_s.map(|evidence_s: u64| evidence_s + stage.bake_s);
            let is_through = !is_last || run.is_done();
            if is_through && baked_s.is_some_and(|baked_s| baked_s <= run.now_s) {
                break;
            }
            run.offer(number);
            let next_s = [run.next_s(number), baked_s.filter(|baked_s| *baked_s > run.now_s)];
            let Some(next_s) = next_s.into_iter().flatten().min() else { break }; // it needs more devices than there are
            run.now_s = next_s;
        }
        stages.push(run.now_s - began_s);
        began_s = run.now_s;
    }
    stages
}

/// A rollout under way.
struct Run<'a> {
    policy: &'a Policy,
    now_s: u64,
    /// From an offer until it is CONFIRMED.
    update_s: u64,
    /// Of each site, its waiting devices in the order of their turns: position and stage.
    waiting: Vec<VecDeque<(usize, usize)>>,
    /// The sites below their limit, by the position of their next device.
    next: BTreeSet<(usize, usize)>,
    /// Devices of each site that are updating, and how many may.
    at_site: Vec<u32>,
    site_max: Vec<Option<u32>>,
    /// Updates in the order of their ends: when, site and stage.
    in_flight: VecDeque<(u64, usize, usize)>,
    /// Starts within the last minute: when, and how many.
    starts: VecDeque<(u64, u32)>,
    /// Devices of each stage with an outcome.
    executed: Vec<u32>,
}

impl<'a> Run<'a> {
    fn new(policy: &'a Policy, turns: &[(usize, usize)], update_s: u64) -> Self {
        let sites = turns.iter().map(|(_, site)| site + 1).max().unwrap_or(0);
        let mut waiting = vec![VecDeque::new(); sites];
        for (position, (stage, site)) in turns.iter().enumerate() {
            if let Some(waiting) = waiting.get_mut(*site) {
                waiting.push_back((position, *stage));
            }
        }
        let targets = |waiting: &VecDeque<_>| u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        let site_max = waiting.iter().map(|waiting| policy.site_max(targets(waiting))).collect();
        let heads = waiting.iter().enumerate().filter_map(|(site, waiting)| Some((waiting.front()?.0, site)));
        let next = heads.collect();
        let (at_site, executed) = (vec![0; sites], vec![0; policy.stages.len()]);
        Self {
            policy,
            now_s: 0,
            update_s,
            waiting,
            next,
            at_site,
            site_max,
            in_flight: VecDeque::new(),
            starts: VecDeque::new(),
            executed,
        }
    }

    fn is_done(&self) -> bool {
        self.in_flight.is_empty() && self.waiting.iter().all(VecDeque::is_empty)
    }

    /// Ends the updates whose time has come.
    fn complete(&mut self) {
        while let Some((_, site, stage)) = self.in_flight.pop_front_if(|(ends_s, _, _)| *ends_s <= self.now_s) {
            if let Some(executed) = self.executed.get_mut(stage) {
                *executed += 1;
            }
            if let Some(at_site) = self.at_site.get_mut(site) {
                *at_site -= 1;
            }
            self.queue(site);
        }
        while self.starts.pop_front_if(|(at_s, _)| *at_s + MINUTE_S <= self.now_s).is_some() {}
    }

    /// Lets the site's next device wait for its turn, unless the site is at its limit.
    fn queue(&mut self, site: usize) {
        let at_site = self.at_site.get(site).copied().unwrap_or(0);
        let most = self.site_max.get(site).copied().flatten();
        if most.is_none_or(|most| at_site < most)
            && let Some((position, _)) = self.waiting.get(site).and_then(VecDeque::front)
        {
            self.next.insert((*position, site));
        }
    }

    /// How many more updates the pace allows now.
    fn allowed(&self) -> u32 {
        let started: u32 = self.starts.iter().map(|(_, count)| count).sum();
        let in_flight = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        let by_pace = self.policy.starts_per_min.saturating_sub(started);
        by_pace.min(self.policy.in_flight_max.saturating_sub(in_flight))
    }

    /// Whether a device up to this stage waits at a site that may begin another update.
    fn has_next(&self, stage: usize) -> bool {
        let head = self.next.first().and_then(|(_, site)| self.waiting.get(*site)?.front());
        head.is_some_and(|(_, of_stage)| *of_stage <= stage)
    }

    /// Starts as many updates as are allowed.
    fn offer(&mut self, stage: usize) {
        let allowed = self.allowed();
        let mut started = 0;
        while started < allowed && self.has_next(stage) {
            let Some((_, site)) = self.next.pop_first() else { break };
            let Some((_, of_stage)) = self.waiting.get_mut(site).and_then(VecDeque::pop_front) else { break };
            self.in_flight.push_back((self.now_s + self.update_s, site, of_stage));
            if let Some(at_site) = self.at_site.get_mut(site) {
                *at_site += 1;
            }
            self.queue(site);
            started += 1;
        }
        if started > 0 {
            self.starts.push_back((self.now_s, started));
        }
    }

    /// When something can change: an update ends, or the pace allows another.
    fn next_s(&self, stage: usize) -> Option<u64> {
        let ends_s = self.in_flight.front().map(|(ends_s, _, _)| *ends_s);
        let paced_s = self.starts.front().map(|(at_s, _)| *at_s + MINUTE_S).filter(|_| self.has_next(stage));
        ends_s.into_iter().chain(paced_s).filter(|at_s| *at_s > self.now_s).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::tests::playbook;
    use proptest::prelude::*;

    /// An update of 300 s and 900 s.
    const EACH: UpdateTime = UpdateTime { install_s: 300, confirm_s: 900, measured: 0 };

    fn policy(change: impl Fn(&mut Policy)) -> Policy {
        let mut policy = playbook();
        policy.stages = vec![policy.stages[1]];
        (policy.stages[0].min_executed, policy.stages[0].bake_s) = (1, 0);
        change(&mut policy);
        policy
    }

    #[test]
    fn pace_sites_and_bake_time_take_what_is_calculated_by_hand() {
        let one_site = |devices: usize| vec![(0, 0); devices];
        // 1,000 devices, 200 a minute: the last 200 start after 4 minutes.
        let paced = policy(|policy| policy.in_flight_max = 10_000);
        assert_eq!(expected_s(&paced, &one_site(1_000), EACH), [4 * 60 + 1_200]);
        // 500 at a time: 200, 200, 100; the same again as these end; that is twice the time, and the pace of the last 500.
        assert_eq!(expected_s(&policy(|_| {}), &one_site(1_000), EACH), [2 * 1_200 + 2 * 60]);
        // 2 at a time at the site, of 10: five after one another. The other site's 4 do not matter.
        let limited = policy(|policy| policy.site_unavailable_max = Some(2));
        let two_sites: Vec<_> = (0..14).map(|number| (0, usize::from(number >= 10))).collect();
        assert_eq!(expected_s(&limited, &two_sites, EACH), [5 * 1_200]);
        // Three of ten must have an outcome, 2 at a time: after two rounds; then an hour of bake time, which the rest fits into.
        let baked = policy(|policy| {
            policy.site_unavailable_max = Some(2);
            (policy.stages[0].min_executed, policy.stages[0].bake_s) = (3, 3_600);
        });
        assert_eq!(expected_s(&baked, &one_site(10), EACH), [2 * 1_200 + 3_600]);
        // Two stages of five: the first is promoted after one device's outcome, while others still update.
        let two = policy(|policy| policy.stages.insert(0, policy.stages[0]));
        let turns: Vec<_> = (0..10).map(|number| (usize::from(number >= 5), 0)).collect();
        assert_eq!(expected_s(&two, &turns, EACH), [1_200, 1_200]);
    }

    #[test]
    fn the_time_of_an_update_is_measured_if_the_fleet_has_made_enough() {
        let window = policy(|policy| policy.confirm_window_s = 900);
        // Half an interval until the heartbeat, and five minutes; 900 s are three heartbeats of 400 s.
        let assumed = UpdateTime::of(&window, 400, vec![1_000; 9]);
        assert_eq!(assumed, UpdateTime { install_s: 500, confirm_s: 1_200, measured: 0 });
        let past = [7, 1, 3, 5, 9, 2, 8, 4, 6, 100].map(|seconds| seconds * 1_000 - 1).to_vec();
        assert_eq!(UpdateTime::of(&window, 300, past), UpdateTime { install_s: 6, confirm_s: 900, measured: 10 });
    }

    /// The same, second by second, over a plain list of devices.
    fn by_the_second(policy: &Policy, turns: &[(usize, usize)], update_s: u64) -> Vec<u64> {
        let mut ends: Vec<Option<u64>> = vec![None; turns.len()];
        let at_site = |site| u32::try_from(turns.iter().filter(|(_, at)| *at == site).count()).unwrap();
        let (mut starts, mut stages) = (Vec::new(), Vec::new());
        let (mut stage, mut began_s, mut evidence_s) = (0, 0, None);
        for now_s in 0.. {
            let is_over = |end: &Option<u64>| end.is_some_and(|end| end <= now_s);
            loop {
                let of_stage = turns.iter().zip(&ends).filter(|((of, _), end)| *of == stage && is_over(end));
                if of_stage.count() >= policy.stages[stage].min_executed as usize {
                    evidence_s.get_or_insert(now_s);
                }
                let is_baked = evidence_s.is_some_and(|since| since + policy.stages[stage].bake_s <= now_s);
                let is_last = stage + 1 == policy.stages.len();
                if !is_baked || (is_last && !ends.iter().all(is_over)) {
                    break;
                }
                stages.push(now_s - began_s);
                if is_last {
                    return stages;
                }
                (stage, began_s, evidence_s) = (stage + 1, now_s, None);
            }
            starts.retain(|start| start + 60 > now_s);
            for (number, (of_stage, site)) in turns.iter().enumerate() {
                let busy = |only: Option<usize>| {
                    let busy = turns.iter().zip(&ends).filter(|((_, at), end)| {
                        end.is_some_and(|end| end > now_s) && only.is_none_or(|only| only == *at)
                    });
                    busy.count()
                };
                let fits = busy(None) < policy.in_flight_max as usize
                    && starts.len() < policy.starts_per_min as usize
                    && policy.site_max(at_site(*site)).is_none_or(|most| busy(Some(*site)) < most as usize);
                if ends[number].is_none() && *of_stage <= stage && fits {
                    ends[number] = Some(now_s + update_s);
                    starts.push(now_s);
                }
            }
        }
        stages
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Goal: the events that are stepped over leave the same times as counting every second.
        #[test]
        fn the_expected_time_is_that_of_counting_every_second(
            mut sites in prop::collection::vec(0_usize..3, 4..16), split in 1_u32..4, needed in 1_u32..4,
            bake_s in 0_u64..200, starts_per_min in 1_u32..6, in_flight_max in 1_u32..6, most in prop::option::of(1_u32..4),
            update_s in 1_u64..90, is_share in any::<bool>(),
        ) {
            sites.push(0);
            let policy = policy(|policy| {
                let stage = policy.stages[0];
                policy.stages = vec![stage; 2];
                for (stage, needed) in policy.stages.iter_mut().zip([needed.min(split), needed.min(2)]) {
                    (stage.min_executed, stage.bake_s) = (needed, bake_s);
                }
                (policy.starts_per_min, policy.in_flight_max) = (starts_per_min, in_flight_max);
                if is_share {
                    policy.site_unavailable_max_bp = most.map(|most| u16::try_from(most).unwrap() * 1_500);
                } else {
                    policy.site_unavailable_max = most;
                }
            });
            let turns: Vec<_> = sites.iter().enumerate().map(|(number, site)| (usize::from(number >= split as usize), *site)).collect();
            let each = UpdateTime { install_s: update_s, confirm_s: 0, measured: 0 };
            prop_assert_eq!(expected_s(&policy, &turns, each), by_the_second(&policy, &turns, update_s));
        }
    }
}
