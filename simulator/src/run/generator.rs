//! The load generator's own figures, and whether it was the bottleneck, so that the run proves nothing about the server.

use ks_reports::run_folder::Generator;

use crate::{device::exchange::MessageType, link::NO_SOCKET, number::counted, run::measure::Measurements};

/// A request sent later than this after its intended time is late, in microseconds.
pub const LATE_US: u64 = 25_000;
/// Tolerated late sends, in basis points of those due.
const LATE_TOLERATED_BP: u64 = 100;

/// The generator's resource usage.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resources {
    /// CPU seconds of this process during the run.
    pub cpu_s: f64,
    /// CPU seconds of the embedded server during the run.
    pub server_cpu_s: Option<f64>,
    /// Peak resident memory of the embedded server, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// Peak number of open sockets.
    pub sockets_max: u64,
    /// Peak resident memory of the generator's process, or of all of them, in bytes.
    pub rss_bytes: u64,
}

/// The generator's figures of a whole run; `steady` is the part after the ramp and before the end, since requests that were
/// sent after the end were late.
pub fn figures(measured: &Measurements, steady: &Measurements, resources: Resources) -> Generator {
    let lag = &measured.send_lag_us;
    let late_sends = late_sends(measured);
    let ms = |quantile| lag.value_at_quantile(quantile) as f64 / 1_000.0;
    let sent = steady.of(MessageType::Heartbeat).sent;
    let achieved_bp = (sent * 10_000).checked_div(steady.offered()).unwrap_or(10_000);
    Generator {
        cpu_s: resources.cpu_s,
        server_cpu_s: resources.server_cpu_s,
        server_rss_bytes: resources.server_rss_bytes,
        late_sends,
        send_lag_p50_ms: if lag.is_empty() { 0.0 } else { ms(0.5) },
        send_lag_p99_ms: if lag.is_empty() { 0.0 } else { ms(0.99) },
        achieved_bp: u32::try_from(achieved_bp).unwrap_or(u32::MAX),
        rss_bytes: resources.rss_bytes,
        sockets_max: resources.sockets_max,
    }
}

/// Why the run is inconclusive, if this machine had too few sockets.
pub fn without_socket(measured: &Measurements) -> Option<String> {
    let without_socket: u64 = measured.messages.values().map(|of| of.code(NO_SOCKET)).sum();
    (without_socket > 0).then(|| {
        format!(
            "the generator was the bottleneck: this machine had no socket for {}; raise the limit of open files (`ulimit -n`), use fewer devices, or shared `connections`",
            counted(without_socket, "request")
        )
    })
}

/// Why a span was not measured reliably, if the generator was late.
pub fn lagged(measured: &Measurements) -> Option<String> {
    let lag = &measured.send_lag_us;
    let late = late_sends(measured);
    (late * 10_000 > lag.len() * LATE_TOLERATED_BP).then(|| {
        format!(
            "the generator was the bottleneck: {late} of {} left more than {} ms after their time (send lag p99 {:.0} ms); use fewer devices, a longer interval or more cores",
            counted(lag.len(), "heartbeat"),
            LATE_US / 1_000,
            lag.value_at_quantile(0.99) as f64 / 1_000.0
        )
    })
}

fn late_sends(measured: &Measurements) -> u64 {
    measured.send_lag_us.len() - measured.send_lag_us.count_between(0, LATE_US)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::measure::record;

    #[test]
    fn a_lagging_generator_is_unreliable() {
        let mut measured = Measurements::default();
        for number in 0..1_000 {
            record(&mut measured.send_lag_us, if number < 20 { 80_000 } else { 900 });
        }
        let figures = figures(&measured, &measured, Resources::default());
        assert_eq!(figures.late_sends, 20);
        assert!(lagged(&measured).unwrap().contains("20 of 1,000 heartbeats"));
    }

    #[test]
    fn requests_sent_after_the_end_are_late() {
        let mut steady = Measurements { due: 744_000, ..Measurements::default() };
        steady.of_mut(MessageType::Heartbeat).sent = 419_000;
        let mut whole = steady.clone();
        whole.of_mut(MessageType::Heartbeat).sent = 744_000;
        assert_eq!(figures(&whole, &steady, Resources::default()).achieved_bp, 5_631);
    }

    #[test]
    fn a_generator_without_sockets_is_unreliable() {
        let mut measured = Measurements::default();
        (0..3).for_each(|_| measured.of_mut(MessageType::Register).end(NO_SOCKET, 9, None));
        assert!(without_socket(&measured).unwrap().contains("no socket for 3 requests"));
    }
}
