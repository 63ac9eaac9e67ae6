//! The device that was last verified on a connection; [`crate::admission`] records and reads it.

use std::sync::{Mutex, PoisonError};

use ks_protocol::id::DeviceId;

/// The device that was last verified on a connection.
#[derive(Debug, Default)]
pub struct VerifiedDevice(Mutex<Option<DeviceId>>);

impl VerifiedDevice {
    /// Whether it was this device.
    pub fn is(&self, device_id: &DeviceId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(device_id)
    }

    /// A request of this device was verified.
    pub fn verified(&self, device_id: &DeviceId) {
        let mut verified_device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verified_device.as_ref() != Some(device_id) {
            *verified_device = Some(device_id.clone());
        }
    }

    /// A request in the name of this device failed: another party uses the connection too.
    pub fn failed(&self, device_id: &DeviceId) {
        let mut verified_device = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verified_device.as_ref() == Some(device_id) {
            *verified_device = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_belongs_to_the_device_verified_last_until_its_request_fails() {
        let [a, b] = ["KS-a", "KS-b"].map(|name| name.parse::<DeviceId>().unwrap());
        let verified_device = VerifiedDevice::default();
        assert!(!verified_device.is(&a));
        verified_device.verified(&a);
        verified_device.failed(&b);
        assert!(verified_device.is(&a), "a failure in another device's name does not count for this one");
        verified_device.verified(&b);
        assert!(verified_device.is(&b) && !verified_device.is(&a));
        verified_device.failed(&b);
        assert!(!verified_device.is(&b));
    }
}
