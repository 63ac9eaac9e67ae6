//! Which model each device of a fleet is of, and at which site it is. The same plan and seed give the same places.

use rand_core::Rng as _;

use crate::{
    fleet::DeviceSpec,
    scenario::{Group, Plan, Share},
    seed,
};

/// Gives each device its model and site: drawn by shares, or, if the plan has groups, as many to each as it has.
pub(crate) fn assign(plan: &Plan, devices: &mut [DeviceSpec]) {
    if !plan.fleet.groups.is_empty() {
        return deal(plan, devices);
    }
    for device in devices {
        let mut rng = seed::stream(plan.seed, device.device_id.as_str(), "place");
        device.model = draw(&mut rng, &plan.fleet.models);
        device.site = draw(&mut rng, &plan.fleet.sites);
    }
}

/// Deals the devices out to the groups in an order that is drawn: devices are switched on by their numbers, and no group shall be first.
fn deal(plan: &Plan, devices: &mut [DeviceSpec]) {
    let drawn = |device: &DeviceSpec| seed::stream(plan.seed, device.device_id.as_str(), "group").next_u64();
    let sizes = sizes(&plan.fleet.groups, plan.fleet.devices);
    let mut shuffled: Vec<_> = devices.iter_mut().map(|device| (drawn(device), device)).collect();
    shuffled.sort_by_key(|(drawn, device)| (*drawn, device.number));
    let mut shuffled = shuffled.into_iter();
    for (group, size) in plan.fleet.groups.iter().zip(sizes) {
        for (_, device) in shuffled.by_ref().take(usize::try_from(size).unwrap_or(usize::MAX)) {
            (device.model, device.site) = (group.model, group.site);
        }
    }
}

/// How many devices each group has in a fleet of this size: its count, or in proportion to it, rounded down, and one more for each of
/// those with the largest remainders, the earlier first, until all devices are dealt.
fn sizes(groups: &[Group], devices: u32) -> Vec<u32> {
    let total = groups.iter().map(|group| u64::from(group.count)).sum::<u64>().max(1);
    let exact = |group: &Group| u64::from(group.count) * u64::from(devices);
    let mut sizes: Vec<u64> = groups.iter().map(|group| exact(group) / total).collect();
    let left = u64::from(devices).saturating_sub(sizes.iter().sum());
    let mut by_remainder: Vec<_> = sizes.iter_mut().zip(groups).collect();
    by_remainder.sort_by_key(|(_, group)| std::cmp::Reverse(exact(group) % total)); // stable
    for ((size, _), _) in by_remainder.into_iter().zip(0..left) {
        *size += 1;
    }
    sizes.into_iter().map(|size| u32::try_from(size).unwrap_or(u32::MAX)).collect()
}

fn draw(rng: &mut rand_chacha::ChaCha8Rng, shares: &[Share]) -> usize {
    let total = shares.iter().map(|share| u64::from(share.share)).sum();
    let mut drawn = seed::below(rng, total);
    for (index, share) in shares.iter().enumerate() {
        if drawn < u64::from(share.share) {
            return index;
        }
        drawn -= u64::from(share.share);
    }
    0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        fleet,
        scenario::{Overrides, check},
        scenario_settings::ScenarioSettings,
    };

    fn plan(seed: u64) -> Plan {
        let text = format!(
            "name = \"x\"\ngoal = \"Groups.\"\nmode = \"rehearse\"\nseed = {seed}\nduration = \"1m\"\n[fleet]\n\
             group = [{{ model = \"A\", site = \"x\", count = 84 }}, {{ model = \"B\", site = \"y\", count = 57 }},\n\
             {{ model = \"B\", site = \"x\", count = 3 }}]\n[[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        check("x.toml", text.as_bytes(), &ScenarioSettings).unwrap()
    }

    fn counted(plan: &Plan) -> BTreeMap<(usize, usize), u32> {
        let mut counts = BTreeMap::new();
        for device in fleet::devices(plan).unwrap() {
            *counts.entry((device.model, device.site)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn groups_have_as_many_devices_as_they_say_whatever_the_seed() {
        for seed in 1..=3 {
            assert_eq!(counted(&plan(seed)), BTreeMap::from([((0, 0), 84), ((1, 1), 57), ((1, 0), 3)]));
        }
        let places = |seed| {
            let devices = fleet::devices(&plan(seed)).unwrap();
            devices.into_iter().map(|device| (device.model, device.site)).collect::<Vec<_>>()
        };
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2), "who is where is drawn");
        let first = &places(1)[..72];
        let of_the_large = first.iter().filter(|place| **place == (0, 0)).count();
        assert!((28..=56).contains(&of_the_large), "half of the first half, about: {of_the_large}");
    }

    /// Of 1,440 devices ten times as many. Of 50: 29.17, 19.79 and 1.04 by proportion; the one that is left goes to the largest fraction.
    #[test]
    fn a_fleet_of_another_size_has_its_groups_in_proportion() {
        let resized = |devices| {
            let overrides = Overrides { devices: Some(devices), ..Overrides::default() };
            counted(&plan(1).with_overrides(overrides).unwrap()).into_values().collect::<Vec<_>>()
        };
        assert_eq!(resized(1_440), [840, 30, 570]);
        assert_eq!(resized(50), [29, 1, 20]);
        assert_eq!(resized(1), [1], "a small fleet has no device of a small group");
    }
}
