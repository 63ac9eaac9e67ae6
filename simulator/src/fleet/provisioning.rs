//! The factory: whitelists the fleet and gives it keys and tokens, all through the admin API.

use std::fmt::Write as _;

use ks_protocol::{message::Trust, time::UnixMs};

use super::DeviceSpec;
use crate::{
    device::machine::device_key,
    operator::{Operator, OperatorError},
    scenario::{Otrt, Plan, Share},
};

/// Devices in one inventory that the factory imports: each import is one transaction.
const INVENTORY_ROWS: usize = 50_000;

/// Keys and tokens that the factory gave the fleet.
#[derive(Debug, Clone)]
pub struct Provisioned {
    pub trust: Trust,
    /// A one-time token for each device, or one for all of them, if the fleet has them.
    pub otrts: Vec<String>,
    /// A one-time token for each faulty device, if the fleet has them.
    pub faulty_otrts: Vec<String>,
}

/// The factory: whitelists every device, fetches the server's keys, creates tokens, all through the admin API. `progress`
/// receives what it is waiting for.
pub async fn provision(
    plan: &Plan,
    devices: &[DeviceSpec],
    faulty_devices: &[DeviceSpec],
    operator: &Operator,
    now: UnixMs,
    progress: impl Fn(String),
) -> Result<Provisioned, OperatorError> {
    progress("waiting for the server's keys".to_owned());
    let trust = operator.server_keys(now).await?;
    let mut imported = 0;
    for part in devices.chunks(INVENTORY_ROWS).chain(faulty_devices.chunks(INVENTORY_ROWS)) {
        progress(format!("whitelisting devices: {imported} of {} done", devices.len() + faulty_devices.len()));
        operator.import(inventory(plan, part)).await?;
        imported += part.len();
    }
    if plan.fleet.otrt != Otrt::None {
        progress("waiting for one-time tokens".to_owned());
    }
    let otrts = match plan.fleet.otrt {
        Otrt::None => Vec::new(),
        Otrt::Each => operator.make_otrts(devices.len()).await?,
        Otrt::Shared => operator.make_otrts(1).await?,
    };
    let faulty_count = if plan.fleet.otrt == Otrt::None { 0 } else { faulty_devices.len() };
    let faulty_otrts = operator.make_otrts(faulty_count).await?;
    Ok(Provisioned { trust, otrts, faulty_otrts })
}

/// The first line of an inventory, as CSV.
pub(crate) const INVENTORY_HEADER: &str = "serial,device_id,public_key,manufacturer,model,site\n";

/// The inventory of these devices, as CSV.
fn inventory(plan: &Plan, devices: &[DeviceSpec]) -> String {
    let mut csv = INVENTORY_HEADER.to_owned();
    let name = |shares: &[Share], index: usize| {
        shares.get(index).map_or_else(String::new, |share| format!("\"{}\"", share.name.replace('"', "\"\"")))
    };
    for DeviceSpec { number, device_id, model, site, .. } in devices {
        let key = device_key(plan.seed, device_id).public_key();
        let (model, site) = (name(&plan.fleet.models, *model), name(&plan.fleet.sites, *site));
        // Marked as simulated, so that nobody mistakes one for a real device.
        let _ = writeln!(csv, "SIMULATED-{number},{device_id},{key},simulated,{model},{site}"); // writing to a String cannot fail
    }
    csv
}
