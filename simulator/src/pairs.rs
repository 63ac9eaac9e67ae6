//! Sets of replay pairs, stored as ranges because they are long and have few gaps.

use std::collections::BTreeMap;

use ks_protocol::id::Sequence;

/// A set of replay pairs; a run of consecutive numbers takes the space of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// First and last number of each run, by boot epoch, ascending.
    runs: BTreeMap<u32, Vec<(u64, u64)>>,
}

impl Pairs {
    /// Adds a pair; false if it was already present.
    pub fn insert(&mut self, sequence: Sequence) -> bool {
        let seq = sequence.seq.get();
        let runs = self.runs.entry(sequence.boot_epoch).or_default();
        // The common case: the number after the last one.
        if let Some((_, last)) = runs.last_mut().filter(|(_, last)| *last + 1 == seq) {
            *last = seq;
            return true;
        }
        let next = runs.partition_point(|(first, _)| *first <= seq);
        let joins_left = next > 0 && runs.get(next - 1).is_some_and(|(_, last)| *last + 1 >= seq);
        if joins_left && runs.get(next - 1).is_some_and(|(_, last)| *last >= seq) {
            return false;
        }
        let right = runs.get(next).filter(|(first, _)| *first == seq + 1).map(|(_, last)| *last);
        match (joins_left, right) {
            (true, Some(right_last)) => {
                if let Some(run) = runs.get_mut(next - 1) {
                    run.1 = right_last;
                }
                runs.remove(next);
            }
            (true, None) => {
                if let Some(run) = runs.get_mut(next - 1) {
                    run.1 = seq;
                }
            }
            (false, Some(_)) => {
                if let Some(run) = runs.get_mut(next) {
                    run.0 = seq;
                }
            }
            (false, None) => runs.insert(next, (seq, seq)),
        }
        true
    }

    /// Whether the set has a pair.
    pub fn contains(&self, sequence: Sequence) -> bool {
        let seq = sequence.seq.get();
        let runs = self.runs.get(&sequence.boot_epoch).map(Vec::as_slice).unwrap_or_default();
        let next = runs.partition_point(|(first, _)| *first <= seq);
        next > 0 && runs.get(next - 1).is_some_and(|(_, last)| *last >= seq)
    }

    /// How many pairs there are.
    pub fn len(&self) -> u64 {
        self.runs.values().flatten().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Every pair, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> {
        let numbers =
            |(epoch, (first, last)): (u32, (u64, u64))| (first..=last).map(move |seq| Sequence::new(epoch, seq));
        self.runs.iter().flat_map(|(epoch, runs)| runs.iter().map(move |run| (*epoch, *run))).flat_map(numbers)
    }

    /// How many pairs are here and not in `other`.
    pub fn missing_from(&self, other: &Pairs) -> u64 {
        let pairs = self.runs.iter().flat_map(|(epoch, runs)| runs.iter().map(move |run| (*epoch, *run)));
        let count = |(epoch, (first, last)): (u32, (u64, u64))| {
            let held = other.runs.get(&epoch).map(Vec::as_slice).unwrap_or_default();
            let overlap = |(from, to): &(u64, u64)| (last.min(*to) + 1).saturating_sub(first.max(*from));
            (last - first + 1) - held.iter().map(overlap).sum::<u64>()
        };
        pairs.map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_pairs_are_one_run_in_any_order() {
        let mut set = Pairs::default();
        for (epoch, seq) in [(1, 5), (1, 3), (1, 4), (1, 7), (1, 6), (2, 1)] {
            set.insert(Sequence::new(epoch, seq));
        }
        assert_eq!(set.runs[&1], [(3, 7)]);
        assert_eq!(set.len(), 6);
        assert!(set.contains(Sequence::new(1, 6)) && !set.contains(Sequence::new(1, 8)));
        assert!(!set.insert(Sequence::new(1, 4)), "already there");
    }
}
