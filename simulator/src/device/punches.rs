//! The punches a device holds. Pure: the part of flash that survives an offline period.

use std::collections::VecDeque;

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{Direction, PUNCHES_MAX, Punch, PunchMethod, PunchesStored},
    text::Text,
    time::UnixMs,
};

use crate::{device::replay_pairs::Pairs, seed};

#[derive(Debug, Default)]
pub struct Punches {
    /// How many were made; numbers are never reused.
    made: u64,
    /// Not confirmed by the server, oldest first.
    waiting: VecDeque<Punch>,
    /// How many of those, from the oldest on, are in flight.
    sent: usize,
    /// Numbers the server has confirmed.
    pub(super) confirmed: Pairs,
}

/// The badge of a punch, derived from device and number, so that each stored punch can be identified.
pub fn badge(device_id: &DeviceId, punch_no: u64) -> String {
    let bytes = seed::bytes(punch_no, device_id.as_str(), "badge");
    let number = bytes.iter().take(3).fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("B{number:08}")
}

impl Punches {
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

    /// Number of unconfirmed punches.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest unconfirmed punches, as many as fit one request; they are in flight from now on.
    pub(super) fn send(&mut self) -> Vec<Punch> {
        self.sent = self.waiting.len().min(PUNCHES_MAX);
        self.waiting.iter().take(self.sent).cloned().collect()
    }

    /// The server stored the punches in flight, but not those made since.
    pub(super) fn stored(&mut self, stored: &PunchesStored) {
        for punch in self.waiting.drain(..self.sent) {
            if !stored.conflicts.as_slice().contains(&punch.punch_no) {
                self.confirmed.insert(Sequence::new(0, punch.punch_no.get()));
            }
        }
    }

    /// Takes out the number of punches made and the confirmed numbers.
    pub(super) fn take(&mut self) -> (u64, Pairs) {
        (self.made, std::mem::take(&mut self.confirmed))
    }
}
