//! What a device knows of the punches that people made at it. Pure: this is what flash keeps while the network is gone.

use std::collections::VecDeque;

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{Direction, PUNCHES_MAX, Punch, PunchMethod, PunchesStored},
    text::Text,
    time::UnixMs,
};

use crate::{pairs::Pairs, seed};

/// Punches of one device.
#[derive(Debug, Default)]
pub struct Punches {
    /// How many were made; a number is never used for another.
    made: u64,
    /// Those that the server has not confirmed, the oldest first.
    waiting: VecDeque<Punch>,
    /// How many of those, from the oldest on, are on their way.
    sent: usize,
    /// Numbers of those that it has confirmed.
    pub(super) confirmed: Pairs,
}

/// The badge that makes a punch: it follows from the device and the number, so that a stored punch can be told from another.
pub fn badge(device_id: &DeviceId, punch_no: u64) -> String {
    let bytes = seed::bytes(punch_no, device_id.as_str(), "badge");
    let number = bytes.iter().take(3).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("B{number:08}")
}

impl Punches {
    /// Somebody punches, so many times.
    pub(super) fn make(&mut self, count: u32, device_id: &DeviceId, at: UnixMs) {
        for _ in 0..count {
            self.made += 1;
            self.waiting.push_back(Punch {
                punch_no: Sequence::new(0, self.made).seq,
                at,
                badge: Text::truncated(&badge(device_id, self.made)),
                direction: if self.made % 2 == 1 { Direction::In } else { Direction::Out },
                method: PunchMethod::Card,
            });
        }
    }

    /// How many the server has not confirmed.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest of the unconfirmed ones, as many as one request takes; from here on they are on their way.
    pub(super) fn send(&mut self) -> Vec<Punch> {
        self.sent = self.waiting.len().min(PUNCHES_MAX);
        self.waiting.iter().take(self.sent).cloned().collect()
    }

    /// The server has those that were on their way, and not those that people made since.
    pub(super) fn stored(&mut self, stored: &PunchesStored) {
        for punch in self.waiting.drain(..self.sent) {
            if !stored.conflicts.as_slice().contains(&punch.punch_no) {
                self.confirmed.insert(Sequence::new(0, punch.punch_no.get()));
            }
        }
    }

    /// How many were made, and the numbers of those that the server confirmed, which are forgotten here.
    pub(super) fn take(&mut self) -> (u64, Pairs) {
        (self.made, std::mem::take(&mut self.confirmed))
    }
}
