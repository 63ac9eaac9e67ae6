//! Shared by the benchmarks: measures an operation in several rounds, and prints the median and the spread.

pub mod exchange;
pub mod fleet;
pub mod server;

use std::time::Duration;

use ks_fleet::host::stopwatch::Stopwatch;

/// Rounds of each measurement.
const ROUNDS: usize = 9;

/// Microseconds per operation, over several rounds.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub median_us: f64,
    pub least_us: f64,
    pub most_us: f64,
}

/// Measures rounds of `count` operations each. `round` runs one and returns the time it took.
pub fn measured(count: u32, mut round: impl FnMut() -> Duration) -> Cost {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round().as_secs_f64() * 1e6 / f64::from(count)).collect();
    rounds.sort_by(f64::total_cmp);
    let at = |index: usize| rounds.get(index).copied().unwrap_or_default();
    Cost { median_us: at(ROUNDS / 2), least_us: at(0), most_us: at(ROUNDS - 1) }
}

/// The same for an operation that needs no preparation between two runs.
pub fn repeated(count: u32, mut operation: impl FnMut()) -> Cost {
    measured(count, || {
        let stopwatch = Stopwatch::started();
        (0..count).for_each(|_| operation());
        stopwatch.elapsed()
    })
}

/// Prints a row of the table.
pub fn row(what: &str, cost: Cost) {
    let Cost { median_us, least_us, most_us } = cost;
    line(&format!("| {what} | {median_us:.1} | {least_us:.1} to {most_us:.1} |"));
}

/// Prints the title and the head of a table.
pub fn head(title: &str) {
    line(&format!("\n## {title}\n\n| what | median, µs | spread, µs |\n| --- | ---: | ---: |"));
}

/// Prints a line to standard output; a closed pipe is no error, anything else ends the process.
pub fn line(text: &str) {
    if let Err(error) = ks_server::edge::say(text)
        && !error.is_closed_pipe()
    {
        ks_server::edge::complain(&format!("error: {error}"));
        std::process::exit(i32::from(error.exit_code()));
    }
}
