//! Which devices a call means.

use std::collections::BTreeSet;

use ks_protocol::id::DeviceId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Problem;
use crate::store::devices::{DeviceStatus, Selector};

/// Devices named by one call at most.
pub const DEVICES_MAX: usize = 100_000;

/// Which devices: those for which all that is given is so. Something must be given.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Of these names, 100,000 at most.
    #[schemars(length(min = 1, max = 100_000))]
    device_ids: Option<Vec<DeviceId>>,
    /// Of this model.
    model: Option<String>,
    /// At this site.
    site: Option<String>,
    /// That last said they run this firmware.
    firmware_version: Option<String>,
    /// With this label.
    label: Option<String>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// Every device: must be said if nothing else is.
    #[serde(default)]
    all: bool,
}

impl Which {
    /// One device.
    pub fn one(device_id: DeviceId) -> Self {
        Self { device_ids: Some(vec![device_id]), ..Self::default() }
    }

    /// As the store takes it.
    ///
    /// # Errors
    /// Nothing is given, which would mean the whole fleet.
    pub fn selector(self) -> Result<Selector, Problem> {
        if self.device_ids.as_ref().is_some_and(|named| !(1..=DEVICES_MAX).contains(&named.len())) {
            return Err(Problem::bad_request(format!("which.device_ids: expected 1 to {DEVICES_MAX} devices")));
        }
        let Self { device_ids, model, site, firmware_version, label, status, all } = self;
        let device_ids = device_ids.map(|named| {
            let mut seen = BTreeSet::new();
            named.into_iter().filter(|device_id| seen.insert(device_id.clone())).collect()
        });
        let selector = Selector { device_ids, model, site, firmware_version, label, status };
        match (selector == Selector::default(), all) {
            (true, false) => Err(Problem::bad_request(
                "which: expected device_ids, model, site, firmware_version, label or status; or `all` for the whole fleet",
            )),
            (false, true) => Err(Problem::bad_request("which.all: with it nothing else may be given")),
            _ => Ok(selector),
        }
    }
}
