//! The ceiling on the verified requests of all devices: one budget of the server, of which lower classes leave a part to higher ones.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Class, Gcra, Meter, Rate};

/// How many requests one of a device that has not registered counts in their own share: that is a tenth of the rate.
const SHARE: u32 = 10;

/// The budget. A lower class may not use its last requests: devices that have not registered leave three quarters of the burst, log lines
/// half, heartbeats a fifth.
///
/// Who has not registered gets a share of its own beyond that, so that others can't keep it from registering, and so that however
/// often it is denied, it takes nothing from others.
#[derive(Debug, Default)]
pub struct Ceiling(Mutex<Owed>);

/// What is owed to the ceiling.
#[derive(Debug, Default)]
struct Owed {
    /// By all.
    all: Gcra,
    /// To the share of devices that have not registered.
    unproven: Gcra,
}

impl Ceiling {
    /// Microseconds until a request of this class is allowed; none if it is now.
    pub fn wait_us(&self, class: Class, meter: Meter) -> Option<u64> {
        self.owed().wait_us(class, meter)
    }

    /// Spends one request, or gives the microseconds to wait.
    pub fn try_spend(&self, class: Class, meter: Meter) -> Option<u64> {
        let mut owed = self.owed();
        let wait_us = owed.wait_us(class, meter);
        if wait_us.is_none() {
            // All come before the share: it is for the time when they leave nothing.
            if of_class(class, meter).is_none_or(|meter| owed.all.spend(meter).is_err()) {
                owed.unproven.charge(meter, SHARE);
            }
        }
        wait_us
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owed {
    fn wait_us(&self, class: Class, meter: Meter) -> Option<u64> {
        let from_all_us = of_class(class, meter).map_or(Some(u64::MAX), |meter| self.all.wait_us(meter))?;
        match class {
            Class::Unproven => self.unproven.wait_us(meter).map(|own_us| own_us.min(from_all_us)),
            _ => Some(from_all_us),
        }
    }
}

/// The limit as a class sees it: with the part of the burst that it may use, at least one. None for devices that have not registered, if
/// a quarter of the burst is not even one: they would compete with all others for it.
fn of_class(class: Class, meter: Meter) -> Option<Meter> {
    let burst = meter.rate.burst;
    let usable = match class {
        Class::Unproven if burst < 4 => return None,
        Class::Unproven => burst / 4,
        Class::Logs => burst - burst / 2,
        Class::Heartbeats => burst - burst / 5,
        Class::First => burst,
    };
    Some(Meter { rate: Rate { burst: usable, ..meter.rate }, ..meter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_its_part_of_the_burst_to_higher_ones() {
        let rate = Rate { per_min: 60, burst: 10 };
        let ceiling = Ceiling::default();
        let immediate = |class| (0..20).filter(|_| ceiling.try_spend(class, rate.meter(0)).is_none()).count();
        // Two of ten, and one of their own share, which counts as ten and leaves nothing of it.
        assert_eq!(Class::ALL.map(immediate), [3, 3, 3, 2]);
        let waits = |us| Class::ALL.map(|class| ceiling.wait_us(class, rate.meter(us)));
        assert_eq!(waits(0), [Some(1_000_000), Some(6_000_000), Some(3_000_000), Some(1_000_000)]);
        assert_eq!(waits(1_000_000), [None, Some(5_000_000), Some(2_000_000), None]);
        assert_eq!(waits(6_000_000), [None; 4]);
    }

    /// Goal: however many are denied again and again, nobody else is refused for it, and they get a tenth of the rate beside all others.
    #[test]
    fn a_flood_of_devices_that_have_not_registered_takes_nothing_from_others() {
        // Sixty requests a second are allowed. 40 heartbeats and 15 ACKs come; then 70 heartbeats, more than there is room for.
        for (heartbeats, expected) in [(40_u64, [0, 0]), (70, [1, 0])] {
            let rate = Rate { per_min: 3_600, burst: 60 };
            let (ceiling, mut refused, mut admitted) = (Ceiling::default(), [0_u32; 4], 0_u32);
            for tick in 0..60_000_u64 {
                for ((class, per_s), refused) in Class::ALL.into_iter().zip([200, 0, heartbeats, 15]).zip(&mut refused)
                {
                    if tick * per_s / 1_000 < (tick + 1) * per_s / 1_000 {
                        let is_refused = ceiling.try_spend(class, rate.meter(tick * 1_000)).is_some();
                        *refused += u32::from(is_refused);
                        admitted += u32::from(class == Class::Unproven && !is_refused);
                    }
                }
            }
            let [_, _, of_heartbeats, first] = refused;
            assert_eq!([of_heartbeats.min(1), first], expected, "{refused:?}");
            // What heartbeats and ACKs leave, five a second, and six a second of their own; or these alone.
            let least = if heartbeats == 40 { 11 * 60 } else { 6 * 60 };
            assert!((least..least + 25).contains(&admitted), "{heartbeats}: {admitted}");
        }
    }

    #[test]
    fn the_smallest_burst_is_one_for_every_class() {
        let rate = Rate { per_min: 60, burst: 1 };
        for class in Class::ALL {
            let ceiling = Ceiling::default();
            assert_eq!(ceiling.try_spend(class, rate.meter(0)), None);
            // A device that has not registered has only the share, in which one request counts as ten.
            let wait_us = if class == Class::Unproven { 10_000_000 } else { 1_000_000 };
            assert_eq!(ceiling.try_spend(class, rate.meter(0)), Some(wait_us));
        }
    }

    /// Goal: with a burst whose quarter is not one request, those that are denied again and again have their share, and nothing of what others use.
    #[test]
    fn of_a_burst_below_four_devices_that_have_not_registered_use_nothing() {
        for burst in 1..=4 {
            let (rate, ceiling) = (Rate { per_min: 600, burst }, Ceiling::default());
            // Ten requests a second are allowed. A thousand of devices that have not registered come in each, and one ACK each 100 ms.
            let mut admitted = 0;
            for ms in 0..60_000 {
                admitted += u32::from(ceiling.try_spend(Class::Unproven, rate.meter(ms * 1_000)).is_none());
                let refused = ms % 100 == 99 && ceiling.try_spend(Class::First, rate.meter(ms * 1_000)).is_some();
                assert!(!refused, "a burst of {burst}: an ACK at {ms} ms");
            }
            if burst < 4 {
                assert!((60..=61).contains(&admitted), "a burst of {burst}: a tenth of the rate, not {admitted}");
            }
        }
    }

    #[test]
    fn at_twice_the_rate_what_is_first_is_never_refused() {
        // Sixty requests a second are allowed; 10 log lines, 80 heartbeats and 30 ACKs come, evenly spaced.
        let rate = Rate { per_min: 3_600, burst: 60 };
        let (ceiling, mut refused) = (Ceiling::default(), [0_u32; 4]);
        for tick in 0..60_000_u64 {
            for ((class, per_s), refused) in Class::ALL.into_iter().zip([0, 10, 80, 30]).zip(&mut refused) {
                if tick * per_s / 1_000 < (tick + 1) * per_s / 1_000 {
                    *refused += u32::from(ceiling.try_spend(class, rate.meter(tick * 1_000)).is_some());
                }
            }
        }
        let [_, logs, heartbeats, first] = refused;
        assert_eq!(first, 0);
        // 60 a second of 120, and once the part of the burst that heartbeats may use.
        assert!((3_540..=3_600).contains(&(logs + heartbeats)) && logs >= 560, "{refused:?}");
    }
}
