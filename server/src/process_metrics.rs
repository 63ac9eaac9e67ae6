//! Metrics of the process under the names that every Prometheus client uses: CPU, memory, open files, start.
//!
//! Source: "Writing client libraries", section "Process metrics", in Prometheus's documentation; proc(5).

use std::fs;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// What /proc says of a process; each part is none where it can't be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Figures {
    cpu_s: Option<f64>,
    resident_bytes: Option<f64>,
    open_files: Option<f64>,
    /// Seconds since 1970.
    started_s: Option<f64>,
}

/// Reads the figures of this process at each scrape.
#[derive(Debug)]
pub(crate) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let figures = Figures::of_this_process();
        if let Some(cpu_s) = figures.cpu_s {
            let counter = ConstCounter::new(cpu_s);
            let help = "CPU seconds of the process, user and system";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        let files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory of the process", figures.resident_bytes),
            ("process_open_fds", "Files that the process has open", figures.open_files),
            ("process_max_fds", "Files that the process may have open", files_max.map(|most| most as f64)),
            ("process_start_time_seconds", "When the process was started, in seconds since 1970", figures.started_s),
            ("ks_cores", "Cores that the process may use", Some(cores)),
        ] {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

impl Figures {
    fn of_this_process() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        let per_s = rustix::param::clock_ticks_per_second() as f64;
        let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1)); // less the folder itself
        Self {
            open_files: open.map(|count| count as f64),
            ..Self::read(&stat, &machine, per_s, rustix::param::page_size() as f64)
        }
    }

    /// From /proc/PID/stat: utime, stime, starttime and rss are fields 14, 15, 22 and 24; from /proc/stat: when the machine started.
    fn read(stat: &str, machine: &str, ticks_per_s: f64, page_bytes: f64) -> Self {
        // The name in parentheses may contain spaces; field 3 is the first after it.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let booted_s = machine.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Self {
            cpu_s: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks_per_s),
            resident_bytes: field(24).map(|pages| pages * page_bytes),
            open_files: None,
            started_s: booted_s.zip(field(22)).map(|(booted_s, ticks)| booted_s + ticks / ticks_per_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_those_of_its_manual() {
        let stat = "71 (ks server) S 1 71 71 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 9 0 12345 130000000 2048 18446744073709551615";
        let read = Figures::read(stat, "cpu 1 2\nbtime 1700000000\n", 100.0, 4_096.0);
        assert_eq!((read.cpu_s, read.resident_bytes), (Some(3.0), Some(8_388_608.0)));
        assert_eq!(read.started_s, Some(1_700_000_123.45));
        assert_eq!(Figures::read("", "", 100.0, 4_096.0), Figures::default());
    }

    #[test]
    fn this_process_has_all_figures() {
        let found = Figures::of_this_process();
        assert!(
            found.cpu_s.is_some() && found.resident_bytes > Some(1e6) && found.open_files >= Some(3.0),
            "{found:?}"
        );
        assert!(found.started_s > Some(1.7e9), "{found:?}");
    }
}
