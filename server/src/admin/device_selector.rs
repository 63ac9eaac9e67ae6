//! Selects the devices that a request applies to.

use std::collections::BTreeSet;

use ks_protocol::id::DeviceId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Problem;
use crate::store::devices::{DeviceStatus, Selector};

/// Maximum device ids per request.
pub const DEVICES_MAX: usize = 100_000;

/// Selects devices that match all given fields. At least one field is required.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceSelector {
    /// Device ids, at most 100,000.
    #[schemars(length(min = 1, max = 100_000))]
    device_ids: Option<Vec<DeviceId>>,
    model: Option<String>,
    site: Option<String>,
    /// Firmware version that the device last reported.
    firmware_version: Option<String>,
    label: Option<String>,
    status: Option<DeviceStatus>,
    /// Selects the whole fleet; only without other fields.
    #[serde(default)]
    all: bool,
}

impl DeviceSelector {
    pub fn one(device_id: DeviceId) -> Self {
        Self { device_ids: Some(vec![device_id]), ..Self::default() }
    }

    /// The store's selector.
    ///
    /// # Errors
    /// No field is given: the whole fleet must be selected explicitly.
    pub fn selector(self) -> Result<Selector, Problem> {
        if self.device_ids.as_ref().is_some_and(|named| !(1..=DEVICES_MAX).contains(&named.len())) {
            return Err(Problem::bad_request(format!("which.device_ids: expected 1 to {DEVICES_MAX} devices")));
        }
        let Self { device_ids, model, site, firmware_version, label, status, all } = self;
        let device_ids = device_ids.map(|named| {
            let mut seen = BTreeSet::new();
            named.into_iter().filter(|device_id| seen.insert(device_id.clone())).collect()
        });
        let selector = Selector { device_ids, model, site, firmware_version, label, status, search: None };
        match (selector == Selector::default(), all) {
            (true, false) => Err(Problem::bad_request(
                "which: expected device_ids, model, site, firmware_version, label or status; or `all` for the whole fleet",
            )),
            (false, true) => Err(Problem::bad_request("which.all: can't be combined with other fields")),
            _ => Ok(selector),
        }
    }
}
