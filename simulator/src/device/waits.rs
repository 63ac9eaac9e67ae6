//! How long a device waits until what it has to say is accepted, by kind of message.

use std::{collections::BTreeMap, time::Duration};

use crate::device::exchange::MessageType;

/// Shorter waits are not kept: retries and back-off take as long, and prove nothing.
pub const KEPT_FROM: Duration = Duration::from_mins(15);
/// Waits that are kept of a device at most; the first says what is wrong.
const KEPT_MAX: usize = 8;

/// A device had something to say, and none of it was accepted for so long. Times are since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// What kind of message.
    pub kind: MessageType,
    /// Since when.
    pub since: Duration,
    /// Until one was accepted, or there was nothing more to say.
    pub until: Duration,
}

/// What a device waits for.
#[derive(Debug, Default)]
pub struct Waits {
    open: BTreeMap<MessageType, Duration>,
    long: Vec<Wait>,
}

impl Waits {
    /// From now on these kinds are waited for, and no others.
    pub fn are_for(&mut self, kinds: &[MessageType], now: Duration) {
        let over: Vec<MessageType> = self.open.keys().copied().filter(|kind| !kinds.contains(kind)).collect();
        for kind in over {
            self.end(kind, now);
        }
        for kind in kinds {
            self.open.entry(*kind).or_insert(now);
        }
    }

    /// A message of this kind was accepted, or is no longer to be sent.
    pub fn end(&mut self, kind: MessageType, now: Duration) {
        let Some(since) = self.open.remove(&kind) else { return };
        if now.saturating_sub(since) >= KEPT_FROM && self.long.len() < KEPT_MAX {
            self.long.push(Wait { kind, since, until: now });
        }
    }

    /// Every long wait, with those that go on.
    pub fn take(&mut self, now: Duration) -> Vec<Wait> {
        self.are_for(&[], now);
        std::mem::take(&mut self.long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MessageType::{Attendance, Heartbeat};

    #[test]
    fn a_wait_lasts_until_one_of_its_kind_is_accepted() {
        let mut waits = Waits::default();
        let minutes = Duration::from_mins;
        waits.are_for(&[Heartbeat, Attendance], minutes(1));
        for minute in 2..30 {
            waits.end(Heartbeat, minutes(minute));
            waits.are_for(&[Heartbeat, Attendance], minutes(minute));
        }
        waits.end(Attendance, minutes(30));
        waits.are_for(&[Heartbeat, Attendance], minutes(30));
        let punches = |since, until| Wait { kind: Attendance, since: minutes(since), until: minutes(until) };
        assert_eq!(waits.take(minutes(43)), [punches(1, 30)], "what goes on for less is none");
        waits.are_for(&[Attendance], minutes(50));
        waits.are_for(&[], minutes(70));
        assert_eq!(waits.take(minutes(99)), [punches(50, 70)], "it has nothing more to say");
    }
}
