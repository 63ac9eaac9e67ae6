//! One step: how long it is, the plan of its run, and what it measured.

use std::time::Duration;

use ks_protocol::duration;
use ks_reports::{
    load_limit::{self, Bottleneck, StepVerdict},
    run_folder::{LoadFigures, PhaseFigures, Summary, Verdict},
};

use super::{
    bottleneck::{self, Observed},
    search::Purpose,
};
use crate::{
    link::NO_SOCKET,
    number::{counted, grouped},
    run::generator::LATE_US,
    scenario::{During, Expectation, Metric, Mode, Plan, TimedStep},
    server_under_test::samples::{ServerLoad, ServerSample},
    timeline::{Phase, Step},
};

/// The phase of a step that counts.
pub(super) const MEASURED: &str = "measured";
/// Samples beyond a percentile that are wanted: their number is then known to a fifth (1.96 / sqrt(100)).
const BEYOND_WANTED: f64 = 100.0;
/// The fewest: known to 62 %, the least that distinguishes a bound that is met from one that is missed by far.
const BEYOND_MIN: f64 = 10.0;
/// The fewest answers of a step without a percentile: if none of them failed, fewer than 3 % do (95 %, the rule of three).
const COUNTED_MIN: u64 = 100;
/// Shortest time that is measured: long enough for what a server does every second or few.
const MEASURED_MIN: Duration = Duration::from_secs(10);
/// A step takes at most this part of the budget: a search needs about so many.
const BUDGET_PART: u32 = 12;
/// Devices that register in a second of the warm-up, at most.
const REGISTERED_PER_S: u32 = 1_000;
/// Between the last registration and the begin of what counts.
const SETTLE: Duration = Duration::from_secs(2);
/// Samples of the server this close to the begin and the end of what counts belong to it: they are a second apart, and late.
const SAMPLED_NEAR: Duration = Duration::from_millis(500);
/// Of what is planned so much must be offered, and of what is offered so much answered `OK`.
pub(super) const ACHIEVED_MIN: f64 = 0.99;
/// Why a step did not hold whose devices saw other things acknowledged than the server stored.
pub(super) const UNBALANCED: &str = "the ledger does not balance";

/// How long steps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// Between two heartbeats of a device.
    interval: Duration,
    /// The strictest percentile that is asked for; the 99th, which is shown, if none is.
    pub quantile: f64,
    /// Whether any is asked for.
    pub has_percentile: bool,
    longest: Duration,
    fixed: Option<Duration>,
}

impl Lengths {
    /// For these expectations and this budget; `fixed` replaces the time that is measured in each step.
    pub fn of(interval: Duration, expectations: &[Expectation], budget: Duration, fixed: Option<Duration>) -> Self {
        let quantiles = expectations.iter().filter_map(|expectation| expectation.metric.quantile());
        let strictest = quantiles.fold(0.0, f64::max);
        let has_percentile = strictest > 0.0;
        let quantile = if has_percentile { strictest } else { 0.99 };
        Self { interval, quantile, has_percentile, longest: (budget / BUDGET_PART).max(MEASURED_MIN), fixed }
    }

    /// Heartbeats in a step that are wanted for the percentile.
    pub fn samples_wanted(&self) -> u64 {
        whole(BEYOND_WANTED / (1.0 - self.quantile))
    }

    /// The fewest heartbeats that say anything about it.
    pub fn samples_min(&self) -> u64 {
        if self.has_percentile { whole(BEYOND_MIN / (1.0 - self.quantile)) } else { COUNTED_MIN }
    }

    /// How long to measure so many devices: until there are the wanted samples, each device sends twice, and within the bounds.
    pub fn measured(&self, devices: u32) -> Duration {
        if let Some(fixed) = self.fixed {
            return fixed;
        }
        let per_s = f64::from(devices) / self.interval.as_secs_f64();
        let needed = Duration::from_secs_f64((self.samples_wanted() as f64 / per_s).min(1e6));
        let least = MEASURED_MIN.max(self.interval * 2);
        whole_seconds(needed.clamp(least, self.longest.max(least)))
    }

    /// The fewest devices that give the fewest samples in the longest step.
    pub fn devices_min(&self) -> u32 {
        let longest = self.fixed.unwrap_or_else(|| self.longest.max(self.interval * 2));
        let devices = (self.samples_min() as f64 * self.interval.as_secs_f64() / longest.as_secs_f64()).ceil();
        u32::try_from(whole(devices)).unwrap_or(u32::MAX).max(1)
    }

    /// How long devices are started, evenly over whole intervals, so that their heartbeats are spread evenly.
    pub fn ramp(&self, devices: u32) -> Duration {
        let needed = Duration::from_secs(u64::from(devices.div_ceil(REGISTERED_PER_S))).max(Duration::from_secs(1));
        let intervals = needed.as_millis().div_ceil(self.interval.as_millis().max(1));
        self.interval * u32::try_from(intervals).unwrap_or(u32::MAX)
    }

    /// When the time that counts begins.
    pub fn warm_up(&self, devices: u32) -> Duration {
        whole_seconds(self.ramp(devices) + SETTLE)
    }

    /// How long devices send in all.
    pub fn whole(&self, devices: u32) -> Duration {
        self.warm_up(devices) + self.measured(devices)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Rounded up, so that it ends with a tick.
fn whole_seconds(of: Duration) -> Duration {
    Duration::from_secs(u64::try_from(of.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX))
}

/// Heartbeats a minute that so many devices offer.
pub fn per_min(devices: u32, interval: Duration) -> f64 {
    f64::from(devices) * 60.0 / interval.as_secs_f64()
}

/// The plan of a step's run: the scenario's fleet and server with so many devices, nothing else, and the expectations judged over
/// what counts.
pub fn plan(base: &Plan, devices: u32, lengths: &Lengths, expectations: &[Expectation]) -> Plan {
    let mut plan = base.clone();
    plan.mode = Mode::Load;
    plan.fleet.devices = devices;
    plan.ramp = lengths.ramp(devices);
    plan.duration = lengths.whole(devices);
    plan.firmware.clear();
    plan.policies.clear();
    plan.adversaries.clear();
    let phase = Step::Phase(Phase { name: MEASURED.to_owned() });
    plan.timeline = vec![TimedStep { at: lengths.warm_up(devices), step: phase, may_fail: false }];
    let judged = |expectation: &Expectation| {
        let is_of_span = !matches!(
            expectation.metric,
            Metric::LedgerLost
                | Metric::LedgerDuplicated
                | Metric::LedgerReordered
                | Metric::LedgerMisattributed
                | Metric::Limit(_)
        );
        let during = if is_of_span { During::Phase(MEASURED.to_owned()) } else { During::WholeRun };
        Expectation { during, ..expectation.clone() }
    };
    plan.expectations = expectations.iter().map(judged).collect();
    plan
}

/// What a step is, before it was run.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    pub number: u32,
    pub purpose: Purpose,
    pub devices: u32,
    pub planned_per_min: f64,
    /// The fewest heartbeats that say anything about the percentile.
    pub samples_min: u64,
    pub cores: u32,
    pub is_one_machine: bool,
    /// Whether times are measured, so that a late generator matters.
    pub is_timed: bool,
    pub replay: String,
}

/// The step, as its run measured it.
pub fn measured(asked: &PlannedStep, summary: &Summary, samples: &[ServerSample]) -> load_limit::Step {
    let phase = summary.phases.iter().find(|phase| phase.name == MEASURED);
    let (from_s, to_s) = phase.map_or((0.0, 0.0), |phase| (phase.from_s, phase.to_s.min(summary.simulated_s)));
    let figures = phase.and_then(|phase| phase.figures.clone()).unwrap_or_default();
    let load = figures.load.clone().unwrap_or_default();
    let length_s = (to_s - from_s).max(0.0);
    let per_min = |count: u64| if length_s > 0.0 { count as f64 * 60.0 / length_s } else { 0.0 };
    let cores = |cpu_s: f64| if length_s > 0.0 { cpu_s / length_s } else { 0.0 };
    let [from, to] = [from_s, to_s].map(Duration::from_secs_f64);
    let server = ServerLoad::over(samples, from.saturating_sub(SAMPLED_NEAR), to + SAMPLED_NEAR);
    let server_cores = figures.server_cpu_s.map(cores).or(server.process_cores);
    let generator_cores = cores(figures.generator_cpu_s);
    let ended = (summary.verdict, summary.reasons.as_slice(), summary.ledger.balances());
    let (verdict, reasons) = judge(asked, ended, &summary.expectations, &figures, &load, per_min(load.offered));
    let observed = Observed {
        cores: asked.cores,
        is_one_machine: asked.is_one_machine,
        by_code: &load.by_code,
        offered: load.offered,
        sent: load.sent,
        latency_p99_ms: figures.heartbeat_ms.map(|of| of.p99),
        send_lag_p99_ms: load.send_lag_ms.map(|of| of.p99),
        generator_cores,
        server_cores,
        server: &server,
    };
    let (first, readings) = bottleneck::of(&observed);
    // What could not be measured is never laid at the server's door.
    let is_doubted = verdict == StepVerdict::Unmeasured && !first.hides_the_server();
    let first = if is_doubted { Bottleneck::GeneratorLag } else { first };
    load_limit::Step {
        number: asked.number,
        purpose: purpose(asked.purpose).to_owned(),
        devices: u64::from(asked.devices),
        planned_per_min: asked.planned_per_min,
        offered_per_min: per_min(load.offered),
        acked_per_min: per_min(load.acked),
        measured_s: length_s,
        latency_ms: figures.heartbeat_ms,
        service_ms: load.service_ms,
        send_lag_ms: load.send_lag_ms,
        by_code: load.by_code,
        generator_cores,
        server_cores,
        verdict,
        reasons,
        bottleneck: (verdict != StepVerdict::Held).then_some(first),
        readings,
        replay: asked.replay.clone(),
    }
}

/// Whether a step held, and why not. Of its run: the verdict, the reasons for it, and whether the ledger balances.
fn judge(
    asked: &PlannedStep,
    (verdict, reasons, balances): (Verdict, &[String], bool),
    expectations: &[ks_reports::run_folder::Expectation],
    figures: &PhaseFigures,
    load: &LoadFigures,
    offered_per_min: f64,
) -> (StepVerdict, Vec<String>) {
    let mut missed: Vec<String> = expectations.iter().filter(|of| !of.pass).map(missed).collect();
    if !balances {
        missed.push(UNBALANCED.to_owned());
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let achieved = share(offered_per_min, asked.planned_per_min);
    if achieved < ACHIEVED_MIN {
        let (offered, planned) = (grouped(whole(offered_per_min)), grouped(whole(asked.planned_per_min)));
        missed.push(format!(
            "only {offered} of {planned} heartbeats a minute were due: devices had not registered, or waited because they were refused"
        ));
    }
    let answered = share(load.acked as f64, load.offered as f64);
    if answered < ACHIEVED_MIN && load.offered > 0 {
        let (acked, offered) = (grouped(load.acked), grouped(load.offered));
        missed.push(format!("{acked} of {offered} heartbeats that were due were answered OK, fewer than 99 %"));
    }
    let samples = figures.heartbeat_ms.map_or(0, |of| of.count);
    let doubts = doubts(asked, load);
    if !doubts.is_empty() {
        return (StepVerdict::Unmeasured, doubts); // nothing else of such a step counts
    }
    match verdict {
        _ if !missed.is_empty() => (StepVerdict::Failed, missed),
        _ if samples < asked.samples_min => {
            let why = format!("{} samples, fewer than {}", grouped(samples), grouped(asked.samples_min));
            (StepVerdict::Unmeasured, vec![why])
        }
        Verdict::Fail => (StepVerdict::Failed, reasons.to_vec()),
        // The run is inconclusive too if its generator was late in the warm-up, which is not measured.
        Verdict::Pass | Verdict::Inconclusive => (StepVerdict::Held, Vec::new()),
    }
}

/// Why a step says nothing about the server: the generator did not offer what was planned. As for a run, but without the warm-up.
fn doubts(asked: &PlannedStep, load: &LoadFigures) -> Vec<String> {
    let mut doubts = Vec::new();
    let without_socket = load.by_code.get(NO_SOCKET).copied().unwrap_or(0);
    if without_socket > 0 {
        doubts.push(format!("this machine had no socket for {}", counted(without_socket, "request")));
    }
    let late_ms = LATE_US as f64 / 1_000.0;
    if let Some(lag) = load.send_lag_ms.filter(|lag| asked.is_timed && lag.p99 > late_ms) {
        doubts.push(format!("the generator was late: send lag p99 {:.0} ms, more than {late_ms:.0}", lag.p99));
    }
    doubts
}

/// `heartbeat.p99_ms <= 50 was not met: 80.25 ms`.
fn missed(of: &ks_reports::run_folder::Expectation) -> String {
    let name = of.name.replace(&format!(" during {MEASURED}"), "");
    let unit = if of.unit.is_empty() { String::new() } else { format!(" {}", of.unit) };
    let actual = of.actual.map_or_else(|| "no sample".to_owned(), |actual| format!("{}{unit}", rounded(actual)));
    format!("{name} {} was not met: {actual}", of.bound)
}

fn rounded(value: f64) -> String {
    if value.fract().abs() < 1e-9 { grouped(whole(value)) } else { format!("{value:.2}") }
}

/// The word for why a load is tried.
fn purpose(of: Purpose) -> &'static str {
    match of {
        Purpose::First => "first",
        Purpose::Higher => "higher",
        Purpose::Lower => "lower",
        Purpose::Between => "between",
        Purpose::Decide => "decide",
        Purpose::Confirm => "confirm",
    }
}

/// What a line of progress says a step is for.
pub(super) fn describe(asked: &PlannedStep) -> String {
    let per_min = grouped(whole(asked.planned_per_min));
    match asked.purpose {
        Purpose::First => format!("begins at {per_min}/min"),
        Purpose::Higher => format!("higher: {per_min}/min"),
        Purpose::Lower => format!("lower: {per_min}/min"),
        Purpose::Between => format!("between: {per_min}/min"),
        Purpose::Decide => format!("held and failed, again: {per_min}/min"),
        Purpose::Confirm => format!("confirms {per_min}/min"),
    }
}

/// What a scenario has that steps leave out.
pub(super) fn left_out(plan: &Plan) -> Vec<String> {
    let parts = [
        (!plan.timeline.is_empty(), "timeline"),
        (!plan.adversaries.is_empty(), "adversaries"),
        (!plan.firmware.is_empty(), "firmware"),
    ];
    parts.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
}

/// The flags that make `ks-fleet run` repeat a step.
pub(super) fn replay_flags(devices: u32, lengths: &Lengths) -> String {
    format!(" --devices {devices} --duration {}", duration::format(lengths.whole(devices)))
}

#[cfg(test)]
mod tests {
    use ks_reports::run_folder::{Expectation as GateResult, Percentiles};

    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    fn expectations(slos: &[&str]) -> Vec<Expectation> {
        let read = |text: &&str| scenario::slo(text, scenario::Timing::Measured, &ScenarioSettings).unwrap();
        slos.iter().map(read).collect()
    }

    fn lengths(slo: &str, interval_s: u64) -> Lengths {
        let budget = Duration::from_mins(10);
        Lengths::of(Duration::from_secs(interval_s), &expectations(&[slo]), budget, None)
    }

    /// By hand: 100 of n samples beyond the 99th percentile are 10,000, beyond the 99.9th 100,000.
    #[test]
    fn a_step_is_as_long_as_its_percentile_needs_within_the_budget() {
        let p99 = lengths("heartbeat.p99_ms<=50", 1);
        assert_eq!((p99.samples_wanted(), p99.samples_min()), (10_000, 1_000));
        let measured = [100_000, 1_000, 500, 100].map(|devices| p99.measured(devices).as_secs());
        assert_eq!(measured, [10, 10, 20, 50], "at least 10 s, at most a twelfth of ten minutes");
        assert_eq!(p99.devices_min(), 20, "a thousand samples in 50 s");
        let p999 = lengths("heartbeat.p999_ms<=50", 1);
        assert_eq!((p999.samples_wanted(), p999.measured(4_000).as_secs()), (100_000, 25));
        let none = lengths("errors=0", 1);
        assert_eq!(
            (none.samples_wanted(), none.samples_min()),
            (10_000, 100),
            "the 99th percentile is shown in any case"
        );
    }

    #[test]
    fn devices_start_over_whole_intervals_and_send_twice() {
        let slow = lengths("heartbeat.p99_ms<=50", 60);
        assert_eq!(slow.ramp(5_000).as_secs(), 60, "not 5 s: all would send in the same 5 s of each minute");
        assert_eq!(slow.measured(1_000_000).as_secs(), 120);
        let fast = lengths("heartbeat.p99_ms<=50", 1);
        assert_eq!([100, 5_000, 5_001].map(|devices| fast.ramp(devices).as_secs()), [1, 5, 6]);
        assert_eq!(fast.whole(5_000).as_secs(), 5 + 2 + 10);
    }

    fn planned_step(is_timed: bool) -> PlannedStep {
        PlannedStep {
            number: 1,
            purpose: Purpose::First,
            devices: 100,
            planned_per_min: 6_000.0,
            samples_min: 900,
            cores: 2,
            is_one_machine: true,
            is_timed,
            replay: String::new(),
        }
    }

    fn of(p99: f64) -> Percentiles {
        Percentiles { count: 1_000, p99, ..Percentiles::default() }
    }

    /// Judges a step of 1,000 heartbeats in 10 s, all answered in time, changed by `change`; its run ended with `verdict`.
    fn judged(
        is_timed: bool,
        verdict: Verdict,
        change: impl FnOnce(&mut Vec<GateResult>, &mut LoadFigures),
    ) -> (StepVerdict, Vec<String>) {
        let mut load = LoadFigures { offered: 1_000, sent: 1_000, acked: 1_000, ..LoadFigures::default() };
        load.send_lag_ms = Some(of(3.0));
        let judged = |name: &str| GateResult {
            name: format!("{name} during measured"),
            actual: Some(80.25),
            bound: "<= 90".to_owned(),
            pass: true,
            unit: "ms".to_owned(),
        };
        let mut expectations = vec![judged("heartbeat.p99_ms")];
        change(&mut expectations, &mut load);
        let figures = PhaseFigures { heartbeat_ms: Some(of(80.25)), ..PhaseFigures::default() };
        let per_min = load.offered as f64 * 6.0;
        judge(
            &planned_step(is_timed),
            (verdict, &["of the run".to_owned()], true),
            &expectations,
            &figures,
            &load,
            per_min,
        )
    }

    #[test]
    fn a_step_holds_if_everything_was_met_whatever_the_warm_up_was_like() {
        use StepVerdict::{Failed, Held, Unmeasured};
        assert_eq!(judged(true, Verdict::Inconclusive, |_, _| {}).0, Held);
        let missed = judged(true, Verdict::Fail, |expectations, _| expectations[0].pass = false);
        assert_eq!(missed, (Failed, vec!["heartbeat.p99_ms <= 90 was not met: 80.25 ms".to_owned()]));
        assert_eq!(judged(true, Verdict::Pass, |_, load| load.acked = 989).0, Failed, "fewer than 99 % answered");
        assert_eq!(
            judged(true, Verdict::Pass, |_, load| (load.offered, load.acked) = (980, 980)).0,
            Failed,
            "not registered"
        );
        assert_eq!(judged(true, Verdict::Fail, |_, _| {}).1, ["of the run"]);
        let late = |_: &mut Vec<GateResult>, load: &mut LoadFigures| load.send_lag_ms = Some(of(26.0));
        assert_eq!((judged(true, Verdict::Pass, late).0, judged(false, Verdict::Pass, late).0), (Unmeasured, Held));
        let no_socket =
            |_: &mut Vec<GateResult>, load: &mut LoadFigures| load.by_code.extend([(NO_SOCKET.to_owned(), 1)]);
        assert_eq!(judged(false, Verdict::Fail, no_socket).0, Unmeasured);
    }

    #[test]
    fn a_step_has_the_fleet_and_the_server_and_one_phase_that_counts() {
        let text = include_bytes!("../../../scenarios/floods.toml");
        let base = scenario::check("floods.toml", text, &ScenarioSettings).unwrap();
        let slos = expectations(&["heartbeat.p99_ms<=50", "ledger.lost=0"]);
        let lengths = Lengths::of(base.interval(), &slos, Duration::from_mins(10), None);
        let plan = plan(&base, 700, &lengths, &slos);
        assert_eq!((plan.fleet.devices, &plan.server, &plan.fleet.models), (700, &base.server, &base.fleet.models));
        assert!(plan.adversaries.is_empty() && plan.timeline.len() == 1);
        let names: Vec<String> = plan.expectations.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["heartbeat.p99_ms <= 50 during measured", "ledger.lost = 0"]);
        let (_, from, to) = plan.phases().pop().unwrap();
        assert_eq!((from, to), (lengths.warm_up(700), lengths.whole(700)));
        assert_eq!(left_out(&base), ["timeline", "adversaries"]);
    }
}
