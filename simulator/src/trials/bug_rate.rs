//! On how many devices a release with several faults fails.

use crate::scenario::{Fault, Fleet, Share};

/// The share of the fleet that these faults hit, in basis points, rounded up: each fault is drawn for itself, and models and sites
/// count by their weights. Conditions on version, uptime and hour are taken as met.
pub(super) fn hit_bp_of_fleet(faults: &[Fault], fleet: &Fleet) -> u16 {
    let weight = |of: &Share| f64::from(of.share);
    let total = |shares: &[Share]| shares.iter().map(weight).sum::<f64>().max(1.0);
    let is_spared = |only: &Option<String>, own: &Share| only.as_deref().is_some_and(|only| only != own.name);
    let mut hit = 0.0;
    for model in &fleet.models {
        for site in &fleet.sites {
            let can_hit =
                |fault: &&Fault| !is_spared(&fault.scope.only_model, model) && !is_spared(&fault.scope.only_site, site);
            let spared: f64 =
                faults.iter().filter(can_hit).map(|fault| 1.0 - f64::from(fault.hits_bp()) / 10_000.0).product();
            hit += weight(model) * weight(site) * (1.0 - spared);
        }
    }
    let share_bp = hit / total(&fleet.models) / total(&fleet.sites) * 10_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 10,000")]
    let rounded = (share_bp - 1e-6).ceil().clamp(0.0, 10_000.0) as u16;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario, scenario_settings::ScenarioSettings};

    /// Goal: the rate of a score is the share of the fleet that is hit. Method: by hand, for three devices of A to one of B: 0.1 % of A;
    /// of B all but 99.9 % of 50 %. 0.75 x 0.001 + 0.25 x 0.5005 = 12.5875 %, rounded up to a basis point.
    #[test]
    fn faults_that_overlap_are_not_added_up() {
        let text = r#"
            name = "t"
            goal = "Two faults."
            mode = "rehearse"
            duration = "1h"
            fleet = { devices = 100, model = [{ name = "A", share = 3 }, { name = "B", share = 1 }] }
            firmware = [{ version = "2", counter = 2, fault = [{ bricks_bp = 10 }, { lies_bp = 5000, only_model = "B" }] }]
            expect = [{ metric = "errors", max = 0 }]
        "#;
        let plan = scenario::check("t.toml", text.as_bytes(), &ScenarioSettings).unwrap();
        let faults = &plan.firmware[0].faults;
        assert_eq!(hit_bp_of_fleet(faults, &plan.fleet), 1_259);
        assert_eq!(hit_bp_of_fleet(&faults[..1], &plan.fleet), 10);
        assert_eq!(hit_bp_of_fleet(&[], &plan.fleet), 0);
    }
}
