//! The ground truth that the server never sees: how each release behaves on each device.

use std::{rc::Rc, time::Duration};

use ks_protocol::id::DeviceId;

use crate::{
    scenario::{Firmware, Plan},
    seed,
};

/// The outcome of installing a release on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallOutcome {
    /// It runs the new firmware.
    Good,
    /// Writing into the slot fails; the old firmware goes on.
    InstallFails,
    /// The new slot does not boot; the old one runs again.
    BootFails,
    /// It never comes back.
    Bricks,
    /// It runs the new firmware, and dies after this time.
    Dies(Duration),
    /// It reports the new firmware, and runs the old one.
    Lies,
}

/// How a release really behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueFirmware {
    pub version: Rc<str>,
    pub release_counter: u64,
    behaviour: Firmware,
}

/// How every release of a scenario really behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroundTruth(Vec<TrueFirmware>);

impl GroundTruth {
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

    /// The outcome for a device that installs the release with this counter: always the same for a seed. A release that the
    /// scenario does not have does nothing.
    pub fn install_outcome(&self, release_counter: u64, root_seed: u64, device: &Subject<'_>) -> InstallOutcome {
        let Some(firmware) = self.0.iter().find(|firmware| firmware.release_counter == release_counter) else {
            return InstallOutcome::Good;
        };
        let Firmware { only_model, only_site, .. } = &firmware.behaviour;
        let is_spared = |only: &Option<String>, own: &str| only.as_deref().is_some_and(|only| only != own);
        if is_spared(only_model, device.model) || is_spared(only_site, device.site) {
            return InstallOutcome::Good;
        }
        let mut rng = seed::stream(root_seed, device.device_id.as_str(), &format!("fate {release_counter}"));
        let mut drawn = seed::below(&mut rng, 10_000);
        let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = firmware.behaviour;
        let dies = InstallOutcome::Dies(after_about(&mut rng, firmware.behaviour.dies_after));
        let outcomes = [
            (install_fails_bp, InstallOutcome::InstallFails),
            (boot_fails_bp, InstallOutcome::BootFails),
            (bricks_bp, InstallOutcome::Bricks),
            (dies_bp, dies),
            (lies_bp, InstallOutcome::Lies),
        ];
        for (share_bp, outcome) in outcomes {
            if drawn < u64::from(share_bp) {
                return outcome;
            }
            drawn -= u64::from(share_bp);
        }
        InstallOutcome::Good
    }
}

/// The device in question.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub device_id: &'a DeviceId,
    pub model: &'a str,
    pub site: &'a str,
}

/// Between 90 % and 110 % of `length`: hardware does not die on the second.
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

    fn ground_truth(change: impl Fn(&mut Firmware)) -> GroundTruth {
        let mut behaviour = Firmware::good("1.1.0", 2);
        change(&mut behaviour);
        GroundTruth(vec![TrueFirmware { version: "1.1.0".into(), release_counter: 2, behaviour }])
    }

    fn outcomes(ground_truth: &GroundTruth, model: &str) -> Vec<InstallOutcome> {
        let outcome = |number: u32| {
            let device_id = format!("SIM-{number}").parse().unwrap();
            ground_truth.install_outcome(2, 7, &Subject { device_id: &device_id, model, site: "HQ" })
        };
        (0..10_000).map(outcome).collect()
    }

    #[test]
    fn the_configured_share_of_devices_breaks_and_is_repeatable() {
        let ground_truth = ground_truth(|firmware| (firmware.bricks_bp, firmware.lies_bp) = (200, 100));
        let drawn = outcomes(&ground_truth, "KS-100");
        let count = |outcome| drawn.iter().filter(|drawn| **drawn == outcome).count();
        assert!(
            (150..250).contains(&count(InstallOutcome::Bricks)) && (70..130).contains(&count(InstallOutcome::Lies))
        );
        assert_eq!(drawn, outcomes(&ground_truth, "KS-100"));
    }

    #[test]
    fn only_model_restricts_failures_to_that_model() {
        let ground_truth = ground_truth(|firmware| {
            firmware.bricks_bp = 10_000;
            firmware.only_model = Some("KS-200".to_owned());
        });
        assert!(outcomes(&ground_truth, "KS-100").iter().all(|outcome| *outcome == InstallOutcome::Good));
        assert!(outcomes(&ground_truth, "KS-200").iter().all(|outcome| *outcome == InstallOutcome::Bricks));
    }

    #[test]
    fn a_late_death_comes_near_the_configured_time() {
        let ground_truth =
            ground_truth(|firmware| (firmware.dies_bp, firmware.dies_after) = (10_000, Duration::from_hours(20)));
        let hours = Duration::from_hours(18)..=Duration::from_hours(22);
        assert!(
            outcomes(&ground_truth, "x")
                .iter()
                .all(|outcome| matches!(outcome, InstallOutcome::Dies(after) if hours.contains(after)))
        );
    }
}
