//! Whether a device is there, as a pure function of when it was last heard.
//!
//! | silence | presence |
//! | --- | --- |
//! | up to 2 heartbeat intervals | ONLINE |
//! | more | LATE |
//! | 15 minutes (or 2 intervals, if that is longer) | OFFLINE |
//! | 7 days | LOST |
//!
//! Time in which no server listened is no silence: a restart pages nobody for a whole fleet.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::presence::ObservationGap;

/// Silence after which a device is OFFLINE.
const OFFLINE: Duration = Duration::from_mins(15);
/// Silence after which it is LOST.
const LOST: Duration = Duration::from_hours(7 * 24);

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    /// Heard in time.
    Online,
    /// Overdue.
    Late,
    /// Silent for a quarter of an hour.
    Offline,
    /// Silent for a week.
    Lost,
    /// Never heard.
    Never,
}

/// How long a device was silent while somebody listened, in milliseconds. `gaps` are those that ended after it was last heard.
pub fn silence_ms(last_seen_at: UnixMs, now: UnixMs, gaps: &[ObservationGap]) -> u64 {
    let unheard: u64 = gaps.iter().map(|gap| gap.to.min(now).since_ms(gap.from.max(last_seen_at))).sum();
    now.since_ms(last_seen_at).saturating_sub(unheard)
}

/// What that silence means.
pub fn presence(silence_ms: u64, interval: Duration) -> Presence {
    let silence = Duration::from_millis(silence_ms);
    let late = 2 * interval;
    match silence {
        silence if silence > LOST.max(late) => Presence::Lost,
        silence if silence > OFFLINE.max(late) => Presence::Offline,
        silence if silence > late => Presence::Late,
        _ => Presence::Online,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARD: UnixMs = UnixMs(1_800_000_000_000);
    const INTERVAL: Duration = Duration::from_mins(1);

    fn after(silence: Duration, gaps: &[(u64, u64)]) -> Presence {
        let minute = |minute: u64| HEARD + Duration::from_mins(minute);
        let gaps: Vec<_> =
            gaps.iter().map(|(from, to)| ObservationGap { from: minute(*from), to: minute(*to) }).collect();
        presence(silence_ms(HEARD, HEARD + silence, &gaps), INTERVAL)
    }

    #[test]
    fn silence_turns_online_into_late_offline_and_lost() {
        let second = Duration::from_secs(1);
        assert_eq!(after(2 * INTERVAL, &[]), Presence::Online);
        assert_eq!(after(2 * INTERVAL + second, &[]), Presence::Late);
        assert_eq!(after(OFFLINE, &[]), Presence::Late);
        assert_eq!(after(OFFLINE + second, &[]), Presence::Offline);
        assert_eq!(after(LOST + second, &[]), Presence::Lost);
        assert_eq!(presence(80 * 60_000, Duration::from_hours(1)), Presence::Online, "a slow fleet is not offline");
    }

    #[test]
    fn our_own_downtime_is_no_silence() {
        let hour = Duration::from_hours(1);
        assert_eq!(after(hour, &[(1, 59)]), Presence::Online);
        assert_eq!(after(hour, &[(1, 30), (31, 58)]), Presence::Late);
        assert_eq!(after(hour, &[(40, 90)]), Presence::Offline, "what is past now does not count");
    }
}
