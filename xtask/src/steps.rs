//! The steps of a chore, each with the time it took, so that a slow one is seen.

use std::time::{Duration, Instant};

use crate::shell::{Failed, say};

/// What was run so far.
#[derive(Default)]
pub(crate) struct Steps(Vec<(String, Duration)>);

impl Steps {
    /// Runs one step and keeps its time, also when it fails.
    #[expect(clippy::disallowed_methods, reason = "a stopwatch of the outer edge")]
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        let started = Instant::now();
        let done = step();
        self.0.push((name.to_owned(), started.elapsed()));
        done
    }
}

/// The table is printed when the chore ends, however it ends.
impl Drop for Steps {
    fn drop(&mut self) {
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        for (name, took) in self.0.iter().chain([&("total".to_owned(), all)]) {
            say(&format!("{:>4} min {:02} s  {name}", took.as_secs() / 60, took.as_secs() % 60));
        }
    }
}
