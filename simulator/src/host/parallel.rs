//! Numbered jobs over all cores: each thread takes the next number until there is none, or until it is stopped.

use std::{
    num::NonZero,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
};

/// How many jobs run at a time.
pub fn threads() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    u64::try_from(cores).unwrap_or(1)
}

/// Runs `work` for each number below `count`, on all cores, and passes each result to `take`, on this thread, as it
/// arrives. None start after `take` returns false or `stop` is set; those that have started are finished.
pub fn each<T: Send>(
    count: u64,
    stop: &AtomicBool,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> bool,
) {
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (done, results) = mpsc::channel();
        for _ in 0..threads().min(count.max(1)) {
            let (done, next, is_over, work) = (done.clone(), &next, &is_over, &work);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || done.send((number, work(number))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        while let Ok((number, result)) = results.recv() {
            if !take(number, result) {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once() {
        let mut squares = Vec::new();
        each(
            100,
            &AtomicBool::new(false),
            |number| number * number,
            |number, square| {
                squares.push((number, square));
                true
            },
        );
        squares.sort_unstable();
        assert_eq!(squares, (0..100).map(|number| (number, number * number)).collect::<Vec<_>>());
    }

    #[test]
    fn no_job_starts_after_the_end_and_started_ones_are_finished() {
        let begun = AtomicU64::new(0);
        let mut taken = 0;
        let work = |_| begun.fetch_add(1, Ordering::Relaxed);
        each(u64::MAX, &AtomicBool::new(false), work, |_, _| {
            taken += 1;
            taken < 3
        });
        assert_eq!(taken, begun.into_inner());
        each(u64::MAX, &AtomicBool::new(true), |_| (), |_, ()| panic!("it was stopped before it started"));
    }
}
