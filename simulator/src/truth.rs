//! What is really so, and never shown to the server: how each release behaves on each device.

use std::{rc::Rc, time::Duration};

use ks_protocol::id::DeviceId;

use crate::{
    scenario::{Firmware, Plan},
    seed,
};

/// What becomes of a device that installs a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It runs the new firmware.
    Good,
    /// Writing into the slot fails; the old firmware goes on.
    InstallFails,
    /// The new slot does not boot; the old one runs again.
    BootFails,
    /// It never comes back.
    Bricks,
    /// It runs the new firmware, and is dead after so long.
    Dies(Duration),
    /// It says that it runs the new firmware, and runs the old.
    Lies,
}

/// A release as it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueFirmware {
    /// Version.
    pub version: Rc<str>,
    /// Counter.
    pub release_counter: u64,
    behaviour: Firmware,
}

/// Every release of a scenario as it really is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth(Vec<TrueFirmware>);

impl Truth {
    /// What the plan says.
    pub fn of(plan: &Plan) -> Self {
        let firmware = plan.firmware.iter().map(|behaviour| TrueFirmware {
            version: behaviour.version.as_str().into(),
            release_counter: behaviour.release_counter,
            behaviour: behaviour.clone(),
        });
        Self(firmware.collect())
    }

    /// The version of the release with this counter; empty if the scenario does not have it.
    pub fn version(&self, release_counter: u64) -> Rc<str> {
        let firmware = self.0.iter().find(|firmware| firmware.release_counter == release_counter);
        firmware.map_or_else(Rc::default, |firmware| Rc::clone(&firmware.version))
    }

    /// What becomes of a device that installs the release with this counter: always the same for a seed. A release that the
    /// scenario does not have does nothing.
    pub fn fate(&self, release_counter: u64, root_seed: u64, device: &Subject<'_>) -> Fate {
        let Some(firmware) = self.0.iter().find(|firmware| firmware.release_counter == release_counter) else {
            return Fate::Good;
        };
        let Firmware { only_model, only_site, .. } = &firmware.behaviour;
        let is_spared = |only: &Option<String>, own: &str| only.as_deref().is_some_and(|only| only != own);
        if is_spared(only_model, device.model) || is_spared(only_site, device.site) {
            return Fate::Good;
        }
        let mut rng = seed::stream(root_seed, device.device_id.as_str(), &format!("fate {release_counter}"));
        let mut drawn = seed::below(&mut rng, 10_000);
        let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = firmware.behaviour;
        let dies = Fate::Dies(after_about(&mut rng, firmware.behaviour.dies_after));
        let fates = [
            (install_fails_bp, Fate::InstallFails),
            (boot_fails_bp, Fate::BootFails),
            (bricks_bp, Fate::Bricks),
            (dies_bp, dies),
            (lies_bp, Fate::Lies),
        ];
        for (share_bp, fate) in fates {
            if drawn < u64::from(share_bp) {
                return fate;
            }
            drawn -= u64::from(share_bp);
        }
        Fate::Good
    }
}

/// Whose fate is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub device_id: &'a DeviceId,
    /// Its model.
    pub model: &'a str,
    /// Its site.
    pub site: &'a str,
}

/// Between nine and eleven tenths of a length of time: hardware does not die on the second.
fn after_about(rng: &mut rand_chacha::ChaCha8Rng, length: Duration) -> Duration {
    let ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(ms / 10 * 9 + seed::below(rng, ms / 5 + 1))
}

/// The image of a release: bytes that follow from its version, so that every run has the same.
pub fn image(root_seed: u64, firmware: &Firmware) -> Vec<u8> {
    use rand_core::Rng;
    let length = usize::try_from(firmware.size_bytes).unwrap_or(usize::MAX);
    let mut image = vec![0; length];
    seed::stream(root_seed, &firmware.version, "image").fill_bytes(&mut image);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(change: impl Fn(&mut Firmware)) -> Truth {
        let mut behaviour = Firmware::good("1.1.0", 2);
        change(&mut behaviour);
        Truth(vec![TrueFirmware { version: "1.1.0".into(), release_counter: 2, behaviour }])
    }

    fn fates(truth: &Truth, model: &str) -> Vec<Fate> {
        let fate = |number: u32| {
            let device_id = format!("SIM-{number}").parse().unwrap();
            truth.fate(2, 7, &Subject { device_id: &device_id, model, site: "HQ" })
        };
        (0..10_000).map(fate).collect()
    }

    #[test]
    fn as_many_devices_break_as_the_scenario_says_and_always_the_same() {
        let truth = truth(|firmware| (firmware.bricks_bp, firmware.lies_bp) = (200, 100));
        let drawn = fates(&truth, "KS-100");
        let count = |fate| drawn.iter().filter(|drawn| **drawn == fate).count();
        assert!((150..250).contains(&count(Fate::Bricks)) && (70..130).contains(&count(Fate::Lies)));
        assert_eq!(drawn, fates(&truth, "KS-100"));
    }

    #[test]
    fn what_breaks_one_model_only_spares_the_others() {
        let truth = truth(|firmware| {
            firmware.bricks_bp = 10_000;
            firmware.only_model = Some("KS-200".to_owned());
        });
        assert!(fates(&truth, "KS-100").iter().all(|fate| *fate == Fate::Good));
        assert!(fates(&truth, "KS-200").iter().all(|fate| *fate == Fate::Bricks));
    }

    #[test]
    fn a_late_death_comes_about_when_the_scenario_says() {
        let truth = truth(|firmware| (firmware.dies_bp, firmware.dies_after) = (10_000, Duration::from_hours(20)));
        let hours = Duration::from_hours(18)..=Duration::from_hours(22);
        assert!(fates(&truth, "x").iter().all(|fate| matches!(fate, Fate::Dies(after) if hours.contains(after))));
    }
}
