//! Which device a connection is known to belong to; [`crate::admission`] says so and asks.

use std::sync::{Mutex, PoisonError};

use ks_protocol::id::DeviceId;

/// Which device was last verified on a connection.
#[derive(Debug, Default)]
pub struct Proven(Mutex<Option<DeviceId>>);

impl Proven {
    /// Whether it was this one.
    pub fn is(&self, device_id: &DeviceId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(device_id)
    }

    /// A request of this device was verified.
    pub fn verified(&self, device_id: &DeviceId) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.as_ref() != Some(device_id) {
            *proven = Some(device_id.clone());
        }
    }

    /// A request in the name of this device failed: somebody else speaks here too.
    pub fn failed(&self, device_id: &DeviceId) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.as_ref() == Some(device_id) {
            *proven = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_of_whoever_was_verified_on_it_last_until_that_fails() {
        let [a, b] = ["KS-a", "KS-b"].map(|name| name.parse::<DeviceId>().unwrap());
        let proven = Proven::default();
        assert!(!proven.is(&a));
        proven.verified(&a);
        proven.failed(&b);
        assert!(proven.is(&a), "what fails in another's name says nothing of this one");
        proven.verified(&b);
        assert!(proven.is(&b) && !proven.is(&a));
        proven.failed(&b);
        assert!(!proven.is(&b));
    }
}
