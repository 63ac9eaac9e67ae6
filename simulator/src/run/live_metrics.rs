//! The simulator's own metrics while a load run goes on, for Prometheus: what is offered and reached, how late the generator is, and what
//! it uses.

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
};

use actix::Arbiter;
use axum::{Router, extract::State, http::HeaderMap, response::Response, routing::get};
use hdrhistogram::Histogram;
use ks_server::operations::exposition;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    device::exchange::MessageType,
    failure::Failure,
    host::resources,
    run::measure::{Measurements, Times},
    scenario::Plan,
};

/// Upper bounds of the histograms' buckets, in microseconds: from what loopback takes to the longest timeout.
const BUCKETS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 30_000_000,
];

/// Where a run's metrics are served, until the run ends.
pub struct LiveMetrics {
    latest: Arc<Mutex<Latest>>,
    /// Where they are served.
    pub address: SocketAddr,
}

/// What is shown of a run: its measurements up to the last tick.
#[derive(Debug, Default)]
struct Latest {
    scenario: String,
    seed: u64,
    devices: u64,
    elapsed_s: f64,
    planned_s: f64,
    due: u64,
    sent: BTreeMap<&'static str, u64>,
    ended: BTreeMap<(&'static str, &'static str), u64>,
    response: Distribution,
    service: Distribution,
    send_lag: Distribution,
    handshakes: BTreeMap<&'static str, u64>,
    registered: u64,
    in_flight: u64,
    open_sockets: u64,
}

/// A histogram in the buckets that are shown.
#[derive(Debug, Default)]
struct Distribution {
    sum_s: f64,
    count: u64,
    /// How many are at most each bound and above the one before; the last one has no bound.
    buckets: Vec<(f64, u64)>,
}

impl Distribution {
    fn of(histogram: &Histogram<u64>) -> Self {
        let mut buckets: Vec<(f64, u64)> = BUCKETS_US.iter().map(|bound| (*bound as f64 / 1e6, 0)).collect();
        buckets.push((f64::INFINITY, 0));
        let mut sum_s = 0.0;
        for value in histogram.iter_recorded() {
            let (us, count) = (value.value_iterated_to(), value.count_since_last_iteration());
            sum_s += us as f64 / 1e6 * count as f64;
            let place = BUCKETS_US.partition_point(|bound| *bound < us);
            if let Some((_, in_bucket)) = buckets.get_mut(place) {
                *in_bucket += count;
            }
        }
        Self { sum_s, count: histogram.len(), buckets }
    }
}

impl LiveMetrics {
    /// Serves them at `listen` until the system of actix ends.
    ///
    /// # Errors
    /// The address can't be used.
    pub fn serve(listen: SocketAddr, plan: &Plan) -> Result<Self, Failure> {
        let failed = |cause| Failure::CannotListen { address: listen, cause };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let latest = Latest {
            scenario: plan.name.clone(),
            seed: plan.seed,
            devices: u64::from(plan.fleet.devices),
            planned_s: plan.duration.as_secs_f64(),
            ..Latest::default()
        };
        let latest = Arc::new(Mutex::new(latest));
        let shown = Arc::new(registry(Arc::clone(&latest)));
        // A thread of its own, so that a busy fleet does not delay a scrape, nor a scrape the fleet.
        Arbiter::new().spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let router = Router::new().route("/metrics", get(metrics)).with_state(shown);
            let _ = axum::serve(listener, router).await; // it never ends by itself
        });
        Ok(Self { latest, address })
    }

    /// Shows what has been measured up to the end of a tick.
    pub fn update(&self, elapsed_s: f64, total: &Measurements, open_sockets: u64) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = total.of(MessageType::Heartbeat);
        let times = |of: fn(&Times) -> &Histogram<u64>| {
            beats.accepted().map_or_else(Distribution::default, |times| Distribution::of(of(times)))
        };
        let by_type = |(kind, measured): (&MessageType, &crate::run::measure::Measured)| (kind.as_str(), measured.sent);
        latest.elapsed_s = elapsed_s;
        latest.due = total.offered();
        latest.sent = total.messages.iter().map(by_type).collect();
        latest.ended = total
            .messages
            .iter()
            .flat_map(|(kind, measured)| measured.codes().map(|(code, count)| ((kind.as_str(), code), count)))
            .collect();
        latest.response = times(|times| &times.response_us);
        latest.service = times(|times| &times.service_us);
        latest.send_lag = Distribution::of(&total.send_lag_us);
        let handshakes = &total.handshakes;
        latest.handshakes =
            [("full", handshakes.full), ("resumed", handshakes.resumed), ("failed", handshakes.failed)].into();
        latest.registered = u64::try_from(total.registered).unwrap_or(0);
        latest.in_flight = u64::try_from(total.in_flight).unwrap_or(0);
        latest.open_sockets = open_sockets;
    }
}

async fn metrics(State(shown): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let mut rendered = String::new();
    let done = text::encode(&mut rendered, &shown);
    exposition(&headers, done.map(|()| rendered))
}

fn registry(latest: Arc<Mutex<Latest>>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(LiveCollector(latest)));
    registry
}

/// Encodes the latest figures when they are asked for.
#[derive(Debug)]
struct LiveCollector(Arc<Mutex<Latest>>);

impl Collector for LiveCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = MetricEncoder(&mut encoder);
        // A gauge: the older text format has no type for information.
        let run = [("scenario", latest.scenario.clone()), ("seed", latest.seed.to_string())];
        let mut family = out.0.encode_descriptor("ks_fleet_run_info", "The run", None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(&run)?)?;
        out.gauge("ks_fleet_elapsed", "Seconds since the run began", Some(&Unit::Seconds), latest.elapsed_s)?;
        out.gauge("ks_fleet_planned", "Seconds that the run is to last", Some(&Unit::Seconds), latest.planned_s)?;
        out.counter("ks_fleet_heartbeats_due", "Heartbeats that became due: the offered load", latest.due)?;
        let sent = latest.sent.iter().map(|(kind, count)| ([("type", *kind)], *count));
        out.counters("ks_fleet_requests_sent", "Requests sent, by message type", sent)?;
        let ended = latest.ended.iter().map(|((kind, code), count)| ([("type", *kind), ("code", *code)], *count));
        let help = "Requests that ended, by message type and code: OK, an ERR1 code, or why there was no answer";
        out.counters("ks_fleet_requests_ended", help, ended)?;
        let help = "Response times of heartbeats answered OK, from the time they were due";
        out.histogram("ks_fleet_heartbeat_response", help, &latest.response)?;
        let help = "Service times of heartbeats answered OK, from the time they were sent";
        out.histogram("ks_fleet_heartbeat_service", help, &latest.service)?;
        let help = "From the time a heartbeat was due until its timer was served: the generator's own delay";
        out.histogram("ks_fleet_send_lag", help, &latest.send_lag)?;
        let handshakes = latest.handshakes.iter().map(|(result, count)| ([("result", *result)], *count));
        out.counters("ks_fleet_tls_handshakes", "TLS handshakes, by how they ended", handshakes)?;
        let others = latest.devices.saturating_sub(latest.registered);
        let states = [("registered", latest.registered), ("other", others)];
        out.gauges("ks_fleet_devices", "Devices, by whether they are registered", states)?;
        out.gauge("ks_fleet_requests_in_flight", "Requests without an answer yet", None, latest.in_flight as f64)?;
        out.gauge("ks_fleet_open_sockets", "Open connections", None, latest.open_sockets as f64)?;
        let help = "CPU time of the simulator, its own server not included";
        let cpu = ConstCounter::new(resources::own_cpu_s());
        cpu.encode(out.0.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?)?;
        let help = "Peak resident memory of the simulator";
        out.gauge("process_resident_memory_max", help, Some(&Unit::Bytes), resources::peak_rss_bytes() as f64)
    }
}

/// One way to write each type of metric.
struct MetricEncoder<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl MetricEncoder<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, unit, gauge.metric_type())?)
    }

    fn gauges(&mut self, name: &str, help: &str, by_state: [(&'static str, u64); 2]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (state, value) in by_state {
            ConstGauge::new(value as f64).encode(family.encode_family(&[("state", state)])?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        each: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in each {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Distribution) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        encoder.encode_histogram::<NoLabelSet>(of.sum_s, of.count, &of.buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::measure::{OK, record};

    /// The text of a run in which these heartbeats were answered after so many microseconds.
    fn shown(response_us: &[u64]) -> String {
        let latest = Arc::new(Mutex::new(Latest { scenario: "a \"b\"".to_owned(), devices: 3, ..Latest::default() }));
        let live = LiveMetrics { latest: Arc::clone(&latest), address: "127.0.0.1:1".parse().unwrap() };
        let mut total = Measurements { registered: 2, due: 7, ..Measurements::default() };
        let beats = total.of_mut(MessageType::Heartbeat);
        beats.sent = 9;
        for us in response_us {
            beats.end(OK, *us, Some(*us));
        }
        beats.end("RATE_LIMITED", 5, None);
        record(&mut total.send_lag_us, 90);
        live.update(12.5, &total, 4);
        let mut rendered = String::new();
        text::encode(&mut rendered, &registry(latest)).unwrap();
        rendered
    }

    #[test]
    fn the_figures_are_those_of_the_run() {
        let text = shown(&[200, 900, 1_000, 40_000, 900_000_000]);
        for line in [
            r#"ks_fleet_run_info{scenario="a \"b\"",seed="0"} 1"#,
            "ks_fleet_elapsed_seconds 12.5",
            "ks_fleet_heartbeats_due_total 7",
            r#"ks_fleet_requests_sent_total{type="heartbeat"} 9"#,
            r#"ks_fleet_requests_ended_total{type="heartbeat",code="OK"} 5"#,
            r#"ks_fleet_requests_ended_total{type="heartbeat",code="RATE_LIMITED"} 1"#,
            r#"ks_fleet_heartbeat_response_seconds_bucket{le="0.0001"} 0"#,
            r#"ks_fleet_heartbeat_response_seconds_bucket{le="0.00025"} 1"#,
            r#"ks_fleet_heartbeat_response_seconds_bucket{le="0.001"} 3"#,
            r#"ks_fleet_heartbeat_response_seconds_bucket{le="30.0"} 4"#,
            r#"ks_fleet_heartbeat_response_seconds_bucket{le="+Inf"} 5"#,
            "ks_fleet_heartbeat_response_seconds_count 5",
            r#"ks_fleet_send_lag_seconds_bucket{le="0.0001"} 1"#,
            r#"ks_fleet_devices{state="registered"} 2.0"#,
            r#"ks_fleet_devices{state="other"} 1.0"#,
            "ks_fleet_open_sockets 4.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let sum: f64 = text
            .lines()
            .find_map(|line| line.strip_prefix("ks_fleet_heartbeat_response_seconds_sum "))
            .unwrap()
            .parse()
            .unwrap();
        let exact = (200.0 + 900.0 + 1_000.0 + 40_000.0 + 900_000_000.0) / 1e6;
        assert!((sum - exact).abs() < exact * 0.001, "{sum}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
