//! What the benchmarks share: rounds of a thing, the median and the spread, side by side in one run.

pub mod fleet;

use std::time::Duration;

use ks_fleet::resources::Stopwatch;

/// Rounds of each measurement.
const ROUNDS: usize = 9;

/// Microseconds for one of the thing, over several rounds.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The middle round.
    pub median_us: f64,
    /// The fastest round.
    pub least_us: f64,
    /// The slowest round.
    pub most_us: f64,
}

/// Does `count` of a thing in each round. `round` gives the time that counts.
pub fn measured(count: u32, mut round: impl FnMut() -> Duration) -> Cost {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round().as_secs_f64() * 1e6 / f64::from(count)).collect();
    rounds.sort_by(f64::total_cmp);
    let at = |index: usize| rounds.get(index).copied().unwrap_or_default();
    Cost { median_us: at(ROUNDS / 2), least_us: at(0), most_us: at(ROUNDS - 1) }
}

/// The same for a thing that needs nothing between two of it.
pub fn repeated(count: u32, mut thing: impl FnMut()) -> Cost {
    measured(count, || {
        let stopwatch = Stopwatch::started();
        (0..count).for_each(|_| thing());
        stopwatch.elapsed()
    })
}

/// A row of a table for people.
pub fn row(what: &str, cost: Cost) {
    let Cost { median_us, least_us, most_us } = cost;
    line(&format!("| {what} | {median_us:.1} | {least_us:.1} to {most_us:.1} |"));
}

/// The head of such a table.
pub fn head(title: &str) {
    line(&format!("\n## {title}\n\n| what | median, µs | spread, µs |\n| --- | ---: | ---: |"));
}

/// A line on standard output; a closed pipe is no error, anything else ends the process.
pub fn line(text: &str) {
    if let Err(error) = ks_server::edge::say(text)
        && !error.is_closed_pipe()
    {
        ks_server::edge::complain(&format!("error: {error}"));
        std::process::exit(i32::from(error.exit_code()));
    }
}
