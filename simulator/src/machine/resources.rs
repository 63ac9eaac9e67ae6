//! Resource usage of the load generator and its server: CPU, memory, sockets, and whether the generator was the bottleneck.

use std::{fs, time::Duration};

use ks_reports::run_folder::Generator;
use rustix::time::{ClockId, clock_gettime};

use crate::{link::NO_SOCKET, number::counted, run::measure::Measurements};

/// A request sent later than this after its intended time is late, in microseconds.
pub const LATE_US: u64 = 25_000;
/// Tolerated late sends, in basis points of those due.
const LATE_TOLERATED_BP: u64 = 100;

/// Real time since it was started, also when the runtime's clock is virtual: for progress and reports, never for a decision of the run.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    pub fn started() -> Self {
        Self(monotonic())
    }

    pub fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.0)
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// CPU seconds of this process so far.
pub fn own_cpu_s() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// CPU time of the calling thread so far.
pub fn own_thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// CPU seconds of another process so far; none if it has ended or there is no /proc.
pub fn cpu_s_of(process: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may contain spaces; the fields needed here come after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// CPU time of the whole machine since it was started, over all of its cores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MachineCpu {
    pub busy_s: f64,
    /// Busy and idle together.
    pub all_s: f64,
}

/// CPU time of this machine so far; none where there is no /proc.
pub fn machine_cpu() -> Option<MachineCpu> {
    machine_cpu_of(&fs::read_to_string("/proc/stat").ok()?)
}

/// From the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
fn machine_cpu_of(stat: &str) -> Option<MachineCpu> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().take(8).map_while(|ticks| ticks.parse().ok()).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    let all: f64 = ticks.iter().sum();
    let per_s = rustix::param::clock_ticks_per_second() as f64;
    (ticks.len() >= 5).then_some(MachineCpu { busy_s: (all - idle) / per_s, all_s: all / per_s })
}

/// Peak resident memory of this process so far, in bytes; 0 where there is no /proc.
pub fn peak_rss_bytes() -> u64 {
    peak_rss_bytes_of("self").unwrap_or(0)
}

/// Peak resident memory of another process since the last call, in bytes: each call resets the peak, if permitted.
/// None if the process has ended or there is no /proc.
pub fn take_peak_rss_bytes_of(process: u32) -> Option<u64> {
    let peak = peak_rss_bytes_of(&process.to_string());
    let _ = fs::write(format!("/proc/{process}/clear_refs"), "5"); // if not permitted, the peak is that since its start
    peak
}

fn peak_rss_bytes_of(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Files that this process may have open at once; none if there is no limit.
pub fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

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
pub fn generator(measured: &Measurements, steady: &Measurements, resources: Resources) -> Generator {
    let lag = &measured.send_lag_us;
    let late_sends = late_sends(measured);
    let ms = |quantile| lag.value_at_quantile(quantile) as f64 / 1_000.0;
    let sent = steady.of(crate::device::exchange::MessageType::Heartbeat).sent;
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
        let figures = generator(&measured, &measured, Resources::default());
        assert_eq!(figures.late_sends, 20);
        assert!(lagged(&measured).unwrap().contains("20 of 1,000 heartbeats"));
    }

    #[test]
    fn requests_sent_after_the_end_are_late() {
        let mut steady = Measurements { due: 744_000, ..Measurements::default() };
        steady.of_mut(crate::device::exchange::MessageType::Heartbeat).sent = 419_000;
        let mut whole = steady.clone();
        whole.of_mut(crate::device::exchange::MessageType::Heartbeat).sent = 744_000;
        assert_eq!(generator(&whole, &steady, Resources::default()).achieved_bp, 5_631);
    }

    #[test]
    fn a_generator_without_sockets_is_unreliable() {
        let mut measured = Measurements::default();
        (0..3).for_each(|_| measured.of_mut(crate::device::exchange::MessageType::Register).end(NO_SOCKET, 9, None));
        assert!(without_socket(&measured).unwrap().contains("no socket for 3 requests"));
    }

    #[test]
    fn waiting_for_a_disk_is_idle_and_guests_count_once() {
        let per_s = rustix::param::clock_ticks_per_second() as f64;
        let cpu = machine_cpu_of("cpu  100 20 30 700 50 5 15 80 60 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(cpu, MachineCpu { busy_s: 250.0 / per_s, all_s: 1_000.0 / per_s });
        assert_eq!(machine_cpu_of("intr 1 2 3\n"), None);
    }

    #[test]
    fn this_process_has_figures() {
        assert!(own_cpu_s() > 0.0);
        assert!(cpu_s_of(std::process::id()).is_some());
        assert!(peak_rss_bytes() > 1_000_000);
    }
}
