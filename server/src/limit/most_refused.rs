//! The callers that a limit has refused most, in a bounded list: the Space-Saving sketch (Metwally, Agrawal, El Abbadi, *Efficient Computation of
//! Frequent and Top-k Elements in Data Streams*, 2005).
//!
//! Who is not in a full list takes the place of the one with the fewest refusals, and its count, which may belong to others: so a count is at
//! most too large by what was there before. A caller with more than a sixteenth of all refusals is in the list, however many names or
//! addresses a flood makes up.

use std::{net::IpAddr, sync::Mutex, sync::PoisonError};

/// Addresses, and devices, that are remembered for each limit.
pub(super) const PLACES: usize = 16;
/// At most the bytes of a device's name on the heap.
const NAME_BYTES: usize = 64 + 16;

/// Who sent a request that a limit decides about, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Requester<'a> {
    /// As the limit counts it: an address, the /64 of an IPv6 address, or the network of a site.
    pub address: Option<IpAddr>,
    /// The device, if the server knows it. It may be somebody else who sends in its name.
    pub device: Option<&'a str>,
}

impl<'a> Requester<'a> {
    /// A known device at an address.
    pub fn device(address: IpAddr, device: &'a str) -> Self {
        Self { address: Some(super::network_of(address)), device: Some(device) }
    }

    /// Somebody at an address.
    pub fn address(address: IpAddr) -> Self {
        Self { address: Some(super::network_of(address)), device: None }
    }
}

/// How often one was refused, or would have been by a limit in shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<K> {
    pub who: K,
    /// At most.
    pub count: u64,
    /// By how much that may be too much.
    pub excess: u64,
    /// When it was last.
    pub last_us: u64,
}

#[derive(Debug)]
struct Sketch<K>(Vec<Refused<K>>);

impl<K> Default for Sketch<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Sketch<K> {
    fn add(&mut self, is_it: impl Fn(&K) -> bool, who: impl FnOnce() -> K, now_us: u64) {
        if let Some(known) = self.0.iter_mut().find(|known| is_it(&known.who)) {
            (known.count, known.last_us) = (known.count.saturating_add(1), now_us);
        } else if self.0.len() < PLACES {
            self.0.push(Refused { who: who(), count: 1, excess: 0, last_us: now_us });
        } else if let Some(fewest) = self.0.iter_mut().min_by_key(|known| known.count) {
            let before = fewest.count;
            *fewest = Refused { who: who(), count: before.saturating_add(1), excess: before, last_us: now_us };
        }
    }
}

/// The callers that one limit has refused most.
#[derive(Debug, Default)]
pub(super) struct MostRefused(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    addresses: Sketch<IpAddr>,
    devices: Sketch<Box<str>>,
}

/// The lists of one limit, each with the most refused first.
pub type RefusedLists = (Vec<Refused<IpAddr>>, Vec<Refused<Box<str>>>);

impl MostRefused {
    /// At most the bytes that the lists of one limit take beside this.
    pub(super) const BYTES: usize =
        PLACES * (size_of::<Refused<IpAddr>>() + size_of::<Refused<Box<str>>>() + NAME_BYTES);

    pub(super) fn add(&self, requester: Requester<'_>, now_us: u64) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(address) = requester.address {
            lists.addresses.add(|known| *known == address, || address, now_us);
        }
        if let Some(device) = requester.device {
            lists.devices.add(|known| **known == *device, || device.into(), now_us);
        }
    }

    pub(super) fn lists(&self) -> RefusedLists {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut addresses, mut devices) = (lists.addresses.0.clone(), lists.devices.0.clone());
        drop(lists);
        addresses.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        devices.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        (addresses, devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Requester<'_> {
        Requester { address: None, device: Some(name) }
    }

    /// Goal: a caller that is refused often is found among any number of others, with bounds that hold, in bounded memory.
    /// Method: 100,000 refusals of names that come once each, and of three that come often, against exact counts.
    #[test]
    fn who_is_refused_most_is_found_in_a_flood_of_made_up_names() {
        let most = MostRefused::default();
        let mut exact = [0, 0, 0];
        for number in 0..100_000_u64 {
            let place = match number % 10 {
                0..3 => 0,
                3 | 4 => 1,
                5 => 2,
                _ => {
                    most.add(device(&format!("GHOST-{number}")), number);
                    continue;
                }
            };
            exact[place] += 1;
            most.add(device(["KS-1", "KS-2", "KS-3"][place]), number);
        }
        let (addresses, devices) = most.lists();
        assert!(addresses.is_empty() && devices.len() == PLACES, "{devices:?}");
        for (place, name) in ["KS-1", "KS-2", "KS-3"].into_iter().enumerate() {
            let found = &devices[place];
            assert_eq!(&*found.who, name, "{devices:?}");
            assert!((found.count - found.excess..=found.count).contains(&exact[place]), "{found:?} {exact:?}");
        }
        assert_eq!(devices[0].last_us, 99_992);
    }

    #[test]
    fn a_few_are_counted_exactly_and_each_list_by_itself() {
        let most = MostRefused::default();
        let address = IpAddr::from([203, 0, 113, 9]);
        for (times, name) in [(2, "KS-1"), (3, "KS-2")] {
            (0..times).for_each(|at| most.add(Requester::device(address, name), at));
        }
        let (addresses, devices) = most.lists();
        assert_eq!(addresses, [Refused { who: address, count: 5, excess: 0, last_us: 2 }]);
        let names: Vec<(&str, u64, u64)> = devices.iter().map(|of| (&*of.who, of.count, of.excess)).collect();
        assert_eq!(names, [("KS-2", 3, 0), ("KS-1", 2, 0)]);
    }
}
