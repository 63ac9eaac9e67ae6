//! Whether the waits of refusals are spread, so that a refused fleet does not come back in step. A single wait does not show it: each may be
//! the shortest.

/// In so many seconds the shortest wait alone shows that nothing is spread: at most half of all waits are the shortest.
const SECONDS: u32 = 64;

/// The waits that devices were asked for.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// Seconds in which one was refused, until the first wait that was longer than it had to be.
    seconds: u32,
    last_s: Option<u64>,
    is_spread: bool,
}

impl Spread {
    /// Whether a wait that was longer was seen: nothing is open any more.
    pub(super) fn is_shown(&self) -> bool {
        self.is_spread
    }

    /// A device was refused in this second, and asked to wait for so much longer than it has to. Says whether that shows, for the first
    /// time, that waits are not spread.
    pub(super) fn seen(&mut self, second: u64, extra_s: u64) -> bool {
        self.is_spread |= extra_s > 0;
        if self.is_spread || self.last_s == Some(second) {
            return false;
        }
        self.last_s = Some(second);
        self.seconds = self.seconds.saturating_add(1);
        self.seconds == SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_that_are_never_longer_in_many_seconds_are_not_spread() {
        let mut spread = Spread::default();
        let shown: Vec<u64> = (0..1_000).filter(|number| spread.seen(number / 2, 0)).collect();
        assert_eq!(shown, [126], "the 64th second");
        let mut spread = Spread::default();
        assert!(!(0..1_000).any(|second| spread.seen(second, u64::from(second == 62))));
    }
}
