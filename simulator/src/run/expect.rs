//! Expectations: metrics by name, compared with their bounds over the run, a phase or each window.

use std::time::Duration;

use ks_reports::run_folder::{Expectation as GateResult, Ledger, LimitCount, LimitVerdicts, VerdictCounts};

use crate::{
    device::exchange::MessageType,
    operator::rollout_monitor::ObservedRollouts,
    run::{
        generator,
        measure::{Measurements, OK},
    },
    scenario::{Bound, During, Expectation, Metric, Plan},
};

/// The state of one expectation during the run.
#[derive(Debug)]
struct WatchedExpectation {
    expectation: Expectation,
    /// The span in which it counts.
    span: (Duration, Duration),
    /// With windows: of the current one.
    sum: Sum,
    /// Answers after the end of the run to heartbeats of this span.
    tail: Measurements,
    /// With windows: the worst full one so far.
    worst: Option<f64>,
    /// With windows: a full one had no sample.
    has_empty_window: bool,
    /// Why a part of the span was not measured reliably.
    unsound: Option<String>,
}

/// What was measured over a span.
#[derive(Debug, Default)]
struct Sum {
    measured: Measurements,
    length: Duration,
}

/// Evaluates all expectations of a run.
#[derive(Debug)]
pub struct Judge {
    watched: Vec<WatchedExpectation>,
}

/// Results that are known only at the end of a run.
#[derive(Debug, Clone, Copy)]
pub struct FinalResults<'a> {
    pub total: &'a Measurements,
    pub ledger: &'a Ledger,
    /// The rollouts, as they were at the end.
    pub rollouts: &'a ObservedRollouts,
    /// What limits did, against what they had to do; none if nothing predicted that.
    pub limit_verdicts: Option<&'a LimitVerdicts>,
    /// What each limit of the server decided; empty if it can't be read.
    pub limits: &'a [LimitCount],
}

impl Judge {
    /// Evaluates the plan's expectations.
    pub fn new(plan: &Plan) -> Self {
        let phases = plan.phases();
        let span_of = |during: &During| match during {
            During::WholeRun => (Duration::ZERO, Duration::MAX),
            During::Phase(name) => phases
                .iter()
                .find(|(phase, _, _)| phase == name)
                .map_or((Duration::ZERO, Duration::ZERO), |(_, from, to)| (*from, *to)),
        };
        let watch =
            |expectation: &Expectation| WatchedExpectation::new(expectation.clone(), span_of(&expectation.during));
        Self { watched: plan.expectations.iter().map(watch).collect() }
    }

    /// Evaluates nothing: one segment of a fleet says nothing about all of it.
    pub fn of_segment() -> Self {
        Self { watched: Vec::new() }
    }

    /// Adds what was measured from `from` to `to`, and the `total` of the run so far. Returns a missed expectation that ends
    /// the run, if there is one.
    pub fn take(
        &mut self,
        from: Duration,
        to: Duration,
        measured: &Measurements,
        total: &Measurements,
    ) -> Option<String> {
        let mut abort = None;
        let (ledger, rollouts) = (Ledger::default(), ObservedRollouts::default());
        let so_far = FinalResults { total, ledger: &ledger, rollouts: &rollouts, limit_verdicts: None, limits: &[] };
        for watched in &mut self.watched {
            let (start, end) = watched.span;
            if from < start || from >= end {
                continue;
            }
            watched.sum.measured.add(measured);
            watched.sum.length += to.saturating_sub(from);
            if watched.expectation.every.is_some_and(|every| watched.sum.length >= every) {
                watched.close_window();
            }
            if watched.expectation.abort && watched.is_missed_for_good(so_far) {
                abort = Some(watched.expectation.to_string());
            }
        }
        abort
    }

    /// Adds what was measured after the run had ended at `end`: it belongs to each span that lasted until then, but no time
    /// passed in it.
    pub fn take_tail(&mut self, end: Duration, measured: &Measurements) {
        let lasted_until_end = |watched: &&mut WatchedExpectation| watched.span.0 < end && watched.span.1 >= end;
        self.watched.iter_mut().filter(lasted_until_end).for_each(|watched| watched.tail.add(measured));
    }

    /// Every expectation with its verdict, and why the load generator may be the cause of a miss.
    pub fn finish(self, end: FinalResults<'_>) -> (Vec<GateResult>, Vec<String>) {
        let judged: Vec<(GateResult, Option<String>)> =
            self.watched.into_iter().map(|watched| watched.judge(end)).collect();
        let doubts = judged.iter().filter_map(|(judged, unsound)| {
            let why = unsound.as_ref().filter(|_| !judged.pass)?;
            Some(format!("`{} {}` was not measured reliably: {why}", judged.name, judged.bound))
        });
        let doubts = doubts.collect();
        (judged.into_iter().map(|(judged, _)| judged).collect(), doubts)
    }
}

impl WatchedExpectation {
    fn new(expectation: Expectation, span: (Duration, Duration)) -> Self {
        Self {
            expectation,
            span,
            sum: Sum::default(),
            tail: Measurements::default(),
            worst: None,
            has_empty_window: false,
            unsound: None,
        }
    }

    fn close_window(&mut self) {
        let sum = std::mem::take(&mut self.sum);
        if self.unsound.is_none() {
            self.unsound = generator::lagged(&sum.measured);
        }
        match sum.value(&self.expectation.metric) {
            Some(value) => self.keep_worst(value),
            None => self.has_empty_window = true,
        }
    }

    fn keep_worst(&mut self, value: f64) {
        let is_worse = |worst: f64| match self.expectation.bound {
            Bound::Max(_) => value > worst,
            Bound::Min(_) => value < worst,
            Bound::Equals(wanted) => (value - wanted).abs() > (worst - wanted).abs(),
        };
        if self.worst.is_none_or(is_worse) {
            self.worst = Some(value);
        }
    }

    /// Whether no later sample can still meet the bound.
    fn is_missed_for_good(&self, so_far: FinalResults<'_>) -> bool {
        self.is_broken_by_emptiness() || self.value(so_far).is_some_and(|value| !self.expectation.bound.holds(value))
    }

    fn is_broken_by_emptiness(&self) -> bool {
        self.has_empty_window && !self.expectation.allow_empty
    }

    /// The current value; none without a sample.
    fn value(&self, so_far: FinalResults<'_>) -> Option<f64> {
        let metric = &self.expectation.metric;
        match self.expectation.every {
            Some(_) => self.worst,
            None => of_whole_run(metric, so_far).unwrap_or_else(|BySpan| self.sum.value(metric)),
        }
    }

    /// Adds what came after the end: to the whole span, or as a separate window for upper bounds.
    fn take_in_tail(&mut self) {
        let metric = &self.expectation.metric;
        if *metric == Metric::HeartbeatPerMin {
            return; // a rate has no meaning where no time passed
        }
        let tail = Sum { measured: std::mem::take(&mut self.tail), length: Duration::ZERO };
        if self.expectation.every.is_none() {
            self.sum.measured.add(&tail.measured);
        } else if self.expectation.bound.is_upper()
            && let Some(value) = tail.value(metric)
        {
            self.keep_worst(value);
        }
    }

    fn judge(mut self, end: FinalResults<'_>) -> (GateResult, Option<String>) {
        self.take_in_tail();
        if self.expectation.every.is_none() {
            self.unsound = generator::lagged(&self.sum.measured);
        }
        let actual = self.value(end).filter(|_| !self.is_broken_by_emptiness());
        let pass = match actual {
            Some(actual) => self.expectation.bound.holds(actual),
            None => self.expectation.allow_empty,
        };
        let full = self.expectation.to_string();
        let bound = self.expectation.bound.to_string();
        let name = full.replacen(&format!(" {bound}"), "", 1);
        let unit = unit(&self.expectation.metric);
        (GateResult { name, actual, bound, pass, unit }, self.unsound)
    }
}

fn unit(metric: &Metric) -> String {
    match metric.unit() {
        "ms" => "ms".to_owned(),
        "heartbeats/min" => "/min".to_owned(),
        _ => String::new(), // a plain count needs no unit after its name
    }
}

/// A metric that is summed over its span rather than known for the whole run.
struct BySpan;

/// Metrics of the whole run; none without a sample.
fn of_whole_run(metric: &Metric, end: FinalResults<'_>) -> Result<Option<f64>, BySpan> {
    let FinalResults { total, ledger, rollouts, limit_verdicts, limits } = end;
    let verdicts =
        |count: fn(&VerdictCounts) -> u64| limit_verdicts.map(|verdicts: &LimitVerdicts| count(&verdicts.all) as f64);
    let ledger_count = |count: u64| (ledger.reconciled && ledger.checked > 0).then_some(count as f64);
    let attempts: u64 = total.attacks.values().map(|score| score.attempts).sum();
    let each_was_judged = !total.attacks.is_empty() && total.attacks.values().all(|score| score.attempts > 0);
    let decided = |what| (!rollouts.rollouts.is_empty()).then(|| rollouts.decisions(what) as f64);
    let successes: u64 = total.attacks.values().map(|score| score.successes).sum();
    Ok(match metric {
        Metric::LedgerLost => ledger_count(ledger.lost),
        Metric::LedgerDuplicated => ledger_count(ledger.duplicated),
        Metric::LedgerReordered => ledger_count(ledger.reordered),
        Metric::LedgerMisattributed => ledger_count(ledger.misattributed),
        Metric::AttacksAttempts => Some(attempts as f64),
        // An attack that was never evaluated was not withstood.
        Metric::AttacksSuccesses => (successes > 0 || each_was_judged).then_some(successes as f64),
        Metric::DevicesRegistered => Some(total.registered as f64),
        Metric::PunchesStored => ledger_count(ledger.punches_stored),
        Metric::PunchesLost => ledger_count(ledger.punches_lost),
        Metric::PunchesDuplicated => ledger_count(ledger.punches_duplicated),
        Metric::PunchesMade => Some(total.punches_made as f64),
        Metric::Updated(version) => Some(total.updated.get(version.as_str()).copied().unwrap_or(0) as f64),
        Metric::Running(version) => Some(total.running.get(version.as_str()).copied().unwrap_or(0) as f64),
        Metric::RolloutBroken => Some(total.broken_devices() as f64),
        Metric::RolloutAborted => decided("aborted"),
        Metric::RolloutPaused => decided("paused"),
        Metric::RolloutPromoted => decided("promoted"),
        Metric::RolloutCompleted => decided("completed"),
        Metric::RolloutDetectionS => rollouts.detection_s(),
        Metric::RetryAfterHonest => {
            let cohort = total.cohort();
            ratio(cohort.admitted, cohort.asked_again)
        }
        Metric::RefusedAgain => was_answered(total).then(|| total.cohort().refused_again as f64),
        Metric::SecondPeakPerS => was_answered(total).then(|| total.cohort().second_peak_per_s() as f64),
        Metric::Amplification => {
            let cohort = total.cohort();
            ratio(cohort.sent, cohort.wanted)
        }
        Metric::FairnessRefused => {
            let beside = total.beside;
            (beside.requests > 0).then_some(beside.refused as f64)
        }
        Metric::FairnessRefusedShare => {
            let beside = total.beside;
            ratio(beside.refused, beside.requests)
        }
        Metric::VictimsRefused => (total.named.requests > 0).then_some(total.named.refused as f64),
        Metric::Limit(of) => {
            let count = limits.iter().find(|count| count.name == of.name);
            count.map(|count| if of.in_shadow { count.would_refuse } else { count.refused } as f64)
        }
        Metric::LimitsFalselyRefused => verdicts(|all| all.falsely_refused),
        Metric::LimitsFalselyAdmitted => verdicts(|all| all.falsely_admitted),
        Metric::LimitsRightlyRefused => verdicts(|all| all.rightly_refused),
        Metric::LimitsUndecidable => verdicts(|all| all.undecidable),
        Metric::RecoveryP50S => recovered_s(total, 5_000),
        Metric::RecoveryP99S => recovered_s(total, 9_900),
        Metric::RecoveryMaxS => recovered_s(total, 10_000),
        Metric::NeverServed => {
            let recovered = total.recovered();
            (recovered.affected() > 0).then_some(recovered.never as f64)
        }
        Metric::Churn(kind) => Some(total.churn.get(kind).copied().unwrap_or(0) as f64),
        Metric::KeysRotated => Some(total.done.keys_rotated as f64),
        Metric::CommandsSucceeded => Some(total.done.commands_succeeded as f64),
        Metric::CommandsAppliedTwice => {
            (total.done.commands_succeeded > 0).then_some(total.done.commands_applied_twice as f64)
        }
        _ => return Err(BySpan),
    })
}

/// Whether the server answered any honest request: otherwise nothing is known of refusals.
fn was_answered(total: &Measurements) -> bool {
    total.codes().keys().any(|code| !crate::scenario::AnswerCode::LOCAL.contains(code))
}

/// A ratio; none without a whole.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// When a share of the devices was served again; none if any of them never was.
fn recovered_s(total: &Measurements, share_bp: u64) -> Option<f64> {
    let recovered = total.recovered();
    recovered.quantile_s(share_bp).filter(|_| recovered.never == 0)
}

impl Sum {
    /// The metric over this span; none without a sample.
    fn value(&self, metric: &Metric) -> Option<f64> {
        let measured = &self.measured;
        let beats = measured.of(MessageType::Heartbeat);
        let registrations = measured.of(MessageType::Register);
        let quantile_ms = |of: &crate::run::measure::Measured, quantile| {
            of.accepted().map(|times| times.response_us.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        let ended: u64 =
            measured.messages.values().flat_map(crate::run::measure::Measured::codes).map(|(_, count)| count).sum();
        let counted = |count: u64| (ended > 0).then_some(count as f64);
        match metric {
            Metric::Errors => counted(measured.messages.values().map(crate::run::measure::Measured::errors).sum()),
            Metric::Codes(code) => counted(measured.messages.values().map(|of| of.code(code.as_str())).sum()),
            Metric::HeartbeatP50Ms => quantile_ms(beats, 0.5),
            Metric::HeartbeatP90Ms => quantile_ms(beats, 0.9),
            Metric::HeartbeatP99Ms => quantile_ms(beats, 0.99),
            Metric::HeartbeatP999Ms => quantile_ms(beats, 0.999),
            Metric::HeartbeatMaxMs => quantile_ms(beats, 1.0),
            Metric::HeartbeatSent => counted(beats.sent),
            Metric::HeartbeatAcked => counted(beats.code(OK)),
            Metric::HeartbeatPerMin => {
                (!self.length.is_zero()).then(|| beats.code(OK) as f64 * 60.0 / self.length.as_secs_f64())
            }
            Metric::RegisterAcked => counted(registrations.code(OK)),
            Metric::RegisterP99Ms => quantile_ms(registrations, 0.99),
            Metric::TlsHandshakes => counted(measured.handshakes.succeeded()),
            Metric::TlsResumed => counted(measured.handshakes.resumed),
            Metric::TlsFailed => counted(measured.handshakes.failed),
            Metric::TlsHandshakeP99Ms => {
                let times = &measured.handshakes.times_us;
                (!times.is_empty()).then(|| times.value_at_quantile(0.99) as f64 / 1_000.0)
            }
            Metric::BadServerSignatures => counted(measured.bad_server_signatures),
            _ => None, // handled by `of_whole_run`
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(metric: &str, bound: Bound) -> WatchedExpectation {
        let expectation = Expectation {
            metric: metric.parse().unwrap(),
            bound,
            during: During::WholeRun,
            every: None,
            allow_empty: false,
            abort: true,
        };
        WatchedExpectation::new(expectation, (Duration::from_secs(5), Duration::from_mins(1)))
    }

    fn second_with(acked: u64, refused: u64) -> Measurements {
        let mut measured = Measurements::default();
        let beats = measured.of_mut(MessageType::Heartbeat);
        (0..acked).for_each(|_| beats.end(OK, 1, None));
        (0..refused).for_each(|_| beats.end("REVOKED", 1, None));
        measured
    }

    fn run(mut watched: WatchedExpectation, every: Option<u64>, seconds: &[(u64, u64)]) -> (GateResult, Option<u64>) {
        watched.expectation.every = every.map(Duration::from_secs);
        let mut judge = Judge { watched: vec![watched] };
        let mut aborted_at = None;
        for (second, (acked, refused)) in (0..).zip(seconds) {
            let (from, to) = (Duration::from_secs(second), Duration::from_secs(second + 1));
            let abort = judge.take(from, to, &second_with(*acked, *refused), &Measurements::default());
            aborted_at = aborted_at.or(abort.map(|_| second));
        }
        (finished(judge).0.remove(0), aborted_at)
    }

    /// The results of a run of which nothing else is known.
    fn finished(judge: Judge) -> (Vec<GateResult>, Vec<String>) {
        let (total, ledger, rollouts) = (Measurements::default(), Ledger::default(), ObservedRollouts::default());
        judge.finish(FinalResults {
            total: &total,
            ledger: &ledger,
            rollouts: &rollouts,
            limit_verdicts: None,
            limits: &[],
        })
    }

    #[test]
    fn only_its_own_span_counts_and_a_miss_aborts() {
        let mut seconds = vec![(10, 7); 5];
        seconds.extend([(10, 0), (10, 3), (10, 0)]);
        let (judged, aborted_at) = run(watched("codes.REVOKED", Bound::Max(0.0)), None, &seconds);
        assert_eq!((judged.actual, judged.pass, aborted_at), (Some(3.0), false, Some(6)));
    }

    #[test]
    fn a_miss_of_a_whole_run_metric_aborts_too() {
        let mut judge = Judge { watched: vec![watched("attacks.successes", Bound::Max(0.0))] };
        let mut total = Measurements::default();
        let mut take = |total: &Measurements| {
            judge.take(Duration::from_secs(6), Duration::from_secs(7), &Measurements::default(), total)
        };
        assert_eq!(take(&total), None);
        total.attacks.insert("forger", crate::run::measure::Score { attempts: 9, successes: 1, unjudged: 0 });
        assert!(take(&total).is_some());
    }

    #[test]
    fn nothing_measured_is_a_failure() {
        let (judged, _) = run(watched("heartbeat.p99_ms", Bound::Max(50.0)), None, &[(1, 0); 3]);
        assert_eq!((judged.actual, judged.pass), (None, false));
        let (judged, _) = run(watched("ledger.lost", Bound::Equals(0.0)), None, &[(1, 0); 9]);
        assert_eq!((judged.actual, judged.pass), (None, false), "not reconciled");
    }

    #[test]
    fn a_full_window_without_a_sample_is_a_failure() {
        let mut watched = watched("errors", Bound::Max(0.0));
        let seconds = [(9, 0), (9, 0), (9, 0), (9, 0), (9, 0), (9, 0), (9, 0), (0, 0), (0, 0), (9, 0)];
        let (judged, aborted_at) = run(watched, Some(2), &seconds);
        assert_eq!((judged.actual, judged.pass, aborted_at), (None, false, Some(8)));
        watched = self::watched("errors", Bound::Max(0.0));
        watched.expectation.allow_empty = true;
        assert!(run(watched, Some(2), &seconds).0.pass);
    }

    #[test]
    fn results_after_the_end_count_without_adding_time() {
        let ten_seconds = (Duration::ZERO, Duration::from_secs(10));
        let judged = |metric: &str, bound, every: Option<u64>| {
            let mut watched = watched(metric, bound);
            watched.span = ten_seconds;
            watched.expectation.every = every.map(Duration::from_secs);
            let mut judge = Judge { watched: vec![watched] };
            judge.take(Duration::ZERO, Duration::from_secs(10), &second_with(60, 0), &Measurements::default());
            judge.take_tail(Duration::from_secs(10), &second_with(5, 2));
            finished(judge).0.remove(0).actual
        };
        assert_eq!(judged("errors", Bound::Equals(0.0), None), Some(2.0));
        assert_eq!(judged("errors", Bound::Equals(0.0), Some(10)), Some(2.0));
        assert_eq!(judged("heartbeat.per_min", Bound::Min(360.0), None), Some(360.0));
        assert_eq!(judged("heartbeat.acked", Bound::Min(60.0), Some(10)), Some(60.0));
    }

    #[test]
    fn a_miss_with_a_lagging_generator_is_inconclusive() {
        let mut judge = Judge { watched: vec![watched("codes.REVOKED", Bound::Max(0.0))] };
        let mut measured = second_with(1, 1);
        crate::run::measure::record(&mut measured.send_lag_us, 400_000);
        judge.take(Duration::from_secs(6), Duration::from_secs(7), &measured, &measured);
        let (_, doubts) = finished(judge);
        assert!(doubts[0].contains("bottleneck"), "{doubts:?}");
    }

    #[test]
    fn every_full_window_must_hold_and_the_worst_is_shown() {
        let seconds = [(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (10, 0), (10, 0), (4, 0), (6, 0), (99, 0)];
        let (judged, _) = run(watched("heartbeat.per_min", Bound::Min(500.0)), Some(2), &seconds);
        assert_eq!((judged.actual, judged.pass), (Some(300.0), false));
    }
}
