//! Which devices of a fleet belong to which cohort. The same plan and seed give the same members.

use rand_core::Rng as _;

use crate::{
    fleet::DeviceSpec,
    scenario::{Cohort, CohortSize, Plan, Share},
    seed,
};

/// Puts each device into a cohort that it can belong to: first those cohorts get their devices that count them, in the order of the
/// file, then the rest are drawn by shares. Devices that no cohort takes have the number of cohorts.
pub(crate) fn assign(plan: &Plan, devices: &mut [DeviceSpec]) {
    let cohorts = &plan.fleet.cohorts;
    for device in devices.iter_mut() {
        device.cohort = cohorts.len();
    }
    for (number, cohort) in cohorts.iter().enumerate() {
        let CohortSize::Count(count) = cohort.size else { continue };
        let free = devices.iter_mut().filter(|device| device.cohort == cohorts.len() && admits(plan, cohort, device));
        let purpose = format!("cohort {}", cohort.name);
        let drawn = |device: &DeviceSpec| seed::stream(plan.seed, device.device_id.as_str(), &purpose).next_u64();
        let mut free: Vec<_> = free.map(|device| (drawn(device), device)).collect();
        free.sort_by_key(|(drawn, device)| (*drawn, device.number));
        let members = free.into_iter().take(usize::try_from(count).unwrap_or(usize::MAX));
        members.for_each(|(_, device)| device.cohort = number);
    }
    for device in devices.iter_mut().filter(|device| device.cohort == cohorts.len()) {
        device.cohort = by_share(plan, device).unwrap_or(cohorts.len());
    }
}

fn admits(plan: &Plan, cohort: &Cohort, device: &DeviceSpec) -> bool {
    let name = |shares: &[Share], index: usize| shares.get(index).map(|share| share.name.clone()).unwrap_or_default();
    cohort.admits(&name(&plan.fleet.models, device.model), &name(&plan.fleet.sites, device.site))
}

/// The cohort of a device, drawn from those with a share that it can belong to; none if there is none.
fn by_share(plan: &Plan, device: &DeviceSpec) -> Option<usize> {
    let with_share = plan.fleet.cohorts.iter().enumerate().filter_map(|(number, cohort)| match cohort.size {
        CohortSize::Share(share) => Some((number, cohort, u64::from(share))),
        CohortSize::Count(_) => None,
    });
    let mine: Vec<(usize, u64)> = with_share
        .filter(|(_, cohort, _)| admits(plan, cohort, device))
        .map(|(number, _, share)| (number, share))
        .collect();
    let total: u64 = mine.iter().map(|(_, share)| share).sum();
    let mut drawn = seed::below(&mut seed::stream(plan.seed, device.device_id.as_str(), "cohort"), total);
    for (number, share) in mine {
        if drawn < share {
            return Some(number);
        }
        drawn -= share;
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::{fleet, scenario::check, scenario_settings::ScenarioSettings};

    /// How many of 100 devices at two sites are in each of these cohorts, and in none.
    fn sizes(cohorts: &str) -> Vec<usize> {
        let text = format!(
            "name = \"x\"\ngoal = \"Cohorts.\"\nmode = \"rehearse\"\nduration = \"1m\"\n[fleet]\ndevices = 100\n\
             sites = {{ count = 2, prefix = \"s\" }}\n{cohorts}[[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        let plan = check("x.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let devices = fleet::devices(&plan).unwrap();
        assert_eq!(devices, fleet::devices(&plan).unwrap(), "the same members each time");
        let mut sizes = vec![0; plan.fleet.cohorts.len() + 1];
        for device in &devices {
            sizes[device.cohort] += 1;
        }
        sizes
    }

    fn cohort(name: &str, keys: &str) -> String {
        format!("[[fleet.cohort]]\nname = \"{name}\"\nretry = \"obey\"\n{keys}\n")
    }

    #[test]
    fn a_cohort_with_a_count_has_as_many_devices() {
        let (counted, rest) = (cohort("a", "count = 7"), cohort("b", "share = 3"));
        assert_eq!(sizes(&counted), [7, 93]);
        assert_eq!(sizes(&format!("{rest}{counted}")), [93, 7, 0], "whatever the order");
        let both = format!("{counted}{}", cohort("c", "count = 93"));
        assert_eq!(sizes(&both), [7, 93, 0]);
    }

    #[test]
    fn a_count_takes_only_devices_that_can_belong_to_it() {
        let of_site = cohort("a", "count = 90\nonly_site = \"s-1\"");
        let [members, others]: [usize; 2] = sizes(&of_site).try_into().unwrap();
        assert!((30..=70).contains(&members), "all of one site, about half: {members}");
        let two = format!("{}{of_site}", cohort("first", "count = 10\nonly_site = \"s-1\""));
        assert_eq!(sizes(&two), [10, members - 10, others]);
    }
}
