//! The ends of a run's ticks: at even intervals, and wherever a phase or a window of an expectation begins or ends,
//! so that each of those consists of whole ticks.

use std::{collections::BTreeSet, time::Duration};

use crate::scenario::{During, Mode, Plan};

/// Most ticks of even length in a run.
const TICKS_MAX: u64 = 3_600;
/// Longest tick of a load run, whatever its length.
const LOAD_TICK_MAX: Duration = Duration::from_secs(10);

/// The ends of all ticks of a run, in order. After its end, ticks continue at even intervals.
#[derive(Debug, Clone)]
pub struct Ticks {
    ends: Vec<Duration>,
    length: Duration,
}

impl Ticks {
    /// The ticks of this plan: a second each, or more in long runs.
    pub fn of(plan: &Plan) -> Self {
        let length = length(plan);
        let even = |from: Duration, to: Duration, step: Duration| {
            (0_u32..).map(move |number| from + step * number).take_while(move |at| *at < to)
        };
        let phases = plan.phases();
        let mut ends: BTreeSet<Duration> = even(Duration::ZERO, plan.duration, length).collect();
        ends.extend(phases.iter().flat_map(|(_, from, to)| [*from, *to]));
        for expectation in &plan.expectations {
            let of_phase = |name: &String| phases.iter().find(|(phase, _, _)| phase == name);
            let (from, to) = match &expectation.during {
                During::WholeRun => (Duration::ZERO, plan.duration),
                During::Phase(name) => of_phase(name).map_or_else(Default::default, |(_, from, to)| (*from, *to)),
            };
            // Shorter windows are one tick each: cutting a run of days into seconds costs more than it shows.
            if let Some(every) = expectation.every.filter(|every| *every >= length) {
                ends.extend(even(from, to, every));
            }
        }
        ends.insert(plan.duration);
        Self { ends: ends.into_iter().filter(|end| !end.is_zero() && *end <= plan.duration).collect(), length }
    }

    /// When the tick of this number, from 0, begins; since the start of the run.
    pub fn start(&self, number: u64) -> Duration {
        number.checked_sub(1).map_or(Duration::ZERO, |before| self.end(before))
    }

    pub fn end(&self, number: u64) -> Duration {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.ends.get(place).copied().unwrap_or_else(|| {
            let after = u32::try_from(place.saturating_sub(self.ends.len())).unwrap_or(u32::MAX);
            self.ends.last().copied().unwrap_or_default() + self.length.saturating_mul(after.saturating_add(1))
        })
    }
}

fn length(plan: &Plan) -> Duration {
    let whole = Duration::from_secs(plan.duration.as_secs().div_ceil(TICKS_MAX).max(1));
    if plan.mode == Mode::Load { whole.min(LOAD_TICK_MAX) } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(text: &str) -> Ticks {
        let text = format!(
            "name = \"t\"\ngoal = \"Ticks.\"\nmode = \"rehearse\"\n{text}\n[[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        let known = crate::scenario_settings::ScenarioSettings;
        Ticks::of(&crate::scenario::check("t.toml", text.as_bytes(), &known).unwrap())
    }

    fn ends_s(ticks: &Ticks, numbers: std::ops::Range<u64>) -> Vec<f64> {
        numbers.map(|number| ticks.end(number).as_secs_f64()).collect()
    }

    #[test]
    fn a_long_run_has_tick_ends_at_phases_and_windows() {
        let phase = "[[timeline]]\nat = \"100s\"\ndo = \"phase\"\nname = \"storm\"\n";
        let window = "[[expect]]\nmetric = \"heartbeat.acked\"\nmin = 1\nduring = \"storm\"\nevery = \"5m\"\n";
        let fleet = "duration = \"10d\"\nramp = \"90s\"\n[fleet]\ndevices = 1\nheartbeat_interval = \"1m\"\n";
        let ticks = ticks(&format!("{fleet}{phase}{window}"));
        assert_eq!(ends_s(&ticks, 0..7), [90.0, 100.0, 240.0, 400.0, 480.0, 700.0, 720.0]);
        assert_eq!((ticks.start(0), ticks.start(1).as_secs()), (Duration::ZERO, 90));
    }

    #[test]
    fn the_last_tick_ends_with_the_run_and_more_follow_for_late_answers() {
        let ticks = ticks("duration = \"2500ms\"\n[fleet]\ndevices = 1\nheartbeat_interval = \"1s\"\n");
        assert_eq!(ends_s(&ticks, 0..5), [1.0, 2.0, 2.5, 3.5, 4.5]);
        assert_eq!(ticks.start(4).as_millis(), 3_500);
    }
}
