//! What processes and the whole machine use and may use: CPU, memory, open files.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

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

#[cfg(test)]
mod tests {
    use super::*;

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
