//! What it costs to guess passwords and tokens, so that guessing is slow, and whoever guesses elsewhere locks nobody out: a person
//! is let in from where they have logged in before, whatever others do elsewhere, and a token that was good lately is looked up
//! first. Who guesses from that same address slows that person's logins there, and their own.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::limit::{AddressBudget, FailureBudget, Rate, network_of};

/// Logins that may fail from one address.
const FAILURES_OF_ADDRESS: Rate = Rate { per_min: 10, burst: 10 };
/// Logins that may fail under one name, from all addresses where that user has not logged in before.
const FAILURES_OF_NAME: Rate = Rate { per_min: 20, burst: 20 };
/// Logins under one name from one address, also those that succeed: each takes a tenth of a second of a core.
const ATTEMPTS: Rate = Rate { per_min: 12, burst: 12 };
/// Logins from one address that may wait for their turn.
const WAITING_OF_ADDRESS_MAX: usize = 2;
/// Logins from addresses where the user has not logged in before that may wait for their turn: half of all.
const WAITING_OF_STRANGERS_MAX: usize = 8;
/// Users at addresses, and tokens, that are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// The budgets, and who needs none.
#[derive(Debug)]
pub struct Throttle {
    addresses: AddressBudget,
    names: FailureBudget<String>,
    attempts: FailureBudget<(String, IpAddr)>,
    homes: Mutex<Lately<(String, IpAddr)>>,
    waiting: Mutex<Waiting>,
    tokens: AddressBudget,
    good_tokens: Mutex<Lately<[u8; 32]>>,
}

/// Logins that wait for their turn.
#[derive(Debug, Default)]
struct Waiting {
    of_address: BTreeMap<IpAddr, usize>,
    strangers: usize,
}

impl Throttle {
    /// Nobody has guessed yet. `wrong_tokens` is how many tokens may be wrong from one address.
    pub fn new(wrong_tokens: Rate) -> Self {
        Self {
            addresses: AddressBudget::new(FAILURES_OF_ADDRESS),
            names: FailureBudget::new(FAILURES_OF_NAME),
            attempts: FailureBudget::new(ATTEMPTS),
            homes: Mutex::default(),
            waiting: Mutex::default(),
            tokens: AddressBudget::new(wrong_tokens),
            good_tokens: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One try to log in, which counts as failed until it has succeeded, so that many at the same moment are as many.
#[derive(Debug)]
pub struct Attempt<'t> {
    throttle: &'t Throttle,
    who: (String, IpAddr),
    is_at_home: bool,
}

impl Throttle {
    /// Lets somebody try to log in.
    ///
    /// # Errors
    /// Too many have failed: how many microseconds to wait.
    pub fn attempt(&self, name: &str, address: IpAddr, now_us: u64) -> Result<Attempt<'_>, u64> {
        let who = (name.to_owned(), network_of(address));
        let is_at_home = lock(&self.homes).has(&who);
        let as_stranger = || [self.addresses.wait_us(address, now_us), self.names.wait_us(&who.0, now_us)];
        let waits = if is_at_home { [None, None] } else { as_stranger() };
        let wait_us = waits.into_iter().flatten().chain(self.attempts.wait_us(&who, now_us)).max();
        wait_us.map_or(Ok(()), Err)?;
        let mut waiting = lock(&self.waiting);
        let of_address = waiting.of_address.get(&who.1).copied().unwrap_or_default();
        if of_address >= WAITING_OF_ADDRESS_MAX || !is_at_home && waiting.strangers >= WAITING_OF_STRANGERS_MAX {
            return Err(1_000_000);
        }
        *waiting.of_address.entry(who.1).or_default() += 1;
        waiting.strangers += usize::from(!is_at_home);
        drop(waiting);
        self.attempts.spend(who.clone(), now_us);
        if !is_at_home {
            self.addresses.spend(address, now_us);
            self.names.spend(who.0.clone(), now_us);
        }
        Ok(Attempt { throttle: self, who, is_at_home })
    }

    /// Whether a token may be looked up: it was good lately, or not too many have failed from this address.
    ///
    /// # Errors
    /// How many microseconds to wait.
    pub fn may_look_up(&self, token_sha256: &[u8; 32], address: IpAddr, now_us: u64) -> Result<(), u64> {
        let Some(wait_us) = self.tokens.wait_us(address, now_us) else { return Ok(()) };
        if lock(&self.good_tokens).has(token_sha256) { Ok(()) } else { Err(wait_us) }
    }

    /// The token was good, or it was not.
    pub fn looked_up(&self, token_sha256: &[u8; 32], is_good: bool, address: IpAddr, now_us: u64) {
        if is_good {
            lock(&self.good_tokens).add(token_sha256);
        } else {
            self.tokens.spend(address, now_us);
        }
    }
}

impl Attempt<'_> {
    /// It was no failure: the password was right, or could not be looked at.
    pub fn is_no_failure(&self) {
        if !self.is_at_home {
            self.throttle.addresses.refund(self.who.1);
            self.throttle.names.refund(&self.who.0);
        }
    }

    /// The password was right: the user is at home at this address from now on.
    pub fn succeeded(&self) {
        self.is_no_failure();
        lock(&self.throttle.homes).add(&self.who);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.throttle.waiting);
        waiting.strangers -= usize::from(!self.is_at_home);
        if let Some(count) = waiting.of_address.get_mut(&self.who.1) {
            *count -= 1;
            if *count == 0 {
                waiting.of_address.remove(&self.who.1);
            }
        }
    }
}

/// What was seen lately: the oldest is forgotten for a new one when there are too many.
#[derive(Debug)]
struct Lately<K> {
    known: BTreeSet<K>,
    order: VecDeque<K>,
}

impl<K> Default for Lately<K> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Clone> Lately<K> {
    fn has(&self, key: &K) -> bool {
        self.known.contains(key)
    }

    fn add(&mut self, key: &K) {
        if self.known.insert(key.clone()) {
            self.order.push_back(key.clone());
            if self.order.len() > REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn who_guesses_in_a_users_name_locks_out_no_user_at_a_known_address() {
        let throttle = Throttle::new(Rate { per_min: 60, burst: 60 });
        throttle.attempt("anna", from(1), 0).unwrap().succeeded();
        let guesses = (2..100).filter(|last| throttle.attempt("anna", from(*last), 0).is_ok()).count();
        assert_eq!(guesses, 20, "all addresses together");
        assert!(throttle.attempt("anna", from(200), 0).is_err(), "also at an address that has guessed nothing");
        assert!(throttle.attempt("anna", from(1), 0).is_ok());
        assert!(throttle.attempt("ben", from(200), 0).is_ok(), "another user");
    }

    #[test]
    fn one_user_who_logs_in_over_and_over_is_slowed_down_alone() {
        let throttle = Throttle::new(Rate { per_min: 60, burst: 60 });
        let at_once = (0..50).filter(|_| throttle.attempt("anna", from(1), 0).inspect(Attempt::succeeded).is_ok());
        assert_eq!(at_once.count(), 12);
        assert!(throttle.attempt("ben", from(1), 0).is_ok(), "behind the same address");
    }

    #[test]
    fn logins_that_wait_are_few_for_each_address_and_leave_room_for_who_is_known() {
        let throttle = Throttle::new(Rate { per_min: 60, burst: 60 });
        throttle.attempt("anna", from(1), 0).unwrap().succeeded();
        let waiting: Vec<_> = (2..=20)
            .flat_map(|last| [last; 5])
            .filter_map(|last| throttle.attempt("eve", from(last), 0).ok())
            .collect();
        assert_eq!(waiting.len(), WAITING_OF_STRANGERS_MAX);
        assert!(throttle.attempt("anna", from(1), 0).is_ok());
        drop(waiting);
        assert!(throttle.waiting.lock().unwrap().of_address.is_empty());
        assert_eq!(throttle.waiting.lock().unwrap().strangers, 0);
    }

    #[test]
    fn wrong_tokens_end_the_looking_up_but_not_of_those_that_were_good() {
        let throttle = Throttle::new(Rate { per_min: 60, burst: 60 });
        throttle.looked_up(&[1; 32], true, from(1), 0);
        for _ in 0..60 {
            assert!(throttle.may_look_up(&[9; 32], from(1), 0).is_ok());
            throttle.looked_up(&[9; 32], false, from(1), 0);
        }
        assert!(throttle.may_look_up(&[9; 32], from(1), 0).is_err());
        assert!(throttle.may_look_up(&[1; 32], from(1), 0).is_ok());
        assert!(throttle.may_look_up(&[9; 32], from(2), 0).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut lately = Lately::default();
        for number in 0..10_000 {
            lately.add(&number);
        }
        assert_eq!((lately.known.len(), lately.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(lately.has(&9_999) && !lately.has(&0));
    }
}
