//! Which devices operators have revoked, shared by all threads. A revoked device is owed nothing, also while it does not know: behind
//! an address where somebody else spends the budget of failures, RATE_LIMITED may be all that it hears.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ks_protocol::id::DeviceId;

/// The devices that operators have revoked, from the moment of the order.
#[derive(Debug, Default)]
pub struct Revocations {
    revoked: Mutex<BTreeSet<DeviceId>>,
    /// Their number, so that nobody takes the lock while there is none.
    count: AtomicUsize,
}

impl Revocations {
    /// An operator revokes these devices now.
    pub fn add(&self, devices: &[DeviceId]) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.extend(devices.iter().cloned());
        self.count.store(revoked.len(), Ordering::Release);
    }

    /// Whether a device is revoked.
    pub fn has(&self, device_id: &DeviceId) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.revoked.lock().unwrap_or_else(PoisonError::into_inner).contains(device_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_revoked_devices_are_revoked() {
        let [one, other] = ["KS-1", "KS-2"].map(|name| name.parse::<DeviceId>().unwrap());
        let revocations = Revocations::default();
        assert!(!revocations.has(&one));
        revocations.add(std::slice::from_ref(&one));
        assert!(revocations.has(&one) && !revocations.has(&other));
    }
}
