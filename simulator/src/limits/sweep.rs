//! The same seeded traffic against each configuration, over all cores.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_reports::{
    reactions::Reactions,
    run_folder::Summary,
    score::State,
    sweep::{Configuration, SWEEP_TRIALS, SweepSetup, SweepTrial, VariedSetting},
};

use super::{
    configurations::{own_limits, with_settings},
    settings::single_value,
};
use crate::{
    drive::rehearse::Signatures,
    failure::{Failure, LIMITS_SWEEP},
    run::measure::{LIMITED, OK, UNSENT, is_let_through},
    scenario::Plan,
    trials::{
        Record, Recorded,
        work::{SEED_MAX, Work, nth_case, of_round, rehearse_one},
    },
};

/// The code of what the limit on writes in progress refuses, a full queue or disk, and turns of downloads: limits without a row in the
/// server's table.
const OVERLOADED: &str = "OVERLOADED";

/// A sweep to be made.
#[derive(Debug)]
pub struct LimitSweep<'a> {
    pub plan: &'a Plan,
    pub varied: Vec<VariedSetting>,
    /// As checked.
    pub configurations: Vec<Configuration>,
    /// Trials of each configuration.
    pub trials: u32,
    /// The command that repeats a trial, without its settings and its seed.
    pub replay: String,
    /// Real time after which no further trial starts.
    pub budget: Option<Duration>,
}

impl Recorded for SweepTrial {
    const FILE: &'static str = SWEEP_TRIALS;
    const RESUMED_BY: &'static str = LIMITS_SWEEP;

    fn described(&self) -> String {
        format!("configuration `{}`, seed {}", self.configuration, self.seed)
    }

    fn is_possible(&self) -> bool {
        Self::is_possible(self)
    }
}

impl LimitSweep<'_> {
    /// The configurations that are tried.
    fn tried(&self) -> Vec<&Configuration> {
        self.configurations.iter().filter(|of| of.refused.is_none()).collect()
    }

    /// Trials of all configurations.
    pub fn total(&self) -> u64 {
        u64::from(self.trials.max(1)).saturating_mul(u64::try_from(self.tried().len()).unwrap_or(u64::MAX))
    }

    /// Makes the trials that the record lacks; see [`Work::run`].
    ///
    /// # Errors
    /// A trial did not finish, or can't be recorded.
    pub fn run(
        &self,
        record: &mut Record<SweepTrial>,
        stop: &Arc<AtomicBool>,
        progress: impl FnMut(&Record<SweepTrial>, Option<Duration>),
    ) -> Result<State, Failure> {
        let tried = self.tried();
        let cases: Vec<(&Configuration, Plan)> =
            tried.iter().map(|of| (*of, with_settings(self.plan, &of.settings))).collect();
        let one = |number: u64| {
            let Some((of, plan)) = cases.get(nth_case(number, cases.len())) else { return Ok(None) };
            let plan = of_round(plan, number, cases.len());
            let replay = self.replay_of(of, plan.seed);
            let summary = rehearse_one(&plan, replay.clone(), false, stop)?;
            Ok(summary.map(|summary| trial(of.name.clone(), &summary, replay)))
        };
        let work = Work { cases: cases.len(), total: self.total(), budget: self.budget, stop };
        work.run(record, one, |_| false, progress)
    }

    /// The number of a trial in the order in which they are made; none if it is not one of these.
    pub fn numbers(&self) -> impl Fn(&SweepTrial) -> Option<u64> {
        let names: Vec<String> = self.tried().iter().map(|of| of.name.clone()).collect();
        let first = self.plan.seed;
        move |trial: &SweepTrial| {
            let case = u64::try_from(names.iter().position(|name| *name == trial.configuration)?).ok()?;
            let round = trial.seed.wrapping_sub(first) & SEED_MAX;
            round.checked_mul(u64::try_from(names.len()).ok()?)?.checked_add(case)
        }
    }

    /// The parameters of all trials.
    pub fn setup(&self) -> SweepSetup {
        SweepSetup {
            scenario: self.plan.name.clone(),
            devices: u64::from(self.plan.fleet.devices),
            simulated_s: self.plan.duration.as_secs_f64(),
            first_seed: self.plan.seed,
            signatures: Signatures::chosen().as_str().to_owned(),
            varied: self.varied.clone(),
            configurations: self.configurations.clone(),
            trials: self.trials,
            own_limits: own_limits(self.plan),
            has_attackers: !self.plan.adversaries.is_empty(),
            ..SweepSetup::default()
        }
    }

    fn replay_of(&self, of: &Configuration, seed: u64) -> String {
        let settings: String = of.settings.iter().map(|(name, value)| single_value(name, value)).collect();
        format!("{}{settings} --trials 1 --seed {seed}", self.replay)
    }
}

/// What a rehearsal shows of its limits.
fn trial(configuration: String, summary: &Summary, replay: String) -> SweepTrial {
    let honest = || summary.requests_by_code.values().flatten().map(|(code, count)| (code.as_str(), *count));
    let count = |is_it: &dyn Fn(&str) -> bool| honest().filter(|(code, _)| is_it(code)).map(|(_, count)| count).sum();
    let attacks = || summary.adversary_requests.values();
    let let_through = attacks().flat_map(|of| &of.by_code).filter(|(code, _)| is_let_through(code));
    let attacks_let_through: u64 = let_through.map(|(_, count)| *count).sum();
    let mut fired: BTreeMap<String, u64> =
        summary.limits.iter().map(|of| (of.name.clone(), of.refused + of.would_refuse)).collect();
    let attack_codes = attacks().flat_map(|of| &of.by_code).map(|(code, count)| (code.as_str(), *count));
    let overloaded: u64 =
        honest().chain(attack_codes).filter(|(code, _)| *code == OVERLOADED).map(|(_, count)| count).sum();
    if overloaded > 0 {
        fired.insert(OVERLOADED.to_owned(), overloaded);
    }
    let violations: usize = summary.invariants.iter().flatten().map(|judged| judged.violations.len()).sum();
    SweepTrial {
        configuration,
        seed: summary.seed,
        verdict: summary.verdict,
        reasons: summary.reasons.clone(),
        requests: count(&|code| code != UNSENT),
        refused: count(&|code| LIMITED.contains(&code)),
        served: count(&|code| code == OK),
        devices: summary.devices,
        late_devices: summary.late_devices.map(|late| late.devices),
        deadline_s: summary.late_devices.map(|late| late.deadline_s),
        attacks: attacks().map(|of| of.sent).sum::<u64>().max(attacks_let_through),
        attacks_let_through,
        attacks_accepted: summary.adversaries.values().map(|of| of.successes).sum(),
        let_through_per_s_max: summary.let_through_per_s_max.unwrap_or_default(),
        refused_again: summary.reactions.as_ref().map_or(0, |of| of.refused_again),
        second_peak_per_s: summary.reactions.as_ref().map_or(0, |of| of.second_peak_per_s),
        sent_per_wanted: summary.reactions.as_ref().and_then(Reactions::amplification),
        recovery_p99_s: summary.recovery.as_ref().and_then(|of| of.all.p99_s),
        never_served: summary.recovery.as_ref().map_or(0, |of| of.all.never_served),
        fired,
        writes_in_progress_max: summary.writes_in_progress_max,
        limit_memory_bytes: summary.limit_memory_bytes,
        invariant_violations: u64::try_from(violations).unwrap_or(u64::MAX),
        replay,
    }
}
