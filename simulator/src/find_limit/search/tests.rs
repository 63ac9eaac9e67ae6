//! Goal: the search finds a known limit, ends, and never claims what its runs do not show.
//! Method: synthetic servers: a hard limit, the latency of a queue computed independently, and verdicts that are wrong by chance.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::*;

/// No search takes more steps than this.
const STEPS_MAX: usize = 80;

const BOUNDS: Bounds = Bounds { start: 1_000, floor: 1, ceiling: 1_000_000, repeats: 3, resolution_per_cent: 10 };

/// Searches against a server; returns the result and every step.
fn run(bounds: Bounds, mut server: impl FnMut(u32) -> Verdict) -> (SearchResult, Search, usize) {
    let mut search = Search::new(bounds);
    for steps in 0..=STEPS_MAX {
        match search.next() {
            NextStep::Done(found) => return (found, search, steps),
            NextStep::Try(load, _) => {
                assert!((bounds.floor.min(bounds.ceiling)..=bounds.ceiling).contains(&load), "{load} is out of bounds");
                search.take(load, server(load));
            }
        }
    }
    panic!("no end: {search:?}");
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    rng.next_u64() as f64 / u64::MAX as f64
}

/// Whether the result is what the runs of its loads show.
fn assert_is_shown(found: SearchResult, search: &Search, bounds: Bounds) {
    let held = |load: u32| {
        let runs = &search.tried[&load];
        assert!(runs.len() >= bounds.repeats && runs.iter().all(|run| *run == Verdict::Held), "{load}: {runs:?}");
    };
    let failed = |load: u32| {
        let runs = &search.tried[&load];
        let bad = runs.iter().filter(|run| **run != Verdict::Held).count();
        assert!(runs.len() >= bounds.repeats && bad * 2 > runs.len(), "{load}: {runs:?}");
    };
    match found {
        SearchResult::Between { held: low, above } => {
            held(low);
            failed(above);
            let is_mixed = |runs: &Vec<Verdict>| runs.len() >= bounds.repeats;
            let mut between = search.tried.range(low + 1..above);
            assert!(between.all(|(_, runs)| is_mixed(runs)), "a load inside is undecided");
        }
        SearchResult::Ceiling { held: low } => held(low),
        SearchResult::Nothing { lowest } => assert!(search.tried[&lowest].len() >= bounds.repeats),
    }
}

proptest! {
    /// A server that holds up to exactly its limit: the limit is inside, and the interval as narrow as it should be.
    #[test]
    fn a_hard_limit_is_found(limit in 1_u32..900_000, start in 1_u32..1_000_000, resolution in 1_u32..30) {
        let bounds = Bounds { start, resolution_per_cent: resolution, ..BOUNDS };
        let (found, search, steps) = run(bounds, |load| if load <= limit { Verdict::Held } else { Verdict::Failed });
        let SearchResult::Between { held, above } = found else { return Err(TestCaseError::fail(format!("{found:?}"))) };
        prop_assert!(held <= limit && limit < above, "{held} {limit} {above}");
        let narrow = u64::from(above) * 100 <= u64::from(held) * u64::from(100 + resolution);
        prop_assert!(narrow || above == held + 1, "{held} {above}");
        prop_assert!(steps <= 45, "{steps} steps");
        assert_is_shown(found, &search, bounds);
    }

    /// A queue with one server (M/M/1): a share of exp(-(capacity - load) * bound) of its answers takes longer than the bound, and a
    /// step sees 10,000 of them. The 99th percentile meets the bound up to capacity - ln(100) / bound, and that limit is found to
    /// the resolution and the noise of such a sample.
    #[test]
    fn the_limit_of_a_queue_is_found(capacity in 2_000_u32..50_000, bound_ms in 5_u32..100, seed: u64) {
        let bound_s = f64::from(bound_ms) / 1_000.0;
        let limit = f64::from(capacity) - 100_f64.ln() / bound_s;
        prop_assume!(limit > 100.0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (found, search, _) = run(BOUNDS, |load| {
            let slow = if load >= capacity { 1.0 } else { (-(f64::from(capacity - load)) * bound_s).exp() };
            // Of 10,000 answers so many are slow: the normal approximation of the binomial, from twelve uniform draws.
            let normal = (0..12).map(|_| uniform(&mut rng)).sum::<f64>() - 6.0;
            let count = 10_000.0 * slow + normal * (10_000.0 * slow * (1.0 - slow)).sqrt();
            if count <= 100.0 { Verdict::Held } else { Verdict::Failed }
        });
        let SearchResult::Between { held, above } = found else { return Err(TestCaseError::fail(format!("{found:?}"))) };
        // Four standard deviations of 100 slow ones: from 60 to 140 of 10,000.
        let at_share = |share: f64| f64::from(capacity) + share.ln() / bound_s;
        prop_assert!(f64::from(held) <= at_share(0.0140) && f64::from(above) >= at_share(0.0060), "{held} {limit} {above}");
        assert_is_shown(found, &search, BOUNDS);
    }

    /// Verdicts are wrong with a chance of up to 15 %: the search ends, and what it claims is what its runs show.
    #[test]
    fn wrong_verdicts_by_chance_end_in_a_result_that_was_shown(limit in 10_u32..500_000, wrong in 0.0..0.15_f64, seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (found, search, _) = run(BOUNDS, |load| {
            let is_true = uniform(&mut rng) >= wrong;
            if (load <= limit) == is_true { Verdict::Held } else { Verdict::Failed }
        });
        assert_is_shown(found, &search, BOUNDS);
    }
}

/// Each of 300 searches meets one wrong verdict in twenty; the limit lies within a factor of 1.1 of the result in nearly all of them.
#[test]
fn one_wrong_verdict_in_twenty_seldom_moves_the_result() {
    let limit = 12_345;
    let is_near = |seed: &u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(*seed);
        let (found, _, _) = run(BOUNDS, |load| {
            let is_true = uniform(&mut rng) >= 0.05;
            if (load <= limit) == is_true { Verdict::Held } else { Verdict::Failed }
        });
        matches!(found, SearchResult::Between { held, above } if held <= limit + limit / 10 && above >= limit - limit / 10)
    };
    let near = (0..300).filter(is_near).count();
    assert!(near >= 285, "{near} of 300");
}

#[test]
fn a_failure_by_chance_no_longer_bounds_the_search_once_it_holds_again() {
    let mut runs_of_2000 = 0;
    let (found, _, _) = run(BOUNDS, |load| {
        if load == 2_000 {
            runs_of_2000 += 1;
            return if runs_of_2000 == 1 { Verdict::Failed } else { Verdict::Held };
        }
        if load <= 30_000 { Verdict::Held } else { Verdict::Failed }
    });
    assert!(matches!(found, SearchResult::Between { held, above } if held <= 30_000 && above > 30_000), "{found:?}");
}

#[test]
fn where_nothing_is_met_the_lowest_load_is_repeated_and_named() {
    let bounds = Bounds { start: 5_000, floor: 78, ..BOUNDS };
    let (found, search, steps) = run(bounds, |_| Verdict::Failed);
    assert_eq!((found, search.runs(78)), (SearchResult::Nothing { lowest: 78 }, 3));
    assert_eq!(steps, 7, "5,000, 2,500, 625, 156, and 78 three times");
}

#[test]
fn where_everything_is_met_the_highest_load_is_repeated_and_a_lower_bound() {
    let bounds = Bounds { ceiling: 3_000, ..BOUNDS };
    let (found, search, _) = run(bounds, |_| Verdict::Held);
    assert_eq!((found, search.runs(3_000)), (SearchResult::Ceiling { held: 3_000 }, 3));
}

#[test]
fn what_could_not_be_measured_bounds_the_search_as_a_failure_does() {
    let (found, _, _) = run(BOUNDS, |load| if load <= 1_500 { Verdict::Held } else { Verdict::Unmeasured });
    assert!(matches!(found, SearchResult::Between { held, above } if held <= 1_500 && above > 1_500), "{found:?}");
}

#[test]
fn a_fleet_of_a_few_devices_is_searched_too() {
    let bounds = Bounds { start: 1, floor: 1, ceiling: 5, ..BOUNDS };
    for limit in 1..5 {
        let (found, _, _) = run(bounds, |load| if load <= limit { Verdict::Held } else { Verdict::Failed });
        assert_eq!(found, SearchResult::Between { held: limit, above: limit + 1 });
    }
}

#[test]
fn bounds_that_contradict_each_other_are_corrected() {
    let bounds = Bounds { start: 900, floor: 500, ceiling: 0, ..BOUNDS };
    let mut search = Search::new(bounds);
    assert_eq!(search.next(), NextStep::Try(1, Purpose::First));
    search.take(1, Verdict::Failed);
    search.take(1, Verdict::Failed);
    search.take(1, Verdict::Failed);
    assert_eq!(search.next(), NextStep::Done(SearchResult::Nothing { lowest: 1 }));
}

#[test]
fn the_steps_left_count_down_to_none() {
    let mut search = Search::new(BOUNDS);
    assert_eq!(search.steps_left(), 1 + 3 + 4, "to double once, to halve three times, and to confirm both ends twice");
    let mut before = usize::MAX;
    while let NextStep::Try(load, _) = search.next() {
        search.take(load, if load <= 1_400 { Verdict::Held } else { Verdict::Failed });
        if search.above().is_some() {
            assert!(search.steps_left() < before, "{search:?}");
            before = search.steps_left();
        }
    }
    assert_eq!(search.steps_left(), 0);
}
