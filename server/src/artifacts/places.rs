//! Who downloads now, and when the others come: one place for each device, one turn for each that found none.
//!
//! Asking again gains nothing and costs nobody else anything: a second download of a device takes the place of its first, and
//! whoever waits for a turn is told the same turn again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ks_protocol::id::DeviceId;
use tokio::time::Instant;

/// When whoever finds no room is told to come again, at the earliest and at the latest.
const COME_AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(10));
/// Devices whose turns are remembered; beyond that the earliest turn is forgotten.
const TURNS_MAX: usize = 100_000;

/// The places of all downloads.
#[derive(Debug)]
pub(super) struct Places {
    places_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Who holds a place, and by which of all downloads.
    taken: BTreeMap<DeviceId, u64>,
    /// Downloads so far.
    downloads: u64,
    /// When those are served who were told to come again.
    queue_ends_at: Instant,
    /// When whose turn is; those that have come are left out.
    turns: BTreeMap<DeviceId, Instant>,
    /// The same in the order in which the turns come.
    in_order: VecDeque<(Instant, DeviceId)>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    device_id: DeviceId,
    download: u64,
}

impl Places {
    pub(super) fn new(places_max: usize) -> Self {
        let (taken, turns) = (BTreeMap::new(), BTreeMap::new());
        let state = State { taken, downloads: 0, queue_ends_at: Instant::now(), turns, in_order: VecDeque::new() };
        Self { places_max, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a download that takes so long where nobody else is; the device's own one if it holds one: it has given that
    /// download up, whatever its old connection says.
    ///
    /// # Errors
    /// There is no room; there is after so long.
    pub(super) fn take(self: &Arc<Self>, device_id: &DeviceId, length: Duration) -> Result<Place, Duration> {
        let mut state = self.state();
        if state.taken.len() >= self.places_max && !state.taken.contains_key(device_id) {
            return Err(state.wait_for_a_turn(device_id, length, Instant::now()));
        }
        state.downloads += 1;
        let download = state.downloads;
        state.taken.insert(device_id.clone(), download);
        Ok(Place { places: Arc::clone(self), device_id: device_id.clone(), download })
    }
}

impl State {
    /// How long until it is the turn of a device, if those who have one come in theirs: so that a fleet does not come back all
    /// at once, again and again.
    fn wait_for_a_turn(&mut self, device_id: &DeviceId, length: Duration, now: Instant) -> Duration {
        while self.in_order.front().is_some_and(|(at, _)| *at <= now) || self.in_order.len() >= TURNS_MAX {
            let Some((_, of)) = self.in_order.pop_front() else { break };
            self.turns.remove(&of);
        }
        if let Some(turn) = self.turns.get(device_id) {
            return *turn - now;
        }
        let wait = self.queue_ends_at.saturating_duration_since(now).clamp(COME_AGAIN.0, COME_AGAIN.1);
        self.queue_ends_at = (self.queue_ends_at.max(now) + length).min(now + COME_AGAIN.1);
        self.turns.insert(device_id.clone(), now + wait);
        self.in_order.push_back((now + wait, device_id.clone()));
        wait
    }
}

impl Place {
    /// Whether the device has not begun another download since.
    pub(super) fn is_current(&self) -> bool {
        self.places.state().taken.get(&self.device_id) == Some(&self.download)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
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
    async fn a_device_holds_one_place_by_its_last_download() {
        let places = Arc::new(Places::new(2));
        let first = places.take(&device(1), LENGTH).unwrap();
        let second = places.take(&device(1), LENGTH).unwrap();
        assert!(!first.is_current() && second.is_current());
        let other = places.take(&device(2), LENGTH).unwrap();
        drop(first);
        assert!(second.is_current(), "what was given up takes no place along");
        assert!(places.take(&device(3), LENGTH).is_err());
        drop(second);
        assert!(places.take(&device(3), LENGTH).is_ok());
        assert!(other.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_is_told_the_same_turn_and_lengthens_no_queue() {
        let places = Arc::new(Places::new(1));
        let _held = places.take(&device(0), LENGTH).unwrap();
        let wait = |number| places.take(&device(number), LENGTH).unwrap_err();
        for _ in 0..200 {
            assert_eq!(wait(1), COME_AGAIN.0);
        }
        let waits: Vec<u64> = (2..7).map(|number| wait(number).as_secs()).collect();
        assert_eq!(waits, [2, 2, 3, 4, 5]);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        assert_eq!((wait(1), wait(6)), (Duration::from_millis(500), Duration::from_millis(3_500)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(wait(1), Duration::from_millis(3_500), "the turn has passed: behind all others");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_the_turns_that_are_remembered_are_bounded() {
        let places = Arc::new(Places::new(1));
        let _held = places.take(&device(0), LENGTH).unwrap();
        let most = u32::try_from(TURNS_MAX).unwrap();
        for number in 1..=most + 10 {
            assert!(places.take(&device(number), LENGTH).unwrap_err() <= COME_AGAIN.1);
        }
        let state = places.state();
        assert_eq!((state.turns.len(), state.in_order.len()), (TURNS_MAX, TURNS_MAX));
    }
}
