//! How long each kind of message stays pending until the server accepts one.

use std::time::Duration;

use smallvec::SmallVec;

use crate::device::exchange::MessageType;

/// Shorter periods are not recorded: retries and back-off alone can take as long.
pub const PERIOD_MIN: Duration = Duration::from_mins(15);
/// Periods recorded per device at most; the first ones show what is wrong.
const PERIODS_MAX: usize = 8;

/// A period in which a device had messages of one kind to send and none was accepted. Times count from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingPeriod {
    pub kind: MessageType,
    pub since: Duration,
    /// When one was accepted, or none was left to send.
    pub until: Duration,
}

/// The kinds of messages a device has to send now, and its long pending periods so far.
#[derive(Debug, Default)]
pub struct PendingMessages {
    /// Since when, in the order of kinds; each heartbeat ends and begins one.
    open: SmallVec<[(MessageType, Duration); 2]>,
    long: Vec<PendingPeriod>,
}

impl PendingMessages {
    /// Exactly these kinds are pending from now on.
    pub fn set(&mut self, kinds: &[MessageType], now: Duration) {
        let mut at = 0;
        while let Some((kind, _)) = self.open.get(at).copied() {
            if kinds.contains(&kind) {
                at += 1;
            } else {
                self.end(kind, now);
            }
        }
        for kind in kinds {
            if let Err(place) = self.place(*kind) {
                self.open.insert(place, (*kind, now));
            }
        }
    }

    fn place(&self, kind: MessageType) -> Result<usize, usize> {
        self.open.binary_search_by_key(&kind, |(open, _)| *open)
    }

    /// A message of this kind was accepted, or no longer needs to be sent.
    pub fn end(&mut self, kind: MessageType, now: Duration) {
        let Ok(place) = self.place(kind) else { return };
        let (_, since) = self.open.remove(place);
        if now.saturating_sub(since) >= PERIOD_MIN && self.long.len() < PERIODS_MAX {
            self.long.push(PendingPeriod { kind, since, until: now });
        }
    }

    /// Takes out every long period, including those still open.
    pub fn take(&mut self, now: Duration) -> Vec<PendingPeriod> {
        self.set(&[], now);
        std::mem::take(&mut self.long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageType::{Attendance, Heartbeat};

    #[test]
    fn a_period_lasts_until_one_message_of_its_kind_is_accepted() {
        let mut waits = PendingMessages::default();
        let minutes = Duration::from_mins;
        waits.set(&[Heartbeat, Attendance], minutes(1));
        for minute in 2..30 {
            waits.end(Heartbeat, minutes(minute));
            waits.set(&[Heartbeat, Attendance], minutes(minute));
        }
        waits.end(Attendance, minutes(30));
        waits.set(&[Heartbeat, Attendance], minutes(30));
        let punches = |since, until| PendingPeriod { kind: Attendance, since: minutes(since), until: minutes(until) };
        assert_eq!(waits.take(minutes(43)), [punches(1, 30)], "shorter periods are not recorded");
        waits.set(&[Attendance], minutes(50));
        waits.set(&[], minutes(70));
        assert_eq!(waits.take(minutes(99)), [punches(50, 70)], "it has nothing left to send");
    }
}
