//! The search for the highest load that holds: loads and verdicts in, the next load out. No clock, no I/O.
//!
//! A load is a number of devices: each of them offers the same rate. What is next depends only on the verdicts so far, so a
//! verdict by chance is corrected by later ones: a load that failed once and holds when it is repeated no longer bounds the search.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every expectation was met.
    Held,
    /// An expectation was not met.
    Failed,
    /// The load generator could not offer the load as planned: nothing is known about the server.
    Unmeasured,
}

/// What the search may try, and when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first load tried.
    pub start: u32,
    /// The lowest load that can be measured in the time of a step.
    pub floor: u32,
    /// The highest load that this machine can offer.
    pub ceiling: u32,
    /// Runs of each end of the interval, the first ones included: an odd number, so that most of them agree.
    pub repeats: usize,
    /// The interval is narrowed until its upper end is at most this much above its lower one, in per cent.
    pub resolution_per_cent: u32,
}

/// Why a load is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Where the search begins.
    First,
    /// Everything so far held.
    Higher,
    /// Nothing so far held.
    Lower,
    /// The limit is between two loads.
    Between,
    /// It held and failed: another run decides.
    Decide,
    /// Whether it holds, or fails, again.
    Confirm,
}

/// What the search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchResult {
    /// `held` held in each of its runs, `above` did not in most of its.
    Between { held: u32, above: u32 },
    /// The highest load that can be offered held in each of its runs.
    Ceiling { held: u32 },
    /// Not even the lowest load held.
    Nothing { lowest: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    Try(u32, Purpose),
    Done(SearchResult),
}

/// A search, with every verdict so far.
#[derive(Debug, Clone)]
pub struct Search {
    bounds: Bounds,
    tried: BTreeMap<u32, Vec<Verdict>>,
}

impl Search {
    /// A search that has tried nothing. Bounds that contradict each other are corrected: the floor gives way to the ceiling, and
    /// the start to both.
    pub fn new(bounds: Bounds) -> Self {
        let ceiling = bounds.ceiling.max(1);
        let floor = bounds.floor.clamp(1, ceiling);
        let start = bounds.start.clamp(floor, ceiling);
        Self { bounds: Bounds { start, floor, ceiling, ..bounds }, tried: BTreeMap::new() }
    }

    /// Takes the verdict on a load.
    pub fn take(&mut self, load: u32, verdict: Verdict) {
        self.tried.entry(load).or_default().push(verdict);
    }

    /// The next load, or the result.
    pub fn next(&self) -> NextStep {
        if self.tried.is_empty() {
            return NextStep::Try(self.bounds.start, Purpose::First);
        }
        match (self.held(), self.above()) {
            (_, None) => self.upward(),
            (None, Some(above)) => self.downward(above),
            (Some(held), Some(above)) => self.inward(held, above),
        }
    }

    /// The highest load below every failing one that held in each of its runs, so far.
    pub fn held(&self) -> Option<u32> {
        let above = self.above().unwrap_or(u32::MAX);
        self.tried.iter().rev().find(|(load, runs)| **load < above && always_held(runs)).map(|(load, _)| *load)
    }

    /// The lowest load that did not hold in most of its runs, so far.
    pub fn above(&self) -> Option<u32> {
        self.tried.iter().find(|(_, runs)| mostly_failed(runs)).map(|(load, _)| *load)
    }

    /// How many runs of a load there were.
    pub fn runs(&self, load: u32) -> usize {
        self.tried.get(&load).map_or(0, Vec::len)
    }

    /// About how many steps are left, if nothing unexpected happens.
    pub fn steps_left(&self) -> usize {
        let missing = |load: Option<u32>| self.bounds.repeats.saturating_sub(load.map_or(0, |load| self.runs(load)));
        let (held, above) = (self.held(), self.above());
        let halvings = match (held, above) {
            (Some(held), Some(above)) => self.halvings(held, above),
            // One more doubling, and then from a factor of 2 to the resolution.
            _ => 1 + self.halvings(100, 200),
        };
        // A new end has had one run by then.
        let confirmed =
            if halvings > 0 { 2 * self.bounds.repeats.saturating_sub(1) } else { missing(held) + missing(above) };
        halvings + confirmed
    }

    /// No load failed in most of its runs.
    fn upward(&self) -> NextStep {
        if let Some(undecided) = self.undecided(0, u32::MAX) {
            return NextStep::Try(undecided, Purpose::Decide);
        }
        let highest = self.tried.last_key_value().map_or(self.bounds.start, |(load, _)| *load);
        if highest < self.bounds.ceiling {
            return NextStep::Try(highest.saturating_mul(2).min(self.bounds.ceiling), Purpose::Higher);
        }
        match self.held() {
            Some(held) if self.runs(held) < self.bounds.repeats => NextStep::Try(held, Purpose::Confirm),
            Some(held) => NextStep::Done(SearchResult::Ceiling { held }),
            None => NextStep::Done(SearchResult::Nothing { lowest: self.lowest() }), // each held in most of its runs, and none in all
        }
    }

    /// Nothing below `above` held: halve, and from the second time on quarter.
    fn downward(&self, above: u32) -> NextStep {
        let lowest = self.lowest();
        if let Some(undecided) = self.undecided(0, above) {
            return NextStep::Try(undecided, Purpose::Decide);
        }
        if lowest > self.bounds.floor {
            let by = if self.tried.len() == 1 { 2 } else { 4 };
            return NextStep::Try((lowest / by).max(self.bounds.floor), Purpose::Lower);
        }
        if self.runs(lowest) < self.bounds.repeats {
            return NextStep::Try(lowest, Purpose::Confirm);
        }
        NextStep::Done(SearchResult::Nothing { lowest })
    }

    /// Narrows the interval, then confirms its ends.
    fn inward(&self, held: u32, above: u32) -> NextStep {
        if let Some(undecided) = self.undecided(held, above) {
            return NextStep::Try(undecided, Purpose::Decide);
        }
        let chain: Vec<u32> = self.tried.range(held..=above).map(|(load, _)| *load).collect();
        let gaps = chain.iter().zip(chain.iter().skip(1)).map(|(low, high)| (*low, *high));
        let widest = gaps
            .filter(|(low, high)| self.is_wide(*low, *high))
            .max_by_key(|(low, high)| u64::from(*high) * 1_000 / u64::from(*low));
        if let Some((low, high)) = widest {
            return NextStep::Try(middle(low, high), Purpose::Between);
        }
        let fewest = [held, above]
            .into_iter()
            .min_by_key(|load| self.runs(*load))
            .filter(|load| self.runs(*load) < self.bounds.repeats);
        match fewest {
            Some(load) => NextStep::Try(load, Purpose::Confirm),
            None => NextStep::Done(SearchResult::Between { held, above }),
        }
    }

    fn lowest(&self) -> u32 {
        self.tried.first_key_value().map_or(self.bounds.floor, |(load, _)| *load)
    }

    /// A load between the two that held and failed, and has not been run often enough to decide.
    fn undecided(&self, low: u32, high: u32) -> Option<u32> {
        let is_it = |(_, runs): &(&u32, &Vec<Verdict>)| {
            !always_held(runs) && !mostly_failed(runs) && runs.len() < self.bounds.repeats
        };
        self.tried.range(low..high).find(is_it).map(|(load, _)| *load)
    }

    fn is_wide(&self, low: u32, high: u32) -> bool {
        let allowed = u64::from(low) * u64::from(100 + self.bounds.resolution_per_cent);
        high - low > 1 && u64::from(high) * 100 > allowed
    }

    /// How often an interval has to be halved.
    fn halvings(&self, mut low: u32, high: u32) -> usize {
        let mut count = 0;
        while self.is_wide(low, high) {
            low = middle(low, high);
            count += 1;
        }
        count
    }
}

fn always_held(runs: &[Verdict]) -> bool {
    !runs.is_empty() && runs.iter().all(|verdict| *verdict == Verdict::Held)
}

fn mostly_failed(runs: &[Verdict]) -> bool {
    runs.iter().filter(|verdict| **verdict != Verdict::Held).count() * 2 > runs.len()
}

/// The geometric mean of two loads more than one apart, strictly between them.
fn middle(low: u32, high: u32) -> u32 {
    let mean = (u64::from(low) * u64::from(high)).isqrt();
    u32::try_from(mean).unwrap_or(low).clamp(low + 1, high - 1)
}
