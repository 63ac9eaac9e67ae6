//! Slots of concurrent downloads, and the queue for them: one slot for each device that downloads, one turn for each that waits.
//!
//! A device gains nothing by repeating its request, and does not delay others: its second download replaces its first, and while it
//! waits for its turn it keeps that turn.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ks_protocol::id::DeviceId;
use tokio::time::Instant;

/// The least and the greatest time after which a device that found no slot may retry.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(10));
/// Devices whose turns are remembered; beyond that the earliest turn is forgotten.
const TURNS_MAX: usize = 100_000;

/// The slots of all downloads.
#[derive(Debug)]
pub(super) struct Slots {
    slots_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The devices that hold a slot, each with the number of its download.
    taken: BTreeMap<DeviceId, u64>,
    /// Downloads so far.
    downloads: u64,
    /// When the last device in the queue has its turn and is served.
    queue_ends_at: Instant,
    /// The turns of waiting devices; past turns are removed.
    turns: BTreeMap<DeviceId, Instant>,
    /// The same in the order of the turns.
    in_order: VecDeque<(Instant, DeviceId)>,
}

/// A slot, freed when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    device_id: DeviceId,
    download: u64,
}

impl Slots {
    pub(super) fn new(slots_max: usize) -> Self {
        let (taken, turns) = (BTreeMap::new(), BTreeMap::new());
        let state = State { taken, downloads: 0, queue_ends_at: Instant::now(), turns, in_order: VecDeque::new() };
        Self { slots_max, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a download that takes `length` when nothing else is sent. A device that already holds a slot reuses it: it has
    /// given up its earlier download, whatever the state of that connection.
    ///
    /// # Errors
    /// There is no slot: how long to wait.
    pub(super) fn take(self: &Arc<Self>, device_id: &DeviceId, length: Duration) -> Result<Slot, Duration> {
        let mut state = self.state();
        if state.taken.len() >= self.slots_max && !state.taken.contains_key(device_id) {
            return Err(state.wait_for_a_turn(device_id, length, Instant::now()));
        }
        state.downloads += 1;
        let download = state.downloads;
        state.taken.insert(device_id.clone(), download);
        Ok(Slot { slots: Arc::clone(self), device_id: device_id.clone(), download })
    }
}

impl State {
    /// How long until it is the device's turn, if the devices before it come in theirs. The turns keep a fleet from retrying all at
    /// the same time, again and again.
    fn wait_for_a_turn(&mut self, device_id: &DeviceId, length: Duration, now: Instant) -> Duration {
        while self.in_order.front().is_some_and(|(at, _)| *at <= now) || self.in_order.len() >= TURNS_MAX {
            let Some((_, of)) = self.in_order.pop_front() else { break };
            self.turns.remove(&of);
        }
        if let Some(turn) = self.turns.get(device_id) {
            return *turn - now;
        }
        let wait = self.queue_ends_at.saturating_duration_since(now).clamp(RETRY_AFTER.0, RETRY_AFTER.1);
        self.queue_ends_at = (self.queue_ends_at.max(now) + length).min(now + RETRY_AFTER.1);
        self.turns.insert(device_id.clone(), now + wait);
        self.in_order.push_back((now + wait, device_id.clone()));
        wait
    }
}

impl Slot {
    /// Whether the device has not started another download since.
    pub(super) fn is_current(&self) -> bool {
        self.slots.state().taken.get(&self.device_id) == Some(&self.download)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        if state.taken.get(&self.device_id) == Some(&self.download) {
            state.taken.remove(&self.device_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(1);

    fn device(number: u32) -> DeviceId {
        format!("KS-{number}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_holds_one_slot_for_its_last_download() {
        let slots = Arc::new(Slots::new(2));
        let first = slots.take(&device(1), LENGTH).unwrap();
        let second = slots.take(&device(1), LENGTH).unwrap();
        assert!(!first.is_current() && second.is_current());
        let other = slots.take(&device(2), LENGTH).unwrap();
        drop(first);
        assert!(second.is_current(), "dropping the earlier download frees no slot");
        assert!(slots.take(&device(3), LENGTH).is_err());
        drop(second);
        assert!(slots.take(&device(3), LENGTH).is_ok());
        assert!(other.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_keeps_its_turn_and_does_not_lengthen_the_queue() {
        let slots = Arc::new(Slots::new(1));
        let _held = slots.take(&device(0), LENGTH).unwrap();
        let wait = |number| slots.take(&device(number), LENGTH).unwrap_err();
        for _ in 0..200 {
            assert_eq!(wait(1), RETRY_AFTER.0);
        }
        let waits: Vec<u64> = (2..7).map(|number| wait(number).as_secs()).collect();
        assert_eq!(waits, [2, 2, 3, 4, 5]);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!((wait(1), wait(6)), (Duration::from_millis(500), Duration::from_millis(3_500)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(wait(1), Duration::from_millis(3_500), "its turn has passed: it is last in the queue");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_and_remembered_turns_are_bounded() {
        let slots = Arc::new(Slots::new(1));
        let _held = slots.take(&device(0), LENGTH).unwrap();
        let most = u32::try_from(TURNS_MAX).unwrap();
        for number in 1..=most + 10 {
            assert!(slots.take(&device(number), LENGTH).unwrap_err() <= RETRY_AFTER.1);
        }
        let state = slots.state();
        assert_eq!((state.turns.len(), state.in_order.len()), (TURNS_MAX, TURNS_MAX));
    }
}
