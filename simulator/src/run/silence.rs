//! How long devices were silent for the server, from the heartbeats that it stored: who missed the deadline of its presence.

use std::time::Duration;

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::run_folder::LateDevices;

use crate::fleet::by_device::ByDevice;

/// Heartbeat intervals of silence after which the server calls a device late (docs/admin-api.md).
const INTERVALS: u32 = 2;

/// The silences of a fleet.
#[derive(Debug)]
pub struct Silences {
    /// All devices are switched on by then.
    from: UnixMs,
    /// Longest silence in time.
    deadline: Duration,
    /// The last heartbeat of each device, and its longest silence before it.
    heard: ByDevice<Option<(UnixMs, Duration)>>,
}

impl Silences {
    /// Counts from the end of the ramp on, for devices that are asked for a heartbeat each `interval`.
    pub fn new(epoch: UnixMs, ramp: Duration, interval: Duration) -> Self {
        Self { from: epoch + ramp, deadline: interval * INTERVALS, heard: ByDevice::default() }
    }

    /// A heartbeat that was stored; in order of time for each device.
    pub fn heard(&mut self, device: &DeviceId, at: UnixMs) {
        let silence = |since: UnixMs| Duration::from_millis(at.since_ms(since));
        match self.heard.entry(device.as_str()) {
            Some((last, longest)) => {
                *longest = (*longest).max(silence((*last).max(self.from)));
                *last = at.max(*last);
            }
            new => *new = Some((at, silence(self.from))),
        }
    }

    /// Which of these devices were silent for longer, until the run's end.
    pub fn late<'a>(&self, devices: impl Iterator<Item = &'a DeviceId>, end: UnixMs) -> LateDevices {
        let until_end = |since: UnixMs| Duration::from_millis(end.since_ms(since.max(self.from)));
        let longest = |device: &DeviceId| match self.heard.get(device.as_str()) {
            Some(Some((last, longest))) => (*longest).max(until_end(*last)),
            _ => until_end(self.from),
        };
        let late = devices.filter(|device| longest(device) > self.deadline).count();
        LateDevices { devices: u64::try_from(late).unwrap_or(u64::MAX), deadline_s: self.deadline.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: a minute's interval, so two minutes in time; the ramp ends at 60 s, the run at 600 s.
    #[test]
    fn a_device_is_late_after_two_intervals_at_the_start_between_and_at_the_end() {
        let epoch = UnixMs(1_000_000);
        let at = |s: u64| epoch + Duration::from_secs(s);
        let beats: [(&str, &[u64]); 6] = [
            ("IN-TIME", &[10, 130, 250, 370, 490]),
            ("LATE-BETWEEN", &[60, 181, 300, 420, 540]),
            ("LATE-AT-START", &[181, 300, 420, 540]),
            ("LATE-AT-END", &[60, 180, 300, 420, 479]),
            ("ALL-BEFORE-RAMP-COUNTS-FROM-IT", &[1, 2, 3]),
            ("NEVER", &[]),
        ];
        let mut silences = Silences::new(epoch, Duration::from_mins(1), Duration::from_mins(1));
        let name = |name: &str| name.parse::<DeviceId>().unwrap();
        for (device, seconds) in beats {
            for s in seconds {
                silences.heard(&name(device), at(*s));
            }
        }
        let is_late = |device: &str| silences.late([name(device)].iter(), at(600)).devices == 1;
        let late: Vec<&str> = beats.iter().map(|(device, _)| *device).filter(|device| is_late(device)).collect();
        let expected = ["LATE-BETWEEN", "LATE-AT-START", "LATE-AT-END", "ALL-BEFORE-RAMP-COUNTS-FROM-IT", "NEVER"];
        assert_eq!(late, expected);
        assert!((silences.late([].iter(), at(600)).deadline_s - 120.0).abs() < 1e-9);
    }
}
