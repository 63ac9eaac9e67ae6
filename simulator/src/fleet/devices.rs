//! Which devices a plan has.

use std::time::Duration;

use ks_protocol::id::{DeviceId, InvalidId};

use super::{cohort_members, places};
use crate::scenario::{Plan, Share};

/// Counter of the factory firmware; releases of a scenario have greater ones.
pub const FACTORY_COUNTER: u64 = 1;

/// A device of the plan, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Number within the fleet, from 0.
    pub number: u32,
    pub device_id: DeviceId,
    /// Index of its model.
    pub model: usize,
    /// Index of its site.
    pub site: usize,
    /// Number of its cohort; the number of cohorts if it is in none.
    pub cohort: usize,
    /// When it is switched on, from the start of the run.
    pub starts_after: Duration,
    /// The device whose place it takes, if it does.
    pub replaces: Option<DeviceId>,
}

/// The devices of a plan. The same plan and seed give the same devices.
pub fn devices(plan: &Plan) -> Result<Vec<DeviceSpec>, InvalidId> {
    let (count, no_cohort) = (plan.fleet.devices, plan.fleet.cohorts.len());
    let mut devices = (0..count)
        .map(|number| {
            let (device_id, starts_after) = (device_id(plan, number)?, plan.ramp * number / count);
            Ok(DeviceSpec { number, device_id, model: 0, site: 0, cohort: no_cohort, starts_after, replaces: None })
        })
        .collect::<Result<Vec<_>, _>>()?;
    places::assign(plan, &mut devices);
    cohort_members::assign(plan, &mut devices);
    Ok(devices)
}

/// What the device of this number, from 0, is called.
pub(super) fn device_id(plan: &Plan, number: u32) -> Result<DeviceId, InvalidId> {
    format!("{}-{:06}", plan.fleet.id_prefix, number + 1).parse()
}

/// The number of a device of a fleet, from 0, by its name.
pub fn device_number(device_id: &DeviceId) -> Option<u32> {
    device_id.as_str().rsplit_once('-')?.1.parse::<u32>().ok()?.checked_sub(1)
}

/// The names of models or sites, in order.
pub fn names(shares: &[Share]) -> Vec<String> {
    shares.iter().map(|share| share.name.clone()).collect()
}
