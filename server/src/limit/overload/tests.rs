//! The limit on a simulated store, in virtual time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TARGET_US: u64 = 100_000;
const TARGET: Duration = Duration::from_micros(TARGET_US);

const CLASSES: usize = Class::ALL.len();

fn index(class: Class) -> usize {
    Class::ALL.iter().position(|each| *each == class).unwrap()
}

/// Requests in each second of virtual time, at evenly spaced moments.
struct Offered {
    logs: u64,
    heartbeats: u64,
    first: u64,
}

/// Requests of each class that were sent and refused, and how long those that were served took.
#[derive(Debug, Default)]
struct Outcome {
    sent: [u64; CLASSES],
    refused: [u64; CLASSES],
    took_us: Vec<u64>,
}

impl Outcome {
    fn refused_percent(&self, class: Class) -> u64 {
        self.refused[index(class)] * 100 / self.sent[index(class)].max(1)
    }

    fn served(&self) -> u64 {
        self.sent.iter().sum::<u64>() - self.refused.iter().sum::<u64>()
    }

    fn p99_us(&mut self) -> u64 {
        self.took_us.sort_unstable();
        self.took_us[self.took_us.len() * 99 / 100]
    }
}

/// A store that commits a group of up to `group_max` writes in `commit_us`, one after the other. What happens in the first ten of
/// sixty seconds is not counted.
fn simulate(overload: &Arc<Overload>, offered: &Offered, (group_max, commit_us): (usize, u64)) -> Outcome {
    let (mut queue, mut outcome) = (VecDeque::new(), Outcome::default());
    let mut committing: Option<(u64, Vec<(u64, InProgress)>)> = None;
    for now_us in (0..60_000_000).step_by(1_000) {
        let counts = u64::from(now_us >= 10_000_000);
        if let Some((ends_us, group)) = committing.take_if(|(ends_us, _)| *ends_us <= now_us) {
            for (arrived_us, write) in group {
                write.answered(Duration::from_micros(ends_us - arrived_us), Duration::from_micros(commit_us));
                if counts == 1 {
                    outcome.took_us.push(ends_us - arrived_us);
                }
            }
        }
        for (class, per_s) in Class::ALL.into_iter().zip([0, offered.logs, offered.heartbeats, offered.first]) {
            let until = |us: u64| us * per_s / 1_000_000;
            for _ in until(now_us)..until(now_us + 1_000) {
                outcome.sent[index(class)] += counts;
                if overload.admits(class, now_us) {
                    queue.push_back((now_us, overload.begin()));
                } else {
                    outcome.refused[index(class)] += counts;
                }
            }
        }
        if committing.is_none() && !queue.is_empty() {
            let group = queue.drain(..queue.len().min(group_max)).collect();
            committing = Some((now_us + commit_us, group));
        }
    }
    outcome
}

#[test]
fn at_twice_what_the_store_can_take_what_is_first_is_served_and_all_that_is_served_soon() {
    // Ten commits of 100 writes a second, while 2,000 requests come.
    let offered = Offered { logs: 100, heartbeats: 1_500, first: 400 };
    let mut outcome = simulate(&Overload::new(TARGET, 100, 8_192), &offered, (100, 100_000));
    assert_eq!((outcome.refused_percent(Class::Logs), outcome.refused[index(Class::First)]), (100, 0));
    // 1,000 a second are served: 400, and 600 of 1,500 heartbeats.
    assert!((59..=61).contains(&outcome.refused_percent(Class::Heartbeats)), "{:?}", outcome.refused);
    assert!((49_000..=51_000).contains(&outcome.served()), "{}", outcome.served());
    assert!(outcome.p99_us() <= 550_000, "{} µs: two commits, and up to 3.5 times the target", outcome.p99_us());
    let mut full = simulate(&Overload::new(Duration::ZERO, 100, 8_192), &offered, (100, 100_000));
    assert_eq!(full.refused, [0; CLASSES]);
    assert!(full.p99_us() > 25_000_000, "a queue that fills");
}

#[test]
fn however_much_is_offered_the_store_is_used_and_waits_are_bounded() {
    for (heartbeats, store) in
        [(1_200, (100, 100_000)), (5_000, (100, 100_000)), (30_000, (256, 20_000)), (400, (64, 500_000))]
    {
        let (group_max, commit_us) = store;
        let offered = Offered { logs: 0, heartbeats, first: 20 };
        let mut outcome = simulate(&Overload::new(TARGET, group_max, 8_192), &offered, store);
        let possible = u64::try_from(group_max).unwrap() * 50_000_000 / commit_us;
        assert!(outcome.served() * 100 >= possible * 95, "{heartbeats}: {} of {possible}", outcome.served());
        assert_eq!(outcome.refused[index(Class::First)], 0, "{heartbeats}");
        let p99_us = outcome.p99_us();
        assert!(p99_us <= 4 * commit_us + 4 * TARGET_US, "{heartbeats}: {p99_us} µs");
    }
}

#[test]
fn slow_commits_alone_are_no_overload() {
    for (commit_us, heartbeats) in [(1_000, 190), (30_000, 190), (1_000_000, 190), (1_200_000, 190), (2_000_000, 100)] {
        let offered = Offered { logs: 0, heartbeats, first: 20 };
        let outcome = simulate(&Overload::new(TARGET, 256, 8_192), &offered, (256, commit_us));
        assert_eq!(outcome.refused, [0; CLASSES], "a commit of {commit_us} µs takes all that wait");
    }
}

#[test]
fn a_burst_of_what_is_first_is_served_by_a_store_with_few_and_long_commits() {
    // A shift begins: 200 punches at once every few seconds, and hardly a heartbeat.
    let overload = Overload::new(TARGET, 256, 8_192);
    let mut waiting = Vec::new();
    for now_us in (0..30_000_000_u64).step_by(100_000) {
        if now_us.is_multiple_of(3_000_000) {
            for write in std::mem::take(&mut waiting) {
                let write: InProgress = write;
                write.answered(Duration::from_secs(3), Duration::from_secs(3));
            }
            for _ in 0..200 {
                assert!(overload.admits(Class::First, now_us), "{now_us}");
                waiting.push(overload.begin());
            }
        }
        assert!(overload.admits(Class::Heartbeats, now_us), "{now_us}");
    }
}

#[test]
fn after_an_overload_the_limit_grows_back() {
    let overload = Overload::new(TARGET, 100, 8_192);
    simulate(&overload, &Offered { logs: 0, heartbeats: 3_000, first: 0 }, (100, 100_000));
    assert!(overload.limit() < 600, "{}", overload.limit());
    let grown = (1..=200_u64).find(|window| {
        overload.admits(Class::First, 60_000_000 + window * WINDOW_US);
        overload.limit() == 8_192
    });
    assert!(grown.unwrap() <= 150, "{grown:?} windows of a tenth of a second");
}

#[test]
fn a_store_that_stalls_is_noticed_although_nothing_is_answered() {
    let overload = Overload::new(TARGET, 8, 8_192);
    let mut waiting = Vec::new();
    for now_us in (0..5_000_000).step_by(10_000) {
        if overload.admits(Class::Heartbeats, now_us) {
            waiting.push(overload.begin());
        }
    }
    assert!((90..=130).contains(&waiting.len()), "refused after a second, {} before", waiting.len());
    drop(waiting);
    assert_eq!(overload.in_progress(), 0);
}

proptest! {
    /// The limit is at most halved, is not raised while writes wait too long, and grows otherwise.
    #[test]
    fn the_limit_moves_towards_the_target(
        limit in 1_usize..100_000, most in 0_usize..100_000, wait_us in 0..u64::MAX / 4, commit_us in 0..u64::MAX / 8,
    ) {
        let window = Window { wait_us: Some(wait_us), commit_us, now: most.min(limit), most };
        let next = window.next_limit(limit, TARGET_US);
        if wait_us <= TARGET_US {
            prop_assert!(next > limit);
        } else {
            prop_assert!(next <= limit && next >= limit.min(most) / 2);
        }
    }
}
