//! The schedule of heartbeats: every device has its own phase, so that the devices of a fleet never beat at the same time.

use std::time::Duration;

use ks_protocol::{id::DeviceId, time::UnixMs};
use sha2::{Digest, Sha256};

/// A device without a heartbeat for this many intervals is suspected to be lost.
pub const SUSPECT_INTERVALS: u32 = 3;

/// When a device's beats are due, whatever the interval: drawn from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phase(u64);

impl Phase {
    /// That of a device.
    pub fn of(device_id: &DeviceId) -> Self {
        let hash = Sha256::digest(device_id.as_str());
        let mut first = [0; 8];
        first.copy_from_slice(hash.get(..8).unwrap_or(&[0; 8]));
        Self(u64::from_be_bytes(first))
    }
}

/// Milliseconds from `now` until the device's next beat: the first moment of its phase that is at least half an
/// interval away. After an outage the whole fleet is back in its phases within one and a half intervals.
pub fn next_beat_ms(Phase(phase): Phase, now: UnixMs, interval: Duration) -> u64 {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = phase % interval_ms;
    let earliest = now.0 + interval_ms.div_ceil(2);
    let into_interval = earliest % interval_ms;
    let wait = (phase + interval_ms - into_interval) % interval_ms;
    earliest + wait - now.0
}

/// A device last seen before this is late: it has missed a beat, and has not merely drifted in its phase.
pub fn late_before(now: UnixMs, heartbeat_interval_ms: u64) -> UnixMs {
    now.minus_ms(2 * heartbeat_interval_ms)
}

/// A device last seen before this is suspected to be lost ([`SUSPECT_INTERVALS`]): it gets no offer, and a confirmed one counts as lost for a promotion.
pub fn suspect_before(now: UnixMs, heartbeat_interval_ms: u64) -> UnixMs {
    now.minus_ms(u64::from(SUSPECT_INTERVALS) * heartbeat_interval_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_keep_their_phase_and_spread_over_the_interval() {
        let interval = Duration::from_mins(1);
        let mut per_quarter = [0; 4];
        for number in 0..400 {
            let device = Phase::of(&format!("KS-{number}").parse().unwrap());
            let now = UnixMs(1_800_000_000_000 + number * 7);
            let wait = next_beat_ms(device, now, interval);
            assert!((30_000..90_000).contains(&wait), "{wait}");
            let at = UnixMs(now.0 + wait);
            assert_eq!(next_beat_ms(device, at, interval), 60_000, "in phase, every interval");
            assert_eq!(next_beat_ms(device, UnixMs(at.0 + 900), interval), 59_100, "lateness does not add up");
            per_quarter[usize::try_from(at.0 % 60_000 / 15_000).unwrap()] += 1;
        }
        assert!(per_quarter.iter().all(|devices| *devices > 70), "{per_quarter:?}");
    }

    #[test]
    fn one_millisecond_of_interval_does_not_divide_by_zero() {
        let device = Phase::of(&"K".parse().unwrap());
        assert_eq!(next_beat_ms(device, UnixMs(5), Duration::ZERO), 1);
    }
}
