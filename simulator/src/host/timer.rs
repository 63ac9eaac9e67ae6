//! Timers for beats. The runtime's timer counts in whole milliseconds and rounds up, which would show in every response time
//! of a load run; a dedicated thread that sleeps is late by some ten microseconds.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// Wakes devices at a given time.
pub trait Timer {
    /// Completes at that time, or soon after it.
    fn at(&self, moment: Instant) -> Pin<Box<dyn Future<Output = ()>>>;

    /// The moment at which a heartbeat is sent that is wanted then: the same one, unless beats are sent together.
    fn beat_at(&self, wanted: Instant) -> Instant {
        wanted
    }

    /// When a device with an interval of its own sends its first heartbeat; `None` if it draws the moment.
    fn first_beat(&self, _number: u32, _now: Instant) -> Option<Instant> {
        None
    }
}

/// Beats of a rehearsal: sent at whole steps from the start of the run, so that the server stores the beats of one step in one
/// transaction. Devices whose numbers are adjacent beat together: their rows are on the same pages of the database.
pub struct SteppedTimer {
    started: Instant,
    interval: Duration,
    step: Duration,
    devices: u32,
}

/// Most steps in one interval of heartbeats: a beat is sent at most half of a 60th of the interval from when it is wanted.
const STEPS_MIN: u32 = 60;
/// The longest step.
const STEP_MAX: Duration = Duration::from_secs(1);

impl SteppedTimer {
    /// For that many devices that beat at this interval, which is a whole number of steps: at least 60, of at most a second.
    pub fn new(started: Instant, interval: Duration, devices: u32) -> Self {
        let steps = u32::try_from(interval.as_nanos().div_ceil(STEP_MAX.as_nanos())).unwrap_or(u32::MAX).max(STEPS_MIN);
        Self { started, interval, step: interval / steps, devices: devices.max(1) }
    }
}

impl Timer for SteppedTimer {
    fn at(&self, moment: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        RuntimeTimer.at(moment)
    }

    /// The nearest step: a device that keeps to a phase of its own keeps to it.
    fn beat_at(&self, wanted: Instant) -> Instant {
        let step_ns = self.step.as_nanos();
        let since_ns = wanted.saturating_duration_since(self.started).as_nanos();
        let Some(steps) = (since_ns + step_ns / 2).checked_div(step_ns) else { return wanted };
        self.started + Duration::from_nanos_u128(steps * step_ns)
    }

    /// The fleet is spread evenly over the interval, in the order of its numbers.
    fn first_beat(&self, number: u32, now: Instant) -> Option<Instant> {
        let interval_ns = self.interval.as_nanos().max(1);
        let phase_ns = interval_ns * u128::from(number) / u128::from(self.devices) % interval_ns;
        let into_ns = now.saturating_duration_since(self.started).as_nanos() % interval_ns;
        Some(now + Duration::from_nanos_u128((phase_ns + interval_ns - into_ns) % interval_ns))
    }
}

/// The runtime's timer: exact in virtual time, late by a millisecond or two in real time.
pub struct RuntimeTimer;

impl Timer for RuntimeTimer {
    fn at(&self, moment: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(tokio::time::sleep_until(moment))
    }
}

/// The most precise timer for real time; the runtime's if no thread can be started.
pub fn finest() -> Rc<dyn Timer> {
    let waiting = Arc::new(Waiting::default());
    let timer = FineTimer(Arc::clone(&waiting));
    let thread = std::thread::Builder::new().name("timer".to_owned()).spawn(move || waiting.wake_all());
    if thread.is_ok() { Rc::new(timer) } else { Rc::new(RuntimeTimer) }
}

/// A thread that sleeps until the earliest requested time. It ends when this is dropped.
struct FineTimer(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    sleepers: Mutex<Sleepers>,
    /// Signalled for a new earliest time, or at the end.
    changed: Condvar,
}

#[derive(Default)]
struct Sleepers {
    /// By time, and among equal ones in the order of request.
    by_moment: BTreeMap<(Instant, u64), oneshot::Sender<()>>,
    asked: u64,
    is_over: bool,
}

impl Timer for FineTimer {
    fn at(&self, moment: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        let (wake, woken) = oneshot::channel();
        let mut sleepers = self.0.lock();
        sleepers.asked += 1;
        let place = (moment, sleepers.asked);
        sleepers.by_moment.insert(place, wake);
        let is_first = sleepers.by_moment.first_key_value().is_some_and(|(first, _)| *first == place);
        drop(sleepers);
        if is_first {
            self.0.changed.notify_one();
        }
        Box::pin(async move {
            let _ = woken.await; // if the timer thread has ended, this completes immediately
        })
    }
}

impl Drop for FineTimer {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_one();
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes each sleeper at its time, until the timer is dropped.
    fn wake_all(&self) {
        let mut sleepers = self.lock();
        while !sleepers.is_over {
            let first = sleepers.by_moment.first_key_value().map(|((moment, _), _)| *moment);
            let wait = first.map(|moment| moment.saturating_duration_since(Instant::now()));
            sleepers = match wait {
                None => self.changed.wait(sleepers).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if wait.is_zero() => {
                    if let Some((_, wake)) = sleepers.by_moment.pop_first() {
                        let _ = wake.send(()); // the sleeper may have been dropped
                    }
                    sleepers
                }
                Some(wait) => self.changed.wait_timeout(sleepers, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: sleepers wake in the order of their times, none too early, whatever order they were registered in.
    #[test]
    fn a_rehearsals_beats_are_at_whole_steps_and_spread_over_the_interval() {
        let started = Instant::now();
        let ms = Duration::from_millis;
        for (interval_ms, step_ms) in [(300_000, 1_000), (60_000, 1_000), (30_000, 500), (96_300, 1_000)] {
            let timer = SteppedTimer::new(started, ms(interval_ms), 100);
            assert!(timer.step <= ms(step_ms) && timer.step > ms(step_ms * 9 / 10), "{:?}", timer.step);
            let mut beats = std::collections::BTreeSet::new();
            for number in 0..100 {
                let now = started + ms(7 * interval_ms + 123);
                let wanted = timer.first_beat(number, now).unwrap();
                assert!(wanted >= now && wanted < now + timer.interval);
                let beat = timer.beat_at(wanted);
                assert!(beat.max(wanted) - beat.min(wanted) <= timer.step / 2);
                assert_eq!(timer.beat_at(beat), beat, "a step stays as it is");
                let next = timer.beat_at(beat + timer.interval);
                assert!((next - beat).abs_diff(timer.interval) < ms(1), "no drift");
                beats.insert(beat);
            }
            assert!(beats.len() >= 59, "{} moments", beats.len());
        }
    }

    #[test]
    fn sleepers_wake_in_order_and_never_too_early() {
        actix::System::new().block_on(async {
            let (timer, started) = (finest(), Instant::now());
            let order = Rc::new(std::cell::RefCell::new(Vec::new()));
            let sleepers = [30, 10, 20, 0, 10].map(|after_ms| {
                let (moment, order) = (started + Duration::from_millis(after_ms), Rc::clone(&order));
                let sleep = timer.at(moment);
                actix::spawn(async move {
                    sleep.await;
                    assert!(Instant::now() >= moment, "too early");
                    order.borrow_mut().push(after_ms);
                })
            });
            for sleeper in sleepers {
                sleeper.await.unwrap();
            }
            assert_eq!(*order.borrow(), [0, 10, 10, 20, 30]);
        });
    }
}
