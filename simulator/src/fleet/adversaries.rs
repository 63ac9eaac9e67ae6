//! Which adversaries a plan has, at which addresses, and which devices of the fleet they affect.

use std::time::Duration;

use ks_protocol::id::{DeviceId, InvalidId};

use super::{Caller, DeviceSpec};
use crate::scenario::{Addresses, Adversary as AdversaryPart, AdversaryKind, FleetAddresses, Plan};

/// An adversary of the plan, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdversarySpec {
    /// Number among all of them, from 0.
    pub number: u32,
    pub part: AdversaryPart,
    pub callers: Vec<Caller>,
    /// Which of the faulty devices it is.
    pub faulty: Option<u32>,
}

/// The adversaries of a plan.
pub fn adversaries(plan: &Plan) -> Vec<AdversarySpec> {
    let (mut specs, mut first_address, mut faulty_devices) = (Vec::new(), 0, 0..);
    for part in &plan.adversaries {
        let count = u32::from(part.count);
        let addresses = match part.addresses {
            Addresses::Fleet => 0,
            Addresses::Own => count,
            Addresses::Some(addresses) => u32::from(addresses),
        };
        for member in 0..count {
            // Every `count`th address from its own on; with fewer addresses than adversaries, some share one.
            let dealt = (member % addresses.max(1)..addresses).step_by(usize::from(part.count));
            let callers = match part.addresses {
                Addresses::Fleet if plan.fleet.addresses == FleetAddresses::Site => {
                    // The first stands at the first site, the second at the second, and so on.
                    let sites = u32::try_from(plan.fleet.sites.len()).unwrap_or(u32::MAX).max(1);
                    vec![Caller::Site(member % sites)]
                }
                Addresses::Fleet => vec![Caller::Device(0)],
                _ => dealt.map(|address| Caller::Adversary(first_address + address)).collect(),
            };
            let number = u32::try_from(specs.len()).unwrap_or(u32::MAX);
            let faulty = (part.kind == AdversaryKind::FaultyDevice).then(|| faulty_devices.next()).flatten();
            specs.push(AdversarySpec { number, part: part.clone(), callers, faulty });
        }
        first_address += addresses;
    }
    specs
}

/// The faulty devices among the adversaries: whitelisted like the fleet, with its first model and first site, but not part of it. Their
/// numbers follow those of so many other devices.
///
/// # Errors
/// As of [`devices`].
pub fn faulty_devices(plan: &Plan, others: u32) -> Result<Vec<DeviceSpec>, InvalidId> {
    let of_part =
        |part: &AdversaryPart| if part.kind == AdversaryKind::FaultyDevice { u32::from(part.count) } else { 0 };
    let count = plan.adversaries.iter().map(of_part).sum();
    let spec = |number| {
        let (device_id, number) = (faulty_device_id(&plan.fleet.id_prefix, number)?, others + number);
        let (cohort, starts_after) = (plan.fleet.cohorts.len(), Duration::ZERO);
        Ok(DeviceSpec { number, device_id, model: 0, site: 0, cohort, starts_after, replaces: None })
    };
    (0..count).map(spec).collect()
}

/// What a faulty device is called.
pub(super) fn faulty_device_id(id_prefix: &str, number: u32) -> Result<DeviceId, InvalidId> {
    format!("{id_prefix}-FAULTY-{:06}", number + 1).parse()
}

/// By site, whether an adversary has the address of its devices; empty if none has.
pub fn abused_sites(plan: &Plan) -> Vec<bool> {
    let sharing = plan.adversaries.iter().filter(|part| part.addresses == Addresses::Fleet);
    let members = sharing.map(|part| usize::from(part.count)).max().unwrap_or(0);
    if members == 0 {
        return Vec::new();
    }
    let is_by_site = plan.fleet.addresses == FleetAddresses::Site;
    (0..plan.fleet.sites.len()).map(|site| !is_by_site || site < members).collect()
}

/// In the name of how many devices, the first of the fleet, adversaries send requests.
pub fn named_victims(plan: &Plan) -> u32 {
    let naming = plan.adversaries.iter().filter(|part| part.kind.names_victims());
    naming.map(|part| part.victims.unwrap_or(plan.fleet.devices)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    #[test]
    fn each_adversary_table_has_its_own_addresses() {
        let adversary = |kind: &str, count: u32, addresses: &str| {
            format!("[[adversary]]\nkind = \"{kind}\"\ncount = {count}\naddresses = {addresses}\n")
        };
        let tables = [
            adversary("forger", 2, "5"),
            adversary("faulty_device", 3, "2"),
            adversary("replayer", 2, "\"shared\""),
            adversary("faulty_device", 1, "\"own\""),
        ];
        let text = format!(
            "name = \"t\"\ngoal = \"Addresses.\"\nduration = \"9s\"\n[fleet]\ndevices = 1\n{}[[expect]]\nmetric = \"errors\"\nequals = 0\n",
            tables.concat()
        );
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let specs = adversaries(&plan);
        let callers: Vec<Vec<Caller>> = specs.iter().map(|spec| spec.callers.clone()).collect();
        let at = |numbers: &[u32]| numbers.iter().copied().map(Caller::Adversary).collect::<Vec<_>>();
        let fleets = vec![Caller::Device(0)];
        let dealt = [at(&[0, 2, 4]), at(&[1, 3]), at(&[5]), at(&[6]), at(&[5]), fleets.clone(), fleets, at(&[7])];
        assert_eq!(callers, dealt);
        let faulty: Vec<Option<u32>> = specs.iter().map(|spec| spec.faulty).collect();
        assert_eq!(faulty, [None, None, Some(0), Some(1), Some(2), None, None, Some(3)]);
        let named: Vec<String> =
            faulty_devices(&plan, 1).unwrap().iter().map(|spec| spec.device_id.to_string()).collect();
        assert_eq!(named, ["SIM-FAULTY-000001", "SIM-FAULTY-000002", "SIM-FAULTY-000003", "SIM-FAULTY-000004"]);
    }
}
