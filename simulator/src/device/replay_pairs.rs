//! Sets of replay pairs, stored as ranges because they are long and have few gaps.

use ks_protocol::id::Sequence;
use smallvec::SmallVec;

/// A set of replay pairs; a run of consecutive numbers takes the space of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Ascending; between two of one boot epoch at least one number is missing. Most devices have one or two, which are in place: each
    /// heartbeat is added to several sets, and following a pointer in each costs more than the rest.
    runs: SmallVec<[Run; 2]>,
}

/// Consecutive numbers of one boot epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    boot_epoch: u32,
    first: u64,
    last: u64,
}

impl Run {
    fn contains(&self, boot_epoch: u32, seq: u64) -> bool {
        self.boot_epoch == boot_epoch && (self.first..=self.last).contains(&seq)
    }

    /// Whether the number is the next one after the run.
    fn is_followed_by(&self, boot_epoch: u32, seq: u64) -> bool {
        self.boot_epoch == boot_epoch && self.last + 1 == seq
    }
}

impl Pairs {
    /// Adds a pair; false if it was already present.
    pub fn insert(&mut self, sequence: Sequence) -> bool {
        let (boot_epoch, seq) = (sequence.boot_epoch, sequence.seq.get());
        // The common case: the number after the last one.
        if let Some(last) = self.runs.last_mut().filter(|last| last.is_followed_by(boot_epoch, seq)) {
            last.last = seq;
            return true;
        }
        let next = self.next_run(boot_epoch, seq);
        if self.before(next).is_some_and(|run| run.contains(boot_epoch, seq)) {
            return false;
        }
        let joins_left = self.before(next).is_some_and(|run| run.is_followed_by(boot_epoch, seq));
        let added = Run { boot_epoch, first: seq, last: seq };
        let right = self.runs.get_mut(next).filter(|run| added.is_followed_by(run.boot_epoch, run.first));
        match (joins_left, right) {
            (true, right) => {
                let last = right.map(|right| right.last);
                if last.is_some() {
                    self.runs.remove(next);
                }
                if let Some(left) = self.runs.get_mut(next.wrapping_sub(1)) {
                    left.last = last.unwrap_or(seq);
                }
            }
            (false, Some(right)) => right.first = seq,
            (false, None) => self.runs.insert(next, added),
        }
        true
    }

    /// Index of the first run that begins after this pair.
    fn next_run(&self, boot_epoch: u32, seq: u64) -> usize {
        self.runs.partition_point(|run| (run.boot_epoch, run.first) <= (boot_epoch, seq))
    }

    fn before(&self, next: usize) -> Option<&Run> {
        self.runs.get(next.checked_sub(1)?)
    }

    /// Whether the set has a pair.
    pub fn contains(&self, sequence: Sequence) -> bool {
        let (boot_epoch, seq) = (sequence.boot_epoch, sequence.seq.get());
        self.before(self.next_run(boot_epoch, seq)).is_some_and(|run| run.contains(boot_epoch, seq))
    }

    /// How many pairs there are.
    pub fn len(&self) -> u64 {
        self.runs.iter().map(|run| run.last - run.first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Every pair, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Sequence> {
        self.runs.iter().flat_map(|run| (run.first..=run.last).map(|seq| Sequence::new(run.boot_epoch, seq)))
    }

    /// How many pairs are here and not in `other`.
    pub fn missing_from(&self, other: &Pairs) -> u64 {
        let missing = |run: &Run| {
            let from = other.next_run(run.boot_epoch, run.first).saturating_sub(1);
            let others = other.runs.get(from..).unwrap_or_default();
            let others = others.iter().take_while(|held| (held.boot_epoch, held.first) <= (run.boot_epoch, run.last));
            let overlap = |held: &Run| (run.last.min(held.last) + 1).saturating_sub(run.first.max(held.first));
            let same_epoch = others.filter(|held| held.boot_epoch == run.boot_epoch);
            (run.last - run.first + 1) - same_epoch.map(overlap).sum::<u64>()
        };
        self.runs.iter().map(missing).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn consecutive_pairs_are_one_run_in_any_order() {
        let mut set = Pairs::default();
        for (epoch, seq) in [(1, 5), (1, 3), (1, 4), (1, 7), (1, 6), (2, 1)] {
            set.insert(Sequence::new(epoch, seq));
        }
        assert_eq!(set.runs.len(), 2);
        assert_eq!(set.len(), 6);
        assert!(set.contains(Sequence::new(1, 6)) && !set.contains(Sequence::new(1, 8)));
        assert!(!set.insert(Sequence::new(1, 4)), "already there");
    }

    /// The same operations on a set of plain pairs.
    #[test]
    fn it_is_a_set_whatever_the_order() {
        let mut random = crate::seed::stream(1, "pairs", "test");
        for _ in 0..300 {
            let [(mut one, mut plain), (mut other, mut plain_other)] =
                [(); 2].map(|()| (Pairs::default(), BTreeSet::new()));
            for _ in 0..crate::seed::below(&mut random, 60) {
                let epoch = u32::try_from(crate::seed::below(&mut random, 3)).unwrap();
                let pair = Sequence::new(epoch, crate::seed::below(&mut random, 12));
                if crate::seed::below(&mut random, 2) == 0 {
                    assert_eq!(one.insert(pair), plain.insert(pair), "{pair:?} into {one:?}");
                } else {
                    assert_eq!(other.insert(pair), plain_other.insert(pair), "{pair:?} into {other:?}");
                }
            }
            assert!(one.iter().eq(plain.iter().copied()) && one.len() == plain.len() as u64);
            assert!((0..3).all(|epoch| (0..13).all(|seq| {
                let pair = Sequence::new(epoch, seq);
                one.contains(pair) == plain.contains(&pair)
            })));
            assert_eq!(one.missing_from(&other), plain.difference(&plain_other).count() as u64, "{one:?} {other:?}");
        }
    }
}
