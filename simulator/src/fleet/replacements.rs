//! Devices that take the place of others during a run: the other half of `swapped` in `[[fleet.churn]]`.

use ks_protocol::id::InvalidId;

use super::{
    churn::Schedule,
    devices::{DeviceSpec, device_id, devices},
};
use crate::scenario::{ChurnKind, Plan};

/// The devices of the plan, and then those that take the place of some of them, in the order in which they are switched on.
///
/// # Errors
/// As of [`devices`].
pub fn with_replacements(plan: &Plan) -> Result<Vec<DeviceSpec>, InvalidId> {
    let mut all = devices(plan)?;
    let replacements = replacements(plan, &all)?;
    all.extend(replacements);
    Ok(all)
}

/// Which devices take the place of others: of the same model and site, in stock since the start of the run. In a longer run they are the
/// same, and then more.
fn replacements(plan: &Plan, devices: &[DeviceSpec]) -> Result<Vec<DeviceSpec>, InvalidId> {
    if plan.fleet.churn.iter().all(|churn| churn.kind != ChurnKind::Swapped) {
        return Ok(Vec::new());
    }
    let schedule = Schedule::of(plan, plan.starts_at);
    let swapped_at = |device: &DeviceSpec| {
        let swapped = schedule.episodes(device).pop().filter(|last| last.kind == ChurnKind::Swapped)?;
        (swapped.to > device.starts_after && swapped.to < plan.duration).then_some(swapped.to)
    };
    let mut swaps: Vec<_> =
        devices.iter().filter_map(|device| swapped_at(device).map(|starts_after| (starts_after, device))).collect();
    swaps.sort_by_key(|(starts_after, device)| (*starts_after, device.number));
    let replacement = |(number, (starts_after, replaced)): (u32, (_, &DeviceSpec))| {
        let (device_id, replaces) = (device_id(plan, number)?, Some(replaced.device_id.clone()));
        Ok(DeviceSpec { number, device_id, starts_after, replaces, ..*replaced })
    };
    (plan.fleet.devices..).zip(swaps).map(replacement).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    fn plan(hours: u64) -> Plan {
        let text = format!(
            "name = \"x\"\ngoal = \"Swaps.\"\nmode = \"rehearse\"\nduration = \"{hours}h\"\nramp = \"1h\"\n[fleet]\ndevices = 300\n\
             churn = [{{ kind = \"swapped\", per_day_bp = 2000, lasts = \"3h\", only_model = \"A\" }},\n\
             {{ kind = \"removed\", per_day_bp = 1000 }}]\n\
             model = [{{ name = \"A\", share = 1 }}, {{ name = \"B\", share = 1 }}]\n\
             site = [{{ name = \"n\", share = 1 }}, {{ name = \"s\", share = 1 }}]\n\
             [[expect]]\nmetric = \"errors\"\nequals = 0\n"
        );
        scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap()
    }

    #[test]
    fn a_replacement_is_of_the_same_kind_and_in_a_longer_run_the_same() {
        let [short, long] = [30, 60].map(|hours| with_replacements(&plan(hours)).unwrap());
        assert!(short.len() > 320 && long.len() > short.len() && long.starts_with(&short), "{}", short.len());
        let schedule = Schedule::of(&plan(30), plan(30).starts_at);
        for (number, device) in short.iter().enumerate().skip(300) {
            assert_eq!(device.device_id.as_str(), format!("SIM-{:06}", number + 1));
            let replaced = short.iter().find(|other| Some(&other.device_id) == device.replaces.as_ref()).unwrap();
            assert_eq!((device.model, device.site, replaced.model, replaced.site), (0, replaced.site, 0, device.site));
            let last = schedule.episodes(replaced).pop().unwrap();
            assert_eq!((last.kind, last.to), (ChurnKind::Swapped, device.starts_after));
            assert!(last.to >= last.from + Duration::from_mins(90) && device.starts_after < Duration::from_hours(30));
            assert!(schedule.episodes(device).iter().all(|episode| episode.kind == ChurnKind::Removed));
        }
        let in_order = short[300..].is_sorted_by_key(|device| device.starts_after);
        assert!(in_order && short[..300] == devices(&plan(30)).unwrap());
    }
}
