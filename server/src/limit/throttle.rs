//! Throttles guessing of passwords and tokens without locking users out: a user can always log in from an address where they have
//! logged in before, whatever happens elsewhere, and a token that was recently valid is always looked up. An attacker at that same
//! address slows down the logins of that user there, and their own.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{FailureBudget, Limit, Limits, NAMED_BYTES, Requester, SUBJECT_BYTES, Verdict, network_of};

/// Logins from one address that may wait for their turn.
const WAITING_OF_ADDRESS_MAX: usize = 2;
/// Logins from addresses where the user has not logged in before that may wait for their turn: half of all.
const WAITING_FROM_NEW_ADDRESSES_MAX: usize = 8;
/// The most pairs of user and address, and the most tokens, that are remembered.
const REMEMBERED_MAX: usize = 4_096;

/// The budgets, and the logins and tokens that need none.
#[derive(Debug)]
pub struct Throttle {
    limits: Arc<Limits>,
    addresses: FailureBudget<IpAddr>,
    names: FailureBudget<String>,
    attempts: FailureBudget<(String, IpAddr)>,
    known_addresses: Mutex<Recent<(String, IpAddr)>>,
    waiting: Mutex<Waiting>,
    tokens: FailureBudget<IpAddr>,
    valid_tokens: Mutex<Recent<[u8; 32]>>,
}

/// Logins that wait for their turn.
#[derive(Debug, Default)]
struct Waiting {
    of_address: BTreeMap<IpAddr, usize>,
    from_new_addresses: usize,
}

impl Throttle {
    /// Budgets of which nothing is spent yet.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            addresses: FailureBudget::default(),
            names: FailureBudget::default(),
            attempts: FailureBudget::default(),
            known_addresses: Mutex::default(),
            waiting: Mutex::default(),
            tokens: FailureBudget::default(),
            valid_tokens: Mutex::default(),
        }
    }

    /// At most the bytes that it takes now.
    pub fn bytes(&self) -> usize {
        let named = self.names.subjects() + self.attempts.subjects() + 2 * lock(&self.known_addresses).order.len();
        let others = self.addresses.subjects() + self.tokens.subjects() + 2 * lock(&self.valid_tokens).order.len();
        named * NAMED_BYTES + others * SUBJECT_BYTES
    }

    /// Subjects that all of it remembers.
    pub fn subjects(&self) -> usize {
        self.addresses.subjects() + self.names.subjects() + self.attempts.subjects() + self.tokens.subjects()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One attempt to log in, which counts as failed until it has succeeded, so that concurrent attempts all count.
#[derive(Debug)]
pub struct Attempt<'t> {
    throttle: &'t Throttle,
    login: (String, IpAddr),
    is_known_address: bool,
    /// Whether it was charged as a failure of the address, and of the name.
    charged: (bool, bool),
}

impl Throttle {
    /// Starts an attempt to log in.
    ///
    /// # Errors
    /// Too many have failed: the microseconds to wait.
    pub fn attempt(&self, name: &str, address: IpAddr, now_us: u64) -> Result<Attempt<'_>, u64> {
        let login = (name.to_owned(), network_of(address));
        let is_known_address = lock(&self.known_addresses).has(&login);
        let limits = &self.limits;
        // Not by name: what is typed for a name may be a password.
        let requester = Requester::address(address);
        let of_new_address = |limit, wait_us: &dyn Fn(_) -> _| {
            if is_known_address { Verdict::Off } else { limits.check(limit, requester, now_us, wait_us) }
        };
        let of_address = of_new_address(Limit::AddressLogins, &|meter| self.addresses.wait_us(meter, &login.1));
        let of_name = of_new_address(Limit::UserLogins, &|meter| self.names.wait_us(meter, &login.0));
        let of_login =
            limits.check(Limit::LoginAttempts, requester, now_us, |meter| self.attempts.wait_us(meter, &login));
        let verdicts = [of_address, of_name, of_login];
        verdicts.iter().filter_map(|verdict| verdict.refusal().err()).max().map_or(Ok(()), Err)?;
        let mut waiting = lock(&self.waiting);
        let waiting_of_address = waiting.of_address.get(&login.1).copied().unwrap_or_default();
        if waiting_of_address >= WAITING_OF_ADDRESS_MAX
            || !is_known_address && waiting.from_new_addresses >= WAITING_FROM_NEW_ADDRESSES_MAX
        {
            return Err(1_000_000);
        }
        *waiting.of_address.entry(login.1).or_default() += 1;
        waiting.from_new_addresses += usize::from(!is_known_address);
        drop(waiting);
        let charge = |verdict: Verdict, limit| limits.meter(limit, now_us).filter(|_| verdict.is_charged());
        if let Some(meter) = charge(of_login, Limit::LoginAttempts) {
            self.attempts.spend(meter, login.clone());
        }
        let by_address =
            charge(of_address, Limit::AddressLogins).inspect(|meter| self.addresses.spend(*meter, login.1));
        let by_name = charge(of_name, Limit::UserLogins).inspect(|meter| self.names.spend(*meter, login.0.clone()));
        let charged = (by_address.is_some(), by_name.is_some());
        Ok(Attempt { throttle: self, login, is_known_address, charged })
    }

    /// Whether a token may be looked up: it was recently valid, or not too many have failed from this address.
    ///
    /// # Errors
    /// The microseconds to wait.
    pub fn may_look_up(&self, token_sha256: &[u8; 32], address: IpAddr, now_us: u64) -> Result<(), u64> {
        let network = network_of(address);
        let verdict = self.limits.look(Limit::AddressWrongTokens, now_us, |meter| self.tokens.wait_us(meter, &network));
        let is_valid = || lock(&self.valid_tokens).has(token_sha256);
        let is_beyond = matches!(verdict, Verdict::WouldRefuse | Verdict::Refused(_));
        let verdict = if is_beyond && is_valid() { Verdict::Passed } else { verdict };
        self.limits.count(Limit::AddressWrongTokens, Requester::address(address), verdict, now_us);
        verdict.refusal()
    }

    /// Records whether a token was valid.
    pub fn looked_up(&self, token_sha256: &[u8; 32], is_valid: bool, address: IpAddr, now_us: u64) {
        if is_valid {
            lock(&self.valid_tokens).add(token_sha256);
        } else if let Some(meter) = self.limits.meter(Limit::AddressWrongTokens, now_us) {
            self.tokens.spend(meter, network_of(address));
        }
    }
}

impl Attempt<'_> {
    /// It was not a failure: the password was right, or could not be checked.
    pub fn is_no_failure(&self) {
        let Self { throttle, login, charged, .. } = self;
        if charged.0 {
            throttle.addresses.refund(&login.1);
        }
        if charged.1 {
            throttle.names.refund(&login.0);
        }
    }

    /// The password was right: from now on this is a known address of the user.
    pub fn succeeded(&self) {
        self.is_no_failure();
        lock(&self.throttle.known_addresses).add(&self.login);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.throttle.waiting);
        waiting.from_new_addresses -= usize::from(!self.is_known_address);
        if let Some(count) = waiting.of_address.get_mut(&self.login.1) {
            *count -= 1;
            if *count == 0 {
                waiting.of_address.remove(&self.login.1);
            }
        }
    }
}

/// Recent keys: when there are too many, a new one replaces the oldest.
#[derive(Debug)]
struct Recent<K> {
    known: BTreeSet<K>,
    order: VecDeque<K>,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { known: BTreeSet::new(), order: VecDeque::new() }
    }
}

impl<K: Ord + Clone> Recent<K> {
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
    use crate::limit::{LimitValue, LimitValues};

    fn throttle() -> Throttle {
        let mut values = LimitValues::default();
        let spec = Limit::AddressWrongTokens.spec();
        values.set(spec.limit, LimitValue { rate: 60, burst: 60, ..LimitValue::default_of(spec) });
        Throttle::new(Arc::new(Limits::new(&values, Arc::default())))
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn guessing_does_not_lock_a_user_out_of_a_known_address() {
        let throttle = throttle();
        throttle.attempt("anna", from(1), 0).unwrap().succeeded();
        let guesses = (2..100).filter(|last| throttle.attempt("anna", from(*last), 0).is_ok()).count();
        assert_eq!(guesses, 20, "all addresses together");
        assert!(throttle.attempt("anna", from(200), 0).is_err(), "also at an address that has guessed nothing");
        assert!(throttle.attempt("anna", from(1), 0).is_ok());
        assert!(throttle.attempt("ben", from(200), 0).is_ok(), "another user");
    }

    #[test]
    fn only_the_user_who_logs_in_repeatedly_is_slowed_down() {
        let throttle = throttle();
        let immediate = (0..50).filter(|_| throttle.attempt("anna", from(1), 0).inspect(Attempt::succeeded).is_ok());
        assert_eq!(immediate.count(), 12);
        assert!(throttle.attempt("ben", from(1), 0).is_ok(), "behind the same address");
    }

    #[test]
    fn waiting_logins_are_limited_by_address_and_leave_room_for_known_addresses() {
        let throttle = throttle();
        throttle.attempt("anna", from(1), 0).unwrap().succeeded();
        let waiting: Vec<_> = (2..=20)
            .flat_map(|last| [last; 5])
            .filter_map(|last| throttle.attempt("eve", from(last), 0).ok())
            .collect();
        assert_eq!(waiting.len(), WAITING_FROM_NEW_ADDRESSES_MAX);
        assert!(throttle.attempt("anna", from(1), 0).is_ok());
        drop(waiting);
        assert!(throttle.waiting.lock().unwrap().of_address.is_empty());
        assert_eq!(throttle.waiting.lock().unwrap().from_new_addresses, 0);
    }

    #[test]
    fn wrong_tokens_block_lookups_except_of_recently_valid_ones() {
        let throttle = throttle();
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
        let mut recent = Recent::default();
        for number in 0..10_000 {
            recent.add(&number);
        }
        assert_eq!((recent.known.len(), recent.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(recent.has(&9_999) && !recent.has(&0));
    }
}
