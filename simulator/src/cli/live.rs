//! Shows many rehearsals while they run: a line of progress, and a page that is drawn again and again.

use std::{io::IsTerminal, path::Path, time::Duration};

use ks_reports::score::State;

use super::output::complain;
use crate::{
    console::{grouped, span},
    failure::Failure,
    host::stopwatch::Stopwatch,
    trials::{Record, Recorded},
};

/// Seconds between two lines of progress on a terminal, and elsewhere.
const SHOWN_EVERY_S: (u64, u64) = (1, 10);
/// Time between two drawings of the page.
const DRAWN_EVERY: Duration = Duration::from_secs(5);
/// Drawing the page costs at most one part in this many of the time.
const DRAWING_SHARE: u32 = 20;

pub(super) struct LiveTrials<D> {
    /// Trials in all.
    pub(super) of: u64,
    pub(super) budget: Option<Duration>,
    pub(super) quiet: bool,
    pub(super) draw: D,
}

/// Trials that run.
pub(super) struct Live<D> {
    following: LiveTrials<D>,
    stopwatch: Stopwatch,
    shown_s: u64,
    drawn: Stopwatch,
    every: Duration,
    undrawn: Option<Failure>,
}

impl<D> Live<D> {
    /// Draws the page for the first time.
    pub(super) fn begin<T: Recorded>(record: &Record<T>, page: &Path, following: LiveTrials<D>) -> Result<Self, Failure>
    where
        D: Fn(&Record<T>) -> Result<(), Failure>,
    {
        (following.draw)(record)?;
        if !following.quiet {
            complain(&format!("{} trials made; results so far: {}", grouped(record.count()), page.display()));
        }
        let (stopwatch, drawn) = (Stopwatch::started(), Stopwatch::started());
        Ok(Self { following, stopwatch, shown_s: 0, drawn, every: DRAWN_EVERY, undrawn: None })
    }

    /// A trial has ended, and the others take about as long as `left`.
    pub(super) fn follow<T: Recorded>(&mut self, record: &Record<T>, left: Option<Duration>)
    where
        D: Fn(&Record<T>) -> Result<(), Failure>,
    {
        if self.drawn.elapsed() >= self.every {
            let drawing = Stopwatch::started();
            self.undrawn = (self.following.draw)(record).err();
            self.every = DRAWN_EVERY.max(drawing.elapsed() * DRAWING_SHARE);
            self.drawn = Stopwatch::started();
        }
        let elapsed = self.stopwatch.elapsed();
        let every_s = if std::io::stderr().is_terminal() { SHOWN_EVERY_S.0 } else { SHOWN_EVERY_S.1 };
        let is_last = left == Some(Duration::ZERO);
        if !self.following.quiet && (elapsed.as_secs() >= self.shown_s + every_s || is_last) {
            self.shown_s = elapsed.as_secs();
            complain(&self.progress(record.count(), elapsed, left));
        }
    }

    /// How they ended, unless the page can't be drawn.
    pub(super) fn end(self, state: State) -> Result<State, Failure> {
        self.undrawn.map_or(Ok(state), Err)
    }

    /// `12 min 5 s | 137 of 450 trials | about 26 min 10 s left`.
    fn progress(&self, made: u64, elapsed: Duration, left: Option<Duration>) -> String {
        let left = match (left, self.following.budget.map(|budget| budget.saturating_sub(elapsed))) {
            (Some(left), Some(budget)) if left > budget => {
                let [left, budget] = [left, budget].map(|of| span(of.as_secs_f64()));
                format!(" | about {left} needed, the budget ends in {budget}")
            }
            (Some(left), _) => format!(" | about {} left", span(left.as_secs_f64())),
            (None, _) => String::new(),
        };
        let [made, of] = [made, self.following.of].map(grouped);
        format!("{} | {made} of {of} trials{left}", span(elapsed.as_secs_f64()))
    }
}
