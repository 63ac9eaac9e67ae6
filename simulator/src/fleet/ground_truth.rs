//! The ground truth that the server never sees: how each release behaves on each device.

use std::{rc::Rc, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};

use crate::{
    scenario::{Fault, Firmware, Plan, Scope},
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
    ///
    /// The draws of a fault depend on its place in the list alone, so that a fault at the end changes nothing for those before it.
    pub fn install_outcome(
        &self,
        release_counter: u64,
        root_seed: u64,
        device: &InstallingDevice<'_>,
    ) -> InstallOutcome {
        let faults = self.faults_around(release_counter, device);
        self.outcome_of_faults(release_counter, root_seed, device.device_id, &faults)
    }

    /// The faults of a release whose scope a device is in, by number.
    pub fn faults_around(&self, release_counter: u64, device: &InstallingDevice<'_>) -> Vec<usize> {
        let faults = self.faults(release_counter).iter().enumerate();
        faults.filter(|(_, fault)| device.is_in(&fault.scope)).map(|(number, _)| number).collect()
    }

    /// The outcome for a device that is in the scope of these faults of a release.
    pub fn outcome_of_faults(
        &self,
        release_counter: u64,
        root_seed: u64,
        device_id: &DeviceId,
        faults: &[usize],
    ) -> InstallOutcome {
        let drawn = |number: &usize| {
            let of_fault = if *number == 0 { String::new() } else { format!(" {number}") };
            let stream = format!("fate {release_counter}{of_fault}");
            let fault = self.faults(release_counter).get(*number)?;
            drawn_outcome(fault, &mut seed::stream(root_seed, device_id.as_str(), &stream))
        };
        faults.iter().find_map(drawn).unwrap_or(InstallOutcome::Good)
    }

    /// How a release may fail; nothing for one that the scenario does not have.
    pub fn faults(&self, release_counter: u64) -> &[Fault] {
        let firmware = self.0.iter().find(|firmware| firmware.release_counter == release_counter);
        firmware.map_or(&[] as &[Fault], |firmware| firmware.behaviour.faults.as_slice())
    }

    /// Whether any fault looks at where a device is, what it runs, or how long it has been up.
    pub fn looks_at_stays(&self) -> bool {
        let looks = |Scope { only_site, from_version, uptime_min, uptime_max, .. }: &Scope| {
            only_site.is_some() || from_version.is_some() || !uptime_min.is_zero() || uptime_max.is_some()
        };
        self.0.iter().flat_map(|firmware| &firmware.behaviour.faults).any(|fault| looks(&fault.scope))
    }
}

/// What a fault does to a device in its scope; `None` if it spares it.
fn drawn_outcome(fault: &Fault, rng: &mut rand_chacha::ChaCha8Rng) -> Option<InstallOutcome> {
    let mut drawn = seed::below(rng, 10_000);
    let dies = InstallOutcome::Dies(after_about(rng, fault.dies_after));
    let outcomes =
        [InstallOutcome::InstallFails, InstallOutcome::BootFails, InstallOutcome::Bricks, dies, InstallOutcome::Lies];
    for (share_bp, outcome) in fault.shares_bp().into_iter().zip(outcomes) {
        if drawn < u64::from(share_bp) {
            return Some(outcome);
        }
        drawn -= u64::from(share_bp);
    }
    None
}

/// The device in question, when it has written the image into its slot.
#[derive(Debug, Clone, Copy)]
pub struct InstallingDevice<'a> {
    pub device_id: &'a DeviceId,
    pub model: &'a str,
    /// Where it really is.
    pub site: &'a str,
    /// The version that it runs before.
    pub version: &'a str,
    /// How long it has been up.
    pub uptime: Duration,
    pub now: UnixMs,
}

impl InstallingDevice<'_> {
    fn is_in(&self, scope: &Scope) -> bool {
        let Scope { only_model, only_site, from_version, uptime_min, uptime_max, hours } = scope;
        let is_it = |only: &Option<String>, own: &str| only.as_deref().is_none_or(|only| only == own);
        is_it(only_model, self.model)
            && is_it(only_site, self.site)
            && is_it(from_version, self.version)
            && self.uptime >= *uptime_min
            && uptime_max.is_none_or(|uptime_max| self.uptime < uptime_max)
            && hours.is_none_or(|hours| hours.contain(self.now))
    }
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
    use crate::scenario::Hours;

    fn fault(change: impl Fn(&mut Fault)) -> Fault {
        let mut fault = Fault::none(Scope::default());
        change(&mut fault);
        fault
    }

    fn ground_truth(faults: Vec<Fault>) -> GroundTruth {
        let behaviour = Firmware { faults, ..Firmware::good("1.1.0", 2) };
        GroundTruth(vec![TrueFirmware { version: "1.1.0".into(), release_counter: 2, behaviour }])
    }

    const SUBJECTS: u32 = 10_000;

    /// The outcomes of devices, changed in some respect.
    fn outcomes_of(ground_truth: &GroundTruth, change: impl Fn(&mut InstallingDevice<'_>)) -> Vec<InstallOutcome> {
        let outcome = |number: u32| {
            let device_id = format!("SIM-{number}").parse().unwrap();
            let mut subject = InstallingDevice {
                device_id: &device_id,
                model: "KS-100",
                site: "HQ",
                version: "1.0.0",
                uptime: Duration::from_hours(5),
                now: UnixMs(12 * 3_600_000),
            };
            change(&mut subject);
            ground_truth.install_outcome(2, 7, &subject)
        };
        (0..SUBJECTS).map(outcome).collect()
    }

    fn outcomes(ground_truth: &GroundTruth) -> Vec<InstallOutcome> {
        outcomes_of(ground_truth, |_| ())
    }

    fn all(outcomes: &[InstallOutcome], expected: InstallOutcome) -> bool {
        outcomes.iter().all(|outcome| *outcome == expected)
    }

    #[test]
    fn the_configured_share_of_devices_breaks_and_is_repeatable() {
        let ground_truth = ground_truth(vec![fault(|fault| (fault.bricks_bp, fault.lies_bp) = (200, 100))]);
        let drawn = outcomes(&ground_truth);
        let count = |outcome| drawn.iter().filter(|drawn| **drawn == outcome).count();
        assert!(
            (150..250).contains(&count(InstallOutcome::Bricks)) && (70..130).contains(&count(InstallOutcome::Lies))
        );
        assert_eq!(drawn, outcomes(&ground_truth));
    }

    #[test]
    fn a_scope_restricts_a_fault_to_its_devices() {
        let hit = |scope: Scope, change: fn(&mut InstallingDevice<'_>)| {
            let ground_truth = ground_truth(vec![Fault { bricks_bp: 10_000, ..Fault::none(scope) }]);
            let drawn = outcomes_of(&ground_truth, change);
            assert!(all(&drawn, InstallOutcome::Bricks) || all(&drawn, InstallOutcome::Good));
            drawn.first() == Some(&InstallOutcome::Bricks)
        };
        let only = |change: fn(&mut Scope)| {
            let mut scope = Scope::default();
            change(&mut scope);
            scope
        };
        let model = only(|scope| scope.only_model = Some("KS-200".to_owned()));
        assert!(!hit(model.clone(), |_| ()) && hit(model, |subject| subject.model = "KS-200"));
        let site = only(|scope| scope.only_site = Some("north".to_owned()));
        assert!(!hit(site.clone(), |_| ()) && hit(site, |subject| subject.site = "north"));
        let version = only(|scope| scope.from_version = Some("0.9".to_owned()));
        assert!(!hit(version.clone(), |_| ()) && hit(version, |subject| subject.version = "0.9"));
        let long_up = only(|scope| scope.uptime_min = Duration::from_hours(6));
        assert!(!hit(long_up.clone(), |_| ()) && hit(long_up, |subject| subject.uptime = Duration::from_hours(6)));
        let just_up = only(|scope| scope.uptime_max = Some(Duration::from_hours(5)));
        assert!(!hit(just_up.clone(), |_| ()) && hit(just_up, |subject| subject.uptime = Duration::from_hours(4)));
        let night = only(|scope| scope.hours = Hours::parse("22-06"));
        assert!(!hit(night.clone(), |_| ()) && hit(night, |subject| subject.now = UnixMs(23 * 3_600_000)));
    }

    /// Goal: of two faults each has its own draw. Method: the numbers are compared with the products of the chances, and with
    /// four standard deviations of them (5,000 of 10,000: 200; 2,500: 174).
    #[test]
    fn faults_are_drawn_each_for_itself_and_the_first_that_hits_decides() {
        let bricks = fault(|fault| fault.bricks_bp = 5_000);
        let lies = fault(|fault| fault.lies_bp = 5_000);
        let alone = outcomes(&ground_truth(vec![bricks.clone()]));
        let both = outcomes(&ground_truth(vec![bricks, lies]));
        let count = |of: &[InstallOutcome], outcome| of.iter().filter(|drawn| **drawn == outcome).count();
        assert!(count(&both, InstallOutcome::Bricks).abs_diff(5_000) < 200);
        assert!(count(&both, InstallOutcome::Lies).abs_diff(2_500) < 174);
        assert!(count(&both, InstallOutcome::Good).abs_diff(2_500) < 174);
        let is_same = |(alone, both): (&InstallOutcome, &InstallOutcome)| {
            (*alone == InstallOutcome::Bricks) == (*both == InstallOutcome::Bricks)
        };
        assert!(alone.iter().zip(&both).all(is_same), "a fault at the end changes nothing for those before it");
    }

    #[test]
    fn a_late_death_comes_near_the_configured_time() {
        let dies = fault(|fault| (fault.dies_bp, fault.dies_after) = (10_000, Duration::from_hours(20)));
        let hours = Duration::from_hours(18)..=Duration::from_hours(22);
        assert!(
            outcomes(&ground_truth(vec![dies]))
                .iter()
                .all(|outcome| matches!(outcome, InstallOutcome::Dies(after) if hours.contains(after)))
        );
    }
}
