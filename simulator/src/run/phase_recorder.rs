//! Records the figures of each phase that the timeline names.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use ks_reports::run_folder::{AdversaryRequests, LoadFigures, PhaseFigures};

use crate::{
    device::exchange::MessageType,
    run::{
        measure::{self, Measurements},
        summary::percentiles,
    },
    scenario::Plan,
    server_under_test::process::ServerProcess,
};

/// Sums up measurements by phase.
pub struct PhaseRecorder {
    /// Name, start and end of each, in order; they do not overlap.
    spans: Vec<(String, Duration, Duration)>,
    /// Of the current phase.
    measured: Measurements,
    /// Resource usage at the last start or end of a phase.
    used: ResourceReading,
    server: Option<Rc<dyn ServerProcess>>,
    server_rss_bytes: Option<u64>,
    done: BTreeMap<String, PhaseFigures>,
}

/// CPU seconds so far.
#[derive(Clone, Copy)]
struct ResourceReading {
    generator_cpu_s: f64,
    server_cpu_s: Option<f64>,
    /// Peak resident memory of the server since the last reading.
    server_rss_bytes: Option<u64>,
}

impl PhaseRecorder {
    /// A recorder without measurements; it also reads the usage of `server`, if the run has its own.
    pub fn of(plan: &Plan, cpu_s: f64, server: Option<Rc<dyn ServerProcess>>) -> Self {
        let spans = plan.phases().into_iter().filter(|(name, ..)| name != "ramp" && name != "steady").collect();
        let (used, measured) = (used(cpu_s, server.as_deref()), Measurements::default());
        Self { spans, measured, used, server, server_rss_bytes: used.server_rss_bytes, done: BTreeMap::new() }
    }

    /// Adds the measurements of a tick, after which the generator had used `cpu_s`. Phases begin and end at the limits of ticks.
    pub fn take(&mut self, from: Duration, to: Duration, measured: &Measurements, cpu_s: f64) {
        if self.spans.iter().any(|(_, start, end)| *start <= from && to <= *end) {
            self.measured.add(measured);
        }
        if !self.spans.iter().any(|(_, start, end)| *start == to || *end == to) {
            return;
        }
        let before = std::mem::replace(&mut self.used, used(cpu_s, self.server.as_deref()));
        self.server_rss_bytes = self.server_rss_bytes.max(self.used.server_rss_bytes);
        let measured = std::mem::take(&mut self.measured);
        if let Some((name, ..)) = self.spans.iter().find(|(_, _, end)| *end == to) {
            self.done.insert(name.clone(), figures(&measured, before, self.used));
        }
    }

    /// The figures of every finished phase, and the server's peak memory in the whole run.
    pub fn finish(self) -> (BTreeMap<String, PhaseFigures>, Option<u64>) {
        let last = used(0.0, self.server.as_deref()).server_rss_bytes;
        (self.done, self.server_rss_bytes.max(last))
    }
}

fn used(generator_cpu_s: f64, server: Option<&dyn ServerProcess>) -> ResourceReading {
    let usage = server.and_then(ServerProcess::usage);
    ResourceReading {
        generator_cpu_s,
        server_cpu_s: usage.map(|usage| usage.cpu_s),
        server_rss_bytes: usage.and_then(|usage| usage.rss_bytes),
    }
}

fn figures(measured: &Measurements, before: ResourceReading, after: ResourceReading) -> PhaseFigures {
    let codes = measured.codes();
    let beats = measured.of(MessageType::Heartbeat);
    let server_cpu_s = after.server_cpu_s.zip(before.server_cpu_s);
    PhaseFigures {
        load: Some(LoadFigures {
            offered: measured.offered(),
            sent: beats.sent,
            acked: beats.code(measure::OK),
            by_code: codes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            service_ms: beats.accepted().and_then(|times| percentiles(&times.service_us)),
            send_lag_ms: percentiles(&measured.send_lag_us),
        }),
        requests: codes.values().sum(),
        ok: codes.get(measure::OK).copied().unwrap_or(0),
        heartbeat_ms: beats.accepted().and_then(|times| percentiles(&times.response_us)),
        adversary_requests: adversary_requests(measured),
        generator_cpu_s: after.generator_cpu_s - before.generator_cpu_s,
        adversaries_cpu_s: measured.adversaries_cpu.as_secs_f64(),
        server_cpu_s: server_cpu_s.map(|(after, before)| after - before),
        server_rss_bytes: after.server_rss_bytes,
    }
}

/// Requests of adversaries, by kind.
pub fn adversary_requests(measured: &Measurements) -> BTreeMap<String, AdversaryRequests> {
    let of_kind = |(kind, requests): (&&'static str, &measure::AdversaryRequests)| {
        let by_code = requests.codes.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
        ((*kind).to_owned(), AdversaryRequests { sent: requests.sent, by_code })
    };
    measured.adversaries.iter().map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        scenario,
        scenario_settings::ScenarioSettings,
        server_under_test::process::{Restart, ServerAction, Usage},
    };

    const SCENARIO: &str = "name = \"t\"\ngoal = \"Phases.\"\nmode = \"rehearse\"\nduration = \"10s\"\n\
        [fleet]\ndevices = 1\n[[timeline]]\nat = \"2s\"\ndo = \"phase\"\nname = \"one\"\n\
        [[timeline]]\nat = \"5s\"\ndo = \"phase\"\nname = \"two\"\n[[expect]]\nmetric = \"errors\"\nequals = 0\n";

    /// Reports one more CPU second and one more byte each time it is read.
    #[derive(Default)]
    struct Working(Cell<u32>);
    impl ServerProcess for Working {
        fn restart(self: Rc<Self>, _: Restart) -> ServerAction {
            Box::pin(async { Ok(()) })
        }
        fn ensure_running(self: Rc<Self>) -> ServerAction {
            Box::pin(async { Ok(()) })
        }
        fn ended(&self) -> Option<String> {
            None
        }
        fn usage(&self) -> Option<Usage> {
            self.0.set(self.0.get() + 1);
            Some(Usage { cpu_s: self.0.get().into(), rss_bytes: Some(self.0.get().into()) })
        }
    }

    #[test]
    fn each_phase_has_only_its_own_ticks() {
        let plan = scenario::check("t.toml", SCENARIO.as_bytes(), &ScenarioSettings).unwrap();
        let mut phases = PhaseRecorder::of(&plan, 0.0, Some(Rc::new(Working::default())));
        for second in 0..12_u64 {
            let mut measured = Measurements::default();
            measured.adversary_mut("forger").sent = 1 << second;
            measured.of_mut(MessageType::Heartbeat).end(
                if second == 3 { "STALE_SEQUENCE" } else { measure::OK },
                1,
                None,
            );
            phases.take(Duration::from_secs(second), Duration::from_secs(second + 1), &measured, 0.0);
        }
        let (done, server_rss_bytes) = phases.finish();
        let sent = |name: &str| done[name].adversary_requests["forger"].sent;
        assert_eq!((sent("one"), sent("two")), (0b11100, 0b11_1110_0000));
        assert_eq!((done["one"].requests, done["one"].ok, done["two"].ok), (3, 2, 5));
        // Read at the start, at 2, 5 and 10 s, and at the end.
        assert_eq!(
            (done["one"].server_cpu_s, done["two"].server_rss_bytes, server_rss_bytes),
            (Some(1.0), Some(4), Some(5))
        );
    }
}
