//! The steps of a task with the time of each, so that slow ones stand out.

use std::time::{Duration, Instant};

use crate::shell::{Failed, all_of, say};

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps(Vec<(String, Duration)>);

impl Steps {
    /// Runs one step and records its time, also if it fails.
    #[expect(clippy::disallowed_methods, reason = "a stopwatch of the outer edge")]
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
        let started = Instant::now();
        let done = step();
        self.0.push((name.to_owned(), started.elapsed()));
        done
    }
}

/// Runs a part with steps of its own in the background, beside other work that leaves something of the machine. Its output is better
/// printed by [`crate::shell::run_then_show`]; its table comes when both have ended.
pub(crate) fn beside(
    background: impl FnOnce(&mut Steps) -> Result<(), Failed> + Send,
    other: impl FnOnce() -> Result<(), Failed>,
) -> Result<(), Failed> {
    let (background, other) = std::thread::scope(|scope| {
        let background = scope.spawn(|| {
            let mut steps = Steps::default();
            let done = background(&mut steps);
            (steps, done)
        });
        let other = other();
        (background.join(), other)
    });
    let (_steps, background) = background.map_err(|_| Failed("what ran beside other work panicked".to_owned()))?;
    all_of([background, other])
}

/// The table is printed when the task ends, also on failure.
impl Drop for Steps {
    fn drop(&mut self) {
        let all: Duration = self.0.iter().map(|(_, took)| *took).sum();
        for (name, took) in self.0.iter().chain([&("total".to_owned(), all)]) {
            say(&format!("{:>4} min {:02} s  {name}", took.as_secs() / 60, took.as_secs() % 60));
        }
    }
}
