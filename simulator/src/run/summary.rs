//! The summary of a run: the verdict, then the numbers behind it.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use ks_protocol::{duration, time::UnixMs};
use ks_reports::reactions::{Cohort, HonestGroup, Reactions};
use ks_reports::recovery::{OutageRecovery, Recovered, Recovery};
use ks_reports::run_folder::{
    Attacks, EventsKept, Expectation, FORMAT, Heartbeats, InvariantResult, Ledger, LimitVerdicts, Mode, Percentiles,
    Phase, PhaseFigures, Summary, TlsHandshakes, Verdict,
};

use crate::{
    conductor::RunOutcome,
    device::exchange::MessageType,
    fleet,
    invariants::{Invariant, Violation},
    number::{counted, grouped},
    run::{
        expect::FinalResults,
        generator::{self, Resources},
        measure::{Answered, CohortCounts, Handshakes, Measured, Measurements, OK, Score},
        outages::{self, Outage},
        phase_recorder::adversary_requests,
        total_failure,
    },
    scenario::{Metric, Plan, Retry, Timing},
};

/// Facts about a run that are not measurements.
pub struct RunFacts<'a> {
    pub plan: &'a Plan,
    pub mode: Mode,
    pub target: String,
    pub started_at: UnixMs,
    /// Real time it took.
    pub wall: Duration,
    pub resources: Resources,
    /// Which events were logged.
    pub events_kept: EventsKept,
    /// SHA-256 of the event log's lines; rehearsals only.
    pub event_log_sha256: Option<String>,
    /// A command that repeats the run.
    pub replay: String,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// Why its measurement is unreliable, as far as its numbers don't say it.
    pub doubts: Vec<String>,
}

/// The summary of a run, with its verdict.
pub fn summarise(about: RunFacts<'_>, played: RunOutcome) -> Summary {
    let (total, ledger) = (&played.total, &played.ledger);
    let generator = generator::figures(total, &played.steady.0, about.resources);
    let mut rollouts = played.rollout_summaries.into_iter();
    let rollout = rollouts.next();
    let limit_verdicts = played.limit_verdicts.as_ref();
    let (expectations, late) = played.judge.finish(FinalResults {
        total,
        ledger,
        rollouts: &played.rollouts,
        limit_verdicts,
        limits: &played.limits,
    });
    let total_failure = total_failure::reason(total);
    let cut_short = played.interrupted || !played.unjudged.is_empty();
    let interrupted = played.interrupted.then_some(played.lasted);
    let undecided: Vec<String> =
        limit_verdicts.and_then(|verdicts| undecidable(about.plan, verdicts)).into_iter().collect();
    let reasons = Reasons {
        hard: facts(total, ledger, &played.failures, played.violations.iter().flatten(), total_failure.as_ref()),
        unsound: [doubts(&about, total, late, interrupted, total_failure.is_some()), undecided, played.unjudged]
            .concat(),
        unmet: played.aborted.into_iter().chain(not_met(&expectations, total)).collect(),
        broken: played.broken.into_iter().collect(),
    };
    // A missed expectation that ended the run early is reported as an expectation.
    let of_run =
        [reasons.broken.clone(), played.failures, total_failure.into_iter().collect(), reasons.unsound.clone()];
    let reasons_of_run = of_run.concat();
    let (verdict, exit_code, reasons) = reasons.verdict();
    Summary {
        format: FORMAT,
        scenario: about.plan.name.clone(),
        goal: about.plan.goal.clone(),
        mode: about.mode,
        seed: about.plan.seed,
        verdict,
        reasons,
        reasons_of_run,
        exit_code,
        target: about.target,
        started_at: about.started_at.to_string(),
        made_at: String::new(), // filled in by the caller
        wall_s: about.wall.as_secs_f64(),
        simulated_s: played.lasted.as_secs_f64(),
        interrupted: cut_short,
        devices: u64::from(about.plan.fleet.devices),
        heartbeats: heartbeats(total, &played.steady.0, played.steady.1),
        requests_by_code: by_type(total, codes),
        latency_ms: by_type(total, |of| percentiles(&of.accepted()?.response_us)),
        service_ms: by_type(total, |of| percentiles(&of.accepted()?.service_us)),
        other_latency_ms: by_type(total, others),
        has_latency: about.mode == Mode::Load || about.plan.has_delays(),
        bad_server_signatures: total.bad_server_signatures,
        unverified_answers: total.unverified,
        generator,
        tls: tls(&total.handshakes),
        reactions: Some(reactions(about.plan, total)),
        recovery: recovery(about.plan, &played.outages, total),
        rollout,
        other_rollouts: rollouts.collect(),
        adversaries: total.attacks.iter().map(|(kind, score)| ((*kind).to_owned(), attacks(*score))).collect(),
        expectations,
        adversary_requests: adversary_requests(total),
        late_devices: played.late_devices,
        limits: played.limits,
        limit_verdicts: played.limit_verdicts,
        writes_in_progress_max: played.protection_max.map(|(writes, _)| writes),
        limit_memory_bytes: played.protection_max.map(|(_, bytes)| bytes),
        let_through_per_s_max: Some(played.let_through_per_s_max),
        phases: phases(about.plan, &played.phases),
        invariants: played.violations.map(|violations| invariants(&violations)),
        events_kept: about.events_kept,
        event_log_sha256: about.event_log_sha256,
        ledger: played.ledger,
        replay: about.replay,
        notes: about.notes.into_iter().chain(churn(total)).collect(),
        ended_early: played.is_settled.then(|| settled(played.lasted, about.plan.duration)),
        segment: None,
        segments: Vec::new(),
    }
}

/// TLS handshakes; none if there were none.
fn tls(handshakes: &Handshakes) -> Option<TlsHandshakes> {
    let Handshakes { full, resumed, failed, ref first_failure, ref times_us } = *handshakes;
    let (first_failure, handshake_ms) = (first_failure.clone(), percentiles(times_us));
    (full + resumed + failed > 0).then_some(TlsHandshakes { full, resumed, failed, first_failure, handshake_ms })
}

/// How devices recovered from outages; none if no outage ended.
fn recovery(plan: &Plan, outages: &[Outage], total: &Measurements) -> Option<Recovery> {
    let none = outages::Recovered::default();
    let of_outage = |(number, outage): (usize, &Outage)| {
        let recovered = total.recovered.get(&number).unwrap_or(&none);
        let site = outage.site.and_then(|site| plan.fleet.sites.get(site)).map(|site| site.name.clone());
        OutageRecovery {
            what: outage.what.to_owned(),
            site,
            from_s: outage.from.as_secs_f64(),
            to_s: outage.to.as_secs_f64(),
            recovered: recovered_in_short(recovered),
            curve: recovered.curve(),
        }
    };
    let each: Vec<OutageRecovery> = outages.iter().enumerate().map(of_outage).collect();
    (!each.is_empty()).then(|| Recovery { all: recovered_in_short(&total.recovered()), outages: each })
}

fn recovered_in_short(recovered: &outages::Recovered) -> Recovered {
    let [p50_s, p99_s, max_s] = [5_000, 9_900, 10_000].map(|share_bp| recovered.quantile_s(share_bp));
    Recovered { affected: recovered.affected(), never_served: recovered.never, p50_s, p99_s, max_s }
}

/// How devices reacted to refusals, and what limits cost those beside adversaries.
fn reactions(plan: &Plan, total: &Measurements) -> Reactions {
    let declared = &plan.fleet.cohorts;
    let cohort = |(number, counts): (&usize, &CohortCounts)| {
        let of_plan = declared.get(*number);
        let rest = if declared.is_empty() { "fleet" } else { "the rest" };
        Cohort {
            name: of_plan.map_or_else(|| rest.to_owned(), |cohort| cohort.name.clone()),
            retry: of_plan.map_or(Retry::DEFAULT, |cohort| cohort.retry).to_string(),
            devices: counts.devices,
            wanted: counts.wanted,
            sent: counts.sent,
            acked: counts.acked,
            refused: counts.refused,
            asked_again: counts.asked_again,
            admitted: counts.admitted,
            refused_again: counts.refused_again,
            second_peak_per_s: counts.second_peak_per_s(),
            recovered: recovered_in_short(&counts.recovered),
        }
    };
    let abused = fleet::abused_sites(plan);
    let site = |(number, answered): (&usize, &Answered)| HonestGroup {
        name: plan.fleet.sites.get(*number).map(|site| site.name.clone()).unwrap_or_default(),
        shares_address: abused.get(*number).copied().unwrap_or(false),
        requests: answered.requests,
        refused: answered.refused,
    };
    let named = fleet::named_victims(plan);
    let victims = || HonestGroup {
        name: format!("{} named by adversaries", counted(named, "device")),
        shares_address: false,
        requests: total.named.requests,
        refused: total.named.refused,
    };
    let fleet = total.cohort();
    Reactions {
        refused_again: fleet.refused_again,
        second_peak_per_s: fleet.second_peak_per_s(),
        cohorts: total.cohorts.iter().map(cohort).collect(),
        sites: total.sites.iter().map(site).collect(),
        named: (named > 0).then(victims),
    }
}

/// The background failures of the run, in a sentence.
fn churn(total: &Measurements) -> Option<String> {
    let counts: Vec<String> = total.churn.iter().map(|(kind, count)| format!("{count} {}", kind.as_str())).collect();
    (!counts.is_empty()).then(|| format!("Background failures that began: {}.", counts.join(", ")))
}

/// Why a run ended before its time.
fn settled(lasted: Duration, planned: Duration) -> String {
    let [lasted, planned] = [lasted, planned].map(|length| duration::format(Duration::from_secs(length.as_secs())));
    format!(
        "It ended by itself after {lasted} of {planned}: every rollout is over, no device is updating or runs firmware that is going to break it, and no step, fault or expected phase is to come."
    )
}

/// Failures that no measurement error explains.
fn facts<'a>(
    total: &Measurements,
    ledger: &Ledger,
    failures: &[String],
    violations: impl Iterator<Item = &'a Violation>,
    total_failure: Option<&String>,
) -> Vec<String> {
    let mut facts: Vec<String> = ledger_violation(ledger).into_iter().chain(failures.iter().cloned()).collect();
    for Violation { invariant, what, at } in violations {
        let at_s = at.as_secs_f64();
        facts.push(format!("invariant violated at {at_s:.1} s: {}: {what}", invariant.as_str()));
    }
    for (kind, score) in total.attacks.iter().filter(|(_, score)| score.successes > 0) {
        facts.push(format!("accepted {} of {} by `{kind}`", score.successes, counted(score.attempts, "attack")));
    }
    facts.extend(total_failure.cloned());
    facts
}

/// Why the measurement is unreliable; `late` are the spans in which the generator was the bottleneck, `interrupted` is how
/// long an interrupted run lasted.
fn doubts(
    about: &RunFacts<'_>,
    total: &Measurements,
    late: Vec<String>,
    interrupted: Option<Duration>,
    total_failure: bool,
) -> Vec<String> {
    let mut doubts = about.doubts.clone();
    if about.mode == Mode::Load {
        doubts.extend(generator::without_socket(total));
        if about.plan.timing == Timing::Measured {
            doubts.extend(generator::lagged(total));
            doubts.extend(late);
        }
    }
    if !total_failure && total.of(MessageType::Heartbeat).sent == 0 {
        doubts.push("no heartbeat was sent, so the run proves nothing; use a longer duration".to_owned());
    }
    if let Some(lasted) = interrupted {
        let (lasted_s, planned_s) = (lasted.as_secs_f64(), about.plan.duration.as_secs_f64());
        doubts.push(format!("the run was ended after {lasted_s:.0} s of {planned_s:.0} s"));
    }
    doubts
}

/// Why nothing is shown about limits, if most verdicts were undecidable. Where the scenario bounds their number, that decides.
fn undecidable(plan: &Plan, verdicts: &LimitVerdicts) -> Option<String> {
    let is_bounded = plan.expectations.iter().any(|of| of.metric == Metric::LimitsUndecidable);
    (verdicts.is_mostly_undecidable() && !is_bounded).then(|| {
        format!(
            "{} of {} verdicts of limits could not be judged, so the run does not show that limits do as documented: check what hides it, such as an order of limits that got no answer, or bound `limits.undecidable` if it is meant",
            grouped(verdicts.all.undecidable),
            grouped(verdicts.judged())
        )
    })
}

/// Expectations that were not met, each in a sentence.
fn not_met(expectations: &[Expectation], total: &Measurements) -> impl Iterator<Item = String> {
    let recovered = total.recovered();
    let unmet = expectations.iter().filter(|expectation| !expectation.pass);
    unmet.map(move |unmet| match unmet.actual {
        Some(actual) => format!("`{} {}` was not met: {}", unmet.name, unmet.bound, rounded(actual)),
        None if unmet.name.starts_with("fleet.recovery_") && recovered.never > 0 => {
            let (never, affected) = (grouped(recovered.never), counted(recovered.affected(), "device"));
            format!("`{} {}` was not met: {never} of {affected} were never served again", unmet.name, unmet.bound)
        }
        None => format!("`{} {}` was not met: there was no sample", unmet.name, unmet.bound),
    })
}

/// How many requests ended with each code; none if there were none.
fn codes(of: &Measured) -> Option<BTreeMap<String, u64>> {
    let codes: BTreeMap<String, u64> = of.codes().map(|(code, count)| (code.to_owned(), count)).collect();
    (!codes.is_empty()).then_some(codes)
}

/// Latency of answers that were not OK, by code; none if all were OK.
fn others(of: &Measured) -> Option<BTreeMap<String, Percentiles>> {
    let others = of.ended.iter().filter(|(code, _)| **code != OK);
    let times: BTreeMap<String, Percentiles> =
        others.filter_map(|(code, times)| Some(((*code).to_owned(), percentiles(&times.response_us)?))).collect();
    (!times.is_empty()).then_some(times)
}

/// Heartbeats of the run, and their rate per minute in its steady part.
fn heartbeats(total: &Measurements, steady: &Measurements, steady_for: Duration) -> Heartbeats {
    let minutes = steady_for.as_secs_f64() / 60.0;
    let per_min = |count: u64| if minutes > 0.0 { count as f64 / minutes } else { 0.0 };
    let beats = total.of(MessageType::Heartbeat);
    Heartbeats {
        sent: beats.sent,
        acked: beats.code(OK),
        in_flight_at_end: u64::try_from(total.in_flight).unwrap_or(0),
        per_min: per_min(steady.of(MessageType::Heartbeat).code(OK)),
        offered_per_min: per_min(steady.offered()),
    }
}

fn invariants(violations: &[Violation]) -> Vec<InvariantResult> {
    let judged = |invariant: Invariant| InvariantResult {
        invariant: invariant.as_str().to_owned(),
        violations: violations
            .iter()
            .filter(|violation| violation.invariant == invariant)
            .map(|violation| violation.what.clone())
            .collect(),
    };
    Invariant::ALL.into_iter().map(judged).collect()
}

fn attacks(Score { attempts, successes, unjudged }: Score) -> Attacks {
    Attacks { attempts, successes, unjudged }
}

/// Why a run did not pass, the most severe first.
#[derive(Default)]
struct Reasons {
    /// The server or the fleet ended early.
    broken: Vec<String>,
    /// Failures that no measurement error explains.
    hard: Vec<String>,
    /// Why the measurement is unreliable.
    unsound: Vec<String>,
    /// Expectations that were not met.
    unmet: Vec<String>,
}

impl Reasons {
    fn verdict(self) -> (Verdict, u8, Vec<String>) {
        let (verdict, exit_code) = if !self.broken.is_empty() {
            (Verdict::Fail, 3)
        } else if !self.hard.is_empty() {
            (Verdict::Fail, 99)
        } else if !self.unsound.is_empty() {
            (Verdict::Inconclusive, 4)
        } else if !self.unmet.is_empty() {
            (Verdict::Fail, 99)
        } else {
            (Verdict::Pass, 0)
        };
        (verdict, exit_code, [self.broken, self.hard, self.unsound, self.unmet].concat())
    }
}

fn ledger_violation(ledger: &Ledger) -> Option<String> {
    (!ledger.balances()).then(|| {
        let Ledger { lost, duplicated, reordered, misattributed, acks_lost, acks_misattributed, .. } = *ledger;
        let Ledger { punches_lost, punches_duplicated, punches_misattributed, .. } = *ledger;
        format!("the ledger does not balance: heartbeats {lost} lost, {duplicated} duplicated, {reordered} reordered, {misattributed} misattributed; ACKs {acks_lost} lost, {acks_misattributed} misattributed; punches {punches_lost} lost, {punches_duplicated} duplicated, {punches_misattributed} misattributed")
    })
}

fn rounded(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn by_type<T>(total: &Measurements, of: impl Fn(&Measured) -> Option<T>) -> BTreeMap<String, T> {
    let types = MessageType::ALL.into_iter();
    types.filter_map(|kind| Some((kind.as_str().to_owned(), of(total.of(kind))?))).collect()
}

/// Percentiles of a distribution of microseconds; none if it is empty.
pub fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    (!histogram.is_empty()).then(|| Percentiles {
        count: histogram.len(),
        p50: ms(0.5),
        p90: ms(0.9),
        p99: ms(0.99),
        p999: ms(0.999),
        max: ms(1.0),
    })
}

/// The plan's phases; `steady` only where no named phase covers it.
fn phases(plan: &Plan, figures: &BTreeMap<String, PhaseFigures>) -> Vec<Phase> {
    let phases = plan.phases();
    let has_named = phases.iter().any(|(name, _, _)| name != "ramp" && name != "steady");
    let shown = phases.into_iter().filter(|(name, _, _)| !(has_named && name == "steady"));
    let phase = |(name, from, to): (String, Duration, Duration)| {
        let figures = figures.get(&name).cloned();
        Phase { name, from_s: from.as_secs_f64(), to_s: to.as_secs_f64(), figures }
    };
    shown.map(phase).collect()
}

#[cfg(test)]
mod tests {
    use ks_reports::run_folder::VerdictCounts;

    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    /// Goal: a run whose limits were mostly not judged does not pass, unless the scenario bounds itself how much may be undecidable.
    #[test]
    fn mostly_undecidable_verdicts_are_a_doubt_unless_the_scenario_bounds_them() {
        let plan = |metric: &str| {
            let text = format!(
                "name = \"t\"\ngoal = \"Limits.\"\nmode = \"rehearse\"\nduration = \"1m\"\n[fleet]\ndevices = 1\n\
                 [[expect]]\nmetric = \"{metric}\"\nmax = 4000\n"
            );
            scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap()
        };
        let counts = |undecidable: u64| VerdictCounts { undecidable, ..VerdictCounts::default() };
        let verdicts = |undecidable: u64| LimitVerdicts {
            rightly_admitted: 1_029,
            all: counts(undecidable),
            by_limit: BTreeMap::new(),
        };
        let doubt = undecidable(&plan("errors"), &verdicts(2_854)).unwrap();
        assert!(doubt.starts_with("2,854 of 3,883 verdicts of limits could not be judged, so the run"), "{doubt}");
        assert_eq!(undecidable(&plan("errors"), &verdicts(1_000)), None);
        assert_eq!(undecidable(&plan("limits.undecidable"), &verdicts(2_854)), None);
    }

    #[test]
    fn failures_take_precedence_over_doubts_and_doubts_over_expectations() {
        let reasons = |hard: usize, unsound: usize, unmet: usize| Reasons {
            broken: Vec::new(),
            hard: vec!["h".to_owned(); hard],
            unsound: vec!["u".to_owned(); unsound],
            unmet: vec!["m".to_owned(); unmet],
        };
        assert_eq!(reasons(0, 0, 0).verdict().1, 0);
        assert_eq!(reasons(0, 0, 1).verdict().1, 99);
        assert_eq!(reasons(0, 1, 1).verdict().1, 4);
        assert_eq!(reasons(1, 1, 1).verdict().1, 99);
        let gone = Reasons { broken: vec!["b".to_owned()], ..reasons(1, 1, 1) };
        assert_eq!(gone.verdict().1, 3);
    }
}
