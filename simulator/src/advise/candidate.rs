//! One policy of the search, with its chances and times.

use std::time::Duration;

use ks_server::rollout::{
    policy::{Policy, Scope, WHOLE_BP},
    power::groups,
    stage::PlannedStage,
    walk::{Order, promoted},
};

use super::{
    AdvisedPolicy, BugToFind, Canary, NoAdvice,
    background::Background,
    binomial::Binomial,
    ceil, executed, judged_as, never_lost,
    population::Population,
    scope, share, threshold_bp,
    times::{Lengths, Steps},
    too_late,
};

/// Bake times are multiples of this.
const BAKE_STEP: Duration = Duration::from_mins(15);
/// Steps of the search for the background that a policy tolerates: to less than a thousandth of the bug's rate.
const TOLERANCE_STEPS: u32 = 10;
/// The share of cases that a "95 %" limit covers.
const MOST: f64 = 0.95;

/// The stages of a policy, each with its bake time, and when the canary among them has shown the bug at the latest; none if a
/// device at some site may never be lost.
fn timed(
    population: &Population<'_>,
    steps: &[(u16, u32, u64)],
    (started, canary_stage): (&[PlannedStage], usize),
    lengths: &Lengths,
) -> Option<(Vec<(Steps, Duration)>, Duration)> {
    let mut above_bp = 0;
    let stages = steps.iter().zip(started).enumerate().map(|(number, ((share_bp, adds, _), started))| {
        let all_run = Duration::from_secs(started.at_best_s);
        let mut stage = population.steps((above_bp, *share_bp), executed(*adds).max(1), all_run);
        above_bp = *share_bp;
        if number > canary_stage {
            // By then the bug is found: no bake time has to wait for the last device of each site.
            stage.parts.iter_mut().for_each(|part| part.site_rounds = 0);
        }
        let bake = ceil(lengths.bake(&stage)?, BAKE_STEP);
        Some((stage, bake))
    });
    let stages = stages.collect::<Option<Vec<(Steps, Duration)>>>()?;
    let until_canary: Vec<_> = stages.iter().take(canary_stage + 1).map(|(of, bake)| (of, *bake)).collect();
    let found_after = lengths.found_after(&until_canary)?;
    Some((stages, found_after))
}

/// Of `of_group` devices among `all` that are offered the release at this pace, those that are within so long, at the most.
fn offered_within(time: Duration, starts_per_min: u32, of_group: u32, all: u32) -> u32 {
    let starts = u64::from(starts_per_min) * (time.as_secs().div_ceil(60) + 1);
    let own = (starts * u64::from(of_group)).div_ceil(u64::from(all.max(1)));
    u32::try_from(own).unwrap_or(u32::MAX).min(of_group)
}

/// Of devices that get a release one after the other, and fail with a chance of `rate`: how many fail, if it is offered to `meanwhile`
/// more after the `failures`-th that fails, and to none after that. Expected, and in 95 % of all cases at most.
///
/// By Wald's identity `rate` times the expected number of offers, which are more than n if fewer than `failures` of the first
/// n - `meanwhile` fail.
fn hit_until_stopped(devices: u32, meanwhile: u32, failures: u32, rate: f64) -> (f64, u32) {
    let meanwhile = meanwhile.min(devices);
    // The chances of 0, 1 and so on failures so far, as long as they are too few to stop.
    let mut too_few: Vec<f64> = (0..failures).map(|failed| if failed == 0 { 1.0 } else { 0.0 }).collect();
    let mut beyond = 0.0;
    for _ in meanwhile..devices {
        beyond += too_few.iter().sum::<f64>();
        let mut one_less = 0.0;
        for chance in &mut too_few {
            let before = std::mem::replace(chance, *chance * (1.0 - rate) + one_less * rate);
            one_less = before;
        }
    }
    let of_all = Binomial::new(devices, rate).quantile(MOST);
    let after_the_last = failures.saturating_add(Binomial::new(meanwhile, rate).quantile(MOST));
    ((f64::from(meanwhile) + beyond) * rate, of_all.min(after_the_last))
}

pub(super) struct Candidate<'a> {
    question: &'a BugToFind,
    canary: Canary,
    policy: Policy,
    /// The stages that the server would plan for it.
    planned: Vec<PlannedStage>,
    /// The devices of the group in the first step, in the canary, and all.
    devices: [u32; 3],
    /// Devices of the group that are offered the release while a failure is not known yet, at the most.
    offered_meanwhile: u32,
    /// The number of the canary's stage.
    canary_stage: usize,
    /// How long after the start the canary has shown the bug.
    found_after: Duration,
}

impl<'a> Candidate<'a> {
    /// The policy with these steps, the last of which is the canary, and then all devices.
    pub(super) fn of(
        population: &Population<'_>,
        question: &'a BugToFind,
        canary: &Canary,
        steps: &[u16],
    ) -> Result<Self, NoAdvice> {
        Self::at_pace(population, question, canary, steps, population.usual().starts_per_min)
    }

    /// The same at another pace, in starts a minute.
    pub(super) fn at_pace(
        population: &Population<'_>,
        question: &'a BugToFind,
        canary: &Canary,
        steps: &[u16],
        starts_per_min: u32,
    ) -> Result<Self, NoAdvice> {
        let mut shares = steps.to_vec();
        if shares.last() != Some(&WHOLE_BP) {
            shares.push(WHOLE_BP);
        }
        let of_group = population.devices_at(canary.share_bp);
        let threshold_bp = threshold_bp(population, canary)
            .ok_or_else(|| NoAdvice::Impossible("a gate's threshold would need a finer unit".to_owned()))?;
        let first = shares.first().map_or(0, |share_bp| population.devices_at(*share_bp));
        let gate = Some((scope(&question.group), threshold_bp, executed(first).max(1)));
        let before_bp = std::iter::once(0).chain(shares.iter().copied());
        let all_at = |share_bp| population.targets_at(share_bp);
        let adds: Vec<u32> = shares.iter().zip(before_bp).map(|(own, before)| all_at(*own) - all_at(before)).collect();
        let (mut too_late_by, mut is_never) = (None, false);
        for lost_after_s in population.lost_after_s() {
            let whole: Vec<_> =
                shares.iter().zip(&adds).map(|(share_bp, adds)| (*share_bp, (*adds).max(1), 0)).collect();
            let unbaked = population.draft(&whole, None, lost_after_s, starts_per_min);
            let started = population.planned(&unbaked)?;
            let canary_stage = shares.iter().position(|share_bp| *share_bp == canary.share_bp).unwrap_or(0);
            let lengths = population.lengths(&unbaked);
            let Some((stages, found_after)) = timed(population, &whole, (&started, canary_stage), &lengths) else {
                is_never = true;
                continue;
            };
            let steps: Vec<_> = whole
                .iter()
                .zip(&stages)
                .map(|((share_bp, ..), (stage, bake))| (*share_bp, stage.needed, bake.as_secs()))
                .collect();
            let policy = population.draft(&steps, gate, lost_after_s, starts_per_min);
            let planned = population.planned(&policy)?;
            if found_after > Duration::from_secs(question.within_s) {
                too_late_by = Some(found_after);
                continue;
            }
            let devices = [first, of_group, population.devices()];
            let all: u32 = adds.iter().take(canary_stage + 1).sum();
            let shown_after = stages.get(canary_stage).and_then(|(stage, _)| lengths.shown_after_offer(stage));
            let offered_meanwhile =
                shown_after.map_or(of_group, |after| offered_within(after, starts_per_min, of_group, all));
            let canary = *canary;
            return Ok(Self {
                question,
                canary,
                policy,
                planned,
                devices,
                offered_meanwhile,
                canary_stage,
                found_after,
            });
        }
        match too_late_by {
            None if is_never => Err(never_lost()),
            found => Err(too_late(question, found.unwrap_or_default(), &population.fails_how())),
        }
    }

    /// The chance to stop a good release whose devices fail by themselves with this chance, in each group.
    fn false_alarms_with(&self, failing: impl Fn((Scope, &str)) -> f64) -> f64 {
        let gates = self.policy.gates.iter();
        let passes = gates.flat_map(|gate| {
            let groups = groups(gate.scope, &self.planned).into_iter();
            groups.map(|(name, added)| {
                let failing = failing((gate.scope, name.as_str()));
                promoted(gate, &added, failing, Order::Mixed).last().copied().unwrap_or(1.0)
            })
        });
        1.0 - passes.product::<f64>()
    }

    /// The chance to stop a good release whose devices fail by themselves as here.
    pub(super) fn false_alarms(&self, background: &Background<'_>) -> f64 {
        self.false_alarms_with(|group| background.chance(group, self.policy.lost_after_s, self.at_best_s()))
    }

    /// The chance to stop the rollout by the end of each stage, all of whose devices have an outcome, by the server's own gates.
    fn found_by_stage(&self) -> Vec<f64> {
        let rate = share(self.question.detect_bp);
        let Some(gate) = self.policy.gates.first() else { return Vec::new() }; // each policy here has one
        let own = groups(gate.scope, &self.planned).remove(judged_as(&self.question.group));
        let passes = own.map_or_else(Vec::new, |added| promoted(gate, &added, rate, Order::FailuresLast));
        passes.into_iter().map(|chance| 1.0 - chance).collect()
    }

    /// The failures of the first step at which the gate stops.
    fn first_step_stops_at(&self) -> u32 {
        let Some(gate) = self.policy.gates.first() else { return 0 }; // each policy here has one
        let devices = u64::from(self.devices[0].max(gate.min_executed));
        u32::try_from(u64::from(gate.threshold_bp) * devices / u64::from(WHOLE_BP)).map_or(0, |most| most + 1)
    }

    /// The highest chance to fail by itself at which false alarms are as rare as wanted.
    fn tolerates(&self) -> f64 {
        let wanted = share(self.question.false_alarms_bp);
        let (mut low, mut high) = (0.0, share(self.question.detect_bp));
        for _ in 0..TOLERANCE_STEPS {
            let middle = f64::midpoint(low, high);
            *(if self.false_alarms_with(|_| middle) <= wanted { &mut low } else { &mut high }) = middle;
        }
        low
    }

    /// The chance of a device to fail by itself within the rollout.
    fn background(&self, background: &Background<'_>) -> f64 {
        background.chance((Scope::Cumulative, "all"), self.policy.lost_after_s, self.at_best_s())
    }

    /// How long the rollout of a good release takes at best, in seconds.
    fn at_best_s(&self) -> u64 {
        self.planned.iter().map(|stage| stage.at_best_s).sum()
    }

    /// Devices that the bug hits until the canary ends, or the rollout is stopped before: expected, and in 95 % of all cases at most.
    pub(super) fn hit(&self) -> (f64, u32) {
        let rate = share(self.question.detect_bp);
        let [first_step, of_group, _] = self.devices;
        let of_canary = Binomial::new(of_group, rate);
        if self.canary_stage == 0 {
            return hit_until_stopped(of_group, self.offered_meanwhile, self.canary.failures, rate);
        }
        let goes_on = 1.0 - self.found_by_stage().get(self.canary_stage - 1).copied().unwrap_or(0.0);
        let later = goes_on * f64::from(of_group - first_step.min(of_group));
        ((f64::from(first_step) + later) * rate, of_canary.quantile(MOST))
    }

    pub(super) fn advised(&self, name: &str, background: &Background<'_>) -> AdvisedPolicy {
        let [first_step, of_group, all] = self.devices;
        let rate = share(self.question.detect_bp);
        let (hit, hit_at_most) = self.hit();
        let found = self.found_by_stage();
        let found_by = |stage: Option<usize>| stage.and_then(|stage| found.get(stage)).copied().unwrap_or(0.0);
        let stages = self.planned.iter();
        let canary_devices = stages.take(self.canary_stage + 1).map(|stage| stage.adds).sum();
        AdvisedPolicy {
            name: name.to_owned(),
            canary: self.canary,
            canary_devices,
            canary_of_group: of_group,
            found: Binomial::new(executed(of_group), rate).at_least(self.canary.failures),
            found_if_all_run: found_by(Some(self.canary_stage)),
            found_after_s: self.found_after.as_secs(),
            hit,
            hit_at_most,
            hit_if_missed: f64::from(all) * rate,
            first_step,
            first_step_stops_at: self.first_step_stops_at(),
            duration_s: self.at_best_s(),
            background: self.background(background),
            false_alarms: self.false_alarms(background),
            tolerates: self.tolerates(),
            policy: self.policy.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the devices that are hit before a rollout stops. Method: every outcome of 14 devices one after the other, counted.
    #[test]
    fn hits_until_stopped_are_those_of_all_outcomes() {
        const DEVICES: u32 = 14;
        for (meanwhile, failures, rate) in
            [(0, 1, 0.1), (3, 1, 0.2), (2, 3, 0.4), (5, 2, 0.15), (14, 2, 0.3), (20, 1, 0.3)]
        {
            let mut by_hits = vec![0.0; 15];
            for outcome in 0_u32..1 << DEVICES {
                let fails = |nth: u32| outcome >> nth & 1 == 1;
                let chance: f64 = (0..DEVICES).map(|nth| if fails(nth) { rate } else { 1.0 - rate }).product();
                let last = (0..DEVICES).filter(|nth| fails(*nth)).nth(usize::try_from(failures).unwrap() - 1);
                let offered = last.map_or(DEVICES, |last| (last + 1 + meanwhile).min(DEVICES));
                by_hits[(0..offered).filter(|nth| fails(*nth)).count()] += chance;
            }
            let expected: f64 = (0_u32..).zip(&by_hits).map(|(hits, chance)| f64::from(hits) * chance).sum();
            let (hit, at_most) = hit_until_stopped(DEVICES, meanwhile, failures, rate);
            assert!((hit - expected).abs() < 1e-9, "{hit} is not {expected}: {meanwhile}, {failures}, {rate}");
            let covered: f64 = by_hits.iter().take(usize::try_from(at_most).unwrap() + 1).sum();
            assert!(covered >= MOST, "{covered}: {meanwhile}, {failures}, {rate}");
        }
    }

    /// The k-th failure comes after k / rate devices on average.
    #[test]
    fn in_a_large_fleet_it_stops_after_the_failures_and_those_that_are_offered_meanwhile() {
        let (hit, at_most) = hit_until_stopped(1_000_000, 200, 4, 0.015);
        assert!((hit - (4.0 + 200.0 * 0.015)).abs() < 1e-6 && at_most == 4 + 6, "{hit}, {at_most}");
    }

    #[test]
    fn what_is_offered_meanwhile_is_the_groups_part_of_the_pace() {
        let within = |time, pace| offered_within(time, pace, 300, 1_000);
        assert_eq!(within(Duration::from_mins(59), 2), 36, "120 starts in an hour, three of ten of the group");
        assert_eq!(within(Duration::from_hours(9), 2), 300, "no more than there are");
    }
}
