//! A map by device whose lookups begin at the device after the last one found: devices whose numbers are adjacent beat together, so
//! that is nearly always the one, and no search is needed.

use std::{cell::Cell, collections::BTreeMap};

/// A map by the names of devices.
#[derive(Debug)]
pub struct ByDevice<T> {
    /// In the order in which they were added.
    devices: Vec<(Box<str>, T)>,
    /// The place of each name in `devices`.
    places: BTreeMap<Box<str>, usize>,
    /// The place of the last one found.
    last: Cell<usize>,
}

impl<T> Default for ByDevice<T> {
    fn default() -> Self {
        Self { devices: Vec::new(), places: BTreeMap::new(), last: Cell::new(0) }
    }
}

impl<T> ByDevice<T> {
    fn place(&self, name: &str) -> Option<usize> {
        let is_at = |place: usize| self.devices.get(place).is_some_and(|(at, _)| **at == *name);
        let last = self.last.get();
        let near = [last + 1, last].into_iter().find(|place| is_at(*place));
        let place = near.or_else(|| self.places.get(name).copied())?;
        self.last.set(place);
        Some(place)
    }

    /// What there is of a device.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.devices.get(self.place(name)?).map(|(_, of)| of)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let place = self.place(name)?;
        self.devices.get_mut(place).map(|(_, of)| of)
    }

    /// Every device, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.places.values().filter_map(|place| self.devices.get(*place)).map(|(name, of)| (&**name, of))
    }
}

impl<T: Default> ByDevice<T> {
    /// What there is of a device; it is added if it is missing.
    pub fn entry(&mut self, name: &str) -> &mut T {
        let place = self.place(name).unwrap_or_else(|| {
            let place = self.devices.len();
            self.devices.push((name.into(), T::default()));
            self.places.insert(name.into(), place);
            self.last.set(place);
            place
        });
        let (_, of) = self.devices.get_mut(place).unwrap_or_else(|| unreachable!("it was found or added above"));
        of
    }
}

impl<N: AsRef<str>, T> FromIterator<(N, T)> for ByDevice<T> {
    /// Of devices with different names.
    fn from_iter<I: IntoIterator<Item = (N, T)>>(devices: I) -> Self {
        let devices: Vec<(Box<str>, T)> = devices.into_iter().map(|(name, of)| (name.as_ref().into(), of)).collect();
        let places = devices.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        Self { devices, places, last: Cell::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same operations on a plain map, in order and at random.
    #[test]
    fn it_is_a_map_whatever_the_order() {
        let mut random = crate::seed::stream(1, "by device", "test");
        for _ in 0..100 {
            let (mut one, mut plain) = (ByDevice::<u64>::default(), BTreeMap::<String, u64>::new());
            for step in 0..200 {
                let in_turn = crate::seed::below(&mut random, 2) == 0;
                let number = if in_turn { step % 20 } else { crate::seed::below(&mut random, 30) };
                let name = format!("D-{number}");
                match crate::seed::below(&mut random, 3) {
                    0 => {
                        *one.entry(&name) += step;
                        *plain.entry(name).or_default() += step;
                    }
                    1 => assert_eq!(one.get_mut(&name), plain.get_mut(&name)),
                    _ => assert_eq!(one.get(&name), plain.get(&name)),
                }
            }
            assert!(one.iter().eq(plain.iter().map(|(name, of)| (&**name, of))));
        }
    }

    #[test]
    fn one_that_was_collected_has_each_under_its_name() {
        let devices: ByDevice<u8> = [("B", 2), ("A", 1), ("C", 3)].into_iter().collect();
        assert!(devices.iter().eq([("A", &1), ("B", &2), ("C", &3)]));
        assert_eq!(["A", "B", "C", "D"].map(|name| devices.get(name).copied()), [Some(1), Some(2), Some(3), None]);
    }
}
