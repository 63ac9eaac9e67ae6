//! The ceiling on the verified requests of all devices: one budget of the server, of which lower classes leave a part to higher ones.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Class, Gcra, Meter, Rate};

/// The budget. A lower class may not use its last requests: log lines leave half of the burst, heartbeats a fifth, both rounded down.
#[derive(Debug, Default)]
pub struct Ceiling(Mutex<Gcra>);

impl Ceiling {
    /// Microseconds until a request of this class is allowed; none if it is now.
    pub fn wait_us(&self, class: Class, meter: Meter) -> Option<u64> {
        self.spent().wait_us(of_class(class, meter))
    }

    /// Spends one request, or gives the microseconds to wait.
    pub fn try_spend(&self, class: Class, meter: Meter) -> Option<u64> {
        self.spent().spend(of_class(class, meter)).err()
    }

    fn spent(&self) -> MutexGuard<'_, Gcra> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit as a class sees it: with the part of the burst that it may use, at least one.
fn of_class(class: Class, meter: Meter) -> Meter {
    let burst = meter.rate.burst;
    let kept = match class {
        Class::Logs => burst / 2,
        Class::Heartbeats => burst / 5,
        Class::First => 0,
    };
    Meter { rate: Rate { burst: (burst - kept).max(1), ..meter.rate }, ..meter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_its_part_of_the_burst_to_higher_ones() {
        let rate = Rate { per_min: 60, burst: 10 };
        let ceiling = Ceiling::default();
        let immediate = |class| (0..20).filter(|_| ceiling.try_spend(class, rate.meter(0)).is_none()).count();
        assert_eq!(Class::ALL.map(immediate), [5, 3, 2]);
        let waits = |us| Class::ALL.map(|class| ceiling.wait_us(class, rate.meter(us)));
        assert_eq!(waits(0), [Some(6_000_000), Some(3_000_000), Some(1_000_000)]);
        assert_eq!(waits(1_000_000), [Some(5_000_000), Some(2_000_000), None]);
        assert_eq!(waits(6_000_000), [None; 3]);
    }

    #[test]
    fn the_smallest_burst_is_one_for_every_class() {
        let rate = Rate { per_min: 60, burst: 1 };
        for class in Class::ALL {
            let ceiling = Ceiling::default();
            assert_eq!(ceiling.try_spend(class, rate.meter(0)), None);
            assert_eq!(ceiling.try_spend(class, rate.meter(0)), Some(1_000_000));
        }
    }

    #[test]
    fn at_twice_the_rate_what_is_first_is_never_refused() {
        // Sixty requests a second are allowed; 10 log lines, 80 heartbeats and 30 ACKs come, evenly spaced.
        let rate = Rate { per_min: 3_600, burst: 60 };
        let (ceiling, mut refused) = (Ceiling::default(), [0_u32; 3]);
        for tick in 0..60_000_u64 {
            for ((class, per_s), refused) in Class::ALL.into_iter().zip([10, 80, 30]).zip(&mut refused) {
                if tick * per_s / 1_000 < (tick + 1) * per_s / 1_000 {
                    *refused += u32::from(ceiling.try_spend(class, rate.meter(tick * 1_000)).is_some());
                }
            }
        }
        let [logs, heartbeats, first] = refused;
        assert_eq!(first, 0);
        // 60 a second of 120, and once the part of the burst that heartbeats may use.
        assert!((3_540..=3_600).contains(&(logs + heartbeats)) && logs >= 560, "{refused:?}");
    }
}
